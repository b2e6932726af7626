//! How long a pull waits before it tries its sources again: a pure function.

use std::time::Duration;

/// Longest wait for a stream that has worked before.
const WORKED_MAX: Duration = Duration::from_secs(1);
/// Longest wait for one that has not.
const FRESH_MAX: Duration = Duration::from_secs(10);
/// Wait after the first failure.
const FIRST: Duration = Duration::from_millis(250);
/// After a working connection broke, so that all pulls of a node don't come back in one instant.
const BROKEN: Duration = Duration::from_millis(100);

/// The wait after `failures` rounds without success (0: a working connection broke); `jitter` in 0..1 spreads pulls.
pub(super) fn delay(failures: u32, worked: bool, jitter: f64) -> Duration {
    let most = if worked { WORKED_MAX } else { FRESH_MAX };
    match failures {
        0 => BROKEN.mul_f64(jitter),
        n => (FIRST * (1 << (n - 1).min(10))).min(most).mul_f64(0.5 + 0.5 * jitter),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_that_has_worked_is_tried_again_within_a_second() {
        for failures in 0..100 {
            assert!(delay(failures, true, 0.999) <= WORKED_MAX, "{failures}");
        }
        assert_eq!(delay(0, true, 0.0), Duration::ZERO);
    }

    #[test]
    fn the_wait_doubles_up_to_ten_seconds() {
        let waits: Vec<_> = (1..8).map(|n| delay(n, false, 1.0).as_millis()).collect();
        assert_eq!(waits, [250, 500, 1_000, 2_000, 4_000, 8_000, 10_000]);
    }

    #[test]
    fn jitter_takes_away_at_most_half() {
        assert_eq!(delay(3, false, 0.0), Duration::from_millis(500));
    }
}
