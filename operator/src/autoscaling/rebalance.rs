//! After a scale-out, viewers that can move are asked to leave the edges that are still too full. Pure state machine.
//!
//! The load balancer places each mover at random, so that some come back: an edge is asked for no more than its excess
//! over the mean, less those who were asked a moment ago, and the whole thing ends after [`LASTS`] whatever happens.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use super::{EdgeFigures, Phase, Pool};
use crate::fleet::NodeId;
use crate::validate::Autoscaling;

/// How long after its new edges serve a scale-out goes on moving viewers.
pub const LASTS: Duration = Duration::from_secs(120);
/// How long it waits for its new edges to serve before it gives up.
pub const WAITS: Duration = Duration::from_secs(600);
/// Least time between two orders to one edge: a second, less what the beat of the control loop may be early. A whole second
/// would leave out every other beat.
const PERIOD: Duration = Duration::from_millis(900);
/// Viewers asked within this time may still be counted by their old edge: the new connection comes first.
const SETTLES: Duration = Duration::from_secs(3);
/// One viewer in so many is asked each period, and one at least.
const SHARE: u64 = 20;

/// Ask so many viewers of this edge to move.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    /// Which edge.
    pub node: NodeId,
    /// How many of its movable viewers.
    pub viewers: u32,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    /// No scale-out that has not been dealt with.
    #[default]
    Dormant,
    /// A scale-out; its edges are not all there yet.
    Waiting,
    /// Every edge serves; viewers are asked until this time.
    Moving {
        /// When it is over.
        until: Instant,
    },
}

/// What is remembered of a pool's rebalance. At most one entry per edge and [`SETTLES`] seconds.
#[derive(Clone, Debug, Default)]
pub struct Rebalance {
    state: State,
    /// The scale-out that was dealt with last.
    seen: Option<Instant>,
    /// Edges that were above `scaleOutPercent` since the new edges serve.
    hot: BTreeSet<NodeId>,
    asked: BTreeMap<NodeId, VecDeque<(Instant, u32)>>,
}

impl Rebalance {
    /// The orders of this moment. `scaled_out` is when edges were last added, or drains taken back, for load's sake;
    /// after a restart of the operator none, which leaves a rebalance that was under way to the next scale-out.
    pub fn step(&mut self, pool: &Pool, rule: &Autoscaling, scaled_out: Option<Instant>, now: Instant) -> Vec<Order> {
        self.advance(pool, scaled_out, now);
        if !matches!(self.state, State::Moving { .. }) {
            return Vec::new();
        }
        let serving: Vec<(&NodeId, EdgeFigures)> = pool
            .edges
            .iter()
            .filter(|edge| edge.draining.is_none() && edge.phase == Phase::Serving)
            .filter_map(|edge| Some((&edge.node, edge.figures?)))
            .collect();
        if serving.len() < 2 {
            return Vec::new();
        }
        let sum: u128 = serving.iter().map(|(_, figures)| u128::from(figures.load_bps())).sum();
        let mean = sum / serving.len() as u128;
        self.hot
            .retain(|node| serving.iter().any(|(serves, _)| *serves == node));
        let mut orders = Vec::new();
        for (node, figures) in serving {
            if self.is_hot(node, &figures, mean, rule) {
                orders.extend(self.order(node, &figures, mean, now));
            }
        }
        orders
    }

    /// No viewers are asked to move, and none will be before the next scale-out.
    pub fn is_dormant(&self) -> bool {
        self.state == State::Dormant
    }

    fn advance(&mut self, pool: &Pool, scaled_out: Option<Instant>, now: Instant) {
        if let Some(at) = scaled_out
            && self.seen.is_none_or(|seen| seen < at)
        {
            self.seen = Some(at);
            self.state = State::Waiting;
        }
        self.state = match (self.state, self.seen) {
            (State::Waiting, _) if !pool.unsettled() => State::Moving { until: now + LASTS },
            (State::Waiting, Some(at)) if now.saturating_duration_since(at) >= WAITS => State::Dormant,
            (State::Moving { until }, _) if now >= until => State::Dormant,
            (state, _) => state,
        };
        if self.state == State::Dormant {
            self.hot.clear();
            self.asked.clear();
        }
    }

    /// Above the threshold it becomes hot, and is asked whenever it is more than 10 % above the mean: one that got there
    /// early goes on taking in movers of the others.
    fn is_hot(&mut self, node: &NodeId, figures: &EdgeFigures, mean: u128, rule: &Autoscaling) -> bool {
        let load = u128::from(figures.load_bps());
        let near = load * 10 <= mean * 11;
        let above = load * 100 > u128::from(rule.capacity_bps) * u128::from(rule.scale_out_percent);
        if above {
            self.hot.insert(node.clone());
        }
        !near && self.hot.contains(node)
    }

    fn order(&mut self, node: &NodeId, figures: &EdgeFigures, mean: u128, now: Instant) -> Option<Order> {
        let asked = self.asked.entry(node.clone()).or_default();
        while asked
            .front()
            .is_some_and(|&(at, _)| now.saturating_duration_since(at) >= SETTLES)
        {
            asked.pop_front();
        }
        if asked
            .back()
            .is_some_and(|&(at, _)| now.saturating_duration_since(at) < PERIOD)
        {
            return None;
        }
        let load = u128::from(figures.load_bps()).max(1);
        // Rounded down: an excess of less than one viewer can't be moved away.
        let excess = u128::from(figures.viewers) * load.saturating_sub(mean) / load;
        let recent: u64 = asked.iter().map(|&(_, viewers)| u64::from(viewers)).sum();
        let left = u64::try_from(excess).unwrap_or(u64::MAX).saturating_sub(recent);
        let viewers = left.min((figures.viewers / SHARE).max(1)).min(figures.movable);
        let viewers = u32::try_from(viewers).unwrap_or(u32::MAX);
        if viewers == 0 {
            return None;
        }
        asked.push_back((now, viewers));
        Some(Order {
            node: node.clone(),
            viewers,
        })
    }
}

#[cfg(test)]
mod tests;
