//! Spreads the pulls of a pool over the edges of the pool above it.
//!
//! Rendezvous hashing with a load bound: each pull ranks the parents by a hash of both names and takes the first that
//! has room. A pull stays with its parent from plan to plan while that one is fit and within the bound, so that the
//! loss of a parent moves only its own pulls, and a new parent takes only what the others have too much of.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use super::Pool;
use crate::fleet::map::{FleetMap, Health, Node};
use crate::fleet::{NodeId, ResourceId};

/// For each edge of a pool below another pool, and each of its streams, the edge above that it pulls from.
pub type Parents = BTreeMap<NodeId, ParentsOf>;

/// The parents of one edge, by stream.
pub type ParentsOf = BTreeMap<Arc<str>, Arc<NodeId>>;

/// A parent takes at most this many percent of an even share.
const BOUND_PERCENT: usize = 125;

/// The spread of one pool: the parents of each pull by their number among those that are fit.
pub(super) struct Spread<'a> {
    /// Parents that are fit, in order of id.
    fit: Vec<Arc<NodeId>>,
    streams: &'a [Arc<str>],
    /// The streams' hashes, in their order.
    hashes: Vec<u64>,
    /// For each child its streams' parents, in order of stream. Empty if no parent is fit.
    own: BTreeMap<&'a NodeId, Vec<Option<usize>>>,
}

/// Assigns each child's pull of each stream to a parent. Streams are in order of name.
pub(super) fn spread<'a>(
    fit: Vec<Arc<NodeId>>,
    children: &[&'a NodeId],
    streams: &'a [Arc<str>],
    before: &Parents,
) -> Spread<'a> {
    let hashes: Vec<u64> = streams.iter().map(|stream| fnv(FNV, stream)).collect();
    let mut own = BTreeMap::new();
    if !fit.is_empty() {
        let bound = (children.len() * streams.len() * BOUND_PERCENT)
            .div_ceil(fit.len() * 100)
            .max(1);
        let mut load = vec![0; fit.len()];
        for child in children {
            own.insert(*child, held(before.get(*child), &fit, streams, &mut load, bound));
        }
        for (child, own) in &mut own {
            if own.iter().all(Option::is_some) {
                continue;
            }
            let ranking = Ranking::new(&fit, child);
            for (own, hash) in own.iter_mut().zip(&hashes).filter(|(own, _)| own.is_none()) {
                // There is always room: the bounds of all parents together exceed the number of pulls.
                *own = ranking.first(*hash, |at| load[at] < bound);
                if let Some(at) = *own {
                    load[at] += 1;
                }
            }
        }
    }
    Spread {
        fit,
        streams,
        hashes,
        own,
    }
}

/// The parents that one child keeps: those that are fit and have room.
fn held(
    before: Option<&ParentsOf>,
    fit: &[Arc<NodeId>],
    streams: &[Arc<str>],
    load: &mut [usize],
    bound: usize,
) -> Vec<Option<usize>> {
    let mut before = before.into_iter().flatten().peekable();
    let mut keeps = |stream: &Arc<str>| {
        // Both are in order of stream.
        while before.next_if(|(known, _)| *known < stream).is_some() {}
        let (_, parent) = before.next_if(|(known, _)| *known == stream)?;
        let at = fit.binary_search(parent).ok()?;
        (load[at] < bound).then(|| {
            load[at] += 1;
            at
        })
    };
    streams.iter().map(&mut keeps).collect()
}

/// The parents that an edge's pulls try.
pub(super) struct Tried<'a> {
    spread: &'a Spread<'a>,
    own: &'a [Option<usize>],
    ranking: Ranking,
}

impl Spread<'_> {
    /// The parents that are fit, in the order of their numbers.
    pub(super) fn parents(&self) -> impl Iterator<Item = &NodeId> {
        self.fit.iter().map(|parent| &**parent)
    }

    /// The parents that this edge's pulls try.
    pub(super) fn of(&self, child: &NodeId) -> Tried<'_> {
        Tried {
            spread: self,
            own: self.own.get(child).map(Vec::as_slice).unwrap_or_default(),
            ranking: Ranking::new(&self.fit, child),
        }
    }

    /// For the next plan to stick to.
    pub(super) fn into_parents(self) -> Parents {
        let parents = |own: Vec<Option<usize>>| -> ParentsOf {
            let pulls = self.streams.iter().zip(own);
            pulls
                .filter_map(|(stream, own)| Some((stream.clone(), self.fit[own?].clone())))
                .collect()
        };
        let children = self.own.into_iter().map(|(child, own)| (child.clone(), parents(own)));
        children.filter(|(_, parents)| !parents.is_empty()).collect()
    }
}

impl Tried<'_> {
    /// The parent that the pull of the stream of this number was given; none if no parent is fit.
    pub(super) fn own(&self, at: usize) -> Option<&NodeId> {
        Some(&self.spread.fit[self.own.get(at).copied()??])
    }

    /// The numbers of the two parents that a pull names before the stable address, its own first.
    pub(super) fn by(&self, at: usize) -> [Option<usize>; 2] {
        let first = self.own.get(at).copied().flatten();
        [
            first,
            self.ranking.first(self.spread.hashes[at], |at| Some(at) != first),
        ]
    }

    /// The same for pulls of streams that nobody has named yet.
    pub(super) fn by_name_alone(&self) -> [Option<usize>; 2] {
        let hash = fnv(FNV, "");
        let first = self.ranking.first(hash, |_| true);
        [first, self.ranking.first(hash, |at| Some(at) != first)]
    }
}

/// The best kind of parent that there is: serving ones, else those that are starting, else those that drain.
pub(super) fn fit(map: &FleetMap, id: &ResourceId, pool: &Pool, now: Instant) -> Vec<Arc<NodeId>> {
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

    /// The parent that ranks first for a stream, by its hash, among those that `may` take it.
    fn first(&self, stream: u64, may: impl Fn(usize) -> bool) -> Option<usize> {
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
