//! What people and programs see of the resources: columns, scale, status, names, examples, explanations.

use std::time::Duration;

use e2e::harness::cluster::objects::documents;
use e2e::harness::cluster::{Case, Space, condition};
use e2e::harness::{root, wait_until};
use serde_json::{Value, json};

use crate::definitions::{definitions, origin, pool, schema, walk};

/// The tests.
pub fn cases() -> Vec<Case> {
    e2e::cases![
        Api:
            people_see_the_columns,
            a_pool_is_scaled_through_its_subresource,
            a_status_is_written_apart_from_the_spec,
            short_names_and_the_category_are_served,
            every_example_is_taken_and_applied_twice_changes_nothing;
        Kubectl:
            explain_reads_like_documentation,
            kubectl_lists_both_kinds_by_their_category
    ]
}

async fn people_see_the_columns(space: Space) {
    space.apply_one(pool("web", json!({}))).await.unwrap();
    space.apply_one(origin("main", json!({}))).await.unwrap();
    let ready = json!([{
        "type": "Ready", "status": "False", "reason": "UpstreamNotFound", "message": "there is no StreamOrigin main",
        "lastTransitionTime": "2026-01-01T00:00:00Z",
    }]);
    let status =
        json!({"desiredReplicas": 3, "readyReplicas": 2, "viewers": 17, "outboundMbps": 40, "conditions": ready});
    space
        .patch_sub("EdgePool", "web", "status", json!({"status": status}))
        .await
        .unwrap();
    let pools = space.table("EdgePool").await.unwrap();
    let shown = |priority: i64| -> Vec<&str> {
        let columns = pools.columns.iter().filter(|(_, of)| *of == priority);
        columns.map(|(name, _)| name.as_str()).collect()
    };
    assert_eq!(shown(0), ["Name", "Desired", "Up", "Viewers", "Mbps", "Ready", "Age"]);
    assert_eq!(shown(1), ["Load%", "Upstream", "Play", "Reason"]);
    for (column, cell) in [
        ("Name", "web"),
        ("Desired", "3"),
        ("Up", "2"),
        ("Viewers", "17"),
        ("Ready", "False"),
        ("Upstream", "main"),
        ("Reason", "there is no StreamOrigin main"),
    ] {
        assert_eq!(pools.cell(0, column).as_deref(), Some(cell), "{column}");
    }
    let origins = space.table("StreamOrigin").await.unwrap();
    let names: Vec<&str> = origins.columns.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(
        names,
        ["Name", "Streams", "Ready", "Publish", "Age", "Secured", "Reason"]
    );
}

async fn a_pool_is_scaled_through_its_subresource(space: Space) {
    space.apply_one(pool("web", json!({}))).await.unwrap();
    let status = json!({"status": {"replicas": 2, "selector": "app.kubernetes.io/instance=web"}});
    space.patch_sub("EdgePool", "web", "status", status).await.unwrap();
    let scale = space.scale("EdgePool", "web", 4).await.unwrap();
    assert_eq!(scale["kind"], "Scale");
    assert_eq!(scale["spec"]["replicas"], 4);
    assert_eq!(
        scale["status"],
        json!({"replicas": 2, "selector": "app.kubernetes.io/instance=web"})
    );
    assert_eq!(space.get("EdgePool", "web").await.unwrap()["spec"]["replicas"], 4);
    let error = space.scale("EdgePool", "web", 0).await.unwrap_err().to_string();
    assert!(error.contains("greater than or equal to 1"), "{error}");
}

async fn a_status_is_written_apart_from_the_spec(space: Space) {
    space.apply_one(pool("web", json!({}))).await.unwrap();
    let both = json!({"spec": {"replicas": 5}, "status": {"viewers": 3}});
    space
        .patch_sub("EdgePool", "web", "status", both.clone())
        .await
        .unwrap();
    let pool = space.get("EdgePool", "web").await.unwrap();
    assert_eq!(
        (&pool["spec"]["replicas"], &pool["status"]["viewers"]),
        (&json!(2), &json!(3))
    );
    assert_eq!(pool["metadata"]["generation"], 1);
    space
        .patch(
            "EdgePool",
            "web",
            json!({"spec": {"replicas": 5}, "status": {"viewers": 9}}),
        )
        .await
        .unwrap();
    let pool = space.get("EdgePool", "web").await.unwrap();
    assert_eq!(
        (&pool["spec"]["replicas"], &pool["status"]["viewers"]),
        (&json!(5), &json!(3))
    );
    let many: Vec<Value> = (0..51).map(|number| json!({"name": format!("cam{number}")})).collect();
    space.apply_one(origin("main", json!({}))).await.unwrap();
    let many = json!({"status": {"streams": many}});
    let error = space
        .patch_sub("StreamOrigin", "main", "status", many)
        .await
        .unwrap_err()
        .to_string();
    assert!(error.contains("must have at most 50 items"), "{error}");
}

async fn short_names_and_the_category_are_served(space: Space) {
    for (kind, short) in [("EdgePool", "edp"), ("StreamOrigin", "sto")] {
        let plural = format!("{}s.headwater.dev", kind.to_lowercase());
        let served = space.get("CustomResourceDefinition", &plural).await.unwrap();
        let names = &served["status"]["acceptedNames"];
        assert_eq!(names["shortNames"], json!([short]));
        assert_eq!(names["categories"], json!(["headwater"]));
        let structural = condition(&served, "NonStructuralSchema");
        assert_ne!(structural, Some("True"), "the schema is not structural");
    }
}

async fn every_example_is_taken_and_applied_twice_changes_nothing(space: Space) {
    // The example's operator is not to run here.
    if let Ok(kubelet) = space.kubelet() {
        kubelet.hold(&space.name, true);
    }
    let mut files = 0;
    for entry in std::fs::read_dir(root().join("examples")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|ending| ending != "yaml") {
            continue;
        }
        files += 1;
        let text = std::fs::read_to_string(&path).unwrap();
        // Into the namespace of this test, whatever they say; a namespace itself is none of ours.
        let mut objects = documents(&text).unwrap();
        objects.retain(|object| object["kind"] != "Namespace");
        for object in &mut objects {
            object["metadata"].as_object_mut().unwrap().remove("namespace");
            let apply = || async {
                let applied = space
                    .apply_one(object.clone())
                    .await
                    .map_err(|e| format!("{}: {e:#}", path.display()))?;
                Ok::<_, String>(applied["metadata"]["resourceVersion"].clone())
            };
            apply().await.unwrap();
            // Controllers write the status of what is new, which is a version too: they come to an end, a change of ours would not.
            wait_until(Duration::from_secs(5), "applied again it stays as it is", || async {
                let (first, second) = (apply().await?, apply().await?);
                if first == second {
                    Ok(())
                } else {
                    Err(format!("{}: {first}, then {second}", path.display()))
                }
            })
            .await
            .unwrap();
        }
    }
    assert!(files > 0);
}

async fn explain_reads_like_documentation(space: Space) {
    // kubectl reads the API's description, which follows a new definition a little later.
    let wait = Duration::from_secs(20);
    let text = wait_until(wait, "kubectl explains", || async {
        let explained = space.cluster.kubectl(&["explain", "edgepool.spec.autoscaling"]).await;
        explained.map_err(|error| format!("{error:#}"))
    })
    .await
    .unwrap();
    let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
    for part in [
        "Scaling by load",
        "scaleOutPercent",
        "Edges are added above this load",
        "Least number",
    ] {
        assert!(words.contains(part), "{part}:\n{text}");
    }
    for definition in definitions() {
        let singular = definition["spec"]["names"]["singular"].as_str().unwrap().to_owned();
        let mut schemas = Vec::new();
        walk(schema(&definition), "", &mut schemas);
        for (at, schema) in schemas {
            let fields = schema["properties"].is_object() || schema["items"]["properties"].is_object();
            if !fields || at.ends_with("[]") {
                continue;
            }
            let path = format!("{singular}.{}", at.replace("[]", ""));
            let text = space
                .cluster
                .kubectl(&["explain", path.trim_end_matches('.')])
                .await
                .unwrap();
            assert!(
                !text.contains("<no description>") && !text.contains("<empty>"),
                "{path}:\n{text}"
            );
        }
    }
}

async fn kubectl_lists_both_kinds_by_their_category(space: Space) {
    space.apply_one(pool("web", json!({}))).await.unwrap();
    space.apply_one(origin("main", json!({}))).await.unwrap();
    let listed = space
        .cluster
        .kubectl(&["get", "headwater", "-n", &space.name, "-o", "name"])
        .await
        .unwrap();
    let mut lines: Vec<&str> = listed.lines().collect();
    lines.sort_unstable();
    assert_eq!(lines, ["edgepool.headwater.dev/web", "streamorigin.headwater.dev/main"]);
    for short in ["edp", "sto"] {
        let listed = space
            .cluster
            .kubectl(&["get", short, "-n", &space.name, "-o", "name"])
            .await
            .unwrap();
        assert_eq!(listed.lines().count(), 1, "{short}");
    }
}
