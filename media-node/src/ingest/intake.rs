//! Turns the media messages of one session into units of the hub: parsed once, on the stream's timeline.

use std::time::Instant;

use bytes::Bytes;
use rtmp_rs::protocol::constants::{MSG_AUDIO, MSG_DATA_AMF0, MSG_DATA_AMF3, MSG_VIDEO};

use crate::hub::Publisher;
use crate::media::flv::{ParseError, Parser};
use crate::media::timeline::{Step, Timeline, unwrap_near};
use crate::media::unit::{TrackKind, Unit};
use crate::meters::{Drop, Meters};
use crate::package::rtmp_chunks::decode_clock;
use crate::rtmp::chunk_reader::Message;

/// One session's way into the hub.
#[derive(Debug)]
pub(super) struct Intake {
    publisher: Publisher,
    meters: Meters,
    parser: Parser,
    timeline: Timeline,
    /// Its timeline is to be that of others too.
    grouped: bool,
    upstream: Option<Upstream>,
}

/// What is known of a stream that carries its origin's clock, kept over reconnects of a pull.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Upstream {
    /// Epoch and segment of the newest clock; none before the first.
    clock: Option<(u64, u64)>,
    /// Media time by which 32-bit timestamps are unwrapped.
    near: i64,
    /// Newest decoding time of video and audio that went into the hub.
    newest: [Option<i64>; 2],
    /// Per track: what comes may be a repeat of what the hub has, after a reconnect.
    repeats: [bool; 2],
}

impl Intake {
    /// For a publisher, whose clock this node is: its timeline goes on where the stream's stood.
    pub(super) fn new(publisher: Publisher, meters: Meters) -> Self {
        let timeline = match publisher.resume_point() {
            Some(point) => Timeline::resume(point.last_dts, point.last_media),
            None if publisher.in_unison() => Timeline::with_room(),
            None => Timeline::new(),
        };
        Self {
            grouped: publisher.in_unison(),
            publisher,
            meters,
            parser: Parser::default(),
            timeline,
            upstream: None,
        }
    }

    /// For a pull: clock messages are obeyed. `known` is what [`Intake::into_upstream`] gave before a reconnect.
    pub(super) fn pulled(publisher: Publisher, meters: Meters, known: Upstream) -> Self {
        let mut intake = Self::new(publisher, meters);
        intake.upstream = Some(Upstream {
            repeats: [known.clock.is_some(); 2],
            ..known
        });
        intake
    }

    /// The publisher.
    pub(super) fn publisher(&self) -> &Publisher {
        &self.publisher
    }

    /// Gives the publisher back.
    pub(super) fn into_publisher(self) -> Publisher {
        self.publisher
    }

    /// Gives the publisher back, and what a reconnect is to know.
    pub(super) fn into_upstream(self) -> (Publisher, Upstream) {
        (self.publisher, self.upstream.unwrap_or_default())
    }

    /// Takes a media message. One that can't be parsed is dropped and counted.
    pub(super) fn take(&mut self, message: Message, now: Instant) {
        let (track, body) = match message.type_id {
            MSG_AUDIO => (TrackKind::Audio, message.body),
            MSG_VIDEO => (TrackKind::Video, message.body),
            MSG_DATA_AMF0 => (TrackKind::Script, message.body),
            // AMF3 data messages begin with a format byte, and all that is sent in practice is AMF0 after it.
            MSG_DATA_AMF3 if message.body.first() == Some(&0) => (TrackKind::Script, message.body.slice(1..)),
            _ => return,
        };
        if track == TrackKind::Script && self.clock(&body) {
            return;
        }
        match self.parser.parse(track, 0, body) {
            Ok(mut parsed) => {
                if self.place(&mut parsed.unit, message.timestamp, now) {
                    self.publisher.send(parsed.unit, parsed.learned);
                }
            }
            Err(error) if error.is_benign() => {}
            Err(error) => {
                let reason = match error {
                    ParseError::ExtraTrack => Drop::ExtraTrack,
                    _ => Drop::Unparsable,
                };
                self.meters.dropped(reason, 1);
                tracing::debug!(stream = %self.publisher.stream().name(), %error, "dropped a message");
            }
        }
    }

    /// Gives a unit its place on the stream's timeline. False if the hub has it already.
    fn place(&mut self, unit: &mut Unit, timestamp: u32, now: Instant) -> bool {
        if let Some(upstream) = self.upstream.as_mut().filter(|upstream| upstream.clock.is_some()) {
            unit.dts = unwrap_near(timestamp, upstream.near);
            return !upstream.is_repeat(unit);
        }
        let placed = match self.grouped {
            true => self.publisher.place(&mut self.timeline, unit, timestamp, now),
            false => self.timeline.place(unit.track, unit.kind, timestamp, now),
        };
        unit.dts = placed.dts;
        if placed.step == Step::Discontinuity {
            self.publisher.discontinuity();
        }
        true
    }

    /// True if `body` is a clock message. A publisher's is dropped: clocks come from relays alone.
    fn clock(&mut self, body: &Bytes) -> bool {
        let Some(clock) = decode_clock(body) else { return false };
        let Some(upstream) = &mut self.upstream else {
            return true;
        };
        let known = upstream.clock;
        upstream.near = clock.media_time_ms;
        if known.is_none_or(|(epoch, _)| epoch != clock.epoch) {
            upstream.newest = [None; 2];
            upstream.repeats = [false; 2];
        }
        // After a reconnect the source begins at a key frame that may be here already: its clock was obeyed then, and
        // obeying it again would begin the segment twice and miscount what was lost. Where units are missing within the
        // segment, it is obeyed again: whoever cuts segments learns that this one is not whole.
        let newer = known.is_none_or(|(epoch, segment)| epoch != clock.epoch || segment < clock.segment);
        if newer || known == Some((clock.epoch, clock.segment)) && self.publisher.has_lost(&clock) {
            upstream.clock = Some((clock.epoch, clock.segment));
            self.publisher.clock(clock);
        }
        true
    }
}

impl Upstream {
    /// True for a unit that the hub has already. `near` and `newest` follow what it has not.
    fn is_repeat(&mut self, unit: &Unit) -> bool {
        let track = match unit.track {
            TrackKind::Video => 0,
            TrackKind::Audio => 1,
            TrackKind::Script => return false,
        };
        if !unit.is_media() {
            return false;
        }
        if self.repeats[track] && self.newest[track].is_some_and(|newest| unit.dts <= newest) {
            return true;
        }
        self.repeats[track] = false;
        self.newest[track] = Some(unit.dts);
        self.near = unit.dts;
        false
    }
}
