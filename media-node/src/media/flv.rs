//! Parses FLV tag bodies, which RTMP carries as messages, once and for all: what each is to a decoder, when it is shown,
//! where the codec's data begins, and what it teaches about the stream.
//!
//! Adobe FLV 10.1 §E.4.2 (audio), §E.4.3 (video), §E.4.4 (script); Enhanced RTMP v2 ("ExAudioTagHeader", "ExVideoTagHeader").

mod audio;
mod enhanced;
mod script;
mod video;

use bytes::Bytes;
use thiserror::Error;

use super::record::RecordError;
use super::track::Learned;
use super::unit::{TrackKind, Unit, UnitKind};

/// A unit, and what it taught.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parsed {
    /// The unit.
    pub unit: Unit,
    /// A configuration or metadata that came with it.
    pub learned: Option<Learned>,
}

/// Why a body is no unit. The stream goes on without it.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ParseError {
    /// No body, or nothing in it: some encoders send such messages to keep a connection alive.
    #[error("body is empty")]
    Empty,
    /// A video info or command frame: seeking, no picture.
    #[error("command frame")]
    CommandFrame,
    /// A track beyond the first of its kind.
    #[error("media track beyond the first")]
    ExtraTrack,
    /// It ends within its header.
    #[error("header is cut short")]
    Truncated,
    /// A value that no standard knows.
    #[error("unknown {0}")]
    Unknown(&'static str),
    /// Script data that would be costly to decode.
    #[error("script data with references or too many values")]
    Unsafe,
    /// A decoder configuration that can't be used.
    #[error(transparent)]
    Record(#[from] RecordError),
}

impl ParseError {
    /// True for bodies that are valid and of no use: nothing is wrong with the publisher.
    pub fn is_benign(&self) -> bool {
        matches!(self, Self::Empty | Self::CommandFrame)
    }
}

/// Parses the bodies of one publisher in order. Holds which codec each track has, so that codecs without a
/// configuration are learned once.
#[derive(Clone, Debug, Default)]
pub struct Parser {
    video: Option<CodecId>,
    audio: Option<CodecId>,
}

/// A codec as FLV names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum CodecId {
    Legacy(u8),
    FourCc([u8; 4]),
}

/// What a header says.
struct Header {
    kind: UnitKind,
    cts: i32,
    data_offset: usize,
    learned: Option<Learned>,
}

impl Parser {
    /// Parses `body`, to be decoded at `dts` milliseconds.
    pub fn parse(&mut self, track: TrackKind, dts: i64, body: Bytes) -> Result<Parsed, ParseError> {
        let (body, header) = match track {
            TrackKind::Video => {
                let header = self.video(&body)?;
                (body, header)
            }
            TrackKind::Audio => {
                let header = self.audio(&body)?;
                (body, header)
            }
            TrackKind::Script => script::parse(body)?,
        };
        let no_data = header.data_offset >= body.len();
        if no_data && matches!(header.kind, UnitKind::Key | UnitKind::Frame) {
            return Err(ParseError::Empty);
        }
        let data_offset = u8::try_from(header.data_offset).map_err(|_| ParseError::Unknown("long header"))?;
        let unit = Unit {
            track,
            kind: header.kind,
            dts,
            cts: header.cts,
            tag: body,
            data_offset,
        };
        Ok(Parsed {
            unit,
            learned: header.learned,
        })
    }
}

impl Header {
    fn other(body: &Bytes) -> Self {
        Self {
            kind: UnitKind::Other,
            cts: 0,
            data_offset: body.len().min(usize::from(u8::MAX)),
            learned: None,
        }
    }
}

/// A 24-bit two's complement number at `at`.
fn signed_24(body: &[u8], at: usize) -> Result<i32, ParseError> {
    match body.get(at..at + 3) {
        Some(&[high, middle, low]) => Ok(i32::from_be_bytes([high, middle, low, 0]) >> 8),
        _ => Err(ParseError::Truncated),
    }
}

#[cfg(test)]
mod tests;
