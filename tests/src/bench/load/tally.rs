//! What one viewer has seen: counts, times and gaps; no payload.

use std::time::{Duration, Instant};

use crate::bench::histogram::Histogram;
use crate::wire::{Frame, Sink, Stamp, Track, stamp};

/// A step between two frames of a track that is longer than this many usual steps is a gap.
const GAP_STEPS: f64 = 1.5;
/// Rounding to milliseconds, twice.
const ROUNDING_US: i64 = 2_500;
/// Frames after which the usual step is taken as known.
const KNOWN: u32 = 5;

/// Part of the run in which bytes are compared: all viewers are there.
#[derive(Clone, Copy, Debug)]
pub(super) struct Window {
    pub(super) from: Instant,
    pub(super) until: Instant,
}

/// One viewer's counts.
#[derive(Debug)]
pub(super) struct Tally {
    window: Window,
    opened: Instant,
    opened_us: u64,
    video: TrackTally,
    audio: TrackTally,
    last_arrival: Option<Instant>,
    /// Media has come on the connection at hand.
    pub(super) playing: bool,
    pub(super) wire_bytes: u64,
    pub(super) media_bytes: u64,
    pub(super) window_bytes: u64,
    pub(super) frames: u64,
    pub(super) first_key: Option<Duration>,
    pub(super) silence: Duration,
    pub(super) delay: Histogram,
    pub(super) stamps: Stamps,
    pub(super) move_asked: bool,
}

/// The publisher's numbers as they came through.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Stamps {
    last: Option<u64>,
    pub(super) missing: u64,
    pub(super) repeated: u64,
    pub(super) window_first: Option<Stamp>,
    pub(super) window_last: Option<Stamp>,
}

#[derive(Debug, Default)]
struct TrackTally {
    last: Option<i64>,
    usual_us: f64,
    steps: u32,
    gaps: u64,
    backward: u64,
    largest_us: i64,
}

/// Gaps of one viewer.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Gaps {
    pub(super) gaps: u64,
    pub(super) backward: u64,
    pub(super) largest_us: i64,
}

impl Tally {
    pub(super) fn new(window: Window) -> Self {
        Self {
            window,
            opened: Instant::now(),
            opened_us: stamp::now_us(),
            video: TrackTally::default(),
            audio: TrackTally::default(),
            last_arrival: None,
            playing: false,
            wire_bytes: 0,
            media_bytes: 0,
            window_bytes: 0,
            frames: 0,
            first_key: None,
            silence: Duration::ZERO,
            delay: Histogram::default(),
            stamps: Stamps::default(),
            move_asked: false,
        }
    }

    /// Before a connection is opened.
    pub(super) fn opening(&mut self) {
        self.opened_us = stamp::now_us();
        if self.first_key.is_none() {
            self.opened = Instant::now();
        }
    }

    /// After the viewer was cut: the next connection starts with what is current, which may repeat or leave out frames. What is
    /// left out still shows in the publisher's numbers.
    pub(super) fn reconnecting(&mut self) {
        self.video.last = None;
        self.audio.last = None;
        self.playing = false;
    }

    /// Last decoding time of a track, microseconds.
    pub(super) fn last_dts_us(&self, track: Track) -> Option<i64> {
        match track {
            Track::Video => self.video.last,
            Track::Audio => self.audio.last,
        }
    }

    /// Gaps of both tracks.
    pub(super) fn gaps(&self) -> Gaps {
        Gaps {
            gaps: self.video.gaps + self.audio.gaps,
            backward: self.video.backward + self.audio.backward,
            largest_us: self.video.largest_us.max(self.audio.largest_us),
        }
    }

    /// Counts a frame that came at `now`.
    pub(super) fn count(&mut self, frame: Frame, now: Instant, now_us: u64) {
        self.playing = true;
        self.frames += 1;
        self.media_bytes += frame.size as u64;
        let inside = now >= self.window.from && now < self.window.until;
        if inside {
            self.window_bytes += frame.size as u64;
        }
        if frame.key && self.first_key.is_none() {
            self.first_key = Some(now - self.opened);
        }
        if let Some(last) = self.last_arrival.replace(now) {
            self.silence = self.silence.max(now - last);
        }
        match frame.track {
            Track::Video => self.video.step(frame.dts_us),
            Track::Audio => self.audio.step(frame.dts_us),
        }
        if let Some(stamp) = frame.stamp {
            // What was sent before this viewer came is the server's backlog for newcomers, not its delay.
            if stamp.sent_us >= self.opened_us {
                self.delay
                    .add(Duration::from_micros(now_us.saturating_sub(stamp.sent_us)));
            }
            self.stamps.see(stamp, inside);
        }
    }
}

impl Sink for Tally {
    fn frame(&mut self, frame: Frame) {
        self.count(frame, Instant::now(), stamp::now_us());
    }

    fn text(&mut self, text: &str) {
        self.move_asked |= is_move(text);
    }
}

/// True for the message by which a node asks a player to go elsewhere.
pub(super) fn is_move(text: &str) -> bool {
    serde_json::from_str::<serde_json::Value>(text).is_ok_and(|json| json["type"] == "move")
}

impl Stamps {
    fn see(&mut self, stamp: Stamp, inside: bool) {
        match self.last {
            Some(last) if stamp.sequence <= last => {
                self.repeated += 1;
                return;
            }
            Some(last) => self.missing += stamp.sequence - last - 1,
            None => {}
        }
        self.last = Some(stamp.sequence);
        if inside {
            self.window_first.get_or_insert(stamp);
            self.window_last = Some(stamp);
        }
    }

    /// The stream's bits per second by its publisher's count, if both ends of the window were seen.
    pub(super) fn published_bps(&self) -> Option<f64> {
        let (first, last) = (self.window_first?, self.window_last?);
        let micros = last.sent_us.checked_sub(first.sent_us).filter(|us| *us >= 1_000_000)?;
        Some((last.bytes_before.saturating_sub(first.bytes_before)) as f64 * 8e6 / micros as f64)
    }
}

impl TrackTally {
    fn step(&mut self, dts_us: i64) {
        let Some(last) = self.last.replace(dts_us) else { return };
        let step = dts_us - last;
        if step < 0 {
            self.backward += 1;
            return;
        }
        self.largest_us = self.largest_us.max(step);
        if self.steps >= KNOWN && step > (self.usual_us * GAP_STEPS) as i64 + ROUNDING_US {
            self.gaps += 1;
            return;
        }
        self.steps += 1;
        self.usual_us += (step as f64 - self.usual_us) / f64::from(self.steps.min(50));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally() -> Tally {
        let now = Instant::now();
        Tally::new(Window {
            from: now,
            until: now + Duration::from_secs(60),
        })
    }

    fn picture(dts_ms: i64, sequence: u64) -> Frame {
        let stamp = Stamp {
            sent_us: stamp::now_us(),
            sequence,
            bytes_before: sequence * 100,
        };
        Frame {
            track: Track::Video,
            dts_us: dts_ms * 1000,
            key: sequence == 0,
            size: 100,
            stamp: Some(stamp),
        }
    }

    #[test]
    fn a_stream_without_a_gap_has_none() {
        let mut tally = tally();
        for index in 0..100 {
            tally.frame(picture(index * 40, index as u64));
        }
        assert_eq!((tally.gaps().gaps, tally.gaps().backward), (0, 0));
        assert_eq!((tally.stamps.missing, tally.stamps.repeated), (0, 0));
        assert_eq!(
            (tally.frames, tally.media_bytes, tally.window_bytes),
            (100, 10_000, 10_000)
        );
        assert_eq!(tally.delay.quantiles().samples, 100);
    }

    #[test]
    fn one_lost_frame_is_a_gap_and_a_missing_number() {
        let mut tally = tally();
        for index in (0..50).chain(51..100) {
            tally.frame(picture(index * 40, index as u64));
        }
        assert_eq!((tally.gaps().gaps, tally.stamps.missing), (1, 1));
        assert_eq!(tally.gaps().largest_us, 80_000);
    }

    #[test]
    fn a_repeated_frame_is_seen() {
        let mut tally = tally();
        for index in (0..50).chain(40..100) {
            tally.frame(picture(index * 40, index as u64));
        }
        assert_eq!((tally.gaps().backward, tally.stamps.repeated), (1, 10));
    }

    #[test]
    fn a_move_is_recognised() {
        assert!(is_move(r#"{"type":"move"}"#));
        assert!(!is_move(r#"{"type":"hello","node":"move"}"#) && !is_move("move"));
    }
}
