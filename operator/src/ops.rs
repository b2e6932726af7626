//! The operator's ops port: the console, `/livez`, `/readyz`, `/metrics`, `/api/v1/fleet`, `/api/v1/events`, `/api/v1/targets`.
//! Read-only; it serves what the control loop last reported and computes nothing.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::console;
use crate::control::Snapshot;
use crate::fleet::document::Fleet;
use crate::history::{Entry, History, KEPT};
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
    /// What happened.
    pub history: History,
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
    /// Another operator leads: this one knows of no fleet.
    standing_by: bool,
    /// Nodes that ran before this operator are still waited for.
    learning: bool,
    /// This machine's clock, for times that are still to come.
    now: Timestamp,
    /// The operator's version.
    version: &'static str,
}

/// The query of `/api/v1/events`.
#[derive(Deserialize)]
struct After {
    /// Only those with a higher id.
    #[serde(default)]
    after: i64,
}

/// The document of `/api/v1/events`.
#[derive(Serialize)]
struct EventsAnswer {
    /// The newest last.
    events: Vec<Entry>,
    /// So many are kept at most.
    kept: usize,
}

impl Ops {
    /// Serves until `stop`.
    pub async fn serve(self, listener: TcpListener, stop: CancellationToken) {
        let router = Router::new()
            .route("/", get(page))
            .route("/console/{file}", get(page_file))
            .route("/livez", get(livez))
            .route("/readyz", get(readyz))
            .route("/metrics", get(metrics))
            .route("/api/v1/fleet", get(fleet))
            .route("/api/v1/events", get(events))
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

/// The fleet's document says itself that an operator stands by; Prometheus would take an empty list for a fleet that is gone.
fn stands_by(ops: &Ops) -> Option<Response> {
    let stands_by = ops.snapshots.borrow().at.is_none() && *ops.standing_by.borrow();
    let words = "standing by: another operator leads; ask that one\n";
    stands_by.then(|| (StatusCode::SERVICE_UNAVAILABLE, words).into_response())
}

async fn fleet(State(ops): State<Ops>) -> Response {
    let snapshot = ops.snapshots.borrow().clone();
    let manifest_error = ops.manifest_error.borrow().clone();
    let answer = FleetAnswer {
        fleet: &snapshot.fleet,
        manifest_error,
        standing_by: snapshot.at.is_none() && *ops.standing_by.borrow(),
        learning: snapshot.learning,
        now: Timestamp::now(),
        version: env!("CARGO_PKG_VERSION"),
    };
    Json(answer).into_response()
}

async fn events(State(ops): State<Ops>, Query(query): Query<After>) -> Response {
    let events = ops.history.after(query.after);
    Json(EventsAnswer { events, kept: KEPT }).into_response()
}

async fn page(headers: HeaderMap) -> Response {
    console::document(&headers)
}

async fn page_file(Path(name): Path<String>, headers: HeaderMap) -> Response {
    match console::file(&name, &headers) {
        Some(response) => response,
        None => not_found().await,
    }
}

async fn targets(State(ops): State<Ops>) -> Response {
    if let Some(answer) = stands_by(&ops) {
        return answer;
    }
    let snapshot = ops.snapshots.borrow().clone();
    Json(&*snapshot.targets).into_response()
}

async fn not_found() -> Response {
    let known = "not found; there are / (the console), /livez, /readyz, /metrics, /api/v1/fleet, /api/v1/events and \
                 /api/v1/targets\n";
    (StatusCode::NOT_FOUND, known).into_response()
}

#[cfg(test)]
mod tests;
