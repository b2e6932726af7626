//! `headwater local` with real media: the whole of it on one machine. Times are measured: these tests run one at a time.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod attach;
mod drains;
mod faults;
mod hls;
mod manifests;
mod replication;
mod scaling;
mod secrets;
mod surface;
mod tiers;
mod tls;

use std::time::Duration;

use e2e::bench::publish;
use e2e::harness::{Local, root};
use serde_json::Value;

/// For a fleet to come up in a debug build.
const LONG: Duration = Duration::from_secs(40);

/// An origin and a pool: `pool` is the pool's spec below `upstream`, indented by two.
fn manifest(pool: &str) -> String {
    let head = "apiVersion: headwater.dev/v1alpha1\nkind: StreamOrigin\nmetadata: {name: main}\nspec: {app: live}\n---\n\
        apiVersion: headwater.dev/v1alpha1\nkind: EdgePool\nmetadata: {name: web}\nspec:\n  \
        upstream: {kind: StreamOrigin, name: main}\n";
    format!("{head}{pool}\n")
}

/// A fleet of one origin and two edges, whole.
async fn two_edges() -> Local {
    let local = Local::start(&manifest("  replicas: 2"), &[]).await.unwrap();
    local.whole(LONG).await.unwrap();
    local
}

/// Publishes the sample clip to the first origin, in a loop, again and again where the origin goes.
async fn publish_sample(local: &Local, stream: &str) -> publish::Publication {
    let clip = root().join("operator/src/local/sample.flv");
    let url = format!("rtmp://{}/live/{stream}", local.origin_rtmp().await.unwrap());
    let options = publish::Options {
        reconnect: Some(Duration::from_millis(200)),
        ..publish::Options::new(url, clip)
    };
    publish::start(options).unwrap()
}

/// The edges of the first pool.
fn edges(fleet: &Value) -> Vec<Value> {
    fleet["pools"][0]["edges"].as_array().cloned().unwrap_or_default()
}

/// True if every ready edge of the first pool, and at least one, carries the stream.
fn on_every_edge(fleet: &Value, stream: &str) -> bool {
    let wanted = Value::from(format!("live/{stream}"));
    let edges = edges(fleet);
    let carries = |edge: &Value| {
        edge["streams"]
            .as_array()
            .is_some_and(|streams| streams.contains(&wanted))
    };
    !edges.is_empty() && edges.iter().filter(|edge| edge["ready"] == true).all(carries)
}
