//! The play position against what has been received: time and lengths alone.

use std::collections::VecDeque;
use std::time::Duration;

use jiff::Timestamp;

/// A time without media to play.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stall {
    /// Path of the rendition's playlist.
    pub rendition: String,
    /// When it began, from the client's start.
    pub at: Duration,
    /// How long it lasted, or has lasted.
    pub length: Duration,
}

/// What has been received, and how far it has been played.
#[derive(Clone, Debug, Default)]
pub struct Buffer {
    /// End of what has been received, from the first piece on.
    end: Duration,
    /// At this moment, this was being played.
    clock: Option<(Duration, Duration)>,
    /// Where pieces begin, and their dates; what has been played is dropped.
    dates: VecDeque<(Duration, Timestamp)>,
}

impl Buffer {
    /// Begins to play at `at`, with `behind` of what has been received still to come.
    pub fn play(&mut self, at: Duration, behind: Duration) {
        self.clock = Some((at, self.end.saturating_sub(behind)));
    }

    /// True once it plays.
    pub fn playing(&self) -> bool {
        self.clock.is_some()
    }

    /// What is played at a moment, if nothing stalls.
    fn position(&self, at: Duration) -> Option<Duration> {
        self.clock.map(|(since, position)| position + at.saturating_sub(since))
    }

    /// How long it has been without media at a moment, if it is; since when.
    pub fn empty(&self, at: Duration) -> Option<(Duration, Duration)> {
        let missing = self
            .position(at)?
            .checked_sub(self.end)
            .filter(|missing| !missing.is_zero())?;
        Some((at.saturating_sub(missing), missing))
    }

    /// A piece has come whole. Returns the stall that it ends: its beginning and length.
    pub fn arrive(&mut self, at: Duration, length: Duration, date: Option<Timestamp>) -> Option<(Duration, Duration)> {
        let stalled = self.empty(at);
        if stalled.is_some() {
            self.clock = Some((at, self.end));
        }
        self.dates.extend(date.map(|date| (self.end, date)));
        self.end += length;
        stalled
    }

    /// How old what is played at `at` is at `now`, the same moment by the wall clock.
    pub fn latency(&mut self, at: Duration, now: Timestamp) -> Option<Duration> {
        let position = self.position(at)?.min(self.end);
        while self.dates.get(1).is_some_and(|(begin, _)| *begin <= position) {
            self.dates.pop_front();
        }
        let (begin, date) = self.dates.front()?;
        let age = now.duration_since(*date) - jiff::SignedDuration::try_from(position.saturating_sub(*begin)).ok()?;
        Duration::try_from(age).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn date(ms: i64) -> Timestamp {
        Timestamp::from_millisecond(1_000_000 + ms).unwrap()
    }

    /// Three parts of 200 ms, which are there 600 ms after the first picture, played from then on.
    fn begun() -> Buffer {
        let mut buffer = Buffer::default();
        for part in 0..3 {
            assert_eq!(buffer.arrive(ms(600), ms(200), Some(date(part * 200))), None);
        }
        assert_eq!(buffer.empty(ms(9000)), None, "what does not play can't stall");
        buffer.play(ms(600), ms(600));
        buffer
    }

    #[test]
    fn media_in_time_does_not_stall() {
        let mut buffer = begun();
        for part in 3..50u64 {
            let late = if part % 7 == 0 { 390 } else { 0 };
            let arrived = buffer.arrive(ms(part * 200 + 200 + late), ms(200), Some(date(part as i64 * 200)));
            assert_eq!(arrived, None, "{part}");
        }
    }

    #[test]
    fn late_media_stalls_for_as_long_as_it_is_late_and_the_player_stays_behind() {
        let mut buffer = begun();
        assert_eq!(buffer.latency(ms(600), date(600)), Some(ms(600)));
        assert_eq!(buffer.empty(ms(1200)), None);
        assert_eq!(buffer.empty(ms(1250)), Some((ms(1200), ms(50))));
        assert_eq!(
            buffer.arrive(ms(1300), ms(200), Some(date(600))),
            Some((ms(1200), ms(100)))
        );
        assert_eq!(buffer.latency(ms(1400), date(1400)), Some(ms(700)));
        assert_eq!(buffer.arrive(ms(1500), ms(200), Some(date(800))), None);
        assert_eq!(
            buffer.arrive(ms(1701), ms(200), Some(date(1000))),
            Some((ms(1700), ms(1)))
        );
    }

    #[test]
    fn latency_follows_the_dates_over_a_break() {
        let mut buffer = begun();
        buffer.arrive(ms(800), ms(200), Some(date(5600)));
        assert_eq!(buffer.latency(ms(1300), date(6300)), Some(ms(600)));
    }
}
