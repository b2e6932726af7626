//! A media node for tests: speaks the contract on a real port, holds no media, and remembers what it was told.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use futures_util::StreamExt;
use headwater_contract::{DrainState, Event, NodeFigures, NodeHello, Refused, Role};
use jiff::Timestamp;
use tokio::sync::broadcast;

/// The token that every fake node takes.
pub(crate) const TOKEN: &str = "fake-token";

/// One command as it came.
#[derive(Clone, Debug)]
pub(crate) struct Told {
    pub(crate) what: String,
    pub(crate) body: serde_json::Value,
}

struct Inner {
    hello: Mutex<NodeHello>,
    /// The token that it takes; none: any.
    token: Option<&'static str>,
    told: Mutex<Vec<Told>>,
    refuse: Mutex<Option<(StatusCode, u64)>>,
    events: broadcast::Sender<Option<Event>>,
}

/// Handle of a fake node; it ends with the handle.
pub(crate) struct FakeNode {
    pub(crate) ops: SocketAddr,
    inner: Arc<Inner>,
    server: tokio::task::JoinHandle<()>,
}

impl Drop for FakeNode {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// A hello with nothing in it.
pub(crate) fn hello(name: &str, role: Role) -> NodeHello {
    NodeHello {
        name: name.into(),
        role,
        boot_id: "boot-1".into(),
        version: "test".into(),
        app: "live".into(),
        rtmp_port: 1,
        http_port: 1,
        term: 0,
        streams: Vec::new(),
        figures: NodeFigures {
            ready: true,
            ..Default::default()
        },
    }
}

impl FakeNode {
    pub(crate) async fn start(hello: NodeHello) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        Self::serve(listener, hello, Some(TOKEN))
    }

    /// A node on the ops port that pods have, on a loopback address of its own; it takes any token.
    pub(crate) async fn start_as_pod(hello: NodeHello) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        // Other programs that run these tests at the same time begin elsewhere.
        let first = std::process::id().wrapping_mul(251);
        loop {
            let number = first.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)) % (1 << 22);
            let address = Ipv4Addr::from(u32::from(Ipv4Addr::new(127, 64, 0, 1)) + number);
            if let Ok(listener) = tokio::net::TcpListener::bind((address, 8081)).await {
                return Self::serve(listener, hello, None);
            }
        }
    }

    fn serve(listener: tokio::net::TcpListener, hello: NodeHello, token: Option<&'static str>) -> Self {
        let ops = listener.local_addr().unwrap();
        let inner = Arc::new(Inner {
            hello: Mutex::new(hello),
            token,
            told: Mutex::default(),
            refuse: Mutex::default(),
            events: broadcast::channel(64).0,
        });
        let router = Router::new().fallback(answer).with_state(inner.clone());
        let server = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { ops, inner, server }
    }

    /// Sends an event to every listener.
    pub(crate) fn say(&self, event: Event) {
        let _ = self.inner.events.send(Some(event));
    }

    /// Changes its figures, and tells them.
    pub(crate) fn figures(&self, change: impl FnOnce(&mut NodeFigures)) {
        let figures = {
            let mut hello = self.inner.hello.lock().unwrap();
            change(&mut hello.figures);
            hello.figures.clone()
        };
        self.say(Event::Figures(figures));
    }

    /// Cuts every event stream.
    pub(crate) fn cut(&self) {
        let _ = self.inner.events.send(None);
    }

    /// Changes what the next hello says.
    pub(crate) fn change(&self, change: impl FnOnce(&mut NodeHello)) {
        change(&mut self.inner.hello.lock().unwrap());
    }

    /// Answers every command with this status from now on.
    pub(crate) fn refuse(&self, refuse: Option<(StatusCode, u64)>) {
        *self.inner.refuse.lock().unwrap() = refuse;
    }

    pub(crate) fn told(&self) -> Vec<Told> {
        self.inner.told.lock().unwrap().clone()
    }

    /// Waits until the node was told what `wanted` looks for.
    pub(crate) async fn until_told(&self, wanted: impl Fn(&[Told]) -> bool) -> Vec<Told> {
        until(|| {
            let told = self.told();
            wanted(&told).then_some(told)
        })
        .await
    }
}

/// Waits for a condition, at most 10 s.
pub(crate) async fn until<T>(mut condition: impl FnMut() -> Option<T>) -> T {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(
            tokio::time::Instant::now() < deadline,
            "the condition did not come true in time"
        );
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn answer(State(node): State<Arc<Inner>>, method: Method, uri: Uri, headers: HeaderMap, body: Bytes) -> Response {
    let token = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let taken = match node.token {
        Some(known) => token == Some(&format!("Bearer {known}")),
        None => token.is_some(),
    };
    if !taken {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    if uri.path() == headwater_contract::EVENTS_PATH {
        return events(&node);
    }
    let what = format!("{method} {uri}");
    let body = serde_json::from_slice(&body).unwrap_or_default();
    node.told.lock().unwrap().push(Told { what, body });
    if let Some((status, term)) = *node.refuse.lock().unwrap() {
        let refused = Refused {
            error: "refused by the test".into(),
            term: Some(term),
        };
        return (status, axum::Json(refused)).into_response();
    }
    if uri.path() == headwater_contract::DRAIN_PATH {
        let drain = (method == Method::PUT).then(|| DrainState {
            since: Timestamp::now(),
            deadline: Timestamp::now(),
        });
        let mut hello = node.hello.lock().unwrap();
        hello.figures.ready = drain.is_none();
        hello.figures.drain = drain;
        let _ = node.events.send(Some(Event::Figures(hello.figures.clone())));
    }
    StatusCode::OK.into_response()
}

fn events(node: &Arc<Inner>) -> Response {
    let mut events = node.events.subscribe();
    let hello = node.hello.lock().unwrap().clone();
    let node = node.clone();
    let body = async_stream(move |sender| async move {
        let mut next = Some(Event::Hello(hello.clone()));
        while let Some(event) = next {
            let text = format!(
                "event: {}\ndata: {}\n\n",
                event.name(),
                serde_json::to_string(&event).unwrap()
            );
            if sender.send(Ok::<_, std::io::Error>(Bytes::from(text))).await.is_err() {
                return;
            }
            next = match tokio::time::timeout(Duration::from_secs(1), events.recv()).await {
                Ok(Ok(event)) => event,
                Ok(Err(_)) => None,
                Err(_) => Some(Event::Figures(node.hello.lock().unwrap().figures.clone())),
            };
        }
    });
    ([(header::CONTENT_TYPE, "text/event-stream")], body).into_response()
}

/// A body fed by a task.
fn async_stream<F>(feed: impl FnOnce(tokio::sync::mpsc::Sender<Result<Bytes, std::io::Error>>) -> F) -> Body
where
    F: Future<Output = ()> + Send + 'static,
{
    let (sender, receiver) = tokio::sync::mpsc::channel(16);
    tokio::spawn(feed(sender));
    let stream = futures_util::stream::unfold(receiver, |mut receiver| async move {
        receiver.recv().await.map(|item| (item, receiver))
    });
    Body::from_stream(stream.boxed())
}
