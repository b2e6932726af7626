//! The node's life as everybody must see it: starting, ready, draining, stopping. One handle, watched by all servers.

use std::sync::Arc;
use std::time::Instant;

use headwater_contract::DrainState;
use jiff::Timestamp;
use tokio::sync::watch;

/// Where the node is in its life.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Phase {
    /// The start-up latch: set once, never cleared.
    pub latched: bool,
    /// The drain in force, and when new viewers stop being accepted.
    pub drain: Option<Draining>,
    /// SIGTERM has come; there is no way back.
    pub stopping: bool,
}

/// A drain as the node carries it out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Draining {
    /// As told, and as shown.
    pub state: DrainState,
    /// Newcomers are refused from here on (`--drain-accept` after the beginning, so that load balancers catch up).
    pub refuse_from: Instant,
    /// The monotonic instant of `state.deadline`.
    pub deadline: Instant,
}

impl Phase {
    /// What `/readyz` says.
    pub fn ready(&self) -> bool {
        self.latched && self.drain.is_none() && !self.stopping
    }

    /// True while new viewers are served: a draining node still takes them until load balancers have caught up.
    pub fn admits(&self, now: Instant) -> bool {
        self.drain.as_ref().is_none_or(|drain| now < drain.refuse_from)
    }
}

/// Handle of the phase.
#[derive(Clone, Debug)]
pub struct Lifecycle(Arc<watch::Sender<Phase>>);

impl Default for Lifecycle {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(Phase::default())))
    }
}

impl Lifecycle {
    /// The phase now.
    pub fn phase(&self) -> Phase {
        self.0.borrow().clone()
    }

    /// True while new viewers are served.
    pub fn admits(&self) -> bool {
        self.0.borrow().admits(Instant::now())
    }

    /// Completes once newcomers are refused: a drain has begun, and its time to accept is over.
    pub async fn refuses(&self) {
        let mut phases = self.watch();
        loop {
            let from = phases.borrow_and_update().drain.as_ref().map(|drain| drain.refuse_from);
            if from.is_some_and(|from| Instant::now() >= from) {
                return;
            }
            let over = async {
                match from {
                    Some(from) => tokio::time::sleep_until(from.into()).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = over => {}
                changed = phases.changed() => if changed.is_err() {
                    return std::future::pending().await; // nobody is left who could begin a drain
                },
            }
        }
    }

    /// To wait for changes.
    pub fn watch(&self) -> watch::Receiver<Phase> {
        self.0.subscribe()
    }

    /// Sets the start-up latch.
    pub fn latch(&self) {
        self.0
            .send_if_modified(|phase| !std::mem::replace(&mut phase.latched, true));
    }

    /// Begins a drain, or moves the deadline of the one in force.
    pub fn drain(&self, deadline: Timestamp, accept: std::time::Duration) {
        let (now, wall) = (Instant::now(), Timestamp::now());
        let left = std::time::Duration::try_from(deadline.duration_since(wall)).unwrap_or_default();
        self.0.send_modify(|phase| {
            let (since, refuse_from) = match &phase.drain {
                Some(drain) => (drain.state.since, drain.refuse_from),
                None => (wall, now + accept),
            };
            phase.drain = Some(Draining {
                state: DrainState { since, deadline },
                refuse_from,
                deadline: now + left,
            });
        });
    }

    /// Takes a drain back. Has no effect once the node is stopping.
    pub fn undrain(&self) {
        self.0
            .send_if_modified(|phase| !phase.stopping && phase.drain.take().is_some());
    }

    /// SIGTERM: readiness is gone for good.
    pub fn stop(&self) {
        self.0.send_modify(|phase| phase.stopping = true);
    }
}
