//! The task of one pull: its sources in turn, again and again, for as long as it is wanted.

use std::sync::Arc;
use std::time::Duration;

use headwater_contract::{StreamEnd, StreamSource};
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, timeout};
use tokio_util::sync::CancellationToken;

use super::sources::PullSource;
use super::{Shared, Wanted, backoff};
use crate::hub::demand::Unavailable;
use crate::hub::{Occupancy, PublishOptions, Stream};
use crate::ingest::intake::{Intake, Upstream};
use crate::names::StreamName;
use crate::rtmp::chunk_reader::Message;
use crate::rtmp::client::{Client, ClientError, Incoming};
use crate::rtmp::url::RtmpUrl;

/// A source that sends no media for this long is given up.
const MEDIA_TIMEOUT: Duration = Duration::from_secs(10);
/// A stream whose pull broke is kept this long.
const GRACE: Duration = Duration::from_secs(30);

/// Why a source was given up.
#[derive(Debug, thiserror::Error)]
enum PullError {
    #[error("{url}: {source}")]
    Client { url: RtmpUrl, source: ClientError },
    #[error("{url}: no media for {} s", MEDIA_TIMEOUT.as_secs())]
    NoMedia { url: RtmpUrl },
    #[error(transparent)]
    Hub(#[from] NoSeat),
}

/// Why the hub doesn't take a stream that could be had.
#[derive(Clone, Copy, Debug, thiserror::Error)]
enum NoSeat {
    #[error("a publisher has this name")]
    Taken,
    #[error("the node holds as many streams as it is allowed to")]
    Full,
}

/// What became of a source that was tried.
enum Tried {
    /// It never played.
    Failed(PullError),
    /// It played and broke, or has left the list of sources.
    Broke(Option<PullError>),
    /// It said that the stream has ended.
    Ended,
    /// The pull is not wanted any more, or the stream was taken from it.
    Over,
}

/// One pull.
pub(super) struct Task {
    shared: Arc<Shared>,
    name: StreamName,
    id: u64,
    wanted: watch::Receiver<Wanted>,
    stop: CancellationToken,
    /// What a reconnect must know of the stream's clock.
    known: Upstream,
    /// The stream that it fed last.
    fed: Option<Stream>,
    /// Rounds without success.
    failures: u32,
}

impl Task {
    pub(super) fn new(
        shared: Arc<Shared>,
        name: StreamName,
        id: u64,
        wanted: watch::Receiver<Wanted>,
        stop: CancellationToken,
    ) -> Self {
        Self {
            shared,
            name,
            id,
            wanted,
            stop,
            known: Upstream::default(),
            fed: None,
            failures: 0,
        }
    }

    /// Runs until the pull is not wanted any more.
    pub(super) async fn run(mut self) {
        loop {
            let goes_on = Box::pin(self.round()).await;
            if !goes_on || self.stop.is_cancelled() {
                break;
            }
            let wait = backoff::delay(self.failures, self.fed.is_some(), rand::random());
            tokio::select! {
                () = self.stop.cancelled() => break,
                () = tokio::time::sleep(wait) => {}
                changed = self.wanted.changed() => match changed {
                    Ok(()) => self.failures = self.failures.min(1), // a new source, or a viewer asks: at once
                    Err(_) => break,
                },
            }
        }
        self.shared.remove(&self.name, self.id, |_| true);
        if let Some(stream) = &self.fed
            && stream.ended().is_none()
            && self.stop.is_cancelled()
            && stream.snapshot().source != StreamSource::Publish
        {
            // It broke before, and waits out its grace: nobody will feed it.
            self.shared.context.hub.end(stream, self.reason());
        }
    }

    fn reason(&self) -> StreamEnd {
        match self.shared.context.stop.is_cancelled() {
            true => StreamEnd::Shutdown,
            false => StreamEnd::NotWanted,
        }
    }

    /// Tries each source once. False if the pull is over.
    async fn round(&mut self) -> bool {
        let sources = Arc::clone(&self.wanted.borrow_and_update().sources);
        let mut last = None;
        let mut not_found = false;
        for source in sources.iter() {
            match Box::pin(self.attempt(source)).await {
                Tried::Over => return false,
                Tried::Ended => return self.ended(),
                Tried::Broke(error) => {
                    self.failures = 0;
                    self.shared.context.meters.pull_reconnected();
                    if let Some(error) = error {
                        tracing::info!(stream = %self.name, %error, "pull broke");
                        self.report(&error.to_string());
                    }
                    return true;
                }
                Tried::Failed(error) => {
                    tracing::debug!(stream = %self.name, %error, "pull source failed");
                    not_found |= matches!(
                        error,
                        PullError::Client {
                            source: ClientError::NotFound,
                            ..
                        }
                    );
                    last = Some(error);
                }
            }
        }
        self.failed(last, not_found)
    }

    /// All sources have failed: those who wait are told. False if nobody wants the pull then.
    fn failed(&mut self, error: Option<PullError>, not_found: bool) -> bool {
        self.failures = self.failures.saturating_add(1);
        let planned = self.wanted.borrow().planned;
        if self.failures == 1
            && let Some(error) = &error
        {
            match planned {
                true => tracing::warn!(stream = %self.name, %error, "pull fails, and is tried again"),
                false => tracing::info!(stream = %self.name, %error, "demanded stream can't be had"),
            }
        }
        self.report(&error.map_or_else(String::new, |error| error.to_string()));
        let answer = match not_found {
            true => Unavailable::NotFound,
            false => Unavailable::Temporarily,
        };
        let lost = self.fed.as_ref().is_none_or(|stream| stream.ended().is_some());
        let mut waiting = Vec::new();
        self.shared.update(&self.name, self.id, |entry| {
            entry.missing = not_found;
            waiting = std::mem::take(&mut entry.waiting);
        });
        let over = lost && self.shared.remove(&self.name, self.id, |wanted| !wanted.planned);
        if over && not_found {
            self.shared.note_absent(&self.name, Instant::now());
        }
        for viewer in waiting {
            let _ = viewer.send(Err(answer)); // a viewer that has left is no loss
        }
        !over
    }

    /// The source said that the stream has ended. False if the pull is over with that.
    fn ended(&mut self) -> bool {
        self.failures = 1;
        self.known = Upstream::default();
        self.shared.update(&self.name, self.id, |entry| {
            entry.up = false;
            entry.missing = true;
            entry.error = Some("the source says that the stream has ended".to_owned());
        });
        !self.shared.remove(&self.name, self.id, |wanted| !wanted.planned)
    }

    fn report(&self, error: &str) {
        self.shared.update(&self.name, self.id, |entry| {
            entry.up = false;
            entry.attempts = self.failures;
            entry.error = Some(error.to_owned());
        });
    }

    /// Plays from one source for as long as it goes.
    async fn attempt(&mut self, source: &PullSource) -> Tried {
        let url = &source.url;
        let opened = tokio::select! {
            () = self.stop.cancelled() => return Tried::Over,
            opened = open(url) => opened,
        };
        let (mut client, early) = match opened {
            Ok(opened) => opened,
            Err(error) => return Tried::Failed(error),
        };
        let planned = self.wanted.borrow().planned;
        let options = PublishOptions {
            source: if planned {
                StreamSource::Pull
            } else {
                StreamSource::OnDemand
            },
            grace: GRACE,
        };
        let free = |occupancy| match occupancy {
            Occupancy::Live { .. } => Err(NoSeat::Taken),
            Occupancy::Free | Occupancy::Vacant => Ok(()),
        };
        let publisher = match self.shared.context.hub.publish(&self.name, options, NoSeat::Full, free) {
            Ok(publisher) => publisher,
            Err(error) => return Tried::Failed(error.into()),
        };
        let stream = publisher.stream().clone();
        stream.set_upstream(source.folder());
        if self.fed.as_ref().is_none_or(|fed| fed.id() != stream.id()) {
            self.known = Upstream::default();
            self.fed = Some(stream);
        }
        tracing::info!(stream = %self.name, source = %url, "pulling");
        self.shared.update(&self.name, self.id, |entry| {
            entry.up = true;
            entry.missing = false;
            entry.error = None;
            entry.attempts = 0;
            for viewer in entry.waiting.drain(..) {
                let _ = viewer.send(Ok(())); // as above
            }
        });
        let known = std::mem::take(&mut self.known);
        let mut intake = Intake::pulled(publisher, self.shared.context.meters.clone(), known);
        for message in early {
            intake.take(message, Instant::now().into_std());
        }
        let tried = self.feed(&mut client, &mut intake, url).await;
        let (publisher, known) = intake.into_upstream();
        self.known = known;
        match tried {
            Tried::Over => publisher.finish(self.reason()),
            Tried::Ended => {
                tracing::info!(stream = %self.name, "the source has ended the stream");
                publisher.finish(StreamEnd::Unpublished);
            }
            // Dropped: the stream stays for its grace.
            Tried::Broke(_) | Tried::Failed(_) => {}
        }
        tried
    }

    /// Media into the hub, until something ends it.
    async fn feed(&mut self, client: &mut Client, intake: &mut Intake, url: &RtmpUrl) -> Tried {
        let displaced = intake.publisher().displaced().clone();
        let stream = intake.publisher().stream().clone();
        let mut look = tokio::time::interval(Duration::from_millis(500));
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut last_media, mut watched, mut had_viewers) = (Instant::now(), Instant::now(), false);
        let mut received = 0;
        loop {
            let incoming = tokio::select! {
                biased;
                () = self.stop.cancelled() => return Tried::Over,
                () = displaced.cancelled() => return self.displaced(&stream),
                Ok(()) = self.wanted.changed() => {
                    if !self.wanted.borrow_and_update().sources.iter().any(|source| source.url == *url) {
                        return Tried::Broke(None);
                    }
                    continue;
                }
                _ = look.tick() => {
                    if last_media.elapsed() >= MEDIA_TIMEOUT {
                        return Tried::Broke(Some(PullError::NoMedia { url: url.clone() }));
                    }
                    let has_viewers = stream.audience() > 0 || stream.is_offered();
                    // Those who left since the last look were here a moment ago: the time is never cut short.
                    if has_viewers || had_viewers {
                        watched = Instant::now();
                    }
                    had_viewers = has_viewers;
                    let idle = |wanted: &Wanted| {
                        !wanted.planned && wanted.demanded.is_some_and(|most| watched.elapsed() >= most)
                    };
                    // Two statements: the watch must not be held while the state's lock is taken.
                    let is_idle = idle(&self.wanted.borrow());
                    if is_idle && self.shared.remove(&self.name, self.id, idle) {
                        tracing::info!(stream = %self.name, "nobody watches: on-demand pull ends");
                        return Tried::Over;
                    }
                    continue;
                }
                incoming = client.next() => incoming,
            };
            let total = client.received();
            self.shared
                .context
                .meters
                .received(total - std::mem::replace(&mut received, total));
            match incoming {
                Ok(Incoming::Media(message)) => {
                    last_media = Instant::now();
                    intake.take(message, last_media.into_std());
                }
                Ok(Incoming::Ended) => return Tried::Ended,
                Ok(Incoming::Refused(source)) | Err(source) => {
                    let url = url.clone();
                    return Tried::Broke(Some(PullError::Client { url, source }));
                }
            }
        }
    }

    /// A publisher took the name, or the node ended the stream.
    fn displaced(&self, stream: &Stream) -> Tried {
        match stream.ended() {
            Some(_) => Tried::Ended,
            None => Tried::Broke(Some(NoSeat::Taken.into())),
        }
    }
}

/// Connects and waits for the first media. What came until then is given back with the client.
async fn open(url: &RtmpUrl) -> Result<(Client, Vec<Message>), PullError> {
    let failed = |source| PullError::Client {
        url: url.clone(),
        source,
    };
    let mut client = Client::connect(url, true).await.map_err(failed)?;
    client.play(&url.stream_with_query()).await.map_err(failed)?;
    let mut early = Vec::new();
    let first = timeout(MEDIA_TIMEOUT, async {
        loop {
            match client.next().await? {
                Incoming::Media(message) => {
                    let is_media = message.type_id != rtmp_rs::protocol::constants::MSG_DATA_AMF0;
                    early.push(message);
                    // Servers say a word or two before they know whether there is a stream at all.
                    if is_media || early.len() >= EARLY {
                        return Ok(());
                    }
                }
                Incoming::Ended => return Err(ClientError::NotFound),
                Incoming::Refused(error) => return Err(error),
            }
        }
    });
    match first.await {
        Ok(Ok(())) => Ok((client, early)),
        Ok(Err(source)) => Err(failed(source)),
        Err(_) => Err(PullError::NoMedia { url: url.clone() }),
    }
}

/// Script messages that are kept before the first media.
const EARLY: usize = 16;
