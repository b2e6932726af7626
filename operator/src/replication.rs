//! Who pulls what from whom. Pure: facts and `now` in, one pull set per edge out.
//!
//! ```text
//! FleetMap + resources ─▶ chain (pool → … → origin) ─▶ streams (what the pool carries) ─▶ sources ─▶ DesiredPulls
//!                                                                     tiers of pools: spread ──▲
//! ```
//!
//! A pool carries what its upstream should carry, not what it already carries, so that a new stream goes down every
//! tier at once. What is not known is left alone: while the origin can't be heard, no edge loses a stream that it holds.

mod basis;
mod chain;
mod edges;
mod sources;
mod spread;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::ops::Bound::{Excluded, Included, Unbounded};
use std::str::FromStr;
use std::time::Instant;

use headwater_contract::{StreamSource, pattern_matches};

use crate::api::edge_pool::ReplicationMode;
use crate::fleet::map::{FleetMap, Health, Published};
/// What one edge is to pull, in order of stream name, and what it may pull when a viewer asks.
pub use crate::fleet::pull_set::PullSet as DesiredPulls;
use crate::fleet::{Addresses, NodeId, ResourceId, UnknownWord, one_of};
use crate::validate::{ValidOrigin, ValidPool};
use basis::{Basis, Facts};
use chain::Chain;
use edges::{Edges, PlannedBefore};
pub use spread::Parents;

/// Pulls of one edge; the contract's bound. Streams beyond it, by name, are left to on-demand pulls.
pub const MAX_PULLS: usize = 10_000;

/// An origin, as its manifest and its platform describe it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origin {
    /// `spec.suspend`.
    pub suspended: bool,
    /// `spec.app`.
    pub app: String,
    /// Its stable address (Service), used after its nodes' own.
    pub stable: Addresses,
}

/// A pool, as its manifest and its platform describe it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pool {
    /// `spec.suspend`.
    pub suspended: bool,
    /// `spec.upstream`.
    pub upstream: ResourceId,
    /// `spec.replication.mode`.
    pub mode: ReplicationMode,
    /// `spec.replication.streams`: patterns, at most 100.
    pub streams: Vec<String>,
    /// `spec.replication.idleTimeoutSeconds`.
    pub idle_timeout_seconds: u32,
    /// Its stable address (Service), for pools below it.
    pub stable: Addresses,
    /// Edges that the platform drains, or is about to.
    pub draining: BTreeSet<NodeId>,
}

impl Origin {
    /// The origin of this manifest.
    pub fn of(origin: &ValidOrigin, stable: Addresses) -> Self {
        Self {
            suspended: origin.suspend,
            app: origin.app.as_str().to_owned(),
            stable,
        }
    }
}

impl Pool {
    /// The pool of this manifest.
    pub fn of(pool: &ValidPool, stable: Addresses, draining: BTreeSet<NodeId>) -> Self {
        let idle = pool.replication.idle_timeout.as_secs();
        Self {
            suspended: pool.suspend,
            upstream: (&pool.upstream).into(),
            mode: pool.replication.mode,
            streams: pool
                .replication
                .streams
                .iter()
                .map(|pattern| pattern.as_str().to_owned())
                .collect(),
            idle_timeout_seconds: u32::try_from(idle).unwrap_or(u32::MAX),
            stable,
            draining,
        }
    }
}

/// Everything that a plan goes by, beside the map.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resources {
    /// Every origin.
    pub origins: BTreeMap<ResourceId, Origin>,
    /// Every pool.
    pub pools: BTreeMap<ResourceId, Pool>,
    /// Resources that are there, but of which nothing is known.
    pub unreadable: BTreeSet<ResourceId>,
}

/// How a pool stands towards its upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Verdict {
    /// Its streams are known and planned.
    Replicating,
    /// The origin has never been heard from: edges are left as they are.
    UpstreamUnheard,
    /// The origin is silent: edges keep what they hold.
    UpstreamSilent,
    /// The origin, or a pool on the way to it, is suspended.
    UpstreamSuspended,
    /// The upstream, or one on the way to the origin, does not exist.
    UpstreamNotFound,
    /// The pools on the way up go round in a circle.
    UpstreamCycle,
    /// The upstream, or one on the way to the origin, has a spec that is refused: edges are left as they are.
    UpstreamInvalid,
    /// More than [`MAX_PULLS`] streams: the rest is pulled on demand.
    TooManyStreams,
    /// The pool itself is suspended.
    Suspended,
}

impl Verdict {
    /// Every verdict.
    pub const ALL: [Self; 9] = [
        Self::Replicating,
        Self::UpstreamUnheard,
        Self::UpstreamSilent,
        Self::UpstreamSuspended,
        Self::UpstreamNotFound,
        Self::UpstreamCycle,
        Self::UpstreamInvalid,
        Self::TooManyStreams,
        Self::Suspended,
    ];
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The derived name is the CamelCase word that the condition `Replicating` has as its reason.
        fmt::Debug::fmt(self, f)
    }
}

impl FromStr for Verdict {
    type Err = UnknownWord;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        one_of("replication verdict", &Self::ALL, word)
    }
}

/// How a pool is replicated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolPlan {
    /// Why it is as it is.
    pub verdict: Verdict,
    /// Its origin; none while the way up to it is broken.
    pub origin: Option<ResourceId>,
    /// Streams that its edges should carry, by name, with their epochs (0 for one that only edges were heard to hold).
    pub streams: BTreeMap<String, u64>,
}

/// The plan of the whole fleet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Each pool.
    pub pools: BTreeMap<ResourceId, PoolPlan>,
    /// Each edge that is to be told; one that is missing here is left as it is.
    pub nodes: BTreeMap<NodeId, DesiredPulls>,
    /// Who pulls from whom between tiers of pools, for the next plan to stick to.
    pub parents: Parents,
    /// Pools that were planned anew when the plan was last renewed: the sets of all others are the very same values.
    pub renewed: BTreeSet<ResourceId>,
    /// What each pool was planned from.
    bases: BTreeMap<ResourceId, Basis>,
}

/// The plan at `now`. `before` is the last one's [`Plan::parents`]; without it the spread is worked out afresh, to
/// nearly the same result.
pub fn plan(map: &FleetMap, resources: &Resources, before: &Parents, now: Instant) -> Plan {
    let known = before
        .iter()
        .filter(|(child, _)| resources.pools.contains_key(&child.resource));
    let before = Plan {
        parents: known.map(|(child, held)| (child.clone(), held.clone())).collect(),
        ..Plan::default()
    };
    before.renew(map, resources, now, |_| true)
}

impl Plan {
    /// The plan at `now`, made of the last one of the same map: what [`plan`] would say, with only those pools planned anew
    /// that something has changed for. A set that says the same as before stays the same value.
    ///
    /// Only pools that are `touched`, or below a resource that is, are looked at: what time alone does (silence) is found by
    /// whoever says that all are.
    pub fn renew(
        mut self,
        map: &FleetMap,
        resources: &Resources,
        now: Instant,
        touched: impl Fn(&ResourceId) -> bool,
    ) -> Self {
        self.renewed.clear();
        let mut facts = Facts::new(map, now);
        for (id, pool) in &resources.pools {
            let chain = Chain::of(id, resources);
            let above = |chain: &Chain<'_>| touched(&pool.upstream) || touched(chain.origin_id);
            if self.bases.contains_key(id) && !touched(id) && !chain.as_ref().is_ok_and(above) {
                continue;
            }
            let basis = Basis::of(id, pool, &chain, &mut facts);
            if self.bases.get(id) == Some(&basis) {
                continue;
            }
            let known = self.bases.get(id);
            let sources_hold = known.is_some_and(|known| basis.pulls_like(known));
            let before = self.take(id, sources_hold);
            self.bases.insert(id.clone(), basis);
            self.renewed.insert(id.clone());
            match chain {
                _ if pool.suspended => {
                    self.pools.insert(id.clone(), PoolPlan::empty(Verdict::Suspended));
                }
                Err(verdict @ Verdict::UpstreamInvalid) => {
                    self.pools.insert(id.clone(), PoolPlan::empty(verdict));
                }
                Err(verdict) => self.leave_nothing(map, id, verdict, &before),
                Ok(chain) => {
                    let pool_plan = streams(id, &chain, &mut facts);
                    if pool_plan.verdict != Verdict::UpstreamUnheard {
                        let heard_only = pool_plan.verdict == Verdict::UpstreamSilent;
                        let edges = Edges {
                            map,
                            id,
                            pool,
                            now,
                            heard_only,
                        };
                        edges.plan(&chain, &pool_plan.streams, resources, &before, &mut facts, &mut self);
                    }
                    self.pools.insert(id.clone(), pool_plan);
                }
            }
        }
        if self.bases.len() > resources.pools.len() {
            self.bases.retain(|id, _| resources.pools.contains_key(id));
            self.pools.retain(|id, _| resources.pools.contains_key(id));
            self.nodes.retain(|id, _| resources.pools.contains_key(&id.resource));
            self.parents.retain(|id, _| resources.pools.contains_key(&id.resource));
        }
        self
    }

    /// Takes out what was planned for a pool's edges.
    fn take(&mut self, pool: &ResourceId, sources_hold: bool) -> PlannedBefore {
        PlannedBefore {
            sources_hold,
            nodes: take_of(&mut self.nodes, pool),
            parents: take_of(&mut self.parents, pool),
        }
    }

    /// There is nowhere to pull from, by a person's will: the edges are told to pull nothing.
    fn leave_nothing(&mut self, map: &FleetMap, id: &ResourceId, verdict: Verdict, before: &PlannedBefore) {
        let nothing = before.same_as(DesiredPulls::default());
        let nodes = map.nodes_of(id).map(|(node, _)| (node.clone(), nothing.clone()));
        self.nodes.extend(nodes);
        self.pools.insert(id.clone(), PoolPlan::empty(verdict));
    }
}

/// Takes the entries of one resource's nodes out of a map.
fn take_of<T>(map: &mut BTreeMap<NodeId, T>, resource: &ResourceId) -> BTreeMap<NodeId, T> {
    let from = resource.node("");
    let mut after = map.range(&from..).map(|(id, _)| id);
    let after = after.find(|id| id.resource != *resource).cloned();
    let range = (Included(from), after.map_or(Unbounded, Excluded));
    map.extract_if(range, |_, _| true).collect()
}

/// The app that a pool's edges serve: its origin's. None while the way up to it is broken.
pub fn app_of<'a>(resources: &'a Resources, pool: &'a ResourceId) -> Option<&'a str> {
    Chain::of(pool, resources).ok().map(|chain| &*chain.origin.app)
}

impl PoolPlan {
    fn empty(verdict: Verdict) -> Self {
        Self {
            verdict,
            origin: None,
            streams: BTreeMap::new(),
        }
    }
}

/// The streams that a pool should carry: those of its origin that every tier on the way lets through.
fn streams(id: &ResourceId, chain: &Chain<'_>, facts: &mut Facts<'_>) -> PoolPlan {
    let map = facts.map;
    let health = map.health_of(chain.origin_id, facts.now);
    let mut streams: BTreeMap<String, u64> = facts
        .published(chain.origin_id)
        .iter()
        .filter(|(name, _)| chain.lets_through(name))
        .map(|(name, stream)| (name.clone(), stream.epoch))
        .collect();
    let plan = |verdict, streams| PoolPlan {
        verdict,
        origin: Some(chain.origin_id.clone()),
        streams,
    };
    if health == Health::Live {
        let verdict = match streams.len() > MAX_PULLS {
            true => Verdict::TooManyStreams,
            false => Verdict::Replicating,
        };
        return plan(verdict, streams);
    }
    // The origin can't be asked. Its edges may well reach it, and end by themselves what is really gone.
    for (_, node) in map.nodes_of(id) {
        let held = node
            .streams
            .values()
            .filter(|stream| stream.state.source == StreamSource::Pull);
        for stream in held.filter(|stream| chain.lets_through(&stream.state.name)) {
            let name = stream.state.name.to_string();
            streams.entry(name).or_insert(stream.state.epoch);
        }
    }
    let verdict = match health {
        Health::Unheard if streams.is_empty() => Verdict::UpstreamUnheard,
        _ => Verdict::UpstreamSilent,
    };
    plan(verdict, streams)
}

fn matches_any(patterns: &[String], name: &str) -> bool {
    patterns.iter().any(|pattern| pattern_matches(pattern, name))
}

/// The nodes of an origin that hold the newest epoch of each stream.
type Carriers = BTreeMap<String, Published>;

#[cfg(test)]
mod tests;
