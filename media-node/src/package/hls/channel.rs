//! A stream's window as long as somebody asks for it: the task that fills it, those who wait for it, and what is rendered of it.

mod backfill;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use headwater_contract::StreamEnd;
use tokio::sync::{OnceCell, watch};
use tokio::time::{Instant, MissedTickBehavior, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::playlist::{self, Form};
use super::segmenter::Segmenter;
use super::upstream::{FetchError, Upstream};
use super::viewers::Viewers;
use super::window::{InitId, Progress, Rendition, Window};
use crate::hub::{Batch, Stream, Subscriber};
use crate::meters::{Audience, Meters, Protocol};
use crate::names::StreamName;

/// A window that nobody has asked for in this long is let go, unless the origin announces a longer one.
const IDLE: Duration = Duration::from_secs(30);
/// The longest segment that is fetched, bytes.
const MOST_SEGMENT: usize = 256 << 20;
/// The longest init segment that is fetched, bytes.
const MOST_INIT: usize = 1 << 20;

/// Handle of every channel of a node. The lock is a plain mutex: look-ups are short, and nothing awaits under it. Bounded by
/// the streams of the hub and, for a window's time, those that have ended.
#[derive(Clone)]
pub struct Channels(Arc<Registry>);

struct Registry {
    meters: Meters,
    upstream: Upstream,
    tasks: TaskTracker,
    /// Ends every channel.
    stop: CancellationToken,
    channels: Mutex<HashMap<StreamName, Channel>>,
}

/// Handle of a stream's channel. The window's lock is a plain mutex: one task writes, and nothing awaits under it.
#[derive(Clone)]
pub struct Channel(Arc<Shared>);

struct Shared {
    stream: Stream,
    upstream: Upstream,
    state: Mutex<State>,
    /// Counts changes of the window.
    version: watch::Sender<u64>,
    stop: CancellationToken,
}

struct State {
    window: Window,
    viewers: Viewers,
    asked: Instant,
    rendered: HashMap<(Rendition, Form), Rendered>,
    /// Fetches under way, so that what many ask for is fetched once.
    fetches: HashMap<File, Arc<OnceCell<()>>>,
}

/// A playlist as it is sent, shared by all who ask.
#[derive(Clone, Debug)]
pub struct Rendered {
    version: u64,
    /// The text.
    pub text: Bytes,
    /// The text in gzip.
    pub gzip: Bytes,
}

/// A file of media.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum File {
    /// Headers.
    Init(Rendition, InitId),
    /// A segment.
    Segment(Rendition, u64),
    /// A part of a segment.
    Part(Rendition, u64, usize),
}

/// A file that can't be had.
#[derive(Debug, thiserror::Error)]
pub enum Missing {
    /// It has left the window.
    #[error("it has left the window")]
    Gone,
    /// There is no such file, or not yet.
    #[error("there is no such file, or not yet")]
    NotFound,
    /// The upstream has it, and could not be asked.
    #[error("failed to fetch it from the upstream: {0}")]
    Upstream(#[from] FetchError),
}

/// A file, and how much media it is.
#[derive(Clone, Debug)]
pub struct Found {
    /// Its bytes.
    pub bytes: Bytes,
    /// Milliseconds of media that somebody watches who takes it: none for headers, and for sound beside pictures.
    pub watched_ms: u64,
}

impl Channels {
    /// No channels so far.
    pub fn new(meters: Meters, tasks: TaskTracker, stop: CancellationToken) -> Self {
        Self(Arc::new(Registry {
            meters,
            upstream: Upstream::default(),
            tasks,
            stop,
            channels: Mutex::default(),
        }))
    }

    /// The channel of a stream, which is made if need be.
    pub fn open(&self, stream: &Stream) -> Channel {
        let mut channels = self.lock();
        if let Some(channel) = channels.get(stream.name())
            && (channel.0.stream.id() == stream.id() || stream.ended().is_some())
        {
            return channel.clone();
        }
        let stop = self.0.stop.child_token();
        let channel = Channel::new(stream.clone(), self.0.upstream.clone(), stop);
        if let Some(before) = channels.insert(stream.name().clone(), channel.clone()) {
            before.0.stop.cancel();
            channel.inherit(&before);
        }
        drop(channels);
        let audience = self.0.meters.audience(Protocol::Hls);
        self.0
            .tasks
            .spawn(run(self.clone(), channel.clone(), stream.subscribe_all(), audience));
        self.0.tasks.spawn(backfill::run(channel.clone()));
        channel
    }

    /// The channel of that name, if there is one: that of a stream which has ended stays for its window.
    pub fn get(&self, name: &StreamName) -> Option<Channel> {
        self.lock().get(name).cloned()
    }

    fn let_go(&self, channel: &Channel) {
        channel.0.stop.cancel();
        let mut channels = self.lock();
        let name = channel.0.stream.name();
        if channels.get(name).is_some_and(|held| Arc::ptr_eq(&held.0, &channel.0)) {
            channels.remove(name);
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<StreamName, Channel>> {
        self.0.channels.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Channel {
    fn new(stream: Stream, upstream: Upstream, stop: CancellationToken) -> Self {
        Self(Arc::new(Shared {
            stream,
            upstream,
            state: Mutex::new(State {
                window: Window::new(),
                viewers: Viewers::default(),
                asked: Instant::now(),
                rendered: HashMap::new(),
                fetches: HashMap::new(),
            }),
            version: watch::Sender::new(0),
            stop,
        }))
    }

    /// The stream came back under its name: what was packaged before can still be fetched.
    fn inherit(&self, before: &Channel) {
        let window = std::mem::take(&mut before.lock().window);
        self.lock().window.inherit(window, Instant::now().into_std());
    }

    /// Looks at the window.
    pub fn with<T>(&self, look: impl FnOnce(&Window) -> T) -> T {
        look(&self.lock().window)
    }

    /// Somebody asked for it: it stays for a while.
    pub fn asked(&self) {
        self.lock().asked = Instant::now();
    }

    /// Somebody was sent so much media.
    pub fn watched(&self, ms: u64) {
        self.lock().viewers.sent(ms);
    }

    /// Waits until the window is as `enough` says. False if it isn't by `deadline`, or no more will come.
    pub async fn wait(&self, deadline: Instant, enough: impl Fn(&Window) -> bool) -> bool {
        let mut version = self.0.version.subscribe();
        loop {
            version.borrow_and_update();
            {
                let state = self.lock();
                if enough(&state.window) {
                    return true;
                }
                if state.window.ended() {
                    return false;
                }
            }
            let changed = tokio::select! {
                changed = timeout_at(deadline, version.changed()) => changed,
                () = self.0.stop.cancelled() => return false,
            };
            if !matches!(changed, Ok(Ok(()))) {
                return false;
            }
        }
    }

    /// Waits until there is something to show, at most until `deadline`.
    pub async fn begun(&self, deadline: Instant) -> bool {
        self.wait(deadline, |window| window.settled() && window.whole().next().is_some())
            .await
            || self.with(|window| window.settled() && window.shown().next().is_some())
    }

    /// A media playlist, rendered once for all who ask for this state of it.
    pub fn playlist(&self, rendition: Rendition, form: Form) -> Rendered {
        let mut state = self.lock();
        let version = *self.0.version.borrow();
        if let Some(rendered) = state
            .rendered
            .get(&(rendition, form))
            .filter(|held| held.version == version)
        {
            return rendered.clone();
        }
        let text = playlist::render(&state.window, rendition, form);
        let rendered = Rendered {
            version,
            gzip: gzip(text.as_bytes()),
            text: text.into(),
        };
        state.rendered.insert((rendition, form), rendered.clone());
        rendered
    }

    /// A file of media, fetched from the upstream if it is not here.
    pub async fn file(&self, file: File) -> Result<Found, Missing> {
        loop {
            let fetch = {
                let mut state = self.lock();
                match look_up(&state.window, file)? {
                    Ok(found) => return Ok(found),
                    Err(wanted) => Arc::clone(state.fetches.entry(wanted).or_default()),
                }
            };
            let wanted = file.whole();
            let fetched = fetch.get_or_try_init(|| self.fetch(wanted)).await;
            self.lock().fetches.remove(&wanted);
            fetched?;
        }
    }

    async fn fetch(&self, file: File) -> Result<(), Missing> {
        let base = self.0.stream.upstream().ok_or(Missing::NotFound)?;
        let (name, most) = match file {
            File::Init(rendition, id) => (playlist::init_name(rendition, id), MOST_INIT),
            File::Segment(rendition, number) | File::Part(rendition, number, _) => {
                (playlist::segment_name(rendition, number), MOST_SEGMENT)
            }
        };
        let bytes = self.0.upstream.fetch(&base, &name, most).await?;
        let window = &mut self.lock().window;
        match file {
            File::Init(rendition, id) => window.fill_init(id, rendition, bytes),
            File::Segment(rendition, number) | File::Part(rendition, number, _) => {
                if !window.fill(rendition, number, &bytes) {
                    return Err(Missing::NotFound);
                }
            }
        }
        Ok(())
    }

    /// Changes the window and tells those who wait.
    fn change(&self, change: impl FnOnce(&mut Window) -> bool) {
        let mut state = self.lock();
        if change(&mut state.window) {
            self.0.version.send_modify(|version| *version += 1);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl File {
    /// What is fetched for it: parts come with their segment.
    fn whole(self) -> Self {
        match self {
            File::Part(rendition, number, _) => File::Segment(rendition, number),
            whole => whole,
        }
    }
}

/// The file if it is here, or what must be fetched for it.
fn look_up(window: &Window, file: File) -> Result<Result<Found, File>, Missing> {
    let (rendition, number) = match file {
        File::Init(rendition, id) => {
            let init = window.inits(id).and_then(|inits| inits[rendition.index()].as_ref());
            let init = init.ok_or(if id.epoch < window.epoch() {
                Missing::Gone
            } else {
                Missing::NotFound
            })?;
            return Ok(init
                .bytes
                .clone()
                .map(|bytes| Found { bytes, watched_ms: 0 })
                .ok_or(file));
        }
        File::Segment(rendition, number) | File::Part(rendition, number, _) => (rendition, number),
    };
    let Some(segment) = window.segment(number) else {
        let gone = window.first_number().is_some_and(|first| number < first);
        return Err(if gone { Missing::Gone } else { Missing::NotFound });
    };
    let track = segment.track(rendition).ok_or(Missing::NotFound)?;
    let pictures = rendition == Rendition::Video || segment.track(Rendition::Video).is_none();
    let ms = |ticks: u64| {
        if pictures {
            ticks * 1_000 / u64::from(track.timescale.max(1))
        } else {
            0
        }
    };
    let (bytes, ticks) = match file {
        File::Part(_, _, index) => {
            let part = track.parts.get(index).ok_or(Missing::NotFound)?;
            (part.bytes.clone(), part.ticks)
        }
        _ if segment.progress == Progress::Open => return Err(Missing::NotFound),
        _ => (track.bytes().cloned(), track.ticks()),
    };
    let watched_ms = ms(ticks);
    Ok(bytes.map(|bytes| Found { bytes, watched_ms }).ok_or(file.whole()))
}

/// Compressed at a level that costs little.
pub fn gzip(text: &[u8]) -> Bytes {
    use std::io::Write;
    let mut encoder =
        flate2::write::GzEncoder::new(Vec::with_capacity(text.len() / 4 + 64), flate2::Compression::new(4));
    let _ = encoder.write_all(text); // into memory: can't fail
    encoder.finish().unwrap_or_default().into()
}

/// Fills the window until the stream has ended and its window has passed, or nobody asks for it.
async fn run(channels: Channels, channel: Channel, mut subscriber: Subscriber, mut audience: Audience) {
    let mut segmenter = Segmenter::default();
    let mut items = Vec::new();
    let mut seconds = tokio::time::interval(Duration::from_secs(1));
    seconds.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut live = true;
    loop {
        tokio::select! {
            () = channel.0.stop.cancelled() => break,
            batch = subscriber.next(&mut items), if live => live = fill(&channel, &mut segmenter, batch, &mut items),
            _ = seconds.tick() => {
                let (viewers, idle) = {
                    let mut state = channel.lock();
                    let window = Duration::from_millis(state.window.targets().window_ms);
                    let most = if live { IDLE.max(window.min(IDLE * 4)) } else { window };
                    (state.viewers.second(), state.asked.elapsed() > most)
                };
                audience.set(viewers);
                channel.0.stream.set_unconnected(viewers);
                if idle {
                    break;
                }
            }
        }
    }
    channel.0.stream.set_unconnected(0);
    channels.let_go(&channel);
}

/// Takes a batch into the window. False at the end of the stream.
fn fill(channel: &Channel, segmenter: &mut Segmenter, batch: Batch, items: &mut Vec<crate::hub::Item>) -> bool {
    let now = std::time::Instant::now();
    match batch {
        Batch::Items => channel.change(|window| {
            let mut changed = false;
            for item in items.drain(..) {
                changed |= segmenter.item(&item, window, now);
            }
            changed
        }),
        Batch::Restarted => segmenter.abandon(),
        Batch::Skipped => channel.change(|window| {
            segmenter.skipped(window, now);
            true
        }),
        Batch::Ended(reason) => {
            channel.change(|window| {
                match reason {
                    StreamEnd::Unpublished | StreamEnd::PublisherLost => segmenter.finish(window, now),
                    StreamEnd::SourceLost | StreamEnd::NotWanted | StreamEnd::Shutdown => segmenter.abandon(),
                }
                window.settle();
                window.end();
                true
            });
            return false;
        }
    }
    true
}
