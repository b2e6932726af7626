//! StreamOrigin: one ingest point, and who may publish to it.

use std::fmt;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::CustomResource;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use super::names;
use super::service::ServiceSpec;
use super::template::TemplateSpec;
use super::tls::TlsSpec;

/// What a StreamOrigin should be.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "headwater.dev",
    version = "v1alpha1",
    kind = "StreamOrigin",
    plural = "streamorigins",
    shortname = "sto",
    category = "headwater",
    namespaced,
    status = "StreamOriginStatus",
    derive = "PartialEq",
    doc = "An ingest point: takes live streams from publishers by RTMP, and serves them to edge pools and viewers.",
    printcolumn(name = "Streams", type_ = "integer", json_path = ".status.streamCount", description = "Live streams"),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type=='Ready')].status",
        description = "Takes publishers"
    ),
    printcolumn(
        name = "Publish",
        type_ = "string",
        json_path = ".status.publishUrl",
        description = "Address to publish to"
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(
        name = "Secured",
        type_ = "string",
        json_path = ".status.conditions[?(@.type=='Secured')].status",
        description = "Publishers need a key; what spec.tls names is there",
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
pub struct StreamOriginSpec {
    /// Stops the origin without losing its configuration or its address.
    #[serde(default)]
    pub suspend: bool,
    /// The app of its streams: the first part of every address, as in rtmp://host/live/cam1. Not api, play or v1.
    #[serde(default = "default_app")]
    #[schemars(length(min = 1, max = 128), regex(pattern = names::STREAM_NAME_PATTERN))]
    #[schemars(extend("x-kubernetes-validations" = [{
        "rule": "!(self in ['api', 'play', 'v1'])",
        "message": "api, play and v1 are reserved; any other app name is allowed",
    }]))]
    pub app: String,
    /// Who may publish.
    #[serde(default)]
    pub publish: PublishSpec,
    /// Streams that the origin fetches itself.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256))]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["stream"]))]
    pub pulls: Vec<PullSpec>,
    /// Streams that the origin forwards elsewhere.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), extend("x-kubernetes-list-type" = "atomic"))]
    pub pushes: Vec<PushSpec>,
    /// How much of its streams can be played back and sought in.
    #[serde(default)]
    pub dvr: DvrSpec,
    /// Streams whose names are built so are the qualities of one: {group}_{variant} makes show_1080 and show_480 those of show,
    /// which viewers find at /live/show.m3u8 and, with a menu, at /play/live/show. Changing it restarts nothing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8), inner(length(min = 16, max = 40)))]
    #[schemars(extend("x-kubernetes-list-type" = "set", "x-kubernetes-validations" = [{
        "rule": format!("self.all(pattern, pattern.matches('{}'))", names::GROUP_PATTERN_PATTERN),
        "message": "a pattern is {group}, then 1 to 16 of A-Z a-z 0-9 . _ -, then {variant}, such as {group}_{variant}",
    }]))]
    pub groups: Vec<String>,
    /// How it is reached from outside.
    #[serde(default)]
    pub service: ServiceSpec,
    /// HTTPS and HTTP/2 for the viewers of the origin itself, at port 443 of the Service. Absent: plain HTTP alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<TlsSpec>,
    /// What may be said about its pod.
    #[serde(default)]
    pub template: TemplateSpec,
}

impl Default for StreamOriginSpec {
    fn default() -> Self {
        Self {
            suspend: false,
            app: default_app(),
            publish: PublishSpec::default(),
            pulls: Vec::new(),
            pushes: Vec::new(),
            dvr: DvrSpec::default(),
            groups: Vec::new(),
            service: ServiceSpec::default(),
            tls: None,
            template: TemplateSpec::default(),
        }
    }
}

fn default_app() -> String {
    "live".to_owned()
}

/// Who may publish.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct PublishSpec {
    /// Secret in the same namespace that maps a stream name (or `.all`, for every stream) to its key, which publishers give as
    /// ?key= of the stream name. A Secret that does not exist refuses all. None: anyone who can reach the port may publish.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253), regex(pattern = names::SECRET_NAME_PATTERN))]
    pub keys_secret: Option<String>,
    /// What happens to a second publisher of a live stream: Reject or TakeOver.
    pub on_conflict: OnConflict,
}

/// What happens to a second publisher of a live name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum OnConflict {
    /// It is refused while the first sends.
    #[default]
    Reject,
    /// It takes the name over.
    TakeOver,
}

/// A stream that the origin fetches itself.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PullSpec {
    /// Name that the stream gets here.
    #[schemars(length(min = 1, max = 128), regex(pattern = names::STREAM_NAME_PATTERN))]
    pub stream: String,
    /// Where it comes from: rtmp://host[:port]/app/stream[?query].
    #[schemars(length(min = 1, max = 1024), regex(pattern = names::RTMP_URL_PATTERN))]
    pub url: String,
}

impl fmt::Debug for PullSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PullSpec")
            .field("stream", &self.stream)
            .field("url", &"redacted")
            .finish()
    }
}

/// Streams that the origin forwards elsewhere.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [{
    "rule": "!self.stream.contains('*') || self.url.contains('{stream}')",
    "message": "a push of several streams needs {stream} in its url, or all would go to one name",
    "fieldPath": ".url",
}]))]
pub struct PushSpec {
    /// Names to forward: `*` stands for any run of characters.
    #[schemars(length(min = 1, max = 128), regex(pattern = names::STREAM_PATTERN_PATTERN))]
    pub stream: String,
    /// Where they go: rtmp://host[:port]/app/stream[?query], in which {stream} stands for the stream's name.
    #[schemars(length(min = 1, max = 1024), regex(pattern = names::PUSH_URL_PATTERN))]
    pub url: String,
}

impl fmt::Debug for PushSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PushSpec")
            .field("stream", &self.stream)
            .field("url", &"redacted")
            .finish()
    }
}

/// How much of an origin's streams can be played back and sought in, by HLS from every edge.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct DvrSpec {
    /// Minutes of every stream; 0, which it is unless set, for the low-latency window of half a minute. Changing it restarts nothing.
    #[schemars(range(min = 0, max = 720))]
    pub minutes: i32,
    /// Memory for the past of all streams together, in mebibytes; 512 unless set. Beyond it less can be played back of the
    /// longest ones. It is part of what the pod may use, see template.resources. Changing it restarts the origin.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 16, max = 262144))]
    pub memory_mebibytes: Option<i32>,
    /// Disk for the past of all streams together, in gibibytes: an emptyDir of that size, so that memory need not hold it.
    /// Absent: memory alone. Changing it restarts the origin.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 4096))]
    pub disk_gibibytes: Option<i32>,
}

/// What a StreamOrigin is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct StreamOriginStatus {
    /// Aspects of the state: Ready and Secured.
    #[schemars(schema_with = "super::condition::conditions_schema")]
    pub conditions: Vec<Condition>,
    /// Generation of the spec that this status speaks of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Host that publishers reach.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub address: Option<String>,
    /// Address to publish to, with {stream} for the stream's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub publish_url: Option<String>,
    /// Live streams, at most 50 of them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 50), extend("x-kubernetes-list-type" = "atomic"))]
    pub streams: Vec<StreamStatus>,
    /// Number of live streams, also of those that are not listed.
    pub stream_count: i32,
}

/// A live stream.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StreamStatus {
    /// Its name, without the app.
    #[schemars(length(max = 128))]
    pub name: String,
    /// Its codecs as in RFC 6381, video first.
    #[serde(default)]
    #[schemars(length(max = 4), inner(length(max = 64)))]
    pub codecs: Vec<String>,
    /// Picture width in pixels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub width: Option<i32>,
    /// Picture height in pixels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub height: Option<i32>,
    /// Measured bit rate, bits per second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bitrate: Option<i64>,
    /// When it came up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "time_schema")]
    pub since: Option<Time>,
}

/// Schema of a metav1.Time that may be absent.
pub(super) fn time_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "format": "date-time", "nullable": true })
}
