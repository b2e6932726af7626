//! What a node is told: pulls, publishing rules, drain, move; and how it refuses.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// The whole set of streams that a node is to pull. Pulls not in it are ended (on-demand ones excepted).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Pulls {
    /// See the crate's documentation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub term: Option<u64>,
    /// At most 10,000.
    pub pulls: Vec<Pull>,
    /// What an edge may pull on demand, and from where. None: on demand is off but for the node's own `--upstream`s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_demand: Option<OnDemand>,
}

/// One stream to pull.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Pull {
    /// Name that it gets here, without the app.
    pub stream: String,
    /// Sources in order of preference, at least one.
    pub sources: Vec<Source>,
}

/// Where a stream can be pulled from.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Source {
    /// `rtmp://host[:port]/app/stream[?query]`.
    pub url: String,
    /// `http://host:port` of the same node's delivery port, where it is a Headwater node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http: Option<String>,
}

/// Rules of pulls that viewers start.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct OnDemand {
    /// Base URLs `rtmp://host[:port]/app`, tried in turn; the stream's name is appended.
    pub upstreams: Vec<Source>,
    /// Names that may be pulled: patterns in which `*` stands for any run of characters.
    pub streams: Vec<String>,
    /// A pull that nobody watches ends after this long.
    pub idle_timeout_seconds: u32,
}

/// Who may publish to an origin, and where its streams are forwarded to.
#[derive(Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Publishing {
    /// See the crate's documentation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub term: Option<u64>,
    /// None: anyone may publish. Some: stream name (or `*`) to key; an empty map refuses all.
    #[serde(default)]
    pub keys: Option<BTreeMap<String, PublishKey>>,
    /// What happens to a second publisher of a live name.
    #[serde(default)]
    pub on_conflict: OnConflict,
    /// Streams to forward.
    #[serde(default)]
    pub pushes: Vec<Push>,
    /// How much of every stream can be played back, at most 12 hours. None: as the node's `--dvr` says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dvr_seconds: Option<u32>,
    /// Which streams are one another's qualities: up to 8 patterns such as `{group}_{variant}`. None: as the node's `--group` says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub groups: Option<Vec<String>>,
}

impl std::fmt::Debug for Publishing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Publishing")
            .field("term", &self.term)
            .field("keys", &self.keys.as_ref().map(|k| k.len()))
            .field("on_conflict", &self.on_conflict)
            .field("pushes", &self.pushes.len())
            .field("dvr_seconds", &self.dvr_seconds)
            .field("groups", &self.groups)
            .finish()
    }
}

/// A publish key. `Debug` and `Display` redact it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PublishKey(String);

impl PublishKey {
    /// Longest key, in bytes; a node refuses rules with a longer one.
    pub const LONGEST: usize = 512;

    /// Takes a key as it stands.
    pub fn new(key: impl Into<String>) -> Self {
        Self(key.into())
    }

    /// The key itself: for the compare, never for a log.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for PublishKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PublishKey(redacted)")
    }
}

impl std::fmt::Display for PublishKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("redacted")
    }
}

/// What happens to a second publisher of a live name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum OnConflict {
    /// It is refused while the first has sent media within the last 2 s.
    #[default]
    Reject,
    /// It takes the name over, and the first is closed.
    TakeOver,
}

/// A forward of streams to another server.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Push {
    /// Names to forward: a pattern in which `*` stands for any run of characters.
    pub stream: String,
    /// `rtmp://host[:port]/app/name`, in which `{stream}` stands for the stream's name. May hold a key: never logged whole.
    pub url: String,
}

impl std::fmt::Debug for Push {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Push")
            .field("stream", &self.stream)
            .field("url", &"redacted")
            .finish()
    }
}

/// Order to drain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Drain {
    /// See the crate's documentation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub term: Option<u64>,
    /// When those who still watch are cut, if the process is told to end (SIGTERM) by then.
    pub deadline: Timestamp,
}

/// Order to ask WebSocket viewers to move, now. Lost without harm: the operator decides anew each second.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Move {
    /// See the crate's documentation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub term: Option<u64>,
    /// How many viewers to ask, chosen at random among those not asked yet.
    pub viewers: u32,
}

/// Answer to [`Move`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Moved {
    /// How many were asked.
    pub asked: u32,
}

/// Body of every refusal of the control API (400, 401, 404, 405, 409, 413).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Refused {
    /// What is wrong and what is allowed, in a person's words.
    pub error: String,
    /// Highest term seen, with 409.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub term: Option<u64>,
}
