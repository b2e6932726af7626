//! EdgePool: the edges that carry an upstream's streams to viewers, and how many there are.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::names;
use super::service::ServiceSpec;
use super::template::TemplateSpec;
use super::tls::TlsSpec;

/// What an EdgePool should be.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "headwater.dev",
    version = "v1alpha1",
    kind = "EdgePool",
    plural = "edgepools",
    shortname = "edp",
    category = "headwater",
    namespaced,
    status = "EdgePoolStatus",
    derive = "PartialEq",
    doc = "A pool of edges: carries the streams of a StreamOrigin, or of another pool, to viewers.",
    scale(
        spec_replicas_path = ".spec.replicas",
        status_replicas_path = ".status.replicas",
        label_selector_path = ".status.selector"
    ),
    printcolumn(
        name = "Desired",
        type_ = "integer",
        json_path = ".status.desiredReplicas",
        description = "Edges wanted"
    ),
    printcolumn(
        name = "Up",
        type_ = "integer",
        json_path = ".status.readyReplicas",
        description = "Edges that serve"
    ),
    printcolumn(
        name = "Viewers",
        type_ = "integer",
        json_path = ".status.viewers",
        description = "Viewers of all edges"
    ),
    printcolumn(
        name = "Mbps",
        type_ = "integer",
        json_path = ".status.outboundMbps",
        description = "Megabits per second sent"
    ),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type=='Ready')].status",
        description = "Serves as it should"
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(
        name = "Load%",
        type_ = "integer",
        json_path = ".status.utilizationPercent",
        description = "Load in percent of the capacity",
        priority = 1
    ),
    printcolumn(
        name = "Upstream",
        type_ = "string",
        json_path = ".spec.upstream.name",
        description = "Where its streams come from",
        priority = 1
    ),
    printcolumn(
        name = "Play",
        type_ = "string",
        json_path = ".status.playUrl",
        description = "Address to play from",
        priority = 1
    ),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = ".status.conditions[?(@.type=='Ready')].message",
        description = "Why it is ready or not",
        priority = 1
    ),
    validation = kube::core::Rule::new("self.metadata.name.size() <= 40")
        .message("the name may have at most 40 characters: what is made for it needs the rest"),
    validation = kube::core::Rule::new("!self.metadata.name.contains('.') && !self.metadata.name.matches('^[0-9]')")
        .message("the name must begin with a letter and have no dot: a Service is named after it")
)]
#[serde(rename_all = "camelCase")]
pub struct EdgePoolSpec {
    /// Where its streams come from, in the same namespace.
    pub upstream: UpstreamSpec,
    /// Stops the edges without losing their configuration or their address.
    #[serde(default)]
    pub suspend: bool,
    /// Number of edges where autoscaling is absent, 2 unless set; /scale sets it. Ignored where autoscaling is present.
    #[serde(default = "default_replicas")]
    #[schemars(range(min = 1, max = 1000))]
    pub replicas: i32,
    /// Scaling by load. Absent: an HPA, KEDA or a person scales the pool through /scale.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub autoscaling: Option<AutoscalingSpec>,
    /// How long the viewers of an edge that goes away may stay, in seconds; 1800 unless set. Players in browsers move to another
    /// edge without a gap; others are cut when the time is over.
    #[serde(default = "default_drain_timeout_seconds")]
    #[schemars(range(min = 0, max = 86400))]
    pub drain_timeout_seconds: i32,
    /// Which streams the edges carry, and when they fetch them.
    #[serde(default)]
    pub replication: ReplicationSpec,
    /// How the edges are reached from outside.
    #[serde(default)]
    pub service: ServiceSpec,
    /// HTTPS and HTTP/2 for viewers, at port 443 of the Service. Absent: plain HTTP alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<TlsSpec>,
    /// What may be said about the edges' pods.
    #[serde(default)]
    pub template: TemplateSpec,
}

fn default_replicas() -> i32 {
    2
}

fn default_drain_timeout_seconds() -> i32 {
    1800
}

/// Where a pool's streams come from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct UpstreamSpec {
    /// StreamOrigin, or EdgePool for a cascade. It can't be changed.
    #[schemars(extend("x-kubernetes-validations" = [{
        "rule": "self == oldSelf",
        "message": "the upstream's kind can't be changed; make a new pool instead",
    }]))]
    pub kind: UpstreamKind,
    /// Its name.
    #[schemars(length(min = 1, max = 40), regex(pattern = names::RESOURCE_NAME_PATTERN))]
    pub name: String,
}

/// Kind of an upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub enum UpstreamKind {
    /// An ingest point.
    StreamOrigin,
    /// Another pool.
    EdgePool,
}

/// Scaling by load.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("x-kubernetes-validations" = [
    {
        "rule": "self.minReplicas <= self.maxReplicas",
        "message": "maxReplicas must be at least minReplicas",
        "fieldPath": ".maxReplicas",
    },
    {
        "rule": "self.scaleInPercent < self.scaleOutPercent",
        "message": "scaleInPercent must be below scaleOutPercent",
        "fieldPath": ".scaleInPercent",
    },
    {
        "rule": "!has(self.fallbackReplicas) || (self.minReplicas <= self.fallbackReplicas && self.fallbackReplicas <= self.maxReplicas)",
        "message": "fallbackReplicas must be between minReplicas and maxReplicas",
        "fieldPath": ".fallbackReplicas",
    },
]))]
pub struct AutoscalingSpec {
    /// Least number of edges; 2 unless set.
    #[schemars(range(min = 1, max = 1000))]
    pub min_replicas: i32,
    /// Greatest number of edges, those that drain not counted; 5 unless set.
    #[schemars(range(min = 1, max = 1000))]
    pub max_replicas: i32,
    /// What one edge may send, in megabits per second; 1000 unless set. The pool's capacity is this times its edges.
    #[schemars(range(min = 1, max = 1000000))]
    pub capacity_mbps: i32,
    /// Edges are added above this load, in percent of the pool's capacity; 70 unless set.
    #[schemars(range(min = 2, max = 100))]
    pub scale_out_percent: i32,
    /// Edges are taken away below this load, in percent of the pool's capacity; 40 unless set. Below scaleOutPercent.
    #[schemars(range(min = 1, max = 99))]
    pub scale_in_percent: i32,
    /// How long the load must stay high before edges are added, in seconds; 15 unless set.
    #[schemars(range(min = 0, max = 3600))]
    pub scale_out_stabilization_seconds: i32,
    /// How long the load must stay low before edges are taken away, in seconds; 300 unless set.
    #[schemars(range(min = 0, max = 3600))]
    pub scale_in_stabilization_seconds: i32,
    /// Edges that there are at least once figures have been missing for a minute. Absent: the number stays as it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1000))]
    pub fallback_replicas: Option<i32>,
}

impl Default for AutoscalingSpec {
    fn default() -> Self {
        Self {
            min_replicas: 2,
            max_replicas: 5,
            capacity_mbps: 1000,
            scale_out_percent: 70,
            scale_in_percent: 40,
            scale_out_stabilization_seconds: 15,
            scale_in_stabilization_seconds: 300,
            fallback_replicas: None,
        }
    }
}

/// Which streams the edges carry, and when they fetch them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ReplicationSpec {
    /// Eager: every edge carries every stream at once. OnDemand: an edge fetches a stream when somebody asks.
    pub mode: ReplicationMode,
    /// Names of streams that the pool carries: `*` stands for any run of characters.
    #[schemars(length(min = 1, max = 64))]
    #[schemars(inner(length(min = 1, max = 128), regex(pattern = names::STREAM_PATTERN_PATTERN)))]
    #[schemars(extend("x-kubernetes-list-type" = "atomic"))]
    pub streams: Vec<String>,
    /// A stream fetched on demand is given up after this long without viewers, in seconds; 60 unless set.
    #[schemars(range(min = 1, max = 86400))]
    pub idle_timeout_seconds: i32,
}

impl Default for ReplicationSpec {
    fn default() -> Self {
        Self {
            mode: ReplicationMode::default(),
            streams: vec!["*".to_owned()],
            idle_timeout_seconds: 60,
        }
    }
}

/// When edges fetch streams.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum ReplicationMode {
    /// At once.
    #[default]
    Eager,
    /// When somebody asks.
    OnDemand,
}

/// What an EdgePool is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct EdgePoolStatus {
    /// Aspects of the state: Ready, AbleToScale, ScalingActive, ScalingLimited, Replicating, Secured, UpstreamCycle.
    #[schemars(schema_with = "super::condition::conditions_schema")]
    pub conditions: Vec<Condition>,
    /// Generation of the spec that this status speaks of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Edges that exist, those that start or drain counted; what /scale reads.
    pub replicas: i32,
    /// Edges that are ready.
    pub ready_replicas: i32,
    /// Edges wanted, those that drain not counted.
    pub desired_replicas: i32,
    /// Label selector of the edges' pods; what /scale reads.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub selector: Option<String>,
    /// Host that viewers reach.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub address: Option<String>,
    /// Address of the player page.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub play_url: Option<String>,
    /// Viewers of all edges.
    pub viewers: i64,
    /// Megabits per second that all edges send, rounded.
    pub outbound_mbps: i64,
    /// Load in percent of the capacity of the edges that do not drain; absent without autoscaling or figures.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub utilization_percent: Option<i32>,
    /// When the number of edges last changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "super::stream_origin::time_schema")]
    pub last_scale_time: Option<Time>,
    /// The edges, at most 100 of them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100), extend("x-kubernetes-list-type" = "atomic"))]
    pub edges: Vec<EdgeStatus>,
}

/// One edge.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct EdgeStatus {
    /// Its name.
    #[schemars(length(max = 253))]
    pub name: String,
    /// It takes viewers.
    #[serde(default)]
    pub ready: bool,
    /// It is being emptied.
    #[serde(default)]
    pub draining: bool,
    /// When those who still watch it are cut, if it is being emptied.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "super::stream_origin::time_schema")]
    pub drain_deadline: Option<Time>,
    /// Number of streams that it carries.
    #[serde(default)]
    pub streams: i32,
    /// Its viewers.
    #[serde(default)]
    pub viewers: i64,
    /// Megabits per second that it sends, rounded.
    #[serde(default)]
    pub outbound_mbps: i64,
    /// How far its worst stream is behind the origin, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lag_ms: Option<i64>,
}
