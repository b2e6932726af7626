//! The accept loop that every HTTP server of the node shares: bounded connections, bounded heads, bounded patience with
//! peers that do not write or do not read.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use http::{Request, Response};
use http_body::Body;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::Service;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, Sleep};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::listen;
use crate::meters::{Meters, Refusal};

/// Bounds of an HTTP server.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Connections at once; one more is answered 503.
    pub connections: usize,
    /// A request's head must be in within this long.
    pub head: Duration,
    /// A peer that takes nothing for this long is dropped.
    pub write: Duration,
}

/// Longest request head.
const HEAD_BYTES: usize = 16 << 10;

/// A connection's place among those allowed; held for as long as the connection, or what it was upgraded to, lives.
pub type Place = Arc<OwnedSemaphorePermit>;

/// An HTTP server: what it runs with.
#[derive(Clone, Debug)]
pub struct HttpServer {
    /// Bounds.
    pub bounds: Bounds,
    /// Where refusals are counted.
    pub meters: Meters,
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
        S::Future: Send,
        S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
        B: Body + Send + 'static,
        B::Data: Send,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
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
                    self.tasks.spawn(connection(
                        stream,
                        service,
                        place,
                        self.meters.clone(),
                        self.bounds,
                        self.stop.clone(),
                    ));
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

async fn connection<S, B>(
    stream: TcpStream,
    service: S,
    place: Place,
    meters: Meters,
    bounds: Bounds,
    stop: CancellationToken,
) where
    S: Service<Request<Incoming>, Response = Response<B>> + Send + 'static,
    S::Future: Send,
    S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let _ = listen::prepare(&stream); // a socket without its options still serves
    let io = Patient::new(stream, bounds.write);
    let asking = Arc::clone(&io.asking);
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(bounds.head)
        .max_buf_size(HEAD_BYTES)
        .serve_connection(TokioIo::new(io), service)
        .with_upgrades();
    tokio::pin!(connection);
    let outcome = tokio::select! {
        outcome = connection.as_mut() => outcome,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    drop(place);
    if let Err(error) = outcome {
        if error.is_timeout() && asking.load(Ordering::Relaxed) {
            meters.refused(Refusal::Timeout);
        } else if error.is_parse() {
            meters.refused(Refusal::Malformed);
        }
        tracing::debug!(%error, "connection ended");
    }
}

/// A socket whose writes fail once the peer has taken nothing for a time.
#[derive(Debug)]
pub struct Patient<IO> {
    io: IO,
    patience: Duration,
    stalled: bool,
    /// The peer has spoken since it was last answered: one that is merely idle between requests is no slow one.
    asking: Arc<AtomicBool>,
    /// Made at the first stall: most connections never have one.
    timer: Option<Pin<Box<Sleep>>>,
}

impl<IO> Patient<IO> {
    /// Wraps `io`.
    pub fn new(io: IO, patience: Duration) -> Self {
        Self {
            io,
            patience,
            stalled: false,
            asking: Arc::default(),
            timer: None,
        }
    }

    fn judge<T>(&mut self, cx: &mut Context<'_>, outcome: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if outcome.is_ready() {
            self.stalled = false;
            self.asking.store(false, Ordering::Relaxed);
            return outcome;
        }
        let until = Instant::now() + self.patience;
        let timer = self
            .timer
            .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(until)));
        if !std::mem::replace(&mut self.stalled, true) {
            timer.as_mut().reset(until);
        }
        ready!(timer.as_mut().poll(cx));
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the peer takes nothing")))
    }
}

impl<IO: AsyncRead + Unpin> AsyncRead for Patient<IO> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let outcome = Pin::new(&mut self.io).poll_read(cx, buf);
        if buf.filled().len() > before {
            self.asking.store(true, Ordering::Relaxed);
        }
        outcome
    }
}

impl<IO: AsyncWrite + Unpin> AsyncWrite for Patient<IO> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.io).poll_write(cx, buf);
        self.judge(cx, outcome)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.io).poll_write_vectored(cx, bufs);
        self.judge(cx, outcome)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
