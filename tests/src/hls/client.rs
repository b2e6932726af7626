//! A player of LL-HLS and plain HLS that keeps the record: each request to another server if it is told so.
//!
//! ```text
//! multivariant ─▶ video ┐ blocking reload (msn, part, skip) ∥ hinted part ─▶ fragments ─▶ buffer (stalls, latency)
//!               └▶ audio ┘        └▶ validator                      └▶ ledger (same URL, same bytes)
//! ```
//!
//! It decodes nothing: its clock begins some parts behind the live edge and runs on; where media is not there, it stalls.

mod buffer;
mod fetch;
mod ledger;
mod player;
mod report;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::playlist::{Multivariant, Playlist, parse};
use super::validator::{Limits, Observation, Validator, resolve};
pub use buffer::{Buffer, Stall};
use fetch::Fetcher;
pub use fetch::Route;
pub use ledger::Ledger;
use player::Player;
use report::Record;
pub use report::{Failure, Report};

/// How long a client may take to begin.
const BEGIN: Duration = Duration::from_secs(20);

/// Which playlists are played.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Parts, by blocking reload and hints.
    LowLatency,
    /// Whole segments, by polling: `plain.m3u8`.
    Plain,
}

/// How a client plays.
#[derive(Clone, Debug)]
pub struct Options {
    /// `http://host:port` of each server; a load balancer is one of them.
    pub bases: Vec<String>,
    /// `live/cam1`.
    pub stream: String,
    /// Parts or whole segments.
    pub mode: Mode,
    /// Which server each request goes to.
    pub route: Route,
    /// Ask for delta updates.
    pub skip: bool,
    /// Ask for compressed playlists.
    pub gzip: bool,
    /// Parts behind the live edge at which it begins; in [`Mode::Plain`] target durations.
    pub behind: u32,
    /// Play every variant at once, not the first one alone.
    pub every: bool,
    /// Fetch every complete segment and its parts from every server, to compare them.
    pub audit: bool,
    /// Bytes of every URL; share it between clients to compare what they got.
    pub ledger: Ledger,
    /// How exactly the rules are taken.
    pub limits: Limits,
}

impl Options {
    /// Low latency from servers in turn, three parts behind, with delta updates and compression.
    pub fn new(bases: impl IntoIterator<Item = impl Into<String>>, stream: impl Into<String>) -> Self {
        let bases: Vec<String> = bases.into_iter().map(Into::into).collect();
        let skew = if bases.len() > 1 {
            Duration::from_millis(500)
        } else {
            Duration::ZERO
        };
        Self {
            bases,
            stream: stream.into(),
            mode: Mode::LowLatency,
            route: Route::InTurn,
            skip: true,
            gzip: true,
            behind: 3,
            every: false,
            audit: false,
            ledger: Ledger::default(),
            limits: Limits::servers(skew),
        }
    }

    fn multivariant(&self) -> String {
        match self.mode {
            Mode::LowLatency => format!("/{}.m3u8", self.stream),
            Mode::Plain => format!("/{}/plain.m3u8", self.stream),
        }
    }
}

/// What a client's tasks share: a lock that is never held across an await.
#[derive(Clone, Debug)]
struct Shared(Arc<Mutex<Record>>);

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Record> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A client that plays until it is stopped or dropped.
#[derive(Debug)]
pub struct Client {
    stop: CancellationToken,
    shared: Shared,
    fetcher: Arc<Fetcher>,
    task: JoinHandle<Result<()>>,
}

impl Drop for Client {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// Starts a client.
pub fn start(options: Options) -> Client {
    let stop = CancellationToken::new();
    let record = Record::new(Validator::new(options.limits.clone()), options.ledger.clone());
    let shared = Shared(Arc::new(Mutex::new(record)));
    let fetcher = Arc::new(Fetcher::new(&options, shared.clone()));
    let (running, options) = (run(fetcher.clone(), shared.clone(), Arc::new(options)), stop.clone());
    let task = tokio::spawn(async move {
        tokio::select! {
            ran = running => ran,
            () = options.cancelled() => Ok(()),
        }
    });
    Client {
        stop,
        shared,
        fetcher,
        task,
    }
}

impl Client {
    /// What was recorded so far.
    pub fn report(&self) -> Report {
        self.shared.lock().report(self.fetcher.now())
    }

    /// Waits until every rendition plays.
    pub async fn playing(&self) -> Result<()> {
        crate::harness::wait_until(BEGIN, "every rendition plays", || async {
            let record = self.shared.lock();
            if record.playing() {
                Ok(())
            } else {
                Err(record.report(self.fetcher.now()).to_string())
            }
        })
        .await
    }

    /// Plays for a time.
    pub async fn watch(&self, time: Duration) {
        let _ = tokio::time::timeout(time, self.stop.cancelled()).await;
    }

    /// Waits until the stream has ended and everything has been received.
    pub async fn ended(&self, within: Duration) -> Result<()> {
        crate::harness::wait_until(within, "the stream ends", || async {
            let record = self.shared.lock();
            if record.ended() {
                Ok(())
            } else {
                Err(record.report(self.fetcher.now()).to_string())
            }
        })
        .await
    }

    /// Uses other servers from now on.
    pub fn set_bases(&self, bases: impl IntoIterator<Item = impl Into<String>>) {
        self.fetcher.set_bases(bases.into_iter().map(Into::into).collect());
    }

    /// Ends it and returns the whole record. Fails if it could not begin.
    pub async fn stop(mut self) -> Result<Report> {
        self.stop.cancel();
        (&mut self.task).await.context("the client failed")??;
        let now = self.fetcher.now();
        let mut record = self.shared.lock();
        record.finish();
        Ok(record.report(now))
    }
}

async fn run(fetcher: Arc<Fetcher>, shared: Shared, options: Arc<Options>) -> Result<()> {
    let target = options.multivariant();
    let playlist = multivariant(&fetcher, &shared, &target).await?;
    let first = playlist.variants.first().context("no variant")?;
    let played = if options.every {
        playlist.variants.as_slice()
    } else {
        std::slice::from_ref(first)
    };
    let mut uris: Vec<String> = Vec::new();
    for variant in played {
        let audio = playlist.audio(variant).find_map(|rendition| rendition.uri.clone());
        for uri in std::iter::once(variant.uri.clone()).chain(audio) {
            if !uris.contains(&uri) {
                uris.push(uri);
            }
        }
    }
    let mut players = tokio::task::JoinSet::new();
    let (audits, due) = tokio::sync::mpsc::channel(16);
    for uri in uris {
        let path = resolve(&target, &uri);
        shared.lock().begin(&path);
        let (fetcher, shared, options) = (fetcher.clone(), shared.clone(), options.clone());
        let audits = options.audit.then(|| audits.clone());
        players.spawn(Player::new(path, fetcher, shared, options, audits).run());
    }
    players.spawn(fetch::audit(fetcher, due));
    drop(audits);
    while let Some(ended) = players.join_next().await {
        ended.context("a rendition failed")?;
    }
    Ok(())
}

async fn multivariant(fetcher: &Fetcher, shared: &Shared, target: &str) -> Result<Multivariant> {
    let deadline = Instant::now() + BEGIN;
    while Instant::now() < deadline {
        let Some(got) = fetcher.playlist(target).await else {
            tokio::time::sleep(fetch::RETRY).await;
            continue;
        };
        let text = String::from_utf8_lossy(&got.body).into_owned();
        let (asked, at, server) = (got.asked, got.at, &got.server);
        shared.lock().validator.see(Observation {
            server,
            target,
            asked,
            at,
            text: &text,
        });
        match parse(&text) {
            Ok(Playlist::Multivariant(playlist)) => return Ok(playlist),
            Ok(Playlist::Media(_)) => bail!("{target} is a media playlist"),
            Err(finding) => bail!("{target}: {}\n{text}", finding.why),
        }
    }
    bail!(
        "{target} did not come within {BEGIN:?}: {}",
        shared.lock().report(fetcher.now())
    )
}
