//! What the API server holds, as a tree: origins, the pools below them, their edges. It is what `-o json` and `-o yaml` print.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::ResourceExt;
use serde::Serialize;

use crate::api::stream_origin::StreamStatus;
use crate::api::{ConditionReason, ConditionType};

/// Everything, from the origins down.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Tree {
    /// The origins, with all that is below them.
    pub origins: Vec<Origin>,
    /// Pools whose upstream is not there, or which are their own.
    pub pools: Vec<Pool>,
}

/// An origin.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Origin {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// The first part of its streams' addresses.
    pub app: String,
    /// Its summary.
    pub ready: Ready,
    /// Publishers need a key.
    pub secured: bool,
    /// Where to publish to, with `{stream}` for the name.
    pub publish_url: Option<String>,
    /// Number of live streams.
    pub stream_count: i32,
    /// Live streams, at most as many as a status lists.
    pub streams: Vec<StreamStatus>,
    /// Its conditions.
    pub conditions: Vec<Aspect>,
    /// Its pod.
    pub pod: Option<Place>,
    /// The pools below it.
    pub pools: Vec<Pool>,
}

/// A pool.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Pool {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its upstream, as `StreamOrigin main`.
    pub upstream: String,
    /// Its summary.
    pub ready: Ready,
    /// Edges wanted.
    pub desired_edges: i32,
    /// Edges that are ready.
    pub ready_edges: i32,
    /// Viewers of all edges.
    pub viewers: i64,
    /// Megabits per second that all edges send.
    pub outbound_mbps: i64,
    /// What one edge may send, where the pool is scaled by it.
    pub capacity_mbps: Option<i32>,
    /// Load in percent of the capacity.
    pub utilization_percent: Option<i32>,
    /// Address of the player page, with `{stream}` for the name.
    pub play_url: Option<String>,
    /// Names of the streams that it carries, as its spec says.
    pub carries: Vec<String>,
    /// Its conditions.
    pub conditions: Vec<Aspect>,
    /// Its edges, in order of name.
    pub edges: Vec<Edge>,
    /// The pools below it.
    pub pools: Vec<Pool>,
}

/// An edge.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Edge {
    /// Its name, which is that of its pod.
    pub name: String,
    /// What it does.
    pub state: EdgeState,
    /// What it waits for, if it does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// Figures; none while the operator has none.
    #[serde(flatten)]
    pub figures: Option<Figures>,
    /// Where it runs.
    pub pod: Option<Place>,
}

/// Figures of an edge.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Figures {
    /// Number of streams that it carries.
    pub streams: i32,
    /// Its viewers.
    pub viewers: i64,
    /// Megabits per second that it sends.
    pub outbound_mbps: i64,
    /// How far its worst stream is behind the origin, in milliseconds.
    pub lag_ms: Option<i64>,
    /// When those who still watch it are cut.
    pub drain_deadline: Option<Timestamp>,
}

/// What an edge does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum EdgeState {
    /// It takes viewers.
    Ready,
    /// The operator empties it.
    Draining,
    /// Its pod is being deleted, which empties it too.
    Leaving,
    /// It does not serve yet.
    Starting,
}

impl EdgeState {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Draining => "draining",
            Self::Leaving => "leaving",
            Self::Starting => "starting",
        }
    }
}

/// The condition `Ready`, as it stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Ready {
    /// It is.
    pub ready: bool,
    /// Why, or why not.
    pub reason: String,
}

/// A condition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Aspect {
    /// Its type.
    #[serde(rename = "type")]
    pub kind: String,
    /// True, False or Unknown.
    pub status: String,
    /// Its reason.
    pub reason: String,
    /// What it says.
    pub message: String,
}

/// Where a pod runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Place {
    /// The pod's name.
    pub name: String,
    /// The cluster's node.
    pub node: Option<String>,
    /// The pod's address.
    pub address: Option<String>,
    /// How often its container was started again.
    pub restarts: i32,
    /// When the pod was made.
    pub since: Option<Timestamp>,
}

impl Aspect {
    pub(super) fn of(conditions: &[Condition]) -> Vec<Self> {
        let aspect = |condition: &Condition| Self {
            kind: condition.type_.clone(),
            status: condition.status.clone(),
            reason: condition.reason.clone(),
            message: condition.message.clone(),
        };
        conditions.iter().map(aspect).collect()
    }

    /// True if a person need not look at it. A condition of a later version is looked at.
    pub fn is_as_usual(&self) -> bool {
        let reason = self.reason.parse::<ConditionReason>().ok();
        match self.kind.parse() {
            Ok(ConditionType::Ready | ConditionType::AbleToScale | ConditionType::Replicating) => self.status == "True",
            Ok(ConditionType::Secured) => match self.status.as_str() {
                "True" => reason != Some(ConditionReason::KeysSecretMissing),
                _ => reason == Some(ConditionReason::PlainHttp),
            },
            Ok(ConditionType::ScalingActive) => self.status == "True" || reason == Some(ConditionReason::NotConfigured),
            // With few viewers a pool is always at its minimum.
            Ok(ConditionType::ScalingLimited) => self.status == "False" || reason == Some(ConditionReason::AtMinimum),
            Ok(ConditionType::UpstreamCycle) => self.status == "False",
            Err(_) => false,
        }
    }
}

impl Ready {
    pub(super) fn of(conditions: &[Condition]) -> Self {
        let ready = conditions
            .iter()
            .find(|condition| condition.type_ == ConditionType::Ready.as_str());
        match ready {
            Some(condition) => Self {
                ready: condition.status == "True",
                reason: condition.reason.clone(),
            },
            None => Self {
                ready: false,
                reason: "no operator has looked at it".to_owned(),
            },
        }
    }
}

impl Place {
    pub(super) fn of(pod: &Pod) -> Self {
        let status = pod.status.as_ref();
        let containers = status.and_then(|status| status.container_statuses.as_ref());
        Self {
            name: pod.name_any(),
            node: pod.spec.as_ref().and_then(|spec| spec.node_name.clone()),
            address: status.and_then(|status| status.pod_ip.clone()),
            restarts: containers
                .into_iter()
                .flatten()
                .map(|container| container.restart_count)
                .sum(),
            since: pod.creation_timestamp().map(|time| time.0),
        }
    }
}

impl Pool {
    /// True if it carries a stream, by its name without the app.
    pub fn carries(&self, stream: &str) -> bool {
        self.carries
            .iter()
            .any(|pattern| headwater_contract::pattern_matches(pattern, stream))
    }
}

impl Tree {
    /// Nothing is there.
    pub fn is_empty(&self) -> bool {
        self.origins.is_empty() && self.pools.is_empty()
    }

    /// Every pool, those below others after them.
    pub fn all_pools(&self) -> Vec<&Pool> {
        let of_origins = self.origins.iter().flat_map(|origin| &origin.pools);
        of_origins.chain(&self.pools).flat_map(with_those_below).collect()
    }
}

/// A pool and all below it.
pub fn with_those_below(pool: &Pool) -> Vec<&Pool> {
    let below = pool.pools.iter().flat_map(with_those_below);
    std::iter::once(pool).chain(below).collect()
}
