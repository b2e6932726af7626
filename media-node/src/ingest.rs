//! INGEST: streams into the hub, from publishers and from other servers; and out of it, by pushes.
//!
//! ```text
//! publisher ─▶ listener ─▶ rtmp (drives session) ─admit─▶ hub          pull ◀─ other servers
//!                             └─ a player ─▶ PlayRequest, for DELIVER   push ─▶ other servers
//! ```

pub mod admit;
mod intake;
pub mod listener;
pub mod publishing;
pub mod pull;
pub mod push;
pub mod rtmp;
mod session;

use std::time::Duration;

use headwater_contract::Role;

use crate::hub::Hub;
use crate::lifecycle::Lifecycle;
use crate::meters::Meters;
use crate::names::AppName;
use publishing::PublishRules;

/// What sessions need of their node. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Ingest {
    /// Edges refuse publishers.
    pub role: Role,
    /// The one app that is served.
    pub app: AppName,
    /// Where streams go.
    pub hub: Hub,
    /// Counts.
    pub meters: Meters,
    /// A stopping node sends publishers away; a draining one refuses players.
    pub lifecycle: Lifecycle,
    /// Who may publish.
    pub rules: PublishRules,
    /// How long a stream stays when its publisher vanishes.
    pub publish_grace: Duration,
}
