//! Requests, each to the server whose turn it is, on kept connections.

use std::io::Read as _;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use http::header::{ACCEPT_ENCODING, CONTENT_ENCODING};
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tokio::sync::mpsc;

use super::report::Failure;
use super::{Options, Shared};

/// How long an answer may take: a blocking reload is held for three target durations of 6 s at most.
const PATIENCE: Duration = Duration::from_secs(25);
/// A kept connection that was idle for this long is not used again: the server closes it after 10 s, which would cross a request.
const POOL_IDLE: Duration = Duration::from_secs(5);
/// Largest body.
const LARGEST: usize = 64 * 1024 * 1024;
/// Pause after a request that failed, as players make.
pub(super) const RETRY: Duration = Duration::from_millis(100);

/// Which server a request goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route {
    /// The first; another only where it fails.
    First,
    /// Each request to the next one.
    InTurn,
    /// Each request to any.
    Random,
}

/// An answer with status 200.
#[derive(Clone, Debug)]
pub(super) struct Fetched {
    pub(super) server: String,
    pub(super) asked: Duration,
    pub(super) at: Duration,
    pub(super) body: Bytes,
}

/// Sends one client's requests.
#[derive(Debug)]
pub(super) struct Fetcher {
    bases: Mutex<Vec<String>>,
    route: Route,
    gzip: bool,
    turn: AtomicUsize,
    client: Client<HttpConnector, Empty<Bytes>>,
    begin: Instant,
    shared: Shared,
}

impl Fetcher {
    pub(super) fn new(options: &Options, shared: Shared) -> Self {
        Self {
            bases: Mutex::new(options.bases.clone()),
            route: options.route,
            gzip: options.gzip,
            turn: AtomicUsize::new(0),
            client: Client::builder(TokioExecutor::new())
                .timer(TokioTimer::new())
                .pool_timer(TokioTimer::new())
                .pool_idle_timeout(POOL_IDLE)
                .build_http(),
            begin: Instant::now(),
            shared,
        }
    }

    pub(super) fn now(&self) -> Duration {
        self.begin.elapsed()
    }

    pub(super) fn set_bases(&self, bases: Vec<String>) {
        *self.bases.lock().unwrap_or_else(PoisonError::into_inner) = bases;
    }

    pub(super) fn bases(&self) -> Vec<String> {
        self.bases.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn base(&self) -> String {
        let bases = self.bases();
        let count = bases.len().max(1);
        let index = match self.route {
            Route::First => self.turn.load(Ordering::Relaxed),
            Route::InTurn => self.turn.fetch_add(1, Ordering::Relaxed),
            Route::Random => rand::random_range(0..count),
        };
        bases.get(index % count).cloned().unwrap_or_default()
    }

    /// A playlist, compressed if the client asks for that; nothing where the failure has been recorded.
    pub(super) async fn playlist(&self, target: &str) -> Option<Fetched> {
        self.get(&self.base(), target, self.gzip).await
    }

    /// A segment, part or init segment, entered into the ledger.
    pub(super) async fn media(&self, path: &str) -> Option<Fetched> {
        self.media_of(&self.base(), path).await
    }

    async fn media_of(&self, base: &str, path: &str) -> Option<Fetched> {
        let got = self.get(base, path, false).await?;
        let ledger = self.shared.lock().ledger.clone();
        ledger.enter(path, &got.body, base);
        Some(got)
    }

    async fn get(&self, base: &str, target: &str, gzip: bool) -> Option<Fetched> {
        let asked = self.now();
        let got = tokio::time::timeout(PATIENCE, self.exchange(base, target, gzip)).await;
        let at = self.now();
        let failed = |status, why: String| Failure {
            at,
            url: format!("{base}{target}"),
            status,
            why,
        };
        let (body, failure) = match got {
            Ok(Ok((StatusCode::OK, body))) => (Some(body), None),
            Ok(Ok((status, body))) => {
                let why = String::from_utf8_lossy(&body[..body.len().min(200)]).into_owned();
                (None, Some(failed(Some(status.as_u16()), why)))
            }
            Ok(Err(error)) => (None, Some(failed(None, format!("{error:#}")))),
            Err(_) => (None, Some(failed(None, format!("no answer within {PATIENCE:?}")))),
        };
        if failure.is_some() && self.route == Route::First {
            self.turn.fetch_add(1, Ordering::Relaxed);
        }
        self.shared
            .lock()
            .requested(base, body.as_ref().map_or(0, |body| body.len() as u64), failure);
        let server = base.to_owned();
        body.map(|body| Fetched {
            server,
            asked,
            at,
            body,
        })
    }

    async fn exchange(&self, base: &str, target: &str, gzip: bool) -> Result<(StatusCode, Bytes)> {
        let mut request = Request::get(format!("{base}{target}"));
        if gzip {
            request = request.header(ACCEPT_ENCODING, "gzip");
        }
        let answer = self.client.request(request.body(Empty::new())?).await?;
        let status = answer.status();
        let encoded = answer.headers().get(CONTENT_ENCODING).cloned();
        let body = Limited::new(answer.into_body(), LARGEST).collect().await;
        let mut body = body
            .map_err(anyhow::Error::from_boxed)
            .context("failed to read")?
            .to_bytes();
        if let Some(encoding) = encoded {
            ensure!(gzip && encoding == "gzip", "{encoding:?} was not asked for");
            let mut text = Vec::new();
            flate2::read::GzDecoder::new(&body[..])
                .take(LARGEST as u64)
                .read_to_end(&mut text)?;
            self.shared.lock().compressed += 1;
            body = text.into();
        }
        Ok((status, body))
    }
}

/// A complete segment: its path and those of its parts.
#[derive(Clone, Debug)]
pub(super) struct Audit {
    pub(super) segment: String,
    pub(super) parts: Vec<String>,
}

/// Fetches segments and their parts from every server, one after another; the ledger compares.
pub(super) async fn audit(fetcher: Arc<Fetcher>, mut due: mpsc::Receiver<Audit>) {
    while let Some(Audit { segment, parts }) = due.recv().await {
        for base in fetcher.bases() {
            let Some(whole) = fetcher.media_of(&base, &segment).await else {
                continue;
            };
            let mut joined = Vec::new();
            for part in &parts {
                if let Some(got) = fetcher.media_of(&base, part).await {
                    joined.extend_from_slice(&got.body);
                }
            }
            if !parts.is_empty() && joined != whole.body {
                fetcher
                    .shared
                    .lock()
                    .difference(format!("{segment} of {base} is not its {} parts", parts.len()));
            }
            fetcher.shared.lock().audited += 1;
        }
    }
}
