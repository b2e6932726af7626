//! What becomes of a viewer that can't keep up: a pure decision.

use std::time::Duration;

/// Facts about one viewer.
#[derive(Clone, Copy, Debug)]
pub struct Lag {
    /// The entry that it needs next has left the ring.
    pub fell_out: bool,
    /// Age of the entry that it needs next.
    pub behind: Duration,
    /// A key frame newer than that entry is in the ring.
    pub newer_start: bool,
    /// How often it was moved on within the last minute.
    pub recent_skips: u32,
}

/// Bounds of patience.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// A viewer further behind than this is moved to the newest key frame.
    pub max_behind: Duration,
    /// A viewer moved on more often than this within a minute is dropped.
    pub max_skips: u32,
    /// A write that makes no progress for this long drops the viewer.
    pub write_timeout: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            max_behind: Duration::from_secs(5),
            max_skips: 10,
            write_timeout: Duration::from_secs(10),
        }
    }
}

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Send what comes next.
    Continue,
    /// Move it to the newest key frame (or the next one to come) and count what it missed.
    Skip,
    /// Close it: it can't carry the stream.
    Drop,
}

/// Decides on `lag`.
pub fn decide(lag: Lag, patience: Patience) -> Verdict {
    let skip = lag.fell_out || (lag.behind > patience.max_behind && lag.newer_start);
    match skip {
        false => Verdict::Continue,
        true if lag.recent_skips >= patience.max_skips => Verdict::Drop,
        true => Verdict::Skip,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PUNCTUAL: Lag = Lag {
        fell_out: false,
        behind: Duration::ZERO,
        newer_start: true,
        recent_skips: 0,
    };

    #[test]
    fn a_viewer_in_time_goes_on() {
        assert_eq!(decide(PUNCTUAL, Patience::default()), Verdict::Continue);
    }

    #[test]
    fn a_viewer_behind_waits_for_a_key_frame_to_skip_to() {
        let late = Lag {
            behind: Duration::from_secs(6),
            ..PUNCTUAL
        };
        assert_eq!(decide(late, Patience::default()), Verdict::Skip);
        assert_eq!(
            decide(
                Lag {
                    newer_start: false,
                    ..late
                },
                Patience::default()
            ),
            Verdict::Continue
        );
    }

    #[test]
    fn a_viewer_out_of_the_ring_is_moved_then_dropped_at_the_limit() {
        let lost = Lag {
            fell_out: true,
            newer_start: false,
            ..PUNCTUAL
        };
        assert_eq!(decide(lost, Patience::default()), Verdict::Skip);
        assert_eq!(
            decide(
                Lag {
                    recent_skips: 10,
                    ..lost
                },
                Patience::default()
            ),
            Verdict::Drop
        );
    }
}
