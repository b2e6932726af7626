//! What the operator writes, and when it writes nothing: counted by the API server's audit log.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use e2e::harness::cluster::{Audit, Case, Mark, Space, User, Write};
use e2e::harness::wait_until;
use serde_json::{Value, json};

use crate::stage::{
    EDGES, LONG, ORIGIN, all_watch, carried, publish_sample, reason, seamless, service, serving, watch, web,
};

/// How long is counted; a minute in `make long`.
const SHORT: Duration = Duration::from_secs(20);
const MINUTE: Duration = Duration::from_secs(60);
/// How long after the last change nothing may be left to write.
const CALM: Duration = Duration::from_secs(12);

/// The tests.
pub fn cases() -> Vec<Case> {
    let mut cases = e2e::cases![Nodes:
        nothing_is_written_while_nothing_changes,
        what_is_changed_by_hand_is_put_right,
        suspended_resources_keep_their_address_and_come_back
    ];
    cases.extend(e2e::cases![ControllerManager: what_was_made_goes_with_its_owner]);
    let long = e2e::cases![Nodes: for_a_minute_nothing_is_written_while_nothing_changes];
    cases.extend(long.into_iter().map(Case::long));
    cases
}

/// Writes of the operator of this namespace since then, but for the renewals of its Lease; other tests' operators may be at work.
fn writes(space: &Space, audit: &Audit, mark: Mark) -> Vec<Write> {
    let all = audit.of(User::Operator.name(), mark).unwrap();
    let own = |write: &Write| write.namespace.is_empty() || write.namespace == space.name;
    all.into_iter()
        .filter(|write| own(write) && write.resource != "leases")
        .collect()
}

/// Waits until the operator has written nothing for a while.
async fn calm(space: &Space, audit: &Audit) {
    let mut quiet = (audit.mark(), Instant::now());
    wait_until(LONG * 2, "the operator has nothing to write", || {
        let news = writes(space, audit, quiet.0);
        if !news.is_empty() {
            quiet = (audit.mark(), Instant::now());
        }
        let since = quiet.1.elapsed();
        async move { if since > CALM { Ok(()) } else { Err(format!("{news:?}")) } }
    })
    .await
    .unwrap();
}

async fn nothing_is_written_while_nothing_changes(space: Space) {
    count_writes(space, SHORT).await;
}

async fn for_a_minute_nothing_is_written_while_nothing_changes(space: Space) {
    count_writes(space, MINUTE).await;
}

async fn count_writes(space: Space, counted: Duration) {
    let operator = serving(&space, "replicas: 2", 2).await;
    let audit = space.cluster.audit().unwrap();
    calm(&space, &audit).await;
    let versions = versions(&space).await;
    let mark = audit.mark();
    // Applied again, as people and their tools do all the time.
    space.apply(crate::stage::MAIN).await.unwrap();
    space.apply(&web("replicas: 2")).await.unwrap();
    tokio::time::sleep(counted).await;
    let idle = writes(&space, &audit, mark);
    println!("figure: writes in {counted:?} while nothing changed: {}", idle.len());
    assert!(idle.is_empty(), "{idle:#?}");
    assert_eq!(self::versions(&space).await, versions);

    // With viewers who stay there are figures to report, and nothing else.
    let _publication = publish_sample(&space, "a").await;
    carried(&operator, "a").await;
    let load = watch(&service(&space, "web-edge", 80).await, 6);
    all_watch(&load, 6).await;
    calm(&space, &audit).await;
    let mark = audit.mark();
    tokio::time::sleep(counted).await;
    let steady = writes(&space, &audit, mark);
    let most = (6.0 * counted.as_secs_f64() / 60.0).ceil() as usize;
    let mut by_object: BTreeMap<String, usize> = BTreeMap::new();
    for write in &steady {
        *by_object
            .entry(format!("{} {}", write.resource, write.name))
            .or_default() += 1;
    }
    println!("figure: writes in {counted:?} with steady viewers: {by_object:?}");
    assert!(by_object.values().all(|count| *count <= most), "{steady:#?}");
    seamless(&load.stop().await.unwrap());
}

/// Versions of what the operator makes or reports, and nobody else writes.
async fn versions(space: &Space) -> Vec<(String, String)> {
    let mut versions = Vec::new();
    for kind in ["StreamOrigin", "EdgePool", "Service", "Secret", "NetworkPolicy"] {
        for object in space.list(kind, "").await.unwrap() {
            let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            let name = text(&object["metadata"]["name"]);
            versions.push((format!("{kind} {name}"), text(&object["metadata"]["resourceVersion"])));
        }
    }
    versions
}

async fn what_is_changed_by_hand_is_put_right(space: Space) {
    let _operator = serving(&space, "replicas: 2", 2).await;
    let edits = [
        (
            "Deployment",
            "web-edge",
            "/spec/replicas",
            json!({"spec": {"replicas": 7}}),
        ),
        (
            "Service",
            "web-edge",
            "/spec/ports/0/port",
            json!({"spec": {"ports": [{"name": "rtmp", "port": 1936, "targetPort": "rtmp"}]}}),
        ),
        (
            "NetworkPolicy",
            "main-origin",
            "/spec/ingress",
            json!({"spec": {"ingress": []}}),
        ),
        (
            "PodDisruptionBudget",
            "web-edge",
            "/spec/minAvailable",
            json!({"spec": {"minAvailable": 0}}),
        ),
        (
            "Deployment",
            "main-origin",
            "/spec/template/spec/terminationGracePeriodSeconds",
            json!({"spec": {"template": {"spec": {"terminationGracePeriodSeconds": 1}}}}),
        ),
        (
            "Service",
            "main-origin",
            "/metadata/labels/app.kubernetes.io~1managed-by",
            json!({"metadata": {"labels": {"app.kubernetes.io/managed-by": null}}}),
        ),
    ];
    for (kind, name, at, edit) in edits {
        let before = space.get(kind, name).await.unwrap();
        let wanted = before.pointer(at).cloned().unwrap();
        let edited = space.patch(kind, name, edit).await.unwrap();
        assert_ne!(edited.pointer(at), Some(&wanted), "{kind} {name} {at}");
        let begun = Instant::now();
        space
            .wait(kind, name, LONG, "is put right", |object| {
                (object.pointer(at) == Some(&wanted)).then_some(())
            })
            .await
            .unwrap();
        println!(
            "figure: {kind} {name} {at} put right in {} ms",
            begun.elapsed().as_millis()
        );
        assert!(
            begun.elapsed() < Duration::from_secs(2),
            "{kind} {name} {at}: {:?}",
            begun.elapsed()
        );
    }
    for (kind, name) in [
        ("Service", "web-edge"),
        ("NetworkPolicy", "web-edge"),
        ("PodDisruptionBudget", "web-edge"),
        ("Secret", "web-edge-control"),
    ] {
        let before = space.get(kind, name).await.unwrap()["metadata"]["uid"].clone();
        space.delete(kind, name).await.unwrap();
        space
            .wait(kind, name, LONG, "is made anew", |object| {
                (object["metadata"]["uid"].is_string() && object["metadata"]["uid"] != before).then_some(())
            })
            .await
            .unwrap();
    }
}

async fn suspended_resources_keep_their_address_and_come_back(space: Space) {
    let operator = serving(&space, "replicas: 2", 2).await;
    let mut addresses = Vec::new();
    for (kind, name, service_name, pods) in [
        ("EdgePool", "web", "web-edge", EDGES),
        ("StreamOrigin", "main", "main-origin", ORIGIN),
    ] {
        space
            .patch(kind, name, json!({"spec": {"suspend": true}}))
            .await
            .unwrap();
        space.ready_pods(pods, 0, LONG).await.unwrap();
        let (why, message) = space
            .wait(kind, name, LONG, "says that it is suspended", |object| {
                let (reason, message) = reason(object, "Ready");
                (reason == "Suspended").then_some((reason, message))
            })
            .await
            .unwrap();
        assert!(message.contains("spec.suspend"), "{why}: {message}");
        addresses.push(service(&space, service_name, 80).await);
    }
    for (kind, name) in [("StreamOrigin", "main"), ("EdgePool", "web")] {
        space
            .patch(kind, name, json!({"spec": {"suspend": false}}))
            .await
            .unwrap();
    }
    crate::stage::serve(&space, &operator, 2).await;
    let now = [
        service(&space, "web-edge", 80).await,
        service(&space, "main-origin", 80).await,
    ];
    assert_eq!(addresses, now);
    let _publication = publish_sample(&space, "a").await;
    carried(&operator, "a").await;
}

async fn what_was_made_goes_with_its_owner(space: Space) {
    let _operator = serving(&space, "replicas: 1", 1).await;
    for (kind, name) in [("EdgePool", "web"), ("StreamOrigin", "main")] {
        space.delete(kind, name).await.unwrap();
    }
    for kind in [
        "Deployment",
        "Service",
        "NetworkPolicy",
        "PodDisruptionBudget",
        "Secret",
        "Pod",
    ] {
        space
            .wait_all(
                kind,
                "app.kubernetes.io/managed-by=headwater",
                LONG,
                "are gone",
                |objects| objects.is_empty().then_some(()),
            )
            .await
            .unwrap();
    }
}
