//! How much of every stream can be played back at least: one setting of the node, which may change while streams live.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Handle of the setting. Zero: the low-latency window is all there is.
#[derive(Clone, Debug, Default)]
pub struct Dvr(Arc<AtomicU64>);

impl Dvr {
    /// The longest time: 12 hours, which is at most 43,200 segments.
    pub const LONGEST: Duration = Duration::from_secs(12 * 60 * 60);

    /// From the next segment on, that much is announced; more than [`Dvr::LONGEST`] is taken as that.
    pub fn set(&self, time: Duration) {
        let ms = time.min(Self::LONGEST).as_millis();
        self.0.store(u64::try_from(ms).unwrap_or(0), Ordering::Relaxed); // twelve hours fit
    }

    /// Milliseconds.
    pub fn ms(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// True if more than the low-latency window is kept.
    pub fn on(&self) -> bool {
        self.ms() > 0
    }
}
