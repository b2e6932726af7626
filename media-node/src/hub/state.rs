//! What a stream's lock guards, and how a unit becomes an item: cutting, starts, loss counting.

use std::sync::Arc;
use std::time::{Duration, Instant};

use headwater_contract::{StreamEnd, StreamSource};
use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use super::broadcast::{Ring, Start, What};
use super::cutter::{Cut, Cutter, first_number};
use super::registry::Limits;
use super::unison::Unison;
use crate::media::clock::{Clock, Run};
use crate::media::meter::BitrateMeter;
use crate::media::pace::AudioPace;
use crate::media::track::{Learned, Tracks};
use crate::media::unit::{TrackKind, Unit, UnitKind};
use crate::names::StreamName;

/// Silence of a track that the metadata leaves out, after which it is gone: milliseconds of media.
const GONE_MS: i64 = 500;

/// Window of the measured bit rate: milliseconds of media.
const METER_MS: i64 = 4_000;

pub(super) struct State {
    pub(super) ring: Ring,
    pub(super) restarts: u64,
    pub(super) tracks: Arc<Tracks>,
    pub(super) epoch: u64,
    pub(super) source: StreamSource,
    pub(super) since: Timestamp,
    pub(super) clocking: Clocking,
    /// The least number that a segment which is cut here may have, and the highest one that such a segment has had.
    first: u64,
    pub(super) used: Option<u64>,
    /// What it shares with members of its group that began when it did.
    pub(super) unison: Option<Unison>,
    pub(super) clock: Option<Arc<Clock>>,
    pub(super) units: u64,
    pub(super) lost_units: u64,
    pub(super) first_dts: Option<i64>,
    pub(super) newest_dts: i64,
    /// Newest decoding time of video and audio, configurations included.
    pub(super) newest_of: [Option<i64>; 2],
    /// Place of the first key frame before the tracks were complete, and the count of units before it.
    pub(super) unsettled_key: Option<(u64, u64)>,
    pub(super) last_media: Option<Instant>,
    pub(super) session: Session,
    pub(super) meter: BitrateMeter,
    /// Counts the samples of our own timeline.
    pub(super) audio: AudioPace,
    pub(super) ended: Option<StreamEnd>,
}

/// Who cuts the timeline.
pub(super) enum Clocking {
    /// Not known before the first unit.
    Undecided,
    /// This node.
    Own(Cutter),
    /// The upstream: its clock messages come with the stream. Holds its last clock's unit count and our own then.
    Upstream { theirs: u64, ours: u64 },
}

/// Who feeds the stream.
pub(super) enum Session {
    Live {
        id: u64,
        displaced: CancellationToken,
        seated: Instant,
    },
    Vacant {
        since: Instant,
        grace: Duration,
        reason: StreamEnd,
    },
}

impl State {
    /// Of a stream whose name has used numbers up to `used`; `unison` is for a member of a group.
    pub(super) fn new(source: StreamSource, used: Option<u64>, unison: Option<Unison>) -> Self {
        let epoch = unison.as_ref().map_or_else(now_ms, Unison::epoch);
        let first = unison.as_ref().map_or(first_number(epoch, used), Unison::first);
        Self {
            ring: Ring::default(),
            restarts: 0,
            tracks: Arc::default(),
            epoch,
            source,
            since: Timestamp::now(),
            clocking: Clocking::Undecided,
            first,
            used: None,
            unison,
            clock: None,
            units: 0,
            lost_units: 0,
            first_dts: None,
            newest_dts: 0,
            newest_of: [None; 2],
            unsettled_key: None,
            last_media: None,
            session: Session::Vacant {
                since: Instant::now(),
                grace: Duration::ZERO,
                reason: StreamEnd::PublisherLost,
            },
            meter: BitrateMeter::new(METER_MS),
            audio: AudioPace::default(),
            ended: None,
        }
    }

    pub(super) fn playable(&self) -> bool {
        self.ring.newest_start().is_some()
    }

    pub(super) fn group(&self) -> Option<StreamName> {
        self.clock.as_ref()?.group.clone()
    }

    pub(super) fn owned_by(&self, session: u64) -> bool {
        self.ended.is_none() && matches!(self.session, Session::Live { id, .. } if id == session)
    }

    pub(super) fn restart(&mut self) {
        self.restarts += 1;
        self.ring.clear();
        self.tracks = Arc::default();
        self.clocking = Clocking::Undecided;
        self.clock = None;
        self.units = 0;
        self.first_dts = None;
        self.newest_dts = 0; // times begin anew, and so does what is measured by them
        self.newest_of = [None; 2];
        self.meter = BitrateMeter::new(METER_MS);
        self.audio = AudioPace::default();
        self.unsettled_key = None;
    }

    /// It has nothing in common any more with those that it began with: not even the epoch, if it has no segment yet.
    pub(super) fn leave(&mut self, now_ms: u64) {
        self.unison = None;
        if let Clocking::Undecided = self.clocking {
            self.epoch = now_ms;
            self.first = self.first.max(first_number(now_ms, None));
        }
    }

    /// How many units were lost before a clock of the upstream, since the one before.
    pub(super) fn lost_before(&self, clock: &Clock) -> u64 {
        match self.clocking {
            Clocking::Upstream { theirs, ours } => {
                let sent = clock.units.saturating_sub(theirs);
                sent.saturating_sub(self.units - ours)
            }
            Clocking::Undecided | Clocking::Own(_) => 0,
        }
    }

    /// Goes on by a clock of the upstream, and counts what was lost.
    pub(super) fn follow(&mut self, clock: &Clock) {
        self.lost_units += self.lost_before(clock);
        self.clocking = Clocking::Upstream {
            theirs: clock.units,
            ours: self.units,
        };
        self.newest_dts = self.newest_dts.max(clock.media_time_ms); // the unit that follows
    }

    /// Appends a unit; `group` says what the stream is a quality of.
    pub(super) fn append(
        &mut self,
        unit: Unit,
        learned: Option<Learned>,
        limits: Limits,
        group: impl FnOnce() -> Option<StreamName>,
    ) {
        let (bytes, items) = (limits.ring_bytes, limits.ring_items);
        if let Some(track) = place_of(unit.track) {
            self.newest_of[track] = self.newest_of[track].max(Some(unit.dts));
        }
        if let Some(next) = learned.and_then(|learned| self.tracks.with(learned)) {
            self.change_tracks(next);
            if !unit.is_media() {
                return self
                    .ring
                    .push(What::Tracks(unit, Arc::clone(&self.tracks)), None, bytes, items);
            }
        }
        if unit.is_media() {
            self.last_media = Some(Instant::now());
            self.meter.add(unit.dts, unit.tag.len() as u64);
            self.first_dts.get_or_insert(unit.dts);
            self.newest_dts = self.newest_dts.max(unit.dts);
            self.shed(&unit);
            self.cut(&unit, limits, group);
            if unit.track == TrackKind::Audio {
                self.audio.place(unit.dts, &unit.data());
            }
        } else if matches!(unit.kind, UnitKind::Config | UnitKind::Metadata) {
            return; // a repeat of what is known already
        }
        let start = self.start_at(&unit);
        if unit.is_media() {
            self.units += 1;
        }
        self.ring.push(What::Unit(unit), start, bytes, items);
    }

    /// Lets go of a track that a publisher who returned no longer sends: its metadata leaves it out, and nothing of it has
    /// come for a while where a newcomer may begin. Players would wait for it for ever. Every node decides the same, since
    /// each sees the same units.
    fn shed(&mut self, unit: &Unit) {
        let other = match (unit.track, unit.kind) {
            (TrackKind::Video, UnitKind::Key) => TrackKind::Audio,
            (TrackKind::Audio, UnitKind::Frame) => TrackKind::Video,
            _ => return,
        };
        let newest = place_of(other).and_then(|track| self.newest_of[track]);
        if newest.is_some_and(|newest| unit.dts.saturating_sub(newest) >= GONE_MS)
            && let Some(next) = self.tracks.without(other)
        {
            self.change_tracks(next);
        }
    }

    /// Headers are for whole segments: where they change, a segment begins as soon as one can.
    fn change_tracks(&mut self, next: Tracks) {
        if next.version != self.tracks.version
            && let Clocking::Own(cutter) = &mut self.clocking
        {
            cutter.discontinuity();
        }
        if next.audio != self.tracks.audio {
            self.audio = AudioPace::of(next.audio.as_deref());
        }
        self.tracks = Arc::new(next);
    }

    fn cut(&mut self, unit: &Unit, limits: Limits, group: impl FnOnce() -> Option<StreamName>) {
        if let Clocking::Undecided = self.clocking {
            let first = self.first.max(first_number(self.epoch, self.used));
            self.clocking = Clocking::Own(Cutter::new(limits.targets, first));
        }
        let Clocking::Own(cutter) = &mut self.clocking else {
            return;
        };
        let wall_ms = now_ms();
        let has_video = self.tracks.video.is_some();
        let mut score = self.unison.as_ref().map(Unison::lock);
        let cut = match score.as_deref_mut() {
            Some(score) => cutter.in_unison(unit, has_video, wall_ms, score),
            None => cutter.before(unit, has_video, wall_ms),
        };
        let Some(Cut { segment, discontinuity }) = cut else {
            return;
        };
        self.used = self.used.max(Some(segment));
        let alone = || program_date(self.clock.as_deref(), unit.dts, wall_ms);
        let program_ms = match &mut score {
            Some(score) => score.date(unit.dts, |at, date| near_date(date, unit.dts - at, wall_ms), alone),
            None => alone(),
        };
        drop(score);
        let (group, targets) = (group(), cutter.targets());
        if self
            .unison
            .as_ref()
            .is_some_and(|unison| group.as_ref() != Some(unison.group()))
        {
            self.unison = None; // what happens to the others is nothing to it any more
        }
        let audio_next = self.audio.next();
        if let Some(next) = audio_next {
            self.audio.anchor(next); // as every other node does on this message
        }
        let before = self.clock.as_deref();
        let goes_on =
            before.filter(|before| before.discontinuity == discontinuity && before.init_version == self.tracks.version);
        let clock = Arc::new(Clock {
            version: 1,
            epoch: self.epoch,
            segment,
            discontinuity,
            media_time_ms: unit.dts,
            wall_ms,
            part_target_ms: targets.part_ms,
            segment_target_ms: targets.longest_ms,
            init_version: self.tracks.version,
            bandwidth_bps: self.meter.bits_per_second(),
            units: self.units,
            program_ms,
            window_ms: limits.targets.window_ms,
            audio_next,
            run: Run::of(goes_on.map(|before| before.run), unit.dts, program_ms),
            group,
        });
        self.clock = Some(Arc::clone(&clock));
        self.ring
            .push(What::Clock(clock), None, limits.ring_bytes, limits.ring_items);
    }

    /// The start at `unit`, if a newcomer may begin there. Where the tracks are not complete yet, the place is kept and
    /// becomes a start as soon as they are, or a second of media later without those that were promised.
    fn start_at(&mut self, unit: &Unit) -> Option<Arc<Start>> {
        let settled = self.tracks.complete() || self.first_dts.is_some_and(|first| unit.dts - first >= 1_000);
        let opens = match (unit.track, unit.kind) {
            (TrackKind::Video, UnitKind::Key) => true,
            (TrackKind::Audio, UnitKind::Frame) => {
                self.tracks.video.is_none()
                    && (settled || !self.tracks.expects_video)
                    && self
                        .ring
                        .newest_start()
                        .is_none_or(|start| self.audio_start_due(start, unit))
            }
            _ => false,
        };
        let here = self.ring.end();
        if settled && let Some((seq, units)) = self.unsettled_key.take() {
            if !opens {
                let start = self.start(seq, units);
                self.ring.mark_start(start);
            }
        } else if opens && !settled {
            self.unsettled_key.get_or_insert((here, self.units));
        }
        (opens && settled).then(|| self.start(here, self.units))
    }

    /// Audio may be begun at any frame; a start each second is enough.
    fn audio_start_due(&self, newest: &Start, unit: &Unit) -> bool {
        let begun = newest.clock.as_ref().map_or(i64::MIN, |clock| clock.media_time_ms);
        self.clock.as_ref().map_or(unit.dts, |clock| clock.media_time_ms) != begun
    }

    /// The origin's count of units where our own is `units`: a node counts from where it came.
    fn counted(&self, units: u64) -> u64 {
        match self.clocking {
            Clocking::Upstream { theirs, ours } => (theirs + units).saturating_sub(ours),
            Clocking::Undecided | Clocking::Own(_) => units,
        }
    }

    fn start(&self, seq: u64, units: u64) -> Arc<Start> {
        let units = self.counted(units);
        let clock = self.clock.as_ref().map(|clock| {
            Arc::new(Clock {
                units,
                ..Clock::clone(clock)
            })
        });
        Arc::new(Start {
            seq,
            epoch: self.epoch,
            tracks: Arc::clone(&self.tracks),
            clock,
        })
    }
}

/// Most by which a date may be off the wall clock before it jumps.
const DATE_OFF_MS: i64 = 2_000;
/// By how much it may be off without a change, and by how much it comes nearer with each segment then: clocks drift.
const DATE_NEAR_MS: i64 = 100;
const DATE_STEP_MS: i64 = 5;

/// The date of a segment that begins at `dts`: where the one before puts it by the media, and a little nearer to the wall clock where that is off.
fn program_date(before: Option<&Clock>, dts: i64, wall_ms: u64) -> u64 {
    before
        .and_then(|before| near_date(before.program_ms, dts - before.media_time_ms, wall_ms))
        .unwrap_or(wall_ms)
}

/// The date `ms` of media after `date`, a little nearer to the wall clock where that is off; none where it is too far off.
fn near_date(date: u64, ms: i64, wall_ms: u64) -> Option<u64> {
    let expected = (date as i64).saturating_add(ms);
    match (wall_ms as i64).saturating_sub(expected) {
        off if off.abs() > DATE_OFF_MS => None,
        off if off.abs() <= DATE_NEAR_MS => Some(expected.max(0) as u64),
        off => Some((expected + off.clamp(-DATE_STEP_MS, DATE_STEP_MS)).max(0) as u64),
    }
}

/// Index of a track in [`State::newest_of`].
fn place_of(track: TrackKind) -> Option<usize> {
    match track {
        TrackKind::Video => Some(0),
        TrackKind::Audio => Some(1),
        TrackKind::Script => None,
    }
}

pub(super) fn now_ms() -> u64 {
    Timestamp::now().as_millisecond().max(0) as u64
}
