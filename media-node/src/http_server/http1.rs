//! A connection that speaks HTTP/1.

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body::Body;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::Service;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Notify;

use super::opening::{Asking, Fault};
use super::{BoxError, HEAD_BYTES, HttpServer};
use crate::lifecycle::Lifecycle;

/// Serves until the peer leaves, `stop`, or a drain sends it away.
pub(super) async fn serve<IO, S, B>(io: IO, service: S, server: &HttpServer) -> Option<Fault>
where
    IO: AsyncRead + AsyncWrite + Asking + Send + Unpin + 'static,
    S: Service<Request<Incoming>, Response = Response<B>> + Send + 'static,
    S::Future: Send + 'static,
    S::Error: Into<BoxError> + Send,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<BoxError>,
{
    let asking = io.asking();
    let turn = Arc::new(Turn::default());
    let service = Turns {
        service,
        turn: Arc::clone(&turn),
        lifecycle: server.lifecycle.clone(),
    };
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(server.bounds.head)
        .max_buf_size(HEAD_BYTES)
        .serve_connection(TokioIo::new(io), service)
        .with_upgrades();
    let mut connection = pin!(connection);
    let sent_away = async {
        server.sent_away().await;
        turn.answered().await;
    };
    let outcome = tokio::select! {
        outcome = connection.as_mut() => outcome,
        () = server.stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
        () = sent_away => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    let error = outcome.err()?;
    tracing::debug!(%error, "connection ended");
    Some(match &error {
        error if error.is_timeout() => Fault::waited(&asking),
        error if error.is_parse() => Fault::Malformed,
        _ => Fault::Gone,
    })
}

/// Whose turn it is: a connection is not sent away between a request and its answer, nor before it has asked at all.
#[derive(Debug, Default)]
struct Turn {
    /// The last request has its answer, or the first part of it.
    answered: AtomicBool,
    changed: Notify,
}

impl Turn {
    async fn answered(&self) {
        while !self.answered.load(Ordering::Acquire) {
            self.changed.notified().await;
        }
    }
}

/// The service of one connection. Answers of a draining node say that the connection closes.
struct Turns<S> {
    service: S,
    turn: Arc<Turn>,
    lifecycle: Option<Lifecycle>,
}

impl<S, B> Service<Request<Incoming>> for Turns<S>
where
    S: Service<Request<Incoming>, Response = Response<B>>,
    S::Future: Send + 'static,
    S::Error: Send,
{
    type Response = Response<B>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response<B>, S::Error>> + Send>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        self.turn.answered.store(false, Ordering::Release);
        let answering = self.service.call(request);
        let (turn, lifecycle) = (Arc::clone(&self.turn), self.lifecycle.clone());
        Box::pin(async move {
            let mut answer = answering.await;
            let leaving = lifecycle.is_some_and(|lifecycle| !lifecycle.admits());
            if let Ok(response) = &mut answer
                && leaving
                && response.status() != StatusCode::SWITCHING_PROTOCOLS
            {
                let close = HeaderValue::from_static("close");
                response.headers_mut().insert(header::CONNECTION, close);
            }
            turn.answered.store(true, Ordering::Release);
            turn.changed.notify_one();
            answer
        })
    }
}
