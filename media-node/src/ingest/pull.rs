//! Pulls: streams fetched from other servers, because the operator said so or because a viewer asked. One pull a name.
//!
//! ```text
//! Pulls (the whole set) ─▶ Puller ─starts, changes, ends─▶ task of a stream: sources in turn ─▶ hub
//! Demand (a viewer) ─────▶
//! ```

mod backoff;
mod sources;
mod task;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use headwater_contract::{FailingPull, Pulls};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use sources::PullsError;
use sources::{Sources, ValidOnDemand, ValidPulls};

use crate::hub::Hub;
use crate::hub::demand::{Demand, Unavailable};
use crate::meters::Meters;
use crate::names::{AppName, StreamName};

/// What its upstreams do not have, a node remembers this long: a crowd that waits for a stream asks them a few times a second,
/// however many it is.
const ABSENT: Duration = Duration::from_millis(250);
/// Names that are remembered so; further ones are asked for each time.
const MAX_ABSENT: usize = 1_000;
/// On-demand pulls at once; a demand beyond is answered with "not now".
const MAX_DEMANDED: usize = 1_000;

/// What pulls need of their node.
#[derive(Clone, Debug)]
pub struct PullContext {
    /// Where streams go.
    pub hub: Hub,
    /// Counts.
    pub meters: Meters,
    /// App of base URLs that name none.
    pub app: AppName,
    /// An on-demand pull that nobody watches ends after this long, unless the control plane says otherwise.
    pub idle_timeout: Duration,
    /// Pulls run on this; to be awaited after `stop`.
    pub tasks: TaskTracker,
    /// Ends all pulls.
    pub stop: CancellationToken,
}

/// A pull as figures show it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PullStatus {
    /// Which stream.
    pub stream: StreamName,
    /// Media comes.
    pub up: bool,
    /// The last error while it is not up.
    pub error: Option<String>,
    /// Rounds over all sources since it last worked.
    pub attempts: u32,
    /// The last thing that its sources said: they have no such stream, or it has ended.
    pub missing: bool,
}

/// Handle of all pulls of a node. The lock is a plain mutex: look-ups are short, and nothing awaits under it.
#[derive(Clone)]
pub struct Puller(Arc<Shared>);

struct Shared {
    context: PullContext,
    /// Bases of the node's own `--upstream`s.
    own: Vec<sources::PullSource>,
    state: Mutex<State>,
}

struct State {
    pulls: HashMap<StreamName, Entry>,
    set: Option<Pulls>,
    on_demand: ValidOnDemand,
    /// What no upstream had, and when it was asked.
    absent: HashMap<StreamName, Instant>,
    ids: u64,
}

/// One pull.
struct Entry {
    id: u64,
    wanted: watch::Sender<Wanted>,
    stop: CancellationToken,
    up: bool,
    /// Its sources have said that they don't have it.
    missing: bool,
    error: Option<String>,
    attempts: u32,
    waiting: Vec<oneshot::Sender<Result<(), Unavailable>>>,
}

/// What is wanted of a pull.
#[derive(Clone, Debug)]
struct Wanted {
    sources: Sources,
    /// It stands in the set.
    planned: bool,
    /// A viewer asked for it: when nobody watches for this long, it ends unless it is planned.
    demanded: Option<Duration>,
    /// Counts demands that found it failing: it tries again at once.
    kicks: u64,
}

impl std::fmt::Debug for Puller {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Puller")
    }
}

impl Puller {
    /// No pulls so far. `upstreams` are the node's own base URLs, for demands, and `http` the delivery ports of the first of them.
    pub fn new(context: PullContext, upstreams: &[String], http: &[String]) -> Result<Self, PullsError> {
        let http = http.iter().map(|url| Some(url.as_str())).chain(std::iter::repeat(None));
        let bases = upstreams.iter().map(String::as_str).zip(http);
        let own = sources::parse_bases(bases, context.app.as_str())?;
        let on_demand = ValidOnDemand::own(own.clone(), context.idle_timeout);
        Ok(Self(Arc::new(Shared {
            context,
            own,
            state: Mutex::new(State {
                pulls: HashMap::new(),
                set: None,
                on_demand,
                absent: HashMap::new(),
                ids: 0,
            }),
        })))
    }

    /// Makes `pulls` the set in force: starts, changes and ends pulls. A wrong set changes nothing.
    pub fn set(&self, pulls: Pulls) -> Result<(), PullsError> {
        let valid = ValidPulls::parse(&pulls, self.0.context.app.as_str())?;
        let mut state = self.0.lock();
        let state = &mut *state;
        state.pulls.retain(|name, entry| {
            if valid.planned.contains_key(name) {
                return true;
            }
            entry
                .wanted
                .send_if_modified(|wanted| std::mem::take(&mut wanted.planned));
            if entry.wanted.borrow().demanded.is_some() {
                return true;
            }
            entry.stop.cancel();
            false
        });
        for (name, sources) in valid.planned {
            match state.pulls.get(&name) {
                Some(entry) => {
                    entry.wanted.send_if_modified(|wanted| {
                        let planned = std::mem::replace(&mut wanted.planned, true);
                        let changed = wanted.sources != sources;
                        wanted.sources = sources;
                        changed || !planned
                    });
                }
                None => {
                    let wanted = Wanted {
                        sources,
                        planned: true,
                        demanded: None,
                        kicks: 0,
                    };
                    self.start(state, name, wanted, None);
                }
            }
        }
        let own = || ValidOnDemand::own(self.0.own.clone(), self.0.context.idle_timeout);
        state.on_demand = valid.on_demand.unwrap_or_else(own);
        state.set = Some(pulls);
        Ok(())
    }

    /// The set in force; none before the first.
    pub fn current(&self) -> Option<Pulls> {
        self.0.lock().set.clone()
    }

    /// The folders, `http://host:port/app/name/`, in which a stream of that name would be packaged by the nodes that this one pulls
    /// from on demand.
    pub fn folders(&self, name: &StreamName) -> Vec<Arc<str>> {
        let sources = self.0.lock().on_demand.bases(name, &self.0.own);
        sources.iter().filter_map(sources::PullSource::folder).collect()
    }

    /// Answers viewers' demands, until the hub is gone or the node stops.
    pub async fn run_demands(&self, mut demands: mpsc::Receiver<Demand>) {
        loop {
            let demand = tokio::select! {
                () = self.0.context.stop.cancelled() => return,
                demand = demands.recv() => demand,
            };
            let Some(demand) = demand else { return };
            self.demand(demand);
        }
    }

    fn demand(&self, demand: Demand) {
        let mut state = self.0.lock();
        if let Some(entry) = state.pulls.get_mut(&demand.name) {
            if entry.up {
                let _ = demand.answer.send(Ok(())); // a viewer that has left is no loss; so below
            } else {
                entry.waiting.retain(|answer| !answer.is_closed());
                entry.waiting.push(demand.answer);
                entry.wanted.send_modify(|wanted| wanted.kicks += 1);
            }
            return;
        }
        if state.is_absent(&demand.name, Instant::now()) {
            let _ = demand.answer.send(Err(Unavailable::NotFound));
            return;
        }
        let Some(sources) = state.on_demand.sources(&demand.name, &self.0.own) else {
            let _ = demand.answer.send(Err(Unavailable::NotFound));
            return;
        };
        let demanded = |entry: &&Entry| !entry.wanted.borrow().planned;
        if state.pulls.values().filter(demanded).count() >= MAX_DEMANDED {
            let _ = demand.answer.send(Err(Unavailable::Temporarily));
            return;
        }
        let wanted = Wanted {
            sources,
            planned: false,
            demanded: Some(state.on_demand.idle_timeout),
            kicks: 0,
        };
        self.start(&mut state, demand.name, wanted, Some(demand.answer));
    }

    fn start(
        &self,
        state: &mut State,
        name: StreamName,
        wanted: Wanted,
        waiting: Option<oneshot::Sender<Result<(), Unavailable>>>,
    ) {
        state.ids += 1;
        let wanted = watch::Sender::new(wanted);
        let stop = self.0.context.stop.child_token();
        let task = task::Task::new(
            Arc::clone(&self.0),
            name.clone(),
            state.ids,
            wanted.subscribe(),
            stop.clone(),
        );
        let entry = Entry {
            id: state.ids,
            wanted,
            stop,
            up: false,
            missing: false,
            error: None,
            attempts: 0,
            waiting: waiting.into_iter().collect(),
        };
        state.pulls.insert(name, entry);
        self.0.context.tasks.spawn(task.run());
    }

    /// Every pull, in no order.
    pub fn status(&self) -> Vec<PullStatus> {
        let status = |(name, entry): (&StreamName, &Entry)| PullStatus {
            stream: name.clone(),
            up: entry.up,
            error: entry.error.clone(),
            attempts: entry.attempts,
            missing: entry.missing,
        };
        self.0.lock().pulls.iter().map(status).collect()
    }

    /// Pulls that are wanted and not running, at most `most`.
    pub fn failing(&self, most: usize) -> Vec<FailingPull> {
        let failing = |(name, entry): (&StreamName, &Entry)| {
            let error = entry.error.clone().filter(|_| !entry.up)?;
            Some(FailingPull {
                stream: name.to_string(),
                error,
                attempts: entry.attempts,
            })
        };
        self.0.lock().pulls.iter().filter_map(failing).take(most).collect()
    }
}

impl State {
    fn is_absent(&mut self, name: &StreamName, now: Instant) -> bool {
        self.absent.retain(|_, asked| now.duration_since(*asked) < ABSENT);
        self.absent.contains_key(name)
    }
}

impl Shared {
    /// Its upstreams have been asked, and do not have it.
    fn note_absent(&self, name: &StreamName, now: Instant) {
        let mut state = self.lock();
        if state.absent.len() < MAX_ABSENT {
            state.absent.insert(name.clone(), now);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes an entry, if it still is that of task `id`.
    fn update(&self, name: &StreamName, id: u64, change: impl FnOnce(&mut Entry)) {
        if let Some(entry) = self.lock().pulls.get_mut(name).filter(|entry| entry.id == id) {
            change(entry);
        }
    }

    /// Removes the entry of task `id` if `only_if` says so, and tells those who wait for it.
    fn remove(&self, name: &StreamName, id: u64, only_if: impl FnOnce(&Wanted) -> bool) -> bool {
        let mut state = self.lock();
        let Some(entry) = state.pulls.get(name).filter(|entry| entry.id == id) else {
            return true; // the set has changed: nobody wants this task any more
        };
        if !only_if(&entry.wanted.borrow()) {
            return false;
        }
        state.pulls.remove(name);
        true
    }
}

#[cfg(test)]
mod tests;
