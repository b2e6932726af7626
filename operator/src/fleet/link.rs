//! One media node's control connection: its events in, the wanted state out.
//!
//! ```text
//! node ──GET /v1/events──▶ listen ──(id, Notice)──▶ the fleet map
//! Wanted ──▶ plan::next (pure: what the node has not acknowledged) ──PUT/DELETE/POST──▶ node
//! ```
//!
//! A link decides nothing. It keeps the connection up with jittered back-off, keeps sending what is wanted until the node
//! has acknowledged it, sends it anew to a node that started anew, and stops for good once a newer control plane took over.

mod commands;
mod event;
mod plan;
mod sse;

pub(crate) use commands::chain;

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use headwater_contract::{EVENTS_PATH, Event, Publishing};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use jiff::Timestamp;
use thiserror::Error;
use tokio::sync::{mpsc, watch};
use tokio::time::{sleep, timeout};

use super::pull_set::PullSet;
use plan::Boot;

/// The bearer token of a node's control API. `Debug` redacts it.
#[derive(Clone, PartialEq, Eq)]
pub struct ControlToken(Arc<str>);

impl ControlToken {
    /// Takes a token as it stands in its file, white space at the ends cut off.
    pub fn new(token: &str) -> Self {
        Self(token.trim().into())
    }

    /// The token itself: for the header and the node's file, never for a log.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for ControlToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ControlToken(redacted)")
    }
}

/// Where a node's ops port is and how this control plane speaks to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkSettings {
    /// The node's ops address.
    pub ops: SocketAddr,
    /// The node's control token.
    pub token: ControlToken,
    /// Goes with every command; a node refuses a term lower than the highest that it has seen.
    pub term: u64,
    /// Longest wait between two attempts to connect.
    pub longest_wait: Duration,
}

/// What a node is to do. The parts that are `None` have not been decided yet and are not sent.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Wanted {
    /// The whole set of its pulls; `term` is filled in by the link.
    pub pulls: Option<PullSet>,
    /// Who may publish to it; `term` is filled in by the link.
    pub publishing: Option<Publishing>,
    /// Whether it serves or drains.
    pub service: Option<Service>,
}

/// Whether a node takes new viewers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Service {
    /// It serves.
    Serve,
    /// It drains until this deadline.
    Drain(Timestamp),
}

/// What a link tells.
#[derive(Clone, Debug, PartialEq)]
pub enum Notice {
    /// The node said this.
    Event(Box<Event>),
    /// The event stream broke, or could not be opened; the link tries again by itself.
    Lost(String),
    /// A command failed and is tried again, or was refused by the node.
    CommandFailed {
        /// Which one, e.g. `PUT /v1/pulls`.
        command: &'static str,
        /// Why, in a person's words.
        error: String,
    },
    /// The node takes commands of this higher term only: the link sends none any more.
    Superseded {
        /// Highest term that the node has seen, 0 if it did not say.
        term: u64,
    },
}

/// Why an event stream ended.
#[derive(Debug, Error)]
enum Error {
    #[error("no answer from {0} in time")]
    Timeout(SocketAddr),
    #[error("failed to connect to {0}: {1}")]
    Connect(SocketAddr, String),
    #[error("{0} answered {1} to GET {EVENTS_PATH}")]
    Status(SocketAddr, hyper::StatusCode),
    #[error("{0} sent nothing for {SILENCE:?}")]
    Silent(SocketAddr),
    #[error("{0} closed the event stream")]
    Closed(SocketAddr),
    #[error("the event stream of {0} broke: {1}")]
    Broken(SocketAddr, String),
    #[error("{0} sent an event that this version does not know: {1}")]
    Event(SocketAddr, String),
    #[error("nobody listens any more")]
    Gone,
}

/// A node sends figures each second; this much silence means that the connection is dead.
const SILENCE: Duration = Duration::from_secs(4);
const ANSWER: Duration = Duration::from_secs(2);
/// How long the connection for commands is kept after one: they come in flurries, and not for hours.
const IDLE: Duration = Duration::from_secs(10);
/// Read buffer of a connection, bytes; the head of an answer has to fit.
const READ_BUFFER: usize = 4 * 1024;
const FIRST_WAIT: Duration = Duration::from_millis(50);

type HttpClient = Client<HttpConnector, Full<bytes::Bytes>>;

/// Handle of a link. Dropping it ends the link's task; the node goes on as it was last told.
#[derive(Debug)]
pub struct Link {
    wanted: watch::Sender<Wanted>,
    moves: mpsc::Sender<u32>,
    task: tokio::task::JoinHandle<()>,
}

impl Link {
    /// Starts the link. Its notices go to `notices` with `id`; while that queue is full the link waits, the node notices
    /// the slow reader and sends its whole state anew, so nothing is lost for good.
    pub fn start<K>(settings: LinkSettings, id: K, notices: mpsc::Sender<(K, Notice)>) -> Self
    where
        K: Clone + Send + Sync + 'static,
    {
        let (wanted, wanted_seen) = watch::channel(Wanted::default());
        let (moves, moves_seen) = mpsc::channel(1);
        let client = client();
        let task = tokio::spawn(async move {
            let (boot, boot_seen) = watch::channel(None);
            let sink = Sink {
                id: &id,
                notices: &notices,
                boot: &boot,
                greeted: false,
            };
            let listener = listen(&settings, &client, sink);
            let commander = commands::keep(&settings, &client, &id, &notices, boot_seen, wanted_seen, moves_seen);
            tokio::select! {
                () = listener => {}
                () = commander => {}
            }
        });
        Self { wanted, moves, task }
    }

    /// Says what the node is to do. Sent only where it differs from what the node has acknowledged.
    pub fn want(&self, wanted: Wanted) {
        self.wanted.send_if_modified(|now| {
            let changed = *now != wanted;
            *now = wanted;
            changed
        });
    }

    /// Asks the node to move this many WebSocket viewers. Dropped while another such order is under way: the next second
    /// decides anew.
    pub fn ask_to_move(&self, viewers: u32) {
        let _ = self.moves.try_send(viewers);
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn client() -> HttpClient {
    let mut connector = HttpConnector::new();
    connector.set_connect_timeout(Some(Duration::from_secs(1)));
    connector.set_nodelay(true);
    Client::builder(TokioExecutor::new())
        .pool_max_idle_per_host(1)
        .pool_idle_timeout(IDLE)
        .pool_timer(TokioTimer::new())
        // Thousands of connections are open at a time, and what comes on them is short.
        .http1_read_buf_exact_size(READ_BUFFER)
        .build(connector)
}

/// Where a link's events go.
struct Sink<'a, K> {
    id: &'a K,
    notices: &'a mpsc::Sender<(K, Notice)>,
    boot: &'a watch::Sender<Option<Boot>>,
    /// The node has said hello on this connection.
    greeted: bool,
}

impl<K: Clone> Sink<'_, K> {
    /// False if nobody takes notices any more.
    async fn put(&mut self, notice: Notice) -> bool {
        if let Notice::Event(event) = &notice
            && let Event::Hello(hello) = event.as_ref()
        {
            self.greeted = true;
            self.boot.send_replace(Some(Boot::of(hello)));
        }
        self.notices.send((self.id.clone(), notice)).await.is_ok()
    }
}

/// Follows the node's events for as long as somebody takes the notices.
async fn listen<K: Clone>(settings: &LinkSettings, client: &HttpClient, mut sink: Sink<'_, K>) {
    let mut wait = FIRST_WAIT;
    loop {
        sink.greeted = false;
        let ended = follow(settings, client, &mut sink).await;
        if let Error::Gone = ended {
            return;
        }
        if !sink.put(Notice::Lost(ended.to_string())).await {
            return;
        }
        if sink.greeted {
            wait = FIRST_WAIT;
        }
        sleep(wait.mul_f64(rand::random_range(0.5..1.0))).await;
        wait = (wait * 2).min(settings.longest_wait);
    }
}

/// Opens the event stream and hands on its events until it ends; says why it ended.
async fn follow<K: Clone>(settings: &LinkSettings, client: &HttpClient, sink: &mut Sink<'_, K>) -> Error {
    let ops = settings.ops;
    let request = match commands::request(settings, hyper::Method::GET, EVENTS_PATH, None) {
        Ok(request) => request,
        Err(error) => return Error::Connect(ops, error.to_string()),
    };
    let response = match timeout(ANSWER, client.request(request)).await {
        Err(_) => return Error::Timeout(ops),
        Ok(Err(error)) => return Error::Connect(ops, commands::chain(&error)),
        Ok(Ok(response)) => response,
    };
    if response.status() != hyper::StatusCode::OK {
        return Error::Status(ops, response.status());
    }
    let mut body = response.into_body();
    let mut decoder = sse::Decoder::default();
    loop {
        let frame = match timeout(SILENCE, body.frame()).await {
            Err(_) => return Error::Silent(ops),
            Ok(None) => return Error::Closed(ops),
            Ok(Some(Err(error))) => return Error::Broken(ops, commands::chain(&error)),
            Ok(Some(Ok(frame))) => frame,
        };
        let Ok(data) = frame.into_data() else { continue };
        decoder.push(&data);
        loop {
            let event = match decoder.event() {
                Ok(None) => break,
                Ok(Some(text)) => event::read(&text).map_err(|error| Error::Event(ops, error.to_string())),
                Err(error) => Err(Error::Broken(ops, error.to_string())),
            };
            match event {
                Err(error) => return error,
                Ok(event) => {
                    if !sink.put(Notice::Event(Box::new(event))).await {
                        return Error::Gone;
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
