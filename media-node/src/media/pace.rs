//! From the stream's milliseconds to the tracks' timescales.
//!
//! Video is written in milliseconds, as it came. Audio can't be: 1,024 samples at 44.1 kHz are 23.2 ms, so that whole
//! milliseconds leave a gap or an overlap at every frame, which players hear or drop. Audio is counted in samples instead: each
//! frame begins where the one before ended, as long as that is within a frame of what the stream says, else it begins anew
//! there. The origin's clock says where its count stands at each segment, so that every node counts alike from the first segment
//! on that it has whole.

use super::aac::AudioSpecificConfig;
use super::opus;
use super::track::{AudioCodec, AudioConfig};

/// Ticks per second of video.
pub(crate) const VIDEO_TIMESCALE: u32 = 1_000;

/// When a frame is decoded, and for how long it is shown or heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Time {
    pub(crate) at: u64,
    pub(crate) duration: u32,
}

/// Durations of video frames, guessed from the frames before: waiting for the next one would cost its time in delay.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct VideoPace {
    last: Option<i64>,
    /// The last two distances.
    gaps: Option<[u32; 2]>,
}

/// Duration of a frame before which there is none: milliseconds.
const FIRST_DURATION: u32 = 33;

impl VideoPace {
    /// The shorter one of the last two distances: one long pause must not make a frame that covers what follows.
    pub(crate) fn place(&mut self, dts: i64) -> Time {
        let gap = self.last.and_then(|last| u32::try_from(dts.checked_sub(last)?).ok());
        if let Some(gap) = gap.filter(|gap| *gap > 0) {
            self.gaps = Some([self.gaps.map_or(gap, |gaps| gaps[1]), gap]);
        }
        self.last = Some(dts);
        Time {
            at: dts.max(0) as u64,
            duration: self.gaps.map_or(FIRST_DURATION, |gaps| gaps[0].min(gaps[1])),
        }
    }
}

/// Counts samples.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AudioPace {
    rate: u32,
    /// Samples of every frame; none where each frame says it.
    frame: Option<u32>,
    last: Option<u64>,
    next: u64,
}

impl Default for AudioPace {
    fn default() -> Self {
        Self::of(None)
    }
}

impl AudioPace {
    /// For a track.
    pub(crate) fn of(config: Option<&AudioConfig>) -> Self {
        let aac = config
            .filter(|config| config.codec == AudioCodec::Aac)
            .and_then(|config| AudioSpecificConfig::parse(&config.record).ok());
        Self {
            rate: config.map_or(opus::RATE, |config| config.sample_rate.max(1)),
            frame: aac.map(|aac| aac.frame()),
            last: None,
            next: 0,
        }
    }

    /// Never before the frame before, whatever the stream says.
    pub(crate) fn place(&mut self, dts: i64, data: &[u8]) -> Time {
        let duration = self.frame.or_else(|| opus::samples(data)).unwrap_or(self.rate / 50);
        let told = (u128::from(dts.max(0) as u64) * u128::from(self.rate) / 1_000) as u64;
        let at = match self.last {
            Some(_) if self.next.abs_diff(told) <= self.tolerance(duration) => self.next,
            Some(last) => told.max(last.saturating_add(1)),
            None => told,
        };
        self.last = Some(at);
        self.next = at.saturating_add(duration.into());
        Time { at, duration }
    }

    /// Where the next frame begins if it follows the one before without a gap; none before the first.
    pub(crate) fn next(&self) -> Option<u64> {
        self.last.map(|_| self.next)
    }

    /// Goes on counting at `next`, which is what a clock says. A node that has counted all along and one that begins here
    /// place everything that follows alike.
    pub(crate) fn anchor(&mut self, next: u64) {
        self.last = Some(next.saturating_sub(1));
        self.next = next;
    }

    /// A frame, less 2 ms of rounding so that one lost frame is seen; at least 10 ms.
    fn tolerance(&self, duration: u32) -> u64 {
        u64::from(duration.saturating_sub(self.rate / 500).max(self.rate / 100))
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;

    use super::super::aac;
    use super::*;

    fn aac_44100() -> AudioPace {
        let config = aac::config(Bytes::from_static(&[0x12, 0x10]), Bytes::new()).unwrap();
        AudioPace::of(Some(&config))
    }

    #[test]
    fn video_lasts_as_long_as_the_frames_before() {
        let mut pace = VideoPace::default();
        let durations: Vec<_> = [0, 40, 80, 120, 2_120, 2_160, 2_160]
            .map(|dts| pace.place(dts).duration)
            .into();
        assert_eq!(durations, [33, 40, 40, 40, 40, 40, 40]);
    }

    #[test]
    fn audio_runs_without_gaps_though_milliseconds_are_rounded() {
        let mut pace = aac_44100();
        let mut end = None;
        for frame in 0..10_000u64 {
            let dts = (frame * 1_024 * 1_000 / 44_100) as i64 + 5;
            let time = pace.place(dts, &[]);
            assert!(end.is_none_or(|end| end == time.at), "frame {frame}");
            end = Some(time.at + u64::from(time.duration));
        }
    }

    #[test]
    fn a_lost_frame_leaves_its_gap() {
        let mut pace = aac_44100();
        for frame in [0u64, 1, 2, 4, 5] {
            let time = pace.place((frame * 1_024 * 1_000 / 44_100) as i64, &[]);
            assert!(time.at.abs_diff(frame * 1_024) < 45, "frame {frame} at {}", time.at);
        }
    }

    #[test]
    fn a_count_that_is_anchored_goes_on_as_the_one_that_it_was_taken_from() {
        let mut whole = aac_44100();
        let dts = |frame: u64| (frame * 1_024 * 1_000 / 44_100) as i64 + 7;
        for frame in 0..100 {
            whole.place(dts(frame), &[]);
        }
        let mut late = aac_44100();
        let next = whole.next().unwrap();
        whole.anchor(next);
        late.anchor(next);
        for frame in (100..200).chain(205..300) {
            assert_eq!(
                whole.place(dts(frame), &[]),
                late.place(dts(frame), &[]),
                "frame {frame}"
            );
        }
    }

    #[test]
    fn opus_packets_say_how_long_they_are() {
        let mut pace = AudioPace::of(Some(&opus::config(Bytes::new(), Bytes::new()).unwrap()));
        assert_eq!(pace.place(20, &[0xfc]), Time { at: 960, duration: 960 });
        assert_eq!(pace.place(40, &[0xfc]).at, 1_920);
    }

    proptest! {
        #[test]
        fn audio_never_goes_back_and_stays_within_a_frame_of_the_stream(gaps in prop::collection::vec(0i64..200, 1..200)) {
            let mut pace = aac_44100();
            let (mut dts, mut last) = (0, None);
            for gap in gaps {
                dts += gap;
                let time = pace.place(dts, &[]);
                prop_assert!(last.is_none_or(|last| time.at > last));
                prop_assert!(time.at + 1_024 >= (dts * 441 / 10) as u64);
                last = Some(time.at);
            }
        }
    }
}
