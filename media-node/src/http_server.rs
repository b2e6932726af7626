//! The accept loop that every HTTP server of the node shares: bounded connections, bounded heads, bounded patience with
//! peers that do not write or do not read.
//!
//! ```text
//! accept ─▶ opening: first bytes ─┬▶ HTTP/1.1 ───────────────────────┬▶ http1 ─┬▶ service
//!                                 ├▶ HTTP/2 by its preface (h2c) ──┐ │         │
//!                                 └▶ TLS ─▶ handshake, ALPN ───────┴─┴▶ http2 ─┘
//! ```

mod http1;
mod http2;
mod opening;
mod patient;

use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response};
use http_body::Body;
use hyper::body::Incoming;
use hyper::service::Service;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::lifecycle::Lifecycle;
use crate::listen;
use crate::meters::{Meters, Refusal};
use crate::tls::Certificates;

pub use opening::{Plain, Secure};
pub use patient::Patient;

use opening::{Fault, Opened};

/// Bounds of an HTTP server.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Connections at once, and streams of HTTP/2 beyond the first of a connection; one more is answered 503.
    pub connections: usize,
    /// A connection's first bytes with its TLS handshake, and each request's head, must be in within this long.
    pub head: Duration,
    /// A peer that takes nothing for this long is dropped.
    pub write: Duration,
}

/// Longest request head.
const HEAD_BYTES: usize = 16 << 10;

/// A connection's place among those allowed; held for as long as the connection, or what it was upgraded to, lives.
pub type Place = Arc<OwnedSemaphorePermit>;

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// An HTTP server: what it runs with.
#[derive(Clone, Debug)]
pub struct HttpServer {
    /// Bounds.
    pub bounds: Bounds,
    /// Where refusals are counted.
    pub meters: Meters,
    /// TLS beside plain HTTP, on the same port; none where it is not spoken.
    pub tls: Option<Certificates>,
    /// Whose drains send connections away: once newcomers are refused, each is closed after the answer that is under way. None: a
    /// drain changes nothing here.
    pub lifecycle: Option<Lifecycle>,
    /// Ends the accept loop and idle connections; those that answer go on until they have.
    pub stop: CancellationToken,
    /// Where connections run.
    pub tasks: TaskTracker,
}

impl HttpServer {
    /// Serves until `stop`. `service` is made for each connection.
    pub async fn run<S, B>(self, listener: TcpListener, service: impl Fn(Place) -> S)
    where
        S: Service<Request<Incoming>, Response = Response<B>> + Send + 'static,
        S::Future: Send + 'static,
        S::Error: Into<BoxError> + Send,
        B: Body + Send + Unpin + 'static,
        B::Data: Send,
        B::Error: Into<BoxError>,
    {
        let places = Arc::new(Semaphore::new(self.bounds.connections));
        let turned_away = Arc::new(Semaphore::new(TURNED_AWAY));
        loop {
            let accepted = tokio::select! {
                () = self.stop.cancelled() => return,
                accepted = listener.accept() => accepted,
            };
            let stream = match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::warn!(%error, "failed to accept a connection");
                    tokio::time::sleep(Duration::from_millis(50)).await; // out of descriptors: some must close first
                    continue;
                }
            };
            match Arc::clone(&places).try_acquire_owned() {
                Ok(place) => {
                    let place = Arc::new(place);
                    let service = service(Arc::clone(&place));
                    let places = Arc::clone(&places);
                    self.tasks
                        .spawn(connection(stream, service, self.clone(), place, places));
                }
                Err(_) => {
                    self.meters.refused(Refusal::Limit);
                    if let Ok(permit) = Arc::clone(&turned_away).try_acquire_owned() {
                        self.tasks.spawn(turn_away(stream, permit));
                    }
                }
            }
        }
    }

    /// Completes once a drain refuses newcomers.
    async fn sent_away(&self) {
        match &self.lifecycle {
            Some(lifecycle) => lifecycle.refuses().await,
            None => std::future::pending().await,
        }
    }
}

/// Connections beyond the bound that are told so at once; further ones are just closed.
const TURNED_AWAY: usize = 64;

const FULL: &[u8] =
    b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: text/plain; charset=utf-8\r\ncontent-length: 19\r\n\
    access-control-allow-origin: *\r\nretry-after: 1\r\nconnection: close\r\n\r\nthe server is full\n";

/// Answers 503 and reads what the peer sent, so that closing does not reset the answer away.
async fn turn_away(mut stream: TcpStream, _permit: OwnedSemaphorePermit) {
    let talk = async {
        stream.write_all(FULL).await?;
        stream.shutdown().await?;
        tokio::io::copy(&mut stream, &mut tokio::io::sink()).await
    };
    let _ = tokio::time::timeout(Duration::from_millis(500), talk).await; // it is turned away either way
}

async fn connection<S, B>(stream: TcpStream, service: S, server: HttpServer, place: Place, places: Arc<Semaphore>)
where
    S: Service<Request<Incoming>, Response = Response<B>> + Send + 'static,
    S::Future: Send + 'static,
    S::Error: Into<BoxError> + Send,
    B: Body + Send + Unpin + 'static,
    B::Data: Send,
    B::Error: Into<BoxError>,
{
    let _ = listen::prepare(&stream); // a socket without its options still serves
    let opened = tokio::select! {
        opened = opening::open(stream, server.tls.as_ref(), server.bounds) => opened,
        () = server.stop.cancelled() => return,
    };
    // The rarer kinds are boxed: thousands of connections are as large as the largest of them.
    let fault = match opened {
        Ok(Opened::Http1(io)) => http1::serve(io, service, &server).await,
        Ok(Opened::SecureHttp1(io)) => Box::pin(http1::serve(*io, service, &server)).await,
        Ok(Opened::Http2(io)) => Box::pin(http2::serve(io, service, &server, places)).await,
        Ok(Opened::SecureHttp2(io)) => Box::pin(http2::serve(*io, service, &server, places)).await,
        Err(fault) => Some(fault),
    };
    drop(place);
    if let Some(refusal) = fault.and_then(Fault::refusal) {
        server.meters.refused(refusal);
    }
}
