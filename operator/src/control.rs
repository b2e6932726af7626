//! The loop that both platforms share: what nodes say goes into the fleet map, what the decisions say goes to platform
//! and nodes.
//!
//! ```text
//! links ─Notice─▶ take ─▶ map ─▶ steer: replication ─▶ Wanted per node ─▶ links     (at each change)
//!                            └─▶ scale: verdict ─▶ drain, rebalance ─▶ platform     (each second)
//!                            └─▶ report: Snapshot ─▶ ops port, status, metrics
//! ```
//!
//! It decides nothing itself and remembers nothing that it could not do without: everything follows from the map and the
//! platform's facts, and is worked out anew each second and wherever something has changed.

mod learning;
mod nodes;
mod replicated;
mod report;
mod scale;
mod steer;
mod tell;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use headwater_contract::Event;
use jiff::Timestamp;
use tokio::sync::{mpsc, watch};
use tracing::warn;

use crate::fleet::link::{Link, LinkSettings, Notice};
use crate::fleet::map::{Change, FleetMap};
use crate::fleet::{Addresses, NodeId, ResourceId};
use crate::history::{History, NodeReason};
use crate::metrics::Metrics;
use crate::platform::{Platform, Wishes};
use crate::replication;

use learning::Learning;
use nodes::{Nodes, Touched};
use replicated::Replicated;
use report::Reporting;
pub use report::{OriginReport, PoolReport, Snapshot};
use scale::PoolMemory;

/// Notices that wait to be taken in; while it is full the links wait, and nodes notice a slow reader.
const NOTICES: usize = 1024;
/// Most notices taken in before the decisions are made.
const BATCH: usize = 256;
/// Time between two looks at everything.
const PERIOD: Duration = Duration::from_secs(1);

/// The two clocks at one moment.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    /// For decisions.
    pub monotonic: Instant,
    /// For people and nodes.
    pub wall: Timestamp,
}

impl Now {
    /// Both clocks, read.
    pub fn read() -> Self {
        Self {
            monotonic: tokio::time::Instant::now().into_std(),
            wall: Timestamp::now(),
        }
    }
}

/// How the loop speaks to nodes.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Goes with every command.
    pub term: u64,
    /// Longest wait between two attempts to connect to a node.
    pub longest_wait: Duration,
}

/// The queue of what links tell: kept from both ends, so that it never closes.
struct Notices {
    send: mpsc::Sender<(NodeId, Notice)>,
    take: mpsc::Receiver<(NodeId, Notice)>,
}

/// The loop's state.
pub struct Control<P> {
    settings: Settings,
    platform: P,
    metrics: Metrics,
    map: FleetMap,
    links: BTreeMap<NodeId, (LinkSettings, Link)>,
    notices: Notices,
    /// The platform's nodes, as last followed.
    nodes: Nodes,
    /// What replication goes by beside the map, as of the last round that looked at all of it.
    resources: replication::Resources,
    plan: replication::Plan,
    pools: BTreeMap<ResourceId, PoolMemory>,
    /// Nodes that have been ready, with the boot id of which that is true.
    proven: BTreeMap<NodeId, String>,
    replicated: Replicated,
    snapshot: watch::Sender<Arc<Snapshot>>,
    /// Nodes that take a newer control plane's commands only.
    superseded: BTreeSet<NodeId>,
    /// Nodes that were there before are waited for.
    learning: Learning,
    /// When this control plane began.
    began: Timestamp,
    reporting: Reporting,
    /// What people who look are shown.
    history: History,
}

impl<P: Platform> Control<P> {
    /// A loop that has seen nothing yet.
    pub fn new(settings: Settings, platform: P, metrics: Metrics) -> Self {
        let (send, take) = mpsc::channel(NOTICES);
        Self {
            settings,
            platform,
            metrics,
            map: FleetMap::default(),
            links: BTreeMap::new(),
            notices: Notices { send, take },
            nodes: Nodes::default(),
            resources: replication::Resources::default(),
            plan: replication::Plan::default(),
            pools: BTreeMap::new(),
            proven: BTreeMap::new(),
            replicated: Replicated::default(),
            snapshot: watch::channel(Arc::default()).0,
            superseded: BTreeSet::new(),
            learning: Learning::default(),
            began: Timestamp::now(),
            reporting: Reporting::default(),
            history: History::default(),
        }
    }

    /// The same loop, which keeps what happens there.
    pub fn keeping(mut self, history: History) -> Self {
        self.history = history;
        self
    }

    /// What the loop last reported, at each change and each second.
    pub fn snapshots(&self) -> watch::Receiver<Arc<Snapshot>> {
        self.snapshot.subscribe()
    }

    /// Keeps the fleet as it is wished, until `stop`; then hands the platform back.
    pub async fn run(mut self, mut wishes: watch::Receiver<Arc<Wishes>>, stop: impl Future<Output = ()>) -> P {
        tokio::pin!(stop);
        let woken = self.platform.wake();
        // Whoever makes the wishes may go: the last ones hold then.
        let mut wished = true;
        let mut ticks = tokio::time::interval(PERIOD);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let wake = tokio::select! {
                biased;
                () = &mut stop => return self.platform,
                changed = wishes.changed(), if wished => {
                    wished = changed.is_ok();
                    Wake::Look
                }
                _ = ticks.tick() => Wake::Look,
                () = woken.notified() => Wake::Nodes,
                () = self.reporting.owed() => Wake::Report,
                Some((id, notice)) = self.notices.take.recv() => {
                    let touched = self.take_batch(id, notice);
                    if touched.is_none() {
                        continue;
                    }
                    Wake::Changed(touched)
                }
            };
            let begun = Instant::now();
            // What is only glanced at here must still wake the next look.
            let wishes = match wake {
                Wake::Look => wishes.borrow_and_update().clone(),
                _ => wishes.borrow().clone(),
            };
            let now = Now::read();
            match wake {
                Wake::Look => {
                    self.look(&wishes, now).await;
                    self.steer(&wishes, Touched::All, now);
                }
                Wake::Nodes => {
                    self.follow(now);
                    self.steer(&wishes, Touched::All, now);
                }
                Wake::Changed(touched) => self.steer(&wishes, touched, now),
                Wake::Report => {}
            }
            if self.reporting.may(now.monotonic) {
                let reported = Instant::now();
                self.report(&wishes, now);
                self.reporting.took(reported.elapsed(), now.monotonic);
            }
            self.metrics.reconcile_seconds.observe(begun.elapsed().as_secs_f64());
        }
    }

    /// The whole round: platform, nodes, scaling.
    async fn look(&mut self, wishes: &Wishes, now: Now) {
        if let Err(error) = self.platform.keep(wishes).await {
            self.failed(&error);
        }
        self.follow(now);
        for id in self.map.silent(now.monotonic) {
            warn!(node = id.name, resource = %id.resource, "a node is silent");
            self.history.node(&id, NodeReason::NodeSilent, now.wall);
        }
        self.map.expire(now.monotonic);
        self.scale(wishes, now).await;
        self.follow(now);
    }

    /// Keeps one link to each node that has a process, and forgets nodes that are gone.
    fn follow(&mut self, now: Now) {
        let nodes = Nodes::new(self.platform.nodes());
        // What a node without a process said may have come after its end: such nodes are looked at each time.
        if nodes == self.nodes && !nodes.any_unreachable() {
            return;
        }
        self.links.retain(|id, _| nodes.contains(id));
        self.proven.retain(|id, _| nodes.contains(id));
        self.superseded.retain(|id| nodes.contains(id));
        let known = self.map.nodes().map(|(id, _)| id);
        let gone: Vec<NodeId> = known.filter(|id| !nodes.contains(id)).cloned().collect();
        for id in gone {
            self.map.forget(&id, now.monotonic);
        }
        for node in nodes.iter() {
            let Some(reach) = &node.reach else {
                self.links.remove(&node.id);
                // What it last said is true no more, and nobody has to wait for its silence to know. What an origin
                // held counts as lost, and stays planned for a while.
                if self.map.node(&node.id).is_none_or(|known| known.identity.is_some()) {
                    self.map.forget(&node.id, now.monotonic);
                    self.map.track(node.id.clone(), Addresses::default());
                }
                continue;
            };
            if !self.map.track(node.id.clone(), reach.addresses.clone()) {
                continue;
            }
            let settings = reach.link(self.settings.term, self.settings.longest_wait);
            if self.links.get(&node.id).is_none_or(|(known, _)| *known != settings) {
                let link = Link::start(settings.clone(), node.id.clone(), self.notices.send.clone());
                self.links.insert(node.id.clone(), (settings, link));
            }
        }
        self.nodes = nodes;
    }

    /// Takes in a notice and those that wait behind it: what changed by them that decisions go by.
    fn take_batch(&mut self, id: NodeId, notice: Notice) -> Touched {
        let now = Now::read();
        let mut touched = Touched::none();
        self.take(&id, notice, now, &mut touched);
        for _ in 1..BATCH {
            let Ok((id, notice)) = self.notices.take.try_recv() else {
                break;
            };
            self.take(&id, notice, now, &mut touched);
        }
        touched
    }

    fn take(&mut self, id: &NodeId, notice: Notice, now: Now, touched: &mut Touched) {
        match notice {
            Notice::Event(event) => {
                let greets = matches!(*event, Event::Hello(_));
                let changes = self.map.apply(id, *event, now.monotonic);
                self.prove(id, greets);
                let joined = changes.contains(&Change::Joined);
                for change in &changes {
                    match change {
                        Change::StreamUp { stream, .. } => {
                            touched.add(&id.resource);
                            touched.add_stream(stream);
                        }
                        Change::StreamDown { .. } => touched.add(&id.resource),
                        _ => touched.add_serving(&id.resource),
                    }
                    // What was there before this control plane is no news.
                    let old = joined && self.is_older(id, change);
                    if !old {
                        self.tell(id, change, now);
                    }
                }
            }
            Notice::Lost(error) => {
                if self.map.node(id).is_some_and(|node| node.connected) {
                    warn!(node = id.name, resource = %id.resource, error, "lost the connection to a node");
                }
                self.map.disconnected(id);
                touched.add(&id.resource);
            }
            Notice::CommandFailed { command, error } => {
                self.metrics.reconcile_errors.with_label_values(&["command"]).inc();
                warn!(node = id.name, resource = %id.resource, command, error, "a node did not take a command");
            }
            Notice::Superseded { term } => {
                self.metrics.superseded.inc();
                self.superseded.insert(id.clone());
                warn!(
                    node = id.name, resource = %id.resource, term, own_term = self.settings.term,
                    "a newer control plane has taken this node over; it is commanded no more from here"
                );
                touched.add(&id.resource);
            }
        }
    }

    /// Remembers that this boot of a node has been ready. One that drains already when it says hello was, before this control
    /// plane began: else it would not have been chosen.
    fn prove(&mut self, id: &NodeId, greets: bool) {
        let Some(node) = self.map.node(id) else { return };
        let has_been = node.figures.ready || (greets && node.draining());
        if let Some(identity) = &node.identity
            && has_been
            && self.proven.get(id) != Some(&identity.boot_id)
        {
            self.proven.insert(id.clone(), identity.boot_id.clone());
        }
    }

    fn failed(&self, error: &crate::platform::Error) {
        self.metrics.reconcile_errors.with_label_values(&[error.step]).inc();
        warn!(%error, "the platform could not do what was asked; it is tried again");
    }
}

/// Why the loop woke up.
#[derive(Debug)]
enum Wake {
    /// A second has passed, or the wishes changed.
    Look,
    /// The platform has other nodes.
    Nodes,
    /// Nodes said something new.
    Changed(Touched),
    /// A report is owed.
    Report,
}

#[cfg(test)]
mod tests;
