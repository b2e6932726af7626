//! Pods on the test kubelet: they run, serve, drain, are replaced and go.

use std::time::{Duration, Instant};

use e2e::harness::cluster::{Case, Space, condition};
use e2e::harness::process::{Signal, runs};
use e2e::harness::{http, wait_until};
use serde_json::{Value, json};

use crate::{LONG, hello, name, names, nodes, one_pod};

/// The tests.
pub fn cases() -> Vec<Case> {
    e2e::cases![
        Nodes:
            a_pod_serves_at_its_address_and_is_drained_and_gone_when_deleted,
            a_service_leads_to_ready_pods_only,
            a_container_that_ends_is_started_again_and_counted,
            a_frozen_container_is_unready_and_ends_by_its_liveness,
            a_changed_secret_reaches_the_pods_files,
            a_pod_on_a_lost_node_stays_and_is_replaced,
            held_pods_stay_pending,
            a_rolling_update_keeps_as_many_pods_serving;
        ControllerManager:
            the_cheapest_pod_goes_first,
            an_eviction_waits_for_the_disruption_budget
    ]
}

async fn a_pod_serves_at_its_address_and_is_drained_and_gone_when_deleted(space: Space) {
    let pod = one_pod(&space).await;
    let address = pod["status"]["podIP"].as_str().unwrap().to_owned();
    let answer = http::get(&format!("http://{address}:8081/livez")).await.unwrap();
    assert!(answer.status.is_success());
    let answer = hello(&address, "first").await;
    assert_eq!(answer.json::<Value>().unwrap()["name"], pod["metadata"]["name"]);
    assert!(pod["spec"]["nodeName"].is_string());
    let status = &pod["status"]["containerStatuses"][0];
    assert_eq!((&status["ready"], &status["restartCount"]), (&json!(true), &json!(0)));

    let process = space.pod(&name(&pod)).unwrap().process.unwrap();
    assert!(runs(process));
    space.delete("Deployment", "n").await.unwrap();
    space.gone("Pod", &name(&pod), LONG).await.unwrap();
    assert!(!runs(process));
    let log = space.kubelet().unwrap().log(&space.name, &name(&pod));
    assert!(log.contains("Gracefully"), "it was not asked to end in order:\n{log}");
}

async fn a_service_leads_to_ready_pods_only(space: Space) {
    let pod = one_pod(&space).await;
    let service = space.get("Service", "n").await.unwrap();
    let address = service["spec"]["clusterIP"].as_str().unwrap().to_owned();
    let url = format!("http://{address}/api/streams");
    wait_until(LONG, "the Service leads to the pod", || async {
        let answer = http::get(&url).await.map_err(|error| format!("{error:#}"))?;
        if answer.status.is_success() {
            Ok(())
        } else {
            Err(answer.text())
        }
    })
    .await
    .unwrap();

    // Told to drain, it is ready no more, and soon nobody is behind the Service.
    let address = pod["status"]["podIP"].as_str().unwrap();
    let drain = json!({"deadline": jiff::Timestamp::now() + Duration::from_secs(60)});
    let asked = Instant::now();
    http::put(&format!("http://{address}:8081/v1/drain"), "first", &drain)
        .await
        .unwrap();
    let unready = |pod: &Value| (condition(pod, "Ready") == Some("False")).then_some(());
    space
        .wait("Pod", &name(&pod), LONG, "is unready", unready)
        .await
        .unwrap();
    assert!(asked.elapsed() < Duration::from_secs(4), "{:?}", asked.elapsed());
    wait_until(LONG, "nobody is behind the Service", || async {
        match http::get(&url).await {
            Ok(answer) => Err(answer.status),
            Err(_) => Ok(()),
        }
    })
    .await
    .unwrap();
}

async fn a_container_that_ends_is_started_again_and_counted(space: Space) {
    let pod = name(&one_pod(&space).await);
    space.kill_container(&pod).await.unwrap();
    let restarted = |pod: &Value| {
        let status = &pod["status"]["containerStatuses"][0];
        (status["restartCount"] == 1 && status["ready"] == true).then(|| status.clone())
    };
    let status = space
        .wait("Pod", &pod, LONG, "is ready again", restarted)
        .await
        .unwrap();
    assert_eq!(status["lastState"]["terminated"]["exitCode"], 137);
    assert_eq!(names(&space.list("Pod", "app=n").await.unwrap()), [pod]);
}

async fn a_changed_secret_reaches_the_pods_files(space: Space) {
    let pod = one_pod(&space).await;
    let address = pod["status"]["podIP"].as_str().unwrap();
    assert!(!hello(address, "second").await.status.is_success());
    let patch = json!({"stringData": {"token": "second\nfirst\n"}});
    space.patch("Secret", "n", patch).await.unwrap();
    wait_until(Duration::from_secs(5), "the new token opens", || async {
        let status = hello(address, "second").await.status;
        if status.is_success() { Ok(()) } else { Err(status) }
    })
    .await
    .unwrap();
    assert!(hello(address, "first").await.status.is_success());
}

async fn a_pod_on_a_lost_node_stays_and_is_replaced(space: Space) {
    let lost = name(&one_pod(&space).await);
    let process = space.pod(&lost).unwrap().process.unwrap();
    space.lose_node(&lost).await.unwrap();
    assert!(!runs(process));
    let other = |pods: &[Value]| {
        let ready = pods.iter().find(|pod| condition(pod, "Ready") == Some("True"));
        ready.map(name).filter(|name| *name != lost)
    };
    space
        .wait_all("Pod", "app=n", LONG, "another serves", other)
        .await
        .unwrap();
    let left = space.get("Pod", &lost).await.unwrap();
    assert!(left["metadata"]["deletionTimestamp"].is_string());
    assert_eq!(condition(&left, "Ready"), Some("False"));
}

async fn held_pods_stay_pending(space: Space) {
    space.kubelet().unwrap().hold(&space.name, true);
    space.apply(&nodes("n", 2, &[])).await.unwrap();
    let made = |pods: &[Value]| (pods.len() == 2).then(|| pods.to_vec());
    let pods = space.wait_all("Pod", "app=n", LONG, "are made", made).await.unwrap();
    tokio::time::sleep(Duration::from_millis(500)).await;
    for pod in names(&pods) {
        assert_eq!(space.get("Pod", &pod).await.unwrap()["status"]["phase"], "Pending");
    }
    space.kubelet().unwrap().hold(&space.name, false);
    let pods = space.ready_pods("app=n", 2, LONG).await.unwrap();
    assert!(pods.iter().all(|pod| pod["spec"]["nodeName"].is_string()), "{pods:?}");
}

async fn a_rolling_update_keeps_as_many_pods_serving(space: Space) {
    space.apply(&nodes("n", 2, &[])).await.unwrap();
    let old = names(&space.ready_pods("app=n", 2, LONG).await.unwrap());
    space.apply(&nodes("n", 2, &["--publish-grace=5s"])).await.unwrap();
    wait_until(LONG, "the update is done", || async {
        let pods = space.list("Pod", "app=n").await.map_err(|error| format!("{error:#}"))?;
        let serving = pods
            .iter()
            .filter(|pod| condition(pod, "Ready") == Some("True"))
            .count();
        assert!(serving >= 2, "{serving} pods serve");
        let fresh = pods.iter().all(|pod| !old.contains(&name(pod)));
        if fresh && pods.len() == 2 {
            Ok(())
        } else {
            Err(format!("{:?}", names(&pods)))
        }
    })
    .await
    .unwrap();
    let complete = |deployment: &Value| {
        let status = &deployment["status"];
        (status["updatedReplicas"] == 2 && status["availableReplicas"] == 2).then_some(())
    };
    space
        .wait("Deployment", "n", LONG, "is complete", complete)
        .await
        .unwrap();
}

async fn a_frozen_container_is_unready_and_ends_by_its_liveness(space: Space) {
    let pod = name(&one_pod(&space).await);
    space.signal(&pod, Signal::Stop).await.unwrap();
    let unready = |pod: &Value| (condition(pod, "Ready") == Some("False")).then_some(());
    space.wait("Pod", &pod, LONG, "is unready", unready).await.unwrap();
    let restarted = |pod: &Value| {
        let status = &pod["status"]["containerStatuses"][0];
        (status["restartCount"] == 1 && status["ready"] == true).then_some(())
    };
    space
        .wait("Pod", &pod, LONG, "is ready again", restarted)
        .await
        .unwrap();
}

async fn the_cheapest_pod_goes_first(space: Space) {
    space.apply(&nodes("n", 3, &[])).await.unwrap();
    let mut pods = names(&space.ready_pods("app=n", 3, LONG).await.unwrap());
    pods.sort();
    for (pod, cost) in pods.iter().zip(["10", "-10", "20"]) {
        let cost = json!({"metadata": {"annotations": {"controller.kubernetes.io/pod-deletion-cost": cost}}});
        space.patch("Pod", pod, cost).await.unwrap();
    }
    space
        .patch("Deployment", "n", json!({"spec": {"replicas": 2}}))
        .await
        .unwrap();
    let mut left = names(&space.ready_pods("app=n", 2, LONG).await.unwrap());
    left.sort();
    assert_eq!(left, [pods[0].clone(), pods[2].clone()]);
}

async fn an_eviction_waits_for_the_disruption_budget(space: Space) {
    let pod = name(&one_pod(&space).await);
    let budget = json!({
        "apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": "n"},
        "spec": {"minAvailable": 1, "selector": {"matchLabels": {"app": "n"}}},
    });
    space.apply_one(budget).await.unwrap();
    let seen = |budget: &Value| (budget["status"]["currentHealthy"] == 1).then_some(());
    space
        .wait("PodDisruptionBudget", "n", LONG, "counts the pod", seen)
        .await
        .unwrap();
    let error = space.evict(&pod).await.unwrap_err().to_string();
    assert!(error.contains("disruption budget"), "{error}");
    space
        .patch("Deployment", "n", json!({"spec": {"replicas": 2}}))
        .await
        .unwrap();
    space.ready_pods("app=n", 2, LONG).await.unwrap();
    wait_until(LONG, "the eviction is allowed", || async {
        space.evict(&pod).await.map_err(|error| format!("{error:#}"))
    })
    .await
    .unwrap();
    space.gone("Pod", &pod, LONG).await.unwrap();
}
