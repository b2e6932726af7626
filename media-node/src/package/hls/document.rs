//! What one node tells another of a window, as JSON (`window.json`): so that an edge that came late lists what the others do.

use serde::{Deserialize, Serialize};

use super::window::{InitId, InitTrack, Inits, Part, Progress, Segment, Targets, Track, Window};
use crate::media::clock::Run;

/// The description of a window, or of its end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Document {
    /// Incarnation of the stream.
    pub epoch: u64,
    /// Part target, milliseconds.
    pub part_ms: u32,
    /// Longest segment, milliseconds.
    pub segment_ms: u32,
    /// How much can be played back, milliseconds.
    pub window_ms: u64,
    /// Number of the first segment shown.
    pub first: u64,
    /// Headers that the segments need.
    pub inits: Vec<DescribedInit>,
    /// Complete segments, oldest first: all that are shown, or those from the number that was asked for on.
    pub segments: Vec<DescribedSegment>,
}

/// Headers of one version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DescribedInit {
    /// Version within the epoch.
    pub version: u32,
    /// Video and audio.
    pub tracks: [Option<DescribedTrackInit>; 2],
}

/// Headers of one rendition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DescribedTrackInit {
    /// RFC 6381.
    pub codec: String,
    /// Pixels.
    pub width: u32,
    /// Pixels.
    pub height: u32,
    /// Channels.
    pub channels: u8,
    /// Ticks per second.
    pub timescale: u32,
}

/// A complete segment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DescribedSegment {
    /// Media sequence number.
    pub number: u64,
    /// Count of discontinuities within the epoch.
    pub discontinuity: u64,
    /// Decoding time of its first unit, milliseconds.
    pub media_time_ms: i64,
    /// Unix milliseconds.
    pub program_ms: u64,
    /// Of which run it is.
    #[serde(default)]
    pub run: Run,
    /// Milliseconds.
    pub duration_ms: u64,
    /// Version of the headers.
    pub init: u32,
    /// It is lost for good.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub gap: bool,
    /// Video and audio.
    pub tracks: [Option<DescribedTrack>; 2],
}

/// One rendition of a segment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DescribedTrack {
    /// Decoding time of its first frame.
    pub begin: u64,
    /// Of each part: ticks, bytes, frames, and 1 if decoding can begin in it. Of an old segment: of all of it.
    pub parts: Vec<[u64; 4]>,
    /// The segment is old: its parts are not told apart any more.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub old: bool,
}

/// A window's description is at most this long; a longer one is not read. An old segment with video and audio takes about
/// 250 bytes, and a window has at most [`super::window::MOST_SEGMENTS`].
pub const MOST_BYTES: usize = 16 << 20;
/// Parts of a segment that are believed: a segment of 10 s in parts of 10 ms.
const MOST_PARTS: usize = 1_000;

/// Describes what is shown from `from` on.
pub fn describe(window: &Window, from: u64) -> Document {
    let shown = window.shown();
    let first = shown.clone().next().map_or(0, |segment| segment.number);
    let known = usize::try_from(from.saturating_sub(first)).unwrap_or(usize::MAX);
    let complete = |segment: &&Segment| segment.progress != Progress::Open;
    let whole: Vec<&Segment> = shown.skip(known).filter(complete).collect();
    let mut versions: Vec<InitId> = whole.iter().map(|segment| segment.init).collect();
    versions.dedup();
    let targets = window.targets();
    Document {
        epoch: window.epoch(),
        part_ms: targets.part_ms,
        segment_ms: targets.segment_ms,
        window_ms: targets.window_ms,
        first,
        inits: versions
            .into_iter()
            .filter_map(|id| Some(describe_init(id, window.inits(id)?)))
            .collect(),
        segments: whole.into_iter().map(describe_segment).collect(),
    }
}

fn describe_init(id: InitId, inits: &Inits) -> DescribedInit {
    let track = |init: &InitTrack| DescribedTrackInit {
        codec: init.codec.clone(),
        width: init.width,
        height: init.height,
        channels: init.channels,
        timescale: init.timescale,
    };
    DescribedInit {
        version: id.version,
        tracks: [0, 1].map(|index| inits[index].as_ref().map(track)),
    }
}

fn describe_segment(segment: &Segment) -> DescribedSegment {
    let part = |part: &Part| {
        [
            part.ticks,
            part.size,
            u64::from(part.samples),
            u64::from(part.independent),
        ]
    };
    let track = |track: &Track| DescribedTrack {
        begin: track.begin,
        parts: match track.sum() {
            Some(sum) => vec![part(sum)],
            None => track.parts.iter().map(part).collect(),
        },
        old: track.sum().is_some(),
    };
    DescribedSegment {
        number: segment.number,
        discontinuity: segment.discontinuity,
        media_time_ms: segment.media_time_ms,
        program_ms: segment.program_ms,
        run: segment.run,
        duration_ms: segment.duration_ms,
        init: segment.init.version,
        gap: segment.progress == Progress::Gap,
        tracks: [0, 1].map(|index| segment.tracks[index].as_ref().map(track)),
    }
}

/// Takes an upstream's description into the window: what is older than everything here, and what fills a hole.
/// True if the window changed.
pub fn take(document: &Document, window: &mut Window) -> bool {
    if window.epoch() != 0 && window.epoch() != document.epoch {
        return false;
    }
    window.announce(Targets {
        part_ms: document.part_ms,
        segment_ms: document.segment_ms,
        window_ms: document.window_ms,
    });
    let mut changed = false;
    // Newest first: each goes before the one that follows it.
    for described in document.segments.iter().rev() {
        let inits = document.inits.iter().find(|init| init.version == described.init);
        if let Some(inits) = inits {
            let segment = segment(described, document.epoch, inits);
            changed |= window.describe(segment, Some(self::inits(inits)));
        }
    }
    // What filled holes may have made room for what comes after it.
    for described in &document.segments {
        let inits = document.inits.iter().find(|init| init.version == described.init);
        if let Some(inits) = inits.filter(|_| window.last_number().is_some_and(|last| described.number > last)) {
            changed |= window.describe(segment(described, document.epoch, inits), Some(self::inits(inits)));
        }
    }
    changed
}

fn inits(described: &DescribedInit) -> Inits {
    let track = |init: &DescribedTrackInit| InitTrack {
        codec: init.codec.clone(),
        width: init.width,
        height: init.height,
        channels: init.channels,
        timescale: init.timescale,
        bytes: None,
    };
    [0, 1].map(|index| described.tracks[index].as_ref().map(track))
}

fn segment(described: &DescribedSegment, epoch: u64, inits: &DescribedInit) -> Segment {
    let track = |index: usize| {
        let track = described.tracks[index].as_ref()?;
        let timescale = inits.tracks[index].as_ref()?.timescale;
        let part = |[ticks, size, samples, independent]: &[u64; 4]| Part {
            ticks: *ticks,
            size: *size,
            samples: u32::try_from(*samples).unwrap_or(u32::MAX),
            independent: *independent != 0,
            bytes: None,
        };
        let mut parts = track.parts.iter().take(MOST_PARTS).map(part);
        match (track.old, parts.next()) {
            (true, Some(sum)) => Some(Track::old(timescale, track.begin, sum)),
            (_, first) => {
                let parts = first.into_iter().chain(parts).collect();
                Some(Track::new(timescale, track.begin, parts))
            }
        }
    };
    Segment {
        number: described.number,
        discontinuity: described.discontinuity,
        media_time_ms: described.media_time_ms,
        program_ms: described.program_ms,
        run: described.run,
        duration_ms: described.duration_ms,
        init: InitId {
            epoch,
            version: described.init,
        },
        tracks: [track(0), track(1)],
        progress: if described.gap { Progress::Gap } else { Progress::Whole },
    }
}
