//! The harness itself: pods that run, serve, drain and go; Services; an API server that goes and comes back.

use std::time::{Duration, Instant};

use e2e::harness::cluster::{Case, Cluster, Mark, Space, User, condition};
use e2e::harness::process::runs;
use e2e::harness::{http, wait_until};
use serde_json::{Value, json};

/// For a pod of a debug build to come up.
const LONG: Duration = Duration::from_secs(20);

/// The tests.
pub fn cases() -> Vec<Case> {
    e2e::cases![
        Nodes:
            a_pod_serves_at_its_address_and_is_drained_and_gone_when_deleted,
            a_service_leads_to_ready_pods_only,
            a_container_that_ends_is_started_again_and_counted,
            a_changed_secret_reaches_the_pods_files,
            a_pod_on_a_lost_node_stays_and_is_replaced,
            held_pods_stay_pending,
            a_rolling_update_keeps_as_many_pods_serving,
            pods_run_on_while_the_api_server_is_away,
            writes_are_told_by_user,
            an_account_may_do_what_its_role_says;
        ControllerManager:
            what_belongs_to_a_deleted_object_goes_with_it,
            the_cheapest_pod_goes_first,
            an_eviction_waits_for_the_disruption_budget
    ]
}

/// A Deployment of media nodes made by hand, with its Secret and its Service.
fn nodes(name: &str, replicas: u32, flags: &[&str]) -> String {
    let mut args = vec![
        "origin",
        "--control-token-file=/run/control/token",
        "--name=$(HEADWATER_NAME)",
    ];
    args.extend(flags);
    let labels = json!({"app": name});
    let container = json!({
        "name": "media-node",
        "image": "headwater.dev/media-node:test",
        "args": args,
        "env": [{"name": "HEADWATER_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}],
        "ports": [
            {"name": "rtmp", "containerPort": 1935},
            {"name": "http", "containerPort": 8080},
            {"name": "ops", "containerPort": 8081},
        ],
        "readinessProbe": {"httpGet": {"path": "/readyz", "port": "ops"}, "periodSeconds": 2, "failureThreshold": 1},
        "volumeMounts": [{"name": "control", "mountPath": "/run/control", "readOnly": true}],
    });
    let spec = json!({
        "terminationGracePeriodSeconds": 10,
        "containers": [container],
        "volumes": [{"name": "control", "secret": {"secretName": name}}],
    });
    let documents = [
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": {"token": "first\n"}}),
        json!({
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name},
            "spec": {
                "replicas": replicas,
                "selector": {"matchLabels": labels},
                "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
                "template": {"metadata": {"labels": labels}, "spec": spec},
            },
        }),
        json!({
            "apiVersion": "v1", "kind": "Service", "metadata": {"name": name},
            "spec": {
                "selector": labels,
                "ipFamilyPolicy": "PreferDualStack",
                "ports": [{"name": "http", "port": 80, "targetPort": "http"}],
            },
        }),
    ];
    documents.map(|document| document.to_string()).join("\n---\n")
}

fn name(object: &Value) -> String {
    object["metadata"]["name"].as_str().unwrap().to_owned()
}

fn names(objects: &[Value]) -> Vec<String> {
    objects.iter().map(name).collect()
}

/// The one ready pod of `nodes("n", 1, …)`.
async fn one_pod(space: &Space) -> Value {
    space.apply(&nodes("n", 1, &[])).await.unwrap();
    space.ready_pods("app=n", 1, LONG).await.unwrap().remove(0)
}

async fn hello(address: &str, token: &str) -> http::Answer {
    let url = format!("http://{address}:8081/v1/hello");
    http::send(::http::Method::GET, &url, Some(token), None).await.unwrap()
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
    assert!(asked.elapsed() < Duration::from_secs(2), "{:?}", asked.elapsed());
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
    assert_ne!(pods[0]["spec"]["nodeName"], pods[1]["spec"]["nodeName"], "not spread");
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

async fn pods_run_on_while_the_api_server_is_away(_: Space) {
    let cluster = Cluster::start_own().await.unwrap();
    let space = Space::make(&cluster).await.unwrap();
    let pod = one_pod(&space).await;
    let address = pod["status"]["podIP"].as_str().unwrap();
    cluster.stop_api_server().await.unwrap();
    assert!(space.get("Pod", &name(&pod)).await.is_err());
    assert!(hello(address, "first").await.status.is_success());
    cluster.start_api_server().await.unwrap();
    let again = space.get("Pod", &name(&pod)).await.unwrap();
    assert_eq!(again["metadata"]["uid"], pod["metadata"]["uid"]);
    assert_eq!(again["status"]["containerStatuses"][0]["restartCount"], 0);
    // Watches are at work again.
    space.delete("Deployment", "n").await.unwrap();
    space.gone("Pod", &name(&pod), LONG).await.unwrap();
}

async fn writes_are_told_by_user(space: Space) {
    let audit = space.cluster.audit().unwrap();
    let (mark, pod) = (audit.mark(), name(&one_pod(&space).await));
    let writes = audit.of(User::Nodes.name(), mark).unwrap();
    let own = |subresource: &str| {
        let of_pod = writes
            .iter()
            .filter(|write| write.namespace == space.name && write.name == pod);
        of_pod
            .filter(|write| write.subresource == subresource && write.code < 300)
            .count()
    };
    assert_eq!(own("binding"), 1);
    assert!(
        (1..=4).contains(&own("status")),
        "{} writes of one pod's status",
        own("status")
    );
    assert!(
        audit
            .of(User::Operator.name(), Mark::default())
            .unwrap()
            .iter()
            .all(|w| w.namespace != space.name)
    );
}

async fn an_account_may_do_what_its_role_says(space: Space) {
    let kubeconfig = space.cluster.account_kubeconfig(&space.name, "reader").await.unwrap();
    let client = e2e::harness::cluster::servers::client(&kubeconfig).await.unwrap();
    let own = e2e::harness::cluster::Objects::new(client, &space.name);
    let error = own.list("EdgePool", "").await.unwrap_err().to_string();
    assert!(error.contains("cannot list resource \"edgepools\""), "{error}");
    let role = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": "reader"},
        "rules": [{"apiGroups": ["headwater.dev"], "resources": ["edgepools"], "verbs": ["list"]}],
    });
    let binding = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"name": "reader"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "reader"},
        "subjects": [{"kind": "ServiceAccount", "name": "reader", "namespace": space.name}],
    });
    space.apply_one(role).await.unwrap();
    space.apply_one(binding).await.unwrap();
    wait_until(LONG, "the role is in force", || async {
        own.list("EdgePool", "").await.map_err(|error| format!("{error:#}"))
    })
    .await
    .unwrap();
    let error = own.delete("EdgePool", "x").await.unwrap_err().to_string();
    assert!(error.contains("cannot delete resource"), "{error}");
}

async fn what_belongs_to_a_deleted_object_goes_with_it(space: Space) {
    let owner = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "owner"}});
    let owner = space.apply_one(owner).await.unwrap();
    let reference = json!({"apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": owner["metadata"]["uid"]});
    let meta = json!({"name": "owned", "ownerReferences": [reference]});
    let owned = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta});
    space.apply_one(owned).await.unwrap();
    space.delete("ConfigMap", "owner").await.unwrap();
    space.gone("ConfigMap", "owned", LONG).await.unwrap();
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
