//! The seam between the core and where nodes run: make this origin, make this many edges, name the nodes, remove that edge,
//! publish status. [`crate::control`] is written against it; local mode's answer is [`crate::local::machine`].

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use headwater_contract::PublishKey;
use jiff::Timestamp;
use thiserror::Error;
use tokio::sync::Notify;

use crate::api::names::{ResourceKey, StreamName};
use crate::autoscaling::Draining;
use crate::fleet::link::{ControlToken, LinkSettings};
use crate::fleet::{Addresses, NodeId, ResourceId, UnknownWord, one_of};
use crate::validate::{ValidOrigin, ValidPool};

/// Everything that people want, proven.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Wishes {
    /// Every origin.
    pub origins: BTreeMap<ResourceId, OriginWish>,
    /// Every pool.
    pub pools: BTreeMap<ResourceId, ValidPool>,
    /// Certificates of resources that name one and have it here. Where the platform brings them to the nodes by itself there are none.
    pub certificates: BTreeMap<ResourceId, Certificate>,
    /// Resources that are there, but whose wish is not known: what runs for them, and below them, goes on as it is.
    pub unreadable: BTreeSet<ResourceId>,
}

/// A certificate chain and its key, both PEM. `Debug` shows neither.
#[derive(Clone, PartialEq, Eq)]
pub struct Certificate {
    /// The chain.
    pub chain: String,
    /// The key.
    pub key: String,
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Certificate(redacted)")
    }
}

/// An origin with the keys that its Secret holds.
#[derive(Clone, Debug, PartialEq)]
pub struct OriginWish {
    /// The resource.
    pub spec: ValidOrigin,
    /// None: anyone may publish. Empty: nobody.
    pub keys: Option<BTreeMap<String, PublishKey>>,
}

/// Entry of a Secret that stands for every stream, as `*` does, which the API server takes for no entry's name. No stream is named so.
pub const EVERY_STREAM: &str = ".all";

/// The entries of a Secret that a node takes as publish keys; it would refuse them as a whole for one that is none.
pub fn usable_keys(entries: impl Iterator<Item = (String, PublishKey)>) -> BTreeMap<String, PublishKey> {
    let named = entries.map(|(name, key)| match name.as_str() {
        EVERY_STREAM => ("*".to_owned(), key),
        _ => (name, key),
    });
    let usable = |(name, key): &(String, PublishKey)| {
        (name == "*" || StreamName::parse(name).is_ok()) && key.expose().len() <= PublishKey::LONGEST
    };
    named.filter(usable).collect()
}

/// The id of an origin by its key.
pub fn origin_id(key: &ResourceKey) -> ResourceId {
    ResourceId::origin(&key.namespace, &key.name)
}

/// The id of a pool by its key.
pub fn pool_id(key: &ResourceKey) -> ResourceId {
    ResourceId::pool(&key.namespace, &key.name)
}

/// A node as the platform knows it.
#[derive(Clone, Debug, PartialEq)]
pub struct NodeFacts {
    /// Which.
    pub id: NodeId,
    /// Where it can be reached; none while it has no process.
    pub reach: Option<Reach>,
    /// Its drain, as the platform keeps it.
    pub drain: Option<Drain>,
    /// It is being ended by somebody else's word and drains by itself: it counts in no number, and its load alone matters.
    pub leaving: bool,
}

/// How to reach a node.
#[derive(Clone, Debug, PartialEq)]
pub struct Reach {
    /// Its ports.
    pub addresses: Addresses,
    /// Its ops port.
    pub ops: std::net::SocketAddr,
    /// Its control token.
    pub token: ControlToken,
}

impl Reach {
    /// A link to the node.
    pub fn link(&self, term: u64, longest_wait: std::time::Duration) -> LinkSettings {
        LinkSettings {
            ops: self.ops,
            token: self.token.clone(),
            term,
            longest_wait,
        }
    }
}

/// A drain as it is kept, in both clocks: the decisions go by the monotonic one, the node is told the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drain {
    /// For the decisions.
    pub plan: Draining,
    /// The deadline as the node is told it.
    pub deadline: Timestamp,
    /// It stands where a restarted container and a new leader find it. Before that the node is not told.
    pub held: bool,
}

impl Drain {
    /// A drain that begins now.
    pub fn new(now: Instant, wall: Timestamp, deadline: Instant) -> Self {
        let left = deadline.saturating_duration_since(now);
        let left = jiff::SignedDuration::try_from(left).unwrap_or(jiff::SignedDuration::MAX);
        Self {
            plan: Draining { since: now, deadline },
            deadline: wall.saturating_add(left).unwrap_or(Timestamp::MAX),
            held: true,
        }
    }
}

/// What a platform could not do; it is tried again the next second.
#[derive(Debug, Error)]
#[error("failed to {step}: {reason}")]
pub struct Error {
    /// What was to be done; a closed set of words, also a metric's label.
    pub step: &'static str,
    /// Why not.
    pub reason: String,
}

/// What a person would want to know of a resource; an Event in Kubernetes, a log line everywhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Happening {
    /// Of which resource.
    pub resource: ResourceId,
    /// One word for programs.
    pub reason: HappeningReason,
    /// In words for people.
    pub note: String,
}

/// `reason` of a [`Happening`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum HappeningReason {
    /// A stream is playable at its origin.
    StreamPublished,
    /// A stream is gone from its origin.
    StreamEnded,
    /// Edges are added, or taken back from their drain.
    ScaledOut,
    /// Edges are drained for good.
    ScaledIn,
    /// An edge is told to drain.
    EdgeDraining,
    /// An edge's drain is taken back.
    EdgeDrainCancelled,
    /// A drained edge goes.
    EdgeDrained,
    /// A stream can't be pulled.
    PullFailed,
    /// The upstream of a pool does not exist.
    UpstreamNotFound,
    /// The resource is refused by the rules that the API server can't hold.
    InvalidSpec,
    /// What was to be made for it was refused.
    ApplyFailed,
}

impl HappeningReason {
    /// Every reason.
    pub const ALL: [Self; 11] = [
        Self::StreamPublished,
        Self::StreamEnded,
        Self::ScaledOut,
        Self::ScaledIn,
        Self::EdgeDraining,
        Self::EdgeDrainCancelled,
        Self::EdgeDrained,
        Self::PullFailed,
        Self::UpstreamNotFound,
        Self::InvalidSpec,
        Self::ApplyFailed,
    ];

    /// Somebody should look at it.
    pub fn is_warning(self) -> bool {
        matches!(
            self,
            Self::PullFailed | Self::UpstreamNotFound | Self::InvalidSpec | Self::ApplyFailed
        )
    }
}

impl fmt::Display for HappeningReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The derived name is the CamelCase word that Events use.
        fmt::Debug::fmt(self, f)
    }
}

impl FromStr for HappeningReason {
    type Err = UnknownWord;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        one_of("event reason", &Self::ALL, word)
    }
}

/// Where nodes run. Every call is repeated until it holds, so that each has to be idempotent.
pub trait Platform: Send {
    /// Makes origins and pools as they are wished, and takes away those that are not wished any more. The number of edges is
    /// left as it is.
    fn keep(&mut self, wishes: &Wishes) -> impl Future<Output = Result<(), Error>> + Send;

    /// Every node that should exist, in order of id.
    fn nodes(&self) -> Vec<NodeFacts>;

    /// The addresses by which people reach an origin or a pool; empty while it has none.
    fn addresses(&self, resource: &ResourceId) -> Addresses;

    /// The addresses by which nodes reach an origin or a pool though its nodes come and go.
    fn stable(&self, resource: &ResourceId) -> Addresses {
        self.addresses(resource)
    }

    /// Edges of a pool that are kept in being, draining ones included.
    fn replicas(&self, pool: &ResourceId) -> u32;

    /// False for a pool whose nodes belong to somebody else: its number is not decided here.
    fn scales(&self, pool: &ResourceId) -> bool;

    /// The pool's edges are being replaced by others of a new make: none is drained or removed meanwhile.
    fn rolling(&self, _pool: &ResourceId) -> bool {
        false
    }

    /// For how long a draining edge still takes newcomers, until load balancers have caught up.
    fn drain_accept(&self) -> Duration {
        Duration::ZERO
    }

    /// Tells people what happened. The caller has logged it.
    fn tell(&self, _happening: Happening) {}

    /// Makes this many edges more.
    fn add(&mut self, pool: &ResourceId, edges: u32) -> impl Future<Output = Result<(), Error>> + Send;

    /// Keeps a drain, or with none forgets it. It stands before the node is told.
    fn hold_drain(&mut self, node: &NodeId, drain: Option<Drain>) -> impl Future<Output = Result<(), Error>> + Send;

    /// Removes an edge that has been drained. It may take several calls; true for the first.
    fn remove(&mut self, node: &NodeId) -> impl Future<Output = Result<bool, Error>> + Send;

    /// Notified when [`Platform::nodes`] has changed by itself: a process came up or went.
    fn wake(&self) -> Arc<Notify>;

    /// Says which edges take new viewers, for load balancers that do not ask the nodes themselves.
    fn route(&mut self, pool: &ResourceId, serving: &[NodeId]);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The API server refuses a Secret with an entry `*`.
    #[test]
    fn a_key_for_every_stream_can_be_named_in_a_secret() {
        let entries = [(".all", "any"), (".other", "x"), ("cam1", "one")];
        let keys = usable_keys(
            entries
                .map(|(name, key)| (name.to_owned(), PublishKey::new(key)))
                .into_iter(),
        );
        assert_eq!(keys.keys().collect::<Vec<_>>(), ["*", "cam1"]);
        assert!(StreamName::parse(EVERY_STREAM).is_err());
    }

    #[test]
    fn every_reason_reads_back_as_it_prints() {
        for reason in HappeningReason::ALL {
            assert_eq!(reason.to_string().parse(), Ok(reason));
        }
        assert!("Scaled".parse::<HappeningReason>().is_err());
    }
}
