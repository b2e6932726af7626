//! Scale-in by draining: which edges drain, come back, go, and how many are made. Level-triggered: each step looks at
//! the pool as it is, so that an edge that went by itself, a lost command or a new leader changes nothing.

use std::cmp::Reverse;
use std::time::{Duration, Instant};

use super::{Edge, Phase, Pool};
use crate::fleet::NodeId;

/// What a pool's drains go by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// Edges wanted, draining ones not counted ([`super::verdict::Verdict::desired`]).
    pub desired: u32,
    /// `drainTimeoutSeconds`.
    pub timeout: Duration,
    /// The nodes' `--drain-accept`: for so long a draining edge still takes newcomers, and is not removed though empty.
    pub accept: Duration,
    /// A rollout is under way: edges are replaced anyway, so that none is drained or removed for the scale-in's sake.
    pub rollout: bool,
}

/// One thing to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Take this edge's drain back.
    CancelDrain {
        /// Which.
        node: NodeId,
    },
    /// Make so many edges more.
    Add {
        /// How many.
        edges: u32,
    },
    /// Keep the drain as a fact first (a Pod annotation), then tell the node.
    StartDrain {
        /// Which.
        node: NodeId,
        /// When those who still watch are cut.
        deadline: Instant,
    },
    /// Lower the number by one, by this edge.
    Remove {
        /// Which.
        node: NodeId,
        /// Why now.
        cause: Removal,
    },
}

/// Why a draining edge goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Removal {
    /// Its last viewer has gone.
    Empty,
    /// Its deadline has passed.
    DeadlinePassed,
}

/// What to do now, in this order.
pub fn step(pool: &Pool, rules: &Rules, now: Instant) -> Vec<Action> {
    let current = pool.current();
    let mut actions = Vec::new();
    let mut back = Vec::new();
    if rules.desired > current {
        let missing = rules.desired - current;
        back = returning(pool, missing, now);
        actions.extend(back.iter().map(|node| Action::CancelDrain { node: node.clone() }));
        let edges = missing.saturating_sub(count(&back));
        if edges > 0 {
            actions.push(Action::Add { edges });
        }
    }
    // While edges are made or replaced, the platform may pick another edge than the one meant.
    if pool.unsettled() || rules.rollout || actions.iter().any(|action| matches!(action, Action::Add { .. })) {
        return actions;
    }
    if rules.desired < current {
        let deadline = now + rules.timeout;
        let start = |node| Action::StartDrain { node, deadline };
        actions.extend(least_loaded(pool, current - rules.desired).into_iter().map(start));
    }
    for edge in pool.edges.iter().filter(|edge| !back.contains(&edge.node)) {
        if let Some(cause) = removal(edge, rules, now) {
            let node = edge.node.clone();
            actions.push(Action::Remove { node, cause });
        }
    }
    actions
}

/// Draining edges to take back, those with most viewers first. One that is silent, or past its deadline, is no help.
fn returning(pool: &Pool, most: u32, now: Instant) -> Vec<NodeId> {
    let mut candidates: Vec<_> = pool
        .edges
        .iter()
        .filter(|edge| edge.draining.is_some_and(|drain| now < drain.deadline))
        .filter(|edge| edge.phase == Phase::Serving)
        .filter_map(|edge| Some((Reverse(edge.figures?.viewers), &edge.node)))
        .collect();
    candidates.sort();
    candidates
        .into_iter()
        .take(size(most))
        .map(|(_, node)| node.clone())
        .collect()
}

/// Edges to drain, the least loaded first. One whose figures are missing is never chosen.
fn least_loaded(pool: &Pool, most: u32) -> Vec<NodeId> {
    let mut candidates: Vec<_> = pool
        .edges
        .iter()
        .filter(|edge| edge.draining.is_none() && edge.phase == Phase::Serving)
        .filter_map(|edge| {
            edge.figures
                .map(|figures| (figures.load_bps(), figures.viewers, &edge.node))
        })
        .collect();
    candidates.sort();
    candidates
        .into_iter()
        .take(size(most))
        .map(|(_, _, node)| node.clone())
        .collect()
}

fn removal(edge: &Edge, rules: &Rules, now: Instant) -> Option<Removal> {
    let drain = edge.draining?;
    if now >= drain.deadline {
        return Some(Removal::DeadlinePassed);
    }
    let empty = edge.drain_seen && edge.figures.is_some_and(|figures| figures.is_empty());
    let accepted = now.saturating_duration_since(drain.since) >= rules.accept;
    (empty && accepted).then_some(Removal::Empty)
}

fn count(nodes: &[NodeId]) -> u32 {
    u32::try_from(nodes.len()).unwrap_or(u32::MAX)
}

fn size(count: u32) -> usize {
    usize::try_from(count).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests;
