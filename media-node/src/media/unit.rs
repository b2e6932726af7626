//! The unit that flows through a node: one FLV tag body as it came, parsed once.

use std::fmt;

use bytes::Bytes;

/// Which elementary stream a unit belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TrackKind {
    /// RTMP message type 9.
    Video,
    /// RTMP message type 8.
    Audio,
    /// RTMP message type 18 (AMF0 data): `onMetaData`, cue points.
    Script,
}

/// What a unit is to a decoder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum UnitKind {
    /// Decoder configuration (AVC sequence header, AudioSpecificConfig, …), no picture or sound.
    Config,
    /// A video frame at which decoding can begin.
    Key,
    /// Any other video frame, and every audio frame.
    Frame,
    /// `onMetaData`, kept and sent to newcomers.
    Metadata,
    /// Passed on and kept by nobody: other script data, end of sequence, enhanced metadata (colour).
    Other,
}

/// One access unit, audio frame, configuration or script message.
///
/// Cloning is cheap: the body is shared.
#[derive(Clone, PartialEq, Eq)]
pub struct Unit {
    /// Elementary stream.
    pub track: TrackKind,
    /// What it is to a decoder.
    pub kind: UnitKind,
    /// Decoding time on the stream's timeline: milliseconds, unwrapped, the same on every node.
    pub dts: i64,
    /// Composition offset in milliseconds (presentation time = dts + cts), 0 for audio.
    pub cts: i32,
    /// The FLV tag body (Adobe FLV 10.1 §E.4.2, §E.4.3; Enhanced RTMP v2), as it came.
    pub tag: Bytes,
    /// Where in `tag` the codec's own data begins; `tag.len()` where there is none.
    pub data_offset: u8,
}

impl Unit {
    /// The codec's own data: length-prefixed NAL units, OBUs, a raw AAC frame, an Opus packet, a configuration record.
    pub fn data(&self) -> Bytes {
        self.tag.slice(usize::from(self.data_offset).min(self.tag.len())..)
    }

    /// Presentation time in milliseconds.
    pub fn pts(&self) -> i64 {
        self.dts + i64::from(self.cts)
    }

    /// True for pictures and sound, false for configuration and script data.
    pub fn is_media(&self) -> bool {
        matches!(self.kind, UnitKind::Key | UnitKind::Frame)
    }
}

impl fmt::Debug for Unit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:?} {:?} dts={} cts={} {}B",
            self.track,
            self.kind,
            self.dts,
            self.cts,
            self.tag.len()
        )
    }
}
