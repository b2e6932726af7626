//! Who pulls what from whom. Pure: facts and `now` in, one pull set per edge out.
//!
//! ```text
//! FleetMap + resources ─▶ chain (pool → … → origin) ─▶ streams (what the pool carries) ─▶ sources ─▶ DesiredPulls
//!                                                                     tiers of pools: spread ──▲
//! ```
//!
//! A pool carries what its upstream should carry, not what it already carries, so that a new stream goes down every
//! tier at once. What is not known is left alone: while the origin can't be heard, no edge loses a stream that it holds.

mod chain;
mod sources;
mod spread;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;
use std::time::Instant;

use headwater_contract::{OnDemand, Pull, Pulls, StreamSource, pattern_matches};

use crate::api::edge_pool::ReplicationMode;
use crate::fleet::map::{FleetMap, Health, Published};
use crate::fleet::{Addresses, NodeId, ResourceId, UnknownWord, one_of};
use crate::validate::{ValidOrigin, ValidPool};
use chain::Chain;
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
    /// More than [`MAX_PULLS`] streams: the rest is pulled on demand.
    TooManyStreams,
    /// The pool itself is suspended.
    Suspended,
}

impl Verdict {
    /// Every verdict.
    pub const ALL: [Self; 8] = [
        Self::Replicating,
        Self::UpstreamUnheard,
        Self::UpstreamSilent,
        Self::UpstreamSuspended,
        Self::UpstreamNotFound,
        Self::UpstreamCycle,
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

/// What one edge is to pull.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DesiredPulls {
    /// In order of stream name.
    pub pulls: Vec<Pull>,
    /// What it may pull when a viewer asks.
    pub on_demand: Option<OnDemand>,
}

impl DesiredPulls {
    /// As the command; the link adds its term.
    pub fn command(&self) -> Pulls {
        Pulls {
            term: None,
            pulls: self.pulls.clone(),
            on_demand: self.on_demand.clone(),
        }
    }
}

/// How a pool is replicated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolPlan {
    /// Why it is as it is.
    pub verdict: Verdict,
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
}

/// The plan at `now`. `before` is the last one's [`Plan::parents`]; without it the spread is worked out afresh, to
/// nearly the same result.
pub fn plan(map: &FleetMap, resources: &Resources, before: &Parents, now: Instant) -> Plan {
    let mut plan = Plan::default();
    for (id, pool) in &resources.pools {
        if pool.suspended {
            plan.pools.insert(id.clone(), PoolPlan::empty(Verdict::Suspended));
            continue;
        }
        let chain = match Chain::of(id, resources) {
            Ok(chain) => chain,
            Err(verdict) => {
                plan.leave_nothing(map, id, verdict);
                continue;
            }
        };
        let pool_plan = streams(map, id, &chain, now);
        if pool_plan.verdict != Verdict::UpstreamUnheard {
            let edges = Edges {
                map,
                id,
                pool,
                now,
                heard_only: pool_plan.verdict == Verdict::UpstreamSilent,
            };
            edges.plan(&chain, &pool_plan.streams, resources, before, &mut plan);
        }
        plan.pools.insert(id.clone(), pool_plan);
    }
    plan
}

/// The app that a pool's edges serve: its origin's. None while the way up to it is broken.
pub fn app_of<'a>(resources: &'a Resources, pool: &'a ResourceId) -> Option<&'a str> {
    Chain::of(pool, resources).ok().map(|chain| &*chain.origin.app)
}

impl PoolPlan {
    fn empty(verdict: Verdict) -> Self {
        Self {
            verdict,
            streams: BTreeMap::new(),
        }
    }
}

impl Plan {
    /// There is nowhere to pull from, by a person's will: the edges are told to pull nothing.
    fn leave_nothing(&mut self, map: &FleetMap, id: &ResourceId, verdict: Verdict) {
        let nodes = map
            .nodes_of(id)
            .map(|(node, _)| (node.clone(), DesiredPulls::default()));
        self.nodes.extend(nodes);
        self.pools.insert(id.clone(), PoolPlan::empty(verdict));
    }
}

/// The streams that a pool should carry: those of its origin that every tier on the way lets through.
fn streams(map: &FleetMap, id: &ResourceId, chain: &Chain<'_>, now: Instant) -> PoolPlan {
    let health = map.health_of(chain.origin_id, now);
    let published = map.published(chain.origin_id, now);
    let mut streams: BTreeMap<String, u64> = published
        .iter()
        .filter(|(name, _)| chain.lets_through(name))
        .map(|(name, stream)| (name.clone(), stream.epoch))
        .collect();
    if health == Health::Live {
        let verdict = match streams.len() > MAX_PULLS {
            true => Verdict::TooManyStreams,
            false => Verdict::Replicating,
        };
        return PoolPlan { verdict, streams };
    }
    // The origin can't be asked. Its edges may well reach it, and end by themselves what is really gone.
    for (_, node) in map.nodes_of(id) {
        let held = node
            .streams
            .values()
            .filter(|stream| stream.state.source == StreamSource::Pull);
        for stream in held.filter(|stream| chain.lets_through(&stream.state.name)) {
            streams.entry(stream.state.name.clone()).or_insert(stream.state.epoch);
        }
    }
    let verdict = match health {
        Health::Unheard if streams.is_empty() => Verdict::UpstreamUnheard,
        _ => Verdict::UpstreamSilent,
    };
    PoolPlan { verdict, streams }
}

/// The edges of one pool while their sets are put together.
struct Edges<'a> {
    map: &'a FleetMap,
    id: &'a ResourceId,
    pool: &'a Pool,
    now: Instant,
    /// The streams are gathered from what edges hold: one that has not said what it holds is left as it is.
    heard_only: bool,
}

impl Edges<'_> {
    fn plan(
        &self,
        chain: &Chain<'_>,
        streams: &BTreeMap<String, u64>,
        resources: &Resources,
        before: &Parents,
        plan: &mut Plan,
    ) {
        let wanted = self.wanted(streams);
        let upstream = match resources.pools.get(&self.pool.upstream) {
            None => sources::Upstream::origin(self.map, chain, self.now),
            Some(above) => {
                let spread = spread::spread(self.map, &self.pool.upstream, above, &wanted, before, self.now);
                sources::Upstream::pool(self.map, chain, above, spread)
            }
        };
        for (node, names) in wanted {
            let pulls = names.into_iter().map(|name| Pull {
                sources: upstream.of_stream(&node, &name),
                stream: name,
            });
            let desired = DesiredPulls {
                pulls: pulls.filter(|pull| !pull.sources.is_empty()).collect(),
                on_demand: self.on_demand(upstream.bases(&node)),
            };
            plan.nodes.insert(node, desired);
        }
        plan.parents.extend(upstream.into_parents());
    }

    /// The streams of each edge. One that drains keeps them while it serves anybody.
    fn wanted(&self, streams: &BTreeMap<String, u64>) -> BTreeMap<NodeId, Vec<String>> {
        let eager: Vec<String> = match self.pool.mode {
            ReplicationMode::Eager => streams.keys().take(MAX_PULLS).cloned().collect(),
            ReplicationMode::OnDemand => Vec::new(),
        };
        let left = |id: &NodeId| {
            let node = self.map.node(id)?;
            let figures = node.fresh_figures(self.now)?;
            let draining = node.draining() && self.pool.draining.contains(id);
            Some(draining && figures.viewers == 0 && figures.relays == 0)
        };
        self.map
            .nodes_of(self.id)
            .filter(|(_, node)| !self.heard_only || node.identity.is_some())
            .map(|(id, _)| match left(id) {
                Some(true) => (id.clone(), Vec::new()),
                _ => (id.clone(), eager.clone()),
            })
            .collect()
    }

    fn on_demand(&self, upstreams: Vec<headwater_contract::Source>) -> Option<OnDemand> {
        (!upstreams.is_empty()).then(|| OnDemand {
            upstreams,
            streams: self.pool.streams.clone(),
            idle_timeout_seconds: self.pool.idle_timeout_seconds,
        })
    }
}

fn matches_any(patterns: &[String], name: &str) -> bool {
    patterns.iter().any(|pattern| pattern_matches(pattern, name))
}

/// The nodes of an origin that hold the newest epoch of each stream.
type Carriers = BTreeMap<String, Published>;

#[cfg(test)]
mod tests;
