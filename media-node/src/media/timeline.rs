//! Maps the 32-bit timestamps of a publisher to the stream's 64-bit decoding times, which never go back on a track.
//!
//! What happens to a publisher's clock: it wraps after 49.7 days, begins anywhere, jumps when an encoder starts again
//! behind one connection, lags between audio and video, and begins again when the publisher returns. Pure: `now` is passed in.

use std::time::{Duration, Instant};

use super::unit::{TrackKind, UnitKind};

/// A step forward beyond the wall time that passed, by more than this, is a jump: milliseconds.
const MAX_AHEAD: i64 = 3_000;
/// A step back by more than this is a jump: milliseconds. Less is jitter between tracks.
const MAX_BACK: i64 = 1_000;
/// Distance of frames that is taken for granted until one is seen: milliseconds.
const FIRST_GAP: i64 = 33;
/// Where a fresh timeline with room begins, milliseconds.
const ROOM: i64 = 1_000;
/// Members of a group that are further apart than this, in milliseconds, are not of the same encoder: where a timeline goes on, which
/// the time that passed puts in place roughly,
const MAX_APART: u64 = 1_500;
/// and on a fresh one. Encoders that are started one after the other all begin at 0.
const MAX_APART_FRESH: u64 = 500;

/// A place on the stream's timeline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placed {
    /// Decoding time, milliseconds.
    pub dts: i64,
    /// How it follows what came before.
    pub step: Step,
}

/// How a unit follows the one before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// As the publisher's clock says.
    Continuous,
    /// The publisher's clock jumped or is a new one; the timeline goes on without a jump.
    Discontinuity,
}

/// What another member of a group adds to its encoder's time.
#[derive(Clone, Copy, Debug)]
pub struct Hint {
    /// That, milliseconds.
    pub offset: i64,
    /// A decoding time that it gave by that,
    pub dts: i64,
    /// and when.
    pub at: Instant,
}

/// The timeline of one publisher's session.
#[derive(Clone, Debug)]
pub struct Timeline {
    /// Newest timestamp of the publisher, unwrapped.
    source: i64,
    /// What is added to the publisher's time; none before the first media.
    offset: Option<i64>,
    /// The offset before the last jump: tracks may change over one after the other, or never agree at all.
    offset_before: Option<i64>,
    /// Newest decoding time of all tracks.
    newest: i64,
    video: Track,
    audio: Track,
    /// Where a resumed timeline goes on: after this, by the time since its last media. On a fresh one the first media is at 0.
    begin: i64,
    resumed: Option<Instant>,
    last_media: Option<Instant>,
    /// The offset is that of a hint.
    hinted: bool,
}

#[derive(Clone, Copy, Debug)]
struct Track {
    last: Option<i64>,
    gap: i64,
}

impl Default for Timeline {
    fn default() -> Self {
        let track = Track {
            last: None,
            gap: FIRST_GAP,
        };
        Self {
            source: 0,
            offset: None,
            offset_before: None,
            newest: 0,
            video: track,
            audio: track,
            begin: 0,
            resumed: None,
            last_media: None,
            hinted: false,
        }
    }
}

impl Timeline {
    /// A fresh one: the publisher's first media is at 0.
    pub fn new() -> Self {
        Self::default()
    }

    /// A fresh one of a member of a group: the first media is at a second, so that others that begin a little earlier by the
    /// encoder's clock have room.
    pub fn with_room() -> Self {
        Self {
            begin: ROOM,
            ..Self::default()
        }
    }

    /// What is added to the publisher's time; none before the first media.
    pub fn offset(&self) -> Option<i64> {
        self.offset
    }

    /// True if that is what another member of the group adds.
    pub fn is_hinted(&self) -> bool {
        self.hinted
    }

    /// Goes on after `last_dts`, the newest decoding time of the publisher before, whose last media came in at
    /// `last_media`: the gap is the time from then to the first media, which may come long after the connection.
    pub fn resume(last_dts: i64, last_media: Instant) -> Self {
        let last_dts = last_dts.clamp(0, i64::MAX / 4); // an upstream's clock may have said anything
        let track = Track {
            last: Some(last_dts),
            gap: FIRST_GAP,
        };
        Self {
            newest: last_dts,
            video: track,
            audio: track,
            begin: last_dts,
            resumed: Some(last_media),
            ..Self::default()
        }
    }

    /// Places a message. Only pictures and sound move the timeline: configurations and script data often come with
    /// timestamp 0 and go where the timeline is.
    pub fn place(&mut self, track: TrackKind, kind: UnitKind, timestamp: u32, now: Instant) -> Placed {
        self.place_among(track, kind, timestamp, now, &[])
    }

    /// As [`Timeline::place`], for a member of a group: where a new offset is needed it is the newest of these that fits.
    pub fn place_among(
        &mut self,
        track: TrackKind,
        kind: UnitKind,
        timestamp: u32,
        now: Instant,
        hints: &[Hint],
    ) -> Placed {
        let media = matches!(kind, UnitKind::Key | UnitKind::Frame) && track != TrackKind::Script;
        match (media, self.offset) {
            (false, _) => Placed {
                dts: self.passing(timestamp),
                step: Step::Continuous,
            },
            (true, None) => self.begin(track, timestamp, now, hints),
            (true, Some(offset)) => self.go_on(track, timestamp, offset, now, hints),
        }
    }

    /// Where something goes that does not move the timeline.
    fn passing(&self, timestamp: u32) -> i64 {
        let Some(offset) = self.offset else {
            return self.begin;
        };
        let dts = unwrap_near(timestamp, self.source) + offset;
        match (self.newest - MAX_BACK..=self.newest + MAX_BACK).contains(&dts) {
            true => dts.max(0),
            false => self.newest,
        }
    }

    fn begin(&mut self, track: TrackKind, timestamp: u32, now: Instant, hints: &[Hint]) -> Placed {
        let (dts, step) = match self.resumed {
            Some(last_media) => {
                let away = millis(now.duration_since(last_media)).max(1);
                (self.begin.saturating_add(away), Step::Discontinuity)
            }
            None => (self.begin, Step::Continuous),
        };
        self.source = timestamp.into();
        let hinted = match self.resumed {
            Some(_) => self.hinted(hints, self.begin, |_| (dts, MAX_APART)),
            None => self.hinted(hints, -1, |hint| {
                (
                    hint.dts + millis(now.saturating_duration_since(hint.at)),
                    MAX_APART_FRESH,
                )
            }),
        };
        self.hinted = hinted.is_some();
        let dts = hinted.unwrap_or(dts);
        self.offset = Some(dts - self.source);
        self.advance(track, dts, now);
        Placed { dts, step }
    }

    fn go_on(&mut self, track: TrackKind, timestamp: u32, offset: i64, now: Instant, hints: &[Hint]) -> Placed {
        self.source = unwrap_near(timestamp, self.source);
        let passed = self.last_media.map_or(Duration::ZERO, |last| now.duration_since(last));
        let ahead = self.newest + MAX_AHEAD + millis(passed);
        let behind = self.track(track).last.unwrap_or(self.newest) - MAX_BACK;
        let fits = |offset: i64| (behind..=ahead).contains(&(self.source + offset));
        let (dts, step) = if fits(offset) {
            (self.source + offset, Step::Continuous)
        } else if let Some(before) = self.offset_before.filter(|before| fits(*before)) {
            (self.source + before, Step::Continuous)
        } else {
            let dts = self.newest + self.track(track).gap;
            let hinted = self.hinted(hints, self.newest, |_| (dts, MAX_APART));
            self.hinted = hinted.is_some();
            let dts = hinted.unwrap_or(dts);
            self.offset_before = Some(offset);
            self.offset = Some(dts - self.source);
            (dts, Step::Discontinuity)
        };
        let dts = dts.max(self.track(track).last.unwrap_or(0));
        self.advance(track, dts, now);
        Placed { dts, step }
    }

    /// Where the newest hint puts the newest timestamp that puts it after `after`, and where it is expected: not further from there than
    /// is said with it.
    fn hinted(&self, hints: &[Hint], after: i64, expected: impl Fn(&Hint) -> (i64, u64)) -> Option<i64> {
        hints.iter().rev().find_map(|hint| {
            let hinted = self.source.saturating_add(hint.offset);
            let (expected, apart) = expected(hint);
            (hinted > after && hinted.abs_diff(expected) <= apart).then_some(hinted)
        })
    }

    fn advance(&mut self, track: TrackKind, dts: i64, now: Instant) {
        let state = self.track(track);
        if let Some(gap) = state
            .last
            .map(|last| dts - last)
            .filter(|gap| (1..=MAX_BACK).contains(gap))
        {
            state.gap = gap;
        }
        state.last = Some(dts);
        self.newest = self.newest.max(dts);
        self.last_media = Some(now);
    }

    fn track(&mut self, track: TrackKind) -> &mut Track {
        match track {
            TrackKind::Audio => &mut self.audio,
            TrackKind::Video | TrackKind::Script => &mut self.video,
        }
    }
}

/// The 64-bit time nearest to `near` whose low 32 bits are `timestamp`: for pulls that follow an upstream's clock.
pub fn unwrap_near(timestamp: u32, near: i64) -> i64 {
    near.saturating_add(i64::from(timestamp.wrapping_sub(near as u32) as i32))
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX / 4)
}

#[cfg(test)]
mod tests;
