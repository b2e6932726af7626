//! The registry of a node's streams: who may feed which name, and when a stream ends.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use headwater_contract::{StreamEnd, StreamSource};
use tokio::sync::{broadcast, mpsc, oneshot};

use super::cutter::Targets;
use super::demand::{self, Demand, Unavailable};
use super::dvr::Dvr;
use super::groups::Groups;
use super::missing::Missing;
use super::publisher::Publisher;
use super::state::now_ms;
use super::stream::Stream;
use super::unison::Births;
use crate::names::StreamName;

/// Bounds of the hub.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Streams at once; one more is refused.
    pub streams: usize,
    /// Bytes of media that a stream's ring holds; beyond, the oldest go, and newcomers wait for the next key frame.
    pub ring_bytes: usize,
    /// Items that a stream's ring holds; beyond, as above.
    pub ring_items: usize,
    /// What the origin's clock announces.
    pub targets: Targets,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            streams: 1_000,
            ring_bytes: 32 << 20,
            ring_items: 16_384,
            targets: Targets::default(),
        }
    }
}

/// Who sits on a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Occupancy {
    /// No such stream.
    Free,
    /// The stream waits for its publisher to return.
    Vacant,
    /// Somebody feeds it.
    Live {
        /// Time since the last media.
        silent_for: Duration,
    },
}

/// How a stream is to be fed.
#[derive(Clone, Copy, Debug)]
pub struct PublishOptions {
    /// How it gets here.
    pub source: StreamSource,
    /// How long the stream stays when its publisher vanishes.
    pub grace: Duration,
}

/// What happened to a stream.
#[derive(Clone, Debug)]
pub enum HubEvent {
    /// It became playable, or its tracks or epoch changed.
    Up(Stream),
    /// It ended.
    Down(Stream, StreamEnd),
}

/// Handle of the registry. The lock is a plain mutex: look-ups are short, and nothing awaits under it.
#[derive(Clone)]
pub struct Hub(Arc<Shared>);

struct Shared {
    limits: Limits,
    dvr: Dvr,
    groups: Groups,
    ids: AtomicU64,
    streams: Mutex<HashMap<StreamName, Stream>>,
    /// Locked after `streams`, where both are.
    missing: Mutex<Missing>,
    /// Likewise.
    births: Mutex<Births>,
    events: broadcast::Sender<HubEvent>,
    demands: Option<mpsc::Sender<Demand>>,
}

/// Events that a slow listener may fall behind before it is told that it lost some.
const EVENT_BACKLOG: usize = 1_024;

impl std::fmt::Debug for Hub {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Hub")
    }
}

impl Hub {
    /// An empty hub. `demands` goes to whoever can pull streams that viewers ask for.
    pub fn new(limits: Limits, demands: Option<mpsc::Sender<Demand>>) -> Self {
        Self(Arc::new(Shared {
            limits,
            dvr: Dvr::default(),
            groups: Groups::default(),
            ids: AtomicU64::new(1),
            streams: Mutex::default(),
            missing: Mutex::default(),
            births: Mutex::default(),
            events: broadcast::channel(EVENT_BACKLOG).0,
            demands,
        }))
    }

    /// How much of every stream can be played back at least.
    pub fn dvr(&self) -> &Dvr {
        &self.0.dvr
    }

    /// Which streams are one another's qualities.
    pub fn groups(&self) -> &Groups {
        &self.0.groups
    }

    /// Every stream, in no order.
    pub fn streams(&self) -> Vec<Stream> {
        self.lock().values().cloned().collect()
    }

    /// Streams whose publisher vanished without a goodbye, outstayed its grace, and has not come back for less than an hour;
    /// in order of name, at most 200.
    pub fn missing(&self) -> Vec<StreamName> {
        self.lock_missing().names(Instant::now())
    }

    /// The stream of that name, if it is here.
    pub fn get(&self, name: &StreamName) -> Option<Stream> {
        self.lock().get(name).cloned()
    }

    /// What happens from now on. A listener that falls 1,024 events behind is told so and looks at everything anew.
    pub fn events(&self) -> broadcast::Receiver<HubEvent> {
        self.0.events.subscribe()
    }

    /// The stream of that name, pulled on demand if it is not here and can be had. Waits at most [`demand::PATIENCE`]
    /// for it to be playable.
    pub async fn find(&self, name: &StreamName) -> Result<Stream, Unavailable> {
        let deadline = tokio::time::Instant::now() + demand::PATIENCE;
        if self.get(name).is_none() {
            let demands = self.0.demands.as_ref().ok_or(Unavailable::NotFound)?;
            let (answer, answered) = oneshot::channel();
            demands
                .try_send(Demand {
                    name: name.clone(),
                    answer,
                })
                .map_err(|_| Unavailable::Temporarily)?;
            match tokio::time::timeout_at(deadline, answered).await {
                Ok(Ok(answer)) => answer?,
                Ok(Err(_)) | Err(_) => return Err(Unavailable::Temporarily),
            }
        }
        let stream = self.get(name).ok_or(Unavailable::NotFound)?;
        match tokio::time::timeout_at(deadline, stream.playable()).await {
            Ok(Ok(())) => Ok(stream),
            Ok(Err(_)) => Err(Unavailable::NotFound),
            Err(_) => Err(Unavailable::Temporarily),
        }
    }

    /// Seats a publisher on `name` if `admit` says so of who sits there, and the hub is not full (`full` is the error then).
    pub fn publish<E>(
        &self,
        name: &StreamName,
        options: PublishOptions,
        full: E,
        admit: impl FnOnce(Occupancy) -> Result<(), E>,
    ) -> Result<Publisher, E> {
        let mut streams = self.lock();
        let held = streams.get(name).cloned().filter(|stream| stream.ended().is_none());
        admit(
            held.as_ref()
                .map_or(Occupancy::Free, |stream| stream.occupancy(Instant::now())),
        )?;
        let session = self.0.ids.fetch_add(1, Ordering::Relaxed);
        let seat = |stream| Publisher::new(stream, self.clone(), session, options.source, options.grace);
        if let Some(publisher) = held.and_then(seat) {
            return Ok(publisher);
        }
        if streams.len() >= self.0.limits.streams && !streams.contains_key(name) {
            return Err(full);
        }
        let id = self.0.ids.fetch_add(1, Ordering::Relaxed);
        let before = streams.get(name).and_then(Stream::used);
        let life = {
            let mut births = self.lock_births();
            if let Some(used) = before {
                births.ended(name, used); // it has, and is still to be removed
            }
            let group = self.0.groups.of(name);
            let unison = group.map(|group| births.join(&group, name, now_ms()));
            (births.used(name), unison)
        };
        let settings = (self.0.dvr.clone(), self.0.groups.clone());
        let stream = Stream::new(id, name.clone(), options.source, self.0.limits, settings, life);
        let Some(publisher) = seat(stream.clone()) else {
            return Err(full);
        };
        streams.insert(name.clone(), stream);
        self.lock_missing().back(name);
        Ok(publisher)
    }

    /// Ends streams whose grace has passed. To be called several times a second.
    pub fn sweep(&self, now: Instant) {
        for stream in self.streams() {
            if let Some(reason) = stream.expire(now) {
                self.remove(&stream, reason);
            }
        }
    }

    /// Ends a stream for everybody, now.
    pub fn end(&self, stream: &Stream, reason: StreamEnd) {
        stream.end(reason);
        self.remove(stream, reason);
    }

    pub(super) fn changed(&self, stream: &Stream) {
        let _ = self.0.events.send(HubEvent::Up(stream.clone())); // nobody listening is fine
    }

    fn remove(&self, stream: &Stream, reason: StreamEnd) {
        let mut streams = self.lock();
        if streams.get(stream.name()).is_some_and(|held| held.id() == stream.id()) {
            streams.remove(stream.name());
            if let Some(used) = stream.used() {
                self.lock_births().ended(stream.name(), used);
            }
            if reason == StreamEnd::PublisherLost {
                self.lock_missing().lost(stream.name(), Instant::now());
            }
            drop(streams);
            let _ = self.0.events.send(HubEvent::Down(stream.clone(), reason)); // as above
        }
    }

    fn lock_missing(&self) -> MutexGuard<'_, Missing> {
        self.0.missing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock_births(&self) -> MutexGuard<'_, Births> {
        self.0.births.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<StreamName, Stream>> {
        self.0.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
