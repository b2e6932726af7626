//! What people read when something is wrong, and when it is right again.

use super::*;
use crate::kubernetes::decide::names;
use fake_api::NAMESPACE;

#[tokio::test(start_paused = true)]
async fn a_keys_secret_that_is_missing_is_told_and_one_that_comes_is_seen_at_once() {
    let api = FakeApi::new();
    api.put(origin(json!({"publish": {"keysSecret": "keys"}})));
    let _operator = Running::start(&api);
    let message = reason(&api, MAIN, "Secured", "KeysSecretMissing").await;
    assert!(
        message.contains("Secret keys does not exist") && message.contains("make it"),
        "{message}"
    );
    quiet(&api).await;
    let made = tokio::time::Instant::now();
    api.put(
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "keys"}, "type": "Opaque",
        "data": {"cam1": "czNjcmV0"}}),
    );
    let message = reason(&api, MAIN, "Secured", "KeysRequired").await;
    assert!(made.elapsed() <= Duration::from_secs(1), "{:?}", made.elapsed());
    assert!(!message.contains("s3cret"), "{message}");
    api.remove("Secret", "keys");
    reason(&api, MAIN, "Secured", "KeysSecretMissing").await;
}

#[tokio::test(start_paused = true)]
async fn a_certificate_that_comes_is_seen_at_once_and_its_key_is_not_kept() {
    let api = both();
    api.edit("EdgePool", "web", |pool| {
        pool["spec"]["tls"] = json!({"secretName": "web-tls"})
    });
    let _operator = Running::start(&api);
    reason(&api, WEB, "Secured", "CertificateMissing").await;
    quiet(&api).await;
    for (key, wanted) in [("", "CertificateIncomplete"), ("a2V5", "CertificateThere")] {
        let made = tokio::time::Instant::now();
        api.put(
            json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "web-tls"}, "type": "kubernetes.io/tls",
            "data": {"tls.crt": "Y2VydA==", "tls.key": key}}),
        );
        let message = reason(&api, WEB, "Secured", wanted).await;
        assert!(message.contains("web-tls"), "{message}");
        assert!(made.elapsed() <= Duration::from_secs(2), "{:?}", made.elapsed());
    }
    let url = until(&api, "the address is by HTTPS", || {
        let pool = api.get("EdgePool", "web")?;
        let url = pool["status"]["playUrl"].as_str()?.to_owned();
        url.starts_with("https://").then_some(url)
    });
    assert!(!url.await.contains(":80"));
    api.remove("Secret", "web-tls");
    reason(&api, WEB, "Secured", "CertificateMissing").await;
}

#[tokio::test(start_paused = true)]
async fn an_invalid_spec_is_told_once_and_what_runs_is_left_alone() {
    let api = both();
    let _operator = Running::start(&api);
    quiet(&api).await;
    let right = api.normal();
    api.take_writes();
    // As an older CRD would have let it pass.
    api.edit("EdgePool", "web", |pool| {
        pool["spec"]["autoscaling"] = json!({"minReplicas": 5, "maxReplicas": 2, "capacityMbps": 100});
    });
    let message = reason(&api, WEB, "Ready", "InvalidSpec").await;
    assert!(
        message.contains("maxReplicas") && message.contains("goes on unchanged"),
        "{message}"
    );
    for other in ["AbleToScale", "ScalingActive"] {
        assert_eq!(condition(&api, WEB.0, WEB.1, other).unwrap().1, "InvalidSpec");
    }
    tokio::time::sleep(Duration::from_secs(900)).await;
    let told = api
        .all("Event")
        .into_iter()
        .filter(|event| event["reason"] == "InvalidSpec")
        .count();
    assert_eq!(told, 1);
    let others = api
        .take_writes()
        .into_iter()
        .filter(|write| !matches!(write.kind, "Event" | "EdgePool"));
    assert_eq!(
        others.filter(|write| write.name.starts_with("web")).collect::<Vec<_>>(),
        []
    );
    api.edit("EdgePool", "web", |pool| {
        drop(pool["spec"].as_object_mut().unwrap().remove("autoscaling"));
    });
    until_same(&api, &right, "when the spec is right again").await;
}

/// What is remembered of a resource must go with it: a watch tells of a deletion only by its absence.
#[tokio::test(start_paused = true)]
async fn a_resource_made_anew_is_told_of_its_trouble_anew() {
    let api = FakeApi::new();
    let wrong = web(json!({"autoscaling": {"minReplicas": 5, "maxReplicas": 2, "capacityMbps": 100}}));
    let _operator = Running::start(&api);
    for round in 1..3 {
        api.put(wrong.clone());
        until(&api, "an Event each time", || {
            let events = api.all("Event");
            let count = |event: &Value| event["series"]["count"].as_u64().unwrap_or(1);
            let told: u64 = events
                .iter()
                .filter(|event| event["reason"] == "InvalidSpec")
                .map(count)
                .sum();
            (told == round).then_some(())
        })
        .await;
        quiet(&api).await;
        api.remove("EdgePool", "web");
        quiet(&api).await;
    }
}

/// Each report of the control loop marked the resource again: what was refused was tried with every one of them.
#[tokio::test(start_paused = true)]
async fn a_status_that_is_refused_is_tried_with_a_back_off() {
    let api = both();
    api.refuse("EdgePool", 403, "edgepools.headwater.dev \"web\" is forbidden");
    let operator = Running::start(&api);
    tokio::time::sleep(Duration::from_secs(120)).await;
    let tries = api
        .take_writes()
        .into_iter()
        .filter(|write| write.verb == "status" && write.kind == "EdgePool")
        .count();
    assert!((5..20).contains(&tries), "{tries} attempts in two minutes");
    assert_eq!(operator.errors("apply"), tries as f64);
    api.accept();
    reason(&api, WEB, "Ready", "Starting").await;
}

/// A pod of the pool `web` that does not run yet.
fn pod(name: &str) -> Value {
    let labels = names::labels(&crate::fleet::ResourceId::pool(NAMESPACE, "web"));
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": labels}, "status": {"phase": "Pending"}})
}

/// Applying takes away only what the same manager set: it was applied again with every look.
#[tokio::test(start_paused = true)]
async fn an_annotation_of_ours_that_somebody_else_set_is_taken_away_once() {
    let api = both();
    api.put(pod("a"));
    let _operator = Running::start(&api);
    quiet(&api).await;
    let annotations = json!({names::DELETION_COST: "7", "example.com/theirs": "stays"});
    let theirs = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a", "annotations": annotations}});
    api.apply_as("somebody", &theirs);
    quiet(&api).await;
    let left = api.get("Pod", "a").unwrap()["metadata"]["annotations"].clone();
    assert_eq!(left, json!({"example.com/theirs": "stays"}));
    api.take_writes();
    api.edit("EdgePool", "web", |pool| {
        pool["metadata"]["annotations"] = json!({"look": "again"})
    });
    quiet(&api).await;
    assert!(api.take_writes().iter().all(|write| write.kind != "Pod"));
}

#[tokio::test(start_paused = true)]
async fn pods_that_went_while_nobody_watched_are_gone() {
    let api = both();
    api.put(pod("a"));
    api.put(pod("b"));
    let _operator = Running::start(&api);
    let pods = || api.get("EdgePool", "web")?.pointer("/status/replicas")?.as_u64();
    until(&api, "two pods", || (pods() == Some(2)).then_some(())).await;
    // The list that takes the place of what was there comes in pieces, and others look meanwhile.
    api.hold_pages(true);
    api.expire();
    api.remove("Pod", "a");
    api.expire();
    quiet(&api).await;
    api.hold_pages(false);
    until(&api, "one pod", || (pods() == Some(1)).then_some(())).await;
}
