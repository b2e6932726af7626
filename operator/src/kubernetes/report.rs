//! What people read: the status of both kinds, rendered by total functions of what was seen and applied. Nothing here asks or writes.
//!
//! Texts hold no figures that change by themselves: a condition is written when something happened.

pub mod origin;
pub mod pace;
pub mod pool;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

use crate::api::condition::{self, ConditionReason, ConditionType};
use crate::validate::FieldError;

/// Why a resource could not be brought to what it says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// Its spec is refused.
    Invalid(Vec<FieldError>),
    /// The API server refused what was to be made, or can't be reached.
    Apply(String),
}

impl Trouble {
    fn reason(&self) -> ConditionReason {
        match self {
            Self::Invalid(_) => ConditionReason::InvalidSpec,
            Self::Apply(_) => ConditionReason::ApplyFailed,
        }
    }

    fn message(&self) -> String {
        match self {
            Self::Invalid(errors) => {
                let errors: Vec<String> = errors.iter().map(|error| error.describe(None)).collect();
                format!("{}; what ran before goes on unchanged", errors.join("; "))
            }
            Self::Apply(error) => format!("{error}; it is tried again"),
        }
    }
}

/// How people reach a resource, as far as its address does not say it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Reached {
    /// At its address.
    #[default]
    There,
    /// A load balancer was asked for and has given no address yet.
    Waiting,
    /// At these ports of every cluster node.
    NodePorts {
        /// For RTMP.
        rtmp: i32,
        /// For HTTP.
        http: i32,
        /// For HTTPS, where there is TLS.
        https: Option<i32>,
    },
}

impl Reached {
    /// What is to be added to a sentence.
    fn note(&self) -> String {
        match self {
            Self::There => String::new(),
            Self::Waiting => "; its load balancer has no address yet, the one shown is the cluster's own".to_owned(),
            Self::NodePorts {
                rtmp,
                http,
                https: None,
            } => {
                format!("; reached at every cluster node, RTMP at port {rtmp} and HTTP at port {http}")
            }
            Self::NodePorts {
                rtmp,
                http,
                https: Some(https),
            } => format!(
                "; reached at every cluster node, RTMP at port {rtmp}, HTTP at port {http} and HTTPS at port {https}"
            ),
        }
    }
}

/// What there is of the certificate that a spec names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Certificate {
    /// None is named.
    #[default]
    None,
    /// The Secret of this name has it.
    There(String),
    /// The Secret of this name does not exist.
    Missing(String),
    /// The Secret of this name lacks it, or its key.
    Incomplete(String),
}

impl Certificate {
    /// Why viewers can't come by HTTPS although they should, and what to do.
    fn fault(&self) -> Option<(ConditionReason, String)> {
        match self {
            Self::None | Self::There(_) => None,
            Self::Missing(secret) => Some((
                ConditionReason::CertificateMissing,
                format!(
                    "Secret {secret} of spec.tls does not exist, so viewers come by plain HTTP alone; make it with `kubectl create \
                     secret tls {secret} --cert=FILE --key=FILE`"
                ),
            )),
            Self::Incomplete(secret) => Some((
                ConditionReason::CertificateIncomplete,
                format!(
                    "Secret {secret} of spec.tls lacks tls.crt or tls.key, so viewers come by plain HTTP alone, or with the \
                     certificate of before; give it both"
                ),
            )),
        }
    }
}

/// One finding about a resource.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Finding {
    kind: ConditionType,
    status: &'static str,
    reason: ConditionReason,
    message: String,
}

fn finding(kind: ConditionType, status: bool, reason: ConditionReason, message: impl Into<String>) -> Finding {
    Finding {
        kind,
        status: if status { "True" } else { "False" },
        reason,
        message: message.into(),
    }
}

fn unknown(kind: ConditionType, reason: ConditionReason, message: impl Into<String>) -> Finding {
    Finding {
        status: "Unknown",
        ..finding(kind, false, reason, message)
    }
}

/// The findings as conditions: a time of transition is kept while the status stays.
fn conditions(findings: Vec<Finding>, before: &[Condition], generation: Option<i64>, now: Timestamp) -> Vec<Condition> {
    let condition = |finding: Finding| {
        let known = condition::find(before, finding.kind);
        let since = match known {
            Some(known) if known.status == finding.status => known.last_transition_time.clone(),
            // The API server keeps whole seconds.
            _ => Time(whole_seconds(now)),
        };
        Condition {
            type_: finding.kind.to_string(),
            status: finding.status.to_owned(),
            reason: finding.reason.to_string(),
            message: finding.message,
            last_transition_time: since,
            observed_generation: generation,
        }
    };
    findings.into_iter().map(condition).collect()
}

fn whole_seconds(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).unwrap_or(time)
}

/// The host of a `host:port`, without the brackets of an IPv6 address.
fn host_of(address: &str) -> Option<String> {
    let (host, _) = address.rsplit_once(':')?;
    Some(host.trim_start_matches('[').trim_end_matches(']').to_owned()).filter(|host| !host.is_empty())
}

fn plural(count: usize, noun: &str) -> String {
    match count {
        1 => format!("1 {noun}"),
        count => format!("{count} {noun}s"),
    }
}

#[cfg(test)]
mod tests;
