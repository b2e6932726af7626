//! How many edges a pool has, and which of them go. Pure: facts and `now` in, verdicts and actions out.
//!
//! ```text
//! Pool (facts) ─▶ verdict (how many; window steadies it) ─▶ drain (which edges drain, return, go, are made)
//!            └──▶ rebalance (after a scale-out: which edges ask viewers to move)
//! ```
//!
//! The caller runs the stages once a second and does what they say; it keeps [`verdict::Scaler`] and
//! [`rebalance::Rebalance`] per pool, and nothing is lost when it starts afresh.

pub mod drain;
pub mod rebalance;
pub mod verdict;
pub mod window;

#[cfg(test)]
mod simulation;

use std::time::Instant;

use crate::fleet::NodeId;
pub use crate::validate::Pause;
use crate::validate::{Autoscaling, Scaling, ValidPool};

/// Who decides the number of edges.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// `spec.replicas`, set by a person, HPA or KEDA.
    Manual {
        /// The number.
        replicas: u32,
    },
    /// The scaling rule.
    Auto(Autoscaling),
    /// `spec.suspend`: no edges.
    Suspended,
}

impl From<&ValidPool> for Mode {
    fn from(pool: &ValidPool) -> Self {
        match pool.scaling {
            _ if pool.suspend => Self::Suspended,
            Scaling::Fixed { replicas } => Self::Manual { replicas },
            Scaling::Auto(rule) => Self::Auto(rule),
        }
    }
}

/// How far an edge has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Phase {
    /// No process yet: the pod is pending, or the child waits to be started again.
    Pending,
    /// Runs, and has not been ready since its start.
    Starting,
    /// Has been ready.
    Serving,
}

/// A drain as the platform keeps it, and as it was told to the node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Draining {
    /// When it began.
    pub since: Instant,
    /// When those who still watch are cut.
    pub deadline: Instant,
}

/// Fresh figures of one edge.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EdgeFigures {
    /// Viewers of every protocol.
    pub viewers: u64,
    /// Of these, those that can be asked to move.
    pub movable: u64,
    /// Pulls of other nodes.
    pub relays: u64,
    /// Bits per second sent.
    pub sent_bps: u64,
    /// Bits per second that its viewers and relays want.
    pub demand_bps: u64,
}

impl EdgeFigures {
    /// What it carries, bits per second. A saturated edge sends less than it should, so that the larger one counts.
    pub fn load_bps(&self) -> u64 {
        self.sent_bps.max(self.demand_bps)
    }

    /// Nobody is served.
    pub fn is_empty(&self) -> bool {
        self.viewers == 0 && self.relays == 0
    }
}

impl From<&headwater_contract::NodeFigures> for EdgeFigures {
    fn from(figures: &headwater_contract::NodeFigures) -> Self {
        Self {
            viewers: figures.viewers,
            movable: figures.movable_viewers,
            relays: figures.relays,
            sent_bps: figures.sent_bps,
            demand_bps: figures.demand_bps,
        }
    }
}

/// One edge as the platform and the fleet map know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edge {
    /// Which.
    pub node: NodeId,
    /// How far it has come, by the platform's word.
    pub phase: Phase,
    /// Its drain, by the platform's word.
    pub draining: Option<Draining>,
    /// The node says itself that it drains.
    pub drain_seen: bool,
    /// Its figures; none when missing or stale ([`crate::fleet::map::Node::fresh_figures`]).
    pub figures: Option<EdgeFigures>,
}

/// A pool as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pool {
    /// Edges that the platform keeps in being, draining ones included (Deployment replicas in Kubernetes). An edge that
    /// crashed and is about to be made again counts, although [`Pool::edges`] may lack it for a while.
    pub replicas: u32,
    /// The edges in being, in any order.
    pub edges: Vec<Edge>,
    /// Bits per second of edges that are being ended by somebody else's word. They count in no number, but their viewers will
    /// want to be served by the others.
    pub leaving_bps: u64,
}

impl Pool {
    /// Edges that drain.
    pub fn draining(&self) -> u32 {
        let draining = self.edges.iter().filter(|edge| edge.draining.is_some()).count();
        u32::try_from(draining).unwrap_or(u32::MAX)
    }

    /// Edges that do not drain, starting ones and those about to be made counted: the `n` of the scaling rule.
    pub fn current(&self) -> u32 {
        self.replicas.saturating_sub(self.draining())
    }

    /// Bits per second over all edges of which figures are known, draining ones included.
    pub fn load_bps(&self) -> u64 {
        let figures = self.edges.iter().filter_map(|edge| edge.figures);
        figures.fold(self.leaving_bps, |sum, figures| sum.saturating_add(figures.load_bps()))
    }

    /// Figures of every edge are fresh, and every edge that should be is there.
    pub fn figures_complete(&self) -> bool {
        self.edges.iter().all(|edge| edge.figures.is_some()) && !self.short()
    }

    /// An edge is starting, pending, or about to be made. One that drains will never be ready, so that it does not count.
    pub fn unsettled(&self) -> bool {
        let coming = |edge: &Edge| edge.draining.is_none() && edge.phase != Phase::Serving;
        self.short() || self.edges.iter().any(coming)
    }

    fn short(&self) -> bool {
        self.edges.len() < usize::try_from(self.replicas).unwrap_or(usize::MAX)
    }
}
