//! Spreads the pulls of a pool over the edges of the pool above it.
//!
//! Rendezvous hashing with a load bound: each pull ranks the parents by a hash of both names and takes the first that
//! has room. A pull stays with its parent from plan to plan while that one is fit and within the bound, so that the
//! loss of a parent moves only its own pulls, and a new parent takes only what the others have too much of.

use std::collections::BTreeMap;
use std::time::Instant;

use super::Pool;
use crate::fleet::map::{FleetMap, Health, Node};
use crate::fleet::{NodeId, ResourceId};

/// For each edge of a pool below another pool, and each of its streams, the edge above that it pulls from.
pub type Parents = BTreeMap<NodeId, BTreeMap<String, NodeId>>;

/// Sources that a pull names before the stable address.
const RANKED: usize = 2;
/// A parent takes at most this many percent of an even share.
const BOUND_PERCENT: usize = 125;

/// The spread of one pool.
pub(super) struct Spread {
    /// Parents that are fit, in order of id.
    fit: Vec<NodeId>,
    pub(super) parents: Parents,
}

/// Assigns each wanted pull to a parent. Empty if no parent is fit.
pub(super) fn spread(
    map: &FleetMap,
    above_id: &ResourceId,
    above: &Pool,
    wanted: &BTreeMap<NodeId, Vec<String>>,
    before: &Parents,
    now: Instant,
) -> Spread {
    let fit = fit(map, above_id, above, now);
    let mut parents = Parents::new();
    if fit.is_empty() {
        return Spread { fit, parents };
    }
    let total: usize = wanted.values().map(Vec::len).sum();
    let bound = (total * BOUND_PERCENT).div_ceil(fit.len() * 100).max(1);
    let mut load: BTreeMap<&NodeId, usize> = fit.iter().map(|parent| (parent, 0)).collect();

    let mut homeless = Vec::new();
    for (child, streams) in wanted {
        for stream in streams {
            let held = before.get(child).and_then(|held| held.get(stream));
            match held.and_then(|parent| load.get_mut(parent).map(|load| (parent, load))) {
                Some((parent, load)) if *load < bound => {
                    *load += 1;
                    parents
                        .entry(child.clone())
                        .or_default()
                        .insert(stream.clone(), parent.clone());
                }
                _ => homeless.push((child, stream)),
            }
        }
    }
    for (child, stream) in homeless {
        let ranked = ranked(&fit, child, stream);
        // There is always room: the bounds of all parents together exceed the number of pulls.
        let Some(parent) = ranked
            .into_iter()
            .find(|parent| load.get(parent).is_some_and(|load| *load < bound))
        else {
            continue;
        };
        if let Some(load) = load.get_mut(parent) {
            *load += 1;
        }
        parents
            .entry(child.clone())
            .or_default()
            .insert(stream.clone(), parent.clone());
    }
    Spread { fit, parents }
}

impl Spread {
    /// The parents that this pull tries, its own first.
    pub(super) fn tried(&self, child: &NodeId, stream: &str) -> Vec<&NodeId> {
        let own = self.parents.get(child).and_then(|streams| streams.get(stream));
        let others = ranked(&self.fit, child, stream)
            .into_iter()
            .filter(|parent| Some(*parent) != own);
        own.into_iter().chain(others).take(RANKED).collect()
    }
}

/// The best kind of parent that there is: serving ones, else those that are starting, else those that drain.
fn fit(map: &FleetMap, id: &ResourceId, pool: &Pool, now: Instant) -> Vec<NodeId> {
    let rank = |id: &NodeId, node: &Node| match node.health(now) {
        Health::Live if node.draining() || pool.draining.contains(id) => Some(2),
        Health::Live if node.figures.ready => Some(0),
        Health::Live => Some(1),
        Health::Unheard | Health::Suspect => None,
    };
    let ranked: Vec<_> = map
        .nodes_of(id)
        .filter_map(|(id, node)| Some((rank(id, node)?, id)))
        .collect();
    let best = ranked.iter().map(|(rank, _)| *rank).min();
    ranked
        .into_iter()
        .filter(|(rank, _)| Some(*rank) == best)
        .map(|(_, id)| id.clone())
        .collect()
}

fn ranked<'a>(fit: &'a [NodeId], child: &NodeId, stream: &str) -> Vec<&'a NodeId> {
    let mut ranked: Vec<_> = fit
        .iter()
        .map(|parent| (weight(parent, child, stream), parent))
        .collect();
    ranked.sort();
    ranked.into_iter().map(|(_, parent)| parent).collect()
}

/// FNV-1a with a final mix: the same on every machine and in every release, unlike the standard library's hashers.
fn weight(parent: &NodeId, child: &NodeId, stream: &str) -> u64 {
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    for part in [&*parent.resource.namespace, &parent.name, &child.name, stream] {
        for byte in part.bytes().chain([0]) {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }
    hash ^= hash >> 33;
    hash = hash.wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash ^= hash >> 33;
    hash = hash.wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    hash ^ (hash >> 33)
}
