//! Headwater in a cluster: a real API server, nodes as processes. Those that measure times come last and run one at a time, the others
//! side by side.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod definitions;
mod faults;
mod helm;
mod plugin;
mod pods;
mod release;
mod replication;
mod rights;
mod scaling;
mod servers;
mod stage;
mod surface;
mod tls;
mod writes;

use std::process::ExitCode;
use std::time::Duration;

use e2e::harness::cluster::{Case, Space, suite};
use e2e::harness::http;
use serde_json::{Value, json};

/// For a pod of a debug build to come up.
const LONG: Duration = Duration::from_secs(20);

fn main() -> ExitCode {
    // Those that take longest come first.
    let beside = [
        writes::cases(),
        rights::cases(),
        helm::cases(),
        pods::cases(),
        servers::cases(),
        plugin::cases(),
        tls::cases(),
        definitions::cases(),
        surface::cases(),
    ];
    let alone = [replication::cases(), scaling::cases(), faults::cases()];
    let alone = alone.into_iter().flatten().map(Case::alone);
    suite::main("cluster", beside.into_iter().flatten().chain(alone).collect())
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
        "livenessProbe": {"httpGet": {"path": "/livez", "port": "ops"}, "periodSeconds": 1, "failureThreshold": 3},
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
