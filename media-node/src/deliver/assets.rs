//! The player page as answers: `no-cache` and an ETag, so that a new version of the node is a new page at once.

use std::collections::HashMap;
use std::io::Read;
use std::sync::{Mutex, PoisonError};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use flate2::read::GzDecoder;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use sha1::{Digest, Sha1};

use super::hls::takes_gzip;
use super::page::{self, Asset};

/// ETags of the files asked for so far: there are as many as the page has files.
#[derive(Debug, Default)]
pub struct Assets(Mutex<HashMap<usize, String>>);

impl Assets {
    /// The page itself.
    pub fn document(&self, headers: &HeaderMap) -> Response<Bytes> {
        let mut response = self.answer(page::DOCUMENT, headers);
        let policy = HeaderValue::from_static(page::POLICY);
        response.headers_mut().insert(header::CONTENT_SECURITY_POLICY, policy);
        response
    }

    /// A file of the page.
    pub fn file(&self, name: &str, headers: &HeaderMap) -> Option<Response<Bytes>> {
        page::asset(name).map(|asset| self.answer(asset, headers))
    }

    fn answer(&self, asset: Asset, headers: &HeaderMap) -> Response<Bytes> {
        let etag = self.etag(asset);
        let compressed = asset.gzip && takes_gzip(headers);
        let known = headers
            .get(header::IF_NONE_MATCH)
            .and_then(|value| value.to_str().ok())
            .is_some_and(|tags| tags.split(',').any(|tag| tag.trim().trim_start_matches("W/") == etag));
        let mut response = Response::new(match known {
            true => Bytes::new(),
            false if asset.gzip && !compressed => decompressed(asset.body),
            false => Bytes::from_static(asset.body),
        });
        if known {
            *response.status_mut() = StatusCode::NOT_MODIFIED;
        }
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(asset.content_type));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        if asset.gzip {
            headers.insert(header::VARY, HeaderValue::from_static("accept-encoding"));
        }
        if compressed && !known {
            headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        // A weak one where two encodings share it (RFC 9110 §8.8.1).
        let etag = if asset.gzip { format!("W/{etag}") } else { etag };
        if let Ok(etag) = HeaderValue::from_str(&etag) {
            headers.insert(header::ETAG, etag);
        }
        response
    }

    fn etag(&self, asset: Asset) -> String {
        let mut tags = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let address = asset.body.as_ptr() as usize; // static: it names the file
        tags.entry(address)
            .or_insert_with(|| format!("\"{}\"", URL_SAFE_NO_PAD.encode(Sha1::digest(asset.body))))
            .clone()
    }
}

/// For the rare client that takes no gzip. The file is one of ours: it is whole, and of a length that we know.
fn decompressed(body: &[u8]) -> Bytes {
    let mut text = Vec::with_capacity(body.len() * 4);
    if let Err(error) = GzDecoder::new(body).read_to_end(&mut text) {
        tracing::error!(%error, "a file of the page is damaged");
    }
    text.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_the_browser_has_is_not_sent_again() {
        let assets = Assets::default();
        let first = assets.file("player.js", &HeaderMap::new()).unwrap();
        assert_eq!(first.headers()[header::CONTENT_TYPE], "text/javascript; charset=utf-8");
        assert_eq!(first.headers()[header::CACHE_CONTROL], "no-cache");
        let mut headers = HeaderMap::new();
        headers.insert(header::IF_NONE_MATCH, first.headers()[header::ETAG].clone());
        let second = assets.file("player.js", &headers).unwrap();
        assert_eq!(second.status(), StatusCode::NOT_MODIFIED);
        assert!(second.body().is_empty());
        assert_eq!(assets.file("player.css", &headers).unwrap().status(), StatusCode::OK);
        assert!(assets.file("nothing.js", &headers).is_none());
    }

    #[test]
    fn what_is_stored_in_gzip_is_sent_so_to_those_who_take_it_and_plain_to_others() {
        let assets = Assets::default();
        let mut headers = HeaderMap::new();
        let plain = assets.file("hls.min.mjs", &headers).unwrap();
        assert!(!plain.headers().contains_key(header::CONTENT_ENCODING));
        assert!(plain.body().ends_with(b"hls.min.mjs.map\n"));
        headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("gzip, br"));
        let compressed = assets.file("hls.min.mjs", &headers).unwrap();
        assert_eq!(compressed.headers()[header::CONTENT_ENCODING], "gzip");
        assert!(compressed.body().len() * 3 < plain.body().len());
        for response in [&plain, &compressed] {
            assert_eq!(response.headers()[header::VARY], "accept-encoding");
        }
        headers.insert(header::IF_NONE_MATCH, plain.headers()[header::ETAG].clone());
        assert_eq!(
            assets.file("hls.min.mjs", &headers).unwrap().status(),
            StatusCode::NOT_MODIFIED
        );
    }

    #[test]
    fn the_document_carries_its_policy() {
        let document = Assets::default().document(&HeaderMap::new());
        assert!(document.headers().contains_key(header::CONTENT_SECURITY_POLICY));
    }
}
