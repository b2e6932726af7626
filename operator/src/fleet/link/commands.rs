//! Sends what is wanted until the node has acknowledged it: the io around [`super::plan`].

use std::time::Duration;

use bytes::Bytes;
use headwater_contract::{DRAIN_PATH, Drain, MOVE_PATH, Move, PUBLISHING_PATH, PULLS_PATH, Refused};
use http_body_util::{BodyExt, Full, Limited};
use hyper::{Method, Request, StatusCode, header};
use thiserror::Error;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until, timeout};

use super::plan::{Acknowledged, Boot, Command};
use super::{ANSWER, HttpClient, LinkSettings, Notice, Wanted};

/// Longest answer that is read.
const LONGEST_ANSWER: usize = 64 * 1024;
const FIRST_RETRY: Duration = Duration::from_millis(100);

/// Why a command was not acknowledged.
#[derive(Debug, Error)]
pub(super) enum Error {
    #[error("failed to write the command: {0}")]
    Encode(#[from] serde_json::Error),
    #[error("failed to build the request: {0}")]
    Request(#[from] hyper::http::Error),
    #[error("no answer in time")]
    Timeout,
    #[error("failed to send: {0}")]
    Send(String),
    #[error("refused with {0}: {1}")]
    Refused(StatusCode, String),
    #[error("a control plane of term {0} has taken over")]
    Superseded(u64),
}

/// Runs until the handle of the link is gone.
pub(super) async fn keep<K: Clone>(
    settings: &LinkSettings,
    client: &HttpClient,
    id: &K,
    notices: &mpsc::Sender<(K, Notice)>,
    mut boot: watch::Receiver<Option<Boot>>,
    mut wanted: watch::Receiver<Wanted>,
    mut moves: mpsc::Receiver<u32>,
) {
    let mut acknowledged = Acknowledged::default();
    let mut retry = FIRST_RETRY;
    let mut not_before = Instant::now();
    loop {
        if let Some(boot) = boot.borrow_and_update().as_ref() {
            acknowledged.meet(boot);
        }
        let next = acknowledged.next(&wanted.borrow_and_update());
        if let Some(command) = next
            && Instant::now() >= not_before
        {
            acknowledged.doubt(&command);
            match send(settings, client, &command).await {
                Ok(()) => {
                    acknowledged.record(command);
                    retry = FIRST_RETRY;
                    continue;
                }
                Err(Error::Superseded(term)) => return yield_to(id, notices, term).await,
                Err(error) => {
                    let failed = Notice::CommandFailed {
                        command: command.name(),
                        error: error.to_string(),
                    };
                    if notices.send((id.clone(), failed)).await.is_err() {
                        return;
                    }
                    not_before = Instant::now() + retry;
                    retry = (retry * 2).min(settings.longest_wait);
                }
            }
            continue;
        }
        let pending = acknowledged.next(&wanted.borrow()).is_some();
        tokio::select! {
            changed = boot.changed() => if changed.is_err() { return },
            changed = wanted.changed() => if changed.is_err() { return },
            viewers = moves.recv() => match viewers {
                None => return,
                Some(viewers) => if let Err(Error::Superseded(term)) = ask_to_move(settings, client, viewers).await {
                    return yield_to(id, notices, term).await;
                }
            },
            () = sleep_until(not_before), if pending => {}
        }
    }
}

/// A newer control plane commands this node: tells so once and sends nothing any more.
async fn yield_to<K: Clone>(id: &K, notices: &mpsc::Sender<(K, Notice)>, term: u64) {
    let _ = notices.send((id.clone(), Notice::Superseded { term })).await;
    std::future::pending().await
}

impl Command {
    fn name(&self) -> &'static str {
        match self {
            Command::Drain(_) => "PUT /v1/drain",
            Command::Serve => "DELETE /v1/drain",
            Command::Publishing(_) => "PUT /v1/publishing",
            Command::Pulls(_) => "PUT /v1/pulls",
        }
    }
}

async fn send(settings: &LinkSettings, client: &HttpClient, command: &Command) -> Result<(), Error> {
    let term = Some(settings.term);
    let request = match command {
        Command::Drain(deadline) => {
            let drain = Drain {
                term,
                deadline: *deadline,
            };
            request(
                settings,
                Method::PUT,
                DRAIN_PATH,
                Some(serde_json::to_vec(&drain)?.into()),
            )
        }
        Command::Serve => {
            let path = format!("{DRAIN_PATH}?term={}", settings.term);
            request(settings, Method::DELETE, &path, None)
        }
        Command::Publishing(publishing) => {
            let mut publishing = publishing.clone();
            publishing.term = term;
            let body = serde_json::to_vec(&publishing)?;
            request(settings, Method::PUT, PUBLISHING_PATH, Some(body.into()))
        }
        Command::Pulls(pulls) => request(settings, Method::PUT, PULLS_PATH, Some(pulls.body(settings.term)?)),
    };
    exchange(client, request?).await
}

async fn ask_to_move(settings: &LinkSettings, client: &HttpClient, viewers: u32) -> Result<(), Error> {
    let order = Move {
        term: Some(settings.term),
        viewers,
    };
    let body = serde_json::to_vec(&order)?;
    exchange(client, request(settings, Method::POST, MOVE_PATH, Some(body.into()))?).await
}

/// One request and its answer; only a 2xx is an acknowledgement.
async fn exchange(client: &HttpClient, request: Request<Full<Bytes>>) -> Result<(), Error> {
    let answered = async {
        let response = client
            .request(request)
            .await
            .map_err(|error| Error::Send(chain(&error)))?;
        let status = response.status();
        // The body is read even if nobody needs it: only then is the connection free for the next command.
        let body = Limited::new(response.into_body(), LONGEST_ANSWER).collect().await;
        let body = body.map(|body| body.to_bytes()).unwrap_or_default();
        if status.is_success() {
            return Ok(());
        }
        let refused: Option<Refused> = serde_json::from_slice(&body).ok();
        if status == StatusCode::CONFLICT {
            return Err(Error::Superseded(refused.and_then(|refused| refused.term).unwrap_or(0)));
        }
        Err(Error::Refused(
            status,
            refused.map(|refused| refused.error).unwrap_or_default(),
        ))
    };
    timeout(ANSWER, answered).await.unwrap_or(Err(Error::Timeout))
}

/// A request to the node's ops port with its token.
pub(super) fn request(
    settings: &LinkSettings,
    method: Method,
    path: &str,
    body: Option<Bytes>,
) -> Result<Request<Full<Bytes>>, hyper::http::Error> {
    let mut request = Request::builder()
        .method(method)
        .uri(format!("http://{}{path}", settings.ops))
        .header(header::AUTHORIZATION, format!("Bearer {}", settings.token.expose()));
    if body.is_some() {
        request = request.header(header::CONTENT_TYPE, "application/json");
    }
    request.body(Full::new(body.unwrap_or_default()))
}

/// An error with its causes on one line; the outer one of an HTTP client says little.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
