//! Readiness: the start-up latch as a pure decision, the task that asks it, and the words of `/readyz`.

use std::time::Duration;

use headwater_contract::Role;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use super::Ops;
use crate::lifecycle::Phase;
use crate::names::StreamName;

/// What is known of a stream of the first pull set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FirstPull {
    /// It can be played here.
    Playable,
    /// Its upstream does not have it, or it is not wanted any more.
    NotThere,
    /// It is on its way.
    Pending,
}

/// Facts about a node that is starting. Its listeners stand.
#[derive(Clone, Debug)]
pub struct Starting<'a> {
    /// What it is.
    pub role: Role,
    /// How long it has run.
    pub for_: Duration,
    /// How long it waits at most.
    pub ready_wait: Duration,
    /// Its first pull set, once there is one.
    pub first_pulls: Option<&'a [FirstPull]>,
}

/// Why the latch closes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// An origin serves as soon as it listens.
    Listening,
    /// Every stream of the first pull set that its upstream really has is playable.
    Complete,
    /// The time is over: it serves what it has, and the rest on demand.
    Waited,
}

/// Whether a starting node is ready, and why.
pub fn latch(facts: &Starting<'_>) -> Option<Why> {
    let complete = |pulls: &[FirstPull]| pulls.iter().all(|pull| *pull != FirstPull::Pending);
    match facts.role {
        Role::Origin => Some(Why::Listening),
        Role::Edge if facts.first_pulls.is_some_and(complete) => Some(Why::Complete),
        Role::Edge if facts.for_ >= facts.ready_wait => Some(Why::Waited),
        Role::Edge => None,
    }
}

/// What `/readyz` says: nothing if the node is ready, else why it is not.
pub fn unready(phase: &Phase) -> Option<&'static str> {
    match phase {
        Phase { stopping: true, .. } => Some("stopping"),
        Phase { drain: Some(_), .. } => Some("draining"),
        Phase { latched: false, .. } => Some("starting: streams of the first pull set are not playable yet"),
        _ => None,
    }
}

/// Closes the latch when it is time. To be started once the listeners stand; ends when it has.
pub async fn watch(ops: Ops, ready_wait: Duration, stop: CancellationToken) {
    let begun = Instant::now();
    let mut first: Option<Vec<StreamName>> = None;
    let mut looks = tokio::time::interval(Duration::from_millis(50));
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = looks.tick() => {}
        }
        if first.is_none() {
            let set = ops.pulls.current();
            first = set.map(|set| set.pulls.iter().filter_map(|pull| pull.stream.parse().ok()).collect());
        }
        let pulls = first.as_deref().map(|names| look(&ops, names));
        let facts = Starting {
            role: ops.identity.role,
            for_: begun.elapsed(),
            ready_wait,
            first_pulls: pulls.as_deref(),
        };
        if let Some(why) = latch(&facts) {
            let after_ms = facts.for_.as_millis() as u64;
            tracing::info!(?why, streams = pulls.map_or(0, |pulls| pulls.len()), after_ms, "ready");
            return ops.lifecycle.latch();
        }
    }
}

fn look(ops: &Ops, names: &[StreamName]) -> Vec<FirstPull> {
    let states = ops.pulls.status();
    let look = |name: &StreamName| {
        if ops.hub.get(name).is_some_and(|stream| stream.snapshot().playable) {
            return FirstPull::Playable;
        }
        match states.iter().find(|state| state.stream == *name) {
            Some(state) if !state.missing => FirstPull::Pending,
            _ => FirstPull::NotThere,
        }
    };
    names.iter().map(look).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edge(seconds: u64, first_pulls: Option<&[FirstPull]>) -> Option<Why> {
        latch(&Starting {
            role: Role::Edge,
            for_: Duration::from_secs(seconds),
            ready_wait: Duration::from_secs(10),
            first_pulls,
        })
    }

    #[test]
    fn an_edge_is_ready_once_it_carries_what_its_upstream_has() {
        use FirstPull::{NotThere, Pending, Playable};
        assert_eq!(edge(0, Some(&[Playable, Pending])), None);
        assert_eq!(edge(0, Some(&[Playable, NotThere])), Some(Why::Complete));
        assert_eq!(edge(0, Some(&[])), Some(Why::Complete));
    }

    #[test]
    fn an_edge_waits_only_so_long() {
        assert_eq!(edge(9, None), None);
        assert_eq!(edge(10, None), Some(Why::Waited), "no control plane");
        assert_eq!(edge(10, Some(&[FirstPull::Pending])), Some(Why::Waited));
    }

    #[test]
    fn an_origin_is_ready_when_it_listens() {
        let facts = Starting {
            role: Role::Origin,
            for_: Duration::ZERO,
            ready_wait: Duration::from_secs(10),
            first_pulls: None,
        };
        assert_eq!(latch(&facts), Some(Why::Listening));
    }

    #[test]
    fn an_unready_node_says_why() {
        let lifecycle = crate::lifecycle::Lifecycle::default();
        assert!(unready(&lifecycle.phase()).is_some_and(|why| why.contains("starting")));
        lifecycle.latch();
        assert_eq!(unready(&lifecycle.phase()), None);
        lifecycle.drain(jiff::Timestamp::now(), Duration::ZERO);
        assert_eq!(unready(&lifecycle.phase()), Some("draining"));
        lifecycle.stop();
        assert_eq!(unready(&lifecycle.phase()), Some("stopping"));
    }
}
