//! What of a stream can be played back: its segments with their parts, and the headers that they need. No clock, no I/O.
//!
//! Segments have consecutive numbers. One that this node has not seen whole is a hole until the upstream describes it, and
//! nothing behind a hole is shown: playlists never take back what they said.

mod age;
mod learn;
mod track;

use std::collections::{BTreeMap, BTreeSet, VecDeque, vec_deque};
use std::time::Instant;

use crate::media::clock::Run;

pub use age::{Holdings, MOST_SEGMENTS, Spare, Unstored};
pub use track::{InitTrack, Part, Rendition, Track};

/// Which headers: an epoch of the stream and the version of its configurations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InitId {
    /// Incarnation of the stream, Unix milliseconds.
    pub epoch: u64,
    /// Version of its configurations within the epoch.
    pub version: u32,
}

/// How far a segment is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Its parts are being made.
    Open,
    /// All of it is known, and its bytes are here or at the upstream.
    Whole,
    /// Not seen whole here, and not described by the upstream so far.
    Hole,
    /// Lost for good: playlists say so (EXT-X-GAP).
    Gap,
}

/// One segment of all renditions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Media sequence number.
    pub number: u64,
    /// Count of discontinuities within the epoch.
    pub discontinuity: u64,
    /// Decoding time of its first unit, milliseconds.
    pub media_time_ms: i64,
    /// When its first unit was taken in, Unix milliseconds.
    pub program_ms: u64,
    /// Of which run it is.
    pub run: Run,
    /// Duration, milliseconds; as far as it is, while open.
    pub duration_ms: u64,
    /// Headers that it needs.
    pub init: InitId,
    /// Video and audio, where it has them.
    pub tracks: [Option<Track>; 2],
    /// How far it is.
    pub progress: Progress,
}

impl Segment {
    /// One rendition of it.
    pub fn track(&self, rendition: Rendition) -> Option<&Track> {
        self.tracks[rendition.index()].as_ref()
    }

    fn hole(number: u64, init: InitId) -> Self {
        Self {
            number,
            discontinuity: 0,
            media_time_ms: 0,
            program_ms: 0,
            run: Run::default(),
            duration_ms: 0,
            init,
            tracks: [None, None],
            progress: Progress::Hole,
        }
    }
}

/// What the origin announces of its playlists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Targets {
    /// Part duration, milliseconds.
    pub part_ms: u32,
    /// Longest segment, milliseconds.
    pub segment_ms: u32,
    /// How much can be played back, milliseconds.
    pub window_ms: u64,
}

/// Headers of one version.
pub type Inits = [Option<InitTrack>; 2];

/// A stream's window. Bounded by the time that the origin announces, and by [`age::MOST_SEGMENTS`]: a segment that has left it
/// stays for a while, so that a player which has just read of it can still fetch it (RFC 8216bis §6.2.2).
#[derive(Debug)]
pub struct Window {
    epoch: u64,
    targets: Targets,
    segments: VecDeque<Segment>,
    inits: BTreeMap<InitId, Inits>,
    past: VecDeque<(Instant, Segment)>,
    /// Numbers of the holes.
    holes: BTreeSet<u64>,
    /// What is before this number is old: complete for good, its parts not told apart any more.
    old_to: u64,
    /// What is here can be had again: old segments need not be held until somebody asks for them.
    again: bool,
    /// The first number that may be shown: where the upstream's window begins.
    not_before: u64,
    /// Somebody may have been shown what is here: nothing may be put in front of it that is not next to it.
    settled: bool,
    ended: bool,
}

/// Longest run of holes that is waited for; a longer one begins the window anew.
const MOST_HOLES: u64 = 64;

impl Window {
    /// Nothing so far.
    pub fn new() -> Self {
        Self {
            epoch: 0,
            targets: Targets {
                part_ms: 0,
                segment_ms: 0,
                window_ms: 0,
            },
            segments: VecDeque::new(),
            inits: BTreeMap::new(),
            past: VecDeque::new(),
            holes: BTreeSet::new(),
            old_to: 0,
            again: false,
            not_before: 0,
            settled: false,
            ended: false,
        }
    }

    /// Incarnation of the stream; 0 before anything is known.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// What the origin announces.
    pub fn targets(&self) -> Targets {
        self.targets
    }

    /// No more will come.
    pub fn ended(&self) -> bool {
        self.ended
    }

    /// The segments that playlists show, oldest first.
    pub fn shown(&self) -> vec_deque::Iter<'_, Segment> {
        let held = if self.settled { self.segments.len() } else { 0 };
        let from = self.index(self.not_before).min(held);
        let hole = self.holes.range(self.not_before..).next();
        let to = hole.map_or(held, |hole| self.index(*hole).min(held));
        self.segments.range(from.min(to)..to)
    }

    /// Where in `segments` the number is, or would be.
    fn index(&self, number: u64) -> usize {
        let first = self.segments.front().map_or(0, |segment| segment.number);
        usize::try_from(number.saturating_sub(first))
            .unwrap_or(usize::MAX)
            .min(self.segments.len())
    }

    /// Shown segments that are complete.
    pub fn whole(&self) -> impl DoubleEndedIterator<Item = &Segment> {
        self.shown().filter(|segment| segment.progress != Progress::Open)
    }

    /// The newest segment that has something of `rendition` to show.
    pub fn newest(&self, rendition: Rendition) -> Option<&Segment> {
        self.shown().rev().find(|segment| {
            segment.progress != Progress::Open || segment.track(rendition).is_some_and(|track| !track.parts.is_empty())
        })
    }

    /// The first hole, if there is one.
    pub fn first_hole(&self) -> Option<u64> {
        self.holes.first().copied()
    }

    /// Headers of a version; none if they are not known.
    pub fn inits(&self, id: InitId) -> Option<&Inits> {
        self.inits.get(&id)
    }

    /// Headers of the newest segment shown.
    pub fn newest_inits(&self) -> Option<&Inits> {
        self.shown()
            .next_back()
            .and_then(|segment| self.inits.get(&segment.init))
    }

    /// The segment of that number, also one that has left the window.
    pub fn segment(&self, number: u64) -> Option<&Segment> {
        let first = self.segments.front().map_or(u64::MAX, |segment| segment.number);
        match number.checked_sub(first) {
            Some(index) => self.segments.get(usize::try_from(index).ok()?),
            None => self
                .past
                .iter()
                .map(|(_, segment)| segment)
                .rfind(|segment| segment.number == number),
        }
    }

    /// True if the segment is complete, and there is nothing of this rendition in it though the stream has it: it is lost, or
    /// never came.
    pub fn lacks(&self, number: u64, rendition: Rendition) -> bool {
        let complete = |segment: &&Segment| matches!(segment.progress, Progress::Whole | Progress::Gap);
        self.segment(number).filter(complete).is_some_and(|segment| {
            let inits = self.inits(segment.init);
            segment.track(rendition).is_none() && inits.is_some_and(|inits| inits[rendition.index()].is_some())
        })
    }

    /// The oldest number of the epoch that is held.
    pub fn first_number(&self) -> Option<u64> {
        self.segments.front().map(|segment| segment.number)
    }

    /// The newest number that is held, shown or not.
    pub fn last_number(&self) -> Option<u64> {
        self.segments.back().map(|segment| segment.number)
    }

    /// Begins an epoch: what there was stays to be fetched for its time, and is not shown any more.
    pub fn restart(&mut self, epoch: u64, now: Instant) {
        if self.epoch == epoch {
            return;
        }
        self.settled = false;
        self.epoch = epoch;
        self.ended = false;
        self.not_before = 0;
        self.retire(self.segments.len(), now);
        self.old_to = 0;
    }

    /// Opens a segment behind the newest. Numbers in between become holes; one that is not newer is refused.
    pub fn open(&mut self, segment: Segment, inits: Inits, targets: Targets, now: Instant) -> bool {
        let next = self.segments.back().map_or(segment.number, |last| last.number + 1);
        if segment.number < next {
            return false;
        }
        self.targets = targets;
        self.inits.entry(segment.init).or_insert(inits);
        if segment.number - next > MOST_HOLES {
            self.retire(self.segments.len(), now);
        } else {
            let holes = (next..segment.number).map(|number| Segment::hole(number, segment.init));
            self.segments.extend(holes);
            self.holes.extend(next..segment.number);
        }
        self.segments.push_back(segment);
        true
    }

    /// Appends a part to the open segment. `begin` is its decoding time.
    pub fn push(&mut self, rendition: Rendition, timescale: u32, begin: u64, part: Part) {
        let Some(segment) = self.segments.back_mut().filter(|last| last.progress == Progress::Open) else {
            return;
        };
        let track = segment.tracks[rendition.index()].get_or_insert_with(|| Track::new(timescale, begin, Vec::new()));
        track.parts.push(part);
        segment.duration_ms = segment.tracks.iter().flatten().map(Track::ms).max().unwrap_or(0);
    }

    /// Closes the open segment. `duration_ms` is given where the next segment's beginning says it. One of which something was
    /// lost becomes a hole.
    pub fn close(&mut self, duration_ms: Option<u64>, whole: bool, now: Instant) {
        let Some(segment) = self.segments.back_mut().filter(|last| last.progress == Progress::Open) else {
            return;
        };
        segment.duration_ms = duration_ms.unwrap_or(segment.duration_ms);
        segment.progress = Progress::Whole;
        segment.tracks.iter_mut().flatten().for_each(Track::join);
        if !whole {
            *segment = Segment::hole(segment.number, segment.init);
            self.holes.insert(segment.number);
        }
        self.trim(now);
    }

    /// Takes what an earlier stream of this name has left, to be fetched for its time.
    pub fn inherit(&mut self, before: Self, now: Instant) {
        let mut before = before;
        before.retire(before.segments.len(), now);
        self.past = before.past;
        self.inits = before.inits;
    }

    /// The stream has ended.
    pub fn end(&mut self) {
        self.ended = true;
    }

    /// From now on, what is here may be shown.
    pub fn settle(&mut self) {
        self.settled = true;
    }

    /// True once [`Window::settle`] has been called.
    pub fn settled(&self) -> bool {
        self.settled
    }
}

impl Default for Window {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests;
