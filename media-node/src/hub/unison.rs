//! What members of a group that begin together have in common: the epoch, where segments begin, discontinuities, dates and the
//! place of the encoder's clock. RFC 8216bis §6.2.4 wants it of the variants of one playlist. Pure: the time is passed in.
//!
//! Whoever comes first to a key frame decides whether a segment begins there; the others, whose key frames have the same time,
//! do as it did. Members whose key frames are elsewhere go by themselves.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Instant;

use super::cutter::{Cut, first_number};
use crate::media::timeline::{Hint, Placed, Step, Timeline};
use crate::media::unit::{TrackKind, UnitKind};
use crate::names::StreamName;

/// Members that begin this long after the first one still begin with it, milliseconds. So long, too, may it take until all of
/// them have come back.
const TOGETHER_MS: u64 = 3_000;
/// Births, and names that ended, that are remembered. Beyond, a member begins on its own.
const REMEMBERED: usize = 1_000;
/// Key frames that are remembered: more than any member is late by.
const PLACES: usize = 64;
/// A mapping of dates that was too far off for whoever came, so often in a row, is replaced.
const DATE_OFF: u32 = 4;
/// Offsets that are remembered.
const OFFSETS: usize = 4;

/// Handle of what some members share. The lock is a plain mutex, taken under a stream's, and nothing awaits under it.
#[derive(Clone, Debug)]
pub(super) struct Unison(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    group: StreamName,
    epoch: u64,
    first: u64,
    score: Mutex<Score>,
}

/// What they share.
#[derive(Debug)]
pub(super) struct Score {
    discontinuity: u64,
    places: VecDeque<Place>,
    /// What members add to their encoders' times, the newest last. An old one is not taken for long: it soon fits no more, unless its
    /// encoder still sends.
    offsets: Vec<Hint>,
    /// Newest media time with its date.
    date: Option<(i64, u64)>,
    /// How often in a row it was too far off.
    date_off: u32,
}

/// What was decided at a key frame.
#[derive(Clone, Copy, Debug)]
struct Place {
    media_time_ms: i64,
    cut: Option<Cut>,
    program_ms: Option<u64>,
}

/// What is known of a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Decided {
    /// Nobody has been here.
    Nothing,
    /// No segment begins here.
    GoOn,
    /// This one does.
    Cut(Cut),
}

impl Unison {
    fn new(group: &StreamName, epoch: u64, first: u64) -> Self {
        let score = Mutex::new(Score {
            discontinuity: 0,
            places: VecDeque::new(),
            offsets: Vec::new(),
            date: None,
            date_off: 0,
        });
        Self(Arc::new(Shared {
            group: group.clone(),
            epoch,
            first,
            score,
        }))
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Score> {
        self.0.score.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The group that they were born in.
    pub(super) fn group(&self) -> &StreamName {
        &self.0.group
    }

    /// The epoch of all of them.
    pub(super) fn epoch(&self) -> u64 {
        self.0.epoch
    }

    /// The least number that a segment of theirs has.
    pub(super) fn first(&self) -> u64 {
        self.0.first
    }
}

impl Score {
    /// Count of discontinuities: a break of one is one of all, so that the same content has the same number.
    pub(super) fn discontinuity(&self) -> u64 {
        self.discontinuity
    }

    /// A member's timeline broke; `count` is what its count becomes.
    pub(super) fn broke(&mut self, count: u64) {
        self.discontinuity = self.discontinuity.max(count);
    }

    /// What was decided at the key frame with this decoding time.
    pub(super) fn decided(&self, dts: i64) -> Decided {
        let place = self.places.iter().rev().find(|place| place.media_time_ms == dts);
        match place.map(|place| place.cut) {
            None => Decided::Nothing,
            Some(None) => Decided::GoOn,
            Some(Some(cut)) => Decided::Cut(cut),
        }
    }

    /// The number of the segment that is under way at `dts`, if it began at most `longest_ms` before.
    pub(super) fn under_way(&self, dts: i64, longest_ms: i64) -> Option<u64> {
        let mut begun = self.places.iter().rev().filter(|place| place.cut.is_some());
        let place = begun.find(|place| (0..longest_ms).contains(&(dts - place.media_time_ms)))?;
        place.cut.map(|cut| cut.segment)
    }

    /// Keeps what the first member at a key frame decided.
    pub(super) fn decide(&mut self, dts: i64, cut: Option<Cut>) {
        if self.decided(dts) != Decided::Nothing {
            return;
        }
        if self.places.len() == PLACES {
            self.places.pop_front();
        }
        self.places.push_back(Place {
            media_time_ms: dts,
            cut,
            program_ms: None,
        });
    }

    /// The date of a segment that begins at `dts`: one mapping of dates to media times for all. `next` is told the newest media time
    /// with its date, and says what follows from that, none if that is too far off what the clock says; `alone` is the member's own.
    pub(super) fn date(
        &mut self,
        dts: i64,
        next: impl FnOnce(i64, u64) -> Option<u64>,
        alone: impl FnOnce() -> u64,
    ) -> u64 {
        let place = self.places.iter().rposition(|place| place.media_time_ms == dts);
        if let Some(date) = place.and_then(|place| self.places[place].program_ms) {
            return date;
        }
        let date = match self.date {
            None => alone(),
            // Another one is ahead: its date holds, by the media.
            Some((newest, date)) if dts < newest => return date.saturating_add_signed(dts - newest),
            Some((newest, date)) => match next(newest, date) {
                Some(date) => date,
                None if self.date_off + 1 < DATE_OFF => {
                    self.date_off += 1;
                    return alone();
                }
                None => alone(),
            },
        };
        self.date_off = 0;
        self.date = Some((dts, date));
        if let Some(place) = place {
            self.places[place].program_ms = Some(date);
        }
        date
    }

    /// Places a message on a member's timeline: where another one's would be which comes from the same encoder. False for a
    /// fresh one that comes from another encoder than those that are here, so that it has nothing in common with them.
    pub(super) fn place(
        &mut self,
        timeline: &mut Timeline,
        (track, kind): (TrackKind, UnitKind),
        timestamp: u32,
        now: Instant,
    ) -> (Placed, bool) {
        let before = timeline.offset();
        let placed = timeline.place_among(track, kind, timestamp, now, &self.offsets);
        let found = timeline.offset().filter(|_| before != timeline.offset());
        let Some(offset) = found.filter(|_| !timeline.is_hinted()) else {
            return (placed, true);
        };
        let fresh = before.is_none() && placed.step == Step::Continuous;
        if fresh && !self.offsets.is_empty() {
            return (placed, false);
        }
        if self.offsets.len() == OFFSETS {
            self.offsets.remove(0);
        }
        let dts = placed.dts;
        self.offsets.push(Hint { offset, dts, at: now });
        (placed, true)
    }
}

/// The beginnings of groups of late, and which numbers names have used that ended. Bounded.
#[derive(Debug, Default)]
pub(super) struct Births {
    /// In order of time. One whose members have all ended is no more.
    fresh: VecDeque<(StreamName, Weak<Shared>)>,
    /// The highest numbers used, in order of time.
    ended: VecDeque<(StreamName, u64)>,
    /// The highest one that is no longer remembered.
    forgotten: Option<u64>,
}

impl Births {
    /// A stream of that name ended, whose segments, cut here, had numbers up to `used`.
    pub(super) fn ended(&mut self, name: &StreamName, used: u64) {
        if self.ended.len() == REMEMBERED {
            self.forgotten = self.ended.pop_front().map(|(_, used)| used).max(self.forgotten);
        }
        self.ended.push_back((name.clone(), used));
    }

    /// The highest number that may have been used for that name; none if there is no such.
    pub(super) fn used(&self, name: &StreamName) -> Option<u64> {
        let ended = self.ended.iter().rev().find(|(ended, _)| ended == name);
        ended.map(|(_, used)| *used).or(self.forgotten)
    }

    /// What a member of `group` that begins at `now_ms` has in common with others.
    ///
    /// No number may be used twice for a name: it joins the first of those that began at most [`TOGETHER_MS`] ago whose numbers are
    /// all above what its name has used. Where there is none, others may join it.
    pub(super) fn join(&mut self, group: &StreamName, name: &StreamName, now_ms: u64) -> Unison {
        let used = self.used(name);
        let fresh = |unison: &Unison| now_ms.checked_sub(unison.epoch()).is_some_and(|age| age <= TOGETHER_MS);
        self.fresh
            .retain(|(_, unison)| unison.upgrade().map(Unison).is_some_and(|unison| fresh(&unison)));
        let of_group = self.fresh.iter().filter(|(of, _)| of == group);
        let mut joinable = of_group.filter_map(|(_, unison)| unison.upgrade().map(Unison));
        if let Some(unison) = joinable.find(|unison| used.is_none_or(|used| used < unison.first())) {
            return unison;
        }
        let unison = Unison::new(group, now_ms, first_number(now_ms, used));
        if self.fresh.len() < REMEMBERED {
            self.fresh.push_back((group.clone(), Arc::downgrade(&unison.0)));
        }
        unison
    }
}

#[cfg(test)]
mod tests;
