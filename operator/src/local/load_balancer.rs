//! A pool's load balancer: each new connection goes to a random ready edge, tried in turn if one does not answer.
//!
//! It sees bytes, not requests: one connection stays on one edge. It must not keep a buffer per idle connection, since it
//! stands before every viewer of the machine.

mod splice;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rand::seq::SliceRandom;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, warn};

/// Most connections that one pool's load balancer holds; one more is closed at once.
pub const MOST_CONNECTIONS: usize = 20_000;
const CONNECT: Duration = Duration::from_millis(1_000);
/// Longest wait for the request that a 503 answers.
const REQUEST: Duration = Duration::from_secs(2);

/// What a listener's connections speak; it matters only where no edge is ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// Answered with 503 and Retry-After.
    Http,
    /// Closed.
    Rtmp,
}

/// An edge that takes new viewers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Its HTTP delivery address.
    pub http: SocketAddr,
    /// Its RTMP address.
    pub rtmp: SocketAddr,
}

/// Handle of a pool's load balancer; dropping it closes the listeners and every connection.
#[derive(Debug)]
pub struct LoadBalancer {
    targets: watch::Sender<Arc<[Target]>>,
    stop: CancellationToken,
    /// The connections that it holds.
    connections: TaskTracker,
}

impl LoadBalancer {
    /// Serves both listeners. `pool` is for the log only.
    pub fn start(pool: String, http: TcpListener, rtmp: TcpListener) -> Self {
        let (targets, targets_seen) = watch::channel(Arc::from([]));
        let stop = CancellationToken::new();
        let connections = TaskTracker::new();
        let permits = Arc::new(Semaphore::new(MOST_CONNECTIONS));
        for (protocol, listener) in [(Protocol::Http, http), (Protocol::Rtmp, rtmp)] {
            let front = Front {
                pool: pool.clone(),
                protocol,
                targets: targets_seen.clone(),
                permits: permits.clone(),
                connections: connections.clone(),
            };
            let stop = stop.clone();
            tokio::spawn(async move { stop.clone().run_until_cancelled(front.accept(listener, stop)).await });
        }
        Self {
            targets,
            stop,
            connections,
        }
    }

    /// Says which edges take new connections. Connections that stand are left alone.
    pub fn set_targets(&self, targets: Vec<Target>) {
        self.targets.send_if_modified(|now| {
            let changed = **now != *targets;
            *now = targets.into();
            changed
        });
    }

    /// Connections that stand now.
    pub fn connections(&self) -> usize {
        self.connections.len()
    }
}

impl Drop for LoadBalancer {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

struct Front {
    pool: String,
    protocol: Protocol,
    targets: watch::Receiver<Arc<[Target]>>,
    permits: Arc<Semaphore>,
    connections: TaskTracker,
}

impl Front {
    async fn accept(self, listener: TcpListener, stop: CancellationToken) {
        loop {
            let client = match listener.accept().await {
                Ok((client, _)) => client,
                Err(error) => {
                    // Out of descriptors, mostly: the listener stays, and the next connection may find one.
                    warn!(pool = self.pool, %error, "failed to accept a connection");
                    sleep(Duration::from_millis(100)).await;
                    continue;
                }
            };
            let Ok(permit) = self.permits.clone().try_acquire_owned() else {
                debug!(
                    pool = self.pool,
                    most = MOST_CONNECTIONS,
                    "closed a connection over the limit"
                );
                continue;
            };
            let targets = self.targets.borrow().clone();
            let (pool, protocol, stop) = (self.pool.clone(), self.protocol, stop.clone());
            self.connections.spawn(async move {
                stop.run_until_cancelled(serve(client, protocol, &targets, &pool)).await;
                drop(permit);
            });
        }
    }
}

async fn serve(client: TcpStream, protocol: Protocol, targets: &[Target], pool: &str) {
    match connect(protocol, targets, pool).await {
        Some(edge) => {
            let _ = client.set_nodelay(true);
            let _ = edge.set_nodelay(true);
            splice::both_ways(client, edge).await;
        }
        None if protocol == Protocol::Http => unavailable(client).await,
        None => {}
    }
}

/// A connection to one of the edges, in random order.
async fn connect(protocol: Protocol, targets: &[Target], pool: &str) -> Option<TcpStream> {
    let mut order: Vec<SocketAddr> = targets
        .iter()
        .map(|target| match protocol {
            Protocol::Http => target.http,
            Protocol::Rtmp => target.rtmp,
        })
        .collect();
    order.shuffle(&mut rand::rng());
    for address in order {
        match timeout(CONNECT, TcpStream::connect(address)).await {
            Ok(Ok(edge)) => return Some(edge),
            Ok(Err(error)) => debug!(pool, %address, %error, "an edge does not answer"),
            Err(_) => debug!(pool, %address, "an edge does not answer in time"),
        }
    }
    None
}

/// Answers one HTTP request with 503. The request is read first: closing with unread bytes would reset the connection
/// before the answer is seen.
async fn unavailable(mut client: TcpStream) {
    let read = async {
        let mut seen = Vec::new();
        let mut buffer = [0; 2048];
        while seen.len() < 16 * 1024 && !seen.windows(4).any(|end| end == b"\r\n\r\n") {
            match client.read(&mut buffer).await {
                Ok(0) | Err(_) => break,
                Ok(length) => seen.extend_from_slice(&buffer[..length]),
            }
        }
    };
    let _ = timeout(REQUEST, read).await;
    let text = "no edge of this pool is ready; try again in a second\n";
    let answer = format!(
        "HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nContent-Type: text/plain; charset=utf-8\r\n\
        Access-Control-Allow-Origin: *\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{text}",
        text.len()
    );
    let _ = client.write_all(answer.as_bytes()).await;
    let _ = client.shutdown().await;
}

#[cfg(test)]
mod tests;
