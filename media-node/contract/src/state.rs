//! What a node says of itself: identity, streams, figures, and the events that carry them.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// Role of a node; it differs in what it allows, not in code paths.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Role {
    /// Takes publishers in.
    Origin,
    /// Takes its streams from an upstream.
    Edge,
}

/// Who a node is and all that it carries: the first event of every event stream, and the answer of [`crate::HELLO_PATH`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeHello {
    /// The node's `--name`.
    pub name: String,
    /// What it may do.
    pub role: Role,
    /// Random, new at each start of the process.
    pub boot_id: String,
    /// Version of the program.
    pub version: String,
    /// The one app that it serves.
    pub app: String,
    /// TCP port of its RTMP listener.
    pub rtmp_port: u16,
    /// TCP port of its HTTP delivery listener.
    pub http_port: u16,
    /// Highest term seen, 0 for none.
    pub term: u64,
    /// Every stream that it holds.
    pub streams: Vec<StreamState>,
    /// Figures as of now.
    pub figures: NodeFigures,
}

/// One message of the event stream.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "camelCase")]
pub enum Event {
    /// First, and again whenever events were lost to a slow reader: the whole state anew.
    Hello(NodeHello),
    /// A stream became playable here, or its epoch, origin or tracks changed.
    StreamUp(StreamState),
    /// A stream is gone from here.
    StreamDown(StreamDown),
    /// Once a second.
    Figures(NodeFigures),
}

impl Event {
    /// The `event:` field of its server-sent event.
    pub fn name(&self) -> &'static str {
        match self {
            Event::Hello(_) => "hello",
            Event::StreamUp(_) => "streamUp",
            Event::StreamDown(_) => "streamDown",
            Event::Figures(_) => "figures",
        }
    }
}

/// A stream as a node holds it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StreamState {
    /// Stream name, without the app.
    pub name: String,
    /// Incarnation: Unix milliseconds at which the origin first took it in. A newer epoch wins over an older one.
    pub epoch: u64,
    /// How it got here.
    pub source: StreamSource,
    /// Key frame (or first audio) and headers are here: a viewer would be served at once.
    pub playable: bool,
    /// Video codec as in RFC 6381, e.g. `avc1.64001f`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub video: Option<String>,
    /// Audio codec as in RFC 6381, e.g. `mp4a.40.2`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audio: Option<String>,
    /// Picture width in pixels, 0 if unknown.
    pub width: u32,
    /// Picture height in pixels, 0 if unknown.
    pub height: u32,
    /// When it came up on this node.
    pub since: Timestamp,
}

/// How a stream reached a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum StreamSource {
    /// A publisher pushes it to this node.
    Publish,
    /// The node pulls it because the operator said so.
    Pull,
    /// The node pulls it because a viewer asked.
    OnDemand,
}

/// A stream that ended on a node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StreamDown {
    /// Stream name, without the app.
    pub name: String,
    /// Its epoch.
    pub epoch: u64,
    /// Why.
    pub reason: StreamEnd,
}

/// Why a stream ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum StreamEnd {
    /// The publisher said so, or the source did.
    Unpublished,
    /// The publisher vanished and its grace has passed.
    PublisherLost,
    /// No source of the pull could be reached for the time that a broken pull is kept.
    SourceLost,
    /// Nobody watched an on-demand stream, or the operator took the pull back.
    NotWanted,
    /// The node is stopping.
    Shutdown,
}

/// Counts and rates of a node.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct NodeFigures {
    /// Readiness as `/readyz` says it.
    pub ready: bool,
    /// The drain in force.
    pub drain: Option<DrainState>,
    /// Viewers of every protocol; relays that pull from here are not viewers.
    pub viewers: u64,
    /// Of these, viewers that can be asked to move (WebSocket).
    pub movable_viewers: u64,
    /// Connections of relays (other nodes' pulls).
    pub relays: u64,
    /// Bits per second sent to viewers and relays over the last second.
    pub sent_bps: u64,
    /// Bits per second that the viewers and relays want: the sum of their streams' bit rates.
    pub demand_bps: u64,
    /// Bits per second received over the last second.
    pub received_bps: u64,
    /// Frames dropped for slow viewers since start.
    pub dropped_frames: u64,
    /// Pulls that are wanted and not running, with the reason in a person's words, at most 20.
    pub failing_pulls: Vec<FailingPull>,
    /// Per-stream figures: all in a hello, in a `figures` event only those that changed since the last event.
    pub streams: Vec<StreamFigures>,
}

/// Figures of one stream on one node.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct StreamFigures {
    /// Stream name, without the app.
    pub name: String,
    /// Viewers here.
    pub viewers: u64,
    /// Measured bit rate of the stream.
    pub bitrate_bps: u64,
    /// Age of the newest unit against the origin's clock, milliseconds; 0 on the origin, none without a clock.
    pub lag_ms: Option<u64>,
    /// Frames lost upstream, by the origin's unit count.
    pub lost_units: u64,
}

/// A pull that is wanted and not running.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FailingPull {
    /// Stream name, without the app.
    pub stream: String,
    /// The last error, in a person's words.
    pub error: String,
    /// Attempts since it last worked.
    pub attempts: u32,
}

/// A drain in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DrainState {
    /// When it began.
    pub since: Timestamp,
    /// When it is over.
    pub deadline: Timestamp,
}
