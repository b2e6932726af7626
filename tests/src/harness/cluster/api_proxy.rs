//! Stands between an operator and the API server and has faults on order: refusals, conflicts, throttling, lost answers, watches that end.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use bytes::Bytes;
use futures_util::StreamExt as _;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, BodyStream, Full, StreamBody};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use kube::Client;
use kube::client::Body;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

use super::Cluster;
use super::servers::{self, User};

type BoxError = Box<dyn std::error::Error + Send + Sync>;
type Answer = Response<UnsyncBoxBody<Bytes, BoxError>>;
type Rule = Box<dyn FnMut(&Call) -> Fault + Send>;

/// A request on its way to the API server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// Method.
    pub method: Method,
    /// Path with its query.
    pub path: String,
    /// Writes that came before this one since the rule was set; for a read, writes so far.
    pub writes: usize,
}

impl Call {
    /// True if it changes something.
    pub fn is_write(&self) -> bool {
        self.method != Method::GET
    }

    /// True if it is a watch.
    pub fn is_watch(&self) -> bool {
        self.path.contains("watch=true") || self.path.contains("watch=1")
    }
}

/// What becomes of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It passes.
    Pass,
    /// It waits first.
    Delay(Duration),
    /// It is refused with this status and reason, as in `(409, "Conflict")`; the API server never sees it.
    Refuse(u16, &'static str),
    /// Its connection breaks before the API server has seen it.
    Cut,
    /// It is done, but its connection breaks before the answer.
    CutAnswer,
}

/// A running proxy; it ends when dropped.
pub struct ApiProxy {
    /// File with which the operator reaches it.
    pub kubeconfig: PathBuf,
    state: Arc<State>,
    _task: AbortOnDropHandle<()>,
}

struct State {
    client: Client,
    rule: Mutex<(Rule, usize)>,
    seen: Mutex<Vec<Call>>,
    /// Raised: every watch ends.
    round: watch::Sender<u64>,
}

impl ApiProxy {
    /// Starts a proxy that speaks to the API server as `user`; all passes at first.
    pub async fn start(cluster: &Cluster, user: User) -> Result<Self> {
        let folder = cluster.folder().context("a foreign cluster is left alone")?;
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let kubeconfig = folder.join(format!("proxy-{}.kubeconfig", address.port()));
        write(&kubeconfig, address)?;
        let state = Arc::new(State {
            client: servers::client(&cluster.kubeconfig(user)).await?,
            rule: Mutex::new((Box::new(|_| Fault::Pass), 0)),
            seen: Mutex::default(),
            round: watch::Sender::new(0),
        });
        let task = tokio::spawn(serve(listener, state.clone()));
        Ok(Self {
            kubeconfig,
            state,
            _task: AbortOnDropHandle::new(task),
        })
    }

    /// Has every request from now on judged by this rule; counts writes anew.
    pub fn set(&self, rule: impl FnMut(&Call) -> Fault + Send + 'static) {
        *lock(&self.state.rule) = (Box::new(rule), 0);
        lock(&self.state.seen).clear();
    }

    /// Lets all pass again; counts writes anew.
    pub fn heal(&self) {
        self.set(|_| Fault::Pass);
    }

    /// Writes since the rule was set, also those that were refused.
    pub fn writes(&self) -> Vec<Call> {
        let seen = lock(&self.state.seen);
        seen.iter().filter(|call| call.is_write()).cloned().collect()
    }

    /// Requests since the rule was set.
    pub fn calls(&self) -> Vec<Call> {
        lock(&self.state.seen).clone()
    }

    /// Ends every watch that is under way, as an API server does now and then.
    pub fn end_watches(&self) {
        self.state.round.send_modify(|round| *round += 1);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn write(kubeconfig: &std::path::Path, address: SocketAddr) -> Result<()> {
    let config = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "proxy", "cluster": {"server": format!("http://{address}")}}],
        "users": [{"name": "proxy", "user": {}}],
        "contexts": [{"name": "proxy", "context": {"cluster": "proxy", "user": "proxy"}}],
        "current-context": "proxy",
    });
    std::fs::write(kubeconfig, serde_json::to_vec_pretty(&config)?).context("failed to write a kubeconfig")
}

async fn serve(listener: TcpListener, state: Arc<State>) {
    let mut connections = tokio::task::JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        while connections.try_join_next().is_some() {}
        let state = state.clone();
        connections.spawn(async move {
            let service = service_fn(|request| answer(request, state.clone()));
            // A connection that breaks is what this proxy is for.
            let _ = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

/// An error breaks the connection.
async fn answer(request: Request<Incoming>, state: Arc<State>) -> Result<Answer, BoxError> {
    let path = request
        .uri()
        .path_and_query()
        .map_or_else(String::new, ToString::to_string);
    let mut call = Call {
        method: request.method().clone(),
        path,
        writes: 0,
    };
    let fault = {
        let mut rule = lock(&state.rule);
        call.writes = rule.1;
        rule.1 += usize::from(call.is_write());
        (rule.0)(&call)
    };
    lock(&state.seen).push(call.clone());
    match fault {
        Fault::Pass => forward(request, &state, call.is_watch()).await,
        Fault::Delay(time) => {
            tokio::time::sleep(time).await;
            forward(request, &state, call.is_watch()).await
        }
        Fault::Refuse(code, reason) => Ok(refusal(code, reason)?),
        Fault::Cut => Err("cut".into()),
        Fault::CutAnswer => {
            let answer = forward(request, &state, false).await?;
            answer.into_body().collect().await?;
            Err("cut after it was done".into())
        }
    }
}

async fn forward(request: Request<Incoming>, state: &State, is_watch: bool) -> Result<Answer, BoxError> {
    let mut round = state.round.subscribe();
    let (mut parts, body) = request.into_parts();
    let body = body.collect().await?.to_bytes();
    parts.headers.remove(header::HOST);
    parts.headers.remove(header::AUTHORIZATION);
    // The client leads it to the API server.
    let target = parts.uri.path_and_query().map_or("/", |path| path.as_str()).parse()?;
    parts.uri = target;
    let answer = state
        .client
        .send(Request::from_parts(parts, Body::from(body.to_vec())))
        .await?;
    let (parts, body) = answer.into_parts();
    if !is_watch {
        let body = body.map_err(BoxError::from).boxed_unsync();
        return Ok(Response::from_parts(parts, body));
    }
    let ended = async move {
        // Its sender lives as long as the proxy.
        let _ = round.changed().await;
    };
    let frames = BodyStream::new(body).map(|frame| frame.map_err(BoxError::from));
    let body = StreamBody::new(frames.take_until(Box::pin(ended))).boxed_unsync();
    Ok(Response::from_parts(parts, body))
}

/// A refusal as an API server words it.
fn refusal(code: u16, reason: &'static str) -> Result<Answer, BoxError> {
    let status = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": format!("refused by the test: {reason}"), "reason": reason, "code": code,
    });
    let body = Full::new(Bytes::from(serde_json::to_vec(&status)?));
    let body = body.map_err(|never: Infallible| match never {}).boxed_unsync();
    let mut answer = Response::builder().status(StatusCode::from_u16(code)?);
    answer = answer.header(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if code == 429 {
        answer = answer.header(header::RETRY_AFTER, HeaderValue::from_static("1"));
    }
    Ok(answer.body(body)?)
}
