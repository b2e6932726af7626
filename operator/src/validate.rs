//! From a raw custom resource to a value that holds: the sole input of every decision.
//!
//! The same rules as the API server's (the CRD's bounds and CEL rules) and those that it can't hold, since local mode has no API
//! server and a resource may be older than its CRD. Pure; every refusal names the field and says what is allowed, and none repeats
//! an address or a key.

mod error;
mod origin;
mod parts;
mod pool;
pub(crate) mod schema;

use std::collections::BTreeMap;
use std::time::Duration;

use headwater_contract::OnConflict;
use k8s_openapi::api::core::v1::{Affinity, ResourceRequirements, Toleration, TopologySpreadConstraint};

pub use error::{FieldError, Problem};
pub use origin::origin;
pub(crate) use parts::DEFAULT_NAMESPACE;
pub use pool::{pool, pool_change};

use crate::api::edge_pool::{ReplicationMode, UpstreamKind};
use crate::api::names::{AppName, GroupPattern, PushUrl, ResourceKey, RtmpUrl, SecretName, StreamName, StreamPattern};
use crate::api::service::ExternalTrafficPolicy;

/// A StreamOrigin that holds.
#[derive(Clone, Debug, PartialEq)]
pub struct ValidOrigin {
    /// Which one.
    pub key: ResourceKey,
    /// Generation of the spec; none in local mode.
    pub generation: Option<i64>,
    /// It is to be stopped.
    pub suspend: bool,
    /// App of its streams.
    pub app: AppName,
    /// Secret with the publish keys, in the same namespace. None: anyone may publish.
    pub keys_secret: Option<SecretName>,
    /// What happens to a second publisher.
    pub on_conflict: OnConflict,
    /// Streams that it fetches, each name once.
    pub pulls: Vec<ValidPull>,
    /// Streams that it forwards.
    pub pushes: Vec<ValidPush>,
    /// How much of its streams can be played back.
    pub dvr: ValidDvr,
    /// Which of its streams are one another's qualities.
    pub groups: Vec<GroupPattern>,
    /// How it is reached.
    pub service: ValidService,
    /// Secret with the certificate of its delivery port, in the same namespace. None: plain HTTP alone.
    pub tls_secret: Option<SecretName>,
    /// What is said about its pod.
    pub template: ValidTemplate,
}

/// How much of an origin's streams can be played back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ValidDvr {
    /// Of every stream; zero for the low-latency window alone.
    pub seconds: u32,
    /// Memory for it, mebibytes; none for the media node's default.
    pub memory_mebibytes: Option<u32>,
    /// Disk for it, gibibytes; none for memory alone.
    pub disk_gibibytes: Option<u32>,
}

impl ValidDvr {
    /// The same where there is no disk that lives and goes with the node.
    pub fn in_memory(self) -> Self {
        Self {
            disk_gibibytes: None,
            ..self
        }
    }

    /// Flags of a media node that keeps what is on disk in `folder`: all but the time, which it is told while it runs. A tenth
    /// of the disk is left free, so that the node's own bound is reached first.
    pub fn flags(self, folder: &str) -> Vec<String> {
        let mut flags = Vec::new();
        if let Some(memory) = self.memory_mebibytes {
            flags.push(format!("--dvr-memory={memory}MiB"));
        }
        if let Some(disk) = self.disk_gibibytes {
            flags.push(format!("--dvr-dir={folder}"));
            flags.push(format!("--dvr-disk={}MiB", u64::from(disk) * 1_024 * 9 / 10));
        }
        flags
    }
}

/// A stream that an origin fetches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValidPull {
    /// Name that it gets.
    pub stream: StreamName,
    /// Where it comes from.
    pub url: RtmpUrl,
}

/// Streams that an origin forwards.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValidPush {
    /// Which streams.
    pub stream: StreamPattern,
    /// Where they go. It has a placeholder wherever `stream` may cover more than one name.
    pub url: PushUrl,
}

/// An EdgePool that holds.
#[derive(Clone, Debug, PartialEq)]
pub struct ValidPool {
    /// Which one.
    pub key: ResourceKey,
    /// Generation of the spec; none in local mode.
    pub generation: Option<i64>,
    /// It is to be stopped.
    pub suspend: bool,
    /// Where its streams come from. It may not exist, and may lead back here: that is seen against the others only.
    pub upstream: Upstream,
    /// How many edges.
    pub scaling: Scaling,
    /// What a person holds of it, by annotations.
    pub pause: Pause,
    /// How long viewers of an edge that goes away may stay.
    pub drain_timeout: Duration,
    /// Which streams, and when.
    pub replication: ValidReplication,
    /// How it is reached.
    pub service: ValidService,
    /// Secret with the certificate of its edges' delivery ports, in the same namespace. None: plain HTTP alone.
    pub tls_secret: Option<SecretName>,
    /// What is said about its edges' pods.
    pub template: ValidTemplate,
}

/// Where a pool's streams come from, in the pool's namespace.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Upstream {
    /// Origin or pool.
    pub kind: UpstreamKind,
    /// Which one.
    pub key: ResourceKey,
}

/// How the number of edges is decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scaling {
    /// A person, an HPA or KEDA says it.
    Fixed {
        /// Number of edges, at least 1.
        replicas: u32,
    },
    /// The load says it.
    Auto(Autoscaling),
}

/// The annotations `headwater.dev/paused`, `…-scale-in`, `…-scale-out`, each `"true"` or `"false"`. They hold the scaling
/// rule only, never a person's number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pause {
    /// The number stays as it is.
    pub all: bool,
    /// It does not fall.
    pub scale_in: bool,
    /// It does not rise.
    pub scale_out: bool,
}

/// Scaling by load. `min ≤ max`, `scale_in_percent < scale_out_percent`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Autoscaling {
    /// Least number of edges, at least 1.
    pub min_replicas: u32,
    /// Greatest number of edges that do not drain.
    pub max_replicas: u32,
    /// What one edge may send, bits per second, above 0.
    pub capacity_bps: u64,
    /// Edges are added above this utilisation, percent.
    pub scale_out_percent: u32,
    /// Edges are taken away below this utilisation, percent.
    pub scale_in_percent: u32,
    /// Window whose lowest recommendation counts for a scale-out.
    pub scale_out_stabilization: Duration,
    /// Window whose highest recommendation counts for a scale-in.
    pub scale_in_stabilization: Duration,
    /// Edges at least once figures have been missing for a while; none leaves the number as it is.
    pub fallback_replicas: Option<u32>,
}

/// Which streams a pool carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValidReplication {
    /// When its edges fetch them.
    pub mode: ReplicationMode,
    /// Names that it carries, at least one pattern.
    pub streams: Vec<StreamPattern>,
    /// A stream fetched on demand is given up after this long without viewers.
    pub idle_timeout: Duration,
}

impl ValidReplication {
    /// True if the pool carries this stream.
    pub fn carries(&self, stream: &str) -> bool {
        self.streams.iter().any(|pattern| pattern.matches(stream))
    }
}

/// How a resource is reached from outside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValidService {
    /// Annotations of the Service.
    pub annotations: BTreeMap<String, String>,
    /// Its type and what goes with it.
    pub exposure: Exposure,
}

/// Type of a Service with the settings that the type allows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Exposure {
    /// Inside the cluster alone.
    ClusterIp,
    /// A port of every cluster node.
    NodePort {
        /// Where traffic may be sent on to; none leaves it to the cluster.
        policy: Option<ExternalTrafficPolicy>,
    },
    /// A load balancer in front.
    LoadBalancer {
        /// Its class; none leaves it to the cluster.
        class: Option<String>,
        /// Where traffic may be sent on to; none leaves it to the cluster.
        policy: Option<ExternalTrafficPolicy>,
    },
}

/// What is said about the pods.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ValidTemplate {
    /// CPU and memory, quantities well-formed.
    pub resources: Option<ResourceRequirements>,
    /// Labels that a cluster node must have.
    pub node_selector: BTreeMap<String, String>,
    /// Taints that the pods put up with.
    pub tolerations: Vec<Toleration>,
    /// Affinity, read without loss.
    pub affinity: Option<Affinity>,
    /// Spread; empty leaves it to the operator.
    pub topology_spread_constraints: Vec<TopologySpreadConstraint>,
    /// Further labels, none of them the operator's own.
    pub labels: BTreeMap<String, String>,
    /// Further annotations, none of them the operator's own.
    pub annotations: BTreeMap<String, String>,
    /// PriorityClass.
    pub priority_class_name: Option<String>,
}

#[cfg(test)]
mod tests;
