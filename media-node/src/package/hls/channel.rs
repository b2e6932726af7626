//! A stream's window as long as somebody asks for it: the task that fills it, those who wait for it, and what is rendered of it.

mod backfill;
mod files;
mod keeper;
mod rendered;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use headwater_contract::StreamEnd;
use tokio::sync::{OnceCell, watch};
use tokio::time::{Instant, MissedTickBehavior, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use files::{File, Found, Missing};
pub use rendered::Rendered;

use super::archive::Archive;
use super::playlist::{self, Form, OldText};
use super::segmenter::Segmenter;
use super::upstream::Upstream;
use super::viewers::Viewers;
use super::window::{Holdings, Rendition, Window};
use crate::hub::{Batch, Stream, Subscriber};
use crate::meters::{Audience, Meters, Protocol};
use crate::names::StreamName;
use crate::package::dash;

/// A window that nobody has asked for in this long is let go, unless the origin announces a longer one.
const IDLE: Duration = Duration::from_secs(30);

/// Handle of every channel of a node. The lock is a plain mutex: look-ups are short, and nothing awaits under it. Bounded by
/// the streams of the hub and, for a window's time, those that have ended, which the keeper bounds.
#[derive(Clone)]
pub struct Channels(Arc<Registry>);

struct Registry {
    meters: Meters,
    upstream: Upstream,
    archive: Archive,
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
    archive: Archive,
    state: Mutex<State>,
    /// Counts changes of the window.
    version: watch::Sender<u64>,
    stop: CancellationToken,
}

struct State {
    window: Window,
    viewers: Viewers,
    asked: Instant,
    ended_at: Option<Instant>,
    /// By version, and what was said of others.
    rendered: HashMap<(Rendition, Form), (u64, String, Rendered)>,
    /// Manifests of MPEG-DASH.
    manifests: HashMap<dash::Form, (dash::outline::Version, Rendered)>,
    /// By rendition.
    old: [OldText; 2],
    /// What the archive has been told of.
    held: Holdings,
    /// Old segments before this number are in files, or on the way there.
    stored_to: u64,
    /// When it was said last that the window has become shorter.
    said: Option<Instant>,
    /// Fetches under way, so that what many ask for is fetched once.
    fetches: HashMap<File, Arc<OnceCell<Bytes>>>,
}

impl Channels {
    /// No channels so far.
    pub fn new(meters: Meters, archive: Archive, tasks: TaskTracker, stop: CancellationToken) -> Self {
        Self(Arc::new(Registry {
            meters,
            upstream: Upstream::default(),
            archive,
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
        let channel = Channel::new(stream.clone(), &self.0, stop);
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

    /// Streams of a group that have ended and can still be played back, in order of name.
    pub fn ended(&self, group: &StreamName) -> Vec<(StreamName, Channel)> {
        let channels = self.lock();
        let of_group = channels.iter().filter(|(_, channel)| {
            let stream = &channel.0.stream;
            stream.ended().is_some() && stream.group().as_ref() == Some(group)
        });
        let mut ended: Vec<_> = of_group
            .map(|(name, channel)| (name.clone(), channel.clone()))
            .collect();
        drop(channels);
        ended.sort_by(|(a, _), (b, _)| a.cmp(b));
        ended
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
    fn new(stream: Stream, registry: &Registry, stop: CancellationToken) -> Self {
        Self(Arc::new(Shared {
            stream,
            upstream: registry.upstream.clone(),
            archive: registry.archive.clone(),
            state: Mutex::new(State {
                window: Window::new(),
                viewers: Viewers::default(),
                asked: Instant::now(),
                ended_at: None,
                rendered: HashMap::new(),
                manifests: HashMap::new(),
                old: Default::default(),
                held: Holdings::default(),
                stored_to: 0,
                said: None,
                fetches: HashMap::new(),
            }),
            version: watch::Sender::new(0),
            stop,
        }))
    }

    /// The stream came back under its name: what was packaged before can still be fetched.
    fn inherit(&self, before: &Channel) {
        let mut state = before.lock();
        let window = std::mem::take(&mut state.window);
        before.account(&mut state);
        drop(state);
        let mut state = self.lock();
        state.window.inherit(window, Instant::now().into_std());
        self.account(&mut state);
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

    /// A media playlist, rendered once for all who ask for this state of it. `others` are reports on playlists of other streams.
    pub fn playlist(&self, rendition: Rendition, form: Form, others: String) -> Rendered {
        let mut state = self.lock();
        let version = *self.0.version.borrow();
        if let Some((held, said, rendered)) = state.rendered.get(&(rendition, form))
            && (*held, said) == (version, &others)
        {
            return rendered.clone();
        }
        let State { window, old, .. } = &mut *state;
        let mut text = playlist::render(window, rendition, form, &mut old[rendition.index()]);
        if form != Form::Plain && !window.ended() {
            text.push_str(&others);
        }
        let rendered = Rendered::new(text);
        state
            .rendered
            .insert((rendition, form), (version, others, rendered.clone()));
        rendered
    }

    /// A manifest of MPEG-DASH, rendered once for all who ask for this state of it; none where there is nothing to show. It says
    /// that files are in `folder` and the time at `clock`, from where it is.
    pub fn manifest(&self, form: dash::Form, folder: &str, clock: &str) -> Option<Rendered> {
        let mut state = self.lock();
        let version = dash::outline::Version::of(&state.window);
        if let Some((held, rendered)) = state.manifests.get(&form)
            && *held == version
        {
            return Some(rendered.clone());
        }
        let outline = dash::outline::Outline::of(&state.window, folder.to_owned());
        let rendered = Rendered::new(dash::manifest::render(&[outline], form, clock)?);
        state.manifests.insert(form, (version, rendered.clone()));
        Some(rendered)
    }

    /// Nobody needs it any more. One of this node's own streams is kept while it lives, where the past is kept at all, and for
    /// the window's time after its end; who plays it then may do so to the end.
    fn idle(&self, state: &State) -> bool {
        let window = Duration::from_millis(state.window.targets().window_ms);
        let (own, asked) = (self.0.stream.upstream().is_none(), state.asked.elapsed());
        match state.ended_at.map(|at| at.elapsed()) {
            Some(ended) if own => ended > window && asked > window || ended > window * 2,
            Some(_) => asked > window,
            None if own && self.0.archive.on() => false,
            None => asked > IDLE.max(window.min(IDLE * 4)),
        }
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
                channel.store();
                let (viewers, idle) = {
                    let mut state = channel.lock();
                    channel.account(&mut state);
                    (state.viewers.second(), channel.idle(&state))
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
    let again = channel.0.stream.upstream().is_some();
    match batch {
        Batch::Items => channel.change(|window| {
            let mut changed = false;
            window.can_have_again(again);
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
            channel.lock().ended_at = Some(Instant::now());
            return false;
        }
    }
    true
}
