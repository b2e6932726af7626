//! What was listed, put in order as a [`Tree`]. Pure.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;

use super::tree::{Aspect, Edge, EdgeState, Figures, Origin, Place, Pool, Ready, Tree};
use crate::api::edge_pool::{EdgeStatus, UpstreamKind};
use crate::api::{EdgePool, StreamOrigin};
use crate::fleet::{ResourceId, ResourceKind};
use crate::kubernetes::decide::names;
use crate::validate;

/// What was listed.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// The origins.
    pub origins: Vec<StreamOrigin>,
    /// The pools.
    pub pools: Vec<EdgePool>,
    /// The pods of both.
    pub pods: Vec<Pod>,
}

/// Puts what was listed in order.
pub fn tree(seen: &Seen) -> Tree {
    let mut below: BTreeMap<ResourceId, Vec<&EdgePool>> = BTreeMap::new();
    for pool in &seen.pools {
        below.entry(upstream_of(pool)).or_default().push(pool);
    }
    let mut pods: BTreeMap<ResourceId, Vec<&Pod>> = BTreeMap::new();
    for pod in &seen.pods {
        if let Some(resource) = names::resource_of(&pod.metadata) {
            pods.entry(resource).or_default().push(pod);
        }
    }
    let mut builder = Builder {
        below,
        pods,
        placed: BTreeSet::new(),
    };
    let origins = seen.origins.iter().map(|origin| builder.origin(origin)).collect();
    // First those that have nobody above them, then those that feed each other.
    let ids: BTreeSet<ResourceId> = seen.pools.iter().map(pool_id).collect();
    let mut pools = Vec::new();
    for in_circle in [false, true] {
        for pool in &seen.pools {
            if (in_circle || !ids.contains(&upstream_of(pool))) && builder.placed.insert(pool_id(pool)) {
                pools.push(builder.pool(pool));
            }
        }
    }
    Tree { origins, pools }
}

struct Builder<'a> {
    below: BTreeMap<ResourceId, Vec<&'a EdgePool>>,
    pods: BTreeMap<ResourceId, Vec<&'a Pod>>,
    placed: BTreeSet<ResourceId>,
}

impl Builder<'_> {
    fn origin(&mut self, origin: &StreamOrigin) -> Origin {
        let id = ResourceId::origin(origin.namespace().unwrap_or_default(), origin.name_any());
        let status = origin.status.clone().unwrap_or_default();
        Origin {
            namespace: id.namespace.clone(),
            name: id.name.clone(),
            app: origin.spec.app.clone(),
            ready: Ready::of(&status.conditions),
            secured: origin.spec.publish.keys_secret.is_some(),
            publish_url: status.publish_url,
            stream_count: status.stream_count,
            streams: status.streams,
            conditions: Aspect::of(&status.conditions),
            pod: self
                .pods
                .get(&id)
                .and_then(|pods| pods.first())
                .map(|pod| Place::of(pod)),
            pools: self.pools(&id),
        }
    }

    fn pools(&mut self, upstream: &ResourceId) -> Vec<Pool> {
        let below = self.below.get(upstream).cloned().unwrap_or_default();
        let mut pools = Vec::new();
        for pool in below {
            if self.placed.insert(pool_id(pool)) {
                pools.push(self.pool(pool));
            }
        }
        pools
    }

    fn pool(&mut self, pool: &EdgePool) -> Pool {
        let id = pool_id(pool);
        let status = pool.status.clone().unwrap_or_default();
        let edges = edges(&status.edges, self.pods.get(&id).map(Vec::as_slice).unwrap_or_default());
        let (upstream, scaling) = (upstream_of(pool), pool.spec.autoscaling.as_ref());
        Pool {
            namespace: id.namespace.clone(),
            name: id.name.clone(),
            upstream: format!("{} {}", upstream.kind, upstream.name),
            ready: Ready::of(&status.conditions),
            desired_edges: status.desired_replicas,
            ready_edges: status.ready_replicas,
            viewers: status.viewers,
            outbound_mbps: status.outbound_mbps,
            capacity_mbps: scaling.map(|scaling| scaling.capacity_mbps),
            utilization_percent: status.utilization_percent,
            play_url: status.play_url,
            carries: pool.spec.replication.streams.clone(),
            conditions: Aspect::of(&status.conditions),
            edges,
            pools: self.pools(&id),
        }
    }
}

/// Edges as the status lists them, and the pods that it does not list (yet).
fn edges(listed: &[EdgeStatus], pods: &[&Pod]) -> Vec<Edge> {
    let mut edges: BTreeMap<String, Edge> = BTreeMap::new();
    for pod in pods {
        let leaving = pod.metadata.deletion_timestamp.is_some();
        edges.insert(
            pod.name_any(),
            Edge {
                name: pod.name_any(),
                state: if leaving {
                    EdgeState::Leaving
                } else {
                    EdgeState::Starting
                },
                why: waits_for(pod),
                figures: None,
                pod: Some(Place::of(pod)),
            },
        );
    }
    for status in listed {
        let edge = edges.entry(status.name.clone()).or_insert_with(|| Edge {
            name: status.name.clone(),
            state: EdgeState::Leaving,
            why: None,
            figures: None,
            pod: None,
        });
        edge.state = match (edge.state, edge.pod.is_some()) {
            (EdgeState::Leaving, true) => EdgeState::Leaving,
            _ if status.draining => EdgeState::Draining,
            _ if status.ready => EdgeState::Ready,
            (state, _) => state,
        };
        edge.figures = Some(Figures {
            streams: status.streams,
            viewers: status.viewers,
            outbound_mbps: status.outbound_mbps,
            lag_ms: status.lag_ms,
            drain_deadline: status.drain_deadline.as_ref().map(|time| time.0),
        });
    }
    edges.into_values().collect()
}

/// What keeps a pod from running, by the kubelet's or the scheduler's word.
fn waits_for(pod: &Pod) -> Option<String> {
    let status = pod.status.as_ref()?;
    let containers = status.container_statuses.iter().flatten();
    let mut waiting = containers.filter_map(|container| container.state.as_ref()?.waiting.as_ref()?.reason.clone());
    let unscheduled = status.conditions.iter().flatten();
    let mut unscheduled =
        unscheduled.filter(|condition| condition.type_ == "PodScheduled" && condition.status == "False");
    waiting.next().or_else(|| unscheduled.next()?.message.clone())
}

fn pool_id(pool: &EdgePool) -> ResourceId {
    ResourceId::pool(pool.namespace().unwrap_or_default(), pool.name_any())
}

fn upstream_of(pool: &EdgePool) -> ResourceId {
    let upstream = &pool.spec.upstream;
    ResourceId {
        namespace: pool
            .namespace()
            .unwrap_or_else(|| validate::DEFAULT_NAMESPACE.to_owned()),
        kind: match upstream.kind {
            UpstreamKind::StreamOrigin => ResourceKind::StreamOrigin,
            UpstreamKind::EdgePool => ResourceKind::EdgePool,
        },
        name: upstream.name.clone(),
    }
}
