//! Cuts the origin's timeline into segments: a pure function of the units.

use std::cmp::Ordering;

use super::unison::{Decided, Score};
use crate::media::unit::{TrackKind, Unit, UnitKind};

/// Target durations that the origin announces in its clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Targets {
    /// Part duration, milliseconds.
    pub part_ms: u32,
    /// Shortest segment, milliseconds; a segment ends at the first key frame after it. At least 1000.
    pub segment_ms: u32,
    /// Longest segment, milliseconds: one without a key frame by then ends where it is. A multiple of 1000.
    pub longest_ms: u32,
    /// How much can be played back, milliseconds of media.
    pub window_ms: u64,
}

/// How much longer than `longest_ms` a segment waits for its key frame, by the track that comes then: playlists round
/// durations to whole seconds (RFC 8216bis §4.4.3.1), and audio is often interleaved ahead of the key frame that is due.
const PATIENCE_MS: [i64; 2] = [250, 400];

impl Default for Targets {
    fn default() -> Self {
        Self {
            part_ms: 200,
            segment_ms: 1_000,
            longest_ms: 4_000,
            window_ms: 30_000,
        }
    }
}

/// By how many seconds the first number of an epoch is ahead of the wall clock.
const LEAD: u64 = 3;
/// Numbers that segments of a running stream leave for breaks.
const SPARE: u64 = 1;

/// The number of the first segment of an epoch: numbers begin at the wall clock in seconds, with nothing stored (see
/// [`Cutter::in_time`] for why a restarted origin never goes back), and above `used`, the highest one that this process has used for
/// the name. A name that comes and goes several times within a second is the only one whose numbers are ahead of an origin that would
/// be started anew, by one each time: the time that starting takes makes up for a few.
pub(super) fn first_number(epoch_ms: u64, used: Option<u64>) -> u64 {
    (epoch_ms / 1_000 + LEAD).max(used.map_or(0, |used| used.saturating_add(1)))
}

/// What the next clock message says of the cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cut {
    pub(super) segment: u64,
    pub(super) discontinuity: u64,
}

/// State of the cutting of one epoch.
#[derive(Debug)]
pub(super) struct Cutter {
    targets: Targets,
    next: Cut,
    begun_at: Option<i64>,
    broken: bool,
}

impl Cutter {
    /// Numbers begin with `first`, see [`first_number`].
    pub(super) fn new(targets: Targets, first: u64) -> Self {
        Self {
            targets,
            next: Cut {
                segment: first,
                discontinuity: 0,
            },
            begun_at: None,
            broken: false,
        }
    }

    pub(super) fn targets(&self) -> Targets {
        self.targets
    }

    /// The timeline broke (a publisher came back, timestamps jumped): the next place to cut is a discontinuity.
    pub(super) fn discontinuity(&mut self) {
        self.broken = self.begun_at.is_some();
    }

    /// True if the next number, and `spare` more, are below the one that an origin would begin with which was started anew at this
    /// moment: no number may be used again. Publishers that return or send faster than time passes would otherwise use them up.
    fn in_time(&self, spare: u64, wall_ms: u64) -> bool {
        self.next.segment + spare < wall_ms / 1_000 + LEAD
    }

    /// The cut before `unit`, which came at `wall_ms` (Unix milliseconds), if one is due. `has_video` says whether key frames
    /// rule the cutting.
    pub(super) fn before(&mut self, unit: &Unit, has_video: bool, wall_ms: u64) -> Option<Cut> {
        let may_cut = may_cut(unit, has_video);
        (may_cut && self.due(unit.dts, wall_ms) || self.overdue(unit)).then(|| self.cut(unit.dts))
    }

    /// As [`Cutter::before`], for a member of a group: at the key frames at which the others cut, with their numbers where that is
    /// possible. A number is taken over only as the first one of all or where it is the next one anyway, and the one whose it was had
    /// the time for it: what [`Cutter::in_time`] says holds for every member.
    pub(super) fn in_unison(&mut self, unit: &Unit, has_video: bool, wall_ms: u64, score: &mut Score) -> Option<Cut> {
        let broke = self.broken;
        if broke {
            score.broke(self.next.discontinuity + 1);
        }
        let begun = self.begun_at.is_some();
        let long = self.begun_at.map_or(0, |begun| unit.dts - begun);
        // As in [`Cutter::due`]: the next key frame might come too late.
        let long = long >= i64::from(self.targets.longest_ms) / 2;
        self.broken |= begun && score.discontinuity() > self.next.discontinuity;
        let may_cut = may_cut(unit, has_video);
        let key = may_cut && unit.track == TrackKind::Video;
        let decided = if key { score.decided(unit.dts) } else { Decided::Nothing };
        let cuts = may_cut
            && match decided {
                _ if !begun => true,
                Decided::Cut(cut) => match cut.segment.cmp(&self.next.segment) {
                    Ordering::Equal => true,
                    // One that broke alone has used up a number: it waits for the others where it can.
                    Ordering::Less => long && self.in_time(0, wall_ms),
                    Ordering::Greater => long || self.in_time(0, wall_ms),
                },
                // Whoever went on here may have key frames that this one lacks, and have cut at one of them.
                Decided::GoOn => long || self.broken && self.in_time(0, wall_ms),
                Decided::Nothing => self.due(unit.dts, wall_ms),
            };
        if !cuts && !self.overdue(unit) {
            if key {
                score.decide(unit.dts, None);
            }
            return None;
        }
        if !begun {
            let number = match decided {
                Decided::Cut(cut) => Some(cut.segment),
                _ => score.under_way(unit.dts, self.targets.longest_ms.into()),
            };
            self.next.segment = self.next.segment.max(number.unwrap_or(0));
        }
        // The others may have broken since the first one cut here: this one does so where they did.
        let count = match decided {
            Decided::Cut(cut) if !broke => cut.discontinuity.max(self.next.discontinuity),
            _ => score.discontinuity(),
        };
        self.broken = false;
        self.next.discontinuity = count;
        let cut = self.cut(unit.dts);
        if key {
            score.decide(unit.dts, Some(cut));
        }
        Some(cut)
    }

    fn due(&self, dts: i64, wall_ms: u64) -> bool {
        self.begun_at.is_none_or(|begun| {
            let long = dts - begun;
            // A break may be a little late, inside a segment whose times go on. Half of the longest segment is not waited
            // beyond: the next key frame might come too late.
            self.broken && self.in_time(0, wall_ms)
                || long >= i64::from(self.targets.segment_ms)
                    && (self.in_time(SPARE, wall_ms) || long >= i64::from(self.targets.longest_ms) / 2)
        })
    }

    fn overdue(&self, unit: &Unit) -> bool {
        let patience = match unit.track {
            TrackKind::Video => PATIENCE_MS[0],
            TrackKind::Audio => PATIENCE_MS[1],
            TrackKind::Script => return false,
        };
        let longest = i64::from(self.targets.longest_ms);
        self.begun_at
            .is_some_and(|begun| unit.dts - begun >= longest + patience)
    }

    fn cut(&mut self, dts: i64) -> Cut {
        let mut cut = self.next;
        if std::mem::take(&mut self.broken) {
            cut.discontinuity += 1;
        }
        self.begun_at = Some(dts);
        self.next = Cut {
            segment: cut.segment + 1,
            ..cut
        };
        cut
    }
}

/// True where a segment may begin: at key frames, and at any sound where there is nothing else.
fn may_cut(unit: &Unit, has_video: bool) -> bool {
    match unit.track {
        TrackKind::Video => unit.kind == UnitKind::Key,
        TrackKind::Audio => !has_video && unit.kind == UnitKind::Frame,
        TrackKind::Script => false,
    }
}

#[cfg(test)]
mod tests;
