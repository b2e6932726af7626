//! OPS: how the node is watched and told what to do. `/livez`, `/readyz`, `/metrics`, and the control API under `/v1/`.
//!
//! ```text
//! hub, meters, lifecycle, pulls ─▶ state ─▶ events (server-sent, once a second) · metrics · hello ─▶ operator, Prometheus
//! operator ─▶ server ─▶ token ─▶ control (terms) ─▶ pulls, publishing rules, drain, movers
//! health: the start-up latch (pure) ─▶ lifecycle
//! ```

pub mod control;
pub mod events;
pub mod health;
pub mod metrics;
pub mod server;
pub mod state;
pub mod token;

use std::sync::Arc;
use std::time::Duration;

use headwater_contract::Role;

use crate::deliver::movers::Movers;
use crate::hub::Hub;
use crate::ingest::publishing::PublishRules;
use crate::ingest::pull::Puller;
use crate::lifecycle::Lifecycle;
use crate::meters::Meters;

use control::Terms;
use events::Events;
use token::TokenFile;

/// Who this node is.
#[derive(Clone, Debug)]
pub struct Identity {
    /// Its `--name`.
    pub name: String,
    /// What it may do.
    pub role: Role,
    /// Random, new at each start.
    pub boot_id: String,
    /// The one app that it serves.
    pub app: String,
    /// Port of its RTMP listener, as bound.
    pub rtmp_port: u16,
    /// Port of its delivery listener, as bound.
    pub http_port: u16,
}

/// What the ops port works with.
#[derive(Clone)]
pub struct Ops(Arc<Parts>);

/// The parts of [`Ops`].
pub struct Parts {
    /// Who this is.
    pub identity: Identity,
    /// The streams.
    pub hub: Hub,
    /// Counts.
    pub meters: Meters,
    /// Where the node is in its life.
    pub lifecycle: Lifecycle,
    /// Viewers that can be asked to move.
    pub movers: Movers,
    /// The pulls.
    pub pulls: Puller,
    /// The rules for publishers; none on an edge.
    pub rules: Option<PublishRules>,
    /// The control API's token.
    pub token: TokenFile,
    /// How long a draining node still takes newcomers.
    pub drain_accept: Duration,
    /// Highest term seen.
    pub terms: Terms,
    /// What is told to those who listen.
    pub events: Events,
}

impl Ops {
    /// From its parts.
    pub fn new(parts: Parts) -> Self {
        Self(Arc::new(parts))
    }
}

impl std::ops::Deref for Ops {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.0
    }
}
