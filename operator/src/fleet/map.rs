//! The map itself: nodes by id, fed by their events. Pure: no I/O, no clock, no log.
//!
//! It answers three questions: which nodes can be counted on, which streams a resource has (newest epoch first), and
//! which streams its origin has just lost and may get back. It never decides what to do about any of it.
//!
//! Bounds: at most [`MAX_NODES`] nodes and [`MAX_STREAMS`] streams a node; what comes beyond is left out and counted.

mod events;
mod revision;
mod stream;
mod stream_list;

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use headwater_contract::{Event, NodeFigures, Role, StreamEnd};

use super::{Addresses, NodeId, ResourceId};
use revision::Revisions;
pub use revision::{Revision, Standing};
use stream::Words;
pub use stream::{State, Stream};
pub use stream_list::StreamList;

/// A node that says nothing for this long is suspect. Nodes send figures every second.
pub const SUSPECT_AFTER: Duration = Duration::from_secs(3);
/// How long a stream that its origin lost without ending it stays planned: the time for which a node keeps a broken pull.
pub const KEEP_LOST: Duration = Duration::from_secs(30);
/// Nodes in the map; further ones are not tracked.
pub const MAX_NODES: usize = 10_000;
/// Streams of one node; further ones are left out. The contract's bound of a pull set.
pub const MAX_STREAMS: usize = 10_000;

/// What an event, or the loss of a link, changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// First hello of a node: its pulls must be sent.
    Joined,
    /// A hello with another boot id: its pulls must be sent again, and its drain.
    Restarted,
    /// A hello of the same process on a new link: what was sent to it may be lost.
    Returned,
    /// A stream is new here, or came with a newer epoch, or became playable.
    StreamUp {
        /// Its name.
        stream: String,
        /// Its epoch.
        epoch: u64,
        /// A viewer would be served at once.
        playable: bool,
    },
    /// A stream is gone from here.
    StreamDown {
        /// Its name.
        stream: String,
        /// Why; none if a hello no longer names it.
        reason: Option<StreamEnd>,
    },
    /// Readiness or drain changed.
    Readiness {
        /// Readiness now.
        ready: bool,
        /// Draining now.
        draining: bool,
    },
}

/// How far a node can be counted on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Health {
    /// Heard from within [`SUSPECT_AFTER`].
    Live,
    /// Tracked, no hello yet.
    Unheard,
    /// Silent for too long: planned around, its figures stale.
    Suspect,
}

/// One node as the map knows it.
#[derive(Clone, Debug)]
pub struct Node {
    /// Where it can be reached.
    pub addresses: Addresses,
    /// A link to it is open.
    pub connected: bool,
    /// Its identity, after the first hello.
    pub identity: Option<Identity>,
    /// Its streams by name.
    pub streams: BTreeMap<Arc<str>, Stream>,
    /// Its latest figures; their `streams` list is empty, since [`Node::streams`] holds it.
    pub figures: NodeFigures,
    /// The worst delay among its streams, milliseconds; none while none has a clock.
    pub lag_ms: Option<u64>,
    /// The names of its playable streams, once somebody has asked for them since they changed.
    list: OnceLock<StreamList>,
    /// Streams came one by one since the last [`FleetMap::expire`], which leaves the tree half empty.
    loose: bool,
    /// When it was last heard from.
    heard: Option<Instant>,
    /// It has been reported by [`FleetMap::silent`] since it was last heard from.
    reported: bool,
}

/// What a hello says beyond streams and figures.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// What it may do.
    pub role: Role,
    /// New at each start of the process.
    pub boot_id: String,
    /// Version of the program.
    pub version: String,
    /// The app that it serves.
    pub app: String,
    /// Highest term that it has seen.
    pub term: u64,
}

impl Node {
    fn new(addresses: Addresses) -> Self {
        Self {
            addresses,
            connected: false,
            identity: None,
            streams: BTreeMap::new(),
            figures: NodeFigures::default(),
            lag_ms: None,
            list: OnceLock::new(),
            loose: false,
            heard: None,
            reported: false,
        }
    }

    /// How far it can be counted on.
    pub fn health(&self, now: Instant) -> Health {
        match self.heard {
            None => Health::Unheard,
            Some(heard) if now.saturating_duration_since(heard) >= SUSPECT_AFTER => Health::Suspect,
            Some(_) => Health::Live,
        }
    }

    /// Live, by its own word ready, and not draining.
    pub fn serves(&self, now: Instant) -> bool {
        self.health(now) == Health::Live && self.figures.ready && !self.draining()
    }

    /// Draining by its own word.
    pub fn draining(&self) -> bool {
        self.figures.drain.is_some()
    }

    /// The names of its playable streams: `like` itself if that says the same.
    pub fn stream_list(&self, like: &StreamList) -> StreamList {
        let app = self.identity.as_ref().map_or("", |identity| &identity.app);
        let list = || StreamList::of(app, self.streams.values(), like);
        self.list.get_or_init(list).clone()
    }

    /// Its figures, unless they are missing or stale.
    pub fn fresh_figures(&self, now: Instant) -> Option<&NodeFigures> {
        (self.health(now) == Health::Live).then_some(&self.figures)
    }
}

/// A stream that an origin has, or has just lost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Published {
    /// Newest epoch known.
    pub epoch: u64,
    /// The nodes that hold this epoch, in order of name. Empty while the stream is lost.
    pub on: Vec<NodeId>,
}

#[derive(Clone, Copy, Debug)]
struct Lost {
    epoch: u64,
    at: Instant,
}

/// Every media node that the operator follows.
#[derive(Clone, Debug, Default)]
pub struct FleetMap {
    nodes: BTreeMap<NodeId, Node>,
    /// Per origin, streams that were lost without an end. At most [`MAX_STREAMS`] each, dropped after [`KEEP_LOST`].
    lost: BTreeMap<ResourceId, BTreeMap<Arc<str>, Lost>>,
    left_out: u64,
    revisions: Revisions,
    words: Words,
}

impl FleetMap {
    /// Follows a node, or takes its new addresses. False if the map is full.
    pub fn track(&mut self, id: NodeId, addresses: Addresses) -> bool {
        let room = self.nodes.len() < MAX_NODES;
        match self.nodes.entry(id) {
            Entry::Occupied(node) if node.get().addresses == addresses => {}
            Entry::Occupied(mut node) => {
                self.revisions.place(&node.key().resource);
                node.get_mut().addresses = addresses;
            }
            Entry::Vacant(slot) if room => {
                self.revisions.place(&slot.key().resource);
                slot.insert(Node::new(addresses));
            }
            Entry::Vacant(_) => {
                self.left_out += 1;
                return false;
            }
        }
        true
    }

    /// Forgets a node that is gone for good. Streams that it held as an origin count as lost, not as ended.
    pub fn forget(&mut self, id: &NodeId, now: Instant) {
        if let Some(node) = self.nodes.remove(id) {
            self.lose(id, node.streams, now);
            self.revisions.place(&id.resource);
            self.revisions.held(&id.resource);
        }
    }

    /// Forgets all that is remembered of a resource that was deleted or suspended.
    pub fn forget_resource(&mut self, id: &ResourceId) {
        self.lost.remove(id);
        self.nodes.retain(|node, _| node.resource != *id);
        self.revisions.place(id);
        self.revisions.held(id);
    }

    /// The link to a node is gone. It turns suspect by its silence, so that a link that is back soon changes nothing.
    pub fn disconnected(&mut self, id: &NodeId) {
        if let Some(node) = self.nodes.get_mut(id) {
            node.connected = false;
        }
    }

    /// Takes in one event. An event of a node that is not tracked, or that comes before its hello, changes nothing.
    pub fn apply(&mut self, id: &NodeId, event: Event, now: Instant) -> Vec<Change> {
        let Some(node) = self.nodes.get_mut(id) else {
            return Vec::new();
        };
        if node.identity.is_none() && !matches!(event, Event::Hello(_)) {
            return Vec::new();
        }
        node.heard = Some(now);
        node.reported = false;
        match event {
            Event::Hello(hello) => self.hello(id, hello, now),
            Event::StreamUp(state) => self.stream_up(id, state),
            Event::StreamDown(down) => self.stream_down(id, down, now),
            Event::Figures(figures) => {
                let before = node.planned_as();
                let change = node.take_figures(figures);
                if node.planned_as() != before {
                    self.revisions.shape(&id.resource);
                }
                change.into_iter().collect()
            }
        }
    }

    /// Nodes that turned suspect since the last call, each reported once per silence.
    pub fn silent(&mut self, now: Instant) -> Vec<NodeId> {
        let mut silent = Vec::new();
        for (id, node) in &mut self.nodes {
            if !node.reported && node.health(now) == Health::Suspect {
                node.reported = true;
                silent.push(id.clone());
            }
        }
        silent
    }

    /// Drops what is remembered of lost streams for longer than [`KEEP_LOST`] and words that nobody says any more, and packs the
    /// streams that came.
    pub fn expire(&mut self, now: Instant) {
        self.lost.retain(|_, streams| {
            streams.retain(|_, lost| now.saturating_duration_since(lost.at) < KEEP_LOST);
            !streams.is_empty()
        });
        for node in self.nodes.values_mut().filter(|node| node.loose) {
            node.loose = false;
            node.streams = std::mem::take(&mut node.streams).into_iter().collect();
        }
        self.words.sweep();
        let (nodes, lost) = (&self.nodes, &self.lost);
        self.revisions.keep(|id| {
            let first = nodes.range(id.node("")..).next();
            lost.contains_key(id) || first.is_some_and(|(node, _)| node.resource == *id)
        });
    }

    /// One node.
    pub fn node(&self, id: &NodeId) -> Option<&Node> {
        self.nodes.get(id)
    }

    /// Every node, in order of id.
    pub fn nodes(&self) -> impl Iterator<Item = (&NodeId, &Node)> {
        self.nodes.iter()
    }

    /// The nodes of a resource, in order of name.
    pub fn nodes_of<'a>(&'a self, resource: &ResourceId) -> impl Iterator<Item = (&'a NodeId, &'a Node)> {
        let from = resource.node("");
        let resource = resource.clone();
        self.nodes
            .range(from..)
            .take_while(move |(id, _)| id.resource == resource)
    }

    /// How far a resource can be counted on: as far as the best of its nodes; unheard if it has none.
    pub fn health_of(&self, resource: &ResourceId, now: Instant) -> Health {
        self.nodes_of(resource)
            .map(|(_, node)| node.health(now))
            .min()
            .unwrap_or(Health::Unheard)
    }

    /// The streams of a resource: those of its nodes, and those that it lost less than [`KEEP_LOST`] ago. Of several
    /// entries of one name the newest epoch wins. A node that has been silent for [`KEEP_LOST`] counts no more.
    pub fn published(&self, resource: &ResourceId, now: Instant) -> BTreeMap<String, Published> {
        let mut published: BTreeMap<String, Published> = BTreeMap::new();
        for (id, node) in self.nodes_of(resource) {
            if node
                .heard
                .is_none_or(|heard| now.saturating_duration_since(heard) >= KEEP_LOST)
            {
                continue;
            }
            for (name, stream) in &node.streams {
                merge(&mut published, name, stream.state.epoch, Some(id));
            }
        }
        for (name, lost) in self.lost.get(resource).into_iter().flatten() {
            if now.saturating_duration_since(lost.at) < KEEP_LOST {
                merge(&mut published, name, lost.epoch, None);
            }
        }
        published
    }

    /// One of [`FleetMap::published`] is of this name.
    pub fn is_published(&self, resource: &ResourceId, name: &str, now: Instant) -> bool {
        let counts = |at: Instant| now.saturating_duration_since(at) < KEEP_LOST;
        let held = |node: &Node| node.heard.is_some_and(counts) && node.streams.contains_key(name);
        let lost = || self.lost.get(resource).and_then(|lost| lost.get(name));
        self.nodes_of(resource).any(|(_, node)| held(node)) || lost().is_some_and(|lost| counts(lost.at))
    }

    /// Nodes and streams left out since the start because a bound was met or a name broke the rules.
    pub fn left_out(&self) -> u64 {
        self.left_out
    }
}

fn merge(published: &mut BTreeMap<String, Published>, name: &str, epoch: u64, on: Option<&NodeId>) {
    let entry = published
        .entry(name.to_owned())
        .or_insert_with(|| Published { epoch, on: Vec::new() });
    if epoch > entry.epoch {
        entry.epoch = epoch;
        entry.on.clear();
    }
    if epoch == entry.epoch {
        entry.on.extend(on.cloned());
    }
}

#[cfg(test)]
mod tests;
