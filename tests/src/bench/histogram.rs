//! Counts of durations in buckets of about 3 %, so that any number of samples takes the same memory.

use std::time::Duration;

use serde::Serialize;

/// Buckets in each power of two.
const STEPS: usize = 32;
/// Powers of two, of microseconds: up to 19 h.
const OCTAVES: usize = 36;

/// A histogram of durations.
#[derive(Clone, Debug)]
pub struct Histogram {
    buckets: Vec<u64>,
    count: u64,
    max_us: u64,
}

/// Quantiles in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Quantiles {
    /// Half of the samples are at or below.
    pub p50: f64,
    /// 99 of 100 samples are at or below.
    pub p99: f64,
    /// The largest sample.
    pub max: f64,
    /// How many samples.
    pub samples: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self {
            buckets: vec![0; STEPS * OCTAVES],
            count: 0,
            max_us: 0,
        }
    }
}

impl Histogram {
    /// Counts one sample; what is above the last bucket counts there.
    pub fn add(&mut self, sample: Duration) {
        let us = u64::try_from(sample.as_micros()).unwrap_or(u64::MAX);
        let bucket = bucket(us).min(self.buckets.len() - 1);
        self.buckets[bucket] += 1;
        self.count += 1;
        self.max_us = self.max_us.max(us);
    }

    /// Adds all samples of another.
    pub fn merge(&mut self, other: &Histogram) {
        self.buckets.iter_mut().zip(&other.buckets).for_each(|(a, b)| *a += b);
        self.count += other.count;
        self.max_us = self.max_us.max(other.max_us);
    }

    /// The upper bound of the bucket in which `part` (0 to 1) of the samples is reached, in microseconds.
    pub fn quantile_us(&self, part: f64) -> u64 {
        let wanted = ((self.count as f64 * part).ceil() as u64).max(1);
        let mut seen = 0;
        for (index, count) in self.buckets.iter().enumerate() {
            seen += count;
            if seen >= wanted {
                return upper(index).min(self.max_us);
            }
        }
        self.max_us
    }

    /// What a report shows.
    pub fn quantiles(&self) -> Quantiles {
        let ms = |us: u64| us as f64 / 1000.0;
        Quantiles {
            p50: ms(self.quantile_us(0.5)),
            p99: ms(self.quantile_us(0.99)),
            max: ms(self.max_us),
            samples: self.count,
        }
    }
}

/// Below [`STEPS`] a bucket is one microsecond; above, each octave has [`STEPS`] of them.
fn bucket(us: u64) -> usize {
    if us < STEPS as u64 {
        return us as usize;
    }
    let octave = us.ilog2() as usize;
    let base = STEPS.ilog2() as usize;
    (octave - base + 1) * STEPS + ((us >> (octave - base)) as usize - STEPS)
}

/// Largest value of a bucket.
fn upper(index: usize) -> u64 {
    if index < STEPS {
        return index as u64;
    }
    let shift = index / STEPS - 1;
    (((index % STEPS + STEPS + 1) as u64) << shift) - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_within_four_percent() {
        let mut histogram = Histogram::default();
        for us in 1..=100_000u64 {
            histogram.add(Duration::from_micros(us));
        }
        for (part, exact) in [(0.5, 50_000.0), (0.99, 99_000.0), (1.0, 100_000.0)] {
            let got = histogram.quantile_us(part) as f64;
            assert!((got / exact - 1.0).abs() < 0.04, "{part}: {got}");
        }
    }

    #[test]
    fn every_value_falls_into_the_bucket_that_bounds_it() {
        for us in (0..4096).chain([65_535, 65_536, 1_000_000, 1 << 35]) {
            let index = bucket(us);
            assert!(upper(index) >= us && (index == 0 || upper(index - 1) < us), "{us}");
        }
    }

    #[test]
    fn a_sample_beyond_the_last_bucket_counts() {
        let mut histogram = Histogram::default();
        histogram.add(Duration::from_secs(1 << 30));
        assert_eq!(histogram.quantiles().samples, 1);
        assert!(histogram.quantile_us(0.5) > 0);
    }
}
