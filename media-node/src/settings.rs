//! What a node runs with: checked values, in one place.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use headwater_contract::Role;

use crate::hub::{GroupPattern, Limits};
use crate::names::AppName;
use crate::package::feed::FeedLimits;
use crate::tls;

/// Settings of a node; `args` holds their defaults.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Origin or edge.
    pub role: Role,
    /// Name by which it is known in the fleet.
    pub name: String,
    /// The app that it serves.
    pub app: AppName,
    /// RTMP listener.
    pub rtmp_listen: SocketAddr,
    /// HTTP delivery listener.
    pub http_listen: SocketAddr,
    /// Ops listener.
    pub ops_listen: SocketAddr,
    /// Certificate of the delivery port; none: plain HTTP alone.
    pub tls: Option<tls::Files>,
    /// File that holds the control API's bearer token; read again when it changes.
    pub control_token_file: PathBuf,
    /// Base URLs `rtmp://host[:port][/app]` to pull from on demand, tried in turn.
    pub upstreams: Vec<String>,
    /// `http://host:port` of the delivery ports of the first of them.
    pub upstream_http: Vec<String>,
    /// An origin refuses publishers until the control plane has said who may publish.
    pub require_publishing_rules: bool,
    /// Longest wait before the start-up latch closes by itself.
    pub ready_wait: Duration,
    /// How long a draining node still takes newcomers.
    pub drain_accept: Duration,
    /// How long SIGTERM waits for viewers, where no drain with a deadline is in force.
    pub drain_timeout: Duration,
    /// How long a stream stays when its publisher vanishes.
    pub publish_grace: Duration,
    /// An on-demand pull that nobody watches ends after this long.
    pub idle_timeout: Duration,
    /// Connections at once on the RTMP and delivery listeners, each.
    pub max_connections: usize,
    /// Bounds of the hub.
    pub hub: Limits,
    /// What is kept of the past.
    pub dvr: DvrSettings,
    /// Which streams are one another's qualities, where the control plane says nothing.
    pub groups: Vec<GroupPattern>,
    /// Bounds of the feeds.
    pub feeds: FeedLimits,
    /// End when standard input does: a parent that dies however it dies leaves nothing behind.
    pub end_with_stdin: bool,
}

/// What is kept of the past.
#[derive(Clone, Debug, Default)]
pub struct DvrSettings {
    /// How much of every stream can be played back, where the control plane says nothing. Zero: the low-latency window.
    pub time: Duration,
    /// Bytes of old segments in memory, of all streams together.
    pub memory: u64,
    /// Folder for old segments; none to keep them in memory.
    pub folder: Option<PathBuf>,
    /// Bytes in that folder.
    pub disk: u64,
}
