//! The stand-in's decisions.

use super::*;

fn deployment(replicas: i32, strategy: Value) -> Deployment {
    let deployment = json!({
        "metadata": {"name": "d", "uid": "u"},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": "x"}},
            "strategy": strategy,
            "template": {"metadata": {"labels": {"app": "x"}}},
        },
    });
    serde_json::from_value(deployment).unwrap()
}

fn rolling() -> Value {
    json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}})
}

/// A pod: name, hash of its template, ready, deletion cost, being deleted.
fn pod(name: &str, hash: &str, ready: bool, cost: i32, ending: bool) -> Arc<Pod> {
    let mut pod = json!({
        "metadata": {"name": name, "labels": {HASH: hash}, "annotations": {COST: cost.to_string()}},
        "status": {"conditions": [{"type": "Ready", "status": if ready { "True" } else { "False" }}]},
    });
    if ending {
        pod["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z".into();
    }
    Arc::new(serde_json::from_value(pod).unwrap())
}

#[test]
fn missing_pods_are_made_and_those_about_to_end_do_not_count() {
    let pods = [pod("a", "1", true, 0, false), pod("b", "1", true, 0, true)];
    let step = decide(&deployment(3, rolling()), "1", &pods);
    assert_eq!((step.create, step.delete.len()), (2, 0));
}

#[test]
fn unready_pods_go_first_then_the_cheapest() {
    let pods = [
        pod("dear", "1", true, 90, false),
        pod("cheap", "1", true, -5, false),
        pod("middle", "1", true, 10, false),
        pod("unready", "1", false, 100, false),
    ];
    let step = decide(&deployment(2, rolling()), "1", &pods);
    assert_eq!(step.delete, ["unready", "cheap"]);
}

#[test]
fn a_rolling_update_makes_one_more_and_takes_an_old_one_when_it_serves() {
    let old = [pod("a", "1", true, 0, false), pod("b", "1", true, 0, false)];
    let step = decide(&deployment(2, rolling()), "2", &old);
    assert_eq!((step.create, step.delete.len()), (1, 0));
    let started = [old[0].clone(), old[1].clone(), pod("c", "2", false, 0, false)];
    assert_eq!(decide(&deployment(2, rolling()), "2", &started), Step::default());
    let serving = [old[0].clone(), old[1].clone(), pod("c", "2", true, 0, false)];
    assert_eq!(decide(&deployment(2, rolling()), "2", &serving).delete.len(), 1);
}

#[test]
fn recreate_waits_until_the_old_pod_is_gone() {
    let recreate = || json!({"type": "Recreate"});
    let running = [pod("a", "1", true, 0, false)];
    let step = decide(&deployment(1, recreate()), "2", &running);
    assert_eq!((step.create, step.delete.len()), (0, 1));
    let ending = [pod("a", "1", false, 0, true)];
    assert_eq!(decide(&deployment(1, recreate()), "2", &ending), Step::default());
    assert_eq!(decide(&deployment(1, recreate()), "2", &[]).create, 1);
}

#[test]
fn a_pod_that_is_lost_is_replaced_although_it_never_ends() {
    let lost = [pod("a", "1", false, 0, true)];
    assert_eq!(
        decide(&deployment(1, json!({"type": "Recreate"})), "1", &lost).create,
        1
    );
}

#[test]
fn percentages_are_of_the_replicas() {
    let text = |text: &str| IntOrString::String(text.to_owned());
    assert_eq!(share(Some(&text("25%")), 10, true), 3);
    assert_eq!(share(Some(&text("25%")), 10, false), 2);
    assert_eq!(share(Some(&IntOrString::Int(4)), 10, false), 4);
    assert_eq!(share(None, 4, true), 1);
}
