//! The resource definitions as the API server holds them to be: rules, strict fields, defaults, columns, scale, explanations.

use std::collections::BTreeSet;
use std::time::Duration;

use e2e::harness::cluster::objects::documents;
use e2e::harness::cluster::{Case, Space};
use e2e::harness::root;
use serde_json::{Value, json};

/// The tests.
pub fn cases() -> Vec<Case> {
    e2e::cases![
        Api:
            every_rule_is_refused_with_its_message,
            the_kind_of_an_upstream_stays,
            an_unknown_field_is_refused,
            what_is_not_said_has_its_default,
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

const VERSION: &str = "headwater.dev/v1alpha1";

fn pool(name: &str, spec: Value) -> Value {
    let mut all = json!({"upstream": {"kind": "StreamOrigin", "name": "main"}});
    merge(&mut all, spec);
    json!({"apiVersion": VERSION, "kind": "EdgePool", "metadata": {"name": name}, "spec": all})
}

fn origin(name: &str, spec: Value) -> Value {
    json!({"apiVersion": VERSION, "kind": "StreamOrigin", "metadata": {"name": name}, "spec": spec})
}

fn merge(into: &mut Value, more: Value) {
    for (key, value) in more.as_object().unwrap() {
        into[key] = value.clone();
    }
}

/// A rule of a definition.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Rule {
    kind: String,
    /// Where it stands in the schema.
    at: String,
    message: String,
}

fn definitions() -> Vec<Value> {
    let files = ["edgepools.yaml", "streamorigins.yaml"];
    let texts = files.map(|file| std::fs::read_to_string(root().join("crds").join(file)).unwrap());
    texts.iter().flat_map(|text| documents(text).unwrap()).collect()
}

fn schema(definition: &Value) -> &Value {
    &definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
}

/// Every schema below this one, with where it stands.
fn walk<'a>(schema: &'a Value, at: &str, found: &mut Vec<(String, &'a Value)>) {
    found.push((at.to_owned(), schema));
    for (name, below) in schema["properties"].as_object().into_iter().flatten() {
        walk(below, format!("{at}.{name}").trim_start_matches('.'), found);
    }
    if schema["items"].is_object() {
        walk(&schema["items"], &format!("{at}[]"), found);
    }
}

fn rules() -> BTreeSet<Rule> {
    let mut rules = BTreeSet::new();
    for definition in definitions() {
        let mut schemas = Vec::new();
        walk(schema(&definition), "", &mut schemas);
        for (at, schema) in schemas {
            for rule in schema["x-kubernetes-validations"].as_array().into_iter().flatten() {
                rules.insert(Rule {
                    kind: definition["spec"]["names"]["kind"].as_str().unwrap().to_owned(),
                    at: at.clone(),
                    message: rule["message"].as_str().expect("a rule without a message").to_owned(),
                });
            }
        }
    }
    rules
}

/// What breaks each rule: where the rule stands, how its message begins, and the object.
fn breaches() -> Vec<(&'static str, &'static str, Value)> {
    let long = "a".repeat(41);
    let annotations = json!({"headwater.dev/x": "y"});
    let labels = json!({"app.kubernetes.io/name": "mine"});
    let class = json!({"type": "ClusterIP", "loadBalancerClass": "mine"});
    let policy = json!({"type": "ClusterIP", "externalTrafficPolicy": "Local"});
    let mut all = vec![
        (
            "spec.autoscaling",
            "maxReplicas",
            pool("p", json!({"autoscaling": {"minReplicas": 5, "maxReplicas": 4}})),
        ),
        (
            "spec.autoscaling",
            "scaleInPercent",
            pool(
                "p",
                json!({"autoscaling": {"scaleInPercent": 70, "scaleOutPercent": 70}}),
            ),
        ),
        (
            "spec.autoscaling",
            "fallbackReplicas",
            pool("p", json!({"autoscaling": {"maxReplicas": 5, "fallbackReplicas": 6}})),
        ),
        ("spec.app", "api, play", origin("o", json!({"app": "play"}))),
        (
            "spec.pushes[]",
            "a push",
            origin("o", json!({"pushes": [{"stream": "cam*", "url": "rtmp://h/live/one"}]})),
        ),
    ];
    for make in [pool, origin] {
        all.extend([
            (
                "spec.service.annotations",
                "annotations",
                make("x", json!({"service": {"annotations": annotations}})),
            ),
            (
                "spec.service",
                "loadBalancerClass",
                make("x", json!({"service": class})),
            ),
            (
                "spec.service",
                "externalTrafficPolicy",
                make("x", json!({"service": policy})),
            ),
            (
                "spec.template.annotations",
                "annotations",
                make("x", json!({"template": {"annotations": annotations}})),
            ),
            (
                "spec.template.labels",
                "labels",
                make("x", json!({"template": {"labels": labels}})),
            ),
            ("", "the name may have", make(&long, json!({}))),
            ("", "the name must begin", make("1x", json!({}))),
            ("", "the name must begin", make("a.b", json!({}))),
        ]);
    }
    all
}

async fn every_rule_is_refused_with_its_message(space: Space) {
    let mut left = rules();
    for (at, begin, object) in breaches() {
        let of = |rule: &&Rule| rule.at == at && object["kind"] == *rule.kind && rule.message.starts_with(begin);
        let rules = rules();
        let rule = rules
            .iter()
            .find(of)
            .unwrap_or_else(|| panic!("there is no rule {begin}… at {at:?}"));
        let words = space.refused(&object.to_string()).await.unwrap();
        assert!(
            words.contains(&rule.message),
            "{rule:?} is refused with other words: {words}"
        );
        left.remove(rule);
    }
    // It needs an object to be changed: a test of its own.
    left.retain(|rule| rule.at != "spec.upstream.kind");
    assert!(left.is_empty(), "rules that no test breaks: {left:?}");
}

async fn the_kind_of_an_upstream_stays(space: Space) {
    space.apply_one(pool("web", json!({}))).await.unwrap();
    let other = json!({"upstream": {"kind": "EdgePool", "name": "main"}});
    let words = space.refused(&pool("web", other).to_string()).await.unwrap();
    let rules = rules();
    let rule = rules.iter().find(|rule| rule.at == "spec.upstream.kind").unwrap();
    assert!(words.contains(&rule.message), "{words}");
    // Another upstream of the same kind is fine.
    let other = json!({"upstream": {"kind": "StreamOrigin", "name": "second"}});
    space.apply_one(pool("web", other)).await.unwrap();
}

async fn an_unknown_field_is_refused(space: Space) {
    for (object, field) in [
        (pool("p", json!({"replica": 3})), "replica"),
        (pool("p", json!({"autoscaling": {"minReplica": 3}})), "minReplica"),
        (origin("o", json!({"publish": {"keySecret": "x"}})), "keySecret"),
        (
            origin("o", json!({"template": {"initContainers": []}})),
            "initContainers",
        ),
    ] {
        let words = space.refused(&object.to_string()).await.unwrap();
        assert!(words.contains(field), "{words}");
    }
    for (object, field) in [
        (pool("p", json!({"replicas": 0})), "spec.replicas"),
        (pool("p", json!({"replicas": "three"})), "spec.replicas"),
        (
            pool("p", json!({"upstream": {"kind": "Origin", "name": "x"}})),
            "spec.upstream.kind",
        ),
        (
            origin("o", json!({"pulls": [{"stream": "a", "url": "http://h/live/a"}]})),
            "spec.pulls[0].url",
        ),
    ] {
        let words = space.refused(&object.to_string()).await.unwrap();
        assert!(words.contains(field), "{words}");
    }
}

async fn what_is_not_said_has_its_default(space: Space) {
    let pool = space.apply_one(pool("web", json!({"autoscaling": {}}))).await.unwrap();
    let spec = &pool["spec"];
    assert_eq!(spec["replicas"], 2);
    assert_eq!(spec["drainTimeoutSeconds"], 1800);
    assert_eq!(spec["autoscaling"]["maxReplicas"], 5);
    assert_eq!(spec["autoscaling"]["scaleOutPercent"], 70);
    assert_eq!(
        spec["replication"],
        json!({"mode": "Eager", "streams": ["*"], "idleTimeoutSeconds": 60})
    );
    assert_eq!(spec["service"]["type"], "LoadBalancer");
    let origin = space.apply_one(origin("main", json!({}))).await.unwrap();
    assert_eq!(origin["spec"]["app"], "live");
    assert_eq!(origin["spec"]["publish"]["onConflict"], "Reject");
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
        let structural = e2e::harness::cluster::condition(&served, "NonStructuralSchema");
        assert_ne!(structural, Some("True"), "the schema is not structural");
    }
}

async fn every_example_is_taken_and_applied_twice_changes_nothing(space: Space) {
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
            let first = space
                .apply_one(object.clone())
                .await
                .unwrap_or_else(|e| panic!("{}: {e:#}", path.display()));
            let second = space.apply_one(object.clone()).await.unwrap();
            let version = |object: &Value| object["metadata"]["resourceVersion"].clone();
            assert_eq!(version(&first), version(&second), "{}", path.display());
        }
    }
    assert!(files > 0);
}

async fn explain_reads_like_documentation(space: Space) {
    // kubectl reads the API's description, which follows a new definition a little later.
    let wait = Duration::from_secs(20);
    let text = e2e::harness::wait_until(wait, "kubectl explains", || async {
        let explained = space.cluster.kubectl(&["explain", "edgepool.spec.autoscaling"]).await;
        explained.map_err(|error| format!("{error:#}"))
    })
    .await
    .unwrap();
    for part in [
        "Scaling by load",
        "scaleOutPercent",
        "default: 70",
        "Edges are added above this load",
        "Least number",
    ] {
        assert!(
            text.split_whitespace().collect::<Vec<_>>().join(" ").contains(part),
            "{part}:\n{text}"
        );
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
