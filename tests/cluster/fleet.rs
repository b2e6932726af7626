//! An origin and a pool that the operator runs: from manifests to a stream on every edge, and to nothing left.

use std::time::Duration;

use e2e::bench::publish;
use e2e::harness::cluster::{Case, Operator, Space, condition};
use e2e::harness::root;
use serde_json::{Value, json};

use crate::LONG;

/// The tests.
pub fn cases() -> Vec<Case> {
    e2e::cases![
        Nodes:
            a_published_stream_is_on_every_edge
    ]
}

/// An origin and a pool of so many edges, and an operator that makes them whole.
async fn fleet(space: &Space, replicas: u32) -> Operator {
    let version = "headwater.dev/v1alpha1";
    let service = json!({"type": "ClusterIP"});
    let origin = json!({
        "apiVersion": version, "kind": "StreamOrigin", "metadata": {"name": "main"}, "spec": {"service": service},
    });
    let upstream = json!({"kind": "StreamOrigin", "name": "main"});
    let spec = json!({"upstream": upstream, "replicas": replicas, "drainTimeoutSeconds": 5, "service": service});
    let pool = json!({"apiVersion": version, "kind": "EdgePool", "metadata": {"name": "web"}, "spec": spec});
    space.apply_one(origin).await.unwrap();
    space.apply_one(pool).await.unwrap();
    let operator = space.operator(&[]).await.unwrap();
    let count = usize::try_from(replicas).unwrap();
    space
        .ready_pods("app.kubernetes.io/component=origin", 1, LONG)
        .await
        .unwrap();
    space
        .ready_pods("app.kubernetes.io/component=edge", count, LONG)
        .await
        .unwrap();
    for (kind, name) in [("StreamOrigin", "main"), ("EdgePool", "web")] {
        let ready = |object: &Value| (condition(object, "Ready") == Some("True")).then_some(());
        space.wait(kind, name, LONG, "is ready", ready).await.unwrap();
    }
    operator
}

/// Publishes the sample clip in a loop to the address of the origin's Service.
async fn publish_sample(space: &Space, stream: &str) -> publish::Publication {
    let service = space.get("Service", "main-origin").await.unwrap();
    let address = service["spec"]["clusterIP"].as_str().unwrap().to_owned();
    let clip = root().join("operator/src/local/sample.flv");
    let options = publish::Options {
        reconnect: Some(Duration::from_millis(200)),
        ..publish::Options::new(format!("rtmp://{address}:1935/live/{stream}"), clip)
    };
    publish::start(options).unwrap()
}

async fn a_published_stream_is_on_every_edge(space: Space) {
    let operator = fleet(&space, 2).await;
    let _publication = publish_sample(&space, "one").await;
    let everywhere = |fleet: &Value| {
        let edges = fleet["pools"][0]["edges"].as_array()?;
        let carries = |edge: &Value| {
            edge["streams"]
                .as_array()
                .is_some_and(|all| all.contains(&json!("live/one")))
        };
        (edges.len() == 2 && edges.iter().all(carries)).then_some(())
    };
    operator
        .wait_fleet(LONG, "every edge carries the stream", everywhere)
        .await
        .unwrap();
    operator.stop().await.unwrap();
}
