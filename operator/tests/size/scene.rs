//! The fleets: how many origins, pools, edges and streams, and what they are called.

use std::net::Ipv4Addr;

use headwater::fleet::{NodeId, ResourceId};
use headwater::kubernetes::decide::names;
use headwater_contract::{NodeFigures, NodeHello, Role, StreamSource, StreamState};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// Pools below one origin.
pub(crate) const POOLS_PER_ORIGIN: usize = 10;

/// A fleet.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Scene {
    /// Origins, of one node each.
    pub(crate) origins: usize,
    /// Edge pools.
    pub(crate) pools: usize,
    /// Edges of each pool.
    pub(crate) edges: usize,
    /// Streams of each origin.
    pub(crate) streams: usize,
    /// The first pool of each origin pulls from it, and the others from that pool.
    pub(crate) cascade: bool,
}

impl Scene {
    /// Every pool pulls from its origin.
    pub(crate) fn wide(pools: usize) -> Self {
        Self {
            origins: pools.div_ceil(POOLS_PER_ORIGIN),
            pools,
            edges: 25,
            streams: 100,
            cascade: false,
        }
    }

    /// The same with a tier between.
    pub(crate) fn cascade(&self) -> Self {
        Self {
            cascade: true,
            ..self.clone()
        }
    }

    /// Edges of all pools.
    pub(crate) fn all_edges(&self) -> usize {
        self.pools * self.edges
    }

    pub(crate) fn origin(&self, at: usize) -> ResourceId {
        ResourceId::origin("default", format!("main-{at:02}"))
    }

    pub(crate) fn pool(&self, at: usize) -> ResourceId {
        ResourceId::pool("default", format!("web-{at:03}"))
    }

    /// The origin that a pool's streams come from.
    pub(crate) fn origin_of(&self, pool: usize) -> usize {
        pool / POOLS_PER_ORIGIN
    }

    /// What a pool pulls from.
    pub(crate) fn upstream(&self, pool: usize) -> ResourceId {
        let first = pool - pool % POOLS_PER_ORIGIN;
        if self.cascade && pool != first {
            self.pool(first)
        } else {
            self.origin(self.origin_of(pool))
        }
    }

    /// Every node in order of id, with its role and its origin.
    pub(crate) fn nodes(&self) -> Vec<(NodeId, Role, usize)> {
        let origins = (0..self.origins).map(|at| (self.origin(at).node(format!("main-{at:02}-0")), Role::Origin, at));
        let edges = (0..self.pools).flat_map(|pool| {
            (0..self.edges).map(move |edge| {
                let id = self.pool(pool).node(format!("web-{pool:03}-7d9c5b8f44-{edge:05}"));
                (id, Role::Edge, self.origin_of(pool))
            })
        });
        origins.chain(edges).collect()
    }

    /// The names of an origin's streams.
    pub(crate) fn names(&self, origin: usize) -> Vec<String> {
        (0..self.streams)
            .map(|at| format!("camera-{origin:02}-{at:03}"))
            .collect()
    }

    /// The resources of the whole fleet.
    pub(crate) fn resources(&self) -> Vec<Value> {
        let object = |id: &ResourceId, spec: Value| {
            json!({
                "apiVersion": "headwater.dev/v1alpha1", "kind": id.kind.as_str(),
                "metadata": {"name": id.name, "namespace": id.namespace}, "spec": spec,
            })
        };
        let origins = (0..self.origins).map(|at| object(&self.origin(at), json!({"app": "live"})));
        let pools = (0..self.pools).map(|at| {
            let upstream = self.upstream(at);
            let upstream = json!({"kind": upstream.kind.as_str(), "name": upstream.name});
            object(&self.pool(at), json!({"upstream": upstream, "replicas": self.edges}))
        });
        origins.chain(pools).collect()
    }
}

/// A node's pod as the API server holds it once it runs, with what the kubelet says of it.
pub(crate) fn pod(id: &NodeId, address: Ipv4Addr) -> Value {
    let labels = names::labels(&id.resource);
    let image = "headwater/media-node:0.1.0";
    let since = "2026-01-01T00:00:00Z";
    let condition = |kind: &str| json!({"type": kind, "status": "True", "lastTransitionTime": since});
    let conditions = [
        "PodReadyToStartContainers",
        "Initialized",
        "Ready",
        "ContainersReady",
        "PodScheduled",
    ];
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "name": id.name, "namespace": id.resource.namespace, "labels": labels, "generateName": format!("{}-", id.resource.name),
            "ownerReferences": [{
                "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": format!("{}-7d9c5b8f44", names::object(&id.resource)),
                "uid": format!("replicas-of-{}", id.resource.name), "controller": true, "blockOwnerDeletion": true,
            }],
        },
        "spec": {
            "nodeName": format!("machine-{}", address.octets()[3]), "restartPolicy": "Always", "dnsPolicy": "ClusterFirst",
            "schedulerName": "default-scheduler", "serviceAccountName": "default", "automountServiceAccountToken": false,
            "terminationGracePeriodSeconds": 1860, "priority": 0, "enableServiceLinks": false,
            "containers": [{"name": "media-node", "image": image, "args": ["edge"]}],
        },
        "status": {
            "phase": "Running", "podIP": address.to_string(), "podIPs": [{"ip": address.to_string()}],
            "hostIP": "192.0.2.1", "hostIPs": [{"ip": "192.0.2.1"}], "startTime": since, "qosClass": "Burstable",
            "conditions": conditions.map(condition),
            "containerStatuses": [{
                "name": "media-node", "image": image, "imageID": image, "containerID": format!("containerd://{}", id.name),
                "ready": true, "started": true, "restartCount": 0, "state": {"running": {"startedAt": since}}, "lastState": {},
            }],
        },
    })
}

/// A stream as a node holds it.
pub(crate) fn stream(name: &str, role: Role) -> StreamState {
    StreamState {
        name: name.into(),
        epoch: 1_700_000_000_000,
        source: match role {
            Role::Origin => StreamSource::Publish,
            Role::Edge => StreamSource::Pull,
        },
        playable: true,
        video: Some("avc1.64001f".into()),
        audio: Some("mp4a.40.2".into()),
        width: 1920,
        height: 1080,
        since: jiff::Timestamp::UNIX_EPOCH,
    }
}

/// A ready node's hello.
pub(crate) fn hello(name: &str, role: Role, streams: Vec<StreamState>) -> NodeHello {
    NodeHello {
        name: name.into(),
        role,
        boot_id: format!("boot-of-{name}"),
        version: "0.1.0".into(),
        app: "live".into(),
        rtmp_port: 1935,
        http_port: 8080,
        term: 0,
        streams,
        figures: NodeFigures {
            ready: true,
            ..Default::default()
        },
    }
}
