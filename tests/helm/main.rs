//! The chart by real Helm, without a cluster: lint, what is rendered of a matrix of values, and what is refused; the images.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod annotations;
mod fleet;
mod images;
mod refusals;
mod rendered;

use e2e::harness::helm;
use serde_json::Value;

/// Where there is no Helm, says so loudly and returns false.
fn helm_is_there(test: &str) -> bool {
    match helm::lacks() {
        Some(why) => {
            eprintln!("SKIPPED: helm test {test}: {why}");
            false
        }
        None => true,
    }
}

/// What Helm renders of these values.
fn render(aks: bool, values: Value) -> Vec<Value> {
    let answers = helm::run(&[helm::request("render", aks, values)]).unwrap();
    helm::objects(answers[0].as_ref().unwrap()).unwrap()
}

/// The one object of a kind and name.
fn object<'a>(objects: &'a [Value], kind: &str, name: &str) -> &'a Value {
    let found = objects
        .iter()
        .find(|object| object["kind"] == kind && object["metadata"]["name"] == name);
    found.unwrap_or_else(|| panic!("no {kind} {name} is rendered"))
}

/// What the operator is given to make.
fn defaults(objects: &[Value]) -> Vec<Value> {
    let map = object(objects, "ConfigMap", "headwater-default-resources");
    let text = map["data"]["default-resources.yaml"].as_str().unwrap();
    let documents: Vec<Value> = serde_saphyr::from_multiple(text).unwrap();
    documents.into_iter().filter(|document| !document.is_null()).collect()
}
