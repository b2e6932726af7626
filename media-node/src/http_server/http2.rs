//! A connection that speaks HTTP/2 (RFC 9113): the same service for every stream, with bounds of its own.
//!
//! Bounds: 100 streams at once, each beyond the first taking a [`Place`](super::Place); a head of 16 KiB; request bodies of
//! 64 KiB unread; 128 KiB of each answer on its way; the library's counts of streams that are reset before they are answered
//! (20) and of those that we reset (1,024). A peer is closed that answers no ping, that asks nothing for a minute, or whose
//! stream takes nothing for as long as a peer of HTTP/1 may.

mod ledger;

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body::Body;
use hyper::body::Incoming;
use hyper::rt::Executor;
use hyper::server::conn::http2;
use hyper::service::Service;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Semaphore;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::task::TaskTracker;

use super::opening::{Asking, Fault};
use super::{BoxError, HEAD_BYTES, HttpServer};
use crate::meters::{Meters, Refusal};
use ledger::{Ledger, Owing, Verdict};

/// Streams at once on a connection: as many as RFC 9113 §6.5.2 asks for at least.
const STREAMS: u32 = 100;
/// What a peer may send of request bodies before they are read, on a stream and on the connection: the protocol's default.
/// Nothing here reads more.
const RECEIVE: u32 = 65_535;
/// Bytes of an answer that are taken from its body before they are sent: as little as the kernel holds unsent, so that
/// what a slow viewer has not been sent stays in the feed.
const SEND: usize = 128 << 10;
/// A peer is pinged this often, and has as long to answer.
const PING: Duration = Duration::from_secs(20);
/// A connection that asks nothing for this long is closed.
const IDLE: Duration = Duration::from_secs(60);
/// How often a connection is looked at.
const LOOK: Duration = Duration::from_secs(1);

/// Serves until the peer leaves, `stop`, or a drain sends it away.
pub(super) async fn serve<IO, S, B>(io: IO, service: S, server: &HttpServer, places: Arc<Semaphore>) -> Option<Fault>
where
    IO: AsyncRead + AsyncWrite + Asking + Send + Unpin + 'static,
    S: Service<Request<Incoming>, Response = Response<B>> + Send + 'static,
    S::Future: Send + 'static,
    S::Error: Into<BoxError> + Send,
    B: Body + Send + Unpin + 'static,
    B::Data: Send,
    B::Error: Into<BoxError>,
{
    let asking = io.asking();
    let bounds = server.bounds;
    let ledger = Ledger::new(Instant::now());
    let service = Streams {
        service,
        ledger: ledger.clone(),
        places,
        meters: server.meters.clone(),
    };
    let connection = builder(server.tasks.clone()).serve_connection(TokioIo::new(io), service);
    let mut connection = pin!(connection);
    let sent_away = async {
        ledger.asked().await;
        server.sent_away().await;
    };
    let mut sent_away = pin!(sent_away);
    let mut looks = tokio::time::interval(LOOK.min(bounds.head / 4).min(bounds.write / 4));
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut leaving = false;
    let outcome = loop {
        let leave = tokio::select! {
            outcome = connection.as_mut() => break outcome,
            () = server.stop.cancelled(), if !leaving => true,
            () = &mut sent_away, if !leaving => true,
            _ = looks.tick() => match ledger.look(Instant::now(), bounds.head, bounds.write, leaving) {
                Verdict::Serve => false,
                Verdict::Leave => true,
                Verdict::Unasked => return Some(Fault::waited(&asking)),
                Verdict::Close => return Some(Fault::Gone),
                Verdict::Stalled => return Some(Fault::Slow),
            },
        };
        if leave && !std::mem::replace(&mut leaving, true) {
            connection.as_mut().graceful_shutdown();
        }
    };
    let error = outcome.err()?;
    tracing::debug!(%error, "connection ended");
    Some(fault(&error))
}

fn builder(tasks: TaskTracker) -> http2::Builder<Tracked> {
    let mut builder = http2::Builder::new(Tracked(tasks));
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS)
        .max_header_list_size(HEAD_BYTES as u32)
        .initial_stream_window_size(RECEIVE)
        .initial_connection_window_size(RECEIVE)
        .max_send_buf_size(SEND)
        .keep_alive_interval(PING)
        .keep_alive_timeout(PING);
    builder
}

/// A peer that breaks the protocol is told apart from one that vanishes.
fn fault(error: &hyper::Error) -> Fault {
    let source = std::error::Error::source(error).and_then(|source| source.downcast_ref::<h2::Error>());
    match source {
        Some(error) if error.is_library() => Fault::Malformed,
        _ => Fault::Gone,
    }
}

/// Runs streams where connections run.
#[derive(Clone)]
struct Tracked(TaskTracker);

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for Tracked {
    fn execute(&self, stream: F) {
        self.0.spawn(stream);
    }
}

/// The service of one connection: each stream has an account in its ledger for as long as anything of it is unsent.
struct Streams<S> {
    service: S,
    ledger: Ledger,
    places: Arc<Semaphore>,
    meters: Meters,
}

impl<S, B> Service<Request<Incoming>> for Streams<S>
where
    S: Service<Request<Incoming>, Response = Response<B>>,
    S::Future: Send + 'static,
    S::Error: Send,
    B: Body + Unpin,
{
    type Response = Response<Owing<B>>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, S::Error>> + Send>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let Some(account) = self.ledger.open(&self.places, Instant::now()) else {
            self.meters.refused(Refusal::Limit);
            return Box::pin(async { Ok(full()) });
        };
        let answering = self.service.call(request);
        Box::pin(async move { Ok(answering.await?.map(|body| Owing::new(body, account))) })
    }
}

/// What one connection too many is told, without words.
fn full<B: Body>() -> Response<Owing<B>> {
    let mut response = Response::new(Owing::nothing());
    *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    let headers = response.headers_mut();
    headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    response
}
