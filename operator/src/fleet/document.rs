//! The JSON documents of `/api/v1/fleet` and `/api/v1/targets`: total functions of the map and of what the platform
//! knows about addresses. Field names are a contract; more may be added, none renamed.

use std::collections::BTreeMap;
use std::time::Instant;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::figures::{megabits, totals};
pub use super::map::StreamList;
use super::map::{FleetMap, Node};
use super::{Addresses, NodeId, ResourceId};

/// What the platform knows and the map does not.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Resources {
    /// Origins.
    pub origins: BTreeMap<ResourceId, Origin>,
    /// Pools.
    pub pools: BTreeMap<ResourceId, Pool>,
}

/// What the platform knows about an origin.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Origin {
    /// The addresses that people use.
    pub addresses: Addresses,
    /// It is stopped by its manifest.
    pub suspended: bool,
}

/// What the platform knows about a pool.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Pool {
    /// The addresses that people use: the load balancer's.
    pub addresses: Addresses,
    /// Edges wanted.
    pub desired: u32,
    /// Load against the capacity of the edges that are not draining; none without autoscaling.
    pub utilization_percent: Option<f64>,
    /// Where it pulls from.
    pub upstream: Option<UpstreamEntry>,
    /// It is stopped by its manifest.
    pub suspended: bool,
    /// What one edge may send, bits per second; none without autoscaling.
    pub capacity_bps: Option<u64>,
    /// Edges at least and at most; none without autoscaling.
    pub bounds: Option<(u32, u32)>,
    /// Load above which edges are added; none without autoscaling.
    pub scale_out_percent: Option<u32>,
    /// Why the number of edges is what it is; none for attached nodes.
    pub scaling: Option<String>,
    /// How it is replicated; none until that has been looked at.
    pub replication: Option<String>,
    /// A pull that does not work, in a person's words.
    pub failing_pull: Option<String>,
}

/// The document of `GET /api/v1/fleet`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Fleet {
    /// Origins in order of namespace and name.
    pub origins: Vec<OriginEntry>,
    /// Pools in order of namespace and name.
    pub pools: Vec<PoolEntry>,
}

/// An origin in [`Fleet`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OriginEntry {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// A node of it serves.
    pub ready: bool,
    /// `host:port` to publish to.
    pub rtmp: String,
    /// `host:port` of the player page.
    pub http: String,
    /// `host:port` of its node's ops port; empty while it has none.
    pub ops: String,
    /// Its streams in order of name.
    pub streams: Vec<StreamEntry>,
    /// It is stopped by its manifest.
    #[serde(default)]
    pub suspended: bool,
}

/// A stream of an origin in [`Fleet`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StreamEntry {
    /// Its app.
    pub app: String,
    /// Its name.
    pub name: String,
    /// Its epoch.
    pub epoch: u64,
    /// Viewers on the origin itself.
    pub viewers: u64,
    /// A viewer would be served at once.
    pub playable: bool,
    /// Measured bit rate, bits per second.
    pub bitrate_bps: u64,
    /// Its codecs as in RFC 6381, video first.
    pub codecs: Vec<String>,
    /// Picture width in pixels, 0 if unknown.
    pub width: u32,
    /// Picture height in pixels, 0 if unknown.
    pub height: u32,
    /// When it came up; null only in what older versions wrote.
    pub since: Option<Timestamp>,
}

/// A pool in [`Fleet`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PoolEntry {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// `host:port` of the player page.
    pub http: String,
    /// `host:port` for RTMP players.
    pub rtmp: String,
    /// Edges wanted.
    pub desired: u32,
    /// Edges that serve: ready and not draining.
    pub ready: u32,
    /// Edges that drain.
    pub draining: u32,
    /// Viewers on all edges.
    pub viewers: u64,
    /// Megabits per second sent by all edges.
    pub outbound_mbps: f64,
    /// Load against capacity; 0 without autoscaling, since then no capacity is known.
    pub utilization_percent: f64,
    /// Where it pulls from; in its own namespace.
    pub upstream: Option<UpstreamEntry>,
    /// It is stopped by its manifest.
    #[serde(default)]
    pub suspended: bool,
    /// What one edge may send; null without autoscaling, as are the next three.
    pub capacity_mbps: Option<f64>,
    /// Edges at least.
    pub min_replicas: Option<u32>,
    /// Edges at most.
    pub max_replicas: Option<u32>,
    /// Load above which edges are added.
    pub scale_out_percent: Option<u32>,
    /// Why the number of edges is what it is, a word of [`crate::autoscaling::verdict::Reason`]; null for attached nodes.
    pub scaling: Option<String>,
    /// A word of [`crate::replication::Verdict`]; null until it is known.
    pub replication: Option<String>,
    /// A pull that does not work, in words; null while all work.
    pub failing_pull: Option<String>,
    /// Its edges in order of name.
    pub edges: Vec<EdgeEntry>,
}

/// A pool's upstream in [`Fleet`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpstreamEntry {
    /// `StreamOrigin` or `EdgePool`.
    pub kind: String,
    /// Its name.
    pub name: String,
}

/// An edge in [`Fleet`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EdgeEntry {
    /// Its name.
    pub name: String,
    /// It serves newcomers.
    pub ready: bool,
    /// It drains.
    pub draining: bool,
    /// It has said who it is; before that, nothing else here is known.
    pub heard: bool,
    /// It has been silent for 3 s; what stands here is what it last said.
    pub suspect: bool,
    /// `host:port` of its delivery port.
    pub http: String,
    /// `host:port` of its RTMP port.
    pub rtmp: String,
    /// `host:port` of its ops port.
    pub ops: String,
    /// Playable streams as `app/name`.
    pub streams: StreamList,
    /// Its viewers.
    pub viewers: u64,
    /// Megabits per second that it sends.
    pub outbound_mbps: f64,
    /// The worst delay among its streams, milliseconds; null while none has a clock.
    pub lag_ms: Option<u64>,
    /// When those who still watch a draining edge are cut; null while it does not drain.
    pub drain_deadline: Option<Timestamp>,
    /// When its drain began; null while it does not drain.
    pub drain_since: Option<Timestamp>,
}

/// The document of `GET /api/v1/fleet`.
pub fn fleet(map: &FleetMap, resources: &Resources, now: Instant) -> Fleet {
    Fleet {
        origins: resources
            .origins
            .iter()
            .map(|(id, facts)| origin(map, id, facts, now))
            .collect(),
        pools: resources
            .pools
            .iter()
            .map(|(id, facts)| pool(map, id, facts, now))
            .collect(),
    }
}

fn origin(map: &FleetMap, id: &ResourceId, facts: &Origin, now: Instant) -> OriginEntry {
    // A moved origin has two nodes for a while: the one that serves is the one to show.
    let node = map
        .nodes_of(id)
        .map(|(_, node)| node)
        .max_by_key(|node| (node.serves(now), node.connected));
    let ready = node.is_some_and(|node| node.serves(now));
    OriginEntry {
        namespace: id.namespace.clone(),
        name: id.name.clone(),
        ready,
        rtmp: facts.addresses.rtmp.clone(),
        http: facts.addresses.http.clone(),
        ops: node.map(|node| node.addresses.ops.clone()).unwrap_or_default(),
        streams: node.map(streams).unwrap_or_default(),
        suspended: facts.suspended,
    }
}

fn streams(node: &Node) -> Vec<StreamEntry> {
    let entry = |stream: &super::map::Stream| StreamEntry {
        app: app(node).to_owned(),
        name: stream.state.name.to_string(),
        epoch: stream.state.epoch,
        viewers: stream.viewers,
        playable: stream.state.playable,
        bitrate_bps: stream.bitrate_bps,
        codecs: stream
            .state
            .video
            .iter()
            .chain(&stream.state.audio)
            .map(|codec| codec.to_string())
            .collect(),
        width: stream.state.width,
        height: stream.state.height,
        since: Some(stream.state.since),
    };
    node.streams.values().map(entry).collect()
}

fn pool(map: &FleetMap, id: &ResourceId, facts: &Pool, now: Instant) -> PoolEntry {
    let totals = totals(map, id, now);
    PoolEntry {
        namespace: id.namespace.clone(),
        name: id.name.clone(),
        http: facts.addresses.http.clone(),
        rtmp: facts.addresses.rtmp.clone(),
        desired: facts.desired,
        ready: totals.ready,
        draining: totals.draining,
        viewers: totals.viewers,
        outbound_mbps: megabits(totals.sent_bps),
        utilization_percent: facts
            .utilization_percent
            .map_or(0.0, |percent| (percent * 10.0).round() / 10.0),
        upstream: facts.upstream.clone(),
        suspended: facts.suspended,
        capacity_mbps: facts.capacity_bps.map(megabits),
        min_replicas: facts.bounds.map(|(least, _)| least),
        max_replicas: facts.bounds.map(|(_, most)| most),
        scale_out_percent: facts.scale_out_percent,
        scaling: facts.scaling.clone(),
        replication: facts.replication.clone(),
        failing_pull: facts.failing_pull.clone(),
        edges: edges(map, id, now),
    }
}

fn edges(map: &FleetMap, id: &ResourceId, now: Instant) -> Vec<EdgeEntry> {
    // Each is shown the list of the one before it, so that all share one while they carry the same.
    let mut streams = StreamList::default();
    map.nodes_of(id)
        .map(|(id, node)| {
            streams = node.stream_list(&streams);
            edge(id, node, streams.clone(), now)
        })
        .collect()
}

fn edge(id: &NodeId, node: &Node, streams: StreamList, now: Instant) -> EdgeEntry {
    let suspect = node.identity.is_some() && node.fresh_figures(now).is_none();
    EdgeEntry {
        name: id.name.clone(),
        ready: node.serves(now),
        draining: node.draining(),
        heard: node.identity.is_some(),
        suspect,
        http: node.addresses.http.clone(),
        rtmp: node.addresses.rtmp.clone(),
        ops: node.addresses.ops.clone(),
        streams,
        viewers: node.figures.viewers,
        outbound_mbps: megabits(node.figures.sent_bps),
        lag_ms: node.lag_ms,
        drain_deadline: node.figures.drain.as_ref().map(|drain| drain.deadline),
        drain_since: node.figures.drain.as_ref().map(|drain| drain.since),
    }
}

fn app(node: &Node) -> &str {
    node.identity.as_ref().map_or("", |identity| &identity.app)
}

/// One entry of `GET /api/v1/targets`, in the shape of Prometheus' HTTP service discovery.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Target {
    /// `host:port` of a node's ops port.
    pub targets: Vec<String>,
    /// `namespace`, `role`, and `pool` or `origin`.
    pub labels: BTreeMap<String, String>,
}

/// The document of `GET /api/v1/targets`: every node that the map tracks.
pub fn targets(map: &FleetMap) -> Vec<Target> {
    map.nodes()
        .map(|(id, node)| {
            let (role, owner) = match id.resource.kind {
                super::ResourceKind::StreamOrigin => ("origin", "origin"),
                super::ResourceKind::EdgePool => ("edge", "pool"),
            };
            let label = |name: &str, value: &str| (name.to_owned(), value.to_owned());
            Target {
                targets: vec![node.addresses.ops.clone()],
                labels: BTreeMap::from([
                    label("namespace", &id.resource.namespace),
                    label("role", role),
                    label(owner, &id.resource.name),
                ]),
            }
        })
        .collect()
}

#[cfg(test)]
mod tests;
