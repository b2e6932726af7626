//! Video frames into parts. A frame lasts until the next one, so that it is done when the next one is here.

use bytes::Bytes;

use super::{Cut, sample};
use crate::media::unit::Unit;

/// The video of one segment.
#[derive(Debug)]
pub(super) struct VideoCutter {
    /// Longest part, milliseconds.
    longest: u64,
    cut: Option<Cut>,
    /// The newest frame, whose end is not known yet.
    pending: Option<(Unit, Bytes, u64)>,
    last_duration: u32,
}

/// Duration of a frame that nothing tells: milliseconds.
const GUESS: u32 = 33;

impl VideoCutter {
    pub(super) fn new(longest_ms: u32) -> Self {
        Self {
            longest: longest_ms.into(),
            cut: None,
            pending: None,
            last_duration: GUESS,
        }
    }

    pub(super) fn frame(&mut self, unit: &Unit, sequence: u64, out: &mut Vec<Cut>) {
        self.settle(unit.dts, out);
        // Nothing more would fit if the next frame is as long as this one: the part need not wait for it.
        if let Some(cut) = &self.cut
            && cut.ticks() + u64::from(self.last_duration) > self.longest
        {
            out.extend(self.cut.take());
        }
        self.pending = Some((unit.clone(), unit.data(), sequence));
    }

    /// The segment ends, at `end` where that is known.
    pub(super) fn end(mut self, end: Option<i64>, out: &mut Vec<Cut>) {
        let guess = self
            .pending
            .as_ref()
            .map(|(unit, ..)| unit.dts + i64::from(self.last_duration));
        if let Some(end) = end.or(guess) {
            self.settle(end, out);
        }
        out.extend(self.cut);
    }

    /// The pending frame ends at `dts`: it goes into the part if it fits, else begins the next.
    fn settle(&mut self, dts: i64, out: &mut Vec<Cut>) {
        let Some((unit, data, sequence)) = self.pending.take() else {
            return;
        };
        let duration = u32::try_from(dts - unit.dts).unwrap_or(0);
        if let Some(cut) = &self.cut
            && cut.ticks() + u64::from(duration) > self.longest
        {
            out.extend(self.cut.take());
        }
        let begin = unit.dts.max(0) as u64;
        let cut = self.cut.get_or_insert_with(|| Cut::new(begin, sequence));
        cut.samples.push(sample(&unit, &data, duration));
        cut.data.push(data);
        self.last_duration = duration;
    }
}
