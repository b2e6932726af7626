//! The rights that our roles give: those that the API server asks for while the operator does all that it does, no fewer and no more.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use e2e::bench::publish;
use e2e::harness::cluster::objects::documents;
use e2e::harness::cluster::rights::granted;
use e2e::harness::cluster::{Case, Cluster, Operator, Space};
use e2e::harness::{http, root, wait_until};
use serde_json::{Value, json};

use crate::release::{Release, helm_is_there};
use crate::stage::{EDGES, LONG, MAIN, OPERATORS, ORIGIN, address, carried, name, publish_sample, serve, service, web};

/// What the operator does not do by itself in the time of a test is asked of it by these.
const POOL: &str = "{\"autoscaling\": {\"minReplicas\": 2, \"maxReplicas\": 3, \"scaleInStabilizationSeconds\": 0}, \
    \"drainTimeoutSeconds\": 5, \"service\": {\"type\": \"ClusterIP\"}}";

/// The tests.
pub fn cases() -> Vec<Case> {
    let mut cases = e2e::cases![Nodes: the_example_s_rights_are_enough_for_one_namespace];
    let long = e2e::cases![ControllerManager: the_roles_grant_what_the_operator_needs_and_no_more];
    cases.extend(long.into_iter().map(|case| case.within(Duration::from_secs(480))));
    cases
}

/// What the example gives an operator of one namespace, with that namespace and the operator's own put in: what it holds for all, but for
/// the binding, in whose place is the one that stands as a comment at its end.
fn for_one_namespace(namespace: &str) -> Vec<Value> {
    let text = std::fs::read_to_string(root().join("examples/operator.yaml")).unwrap();
    let (all, one) = text.split_once("\n# ---\n").unwrap();
    let one: Vec<&str> = one
        .lines()
        .map(|line| line.strip_prefix("# ").unwrap_or_default())
        .collect();
    let mut objects = documents(all).unwrap();
    objects.retain(|object| {
        ["ServiceAccount", "ClusterRole", "Role", "RoleBinding"].contains(&object["kind"].as_str().unwrap())
    });
    objects.extend(documents(&one.join("\n")).unwrap());
    for object in &mut objects {
        if object["kind"] != "ClusterRole" {
            object["metadata"]["namespace"] = json!(namespace);
        }
        if object["kind"] == "RoleBinding" {
            object["subjects"][0]["namespace"] = json!(namespace);
        }
    }
    objects
}

async fn the_example_s_rights_are_enough_for_one_namespace(space: Space) {
    let objects = for_one_namespace(&space.name);
    assert_eq!(objects.len(), 5, "{objects:#?}");
    for object in objects {
        space.apply_one(object).await.unwrap();
    }
    let kubeconfig = space
        .cluster
        .account_kubeconfig(&space.name, "headwater")
        .await
        .unwrap();
    let operator = Operator::start_as(&space.cluster, &kubeconfig, "restricted", &space.name, &[])
        .await
        .unwrap();
    space.apply(MAIN).await.unwrap();
    space.apply(&web("replicas: 2\ndrainTimeoutSeconds: 5")).await.unwrap();
    serve(&space, &operator, 2).await;
    let _publication = publish_sample(&space, "a").await;
    carried(&operator, "a").await;
    space.scale("EdgePool", "web", 1).await.unwrap();
    serve(&space, &operator, 1).await;
    space
        .patch("EdgePool", "web", json!({"spec": {"suspend": true}}))
        .await
        .unwrap();
    space.gone("PodDisruptionBudget", "web-edge", LONG).await.unwrap();
    space
        .wait_all("Event", "", LONG, "what happened is told", |events| {
            let told = |reason: &str| events.iter().any(|event| event["reason"] == reason);
            (told("ScaledIn") && told("EdgeDrained")).then_some(())
        })
        .await
        .unwrap();
    let log = operator.child.process.log();
    operator.stop().await.unwrap();
    for word in ["forbidden", "Forbidden", "lacks a right"] {
        assert!(!log.contains(word), "{log}");
    }
}

async fn the_roles_grant_what_the_operator_needs_and_no_more(_: Space) {
    let cluster = Cluster::start_guarded().await.unwrap();
    by_the_example(&cluster).await;
    if helm_is_there() {
        by_the_chart(&cluster, false).await;
        by_the_chart(&cluster, true).await;
    }
}

/// `kubectl apply -f examples/operator.yaml`.
async fn by_the_example(cluster: &Arc<Cluster>) {
    let (space, system) = (
        Space::make(cluster).await.unwrap(),
        Space::named(cluster, "headwater-system").await.unwrap(),
    );
    let text = std::fs::read_to_string(root().join("examples/operator.yaml")).unwrap();
    system.apply(&text).await.unwrap();
    let mut pool: Value = serde_json::from_str(POOL).unwrap();
    pool["upstream"] = json!({"kind": "StreamOrigin", "name": "main"});
    let origin = json!({"publish": {"keysSecret": "keys"}, "service": {"type": "ClusterIP"}});
    for (kind, name, spec) in [("StreamOrigin", "main", origin), ("EdgePool", "web", pool)] {
        let resource = json!({
            "apiVersion": "headwater.dev/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec,
        });
        space.apply_one(resource).await.unwrap();
    }
    exercise(&space, &system).await;
    system.delete("Deployment", "headwater").await.unwrap();
    system.ready_pods(OPERATORS, 0, LONG).await.unwrap();
    compare(
        "examples/operator.yaml",
        cluster,
        &documents(&text).unwrap(),
        &system.name,
    )
    .await;
    space.close().await.unwrap();
}

/// `helm install`, for all namespaces or for one, with the default resources.
async fn by_the_chart(cluster: &Arc<Cluster>, one_namespace: bool) {
    let system = Space::make(cluster).await.unwrap();
    let release = Release::new(cluster, "headwater", &system.name);
    let mut values = json!({
        "operator": {"replicas": 2},
        "origin": {"spec": {"publish": {"keysSecret": "keys"}, "service": {"type": "ClusterIP"}}},
        "pool": {"spec": serde_json::from_str::<Value>(POOL).unwrap()},
    });
    let space = if one_namespace {
        Space::make(cluster).await.unwrap()
    } else {
        system.clone()
    };
    if one_namespace {
        values["watchNamespace"] = json!(space.name);
    }
    let installed = release.helm("install", false, values).unwrap();
    exercise(&space, &system).await;
    release.helm("uninstall", false, json!({})).unwrap();
    system.ready_pods(OPERATORS, 0, LONG).await.unwrap();
    let manifest = documents(installed["manifest"].as_str().unwrap()).unwrap();
    let what = if one_namespace {
        "the chart for one namespace"
    } else {
        "the chart for all namespaces"
    };
    compare(what, cluster, &manifest, &system.name).await;
    space.close().await.unwrap();
    if one_namespace {
        system.close().await.unwrap();
    }
}

/// Has the operator do everything that it does through the API server, on `main` and `web`.
async fn exercise(space: &Space, system: &Space) {
    let keys = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "keys"}, "stringData": {"a": "k"}});
    space.apply_one(keys).await.unwrap();
    system.ready_pods(OPERATORS, 2, LONG * 2).await.unwrap();
    space.ready_pods(ORIGIN, 1, LONG).await.unwrap();
    space.ready_pods(EDGES, 2, LONG).await.unwrap();
    // The same happening twice is one Event, changed.
    publish_once(space).await;
    publish_once(space).await;
    space
        .wait_all("Event", "", LONG, "one tells of two publishes", |events| {
            let again = |event: &Value| event["reason"] == "StreamPublished" && event["series"]["count"] == 2;
            events.iter().any(again).then_some(())
        })
        .await
        .unwrap();
    // Without load the smallest pool will do: an edge drains, and its pod is told so.
    let fewer = json!({"spec": {"autoscaling": {"minReplicas": 1}}});
    space.patch("EdgePool", "web", fewer).await.unwrap();
    space.ready_pods(EDGES, 1, LONG).await.unwrap();
    let suspended = |suspend: bool| json!({"spec": {"suspend": suspend}});
    space.patch("EdgePool", "web", suspended(true)).await.unwrap();
    space.gone("PodDisruptionBudget", "web-edge", LONG).await.unwrap();
    let leader = leader(system, None).await;
    system.delete("Pod", &leader).await.unwrap();
    self::leader(system, Some(&leader)).await;
    space.patch("EdgePool", "web", suspended(false)).await.unwrap();
    space.ready_pods(EDGES, 1, LONG).await.unwrap();
    for (kind, name) in [("EdgePool", "web"), ("StreamOrigin", "main")] {
        space
            .wait(kind, name, LONG, "is served", |object| {
                (e2e::harness::cluster::condition(object, "Ready") == Some("True")).then_some(())
            })
            .await
            .unwrap();
        space.delete(kind, name).await.unwrap();
    }
    space
        .wait_all(
            "Pod",
            "app.kubernetes.io/managed-by=headwater",
            LONG,
            "are gone",
            |pods| pods.is_empty().then_some(()),
        )
        .await
        .unwrap();
}

/// Publishes `a` with its key until every edge plays it, and ends it.
async fn publish_once(space: &Space) {
    let url = format!("rtmp://{}/live/a?key=k", service(space, "main-origin", 1935).await);
    let options = publish::Options {
        reconnect: Some(Duration::from_millis(200)),
        ..publish::Options::new(url, root().join("operator/src/local/sample.flv"))
    };
    let publication = publish::start(options).unwrap();
    let nodes = "app.kubernetes.io/managed-by=headwater";
    let live = |wanted: bool| async move {
        for pod in space.list("Pod", nodes).await.unwrap() {
            let answer = http::get(&format!("http://{}:8080/api/streams", address(&pod))).await;
            let streams = answer.map_err(|error| format!("{error:#}"))?.text();
            if streams.contains("\"a\"") != wanted {
                return Err(format!("{}: {streams}", name(&pod)));
            }
        }
        Ok(())
    };
    wait_until(LONG, "every node plays it", || live(true)).await.unwrap();
    publication.stop().await;
    wait_until(LONG, "it has ended everywhere", || live(false))
        .await
        .unwrap();
}

/// The pod of the operator that leads and is not `gone`.
async fn leader(system: &Space, gone: Option<&str>) -> String {
    wait_until(LONG, "an operator leads", || async {
        for pod in system.list("Pod", OPERATORS).await.unwrap() {
            let metrics = match pod["status"]["podIP"].as_str() {
                Some(address) => http::get(&format!("http://{address}:9090/metrics")).await,
                None => continue,
            };
            let leads = metrics.is_ok_and(|metrics| metrics.text().lines().any(|line| line == "headwater_leader 1"));
            if leads && Some(name(&pod).as_str()) != gone {
                return Ok(name(&pod));
            }
        }
        Err("none does")
    })
    .await
    .unwrap()
}

/// Fails unless the roles among these objects grant just what was asked for the account `headwater`, each right once.
async fn compare(what: &str, cluster: &Cluster, objects: &[Value], namespace: &str) {
    let user = format!("system:serviceaccount:{namespace}:headwater");
    let asked = cluster.rights_asked(&user, |_| true).await.unwrap();
    let mut given = BTreeSet::new();
    let roles = objects
        .iter()
        .filter(|object| ["Role", "ClusterRole"].contains(&object["kind"].as_str().unwrap()));
    for right in roles.flat_map(|role| granted(role["rules"].as_array().unwrap())) {
        assert!(given.insert(right.clone()), "{what} grants twice: {right}");
    }
    let words = |rights: Vec<&e2e::harness::cluster::Right>| -> Vec<String> {
        rights.into_iter().map(ToString::to_string).collect()
    };
    let few = words(asked.difference(&given).collect());
    let many = words(given.difference(&asked).collect());
    println!("figure: rights asked for under {what}: {}", asked.len());
    assert!(
        few.is_empty() && many.is_empty(),
        "{what}: asked for and not granted: {few:#?}; granted and never asked for: {many:#?}"
    );
}
