//! The status of an EdgePool.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::{Certificate, Finding, Reached, Trouble, conditions, finding, host_of, plural, unknown, whole_seconds};
use crate::api::condition::{ConditionReason as Reason, ConditionType as Type};
use crate::api::edge_pool::{EdgePoolStatus, EdgeStatus};
use crate::autoscaling::verdict::{self, Limit, Verdict};
use crate::control::PoolReport;
use crate::fleet::Addresses;
use crate::fleet::document::{EdgeEntry, PoolEntry};
use crate::replication;

/// Edges listed at most; the counts have all.
pub const LISTED_EDGES: usize = 100;

/// What is known of a pool.
#[derive(Clone, Debug, Default)]
pub struct Facts<'a> {
    /// Generation of its spec.
    pub generation: Option<i64>,
    /// App of its streams, if the way up to its origin is known.
    pub app: Option<&'a str>,
    /// It is stopped by its spec.
    pub suspended: bool,
    /// `spec.autoscaling` is set.
    pub autoscaled: bool,
    /// Kind and name of its upstream.
    pub upstream: String,
    /// Its upstream is on demand only.
    pub on_demand: bool,
    /// Where people reach it; empty while it has no address.
    pub addresses: Addresses,
    /// How they do.
    pub reached: Reached,
    /// What there is of its certificate.
    pub certificate: Certificate,
    /// Label selector of its pods.
    pub selector: String,
    /// Pods that are not being deleted.
    pub pods: usize,
    /// Of these, pods that wait for a cluster node or can't start, with the kubelet's or scheduler's word.
    pub pending: Option<String>,
    /// Its pods are being replaced by others of a new make.
    pub rolling: bool,
    /// Its edges, as the fleet sees them; none before the control loop has looked.
    pub entry: Option<&'a PoolEntry>,
    /// What was decided of it.
    pub report: Option<&'a PoolReport>,
    /// Its upstream's Service has an address.
    pub upstream_has_address: bool,
    /// What went wrong.
    pub trouble: Option<Trouble>,
}

/// The status, given the one that stands.
pub fn status(facts: &Facts<'_>, before: Option<&EdgePoolStatus>, now: Timestamp) -> EdgePoolStatus {
    let standing = before.map(|status| status.conditions.as_slice()).unwrap_or_default();
    let verdict = facts.report.and_then(|report| report.verdict);
    let findings = vec![
        ready(facts, verdict.as_ref()),
        able_to_scale(facts, verdict.as_ref()),
        scaling_active(facts, verdict.as_ref()),
        scaling_limited(facts, verdict.as_ref()),
        replicating(facts),
        secured(facts),
        upstream_cycle(facts),
    ];
    let address = host_of(&facts.addresses.http);
    let edges = facts.entry.map(|entry| entry.edges.as_slice()).unwrap_or_default();
    let desired = match facts.entry {
        Some(entry) => number(entry.desired),
        None => before.map_or(0, |before| before.desired_replicas),
    };
    let last_scale_time = match before {
        Some(before) if before.desired_replicas == desired => before.last_scale_time.clone(),
        _ if facts.entry.is_none() => before.and_then(|before| before.last_scale_time.clone()),
        _ => Some(Time(whole_seconds(now))),
    };
    EdgePoolStatus {
        conditions: conditions(findings, standing, facts.generation, now),
        observed_generation: facts.generation,
        replicas: i32::try_from(facts.pods).unwrap_or(i32::MAX),
        ready_replicas: facts.entry.map_or(0, |entry| number(entry.ready)),
        desired_replicas: desired,
        selector: Some(facts.selector.clone()),
        play_url: address.as_ref().map(|_| {
            let authority = facts.addresses.http.trim_end_matches(":80");
            let scheme = match facts.certificate {
                Certificate::There(_) => "https",
                _ => "http",
            };
            match facts.app {
                Some(app) => format!("{scheme}://{authority}/play/{app}/{{stream}}"),
                None => format!("{scheme}://{authority}/"),
            }
        }),
        address,
        viewers: facts
            .entry
            .map_or(0, |entry| i64::try_from(entry.viewers).unwrap_or(i64::MAX)),
        outbound_mbps: facts.entry.map_or(0, |entry| entry.outbound_mbps.round() as i64),
        utilization_percent: verdict
            .and_then(|verdict| verdict.utilization_percent)
            .map(|percent| percent.round().min(f64::from(i32::MAX)) as i32),
        last_scale_time,
        edges: edges.iter().take(LISTED_EDGES).map(edge).collect(),
    }
}

fn ready(facts: &Facts<'_>, verdict: Option<&Verdict>) -> Finding {
    let finding = |status, reason, message: String| finding(Type::Ready, status, reason, message);
    if let Some(trouble) = &facts.trouble {
        return finding(false, trouble.reason(), trouble.message());
    }
    if facts.suspended {
        let message = "stopped by spec.suspend; configuration and address are kept";
        return finding(false, Reason::Suspended, message.into());
    }
    match facts.report.and_then(|report| report.replication) {
        Some(replication::Verdict::UpstreamNotFound) => {
            let message = format!(
                "{}, or one above it, does not exist; make it, or name another",
                facts.upstream
            );
            return finding(false, Reason::UpstreamNotFound, message);
        }
        Some(replication::Verdict::UpstreamCycle) => {
            let message = "the pools above it lead back to it; one of them must have a StreamOrigin as its upstream";
            return finding(false, Reason::UpstreamCycle, message.into());
        }
        _ => {}
    }
    let Some(entry) = facts.entry else {
        return unknown(Type::Ready, Reason::Starting, "the operator has not looked yet");
    };
    if facts.pods == 0 && !facts.upstream_has_address {
        let message = format!(
            "the Service of {} has no address yet, and edges are made with it",
            facts.upstream
        );
        return finding(false, Reason::UpstreamNotReady, message);
    }
    let desired = verdict.map_or(entry.desired, |verdict| verdict.desired);
    let waits = match &facts.pending {
        Some(why) => format!("; a pod waits: {why}"),
        None => String::new(),
    };
    match entry.ready {
        0 => finding(false, Reason::Starting, format!("no edge is ready yet{waits}")),
        ready if ready < desired => finding(
            true,
            Reason::TooFewEdges,
            format!("serves with {ready} of {desired} edges{waits}"),
        ),
        _ => finding(
            true,
            Reason::Serving,
            format!("every edge that is wanted serves{}", facts.reached.note()),
        ),
    }
}

fn secured(facts: &Facts<'_>) -> Finding {
    let finding = |status, reason, message: String| finding(Type::Secured, status, reason, message);
    match (&facts.certificate, facts.certificate.fault()) {
        (_, Some((reason, fault))) => finding(false, reason, fault),
        (Certificate::There(secret), None) => finding(
            true,
            Reason::CertificateThere,
            format!("viewers can come by HTTPS, with the certificate of Secret {secret}"),
        ),
        (_, None) => {
            let message = "viewers come by plain HTTP; set spec.tls.secretName for HTTPS";
            finding(false, Reason::PlainHttp, message.into())
        }
    }
}

fn able_to_scale(facts: &Facts<'_>, verdict: Option<&Verdict>) -> Finding {
    let finding = |status, reason, message: &str| finding(Type::AbleToScale, status, reason, message);
    if let Some(Trouble::Invalid(_)) = facts.trouble {
        return finding(false, Reason::InvalidSpec, "the spec is refused; see Ready");
    }
    match verdict.map(|verdict| verdict.reason) {
        Some(verdict::Reason::Paused) => {
            return finding(
                false,
                Reason::Paused,
                "the annotation headwater.dev/paused holds the number of edges",
            );
        }
        Some(verdict::Reason::ScaleInPaused) => {
            let message = "the annotation headwater.dev/paused-scale-in keeps edges that are not needed";
            return finding(false, Reason::Paused, message);
        }
        Some(verdict::Reason::ScaleOutPaused) => {
            let message = "the annotation headwater.dev/paused-scale-out keeps edges from being added";
            return finding(false, Reason::Paused, message);
        }
        _ => {}
    }
    if facts.rolling {
        let message = "edges are being replaced by ones of a new make; none is taken away meanwhile";
        return finding(false, Reason::RolloutUnderWay, message);
    }
    match &facts.pending {
        Some(why) => finding(
            false,
            Reason::PodPending,
            &format!("a pod waits, and no edge is taken away meanwhile: {why}"),
        ),
        None => finding(true, Reason::ReadyToScale, "edges can be added and taken away"),
    }
}

fn scaling_active(facts: &Facts<'_>, verdict: Option<&Verdict>) -> Finding {
    let finding = |status, reason, message: &str| finding(Type::ScalingActive, status, reason, message);
    if let Some(Trouble::Invalid(_)) = facts.trouble {
        return finding(false, Reason::InvalidSpec, "the spec is refused; see Ready");
    }
    if facts.suspended {
        return finding(false, Reason::Suspended, "stopped by spec.suspend");
    }
    if !facts.autoscaled {
        let message = "spec.autoscaling is absent: spec.replicas, and so /scale, says how many edges there are";
        return finding(false, Reason::NotConfigured, message);
    }
    match verdict {
        None => unknown(
            Type::ScalingActive,
            Reason::FiguresMissing,
            "the operator has not looked yet",
        ),
        Some(verdict) if verdict.reason == verdict::Reason::Paused => {
            finding(false, Reason::Paused, "the annotation headwater.dev/paused is set")
        }
        Some(verdict) if verdict.reason == verdict::Reason::Fallback => {
            let message =
                "figures have been missing for a minute: there are at least fallbackReplicas edges until they are back";
            finding(false, Reason::FiguresMissing, message)
        }
        Some(verdict) if !verdict.figures_complete => {
            let message = "figures of some edges are missing or old: edges may be added, none is taken away";
            finding(false, Reason::FiguresMissing, message)
        }
        Some(_) => finding(
            true,
            Reason::Autoscaling,
            "scaled by bandwidth; spec.replicas is ignored",
        ),
    }
}

fn scaling_limited(facts: &Facts<'_>, verdict: Option<&Verdict>) -> Finding {
    let bounds = facts.report.and_then(|report| report.bounds);
    let (least, most) = bounds.unwrap_or_default();
    match verdict.and_then(|verdict| verdict.limited) {
        Some(Limit::AtMaximum) => finding(
            Type::ScalingLimited,
            true,
            Reason::AtMaximum,
            format!("the load asks for more edges than maxReplicas ({most}) allows"),
        ),
        Some(Limit::AtMinimum) => finding(
            Type::ScalingLimited,
            true,
            Reason::AtMinimum,
            format!("fewer edges than minReplicas ({least}) would carry the load"),
        ),
        None => finding(
            Type::ScalingLimited,
            false,
            Reason::WithinBounds,
            "the number of edges is not cut by a bound",
        ),
    }
}

fn replicating(facts: &Facts<'_>) -> Finding {
    let finding = |status, reason, message: String| finding(Type::Replicating, status, reason, message);
    if facts.suspended {
        return finding(false, Reason::Suspended, "stopped by spec.suspend".into());
    }
    let (Some(report), Some(entry)) = (facts.report, facts.entry) else {
        return unknown(Type::Replicating, Reason::Starting, "the operator has not looked yet");
    };
    match report.replication {
        None => return unknown(Type::Replicating, Reason::Starting, "the operator has not planned yet"),
        Some(replication::Verdict::UpstreamNotFound) => {
            return finding(
                false,
                Reason::UpstreamNotFound,
                format!("{} does not exist", facts.upstream),
            );
        }
        Some(replication::Verdict::UpstreamCycle) => {
            return finding(
                false,
                Reason::UpstreamCycle,
                "the pools above it lead back to it".into(),
            );
        }
        Some(replication::Verdict::Suspended | replication::Verdict::UpstreamSuspended) => {
            return finding(
                false,
                Reason::Suspended,
                format!("{}, or one above it, is suspended", facts.upstream),
            );
        }
        Some(replication::Verdict::UpstreamInvalid) => {
            let message = format!(
                "{}, or one above it, has a spec that is refused; edges keep what they carry",
                facts.upstream
            );
            return finding(false, Reason::UpstreamNotReady, message);
        }
        Some(replication::Verdict::UpstreamUnheard | replication::Verdict::UpstreamSilent) => {
            let message = format!(
                "the origin above {} is not heard; edges keep what they carry",
                facts.upstream
            );
            return finding(false, Reason::UpstreamNotReady, message);
        }
        Some(replication::Verdict::TooManyStreams | replication::Verdict::Replicating) => {}
    }
    if let Some(pull) = &report.failing_pull {
        return finding(false, Reason::PullFailed, format!("a pull does not work: {pull}"));
    }
    if facts.on_demand {
        return finding(true, Reason::OnDemand, "streams are pulled when somebody asks".into());
    }
    if report.replication == Some(replication::Verdict::TooManyStreams) {
        let message = "there are more streams than an edge is given beforehand; the rest is pulled when somebody asks";
        return finding(true, Reason::OnDemand, message.into());
    }
    match report.behind(entry) {
        0 => finding(true, Reason::InStep, "every edge carries every stream".into()),
        behind => finding(
            false,
            Reason::Behind,
            format!("{} do not carry every stream yet", plural(behind, "edge")),
        ),
    }
}

fn upstream_cycle(facts: &Facts<'_>) -> Finding {
    let cycle = facts.report.and_then(|report| report.replication) == Some(replication::Verdict::UpstreamCycle);
    match cycle {
        true => finding(
            Type::UpstreamCycle,
            true,
            Reason::UpstreamCycle,
            "the pools above it lead back to it; one of them must have a StreamOrigin as its upstream",
        ),
        false => finding(
            Type::UpstreamCycle,
            false,
            Reason::UpstreamFound,
            "the way up does not lead back here",
        ),
    }
}

fn edge(entry: &EdgeEntry) -> EdgeStatus {
    EdgeStatus {
        name: entry.name.clone(),
        ready: entry.ready,
        draining: entry.draining,
        drain_deadline: entry.drain_deadline.map(|deadline| Time(whole_seconds(deadline))),
        streams: i32::try_from(entry.streams.len()).unwrap_or(i32::MAX),
        viewers: i64::try_from(entry.viewers).unwrap_or(i64::MAX),
        outbound_mbps: entry.outbound_mbps.round() as i64,
        lag_ms: entry.lag_ms.map(|lag| i64::try_from(lag).unwrap_or(i64::MAX)),
    }
}

fn number(count: u32) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}
