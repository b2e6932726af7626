//! Tests of the ops port, over HTTP.

use std::time::Instant;

use axum::body::Body;
use axum::http::Request;
use http_body_util::BodyExt;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;

use super::*;
use crate::fleet::document::{PoolEntry, Target};
use crate::history::NodeReason;

struct Served {
    base: String,
    snapshots: watch::Sender<Arc<Snapshot>>,
    problem: watch::Sender<Option<String>>,
    standing_by: watch::Sender<bool>,
    history: History,
    stop: CancellationToken,
    task: tokio::task::JoinHandle<()>,
}

async fn served() -> Served {
    let (snapshots, seen) = watch::channel(Arc::default());
    let (problem, problem_seen) = watch::channel(None);
    let (standing_by, stands_by) = watch::channel(false);
    let history = History::default();
    let ops = Ops {
        snapshots: seen,
        manifest_error: problem_seen,
        standing_by: stands_by,
        history: history.clone(),
        metrics: Metrics::new().unwrap(),
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    let stop = CancellationToken::new();
    let task = tokio::spawn(ops.serve(listener, stop.clone()));
    Served {
        base,
        snapshots,
        problem,
        standing_by,
        history,
        stop,
        task,
    }
}

impl Served {
    async fn get(&self, path: &str) -> (u16, String) {
        let (status, _, body) = self.get_with_headers(path).await;
        (status, body)
    }

    async fn get_with_headers(&self, path: &str) -> (u16, HeaderMap, String) {
        let client = Client::builder(TokioExecutor::new()).build_http();
        let request = Request::get(format!("{}{path}", self.base))
            .body(Body::empty())
            .unwrap();
        let response = client.request(request).await.unwrap();
        let status = response.status().as_u16();
        let headers = response.headers().clone();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, headers, String::from_utf8(body.to_vec()).unwrap())
    }
}

#[tokio::test]
async fn every_path_answers_and_readiness_waits_for_the_first_report() {
    let served = served().await;
    assert_eq!(served.get("/livez").await.0, 200);
    assert_eq!(served.get("/readyz").await.0, 503);
    served.snapshots.send_replace(Arc::new(Snapshot {
        at: Some(Instant::now()),
        fleet: Fleet {
            pools: vec![PoolEntry {
                name: "web".into(),
                ..Default::default()
            }],
            ..Default::default()
        },
        targets: Arc::new(vec![Target {
            targets: vec!["127.0.0.1:1".into()],
            labels: Default::default(),
        }]),
        ..Default::default()
    }));
    assert_eq!(served.get("/readyz").await.0, 200);
    served.problem.send_replace(Some("spec.replica is unknown".into()));
    let fleet: serde_json::Value = serde_json::from_str(&served.get("/api/v1/fleet").await.1).unwrap();
    assert_eq!(fleet["pools"][0]["name"], "web");
    assert_eq!(fleet["manifestError"], "spec.replica is unknown");
    let targets: serde_json::Value = serde_json::from_str(&served.get("/api/v1/targets").await.1).unwrap();
    assert_eq!(targets[0]["targets"][0], "127.0.0.1:1");
    assert!(
        served
            .get("/metrics")
            .await
            .1
            .contains("# TYPE headwater_reconcile_seconds histogram")
    );
    assert_eq!(served.get("/fleet").await.0, 404);
    served.stop.cancel();
    served.task.await.unwrap();
}

#[tokio::test]
async fn the_console_is_served_under_a_policy_that_lets_nothing_else_in() {
    let served = served().await;
    let (status, headers, body) = served.get_with_headers("/").await;
    assert_eq!(
        (status, headers["content-type"].to_str().unwrap()),
        (200, "text/html; charset=utf-8")
    );
    let policy = headers["content-security-policy"].to_str().unwrap();
    assert!(
        policy.starts_with("default-src 'none'; script-src 'self'; style-src 'self';"),
        "{policy}"
    );
    assert!(!policy.contains("unsafe"), "{policy}");
    assert!(body.contains("/console/console.js"));
    let (status, headers, _) = served.get_with_headers("/console/console.js").await;
    assert_eq!(
        (status, headers["content-type"].to_str().unwrap()),
        (200, "text/javascript; charset=utf-8")
    );
    assert_eq!(headers["x-content-type-options"], "nosniff");
    for path in [
        "/console/",
        "/console/nothing.js",
        "/console/..%2fops.rs",
        "/index.html",
    ] {
        assert_eq!(served.get(path).await.0, 404, "{path}");
    }
    served.stop.cancel();
    served.task.await.unwrap();
}

#[tokio::test]
async fn events_come_newest_last_and_only_those_that_are_new_where_asked() {
    let served = served().await;
    let node = crate::fleet::ResourceId::pool("default", "web").node("web-1");
    let events = async |query: &str| {
        let body = served.get(&format!("/api/v1/events{query}")).await.1;
        serde_json::from_str::<serde_json::Value>(&body).unwrap()
    };
    assert_eq!(events("").await, serde_json::json!({"events": [], "kept": KEPT}));
    served.history.node(&node, NodeReason::NodeJoined, Timestamp::now());
    served.history.node(&node, NodeReason::NodeSilent, Timestamp::now());
    let all = events("").await;
    assert_eq!(all["events"][1]["reason"], "NodeSilent");
    let first = &all["events"][0]["id"];
    assert_eq!(
        events(&format!("?after={first}")).await["events"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
    assert_eq!(served.get("/api/v1/events?after=yesterday").await.0, 400);
    served.stop.cancel();
    served.task.await.unwrap();
}

#[tokio::test]
async fn an_operator_that_stands_by_says_so_until_it_reports() {
    let served = served().await;
    let standing_by = async || {
        let body = served.get("/api/v1/fleet").await.1;
        serde_json::from_str::<serde_json::Value>(&body).unwrap()["standingBy"].clone()
    };
    served.standing_by.send_replace(true);
    assert_eq!(standing_by().await, true);
    assert_eq!(
        served.get("/api/v1/targets").await.0,
        503,
        "no list is not an empty one"
    );
    served.standing_by.send_replace(false);
    assert_eq!(served.get("/api/v1/targets").await.0, 200);
    assert_eq!(standing_by().await, false);
    served.stop.cancel();
    served.task.await.unwrap();
}
