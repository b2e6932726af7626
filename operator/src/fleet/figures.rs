//! Sums of the nodes' figures, as the documents, the metrics and the status show them.

use std::time::Instant;

use super::ResourceId;
use super::map::FleetMap;

/// What the nodes of one resource do together. Suspect nodes count for nothing but [`Totals::suspect`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Nodes tracked.
    pub nodes: u32,
    /// Nodes that serve: live, ready, not draining.
    pub ready: u32,
    /// Nodes that drain by their own word.
    pub draining: u32,
    /// Nodes that are silent.
    pub suspect: u32,
    /// Viewers of every protocol.
    pub viewers: u64,
    /// Bits per second sent.
    pub sent_bps: u64,
}

/// The sums over the nodes of `resource`.
pub fn totals(map: &FleetMap, resource: &ResourceId, now: Instant) -> Totals {
    let mut totals = Totals::default();
    for (_, node) in map.nodes_of(resource) {
        totals.nodes += 1;
        totals.ready += u32::from(node.serves(now));
        match node.fresh_figures(now) {
            Some(figures) => {
                totals.draining += u32::from(node.draining());
                totals.viewers = totals.viewers.saturating_add(figures.viewers);
                totals.sent_bps = totals.sent_bps.saturating_add(figures.sent_bps);
            }
            None => totals.suspect += u32::from(node.identity.is_some()),
        }
    }
    totals
}

/// Megabits per second to three places, as the documents write them.
pub fn megabits(bps: u64) -> f64 {
    // Whole kilobits are far below 2^53, so that the division is exact to the last place shown.
    (bps / 1_000) as f64 / 1_000.0
}
