//! The status of a StreamOrigin.

use super::*;
use crate::kubernetes::report::origin::{Facts, LISTED_STREAMS, Security, status};

/// The facts with a change.
fn with<'a>(mut facts: Facts<'a>, change: impl FnOnce(&mut Facts<'a>)) -> Facts<'a> {
    change(&mut facts);
    facts
}

fn ready_entry() -> OriginEntry {
    OriginEntry {
        ready: true,
        ..OriginEntry::default()
    }
}

fn facts(entry: &OriginEntry) -> Facts<'_> {
    Facts {
        generation: Some(3),
        app: "live",
        addresses: addresses("192.0.2.7"),
        entry: Some(entry),
        has_pod: true,
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
fn every_reason_says_what_is_wrong_and_what_to_do() {
    let (up, down) = (ready_entry(), OriginEntry::default());
    let with_streams = OriginEntry {
        streams: vec![StreamEntry::default()],
        ..OriginEntry::default()
    };
    let keyed = || with(facts(&up), |facts| facts.security = Security::Keys("keys".into()));
    check! {
        facts(&up) => Type::Ready, "True", Serving, "takes publishers";
        with(facts(&up), |facts| facts.reached = Reached::Waiting) => Type::Ready, "True", Serving, "load balancer has no address yet";
        with(facts(&up), |facts| facts.entry = None) => Type::Ready, "Unknown", Starting, "has not looked yet";
        with(facts(&down), |facts| facts.has_pod = false) => Type::Ready, "False", Starting, "about to be made";
        facts(&down) => Type::Ready, "False", Starting, "its pod starts";
        with(facts(&down), |facts| { facts.pod_problem = Some("ImagePullBackOff".into()) }) => Type::Ready, "False", Starting, "its pod does not run: ImagePullBackOff";
        facts(&with_streams) => Type::Ready, "False", NodeSilent, "does not answer the operator";
        with(facts(&up), |facts| facts.suspended = true) => Type::Ready, "False", Suspended, "stopped by spec.suspend";
        with(facts(&up), |facts| facts.trouble = Some(invalid())) => Type::Ready, "False", InvalidSpec, "spec.autoscaling.maxReplicas";
        with(facts(&up), |facts| facts.trouble = Some(refused())) => Type::Ready, "False", ApplyFailed, "exceeded quota; it is tried again";
        facts(&up) => Type::Secured, "False", AnyoneMayPublish, "set spec.publish.keysSecret";
        with(facts(&up), |facts| facts.security = Security::Keys("keys".into())) => Type::Secured, "True", KeysRequired, "a key of Secret keys";
        with(facts(&up), |facts| facts.security = Security::Missing("keys".into())) => Type::Secured, "True", KeysSecretMissing, "every publisher is refused; make it";
        with(keyed(), |facts| facts.certificate = Certificate::There("tls".into())) => Type::Secured, "True", KeysRequired, "by HTTPS, with the certificate of Secret tls";
        with(facts(&up), |facts| facts.certificate = Certificate::There("tls".into())) => Type::Secured, "False", AnyoneMayPublish, "set spec.publish.keysSecret";
        with(keyed(), |facts| facts.certificate = Certificate::Missing("tls".into())) => Type::Secured, "False", CertificateMissing, "kubectl create secret tls tls";
        with(keyed(), |facts| facts.certificate = Certificate::Incomplete("tls".into())) => Type::Secured, "False", CertificateIncomplete, "publishers need a key";
    }
}

#[test]
fn all_conditions_are_there_on_first_sight() {
    let status = status(&Facts::default(), None, now());
    let kinds: Vec<String> = status
        .conditions
        .iter()
        .map(|condition| condition.type_.clone())
        .collect();
    let wanted: Vec<String> = Type::ORIGIN.iter().map(Type::to_string).collect();
    assert_eq!(kinds, wanted);
}

#[test]
fn addresses_stand_as_people_use_them() {
    let up = ready_entry();
    let of = |host: &str| {
        let facts = with(facts(&up), |facts| facts.addresses = addresses(host));
        let status = status(&facts, None, now());
        (status.address.unwrap(), status.publish_url.unwrap())
    };
    assert_eq!(
        of("192.0.2.7"),
        ("192.0.2.7".into(), "rtmp://192.0.2.7/live/{stream}".into())
    );
    assert_eq!(
        of("[2001:db8::1]"),
        ("2001:db8::1".into(), "rtmp://[2001:db8::1]/live/{stream}".into())
    );
    let nowhere = with(facts(&up), |facts| facts.addresses = Addresses::default());
    let status = status(&nowhere, None, now());
    assert_eq!((status.address, status.publish_url), (None, None));
}

#[test]
fn the_list_of_streams_is_bounded_and_the_count_is_not() {
    let entry = OriginEntry {
        streams: vec![StreamEntry::default(); 80],
        ..ready_entry()
    };
    let status = status(&facts(&entry), None, now());
    assert_eq!((status.streams.len(), status.stream_count), (LISTED_STREAMS, 80));
    let suspended = with(facts(&entry), |facts| facts.suspended = true);
    assert_eq!(
        crate::kubernetes::report::origin::status(&suspended, None, now()).stream_count,
        0
    );
}

#[test]
fn a_time_of_transition_stands_while_the_status_does() {
    let (up, down) = (ready_entry(), OriginEntry::default());
    let first = status(&facts(&up), None, now());
    let later = now() + std::time::Duration::from_secs(60);
    let other_words = with(facts(&up), |facts| facts.reached = Reached::Waiting);
    let second = status(&other_words, Some(&first), later);
    assert_eq!(
        second.conditions[0].last_transition_time.0,
        now(),
        "other words, the same status"
    );
    let third = status(&facts(&down), Some(&second), later);
    assert_eq!(third.conditions[0].last_transition_time.0, later);
    assert_eq!(third.conditions[1].last_transition_time.0, now());
}
