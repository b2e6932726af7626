//! One rendition of a segment: its parts, and where their bytes are.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use crate::package::hls::disk::Stored;

/// The renditions of a stream: CMAF tracks (ISO/IEC 23000-19), each with its own playlist.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Rendition {
    /// Pictures.
    Video,
    /// Sound.
    Audio,
}

impl Rendition {
    /// Every rendition.
    pub const ALL: [Self; 2] = [Self::Video, Self::Audio];

    /// How URLs name it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Video => "video",
            Self::Audio => "audio",
        }
    }

    /// Its place in a segment's tracks.
    pub fn index(self) -> usize {
        self as usize
    }
}

impl std::str::FromStr for Rendition {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        Self::ALL
            .into_iter()
            .find(|rendition| rendition.name() == text)
            .ok_or(())
    }
}

/// A part: one `moof` and `mdat` (a CMAF chunk).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// Duration in the track's timescale.
    pub ticks: u64,
    /// Bytes.
    pub size: u64,
    /// Frames.
    pub samples: u32,
    /// It contains a frame at which decoding can begin.
    pub independent: bool,
    /// Its bytes, if they are here.
    pub bytes: Option<Bytes>,
}

/// One rendition of a segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Track {
    /// Ticks per second.
    pub timescale: u32,
    /// Decoding time of its first frame.
    pub begin: u64,
    /// Its parts, in order; the segment is their concatenation. None of one that is old.
    pub parts: Vec<Part>,
    /// What the parts were together, once they are not told apart any more.
    sum: Option<Part>,
    whole: Option<Bytes>,
    /// The file that holds the whole.
    stored: Option<Arc<Stored>>,
    /// When somebody asked for it last since it is old, in counts of such requests; 0 for never.
    used: u64,
}

impl Track {
    /// A track of these parts.
    pub fn new(timescale: u32, begin: u64, parts: Vec<Part>) -> Self {
        Self {
            timescale,
            begin,
            parts,
            sum: None,
            whole: None,
            stored: None,
            used: 0,
        }
    }

    /// A track whose parts are not told apart any more; `sum` is what they are together.
    pub fn old(timescale: u32, begin: u64, sum: Part) -> Self {
        Self {
            sum: Some(sum),
            ..Self::new(timescale, begin, Vec::new())
        }
    }

    /// What its parts are together, if they are not told apart any more.
    pub fn sum(&self) -> Option<&Part> {
        self.sum.as_ref()
    }

    fn each(&self) -> impl Iterator<Item = &Part> {
        self.sum.iter().chain(&self.parts)
    }

    /// Duration in ticks.
    pub fn ticks(&self) -> u64 {
        self.each().map(|part| part.ticks).sum()
    }

    /// Duration in milliseconds, rounded down.
    pub fn ms(&self) -> u64 {
        self.ticks() * 1_000 / u64::from(self.timescale.max(1))
    }

    /// When its first frame is decoded, milliseconds, rounded down.
    pub fn begin_ms(&self) -> i64 {
        (u128::from(self.begin) * 1_000 / u128::from(self.timescale.max(1))) as i64
    }

    /// Bytes of the whole.
    pub fn size(&self) -> u64 {
        self.each().map(|part| part.size).sum()
    }

    /// Frames of the whole.
    pub fn samples(&self) -> u64 {
        self.each().map(|part| u64::from(part.samples)).sum()
    }

    /// Decoding can begin with its first part.
    pub fn independent(&self) -> bool {
        self.each().next().is_some_and(|part| part.independent)
    }

    /// The whole, if it is complete and here.
    pub fn bytes(&self) -> Option<&Bytes> {
        self.whole.as_ref()
    }

    /// Joins the parts, of which no more will come: they become slices of the whole.
    pub(super) fn join(&mut self) {
        let mut whole = BytesMut::with_capacity(self.size() as usize);
        for part in &self.parts {
            let Some(bytes) = &part.bytes else { return };
            whole.extend_from_slice(bytes);
        }
        self.fill(&whole.freeze());
    }

    /// Bytes that are here.
    pub fn held_bytes(&self) -> u64 {
        match &self.whole {
            Some(whole) => whole.len() as u64,
            None => {
                let parts = self.parts.iter().flat_map(|part| &part.bytes);
                parts.map(|bytes| bytes.len() as u64).sum()
            }
        }
    }

    /// Bytes of the file that holds it.
    pub fn stored_bytes(&self) -> u64 {
        self.stored.as_ref().map_or(0, |stored| stored.size())
    }

    /// The file that holds it.
    pub fn stored(&self) -> Option<&Arc<Stored>> {
        self.stored.as_ref()
    }

    /// When somebody asked for it last since it is old.
    pub fn used(&self) -> u64 {
        self.used
    }

    /// It is old: its parts are not told apart any more.
    pub(super) fn age(&mut self) {
        if self.sum.is_none() {
            self.sum = Some(Part {
                ticks: self.ticks(),
                size: self.size(),
                samples: u32::try_from(self.samples()).unwrap_or(u32::MAX),
                independent: self.independent(),
                bytes: None,
            });
            self.parts = Vec::new();
        }
    }

    /// Somebody asks for it.
    pub(super) fn touch(&mut self, now: u64) {
        if self.sum.is_some() {
            self.used = now;
        }
    }

    /// From now on a file holds it; the bytes go.
    pub(super) fn store(&mut self, file: Arc<Stored>) {
        self.stored = Some(file);
        self.forget();
    }

    /// Lets go of the bytes.
    pub(super) fn forget(&mut self) {
        self.whole = None;
        self.parts.iter_mut().for_each(|part| part.bytes = None);
    }

    /// Takes the bytes of the whole; refused if they are not as long as the parts say.
    pub(super) fn fill(&mut self, bytes: &Bytes) -> bool {
        if bytes.len() as u64 != self.size() {
            return false;
        }
        let mut at = 0;
        for part in &mut self.parts {
            let end = at + part.size as usize;
            part.bytes = Some(bytes.slice(at..end));
            at = end;
        }
        self.whole = Some(bytes.clone());
        true
    }
}

/// What playlists say of a rendition, and its init segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InitTrack {
    /// Codec string of RFC 6381.
    pub codec: String,
    /// Picture width in pixels, 0 for audio.
    pub width: u32,
    /// Picture height in pixels, 0 for audio.
    pub height: u32,
    /// Channels, 0 for video.
    pub channels: u8,
    /// Ticks per second.
    pub timescale: u32,
    /// `ftyp` and `moov`, if they are here.
    pub bytes: Option<Bytes>,
}
