//! The operator's ops port: `/livez`, `/readyz`, `/metrics`, `/api/v1/fleet`, `/api/v1/targets`. Read-only; it serves what the
//! control loop last reported and computes nothing.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde::Serialize;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::control::Snapshot;
use crate::fleet::document::Fleet;
use crate::metrics::Metrics;

/// A control loop that has reported nothing for this long hangs.
const HANGS: Duration = Duration::from_secs(30);

/// What the ops port serves.
#[derive(Clone)]
pub struct Ops {
    /// What the control loop last reported.
    pub snapshots: watch::Receiver<Arc<Snapshot>>,
    /// Why the manifests on disk are not in force, if they are not.
    pub manifest_error: watch::Receiver<Option<String>>,
    /// True while another operator leads: there is nothing to report, and all is well.
    pub standing_by: watch::Receiver<bool>,
    /// The metrics.
    pub metrics: Metrics,
}

/// The document of `/api/v1/fleet`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct FleetAnswer<'a> {
    #[serde(flatten)]
    fleet: &'a Fleet,
    /// Null while the manifests on disk are those in force.
    manifest_error: Option<String>,
}

impl Ops {
    /// Serves until `stop`.
    pub async fn serve(self, listener: TcpListener, stop: CancellationToken) {
        let router = Router::new()
            .route("/livez", get(livez))
            .route("/readyz", get(readyz))
            .route("/metrics", get(metrics))
            .route("/api/v1/fleet", get(fleet))
            .route("/api/v1/targets", get(targets))
            .fallback(not_found)
            .with_state(self);
        let served = axum::serve(listener, router).with_graceful_shutdown(stop.clone().cancelled_owned());
        // Idle keep-alive connections must not hold the end up.
        tokio::select! {
            result = served => if let Err(error) = result {
                warn!(%error, "the ops port has failed");
            },
            () = async { stop.cancelled().await; tokio::time::sleep(Duration::from_millis(500)).await } => {}
        }
    }
}

async fn livez(State(ops): State<Ops>) -> Response {
    let reported = ops.snapshots.borrow().at;
    match reported {
        Some(at) if at.elapsed() > HANGS => {
            (StatusCode::SERVICE_UNAVAILABLE, "the control loop hangs\n").into_response()
        }
        _ => "ok\n".into_response(),
    }
}

async fn readyz(State(ops): State<Ops>) -> Response {
    match ops.snapshots.borrow().at {
        Some(_) => "ok\n".into_response(),
        None if *ops.standing_by.borrow() => "standing by: another operator leads, or none does yet\n".into_response(),
        None => (
            StatusCode::SERVICE_UNAVAILABLE,
            "the control loop has not started yet\n",
        )
            .into_response(),
    }
}

async fn metrics(State(ops): State<Ops>) -> Response {
    match ops.metrics.text() {
        Ok(text) => (
            [(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")],
            text,
        )
            .into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

/// Nobody must take the silence of one that stands by for a fleet that is gone.
fn stands_by(ops: &Ops) -> Option<Response> {
    let stands_by = ops.snapshots.borrow().at.is_none() && *ops.standing_by.borrow();
    let words = "standing by: another operator leads; ask that one\n";
    stands_by.then(|| (StatusCode::SERVICE_UNAVAILABLE, words).into_response())
}

async fn fleet(State(ops): State<Ops>) -> Response {
    if let Some(answer) = stands_by(&ops) {
        return answer;
    }
    let snapshot = ops.snapshots.borrow().clone();
    let manifest_error = ops.manifest_error.borrow().clone();
    let answer = FleetAnswer {
        fleet: &snapshot.fleet,
        manifest_error,
    };
    Json(answer).into_response()
}

async fn targets(State(ops): State<Ops>) -> Response {
    if let Some(answer) = stands_by(&ops) {
        return answer;
    }
    let snapshot = ops.snapshots.borrow().clone();
    Json(&*snapshot.targets).into_response()
}

async fn not_found() -> Response {
    let known = "not found; there are /livez, /readyz, /metrics, /api/v1/fleet and /api/v1/targets\n";
    (StatusCode::NOT_FOUND, known).into_response()
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use axum::body::Body;
    use axum::http::Request;
    use http_body_util::BodyExt;
    use hyper_util::client::legacy::Client;
    use hyper_util::rt::TokioExecutor;

    use super::*;
    use crate::fleet::document::{PoolEntry, Target};

    struct Served {
        base: String,
        snapshots: watch::Sender<Arc<Snapshot>>,
        problem: watch::Sender<Option<String>>,
        stop: CancellationToken,
        task: tokio::task::JoinHandle<()>,
    }

    async fn served() -> Served {
        let (snapshots, seen) = watch::channel(Arc::default());
        let (problem, problem_seen) = watch::channel(None);
        let ops = Ops {
            snapshots: seen,
            manifest_error: problem_seen,
            standing_by: watch::channel(false).1,
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
            stop,
            task,
        }
    }

    impl Served {
        async fn get(&self, path: &str) -> (u16, String) {
            let client = Client::builder(TokioExecutor::new()).build_http();
            let request = Request::get(format!("{}{path}", self.base))
                .body(Body::empty())
                .unwrap();
            let response = client.request(request).await.unwrap();
            let status = response.status().as_u16();
            let body = response.into_body().collect().await.unwrap().to_bytes();
            (status, String::from_utf8(body.to_vec()).unwrap())
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
}
