//! A playlist as it is sent.

use std::sync::{Arc, OnceLock};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use sha1::{Digest, Sha1};

/// A playlist as it is sent, shared by all who ask.
#[derive(Clone, Debug)]
pub struct Rendered(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    text: Bytes,
    gzip: OnceLock<Bytes>,
    tag: OnceLock<String>,
}

impl Rendered {
    /// Of this text.
    pub fn new(text: String) -> Self {
        Self(Arc::new(Shared {
            text: text.into(),
            gzip: OnceLock::new(),
            tag: OnceLock::new(),
        }))
    }

    /// The text.
    pub fn text(&self) -> &Bytes {
        &self.0.text
    }

    /// The text in gzip, made when the first one takes it.
    pub fn gzip(&self) -> &Bytes {
        self.0.gzip.get_or_init(|| gzip(&self.0.text))
    }

    /// What tells the text from others (RFC 9110 §8.8.3), without quotes.
    pub fn tag(&self) -> &str {
        let tag = || URL_SAFE_NO_PAD.encode(Sha1::digest(&self.0.text));
        self.0.tag.get_or_init(tag)
    }
}

/// Compressed at a level that costs little.
fn gzip(text: &[u8]) -> Bytes {
    use std::io::Write;
    let mut encoder =
        flate2::write::GzEncoder::new(Vec::with_capacity(text.len() / 4 + 64), flate2::Compression::new(4));
    let _ = encoder.write_all(text); // into memory: can't fail
    encoder.finish().unwrap_or_default().into()
}
