//! The status of an EdgePool.

use super::*;
use crate::kubernetes::report::pool::{Facts, status};

/// The facts with a change.
fn with<'a>(mut facts: Facts<'a>, change: impl FnOnce(&mut Facts<'a>)) -> Facts<'a> {
    change(&mut facts);
    facts
}

fn edge(name: &str, ready: bool, streams: usize) -> EdgeEntry {
    EdgeEntry {
        name: name.to_owned(),
        ready,
        streams: (0..streams).map(|number| format!("live/cam{number}")).collect(),
        ..EdgeEntry::default()
    }
}

fn entry(ready: u32) -> PoolEntry {
    PoolEntry {
        desired: 2,
        ready,
        edges: vec![edge("a", ready > 0, 1), edge("b", ready > 1, 1)],
        ..PoolEntry::default()
    }
}

fn verdict(reason: Why) -> Verdict {
    Verdict {
        current: 2,
        desired: 2,
        load_bps: 1_100_000_000,
        utilization_percent: Some(55.0),
        reason,
        limited: None,
        figures_complete: true,
    }
}

fn report(verdict: Verdict) -> PoolReport {
    PoolReport {
        verdict: Some(verdict),
        replication: Some(Replication::Replicating),
        bounds: Some((2, 5)),
        planned_streams: 1,
        ..PoolReport::default()
    }
}

fn facts<'a>(entry: &'a PoolEntry, report: &'a PoolReport) -> Facts<'a> {
    Facts {
        generation: Some(3),
        app: Some("live"),
        autoscaled: true,
        upstream: "StreamOrigin main".to_owned(),
        addresses: addresses("192.0.2.8"),
        pods: 2,
        entry: Some(entry),
        report: Some(report),
        upstream_has_address: true,
        ..Facts::default()
    }
}

/// Rows of `facts => condition, status, reason, words that its message has`.
macro_rules! check {
    ($($facts:expr => $kind:expr, $wanted:literal, $reason:ident, $words:literal;)+) => {$({
        let status = status(&$facts, None, now());
        held(&status.conditions, $kind, ($wanted, Reason::$reason), $words);
    })+};
}

#[test]
fn whether_it_is_ready_is_said_with_what_to_do() {
    let (all, some, none) = (entry(2), entry(1), entry(0));
    let well = report(verdict(Why::WithinBand));
    let of = |replication| PoolReport {
        replication: Some(replication),
        ..well.clone()
    };
    let (lost, circle) = (of(Replication::UpstreamNotFound), of(Replication::UpstreamCycle));
    let pending = Some("0/3 nodes are available".to_owned());
    check! {
        facts(&all, &well) => Type::Ready, "True", Serving, "every edge";
        facts(&some, &well) => Type::Ready, "True", TooFewEdges, "serves with 1 of 2 edges";
        with(facts(&some, &well), |facts| facts.pending = pending.clone()) => Type::Ready, "True", TooFewEdges, "a pod waits: 0/3 nodes are available";
        facts(&none, &well) => Type::Ready, "False", Starting, "no edge is ready yet";
        with(facts(&all, &well), |facts| facts.entry = None) => Type::Ready, "Unknown", Starting, "has not looked";
        with(facts(&none, &well), |facts| { facts.pods = 0; facts.upstream_has_address = false }) => Type::Ready, "False", UpstreamNotReady, "the Service of StreamOrigin main has no address";
        facts(&all, &lost) => Type::Ready, "False", UpstreamNotFound, "make it, or name another";
        facts(&all, &circle) => Type::Ready, "False", UpstreamCycle, "must have a StreamOrigin";
        with(facts(&all, &well), |facts| facts.suspended = true) => Type::Ready, "False", Suspended, "stopped by spec.suspend";
        with(facts(&all, &well), |facts| facts.trouble = Some(invalid())) => Type::Ready, "False", InvalidSpec, "what ran before goes on unchanged";
        with(facts(&all, &well), |facts| facts.trouble = Some(refused())) => Type::Ready, "False", ApplyFailed, "exceeded quota; it is tried again";
        facts(&all, &well) => Type::Secured, "False", PlainHttp, "set spec.tls.secretName";
        with(facts(&all, &well), |facts| facts.certificate = Certificate::There("tls".into())) => Type::Secured, "True", CertificateThere, "by HTTPS";
        with(facts(&all, &well), |facts| facts.certificate = Certificate::Missing("tls".into())) => Type::Secured, "False", CertificateMissing, "make it";
        with(facts(&all, &well), |facts| facts.certificate = Certificate::Incomplete("tls".into())) => Type::Secured, "False", CertificateIncomplete, "tls.crt or tls.key";
        facts(&all, &circle) => Type::UpstreamCycle, "True", UpstreamCycle, "lead back to it";
        facts(&all, &well) => Type::UpstreamCycle, "False", UpstreamFound, "does not lead back";
    }
}

#[test]
fn whether_it_scales_is_said_with_what_holds_it() {
    let all = entry(2);
    let well = report(verdict(Why::WithinBand));
    let paused = report(verdict(Why::Paused));
    let (no_in, no_out) = (
        report(verdict(Why::ScaleInPaused)),
        report(verdict(Why::ScaleOutPaused)),
    );
    let blind = report(Verdict {
        figures_complete: false,
        ..verdict(Why::FiguresMissing)
    });
    let fallback = report(Verdict {
        figures_complete: false,
        ..verdict(Why::Fallback)
    });
    let above = report(Verdict {
        limited: Some(Limit::AtMaximum),
        ..verdict(Why::WithinBand)
    });
    let below = report(Verdict {
        limited: Some(Limit::AtMinimum),
        ..verdict(Why::WithinBand)
    });
    let (able, active, limited) = (Type::AbleToScale, Type::ScalingActive, Type::ScalingLimited);
    let pending = Some("Unschedulable".to_owned());
    check! {
        facts(&all, &well) => able, "True", ReadyToScale, "added and taken away";
        facts(&all, &paused) => able, "False", Paused, "headwater.dev/paused holds";
        facts(&all, &no_in) => able, "False", Paused, "headwater.dev/paused-scale-in";
        facts(&all, &no_out) => able, "False", Paused, "headwater.dev/paused-scale-out";
        with(facts(&all, &well), |facts| facts.rolling = true) => able, "False", RolloutUnderWay, "new make";
        with(facts(&all, &well), |facts| facts.pending = pending.clone()) => able, "False", PodPending, "Unschedulable";
        with(facts(&all, &well), |facts| facts.trouble = Some(invalid())) => able, "False", InvalidSpec, "see Ready";
        facts(&all, &well) => active, "True", Autoscaling, "spec.replicas is ignored";
        with(facts(&all, &well), |facts| facts.autoscaled = false) => active, "False", NotConfigured, "spec.replicas, and so /scale";
        facts(&all, &paused) => active, "False", Paused, "headwater.dev/paused is set";
        facts(&all, &blind) => active, "False", FiguresMissing, "none is taken away";
        facts(&all, &fallback) => active, "False", FiguresMissing, "at least fallbackReplicas";
        with(facts(&all, &well), |facts| facts.suspended = true) => active, "False", Suspended, "spec.suspend";
        with(facts(&all, &well), |facts| facts.trouble = Some(invalid())) => active, "False", InvalidSpec, "see Ready";
        with(facts(&all, &well), |facts| facts.report = None) => active, "Unknown", FiguresMissing, "not looked yet";
        facts(&all, &well) => limited, "False", WithinBounds, "not cut by a bound";
        facts(&all, &above) => limited, "True", AtMaximum, "maxReplicas (5)";
        facts(&all, &below) => limited, "True", AtMinimum, "minReplicas (2)";
    }
}

#[test]
fn whether_streams_are_carried_is_said_with_what_stops_them() {
    let all = entry(2);
    let well = report(verdict(Why::WithinBand));
    let altered = |change: fn(&mut PoolReport)| {
        let mut report = well.clone();
        change(&mut report);
        report
    };
    let behind = altered(|report| report.planned_streams = 2);
    let failing = altered(|report| report.failing_pull = Some("live/cam1 on a: connection refused".into()));
    let of = |replication| PoolReport {
        replication,
        ..well.clone()
    };
    let lost = of(Some(Replication::UpstreamNotFound));
    let circle = of(Some(Replication::UpstreamCycle));
    let many = of(Some(Replication::TooManyStreams));
    let stopped = of(Some(Replication::UpstreamSuspended));
    let silent = of(Some(Replication::UpstreamSilent));
    let unplanned = of(None);
    let kind = Type::Replicating;
    check! {
        facts(&all, &well) => kind, "True", InStep, "every edge carries every stream";
        facts(&all, &behind) => kind, "False", Behind, "2 edges do not carry every stream yet";
        facts(&all, &failing) => kind, "False", PullFailed, "live/cam1 on a: connection refused";
        with(facts(&all, &well), |facts| facts.on_demand = true) => kind, "True", OnDemand, "when somebody asks";
        facts(&all, &many) => kind, "True", OnDemand, "the rest is pulled when somebody asks";
        facts(&all, &lost) => kind, "False", UpstreamNotFound, "StreamOrigin main does not exist";
        facts(&all, &circle) => kind, "False", UpstreamCycle, "lead back to it";
        facts(&all, &stopped) => kind, "False", Suspended, "is suspended";
        facts(&all, &silent) => kind, "False", UpstreamNotReady, "edges keep what they carry";
        facts(&all, &unplanned) => kind, "Unknown", Starting, "not planned yet";
        with(facts(&all, &well), |facts| facts.entry = None) => kind, "Unknown", Starting, "has not looked";
        with(facts(&all, &well), |facts| facts.suspended = true) => kind, "False", Suspended, "spec.suspend";
    }
}

#[test]
fn all_conditions_are_there_on_first_sight() {
    let status = status(&Facts::default(), None, now());
    let kinds: BTreeSet<String> = status
        .conditions
        .iter()
        .map(|condition| condition.type_.clone())
        .collect();
    assert_eq!(kinds, Type::POOL.iter().map(Type::to_string).collect());
}

#[test]
fn the_list_of_edges_is_bounded_and_the_counts_are_not() {
    let entry = PoolEntry {
        desired: 150,
        ready: 150,
        edges: (0..150).map(|number| edge(&format!("web-{number}"), true, 1)).collect(),
        viewers: 4_000,
        ..PoolEntry::default()
    };
    let report = report(verdict(Why::WithinBand));
    let facts = with(facts(&entry, &report), |facts| facts.pods = 150);
    let status = status(&facts, None, now());
    assert_eq!(status.edges.len(), LISTED_EDGES);
    assert_eq!(
        (status.replicas, status.ready_replicas, status.viewers),
        (150, 150, 4_000)
    );
}

#[test]
fn an_edge_that_drains_is_listed_with_its_deadline() {
    let deadline = now() + std::time::Duration::from_millis(90_400);
    let mut entry = entry(2);
    entry.edges[0].draining = true;
    entry.edges[0].drain_deadline = Some(deadline);
    let report = report(verdict(Why::WithinBand));
    let status = status(&facts(&entry, &report), None, now());
    let listed = &status.edges[0];
    assert!(listed.draining && !status.edges[1].draining);
    assert_eq!(
        listed.drain_deadline.as_ref().unwrap().0,
        now() + std::time::Duration::from_secs(90)
    );
}

#[test]
fn a_time_of_scaling_changes_with_the_number_alone() {
    let (two, report) = (entry(2), report(verdict(Why::WithinBand)));
    let first = status(&facts(&two, &report), None, now());
    let later = now() + std::time::Duration::from_secs(60);
    let same = status(&facts(&two, &report), Some(&first), later);
    assert_eq!(same.last_scale_time, first.last_scale_time);
    let three = PoolEntry { desired: 3, ..entry(2) };
    let scaled = status(&facts(&three, &report), Some(&same), later);
    assert_eq!(scaled.last_scale_time.unwrap().0, later);
    let unseen = with(facts(&two, &report), |facts| facts.entry = None);
    let unseen = status(&unseen, Some(&first), later);
    assert_eq!(
        (unseen.desired_replicas, unseen.last_scale_time),
        (2, first.last_scale_time)
    );
}

#[test]
fn the_play_url_names_the_app_if_it_is_known() {
    let (all, report) = (entry(2), report(verdict(Why::WithinBand)));
    let url = |facts: &Facts<'_>| status(facts, None, now()).play_url;
    let known = facts(&all, &report);
    assert_eq!(url(&known).as_deref(), Some("http://192.0.2.8/play/live/{stream}"));
    let unknown = Facts {
        app: None,
        ..known.clone()
    };
    assert_eq!(url(&unknown).as_deref(), Some("http://192.0.2.8/"));
    let nowhere = Facts {
        addresses: Addresses::default(),
        ..known
    };
    assert_eq!(url(&nowhere), None);
}
