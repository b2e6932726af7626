//! Measures a bit rate over a sliding window of whole seconds of media or wall time.

use std::collections::VecDeque;

/// Bytes against a time line in milliseconds, over the last `window_ms`.
#[derive(Clone, Debug)]
pub struct BitrateMeter {
    window_ms: i64,
    buckets: VecDeque<(i64, u64)>,
    bytes: u64,
}

const BUCKET_MS: i64 = 250;

impl BitrateMeter {
    /// A meter over the last `window_ms` milliseconds. Holds at most window / 250 ms + 1 buckets.
    pub fn new(window_ms: i64) -> Self {
        Self {
            window_ms,
            buckets: VecDeque::new(),
            bytes: 0,
        }
    }

    /// Counts `bytes` at time `at_ms`. A time that goes back starts the meter afresh.
    pub fn add(&mut self, at_ms: i64, bytes: u64) {
        let bucket = at_ms.div_euclid(BUCKET_MS);
        match self.buckets.back_mut() {
            Some((last, sum)) if *last == bucket => *sum += bytes,
            Some((last, _)) if *last > bucket + self.window_ms / BUCKET_MS => {
                self.buckets.clear();
                self.bytes = 0;
                self.buckets.push_back((bucket, bytes));
            }
            Some((last, sum)) if *last > bucket => *sum += bytes,
            _ => self.buckets.push_back((bucket, bytes)),
        }
        self.bytes += bytes;
        let oldest = bucket - self.window_ms / BUCKET_MS;
        while let Some(&(first, sum)) = self.buckets.front() {
            if first >= oldest {
                break;
            }
            self.bytes -= sum;
            self.buckets.pop_front();
        }
    }

    /// Bits per second over the span that the meter holds; 0 until it holds half a second.
    pub fn bits_per_second(&self) -> u64 {
        match (self.buckets.front(), self.buckets.back()) {
            (Some((first, _)), Some((last, _))) if last - first >= 2 => {
                self.bytes * 8_000 / ((last - first + 1) * BUCKET_MS) as u64
            }
            _ => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_steady_stream_measures_its_rate() {
        let mut meter = BitrateMeter::new(4_000);
        for frame in 0..500 {
            meter.add(frame * 40, 5_000);
        }
        let rate = meter.bits_per_second();
        assert!((950_000..=1_050_000).contains(&rate), "{rate}");
        assert!(meter.buckets.len() <= 17);
    }

    #[test]
    fn a_time_line_that_falls_back_starts_afresh() {
        let mut meter = BitrateMeter::new(4_000);
        meter.add(100_000, 1_000);
        meter.add(0, 7);
        assert_eq!(meter.bytes, 7);
    }
}
