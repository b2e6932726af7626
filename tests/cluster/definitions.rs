//! What the API server takes and refuses by the resource definitions: rules, unknown fields, bounds, defaults.

use std::collections::BTreeSet;

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
            what_is_not_said_has_its_default
    ]
}

const VERSION: &str = "headwater.dev/v1alpha1";

/// A resource with this spec.
pub fn pool(name: &str, spec: Value) -> Value {
    let mut all = json!({"upstream": {"kind": "StreamOrigin", "name": "main"}});
    merge(&mut all, spec);
    json!({"apiVersion": VERSION, "kind": "EdgePool", "metadata": {"name": name}, "spec": all})
}

/// A resource with this spec.
pub fn origin(name: &str, spec: Value) -> Value {
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

/// The committed definitions.
pub fn definitions() -> Vec<Value> {
    let files = ["edgepools.yaml", "streamorigins.yaml"];
    let texts = files.map(|file| std::fs::read_to_string(root().join("crds").join(file)).unwrap());
    texts.iter().flat_map(|text| documents(text).unwrap()).collect()
}

/// Schema of a definition.
pub fn schema(definition: &Value) -> &Value {
    &definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
}

/// Every schema below this one, with where it stands.
pub fn walk<'a>(schema: &'a Value, at: &str, found: &mut Vec<(String, &'a Value)>) {
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
            "spec.groups",
            "a pattern is {group}",
            origin("o", json!({"groups": ["{group}_{variant}", "{group}{variant}"]})),
        ),
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
