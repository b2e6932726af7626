//! What travels between a server and its publishers and viewers, as these tools read and write it.
//!
//! ```text
//! socket ─▶ rtmp (chunks) ──────────────▶ Frame ─▶ Sink
//!        └▶ http ─▶ websocket ─▶ flv · fmp4 ─┘
//! ```
//!
//! Readers take whatever bytes have arrived and *walk*: they keep headers and the first bytes of a payload, never a
//! payload, so that one thread can watch thousands of connections. Nothing here is shared with the server.

pub mod flv;
pub mod fmp4;
pub mod http;
pub mod rtmp;
pub mod stamp;
pub mod websocket;

pub use stamp::Stamp;

/// How many first bytes of each payload are kept where stamps are read: the stamp is the first NAL unit or nearly so.
pub const PROBE_HEAD: usize = 512;

/// How many first bytes are kept elsewhere: enough to tell a key frame and a codec configuration.
pub const PLAIN_HEAD: usize = 16;

/// What a frame belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Track {
    /// Pictures.
    Video,
    /// Sound.
    Audio,
}

/// One access unit or audio frame that has arrived whole.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Frame {
    /// Which track.
    pub track: Track,
    /// Decoding time in microseconds.
    pub dts_us: i64,
    /// A picture that a decoder can start at.
    pub key: bool,
    /// Size in bytes, without the headers of the container or of the FLV tag body.
    pub size: usize,
    /// The publisher's stamp, where it has one and the reader keeps enough of each frame to see it.
    pub stamp: Option<Stamp>,
}

/// Takes what a reader finds.
pub trait Sink {
    /// A frame has arrived whole.
    fn frame(&mut self, frame: Frame);
    /// A codec configuration or init segment has arrived.
    fn config(&mut self) {}
    /// A text message of a WebSocket.
    fn text(&mut self, _text: &str) {}
}

/// Error of a reader: the peer broke the protocol, refused, or ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Error {
    /// The server refused: an HTTP status, an RTMP status code.
    Refused(String),
    /// The server said that the stream is over.
    Ended,
    /// Bytes that the format does not allow.
    Malformed(&'static str),
}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Error::Refused(why) => write!(f, "refused: {why}"),
            Error::Ended => f.write_str("the stream ended"),
            Error::Malformed(what) => write!(f, "malformed {what}"),
        }
    }
}

impl std::error::Error for Error {}

/// Keeps the first bytes of a payload while the whole of it passes by.
#[derive(Debug, Default)]
pub(crate) struct Head {
    bytes: Vec<u8>,
    limit: usize,
}

impl Head {
    pub(crate) fn restart(&mut self, limit: usize) {
        self.bytes.clear();
        self.limit = limit;
    }

    pub(crate) fn pass(&mut self, data: &[u8]) {
        let room = self.limit - self.bytes.len();
        if room > 0 {
            self.bytes.extend_from_slice(&data[..room.min(data.len())]);
        }
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// The sink of a publisher, which is sent no media.
#[derive(Debug)]
pub struct Nothing;

impl Sink for Nothing {
    fn frame(&mut self, _: Frame) {}
}
