//! The pull sets of one pool's edges.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use headwater_contract::{OnDemand, Pull, Pulls};

use super::basis::Facts;
use super::chain::Chain;
use super::sources::{OriginTier, PoolTier, Upstream};
use super::spread::{self, Parents};
use super::{DesiredPulls, MAX_PULLS, Plan, Pool, Resources};
use crate::api::edge_pool::ReplicationMode;
use crate::fleet::map::FleetMap;
use crate::fleet::{NodeId, ResourceId};

/// The edges of one pool while their sets are put together.
pub(super) struct Edges<'a> {
    pub(super) map: &'a FleetMap,
    pub(super) id: &'a ResourceId,
    pub(super) pool: &'a Pool,
    pub(super) now: Instant,
    /// The streams are gathered from what edges hold: one that has not said what it holds is left as it is.
    pub(super) heard_only: bool,
}

impl<'a> Edges<'a> {
    /// Puts the sets into `plan`, from which those of the last one have been taken out.
    pub(super) fn plan(
        &self,
        chain: &Chain<'a>,
        streams: &BTreeMap<String, u64>,
        resources: &'a Resources,
        before: &PlannedBefore,
        facts: &mut Facts<'a>,
        plan: &mut Plan,
    ) {
        let eager: Vec<Arc<str>> = match self.pool.mode {
            ReplicationMode::Eager => streams
                .keys()
                .take(MAX_PULLS)
                .map(|name| name.as_str().into())
                .collect(),
            ReplicationMode::OnDemand => Vec::new(),
        };
        let told = self.told();
        match resources.pools.get(&self.pool.upstream) {
            None => {
                let upstream = OriginTier::new(chain, facts);
                // All of them pull the same.
                let set = before.same_as(self.set(&eager, &upstream));
                plan.nodes
                    .extend(told.into_iter().map(|node| (node.clone(), set.clone())));
            }
            Some(above) => {
                let fit = spread::fit(self.map, &self.pool.upstream, above, self.now);
                let spread = spread::spread(fit, &told, &eager, &before.parents);
                let tier = PoolTier::new(self.map, chain, above, spread);
                for node in told {
                    let set = self.set(&eager, &tier.of(node, before));
                    let set = before
                        .nodes
                        .get(node)
                        .filter(|known| **known == set)
                        .cloned()
                        .unwrap_or(set);
                    plan.nodes.insert(node.clone(), set);
                }
                plan.parents.extend(tier.into_parents());
            }
        }
    }

    fn set(&self, names: &[Arc<str>], upstream: &impl Upstream) -> DesiredPulls {
        let pulls = names.iter().enumerate().map(|(at, name)| Pull {
            stream: name.to_string(),
            sources: upstream.of_stream(at, name),
        });
        let upstreams = upstream.bases();
        DesiredPulls::from(Pulls {
            term: None,
            pulls: pulls.filter(|pull| !pull.sources.is_empty()).collect(),
            on_demand: (!upstreams.is_empty()).then(|| OnDemand {
                upstreams,
                streams: self.pool.streams.clone(),
                idle_timeout_seconds: self.pool.idle_timeout_seconds,
            }),
        })
    }

    /// The edges that are told. One that drains keeps its streams until it goes: figures are a second old, and a viewer may have
    /// come since they said that nobody is there.
    fn told(&self) -> Vec<&'a NodeId> {
        self.map
            .nodes_of(self.id)
            .filter(|(_, node)| !self.heard_only || node.identity.is_some())
            .map(|(id, _)| id)
            .collect()
    }
}

/// Sets of the last plan that are looked at for one that is the same.
const COMPARED: usize = 4;

/// What the last plan had for the edges of one pool.
#[derive(Default)]
pub(super) struct PlannedBefore {
    pub(super) nodes: BTreeMap<NodeId, DesiredPulls>,
    pub(super) parents: Parents,
    /// A pull that keeps its parent keeps its sources.
    pub(super) sources_hold: bool,
}

impl PlannedBefore {
    /// The set of the last plan that says the same, or this one.
    pub(super) fn same_as(&self, set: DesiredPulls) -> DesiredPulls {
        let mut seen: Vec<&DesiredPulls> = Vec::new();
        for known in self.nodes.values() {
            if seen.iter().any(|seen| seen.is(known)) {
                continue;
            }
            if *known == set {
                return known.clone();
            }
            seen.push(known);
            if seen.len() == COMPARED {
                break;
            }
        }
        set
    }
}
