//! What each kind of event does to the map.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use headwater_contract::{NodeFigures, NodeHello, StreamDown, StreamEnd, StreamState};

use super::{Change, FleetMap, Identity, Lost, MAX_STREAMS, Node, State, Stream};
use crate::fleet::{NodeId, ResourceId, ResourceKind};

/// Longest stream name, in bytes.
const MAX_NAME: usize = 128;

impl FleetMap {
    pub(super) fn hello(&mut self, id: &NodeId, hello: NodeHello, now: Instant) -> Vec<Change> {
        let Some(node) = self.nodes.get_mut(id) else {
            return Vec::new();
        };
        let restarted = node
            .identity
            .as_ref()
            .is_some_and(|known| known.boot_id != hello.boot_id);
        let mut changes = Vec::new();
        match &node.identity {
            None => changes.push(Change::Joined),
            Some(_) if restarted => changes.push(Change::Restarted),
            Some(_) if !node.connected => changes.push(Change::Returned),
            Some(_) => {}
        }
        let (unheard, standing) = (node.identity.is_none(), node.planned_as());
        node.connected = true;
        node.identity = Some(Identity {
            role: hello.role,
            boot_id: hello.boot_id,
            version: hello.version,
            app: hello.app,
            term: hello.term,
        });
        let mut before = std::mem::take(&mut node.streams);
        let mut streams: Vec<(Arc<str>, Stream)> = Vec::with_capacity(hello.streams.len().min(MAX_STREAMS));
        for state in &hello.streams {
            if !valid_name(&state.name) || streams.len() >= MAX_STREAMS {
                self.left_out += 1;
                continue;
            }
            let state = State::new(state, &mut self.words);
            changes.extend(up(before.get(&state.name).map(|stream| &stream.state), &state));
            streams.push((state.name.clone(), state.into()));
        }
        // Collected at once, so that the tree's nodes are full.
        node.streams = streams.into_iter().collect();
        let same = before.len() == node.streams.len()
            && before
                .values()
                .zip(node.streams.values())
                .all(|(before, now)| before.state.plans_like(&now.state));
        before.retain(|name, _| !node.streams.contains_key(name));
        changes.extend(before.keys().map(|stream| Change::StreamDown {
            stream: stream.to_string(),
            reason: None,
        }));
        changes.extend(node.take_figures(hello.figures));
        node.streams_changed();
        if unheard || node.planned_as() != standing {
            self.revisions.shape(&id.resource);
        }
        if !same {
            self.revisions.held(&id.resource);
        }
        if self.lost.contains_key(&id.resource) {
            let regained: Vec<_> = node.streams.keys().cloned().collect();
            for name in &regained {
                self.regain(&id.resource, name);
            }
        }
        // A process that started afresh did not end its streams: their publishers are about to come back.
        if restarted {
            self.lose(id, before, now);
        }
        changes
    }

    pub(super) fn stream_up(&mut self, id: &NodeId, state: StreamState) -> Vec<Change> {
        let Some(node) = self.nodes.get_mut(id) else {
            return Vec::new();
        };
        let full = node.streams.len() >= MAX_STREAMS;
        let known = node.streams.get_mut(&*state.name);
        if !valid_name(&state.name) || (full && known.is_none()) {
            self.left_out += 1;
            return Vec::new();
        }
        let state = State::new(&state, &mut self.words);
        let name = state.name.clone();
        let (change, same) = match known {
            Some(known) if known.state.epoch > state.epoch => (None, true),
            Some(known) => {
                let change = up(Some(&known.state), &state);
                let same = known.state.plans_like(&state);
                known.state = state;
                (change, same)
            }
            None => {
                let change = up(None, &state);
                node.streams.insert(name.clone(), state.into());
                node.loose = true;
                (change, false)
            }
        };
        node.list = OnceLock::new();
        if !same {
            self.revisions.held(&id.resource);
        }
        self.regain(&id.resource, &name);
        change.into_iter().collect()
    }

    pub(super) fn stream_down(&mut self, id: &NodeId, down: StreamDown, now: Instant) -> Vec<Change> {
        let Some(node) = self.nodes.get_mut(id) else {
            return Vec::new();
        };
        let Some((stream, held)) = node.streams.remove_entry(&*down.name) else {
            return Vec::new();
        };
        if held.state.epoch > down.epoch {
            node.streams.insert(stream, held);
            return Vec::new();
        }
        node.streams_changed();
        self.revisions.held(&id.resource);
        if down.reason == StreamEnd::Shutdown {
            self.lose(id, BTreeMap::from([(stream, held)]), now);
        } else {
            self.regain(&id.resource, &stream);
        }
        vec![Change::StreamDown {
            stream: down.name,
            reason: Some(down.reason),
        }]
    }

    pub(super) fn lose(&mut self, id: &NodeId, streams: BTreeMap<Arc<str>, Stream>, now: Instant) {
        if streams.is_empty() || id.resource.kind != ResourceKind::StreamOrigin {
            return;
        }
        self.revisions.held(&id.resource);
        let lost = self.lost.entry(id.resource.clone()).or_default();
        for (name, stream) in streams {
            if lost.len() >= MAX_STREAMS && !lost.contains_key(&name) {
                self.left_out += 1;
                continue;
            }
            lost.insert(
                name,
                Lost {
                    epoch: stream.state.epoch,
                    at: now,
                },
            );
        }
    }

    fn regain(&mut self, resource: &ResourceId, name: &str) {
        if let Some(lost) = self.lost.get_mut(resource)
            && lost.remove(name).is_some()
        {
            self.revisions.held(resource);
        }
    }
}

impl Node {
    pub(super) fn take_figures(&mut self, mut figures: NodeFigures) -> Option<Change> {
        let streams = std::mem::take(&mut figures.streams);
        for figure in &streams {
            if let Some(stream) = self.streams.get_mut(&*figure.name) {
                stream.viewers = figure.viewers;
                stream.bitrate_bps = figure.bitrate_bps;
                stream.lag_ms = figure.lag_ms;
                stream.lost_units = figure.lost_units;
            }
        }
        if !streams.is_empty() {
            self.lag_ms = self.streams.values().filter_map(|stream| stream.lag_ms).max();
        }
        figures.failing_pulls.truncate(20);
        let before = (self.figures.ready, self.draining());
        self.figures = figures;
        let (ready, draining) = (self.figures.ready, self.draining());
        (before != (ready, draining)).then_some(Change::Readiness { ready, draining })
    }

    /// Works out anew what is remembered of all its streams together.
    fn streams_changed(&mut self) {
        self.list = OnceLock::new();
        self.lag_ms = self.streams.values().filter_map(|stream| stream.lag_ms).max();
    }

    /// What plans go by in its figures: ready, draining, and drained empty.
    pub(super) fn planned_as(&self) -> (bool, bool, bool) {
        let draining = self.draining();
        let empty = draining && self.figures.viewers == 0 && self.figures.relays == 0;
        (self.figures.ready, draining, empty)
    }
}

fn up(known: Option<&State>, state: &State) -> Option<Change> {
    let news = known.is_none_or(|known| known.epoch < state.epoch || known.playable != state.playable);
    news.then(|| Change::StreamUp {
        stream: state.name.to_string(),
        epoch: state.epoch,
        playable: state.playable,
    })
}

/// The contract's rule for stream names. A name that breaks it would not survive being put into a URL.
fn valid_name(name: &str) -> bool {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-' || byte == b'.';
    name.len() <= MAX_NAME && !name.is_empty() && !name.starts_with('.') && name.bytes().all(legal)
}
