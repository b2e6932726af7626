//! What the tests of the operator begin with: an operator, an origin, a pool whose edges serve, and what can be asked of them.

use std::time::{Duration, Instant};

use e2e::bench::{load, publish};
use e2e::harness::cluster::{Operator, Space};
use e2e::harness::{root, wait_until};
use serde_json::Value;

/// For a pool of debug builds to come up on a busy machine.
pub(crate) const LONG: Duration = Duration::from_secs(40);
/// Labels of an origin's pods.
pub(crate) const ORIGIN: &str = "app.kubernetes.io/component=origin";
/// Labels of a pool's pods.
pub(crate) const EDGES: &str = "app.kubernetes.io/component=edge,app.kubernetes.io/instance=web";

/// Labels of operators that run as pods.
pub(crate) const OPERATORS: &str = "app.kubernetes.io/component=operator";

/// The origin `main`.
pub(crate) const MAIN: &str = "apiVersion: headwater.dev/v1alpha1\nkind: StreamOrigin\nmetadata: {name: main}\nspec: {service: {type: ClusterIP}}\n";

/// The pool `web` below `main`; `spec` is what stands beside its upstream, one flow-style field a line.
pub(crate) fn web(spec: &str) -> String {
    pool("web", "{kind: StreamOrigin, name: main}", spec)
}

/// A pool.
pub(crate) fn pool(name: &str, upstream: &str, spec: &str) -> String {
    let lines: String = spec.lines().map(|line| format!("  {}\n", line.trim())).collect();
    format!(
        "apiVersion: headwater.dev/v1alpha1\nkind: EdgePool\nmetadata: {{name: {name}}}\nspec:\n  upstream: {upstream}\n  \
        service: {{type: ClusterIP}}\n{lines}"
    )
}

/// An operator that looks after the origin and a pool of so many edges, all of which serve.
pub(crate) async fn serving(space: &Space, spec: &str, edges: usize) -> Operator {
    let operator = space.operator(&[]).await.unwrap();
    space.apply(MAIN).await.unwrap();
    space.apply(&web(spec)).await.unwrap();
    serve(space, &operator, edges).await;
    operator
}

/// Waits until the origin and so many edges are ready, for Kubernetes and for the operator.
pub(crate) async fn serve(space: &Space, operator: &Operator, edges: usize) {
    space.ready_pods(ORIGIN, 1, LONG).await.unwrap();
    space.ready_pods(EDGES, edges, LONG).await.unwrap();
    operator
        .wait_fleet(LONG, "the fleet is whole", |fleet| {
            let ready = self::edges(fleet, "web").iter().filter(|edge| edge["ready"] == true);
            (ready.count() == edges && fleet["origins"][0]["ready"] == true).then_some(())
        })
        .await
        .unwrap();
}

pub(crate) fn name(object: &Value) -> String {
    object["metadata"]["name"].as_str().unwrap().to_owned()
}

/// The address of a pod.
pub(crate) fn address(pod: &Value) -> String {
    pod["status"]["podIP"].as_str().unwrap().to_owned()
}

/// The one pod of the origin that is not being deleted.
pub(crate) async fn origin_pod(space: &Space) -> Value {
    let pods = space.list("Pod", ORIGIN).await.unwrap();
    let mut living = pods
        .into_iter()
        .filter(|pod| pod["metadata"]["deletionTimestamp"].is_null());
    living.next().unwrap()
}

/// `host:port` of a Service inside the cluster.
pub(crate) async fn service(space: &Space, name: &str, port: u16) -> String {
    let service = space.get("Service", name).await.unwrap();
    format!("{}:{port}", service["spec"]["clusterIP"].as_str().unwrap())
}

/// Publishes the sample clip through the origin's Service, in a loop, again and again where the origin goes.
pub(crate) async fn publish_sample(space: &Space, stream: &str) -> publish::Publication {
    let clip = root().join("operator/src/local/sample.flv");
    let url = format!("rtmp://{}/live/{stream}", service(space, "main-origin", 1935).await);
    let options = publish::Options {
        reconnect: Some(Duration::from_millis(200)),
        ..publish::Options::new(url, clip)
    };
    publish::start(options).unwrap()
}

/// The edges of a pool, as the fleet map has them.
pub(crate) fn edges<'a>(fleet: &'a Value, pool: &str) -> &'a [Value] {
    let pools = fleet["pools"].as_array().map(Vec::as_slice).unwrap_or_default();
    let pool = pools.iter().find(|entry| entry["name"] == pool);
    pool.and_then(|pool| pool["edges"].as_array())
        .map(Vec::as_slice)
        .unwrap_or_default()
}

/// True if every ready edge of a pool, and at least one, carries the stream.
pub(crate) fn on_every_edge(fleet: &Value, pool: &str, stream: &str) -> bool {
    let wanted = Value::from(format!("live/{stream}"));
    let carries = |edge: &&Value| {
        edge["streams"]
            .as_array()
            .is_some_and(|streams| streams.contains(&wanted))
    };
    let mut ready = edges(fleet, pool)
        .iter()
        .filter(|edge| edge["ready"] == true)
        .peekable();
    ready.peek().is_some() && ready.all(|edge| carries(&edge))
}

/// Waits until the stream is on every edge of the pool `web`.
pub(crate) async fn carried(operator: &Operator, stream: &str) {
    operator
        .wait_fleet(LONG, "the stream is on every edge", |fleet| {
            on_every_edge(fleet, "web", stream).then_some(())
        })
        .await
        .unwrap();
}

/// WebSocket viewers of `live/a` through the pool's Service, or at an address, that follow moves and read every stamp.
pub(crate) fn watch(authority: &str, viewers: u32) -> load::Load {
    let options = load::Options {
        follow_moves: true,
        probes: viewers,
        ..load::Options::new(
            load::url(load::Protocol::Ws, authority, "live/a"),
            viewers,
            Duration::from_secs(600),
        )
    };
    load::start(options).unwrap()
}

/// Waits until so many have come to see pictures.
pub(crate) async fn all_watch(load: &load::Load, viewers: u64) {
    wait_until(LONG, "all watch", || async {
        match load.playing() {
            playing if playing >= viewers => Ok(()),
            playing => Err(format!("{playing} of {viewers}")),
        }
    })
    .await
    .unwrap();
}

/// No viewer was cut, and none missed a picture or saw time jump.
pub(crate) fn seamless(report: &load::Report) {
    let gaps = &report.gaps;
    assert_eq!(
        (report.cut, gaps.gaps, gaps.backward, gaps.missing_pictures),
        (0, 0, 0, 0),
        "{report}"
    );
}

/// The reason and the message of a condition.
pub(crate) fn reason(object: &Value, kind: &str) -> (String, String) {
    let conditions = object["status"]["conditions"].as_array().cloned().unwrap_or_default();
    let found = conditions.into_iter().find(|condition| condition["type"] == kind);
    let found = found.unwrap_or_default();
    let text = |key: &str| found[key].as_str().unwrap_or_default().to_owned();
    (text("reason"), text("message"))
}

/// Milliseconds since then.
pub(crate) fn since(begun: Instant) -> u128 {
    begun.elapsed().as_millis()
}
