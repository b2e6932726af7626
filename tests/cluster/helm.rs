//! The chart by real Helm on a real API server: install, upgrade, uninstall, and what becomes of definitions and resources.

use std::path::{Path, PathBuf};
use std::time::Duration;

use e2e::harness::cluster::{Case, Cluster, Objects, Space, condition};
use e2e::harness::helm;
use serde_json::{Value, json};

use crate::release::{Release, helm_is_there};

/// The tests.
pub fn cases() -> Vec<Case> {
    e2e::cases![
        Kubectl: every_object_is_accepted_by_a_server_side_dry_run;
        Api: definitions_that_were_applied_first_are_left_alone;
        Nodes: one_install_on_an_empty_cluster_and_an_uninstall_that_keeps_resources
    ]
}

const DEFINITION: &str = "CustomResourceDefinition";
const DEFINITIONS: [&str; 2] = ["edgepools.headwater.dev", "streamorigins.headwater.dev"];
const LONG: Duration = Duration::from_secs(30);

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
    let release = Release {
        cluster: &space.cluster,
        chart: helm::chart(),
        name: "headwater",
        namespace: space.name.clone(),
    };
    let answer = release.helm("install", true, json!({})).unwrap();
    assert_eq!(answer["status"], "deployed", "{answer}");
    for name in DEFINITIONS {
        let definition = space.get(DEFINITION, name).await.unwrap();
        let notes = &definition["metadata"]["annotations"];
        assert!(notes["meta.helm.sh/release-name"].is_null(), "Helm took {name} over");
    }
    let deployment = space.get("Deployment", "headwater").await.unwrap();
    assert_eq!(deployment["spec"]["replicas"], 2);
    space.apply(&release.defaults(&space).await).await.unwrap();
    // Less is asked for; the budget goes, definitions and resources stay.
    release.helm("upgrade", false, json!({})).unwrap();
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
    let cluster = Cluster::start_own().await.unwrap();
    let namespace = "headwater-system";
    let objects = Objects::new(cluster.client.clone(), namespace);
    let object = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}});
    objects.apply_one(object).await.unwrap();
    for name in DEFINITIONS {
        objects.delete(DEFINITION, name).await.unwrap();
        objects.gone(DEFINITION, name, LONG).await.unwrap();
    }

    let mut release = Release {
        cluster: &cluster,
        chart: helm::chart(),
        name: "headwater",
        namespace: namespace.to_owned(),
    };
    release.helm("install", false, json!({})).unwrap();
    for name in DEFINITIONS {
        let established = |object: &Value| (condition(object, "Established") == Some("True")).then_some(());
        objects
            .wait(DEFINITION, name, LONG, "is established", established)
            .await
            .unwrap();
    }
    let defaults = release.defaults(&objects).await;
    let applied = served(&objects, &defaults).await;

    let folder = tempfile::TempDir::new().unwrap();
    release.chart = next_version(folder.path());
    release.helm("upgrade", false, json!({})).unwrap();
    let definition = objects.get(DEFINITION, DEFINITIONS[0]).await.unwrap();
    let columns = definition["spec"]["versions"][0]["additionalPrinterColumns"].to_string();
    assert!(
        columns.contains("as of the next version"),
        "the upgrade did not reach the definition: {columns}"
    );

    release.helm("uninstall", false, json!({})).unwrap();
    objects.gone("Deployment", "headwater", LONG).await.unwrap();
    for made in &applied {
        let kind = made["kind"].as_str().unwrap();
        let there = objects
            .get(kind, made["metadata"]["name"].as_str().unwrap())
            .await
            .unwrap();
        assert_eq!(there["metadata"]["uid"], made["metadata"]["uid"]);
        assert!(there["metadata"]["deletionTimestamp"].is_null());
    }

    // A release of another name finds definitions that are not its own; one of the old name finds its own.
    release.name = "streams";
    release.helm("install", false, json!({})).unwrap();
    objects.get("Deployment", "streams-headwater").await.unwrap();
    let owner = |definition: &Value| definition["metadata"]["annotations"]["meta.helm.sh/release-name"].clone();
    assert_eq!(
        owner(&objects.get(DEFINITION, DEFINITIONS[0]).await.unwrap()),
        "headwater"
    );
    release.helm("uninstall", false, json!({})).unwrap();
    release.name = "headwater";
    release.helm("install", false, json!({})).unwrap();
    release.helm("uninstall", false, json!({})).unwrap();
    for name in DEFINITIONS {
        objects.get(DEFINITION, name).await.unwrap();
    }
}

/// Applies resources of kinds that a moment ago were not served.
async fn served(objects: &Objects, yaml: &str) -> Vec<Value> {
    e2e::harness::wait_until(LONG, "the resources are taken", || async {
        objects.apply(yaml).await.map_err(|error| format!("{error:#}"))
    })
    .await
    .unwrap()
}
