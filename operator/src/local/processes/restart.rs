//! How long a child that died waits before it is started again: pure.

use std::time::Duration;

const LONGEST: Duration = Duration::from_secs(30);
/// A child that was up this long has proven itself.
const PROVEN: Duration = Duration::from_secs(60);

/// Restarts in a row without a proof.
#[derive(Debug, Default)]
pub(super) struct Restarts {
    in_a_row: u32,
}

impl Restarts {
    /// The wait after a run that lasted `up`: none at first, then 1, 2, 4 … 30 s; none again after a run of 60 s.
    pub(super) fn wait_after(&mut self, up: Duration) -> Duration {
        if up >= PROVEN {
            self.in_a_row = 0;
        }
        let wait = match self.in_a_row {
            0 => Duration::ZERO,
            before => Duration::from_secs(1 << (before - 1).min(8)).min(LONGEST),
        };
        self.in_a_row = self.in_a_row.saturating_add(1);
        wait
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_thirty_seconds_and_start_anew_after_a_proven_run() {
        let mut restarts = Restarts::default();
        let waits: Vec<u64> = (0..8).map(|_| restarts.wait_after(Duration::ZERO).as_secs()).collect();
        assert_eq!(waits, [0, 1, 2, 4, 8, 16, 30, 30]);
        assert_eq!(restarts.wait_after(PROVEN).as_secs(), 0);
        assert_eq!(restarts.wait_after(Duration::ZERO).as_secs(), 1);
    }
}
