//! What each kind of event does to the map.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::time::Instant;

use headwater_contract::{NodeFigures, NodeHello, StreamDown, StreamEnd, StreamState};

use super::{Change, FleetMap, Identity, Lost, MAX_STREAMS, Node, Stream};
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
        node.connected = true;
        node.identity = Some(Identity {
            role: hello.role,
            boot_id: hello.boot_id,
            version: hello.version,
            app: hello.app,
            term: hello.term,
        });
        let mut before = std::mem::take(&mut node.streams);
        for state in hello.streams {
            if !valid_name(&state.name) || node.streams.len() >= MAX_STREAMS {
                self.left_out += 1;
                continue;
            }
            let known = before.remove(&state.name);
            changes.extend(up(known.as_ref().map(|stream| &stream.state), &state));
            node.streams.insert(state.name.clone(), state.into());
        }
        changes.extend(before.keys().map(|stream| Change::StreamDown {
            stream: stream.clone(),
            reason: None,
        }));
        changes.extend(node.take_figures(hello.figures));
        let regained: Vec<_> = node.streams.keys().cloned().collect();
        for name in &regained {
            self.regain(&id.resource, name);
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
        let known = node.streams.get_mut(&state.name);
        if !valid_name(&state.name) || (full && known.is_none()) {
            self.left_out += 1;
            return Vec::new();
        }
        let change = match known {
            Some(known) if known.state.epoch > state.epoch => None,
            Some(known) => {
                let change = up(Some(&known.state), &state);
                known.state = state.clone();
                change
            }
            None => {
                node.streams.insert(state.name.clone(), state.clone().into());
                up(None, &state)
            }
        };
        self.regain(&id.resource, &state.name);
        change.into_iter().collect()
    }

    pub(super) fn stream_down(&mut self, id: &NodeId, down: StreamDown, now: Instant) -> Vec<Change> {
        let Some(node) = self.nodes.get_mut(id) else {
            return Vec::new();
        };
        let Entry::Occupied(entry) = node.streams.entry(down.name) else {
            return Vec::new();
        };
        if entry.get().state.epoch > down.epoch {
            return Vec::new();
        }
        let (stream, held) = entry.remove_entry();
        if down.reason == StreamEnd::Shutdown {
            self.lose(id, BTreeMap::from([(stream.clone(), held)]), now);
        } else {
            self.regain(&id.resource, &stream);
        }
        vec![Change::StreamDown {
            stream,
            reason: Some(down.reason),
        }]
    }

    pub(super) fn lose(&mut self, id: &NodeId, streams: BTreeMap<String, Stream>, now: Instant) {
        if streams.is_empty() || id.resource.kind != ResourceKind::StreamOrigin {
            return;
        }
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
        if let Some(lost) = self.lost.get_mut(resource) {
            lost.remove(name);
        }
    }
}

impl Node {
    pub(super) fn take_figures(&mut self, mut figures: NodeFigures) -> Option<Change> {
        for figure in std::mem::take(&mut figures.streams) {
            if let Some(stream) = self.streams.get_mut(&figure.name) {
                stream.viewers = figure.viewers;
                stream.bitrate_bps = figure.bitrate_bps;
                stream.lag_ms = figure.lag_ms;
                stream.lost_units = figure.lost_units;
            }
        }
        figures.failing_pulls.truncate(20);
        let before = (self.figures.ready, self.draining());
        self.figures = figures;
        let (ready, draining) = (self.figures.ready, self.draining());
        (before != (ready, draining)).then_some(Change::Readiness { ready, draining })
    }
}

fn up(known: Option<&StreamState>, state: &StreamState) -> Option<Change> {
    let news = known.is_none_or(|known| known.epoch < state.epoch || known.playable != state.playable);
    news.then(|| Change::StreamUp {
        stream: state.name.clone(),
        epoch: state.epoch,
        playable: state.playable,
    })
}

/// The contract's rule for stream names. A name that breaks it would not survive being put into a URL.
fn valid_name(name: &str) -> bool {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-' || byte == b'.';
    name.len() <= MAX_NAME && !name.is_empty() && !name.starts_with('.') && name.bytes().all(legal)
}
