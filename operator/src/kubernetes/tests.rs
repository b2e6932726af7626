//! The whole operator against an API server in memory: watches, wishes, control loop and controllers as [`Reign`] starts them.
//!
//! Without media nodes time is paused: what takes minutes takes none, and every order of events is the same in each run.

mod defaults;
mod edges;
mod faults;
mod killed;
mod objects;
mod status;
mod token;

use serde_json::{Value, json};
use tokio::sync::oneshot;

use super::*;
use crate::api::{EdgePool, StreamOrigin};
use crate::kubernetes::decide::Surroundings;
use fake_api::{Caller, FakeApi, Write};

/// Longest wait for anything, in the time of the test.
const PATIENCE: Duration = Duration::from_secs(60);
/// Nothing was written for so long: whatever was under way has come to its end.
const QUIET: Duration = Duration::from_secs(4);

/// An operator that runs.
struct Running {
    caller: Caller,
    metrics: Metrics,
    snapshots: watch::Receiver<Arc<Snapshot>>,
    end: Option<oneshot::Sender<()>>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.caller.die();
        self.task.abort();
    }
}

impl Running {
    /// An operator that leads from now on. Dropping it kills it: what it still sends does not arrive.
    fn start(api: &FakeApi) -> Self {
        Self::start_with(api, None)
    }

    /// The same, with a file of default resources.
    fn start_with(api: &FakeApi, default_resources: Option<std::path::PathBuf>) -> Self {
        let caller = Caller::default();
        let metrics = Metrics::new().unwrap();
        let settings = Operator {
            namespace: None,
            ops_listen: ([127, 0, 0, 1], 0).into(),
            surroundings: Surroundings {
                image: "media-node:test".into(),
                pull_policy: None,
                pull_secrets: Vec::new(),
                operator_namespace: "headwater-system".into(),
                metrics_from: Vec::new(),
            },
            lease_namespace: "headwater-system".into(),
            lease: "headwater".into(),
            default_resources,
            identity: "operator-1".into(),
        };
        let (snapshots, seen) = watch::channel(Arc::default());
        let reign = Reign {
            settings,
            client: api.client(&caller),
            metrics: metrics.clone(),
            fence: None,
            snapshots,
            stands_by: watch::channel(true).0,
            history: Default::default(),
        };
        let (end, ended) = oneshot::channel::<()>();
        let task = tokio::spawn(async move {
            let end = async { drop(ended.await) };
            reign.last(1, end).await.unwrap();
        });
        Self {
            caller,
            metrics,
            snapshots: seen,
            end: Some(end),
            task,
        }
    }

    /// Ends it in order.
    async fn stop(mut self) {
        drop(self.end.take());
        let ended = tokio::time::timeout(PATIENCE, &mut self.task).await;
        ended.expect("it ends in time").unwrap();
    }

    /// What failed so far for this reason.
    fn errors(&self, reason: &str) -> f64 {
        self.metrics.reconcile_errors.with_label_values(&[reason]).get()
    }
}

/// Waits for a condition, in the time of the test.
async fn until<T>(api: &FakeApi, what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        if let Some(value) = condition() {
            return value;
        }
        if tokio::time::Instant::now() >= deadline {
            let objects: Vec<String> = api.normal().iter().map(Value::to_string).collect();
            panic!(
                "not in time: {what}; last writes {:#?}\n{}",
                api.take_writes(),
                objects.join("\n")
            );
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Waits until nothing has been written for a while.
async fn quiet(api: &FakeApi) {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        let writes = api.writes();
        tokio::time::sleep(QUIET).await;
        if api.writes() == writes {
            return;
        }
        assert!(
            tokio::time::Instant::now() < deadline,
            "it never comes to rest: {:#?}",
            api.take_writes()
        );
    }
}

/// Panics with what differs if the objects are not these.
fn assert_same(api: &FakeApi, right: &[Value], when: &str) {
    let got = api.normal();
    let name = |object: &Value| format!("{} {}", object["kind"], object["metadata"]["name"]);
    let names = |objects: &[Value]| objects.iter().map(name).collect::<Vec<_>>();
    assert_eq!(names(&got), names(right), "{when}");
    for (got, right) in got.iter().zip(right) {
        assert!(got == right, "{when}, {}\n got   {got}\n right {right}", name(got));
    }
}

/// Waits until the objects are these, and stay so.
async fn until_same(api: &FakeApi, right: &[Value], when: &str) {
    until(api, when, || (api.normal() == right).then_some(())).await;
    quiet(api).await;
    assert_same(api, right, when);
}

fn origin(spec: Value) -> Value {
    json!({"apiVersion": "headwater.dev/v1alpha1", "kind": "StreamOrigin", "metadata": {"name": "main"}, "spec": spec})
}

fn pool(name: &str, upstream: (&str, &str), spec: Value) -> Value {
    let mut object =
        json!({"apiVersion": "headwater.dev/v1alpha1", "kind": "EdgePool", "metadata": {"name": name}, "spec": spec});
    object["spec"]["upstream"] = json!({"kind": upstream.0, "name": upstream.1});
    object
}

/// The pool `web` below the origin `main`.
fn web(spec: Value) -> Value {
    pool("web", ("StreamOrigin", "main"), spec)
}

/// An API server with both kinds in it.
fn both() -> FakeApi {
    let api = FakeApi::new();
    api.put(origin(json!({})));
    api.put(web(json!({"replicas": 3})));
    api
}

/// A condition of a resource: its status, reason and message.
fn condition(api: &FakeApi, kind: &str, name: &str, condition: &str) -> Option<(String, String, String)> {
    let object = api.get(kind, name)?;
    let conditions = object.pointer("/status/conditions")?.as_array()?;
    let found = conditions.iter().find(|found| found["type"] == condition)?;
    let text = |field: &str| found[field].as_str().unwrap_or_default().to_owned();
    Some((text("status"), text("reason"), text("message")))
}

/// Waits until a condition has this reason; its message.
async fn reason(api: &FakeApi, (kind, name): (&str, &str), wanted: &str, reason: &str) -> String {
    let what = format!("{wanted} of {kind} {name} is {reason}");
    until(api, &what, || {
        let (_, found, message) = condition(api, kind, name, wanted)?;
        (found == reason).then_some(message)
    })
    .await
}

const MAIN: (&str, &str) = ("StreamOrigin", "main");
const WEB: (&str, &str) = ("EdgePool", "web");

/// The Deployment's number.
fn replicas(api: &FakeApi, name: &str) -> Option<u64> {
    api.get("Deployment", name)?.pointer("/spec/replicas")?.as_u64()
}

#[test]
fn the_fixtures_are_what_the_rules_allow() {
    let origin: StreamOrigin = serde_json::from_value(origin(json!({}))).unwrap();
    let pool: EdgePool = serde_json::from_value(web(json!({"replicas": 3}))).unwrap();
    for metadata in [&origin.metadata, &pool.metadata] {
        assert_eq!(metadata.namespace, None, "the API server puts the namespace in");
    }
}
