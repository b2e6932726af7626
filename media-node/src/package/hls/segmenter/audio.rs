//! Audio frames into parts. A frame says how long it is, so that a part is done with its last one.

use super::{Cut, sample};
use crate::media::pace::AudioPace;
use crate::media::track::AudioConfig;
use crate::media::unit::Unit;

/// The audio of one segment.
#[derive(Debug)]
pub(super) struct AudioCutter {
    timescale: u32,
    /// Longest part, samples.
    longest: u64,
    pace: AudioPace,
    cut: Option<Cut>,
    /// Where the newest frame begins.
    newest: u64,
}

impl AudioCutter {
    /// `next` is where the clock says that the first frame begins, if it follows the one before without a gap.
    pub(super) fn new(config: &AudioConfig, next: Option<u64>, longest_ms: u32) -> Self {
        let timescale = config.sample_rate.max(1);
        let mut pace = AudioPace::of(Some(config));
        if let Some(next) = next {
            pace.anchor(next);
        }
        Self {
            timescale,
            longest: u64::from(longest_ms) * u64::from(timescale) / 1_000,
            pace,
            cut: None,
            newest: 0,
        }
    }

    pub(super) fn timescale(&self) -> u32 {
        self.timescale
    }

    pub(super) fn frame(&mut self, unit: &Unit, sequence: u64, out: &mut Vec<Cut>) {
        let data = unit.data();
        let time = self.pace.place(unit.dts, &data);
        if let Some(cut) = &mut self.cut {
            // A frame that was lost before it came to us: the one before lasts until this one.
            if let Some(last) = cut.samples.last_mut() {
                last.duration = u32::try_from(time.at - self.newest).unwrap_or(last.duration);
            }
            if cut.ticks() + u64::from(time.duration) > self.longest {
                out.extend(self.cut.take());
            }
        }
        self.newest = time.at;
        let cut = self.cut.get_or_insert_with(|| Cut::new(time.at, sequence));
        cut.samples.push(sample(unit, &data, time.duration));
        cut.data.push(data);
        if cut.ticks() + u64::from(time.duration) > self.longest {
            out.extend(self.cut.take());
        }
    }

    /// The segment ends.
    pub(super) fn end(mut self, out: &mut Vec<Cut>) {
        out.extend(self.cut.take());
    }
}
