//! What a node keeps of the past: one handle for the channels of all streams.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::Notify;

use super::bounds::Bounds;
use super::disk::Disk;
use crate::hub::Dvr;
use crate::meters::{Meters, Where};

/// Handle of it.
#[derive(Clone, Debug)]
pub struct Archive(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    dvr: Dvr,
    bounds: Bounds,
    disk: Option<Disk>,
    meters: Meters,
    /// Bytes of old segments in memory, of all channels.
    memory: AtomicU64,
    /// Memory is full.
    pressed: Notify,
    /// Counts requests for old segments.
    requests: AtomicU64,
}

impl Archive {
    /// Bounded by `memory` bytes of all streams together, and in `disk` by what that takes.
    pub fn new(dvr: Dvr, memory: u64, disk: Option<Disk>, meters: Meters) -> Self {
        let bounds = Bounds {
            memory,
            disk: disk.as_ref().map_or(0, Disk::most),
        };
        Self(Arc::new(Shared {
            dvr,
            bounds,
            disk,
            meters,
            memory: AtomicU64::new(0),
            pressed: Notify::new(),
            requests: AtomicU64::new(0),
        }))
    }

    /// Streams of this node are kept although nobody asks for them.
    pub(super) fn on(&self) -> bool {
        self.0.dvr.on()
    }

    pub(super) fn bounds(&self) -> Bounds {
        self.0.bounds
    }

    pub(super) fn disk(&self) -> Option<&Disk> {
        self.0.disk.as_ref()
    }

    /// A channel that held `before` bytes in memory holds `now`.
    pub(super) fn account(&self, before: u64, now: u64) {
        if before == now {
            return;
        }
        self.0.memory.fetch_add(now, Ordering::Relaxed);
        let sum = self.0.memory.fetch_sub(before, Ordering::Relaxed) - before;
        self.0.meters.set_dvr_bytes(Where::Memory, sum);
        if now > before && sum > self.0.bounds.memory {
            self.0.pressed.notify_one();
        }
    }

    /// Segments had to leave before their time.
    pub(super) fn shed(&self, segments: u64) {
        self.0.meters.dvr_shed(segments);
    }

    /// Waits until memory is full.
    pub(super) async fn pressed(&self) {
        self.0.pressed.notified().await;
    }

    /// The count of requests for old segments, this one included.
    pub(super) fn request(&self) -> u64 {
        self.0.requests.fetch_add(1, Ordering::Relaxed) + 1
    }
}
