//! The live map of every media node: who is up, which streams, what bandwidth.
//!
//! ```text
//! node ─/v1/events─▶ link (io, one per node) ─Event─▶ map (pure) ─▶ figures ─▶ replication, autoscaling
//!                                                          └─▶ document: /api/v1/fleet, /api/v1/targets
//! ```
//!
//! Nothing here but `link` does I/O or reads a clock: `now` is a monotonic `std::time::Instant` that the caller
//! passes in, and the same clock runs through replication and autoscaling.

pub mod document;
pub mod figures;
pub mod link;
pub mod map;
pub mod pull_set;

use std::fmt;
use std::str::FromStr;

use crate::api::edge_pool::UpstreamKind;
use crate::validate::Upstream;

/// The kinds of custom resource that own nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ResourceKind {
    /// Takes publishers in.
    StreamOrigin,
    /// Serves viewers.
    EdgePool,
}

impl ResourceKind {
    /// Every kind.
    pub const ALL: [Self; 2] = [Self::StreamOrigin, Self::EdgePool];

    /// The kind as manifests write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::StreamOrigin => "StreamOrigin",
            Self::EdgePool => "EdgePool",
        }
    }
}

impl fmt::Display for ResourceKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A word that is none of a closed set.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown {what} {given:?}; allowed: {allowed}")]
pub struct UnknownWord {
    /// What the word should have been, e.g. `kind`.
    pub what: &'static str,
    /// The word.
    pub given: String,
    /// All that is allowed, comma-separated.
    pub allowed: String,
}

impl FromStr for ResourceKind {
    type Err = UnknownWord;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        one_of("kind", &Self::ALL, word)
    }
}

/// The member of `all` that prints as `word`.
pub(crate) fn one_of<T: Copy + fmt::Display>(what: &'static str, all: &[T], word: &str) -> Result<T, UnknownWord> {
    all.iter()
        .copied()
        .find(|candidate| candidate.to_string() == word)
        .ok_or_else(|| UnknownWord {
            what,
            given: word.to_owned(),
            allowed: all.iter().map(T::to_string).collect::<Vec<_>>().join(", "),
        })
}

/// A StreamOrigin or an EdgePool by name.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ResourceId {
    /// Kubernetes namespace; `default` in local mode unless the manifest says otherwise.
    pub namespace: String,
    /// Its kind.
    pub kind: ResourceKind,
    /// `metadata.name`.
    pub name: String,
}

impl ResourceId {
    /// A StreamOrigin.
    pub fn origin(namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self {
            namespace: namespace.into(),
            kind: ResourceKind::StreamOrigin,
            name: name.into(),
        }
    }

    /// An EdgePool.
    pub fn pool(namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self {
            namespace: namespace.into(),
            kind: ResourceKind::EdgePool,
            name: name.into(),
        }
    }

    /// The node of this resource with this name.
    pub fn node(&self, name: impl Into<String>) -> NodeId {
        NodeId {
            resource: self.clone(),
            name: name.into(),
        }
    }
}

impl From<&Upstream> for ResourceId {
    fn from(upstream: &Upstream) -> Self {
        let key = &upstream.key;
        match upstream.kind {
            UpstreamKind::StreamOrigin => Self::origin(&key.namespace, &key.name),
            UpstreamKind::EdgePool => Self::pool(&key.namespace, &key.name),
        }
    }
}

impl fmt::Display for ResourceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.namespace, self.kind, self.name)
    }
}

/// One media node: the resource that it belongs to and its own name (the pod's in Kubernetes).
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId {
    /// The origin or pool that owns it.
    pub resource: ResourceId,
    /// The node's `--name`.
    pub name: String,
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.resource, self.name)
    }
}

/// Where a node, or the load balancer in front of several, can be reached: `host:port` each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Addresses {
    /// RTMP.
    pub rtmp: String,
    /// HTTP delivery.
    pub http: String,
    /// Health, metrics and control API; empty for a load balancer, which has none.
    pub ops: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_reads_back_as_it_prints() {
        for kind in ResourceKind::ALL {
            assert_eq!(kind.to_string().parse(), Ok(kind));
        }
        let error = "Deployment".parse::<ResourceKind>().unwrap_err();
        assert_eq!(
            error.to_string(),
            "unknown kind \"Deployment\"; allowed: StreamOrigin, EdgePool"
        );
    }

    #[test]
    fn ids_print_as_paths() {
        assert_eq!(
            ResourceId::pool("default", "web").node("web-0").to_string(),
            "default/EdgePool/web/web-0"
        );
    }
}
