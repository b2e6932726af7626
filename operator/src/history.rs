//! The last happenings, for people who look: the document of `/api/v1/events`.
//!
//! In memory only: the log, and in a cluster the Events, are what lasts. Full, it forgets the oldest.

use std::collections::VecDeque;
use std::fmt;
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use serde::Serialize;

use crate::fleet::{NodeId, ResourceId, UnknownWord, one_of};
use crate::platform::Happening;

/// Happenings that are kept.
pub const KEPT: usize = 200;
/// Longest note, in characters: nodes and API servers can be wordy.
const LONGEST_NOTE: usize = 500;

/// One entry of `/api/v1/events`. Field names are a contract; more may be added, none renamed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Entry {
    /// Rises by one; that of a program started later is higher than all before.
    pub id: i64,
    /// When it happened.
    pub at: Timestamp,
    /// One word for programs: a [`crate::platform::HappeningReason`] or a [`NodeReason`].
    pub reason: String,
    /// Somebody should look at it.
    pub warning: bool,
    /// Namespace of the resource.
    pub namespace: String,
    /// `StreamOrigin` or `EdgePool`.
    pub kind: String,
    /// Name of the resource.
    pub name: String,
    /// The node that it is about; null if it is about none in particular.
    pub node: Option<String>,
    /// Edges before and after; null unless their number changes.
    pub edges: Option<Edges>,
    /// In words for people.
    pub note: String,
}

/// A change of the number of edges.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Edges {
    /// Before.
    pub from: u32,
    /// After.
    pub to: u32,
}

/// What a happening is about beside its resource.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct About {
    /// A node.
    pub node: Option<String>,
    /// A change of the number of edges.
    pub edges: Option<Edges>,
}

/// What happens to a node and makes no Event in Kubernetes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeReason {
    /// Its first hello.
    NodeJoined,
    /// A hello of a new process.
    NodeRestarted,
    /// Nothing was heard from it for 3 s.
    NodeSilent,
    /// It is back, the same process.
    NodeReturned,
}

impl NodeReason {
    /// Every reason.
    pub const ALL: [Self; 4] = [
        Self::NodeJoined,
        Self::NodeRestarted,
        Self::NodeSilent,
        Self::NodeReturned,
    ];

    fn note(self, node: &str) -> String {
        match self {
            Self::NodeJoined => format!("{node} joined"),
            Self::NodeRestarted => format!("{node} started anew"),
            Self::NodeSilent => format!("{node} is silent"),
            Self::NodeReturned => format!("{node} is heard again"),
        }
    }
}

impl fmt::Display for NodeReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

impl FromStr for NodeReason {
    type Err = UnknownWord;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        one_of("node event reason", &Self::ALL, word)
    }
}

/// The last [`KEPT`] happenings: a handle that whoever makes or shows them has. The lock is held for a push or a copy.
#[derive(Clone, Debug)]
pub struct History(Arc<Mutex<Kept>>);

#[derive(Debug)]
struct Kept {
    next: i64,
    entries: VecDeque<Entry>,
}

impl Default for History {
    fn default() -> Self {
        Self::since(Timestamp::now())
    }
}

impl History {
    /// An empty one of a program that started then: its ids are above those of any that started earlier.
    pub fn since(start: Timestamp) -> Self {
        Self(Arc::new(Mutex::new(Kept {
            next: start.as_millisecond(),
            entries: VecDeque::new(),
        })))
    }

    /// Keeps what people are told.
    pub fn happened(&self, happening: &Happening, about: About, at: Timestamp) {
        let resource = &happening.resource;
        self.keep(Entry {
            reason: happening.reason.to_string(),
            warning: happening.reason.is_warning(),
            node: about.node,
            edges: about.edges,
            note: happening.note.chars().take(LONGEST_NOTE).collect(),
            ..blank(resource, at)
        });
    }

    /// Keeps what happened to a node.
    pub fn node(&self, node: &NodeId, reason: NodeReason, at: Timestamp) {
        self.keep(Entry {
            reason: reason.to_string(),
            warning: reason == NodeReason::NodeSilent,
            node: Some(node.name.clone()),
            note: reason.note(&node.name),
            ..blank(&node.resource, at)
        });
    }

    fn keep(&self, mut entry: Entry) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        entry.id = kept.next;
        kept.next += 1;
        if kept.entries.len() >= KEPT {
            kept.entries.pop_front();
        }
        kept.entries.push_back(entry);
    }

    /// Those with a higher id, the newest last.
    pub fn after(&self, id: i64) -> Vec<Entry> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.entries.iter().filter(|entry| entry.id > id).cloned().collect()
    }
}

fn blank(resource: &ResourceId, at: Timestamp) -> Entry {
    Entry {
        id: 0,
        at,
        reason: String::new(),
        warning: false,
        namespace: resource.namespace.clone(),
        kind: resource.kind.to_string(),
        name: resource.name.clone(),
        node: None,
        edges: None,
        note: String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::platform::HappeningReason;

    fn scaled(note: &str) -> Happening {
        Happening {
            resource: ResourceId::pool("default", "web"),
            reason: HappeningReason::ScaledOut,
            note: note.to_owned(),
        }
    }

    #[test]
    fn every_reason_reads_back_as_it_prints() {
        for reason in NodeReason::ALL {
            assert_eq!(reason.to_string().parse(), Ok(reason));
        }
        assert!("NodeLeft".parse::<NodeReason>().is_err());
    }

    #[test]
    fn the_newest_are_kept_and_the_oldest_forgotten() {
        let history = History::since(Timestamp::UNIX_EPOCH);
        for number in 0..KEPT + 5 {
            history.happened(&scaled(&number.to_string()), About::default(), Timestamp::UNIX_EPOCH);
        }
        let all = history.after(i64::MIN);
        assert_eq!(all.len(), KEPT);
        assert_eq!((all[0].note.as_str(), all[KEPT - 1].note.as_str()), ("5", "204"));
        assert_eq!(history.after(all[KEPT - 3].id).len(), 2);
    }

    #[test]
    fn a_long_note_is_cut() {
        let history = History::default();
        history.happened(&scaled(&"ö".repeat(2_000)), About::default(), Timestamp::UNIX_EPOCH);
        assert_eq!(history.after(0)[0].note.chars().count(), LONGEST_NOTE);
    }

    /// The page asks for what came after the last that it has: it must not miss the first ones of a restarted operator.
    #[test]
    fn ids_go_on_rising_when_the_program_starts_anew() {
        let node = ResourceId::pool("default", "web").node("web-1");
        let started = Timestamp::from_second(1_000).unwrap();
        let before = History::since(started);
        before.node(&node, NodeReason::NodeJoined, started);
        let last = before.after(0)[0].id;
        let after = History::since(Timestamp::from_second(1_001).unwrap());
        after.node(&node, NodeReason::NodeSilent, started);
        let missed = after.after(last);
        assert_eq!(missed.len(), 1);
        assert!(missed[0].warning);
    }

    #[test]
    fn an_entry_has_the_fields_of_the_contract() {
        let history = History::since(Timestamp::UNIX_EPOCH);
        let about = About {
            node: None,
            edges: Some(Edges { from: 2, to: 3 }),
        };
        history.happened(&scaled("from 2 to 3 edges"), about, Timestamp::UNIX_EPOCH);
        let entry = serde_json::to_value(&history.after(-1)[0]).unwrap();
        let expected = serde_json::json!({
            "id": 0, "at": "1970-01-01T00:00:00Z", "reason": "ScaledOut", "warning": false, "namespace": "default",
            "kind": "EdgePool", "name": "web", "node": null, "edges": {"from": 2, "to": 3}, "note": "from 2 to 3 edges",
        });
        assert_eq!(entry, expected);
    }
}
