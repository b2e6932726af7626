//! The one who feeds a stream.

use std::sync::Arc;
use std::time::{Duration, Instant};

use headwater_contract::{StreamEnd, StreamSource};
use tokio_util::sync::CancellationToken;

use super::broadcast::What;
use super::registry::Hub;
use super::state::{Clocking, Session, now_ms};
use super::stream::Stream;
use crate::media::clock::Clock;
use crate::media::timeline::{Placed, Timeline};
use crate::media::track::Learned;
use crate::media::unit::Unit;

/// Where a returning publisher's timeline goes on.
#[derive(Clone, Copy, Debug)]
pub struct ResumePoint {
    /// Newest decoding time, milliseconds.
    pub last_dts: i64,
    /// When the last media came in.
    pub last_media: Instant,
}

/// The one who feeds a stream. Dropping it leaves the stream open for its grace; [`Publisher::finish`] ends it at once.
#[derive(Debug)]
pub struct Publisher {
    stream: Stream,
    hub: Hub,
    session: u64,
    grace: Duration,
    lost: StreamEnd,
    displaced: CancellationToken,
}

impl Publisher {
    /// Seats a session on `stream`; none if the stream has ended meanwhile.
    pub(super) fn new(stream: Stream, hub: Hub, session: u64, source: StreamSource, grace: Duration) -> Option<Self> {
        let displaced = stream.seat(session, source)?;
        let lost = match source {
            StreamSource::Publish => StreamEnd::PublisherLost,
            StreamSource::Pull | StreamSource::OnDemand => StreamEnd::SourceLost,
        };
        Some(Self {
            stream,
            hub,
            session,
            grace,
            lost,
            displaced,
        })
    }

    /// The stream that it feeds.
    pub fn stream(&self) -> &Stream {
        &self.stream
    }

    /// Cancelled when a newcomer took the name over or the hub ended the stream: the session must close.
    pub fn displaced(&self) -> &CancellationToken {
        &self.displaced
    }

    /// Where the timeline stood when this publisher came: none for a stream without media so far.
    pub fn resume_point(&self) -> Option<ResumePoint> {
        let state = self.stream.lock();
        let last_media = state.last_media.filter(|_| state.first_dts.is_some())?;
        Some(ResumePoint {
            last_dts: state.newest_dts,
            last_media,
        })
    }

    /// The timeline is not continuous from here on: the next segment is marked so.
    pub fn discontinuity(&self) {
        if let Clocking::Own(cutter) = &mut self.stream.lock().clocking {
            cutter.discontinuity();
        }
    }

    /// True if it began together with others of its group: its timeline is to be theirs.
    pub fn in_unison(&self) -> bool {
        self.stream.lock().unison.is_some()
    }

    /// Places a message on the timeline, as others do that are [`Publisher::in_unison`] with it. The first one's place rules: they
    /// are placed one at a time.
    pub fn place(&self, timeline: &mut Timeline, unit: &Unit, timestamp: u32, now: Instant) -> Placed {
        let mut state = self.stream.lock();
        let Some(unison) = &state.unison else {
            return timeline.place(unit.track, unit.kind, timestamp, now);
        };
        let (placed, together) = unison.lock().place(timeline, (unit.track, unit.kind), timestamp, now);
        if !together {
            state.leave(now_ms());
        }
        placed
    }

    /// True if a clock message, which a source sends to a newcomer, says that units are missing here of the segment that is
    /// under way.
    pub fn has_lost(&self, clock: &Clock) -> bool {
        self.stream.lock().lost_before(clock) > 0
    }

    /// Takes a clock message of the upstream; it precedes the unit that it is about. Another epoch restarts the stream.
    pub fn clock(&self, clock: Clock) {
        let mut state = self.stream.lock();
        if !state.owned_by(self.session) {
            return;
        }
        let restarted = state.epoch != clock.epoch && state.first_dts.is_some();
        if restarted {
            state.restart();
        }
        state.epoch = clock.epoch;
        state.unison = None; // who cuts it elsewhere says what it has in common with others
        state.follow(&clock);
        let (clock, limits) = (Arc::new(clock), self.stream.limits());
        state.clock = Some(Arc::clone(&clock));
        state
            .ring
            .push(What::Clock(clock), None, limits.ring_bytes, limits.ring_items);
        drop(state);
        if restarted {
            self.hub.changed(&self.stream);
        }
        self.stream.wake();
    }

    /// Appends a unit, and what it taught. Never waits. Units of a displaced session are dropped.
    pub fn send(&self, unit: Unit, learned: Option<Learned>) {
        let mut state = self.stream.lock();
        if !state.owned_by(self.session) {
            return;
        }
        let was_playable = state.playable();
        let before = Arc::clone(&state.tracks);
        let stream = &self.stream;
        state.append(unit, learned, stream.limits(), || stream.groups().of(stream.name()));
        let playable = state.playable();
        let changed = playable != was_playable || (playable && before.version != state.tracks.version);
        drop(state);
        if changed {
            self.hub.changed(&self.stream);
        }
        self.stream.wake();
    }

    /// Ends the stream for everybody, now.
    pub fn finish(self, reason: StreamEnd) {
        if self.stream.lock().owned_by(self.session) {
            self.hub.end(&self.stream, reason);
        }
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        let mut state = self.stream.lock();
        if state.owned_by(self.session) {
            state.session = Session::Vacant {
                since: Instant::now(),
                grace: self.grace,
                reason: self.lost,
            };
        }
    }
}
