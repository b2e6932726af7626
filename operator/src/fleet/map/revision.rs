//! What tells whether a plan that was made of a resource still holds: counts of its changes, and how far its nodes can be
//! counted on at a moment.

use std::collections::BTreeMap;
use std::time::Instant;

use super::{FleetMap, Health, KEEP_LOST};
use crate::fleet::ResourceId;

/// Which state a resource is in. A map gives no number twice, so that two equal ones of one map mean that nothing that plans
/// go by has changed between them, but for what time does ([`Standing`]).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Revision {
    /// Its nodes: which, where, whether they were heard, readiness, drain.
    pub shape: u64,
    /// Their streams: which, epoch, source; and those that were lost.
    pub held: u64,
}

/// How far each node of a resource can be counted on, in order of name, and of how many lost streams it still counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    shape: u64,
    /// With each health whether the node's streams still count ([`FleetMap::published`]).
    health: Vec<(Health, bool)>,
    lost: usize,
}

/// The revisions of a map's resources.
#[derive(Clone, Debug, Default)]
pub(super) struct Revisions {
    last: u64,
    of: BTreeMap<ResourceId, Revision>,
    /// When a node last came, went or moved.
    pub(super) placed: u64,
}

impl Revisions {
    /// The resource's nodes have changed.
    pub(super) fn shape(&mut self, id: &ResourceId) {
        self.last += 1;
        let last = self.last;
        self.entry(id).shape = last;
    }

    /// The resource's nodes have changed, and with them the addresses in the map.
    pub(super) fn place(&mut self, id: &ResourceId) {
        self.shape(id);
        self.placed = self.last;
    }

    /// The streams of the resource's nodes have changed.
    pub(super) fn held(&mut self, id: &ResourceId) {
        self.last += 1;
        let last = self.last;
        self.entry(id).held = last;
    }

    /// Drops the resources of which nothing is left in the map: as if they had never been.
    pub(super) fn keep(&mut self, is_left: impl Fn(&ResourceId) -> bool) {
        self.of.retain(|id, _| is_left(id));
    }

    fn entry(&mut self, id: &ResourceId) -> &mut Revision {
        self.of.entry(id.clone()).or_default()
    }
}

impl FleetMap {
    /// The revision of a resource; zeros if the map knows nothing of it.
    pub fn revision(&self, id: &ResourceId) -> Revision {
        self.revisions.of.get(id).copied().unwrap_or_default()
    }

    /// Counts up whenever a node comes, goes or moves.
    pub fn placed(&self) -> u64 {
        self.revisions.placed
    }

    /// The standing of a resource. While it and [`Revision::held`] stay the same, so do its health, its published streams,
    /// and where its nodes are.
    pub fn standing(&self, id: &ResourceId, now: Instant) -> Standing {
        let counts = |at: Instant| now.saturating_duration_since(at) < KEEP_LOST;
        let lost = self.lost.get(id).map_or(0, |lost| {
            let fresh = lost.values().filter(|lost| counts(lost.at));
            fresh.count()
        });
        Standing {
            shape: self.revision(id).shape,
            health: self
                .nodes_of(id)
                .map(|(_, node)| (node.health(now), node.heard.is_some_and(counts)))
                .collect(),
            lost,
        }
    }
}
