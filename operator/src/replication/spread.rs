//! Spreads the pulls of a pool over the edges of the pool above it.
//!
//! Rendezvous hashing with a load bound: each pull ranks the parents by a hash of both names and takes the first that
//! has room. A pull stays with its parent from plan to plan while that one is fit and within the bound, so that the
//! loss of a parent moves only its own pulls, and a new parent takes only what the others have too much of.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use super::Pool;
use super::edges::Wanted;
use crate::fleet::map::{FleetMap, Health, Node};
use crate::fleet::{NodeId, ResourceId};

/// For each edge of a pool below another pool, and each of its streams, the edge above that it pulls from.
pub type Parents = BTreeMap<NodeId, ParentsOf>;

/// The parents of one edge, by stream.
pub type ParentsOf = BTreeMap<Arc<str>, Arc<NodeId>>;

/// A parent takes at most this many percent of an even share.
const BOUND_PERCENT: usize = 125;

/// The spread of one pool.
pub(super) struct Spread {
    /// Parents that are fit, in order of id.
    fit: Vec<Arc<NodeId>>,
    pub(super) parents: Parents,
}

/// Assigns each wanted pull to a parent. Empty if no parent is fit.
pub(super) fn spread(
    map: &FleetMap,
    above_id: &ResourceId,
    above: &Pool,
    wanted: &Wanted<'_>,
    before: &Parents,
    now: Instant,
) -> Spread {
    let fit = fit(map, above_id, above, now);
    let mut parents = Parents::new();
    if fit.is_empty() {
        return Spread { fit, parents };
    }
    let total: usize = wanted.values().map(|streams| streams.len()).sum();
    let bound = (total * BOUND_PERCENT).div_ceil(fit.len() * 100).max(1);
    let mut load = vec![0; fit.len()];

    let mut homeless: Vec<(&NodeId, Vec<&Arc<str>>)> = Vec::new();
    for (child, streams) in wanted {
        let held = before.get(*child);
        let mut placed = BTreeMap::new();
        let mut left = Vec::new();
        for stream in *streams {
            let parent = held.and_then(|held| held.get(stream));
            match parent.and_then(|parent| fit.binary_search(parent).ok()) {
                Some(at) if load[at] < bound => {
                    load[at] += 1;
                    placed.insert(stream.clone(), fit[at].clone());
                }
                _ => left.push(stream),
            }
        }
        if !left.is_empty() {
            homeless.push((child, left));
        }
        if !placed.is_empty() {
            parents.insert((*child).clone(), placed);
        }
    }
    for (child, streams) in homeless {
        let ranking = Ranking::new(&fit, child);
        let placed = parents.entry(child.clone()).or_default();
        for stream in streams {
            // There is always room: the bounds of all parents together exceed the number of pulls.
            let Some(at) = ranking.first(stream, |at| load[at] < bound) else {
                continue;
            };
            load[at] += 1;
            placed.insert(stream.clone(), fit[at].clone());
        }
    }
    Spread { fit, parents }
}

/// The parents that an edge's pulls try.
pub(super) struct Tried<'a> {
    spread: &'a Spread,
    own: Option<&'a ParentsOf>,
    ranking: Ranking,
}

impl Spread {
    /// The parents that this edge's pulls try.
    pub(super) fn of(&self, child: &NodeId) -> Tried<'_> {
        Tried {
            spread: self,
            own: self.parents.get(child),
            ranking: Ranking::new(&self.fit, child),
        }
    }
}

impl Tried<'_> {
    /// The parent that a pull was given; none if no parent is fit.
    pub(super) fn own(&self, stream: &str) -> Option<&Arc<NodeId>> {
        self.own.and_then(|streams| streams.get(stream))
    }

    /// The two parents that a pull names before the stable address, its own first.
    pub(super) fn by(&self, stream: &str) -> Vec<&NodeId> {
        let fit = &self.spread.fit;
        let first = match self.own(stream) {
            Some(own) => fit.binary_search(own).ok(),
            None => self.ranking.first(stream, |_| true),
        };
        let second = self.ranking.first(stream, |at| Some(at) != first);
        first.into_iter().chain(second).map(|at| &*fit[at]).collect()
    }
}

/// The best kind of parent that there is: serving ones, else those that are starting, else those that drain.
fn fit(map: &FleetMap, id: &ResourceId, pool: &Pool, now: Instant) -> Vec<Arc<NodeId>> {
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
        .map(|(_, id)| Arc::new(id.clone()))
        .collect()
}

/// Ranks the parents of one child by a hash of their names and the stream's: FNV-1a with a final mix, the same on every
/// machine and in every release, unlike the standard library's hashers.
struct Ranking {
    /// The hashes of parent and child, in the parents' order.
    pairs: Vec<u64>,
}

impl Ranking {
    fn new(fit: &[Arc<NodeId>], child: &NodeId) -> Self {
        let pair = |parent: &Arc<NodeId>| {
            let parts = [&*parent.resource.namespace, &parent.name, &child.name];
            parts.into_iter().fold(FNV, fnv)
        };
        Self {
            pairs: fit.iter().map(pair).collect(),
        }
    }

    /// The parent that ranks first for a stream among those that `may` take it.
    fn first(&self, stream: &str, may: impl Fn(usize) -> bool) -> Option<usize> {
        let stream = fnv(FNV, stream);
        let candidates = (0..self.pairs.len()).filter(|at| may(*at));
        candidates.min_by_key(|at| (mixed(self.pairs[*at] ^ stream), *at))
    }
}

const FNV: u64 = 0xcbf2_9ce4_8422_2325;

fn fnv(hash: u64, part: &str) -> u64 {
    let bytes = part.bytes().chain([0]);
    bytes.fold(hash, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

fn mixed(mut hash: u64) -> u64 {
    hash ^= hash >> 33;
    hash = hash.wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash ^= hash >> 33;
    hash = hash.wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    hash ^ (hash >> 33)
}
