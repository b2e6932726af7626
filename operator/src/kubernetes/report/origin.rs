//! The status of a StreamOrigin.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::{Certificate, Finding, Reached, Trouble, conditions, finding, host_of, unknown, whole_seconds};
use crate::api::condition::{ConditionReason as Reason, ConditionType as Type};
use crate::api::stream_origin::{StreamOriginStatus, StreamStatus};
use crate::fleet::Addresses;
use crate::fleet::document::{OriginEntry, StreamEntry};

/// Streams listed at most; the count has all.
pub const LISTED_STREAMS: usize = 50;

/// What is known of an origin.
#[derive(Clone, Debug, Default)]
pub struct Facts<'a> {
    /// Generation of its spec.
    pub generation: Option<i64>,
    /// Its app.
    pub app: &'a str,
    /// It is stopped by its spec.
    pub suspended: bool,
    /// Who may publish.
    pub security: Security,
    /// What there is of its certificate.
    pub certificate: Certificate,
    /// Where people reach it; empty while it has no address.
    pub addresses: Addresses,
    /// How they do.
    pub reached: Reached,
    /// A pull of its own that does not work, in a person's words.
    pub failing_pull: Option<String>,
    /// Its node, as the fleet sees it; none before the control loop has looked.
    pub entry: Option<&'a OriginEntry>,
    /// A pod of it exists.
    pub has_pod: bool,
    /// Why its pod does not run, by the kubelet's word.
    pub pod_problem: Option<String>,
    /// What went wrong.
    pub trouble: Option<Trouble>,
}

/// Who may publish.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Security {
    /// Anyone who can reach the port.
    #[default]
    Open,
    /// Whoever has a key of this Secret.
    Keys(String),
    /// Nobody: the Secret of this name does not exist.
    Missing(String),
    /// Nobody: the Secret of this name has no entry that can be a key.
    Unusable(String),
}

/// The status, given the one that stands.
pub fn status(facts: &Facts<'_>, before: Option<&StreamOriginStatus>, now: Timestamp) -> StreamOriginStatus {
    let standing = before.map(|status| status.conditions.as_slice()).unwrap_or_default();
    let entry = facts.entry.filter(|_| !facts.suspended);
    let live = entry.map(|entry| entry.streams.as_slice()).unwrap_or_default();
    let address = host_of(&facts.addresses.rtmp);
    StreamOriginStatus {
        conditions: conditions(vec![ready(facts), secured(facts)], standing, facts.generation, now),
        observed_generation: facts.generation,
        publish_url: address.as_ref().map(|_| {
            let rtmp = facts.addresses.rtmp.trim_end_matches(":1935");
            format!("rtmp://{rtmp}/{}/{{stream}}", facts.app)
        }),
        address,
        stream_count: i32::try_from(live.len()).unwrap_or(i32::MAX),
        streams: live.iter().take(LISTED_STREAMS).map(stream).collect(),
    }
}

fn ready(facts: &Facts<'_>) -> Finding {
    let finding = |status, reason, message: String| finding(Type::Ready, status, reason, message);
    if let Some(trouble) = &facts.trouble {
        return finding(false, trouble.reason(), trouble.message());
    }
    if facts.suspended {
        let message = "stopped by spec.suspend; configuration and address are kept";
        return finding(false, Reason::Suspended, message.into());
    }
    let Some(entry) = facts.entry else {
        return unknown(Type::Ready, Reason::Starting, "the operator has not looked yet");
    };
    if entry.ready {
        let mut message = format!("takes publishers{}", facts.reached.note());
        if let Some(pull) = &facts.failing_pull {
            message.push_str(&format!("; a pull does not work: {pull}"));
        }
        return finding(true, Reason::Serving, message);
    }
    match (&facts.pod_problem, facts.has_pod) {
        (Some(problem), _) => finding(false, Reason::Starting, format!("its pod does not run: {problem}")),
        (None, true) if entry.streams.is_empty() => finding(false, Reason::Starting, "its pod starts".into()),
        (None, true) => finding(false, Reason::NodeSilent, "its pod does not answer the operator".into()),
        (None, false) => finding(false, Reason::Starting, "its pod is about to be made".into()),
    }
}

/// Who may publish; a certificate that should be there and is not takes the word first.
fn secured(facts: &Facts<'_>) -> Finding {
    let publishing = publishing(facts);
    match (&facts.certificate, facts.certificate.fault()) {
        (_, Some((reason, fault))) => {
            let message = format!("{fault}; {}", publishing.message);
            finding(Type::Secured, false, reason, message)
        }
        (Certificate::There(secret), None) => Finding {
            message: format!(
                "{}; viewers can come by HTTPS, with the certificate of Secret {secret}",
                publishing.message
            ),
            ..publishing
        },
        (_, None) => publishing,
    }
}

fn publishing(facts: &Facts<'_>) -> Finding {
    match &facts.security {
        Security::Open => finding(
            Type::Secured,
            false,
            Reason::AnyoneMayPublish,
            "anyone who can reach the RTMP port may publish; set spec.publish.keysSecret to ask for a key",
        ),
        Security::Keys(secret) => finding(
            Type::Secured,
            true,
            Reason::KeysRequired,
            format!("publishers need a key of Secret {secret}"),
        ),
        Security::Unusable(secret) => finding(
            Type::Secured,
            true,
            Reason::KeysSecretUnusable,
            format!(
                "Secret {secret} has no usable key, so every publisher is refused; give it entries of a stream name, or *, and a key"
            ),
        ),
        Security::Missing(secret) => finding(
            Type::Secured,
            true,
            Reason::KeysSecretMissing,
            format!(
                "Secret {secret} does not exist, so every publisher is refused; make it with one key for each stream name, or *"
            ),
        ),
    }
}

fn stream(entry: &StreamEntry) -> StreamStatus {
    let pixels = |size: u32| i32::try_from(size).ok().filter(|size| *size > 0);
    StreamStatus {
        name: entry.name.clone(),
        codecs: entry.codecs.clone(),
        width: pixels(entry.width),
        height: pixels(entry.height),
        bitrate: i64::try_from(entry.bitrate_bps).ok().filter(|bitrate| *bitrate > 0),
        since: entry.since.map(|since| Time(whole_seconds(since))),
    }
}
