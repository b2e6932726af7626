//! The chart by real Helm on a real API server: install, upgrade, uninstall, and what becomes of definitions and resources.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Instant;

use e2e::harness::cluster::{Case, Cluster, Objects, Space, condition};
use e2e::harness::{helm, root};
use serde_json::{Value, json};

use crate::release::{Release, helm_is_there};
use crate::stage::{EDGES, LONG, OPERATORS, ORIGIN, name, since};

/// The tests.
pub fn cases() -> Vec<Case> {
    e2e::cases![
        Kubectl: every_object_is_accepted_by_a_server_side_dry_run, definitions_that_were_applied_first_are_left_alone;
        Nodes:
            one_install_brings_up_an_origin_and_two_edges_and_the_chart_s_test_plays_from_them,
            one_install_on_an_empty_cluster_and_an_uninstall_that_keeps_resources
    ]
}

const DEFINITION: &str = "CustomResourceDefinition";
const DEFINITIONS: [&str; 2] = ["edgepools.headwater.dev", "streamorigins.headwater.dev"];
/// What the operator makes of the chart's values.
const RESOURCES: [(&str, &str); 2] = [("StreamOrigin", "main"), ("EdgePool", "web")];

/// Writes objects for kubectl.
fn write(folder: &Path, objects: &[Value]) -> String {
    let file = folder.join("objects.json");
    let list = json!({"apiVersion": "v1", "kind": "List", "items": objects});
    std::fs::write(&file, list.to_string()).unwrap();
    file.display().to_string()
}

async fn every_object_is_accepted_by_a_server_side_dry_run(space: Space) {
    if !helm_is_there() {
        return;
    }
    // Pods that the restricted standard forbids are refused here.
    let label = json!({"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "restricted"}}});
    space.patch("Namespace", &space.name, label).await.unwrap();
    let folder = tempfile::TempDir::new().unwrap();
    for (aks, values) in [
        (false, json!({})),
        (
            true,
            json!({"metricsFrom": ["monitoring"], "commonLabels": {"team": "video"}}),
        ),
        (
            false,
            json!({"watchNamespace": space.name, "origin": {"spec": {"publish": {"keysSecret": "keys"}}}}),
        ),
    ] {
        let mut request = helm::request("render", aks, values);
        request["namespace"] = json!(space.name);
        let answer = tokio::task::block_in_place(|| helm::run(&[request]).unwrap().remove(0));
        let mut objects = helm::objects(&answer.unwrap()).unwrap();
        let deployment = objects.iter().find(|object| object["kind"] == "Deployment").unwrap();
        let mut pod = deployment["spec"]["template"].clone();
        pod["apiVersion"] = json!("v1");
        pod["kind"] = json!("Pod");
        pod["metadata"]["name"] = json!("of-the-deployment");
        pod["metadata"]["namespace"] = json!(space.name);
        objects.push(pod);
        let made = objects.iter().find(|object| object["kind"] == "ConfigMap").unwrap();
        let text = made["data"]["default-resources.yaml"].as_str().unwrap().to_owned();
        objects.extend(e2e::harness::cluster::objects::documents(&text).unwrap());
        let file = write(folder.path(), &objects);
        let flags = [
            "--server-side",
            "--force-conflicts",
            "--dry-run=server",
            "--validate=strict",
        ];
        let said = space
            .cluster
            .kubectl(&[&["apply", "-f", &file], &flags[..]].concat())
            .await
            .unwrap();
        assert_eq!(said.lines().count(), objects.len(), "{said}");
    }
}

async fn definitions_that_were_applied_first_are_left_alone(space: Space) {
    if !helm_is_there() {
        return;
    }
    let folder = root().join("crds").display().to_string();
    space.cluster.kubectl(&["apply", "-f", &folder]).await.unwrap();
    let release = Release::new(&space.cluster, "headwater", &space.name);
    // Other tests' resources are in the same cluster.
    let values = json!({"watchNamespace": space.name});
    let answer = release.helm("install", true, values.clone()).unwrap();
    assert_eq!(answer["status"], "deployed", "{answer}");
    for name in DEFINITIONS {
        let definition = space.get(DEFINITION, name).await.unwrap();
        let notes = &definition["metadata"]["annotations"];
        assert!(notes["meta.helm.sh/release-name"].is_null(), "Helm took {name} over");
    }
    let deployment = space.get("Deployment", "headwater").await.unwrap();
    assert_eq!(deployment["spec"]["replicas"], 2);
    // Where nobody runs the operator's pods, the test acts for it.
    if space.kubelet().is_ok() {
        made(&space).await;
    } else {
        space.apply(&release.defaults(&space).await).await.unwrap();
    }
    // Less is asked for; the budget goes, definitions and resources stay.
    release.helm("upgrade", false, values).unwrap();
    assert_eq!(
        space.get("Deployment", "headwater").await.unwrap()["spec"]["replicas"],
        1
    );
    space.gone("PodDisruptionBudget", "headwater", LONG).await.unwrap();
    release.helm("uninstall", false, json!({})).unwrap();
    for name in DEFINITIONS {
        space.get(DEFINITION, name).await.unwrap();
    }
    space.get("EdgePool", "web").await.unwrap();
    for kind in ["ConfigMap", "ServiceAccount", "Role", "Service"] {
        let left = space.list(kind, "app.kubernetes.io/managed-by=Helm").await.unwrap();
        assert!(left.is_empty(), "{kind} left behind: {left:?}");
    }
}

/// Waits until the operator has made the default resources; returns them.
async fn made(objects: &Objects) -> Vec<Value> {
    let mut made = Vec::new();
    for (kind, name) in RESOURCES {
        let there = |object: &Value| object["metadata"]["uid"].is_string().then(|| object.clone());
        made.push(objects.wait(kind, name, LONG, "is made", there).await.unwrap());
    }
    made
}

/// A cluster of one's own without our definitions, and a namespace in it.
async fn empty_cluster() -> Space {
    let cluster = Cluster::start_own().await.unwrap();
    let space = Space::named(&cluster, "headwater-system").await.unwrap();
    for name in DEFINITIONS {
        space.delete(DEFINITION, name).await.unwrap();
        space.gone(DEFINITION, name, LONG).await.unwrap();
    }
    space
}

/// Waits until one origin and two edges serve, and their resources say so.
async fn serves(space: &Space) {
    space.ready_pods(ORIGIN, 1, LONG).await.unwrap();
    space.ready_pods(EDGES, 2, LONG).await.unwrap();
    for (kind, name) in RESOURCES {
        let ready = |object: &Value| (condition(object, "Ready") == Some("True")).then_some(());
        space.wait(kind, name, LONG, "is ready", ready).await.unwrap();
    }
}

async fn one_install_brings_up_an_origin_and_two_edges_and_the_chart_s_test_plays_from_them(_: Space) {
    if !helm_is_there() {
        return;
    }
    let space = empty_cluster().await;
    let release = Release::new(&space.cluster, "headwater", &space.name);
    let begun = Instant::now();
    release.helm("install", false, json!({})).unwrap();
    let installed = since(begun);
    serves(&space).await;
    println!(
        "figure: one helm install on an empty cluster: Helm had done after {installed} ms, an origin and two edges served after {} ms",
        since(begun)
    );
    // What a cloud gives load balancers, it gives these two.
    for (kind, name, service, key, address) in [
        ("StreamOrigin", "main", "main-origin", "publishUrl", "192.0.2.10"),
        ("EdgePool", "web", "web-edge", "playUrl", "192.0.2.11"),
    ] {
        let made = space.get("Service", service).await.unwrap();
        assert_eq!(made["spec"]["type"], "LoadBalancer");
        space.set_load_balancer(service, address).await.unwrap();
        let told = |object: &Value| object["status"][key].as_str()?.contains(address).then_some(());
        space.wait(kind, name, LONG, "tells its address", told).await.unwrap();
    }

    let begun = Instant::now();
    release.helm("test", false, json!({})).unwrap();
    println!("figure: helm test passed within {} ms", since(begun));
    let left = space.list("Pod", "app.kubernetes.io/component=test").await.unwrap();
    assert!(left.is_empty(), "it leaves its pod behind: {left:?}");

    // Without the origin there is nothing to play.
    release
        .helm("upgrade", false, json!({"test": {"timeoutSeconds": 10}}))
        .unwrap();
    let suspended = |suspend: bool| json!({"spec": {"suspend": suspend}});
    space.patch("StreamOrigin", "main", suspended(true)).await.unwrap();
    space.ready_pods(ORIGIN, 0, LONG).await.unwrap();
    let begun = Instant::now();
    let refused = release.helm("test", false, json!({})).unwrap_err();
    println!(
        "figure: helm test failed after {} ms without an origin: {refused}",
        since(begun)
    );
    let pods = space.list("Pod", "app.kubernetes.io/component=test").await.unwrap();
    assert_eq!(pods[0]["status"]["phase"], "Failed", "it failed otherwise: {refused}");
    space.patch("StreamOrigin", "main", suspended(false)).await.unwrap();
    serves(&space).await;
    release.helm("test", false, json!({})).unwrap();
}

/// A copy of the chart as its next version would be: with another printer column in one definition.
fn next_version(folder: &Path) -> PathBuf {
    fn copy(from: &Path, to: &Path) {
        std::fs::create_dir_all(to).unwrap();
        for entry in std::fs::read_dir(from).unwrap() {
            let (path, to) = (entry.as_ref().unwrap().path(), to.join(entry.unwrap().file_name()));
            if path.is_dir() {
                copy(&path, &to);
            } else {
                std::fs::copy(&path, &to).unwrap();
            }
        }
    }
    let chart = folder.join("headwater");
    copy(&helm::chart(), &chart);
    let file = chart.join("files/crds/edgepools.yaml");
    let text = std::fs::read_to_string(&file).unwrap();
    let changed = text.replacen(
        "description: Edges wanted",
        "description: Edges wanted, as of the next version",
        1,
    );
    assert_ne!(text, changed);
    std::fs::write(file, changed).unwrap();
    let file = chart.join("Chart.yaml");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(file, text.replacen("\nversion: 0.", "\nversion: 99.", 1)).unwrap();
    chart
}

async fn one_install_on_an_empty_cluster_and_an_uninstall_that_keeps_resources(_: Space) {
    if !helm_is_there() {
        return;
    }
    let space = empty_cluster().await;
    let mut release = Release::new(&space.cluster, "headwater", &space.name);
    release.helm("install", false, json!({})).unwrap();
    for name in DEFINITIONS {
        let established = |object: &Value| (condition(object, "Established") == Some("True")).then_some(());
        space
            .wait(DEFINITION, name, LONG, "is established", established)
            .await
            .unwrap();
    }
    let applied = made(&space).await;
    serves(&space).await;
    let pods = media_pods(&space).await;

    let folder = tempfile::TempDir::new().unwrap();
    release.chart = next_version(folder.path());
    release.helm("upgrade", false, json!({})).unwrap();
    let definition = space.get(DEFINITION, DEFINITIONS[0]).await.unwrap();
    let columns = definition["spec"]["versions"][0]["additionalPrinterColumns"].to_string();
    assert!(
        columns.contains("as of the next version"),
        "the upgrade did not reach the definition: {columns}"
    );
    kept(&space, &applied).await;

    release.helm("uninstall", false, json!({})).unwrap();
    space.gone("Deployment", "headwater", LONG).await.unwrap();
    space.ready_pods(OPERATORS, 0, LONG).await.unwrap();
    kept(&space, &applied).await;
    // Media goes on without an operator.
    space.ready_pods(EDGES, 2, LONG).await.unwrap();
    assert_eq!(media_pods(&space).await, pods);

    // A release of another name finds definitions that are not its own; one of the old name finds its own.
    release.name = "streams";
    release.helm("install", false, json!({})).unwrap();
    space.get("Deployment", "streams-headwater").await.unwrap();
    let owner = |definition: &Value| definition["metadata"]["annotations"]["meta.helm.sh/release-name"].clone();
    assert_eq!(
        owner(&space.get(DEFINITION, DEFINITIONS[0]).await.unwrap()),
        "headwater"
    );
    // Its operator takes over what there is.
    space.ready_pods(OPERATORS, 1, LONG).await.unwrap();
    let more = json!({"spec": {"autoscaling": {"minReplicas": 3}}});
    space.patch("EdgePool", "web", more).await.unwrap();
    space.ready_pods(EDGES, 3, LONG).await.unwrap();
    kept(&space, &applied).await;
    let now = media_pods(&space).await;
    assert!(pods.is_subset(&now), "pods went: {pods:?}, {now:?}");
    release.helm("uninstall", false, json!({})).unwrap();
    release.name = "headwater";
    release.helm("install", false, json!({})).unwrap();
    release.helm("uninstall", false, json!({})).unwrap();
    for name in DEFINITIONS {
        space.get(DEFINITION, name).await.unwrap();
    }
}

/// Fails unless these resources are there, the very same and not about to go.
async fn kept(objects: &Objects, applied: &[Value]) {
    for made in applied {
        let kind = made["kind"].as_str().unwrap();
        let there = objects
            .get(kind, made["metadata"]["name"].as_str().unwrap())
            .await
            .unwrap();
        assert_eq!(there["metadata"]["uid"], made["metadata"]["uid"]);
        assert!(there["metadata"]["deletionTimestamp"].is_null());
    }
}

/// Names of the media nodes' pods.
async fn media_pods(objects: &Objects) -> BTreeSet<String> {
    let pods = objects
        .list("Pod", "app.kubernetes.io/managed-by=headwater")
        .await
        .unwrap();
    pods.iter().map(name).collect()
}
