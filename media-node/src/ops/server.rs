//! The ops port: health and metrics for anyone who reaches it, the control API for those who hold the token.

use axum::extract::{Request, State};
use axum::http::{HeaderValue, Method, StatusCode, Uri, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};
use axum::{Router, body::Body};
use headwater_contract::{DRAIN_PATH, EVENTS_PATH, HELLO_PATH, MOVE_PATH, PUBLISHING_PATH, PULLS_PATH};
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;

use super::control::{self, Refusal};
use super::{Ops, events, health, metrics};
use crate::http_server::HttpServer;
use crate::meters;

/// Serves the ops port until the server's `stop`.
pub async fn run(listener: TcpListener, server: HttpServer, ops: Ops) {
    let router = router(ops);
    let service = |_| TowerToHyperService::new(router.clone());
    server.run(listener, service).await;
}

fn router(ops: Ops) -> Router {
    let control = Router::new()
        .route(HELLO_PATH, get(control::hello))
        .route(EVENTS_PATH, get(events::get))
        .route(PULLS_PATH, put(control::put_pulls).get(control::get_pulls))
        .route(PUBLISHING_PATH, put(control::put_publishing))
        .route(
            DRAIN_PATH,
            put(control::put_drain)
                .get(control::get_drain)
                .delete(control::delete_drain),
        )
        .route(MOVE_PATH, post(control::post_move));
    Router::new()
        .merge(control)
        .route("/livez", get(|| async { "ok\n" }))
        .route("/readyz", get(readyz))
        .route("/metrics", get(scrape))
        .fallback(not_found)
        .method_not_allowed_fallback(not_allowed)
        .layer(from_fn_with_state(ops.clone(), guard))
        .with_state(ops)
}

/// Lets only those who hold the token into anything under `/v1/`, known or not.
async fn guard(State(ops): State<Ops>, request: Request<Body>, next: Next) -> Response {
    let guarded = request.uri().path().starts_with("/v1");
    let authorization = request.headers().get(header::AUTHORIZATION);
    let given = authorization.and_then(|value| value.to_str().ok()).unwrap_or_default();
    if !guarded || ops.token.admits(given) {
        return next.run(request).await;
    }
    ops.meters.refused(meters::Refusal::Token);
    let text = match authorization {
        None => "the control API takes a bearer token, and there is none",
        Some(_) => "the bearer token is not this node's",
    };
    let mut response = Refusal::new(StatusCode::UNAUTHORIZED, text).into_response();
    let scheme = HeaderValue::from_static("Bearer");
    response.headers_mut().insert(header::WWW_AUTHENTICATE, scheme);
    response
}

async fn readyz(State(ops): State<Ops>) -> (StatusCode, String) {
    match health::unready(&ops.lifecycle.phase()) {
        None => (StatusCode::OK, "ready\n".to_owned()),
        Some(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")),
    }
}

async fn scrape(State(ops): State<Ops>) -> Response {
    match metrics::text(&ops) {
        Ok(text) => ([(header::CONTENT_TYPE, prometheus::TEXT_FORMAT)], text).into_response(),
        Err(error) => {
            tracing::error!(%error, "failed to make the metrics");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

async fn not_found(State(ops): State<Ops>, uri: Uri) -> Refusal {
    ops.meters.refused(meters::Refusal::NotFound);
    Refusal::new(StatusCode::NOT_FOUND, format!("no {} on the ops port", uri.path()))
}

async fn not_allowed(State(ops): State<Ops>, method: Method, uri: Uri) -> Refusal {
    ops.meters.refused(meters::Refusal::Method);
    let text = format!("{} does not take {method}; see the Allow header", uri.path());
    Refusal::new(StatusCode::METHOD_NOT_ALLOWED, text)
}

#[cfg(test)]
mod tests;
