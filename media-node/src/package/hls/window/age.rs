//! How a window's segments grow old and leave it, and what of them is held where.
//!
//! ```text
//! open ─▶ whole ─▶ old: one piece, in memory, in a file or at the upstream ─▶ past: not listed, can still be fetched ─▶ gone
//! ```

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::{Progress, Rendition, Segment, Track, Window};
use crate::package::hls::bounds::{Old, Span};
use crate::package::hls::disk::Stored;

/// A segment is old when the newer ones last this many target durations. Delta updates leave out what is older than six
/// (RFC 8216bis §4.4.3.8), and parts are listed within three: what is told of an old segment never changes.
const YOUNG_TARGETS: u64 = 8;
/// Segments that a window has at most: twelve hours of the shortest ones.
pub const MOST_SEGMENTS: usize = 43_200;
/// What has left the window stays for the window's time again, at most this long: a player reads a playlist more often, and
/// what can be played back would else be held twice.
const MOST_STAY: Duration = Duration::from_secs(60);

/// Bytes of old segments.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Holdings {
    /// In memory and nowhere else, listed.
    pub only: u64,
    /// In memory, though they can be had again.
    pub spare: u64,
    /// In memory and nowhere else, not listed any more.
    pub past: u64,
    /// In files, listed.
    pub disk: u64,
}

/// Bytes that can be had again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spare {
    /// When somebody asked for them last, in counts of such requests.
    pub used: u64,
    /// Of which segment.
    pub number: u64,
    /// Of which rendition.
    pub rendition: Rendition,
    /// How many.
    pub bytes: u64,
}

/// Bytes that no file holds so far.
#[derive(Clone, Debug)]
pub struct Unstored {
    /// Incarnation of the stream.
    pub epoch: u64,
    /// Of which segment.
    pub number: u64,
    /// Of which rendition.
    pub rendition: Rendition,
    /// They.
    pub bytes: Bytes,
}

impl Holdings {
    /// In memory.
    pub fn memory(self) -> u64 {
        self.only + self.spare + self.past
    }
}

impl Window {
    /// The shown segments that are old.
    pub fn old(&self) -> impl DoubleEndedIterator<Item = &Segment> + ExactSizeIterator {
        let shown = self.shown();
        let first = shown.clone().next().map_or(0, |segment| segment.number);
        let old = usize::try_from(self.old_to.saturating_sub(first)).unwrap_or(usize::MAX);
        let old = old.min(shown.len());
        shown.take(old)
    }

    /// Sets whether the upstream has what is here.
    pub fn can_have_again(&mut self, again: bool) {
        self.again = again;
    }

    /// How much is shown, milliseconds.
    pub fn shown_ms(&self) -> u64 {
        self.shown().map(|segment| segment.duration_ms).sum()
    }

    /// What old segments hold.
    pub fn holdings(&self) -> Holdings {
        let mut held = Holdings::default();
        let listed = self.segments.iter().take(self.index(self.old_to));
        for track in listed.flat_map(|segment| segment.tracks.iter().flatten()) {
            let kind = if self.spares(track) {
                &mut held.spare
            } else {
                &mut held.only
            };
            *kind += track.held_bytes();
            held.disk += track.stored_bytes();
        }
        let past = self
            .past
            .iter()
            .flat_map(|(_, segment)| segment.tracks.iter().flatten());
        for track in past.filter(|track| track.sum().is_some()) {
            let kind = if self.spares(track) {
                &mut held.spare
            } else {
                &mut held.past
            };
            *kind += track.held_bytes();
        }
        held
    }

    /// The track's bytes can be had again.
    fn spares(&self, track: &Track) -> bool {
        self.again || track.stored().is_some()
    }

    /// What is listed, for the one who decides what leaves.
    pub fn span(&self) -> Span {
        let old = |segment: &Segment| {
            let tracks = || segment.tracks.iter().flatten();
            Old {
                ms: segment.duration_ms,
                memory: tracks()
                    .filter(|track| !self.spares(track))
                    .map(Track::held_bytes)
                    .sum(),
                disk: tracks().map(Track::stored_bytes).sum(),
            }
        };
        Span {
            ms: self.segments.iter().map(|segment| segment.duration_ms).sum(),
            old: self.segments.iter().take(self.index(self.old_to)).map(old).collect(),
        }
    }

    /// The oldest `count` segments leave the window before their time, but only old ones.
    pub fn shrink(&mut self, count: usize, now: Instant) {
        self.retire(count.min(self.index(self.old_to)), now);
    }

    /// Bytes that can be had again.
    pub fn spare(&self) -> impl Iterator<Item = Spare> + '_ {
        let listed = self.segments.iter().take(self.index(self.old_to));
        let past = self.past.iter().map(|(_, segment)| segment);
        listed.chain(past).flat_map(move |segment| {
            Rendition::ALL.into_iter().filter_map(move |rendition| {
                let track = segment.track(rendition)?;
                let spare = track.sum().is_some() && self.spares(track) && track.held_bytes() > 0;
                spare.then(|| Spare {
                    used: track.used(),
                    number: segment.number,
                    rendition,
                    bytes: track.held_bytes(),
                })
            })
        })
    }

    /// Lets go of bytes that can be had again.
    pub fn forget(&mut self, rendition: Rendition, number: u64) {
        let again = self.again;
        if let Some(track) = self.track_mut(rendition, number)
            && (again || track.stored().is_some())
        {
            track.forget();
        }
    }

    /// When the past segments leave for good, and their bytes that are nowhere else; the next one first.
    pub fn past_bytes(&self) -> impl Iterator<Item = (Instant, u64)> + '_ {
        self.past.iter().map(|(until, segment)| {
            let tracks = segment.tracks.iter().flatten();
            let only = tracks.filter(|track| track.sum().is_some() && !self.spares(track));
            (*until, only.map(Track::held_bytes).sum())
        })
    }

    /// The next `count` past segments leave at once.
    pub fn forget_past(&mut self, count: usize) {
        self.past.drain(..count.min(self.past.len()));
    }

    /// Somebody asks for a segment.
    pub fn touch(&mut self, rendition: Rendition, number: u64, now: u64) {
        if let Some(track) = self.track_mut(rendition, number) {
            track.touch(now);
        }
    }

    /// Old bytes of segment `number` or the first one after it that no file holds.
    pub fn unstored(&self, number: u64) -> Option<Vec<Unstored>> {
        let old = self.index(self.old_to);
        let from = self.index(number).min(old);
        self.segments.range(from..old).find_map(|segment| {
            let unstored = Rendition::ALL.into_iter().filter_map(|rendition| {
                let track = segment.track(rendition).filter(|track| track.stored().is_none())?;
                Some(Unstored {
                    epoch: segment.init.epoch,
                    number: segment.number,
                    rendition,
                    bytes: track.bytes()?.clone(),
                })
            });
            let unstored: Vec<Unstored> = unstored.collect();
            (!unstored.is_empty()).then_some(unstored)
        })
    }

    /// From now on a file holds the segment.
    pub fn store(&mut self, rendition: Rendition, number: u64, file: Arc<Stored>) {
        if let Some(track) = self.track_mut(rendition, number) {
            track.store(file);
        }
    }

    pub(super) fn track_mut(&mut self, rendition: Rendition, number: u64) -> Option<&mut Track> {
        let first = self.segments.front().map_or(u64::MAX, |segment| segment.number);
        let segment = match number.checked_sub(first) {
            Some(index) => self.segments.get_mut(usize::try_from(index).ok()?)?,
            None => {
                let mut past = self.past.iter_mut().map(|(_, segment)| segment);
                past.rfind(|segment| segment.number == number)?
            }
        };
        segment.tracks[rendition.index()].as_mut()
    }

    /// Lets go of what is outside of the window: a function of the segments alone, the same on every node.
    pub(super) fn trim(&mut self, now: Instant) {
        let mut newer: u64 = self.segments.iter().skip(1).map(|segment| segment.duration_ms).sum();
        let mut count = 0;
        for segment in self.segments.iter().skip(1) {
            if newer < self.targets.window_ms && self.segments.len() - count <= MOST_SEGMENTS {
                break;
            }
            newer -= segment.duration_ms;
            count += 1;
        }
        self.retire(count, now);
        self.age();
    }

    /// What the newer ones have made old is one piece from now on.
    pub(super) fn age(&mut self) {
        let young = u64::from(self.targets.segment_ms) * YOUNG_TARGETS;
        let mut newer = 0;
        let mut at = self.segments.len();
        if young == 0 {
            return; // nothing is announced yet
        }
        while at > 0 && newer < young {
            at -= 1;
            newer += self.segments[at].duration_ms;
        }
        let from = self.index(self.old_to);
        for segment in self.segments.range_mut(from.min(at)..at) {
            for track in segment.tracks.iter_mut().flatten() {
                track.age();
                if self.again {
                    track.forget();
                }
            }
        }
        if let Some(young) = self.segments.get(at).filter(|_| at > 0) {
            self.old_to = self.old_to.max(young.number);
        }
    }

    pub(super) fn retire(&mut self, count: usize, now: Instant) {
        let window = Duration::from_millis(self.targets.window_ms).min(MOST_STAY);
        let stay = window.max(Duration::from_millis(self.targets.segment_ms.into()));
        while self.past.front().is_some_and(|(until, _)| *until <= now) {
            self.past.pop_front();
        }
        let leaving: VecDeque<Segment> = self.segments.drain(..count).collect();
        self.holes = match self.segments.front() {
            Some(first) => self.holes.split_off(&first.number),
            None => BTreeSet::new(),
        };
        let known = leaving.into_iter().filter(|segment| segment.progress != Progress::Hole);
        // One that broke off while it was made stays open: it is never whole.
        self.past.extend(known.map(|segment| (now + stay, segment)));
        if self.inits.len() <= 1 && !self.segments.is_empty() {
            return; // of which everything is
        }
        let past = self.past.iter().map(|(_, segment)| segment.init);
        let used: BTreeSet<_> = past.chain(self.segments.iter().map(|segment| segment.init)).collect();
        self.inits
            .retain(|id, _| used.contains(id) || self.segments.is_empty() && id.epoch == self.epoch);
    }
}
