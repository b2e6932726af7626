//! How long a new stream takes to be playable on every ready edge: for the metric alone.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::nodes::Touched;
use crate::fleet::ResourceId;
use crate::fleet::map::FleetMap;
use crate::replication::Plan;

/// After this long a stream counts as not replicated, and is not measured.
const GIVEN_UP: Duration = Duration::from_secs(60);
/// Streams measured at a time; further ones are left out.
const MOST: usize = 10_000;

/// Streams that were published and are not yet seen everywhere.
#[derive(Debug, Default)]
pub(super) struct Replicated {
    pending: BTreeMap<(ResourceId, String), Pending>,
}

#[derive(Debug)]
struct Pending {
    epoch: u64,
    since: Instant,
}

impl Replicated {
    /// A stream became playable on its origin.
    pub(super) fn published(&mut self, origin: ResourceId, stream: String, epoch: u64, now: Instant) {
        if self.pending.len() < MOST {
            self.pending.insert((origin, stream), Pending { epoch, since: now });
        }
    }

    /// Seconds that each of those took which are now playable on every ready edge that should have them. Streams that did
    /// not come up anywhere since the last call are not looked at.
    pub(super) fn observe(&mut self, map: &FleetMap, plan: &Plan, touched: &Touched, now: Instant) -> Vec<f64> {
        let mut observed = Vec::new();
        if self.pending.is_empty() {
            return observed;
        }
        let mut pools: BTreeMap<&ResourceId, Vec<&ResourceId>> = BTreeMap::new();
        for (id, plan) in &plan.pools {
            if let Some(origin) = &plan.origin {
                pools.entry(origin).or_default().push(id);
            }
        }
        self.pending.retain(|(origin, stream), pending| {
            if !touched.has_stream(stream) {
                return true;
            }
            let waited = now.saturating_duration_since(pending.since);
            if waited > GIVEN_UP || !map.is_published(origin, stream, now) {
                return false;
            }
            let planned = |pool: &&ResourceId| {
                let plan = plan.pools.get(*pool);
                plan.and_then(|plan| plan.streams.get(stream)) == Some(&pending.epoch)
            };
            let below = pools.get(origin).into_iter().flatten().copied();
            let mut edges = below
                .filter(planned)
                .flat_map(|pool| map.nodes_of(pool))
                .filter(|(_, node)| node.serves(now));
            let mut any = false;
            let everywhere = edges.all(|(_, node)| {
                any = true;
                let held = node.streams.get(&**stream);
                held.is_some_and(|held| held.state.playable && held.state.epoch >= pending.epoch)
            });
            if any && everywhere {
                observed.push(waited.as_secs_f64());
            }
            !(any && everywhere)
        });
        observed
    }
}
