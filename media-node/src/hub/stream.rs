//! One stream: its ring, its tracks, its clock, and the session that feeds it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use headwater_contract::{StreamEnd, StreamSource};
use jiff::Timestamp;
use tokio::sync::Notify;
use tokio::sync::futures::Notified;
use tokio_util::sync::CancellationToken;

use super::broadcast::{Ring, Subscriber};
use super::dvr::Dvr;
use super::groups::Groups;
use super::registry::{Limits, Occupancy};
use super::state::{Clocking, Session, State, now_ms};
use super::unison::Unison;
use crate::media::track::Tracks;
use crate::names::StreamName;

/// How long an offer holds: players of MPEG-DASH ask for a manifest each second.
const OFFER: Duration = Duration::from_secs(3);

/// Handle of a stream. The lock is a plain mutex: it is held for the few instructions that touch the ring, never over an
/// await, and the publisher is its only writer.
#[derive(Clone)]
pub struct Stream(Arc<Shared>);

struct Shared {
    id: u64,
    name: StreamName,
    limits: Limits,
    dvr: Dvr,
    groups: Groups,
    viewers: AtomicU64,
    relays: AtomicU64,
    /// Viewers without a connection of their own (HLS), as estimated.
    unconnected: AtomicU64,
    /// When players were last offered it who may come to it at any moment.
    offered: Mutex<Option<Instant>>,
    /// Where the node that it is pulled from packages it.
    upstream: Mutex<Option<Arc<str>>>,
    wake: Notify,
    state: Mutex<State>,
}

/// What a stream is at a moment.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// Its name.
    pub name: StreamName,
    /// Incarnation, Unix milliseconds.
    pub epoch: u64,
    /// How it got here.
    pub source: StreamSource,
    /// A newcomer would be served at once.
    pub playable: bool,
    /// Somebody feeds it; else it waits for its publisher, or its pull, to return.
    pub attended: bool,
    /// Configurations.
    pub tracks: Arc<Tracks>,
    /// What it is a quality of, by the origin's clock.
    pub group: Option<StreamName>,
    /// When it came up here.
    pub since: Timestamp,
    /// Measured bit rate, bits per second.
    pub bitrate_bps: u64,
    /// Viewers.
    pub viewers: u64,
    /// Other nodes that pull it from here.
    pub relays: u64,
    /// Age of the newest unit by the upstream's clock, milliseconds; 0 for our own clock, none without a clock.
    pub lag_ms: Option<u64>,
    /// Media units lost upstream.
    pub lost_units: u64,
}

impl std::fmt::Debug for Stream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Stream({})", self.0.name)
    }
}

impl Stream {
    /// `settings` are those of the hub, which may change; `used` is the highest number of a segment that its name has had; `unison` is
    /// for a member of a group.
    pub(super) fn new(
        id: u64,
        name: StreamName,
        source: StreamSource,
        limits: Limits,
        settings: (Dvr, Groups),
        (used, unison): (Option<u64>, Option<Unison>),
    ) -> Self {
        let (dvr, groups) = settings;
        Self(Arc::new(Shared {
            id,
            name,
            limits,
            dvr,
            groups,
            viewers: AtomicU64::new(0),
            relays: AtomicU64::new(0),
            unconnected: AtomicU64::new(0),
            offered: Mutex::default(),
            upstream: Mutex::default(),
            wake: Notify::new(),
            state: Mutex::new(State::new(source, used, unison)),
        }))
    }

    /// Its name.
    pub fn name(&self) -> &StreamName {
        &self.0.name
    }

    /// Unique within the process: a stream that ends and comes back has another one.
    pub fn id(&self) -> u64 {
        self.0.id
    }

    /// What it is now.
    pub fn snapshot(&self) -> Snapshot {
        let state = self.lock();
        let lag_ms = state.clock.as_ref().map(|clock| match state.clocking {
            Clocking::Upstream { .. } => clock.lag_ms(state.newest_dts, now_ms()),
            _ => 0,
        });
        Snapshot {
            name: self.0.name.clone(),
            epoch: state.epoch,
            source: state.source,
            playable: state.playable(),
            attended: matches!(state.session, Session::Live { .. }),
            tracks: Arc::clone(&state.tracks),
            group: state.group(),
            since: state.since,
            bitrate_bps: state.meter.bits_per_second(),
            viewers: self.viewers(),
            relays: self.0.relays.load(Ordering::Relaxed),
            lag_ms,
            lost_units: state.lost_units,
        }
    }

    /// What it is a quality of, by the origin's clock.
    pub fn group(&self) -> Option<StreamName> {
        self.lock().group()
    }

    /// Viewers and relays.
    pub fn audience(&self) -> u64 {
        self.viewers() + self.0.relays.load(Ordering::Relaxed)
    }

    fn viewers(&self) -> u64 {
        self.0.viewers.load(Ordering::Relaxed) + self.0.unconnected.load(Ordering::Relaxed)
    }

    /// Sets how many watch it without a connection of their own.
    pub fn set_unconnected(&self, viewers: u64) {
        self.0.unconnected.store(viewers, Ordering::Relaxed);
    }

    /// Players are offered it among others, and may come to it at any moment: for [`OFFER`] from now on it is worth a pull.
    pub fn offer(&self) {
        *self.0.offered.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    /// True if players were offered it a moment ago.
    pub fn is_offered(&self) -> bool {
        let offered = *self.0.offered.lock().unwrap_or_else(PoisonError::into_inner);
        offered.is_some_and(|at| at.elapsed() < OFFER)
    }

    /// The folder, `http://host:port/app/stream/`, in which the node that it is pulled from packages it; none for a stream
    /// that is published here, or pulled from another kind of server.
    pub fn upstream(&self) -> Option<Arc<str>> {
        self.0.upstream.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Sets where the node that it is pulled from packages it.
    pub fn set_upstream(&self, folder: Option<Arc<str>>) {
        *self.0.upstream.lock().unwrap_or_else(PoisonError::into_inner) = folder;
    }

    /// True if nobody feeds it.
    pub fn unattended(&self) -> bool {
        matches!(self.lock().session, Session::Vacant { .. })
    }

    /// Why it ended, if it has.
    pub fn ended(&self) -> Option<StreamEnd> {
        self.lock().ended
    }

    /// A cursor that begins at the newest start.
    pub fn subscribe(&self) -> Subscriber {
        Subscriber::new(self.clone(), self.lock().restarts)
    }

    /// A cursor that begins with all that is held from a start on.
    pub fn subscribe_all(&self) -> Subscriber {
        self.subscribe().beginning_with_all()
    }

    /// Counts a viewer for as long as the guard lives.
    pub fn watch(&self) -> Watching {
        self.0.viewers.fetch_add(1, Ordering::Relaxed);
        Watching {
            stream: self.clone(),
            relay: false,
        }
    }

    /// Counts a relay for as long as the guard lives.
    pub fn relay(&self) -> Watching {
        self.0.relays.fetch_add(1, Ordering::Relaxed);
        Watching {
            stream: self.clone(),
            relay: true,
        }
    }

    /// Waits until it is playable. Returns why not, if it ends first.
    pub async fn playable(&self) -> Result<(), StreamEnd> {
        loop {
            let woken = self.woken();
            tokio::pin!(woken);
            woken.as_mut().enable();
            {
                let state = self.lock();
                if state.playable() {
                    return Ok(());
                }
                if let Some(reason) = state.ended {
                    return Err(reason);
                }
            }
            woken.await;
        }
    }

    pub(super) fn woken(&self) -> Notified<'_> {
        self.0.wake.notified()
    }

    pub(super) fn with_ring<T>(&self, read: impl FnOnce(&Ring, u64, Option<StreamEnd>) -> T) -> T {
        let state = self.lock();
        read(&state.ring, state.restarts, state.ended)
    }

    pub(super) fn occupancy(&self, now: Instant) -> Occupancy {
        let state = self.lock();
        match state.session {
            Session::Live { seated, .. } => {
                let heard = state.last_media.map_or(seated, |last| last.max(seated));
                Occupancy::Live {
                    silent_for: now.duration_since(heard),
                }
            }
            Session::Vacant { .. } => Occupancy::Vacant,
        }
    }

    /// Seats a session, displacing the one before; none if the stream has ended.
    pub(super) fn seat(&self, session: u64, source: StreamSource) -> Option<CancellationToken> {
        let displaced = CancellationToken::new();
        let mut state = self.lock();
        if state.ended.is_some() {
            return None;
        }
        if let Session::Live { displaced, .. } = &state.session {
            displaced.cancel();
        }
        state.source = source;
        state.session = Session::Live {
            id: session,
            displaced: displaced.clone(),
            seated: Instant::now(),
        };
        Some(displaced)
    }

    /// Ends it if its grace has passed at `now`.
    pub(super) fn expire(&self, now: Instant) -> Option<StreamEnd> {
        let mut state = self.lock();
        match state.session {
            Session::Vacant { since, grace, reason } if now.duration_since(since) >= grace => {
                state.ended.get_or_insert(reason);
                state.unison = None; // as in `end`
            }
            _ => {}
        }
        let ended = state.ended;
        drop(state);
        if ended.is_some() {
            self.0.wake.notify_waiters();
        }
        ended
    }

    /// The highest number that a segment has had which was cut here.
    pub(super) fn used(&self) -> Option<u64> {
        self.lock().used
    }

    pub(super) fn end(&self, reason: StreamEnd) {
        let mut state = self.lock();
        state.ended.get_or_insert(reason);
        state.unison = None; // nobody joins those who have all ended
        if let Session::Live { displaced, .. } = &state.session {
            displaced.cancel();
        }
        drop(state);
        self.0.wake.notify_waiters();
    }

    /// Its bounds, and what its clock announces now.
    pub(super) fn limits(&self) -> Limits {
        let mut limits = self.0.limits;
        limits.targets.window_ms = limits.targets.window_ms.max(self.0.dvr.ms());
        limits
    }

    /// The setting by which it may be a quality of a group.
    pub(super) fn groups(&self) -> &Groups {
        &self.0.groups
    }

    pub(super) fn wake(&self) {
        self.0.wake.notify_waiters();
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Counts somebody who watches, until it is dropped.
#[derive(Debug)]
pub struct Watching {
    stream: Stream,
    relay: bool,
}

impl Drop for Watching {
    fn drop(&mut self) {
        let shared = &self.stream.0;
        let count = if self.relay { &shared.relays } else { &shared.viewers };
        count.fetch_sub(1, Ordering::Relaxed);
    }
}
