//! Each second: how many edges every pool should have, which of them drain, and who is asked to move.

use std::time::Instant;

use tracing::info;

use super::{Control, Now};
use crate::autoscaling::drain::{self, Action, Removal, Rules};
use crate::autoscaling::rebalance::Rebalance;
use crate::autoscaling::verdict::{Reason, Scaler, Verdict};
use crate::autoscaling::{Edge, EdgeFigures, Mode, Phase, Pool};
use crate::fleet::{NodeId, ResourceId};
use crate::history::{About, Edges};
use crate::platform::{Drain, Error, HappeningReason, NodeFacts, Platform, Wishes};
use crate::validate::ValidPool;

/// What is remembered of a pool from one second to the next. Nothing is lost when it starts afresh.
#[derive(Debug, Default)]
pub(super) struct PoolMemory {
    scaler: Scaler,
    rebalance: Rebalance,
    /// When edges were last added, or drains taken back, for load's sake.
    scaled_out: Option<Instant>,
    /// The last verdict; none for a pool whose number is not decided here.
    pub(super) verdict: Option<Verdict>,
}

impl<P: Platform> Control<P> {
    pub(super) async fn scale(&mut self, wishes: &Wishes, now: Now) {
        self.pools.retain(|id, _| wishes.pools.contains_key(id));
        for (id, spec) in &wishes.pools {
            let mut memory = self.pools.remove(id).unwrap_or_default();
            if self.platform.scales(id) {
                if let Err(error) = self.scale_pool(id, spec, &mut memory, now).await {
                    self.failed(&error);
                }
            } else {
                memory.verdict = None;
            }
            self.pools.insert(id.clone(), memory);
        }
    }

    async fn scale_pool(
        &mut self,
        id: &ResourceId,
        spec: &ValidPool,
        memory: &mut PoolMemory,
        now: Now,
    ) -> Result<(), Error> {
        let pool = self.pool(id, now);
        let mode = Mode::from(spec);
        let verdict = memory.scaler.verdict(&pool, &mode, spec.pause, now.monotonic);
        memory.verdict = Some(verdict);
        let rules = Rules {
            desired: verdict.desired,
            timeout: spec.drain_timeout,
            accept: self.platform.drain_accept(),
            rollout: self.platform.rolling(id),
        };
        let actions = drain::step(&pool, &rules, now.monotonic);
        let mut done = Vec::new();
        let mut result = Ok(());
        for action in actions {
            result = self.act(id, action.clone(), now).await;
            if result.is_err() {
                break;
            }
            done.push(action);
        }
        // What failed is tried again each second: only what was done is a scale event.
        self.note(id, &done, &verdict, memory, now);
        result?;
        if let Mode::Auto(policy) = &mode {
            for order in memory.rebalance.step(&pool, policy, memory.scaled_out, now.monotonic) {
                if let Some((_, link)) = self.links.get(&order.node) {
                    info!(
                        node = order.node.name,
                        viewers = order.viewers,
                        "viewers are asked to move to other edges"
                    );
                    link.ask_to_move(order.viewers);
                }
            }
        }
        Ok(())
    }

    /// Logs and counts a change of the number of edges, once for all that it takes.
    fn note(&self, id: &ResourceId, actions: &[Action], verdict: &Verdict, memory: &mut PoolMemory, now: Now) {
        let out = |action: &&Action| matches!(action, Action::Add { .. } | Action::CancelDrain { .. });
        let direction = if actions.iter().any(|action| out(&action)) {
            memory.scaled_out = (verdict.reason == Reason::LoadAboveScaleOut)
                .then_some(now.monotonic)
                .or(memory.scaled_out);
            ("out", HappeningReason::ScaledOut)
        } else if actions.iter().any(|action| matches!(action, Action::StartDrain { .. })) {
            ("in", HappeningReason::ScaledIn)
        } else {
            return;
        };
        let reason = verdict.reason.to_string();
        self.metrics
            .scale_events
            .with_label_values(&[direction.0, &reason])
            .inc();
        info!(
            event = %direction.1, pool = %id, from = verdict.current, to = verdict.desired, reason,
            utilization_percent = verdict.utilization_percent.map(f64::round), "the number of edges changes"
        );
        let load = verdict
            .utilization_percent
            .map(|percent| format!(", load at {percent:.0} % of capacity"));
        let (from, to) = (verdict.current, verdict.desired);
        let note = format!("from {from} to {to} edges: {reason}{}", load.unwrap_or_default());
        let about = About {
            node: None,
            edges: Some(Edges { from, to }),
        };
        self.announce(id, direction.1, note, about, now);
    }

    async fn act(&mut self, id: &ResourceId, action: Action, now: Now) -> Result<(), Error> {
        match action {
            Action::Add { edges } => self.platform.add(id, edges).await,
            Action::CancelDrain { node } => {
                info!(event = "EdgeDrainCancelled", pool = %id, node = node.name, "a draining edge serves again");
                let note = format!("{} serves again: its load is back", node.name);
                self.tell_of(id, &node, HappeningReason::EdgeDrainCancelled, note, now);
                self.platform.hold_drain(&node, None).await
            }
            Action::StartDrain { node, deadline } => {
                let drain = Drain::new(now.monotonic, now.wall, deadline);
                info!(event = "EdgeDraining", pool = %id, node = node.name, deadline = %drain.deadline, "an edge drains");
                let note = format!(
                    "{} drains; who still watches at {:.0} is cut",
                    node.name, drain.deadline
                );
                self.tell_of(id, &node, HappeningReason::EdgeDraining, note, now);
                self.platform.hold_drain(&node, Some(drain)).await
            }
            Action::Remove { node, cause } => {
                let first = self.platform.remove(&node).await?;
                if first {
                    info!(event = "EdgeDrained", pool = %id, node = node.name, ?cause, "a drained edge goes");
                    let why = match cause {
                        Removal::Empty => "nobody watches it any more",
                        Removal::DeadlinePassed => "its deadline has passed",
                    };
                    let note = format!("{} goes: {why}", node.name);
                    self.tell_of(id, &node, HappeningReason::EdgeDrained, note, now);
                }
                Ok(())
            }
        }
    }

    fn tell_of(&self, pool: &ResourceId, node: &NodeId, reason: HappeningReason, note: String, now: Now) {
        let about = About {
            node: Some(node.name.clone()),
            edges: None,
        };
        self.announce(pool, reason, note, about, now);
    }

    /// The pool as platform and map know it.
    fn pool(&self, id: &ResourceId, now: Now) -> Pool {
        let (leaving, edges): (Vec<_>, Vec<_>) = self.nodes.of(id).iter().partition(|facts| facts.leaving);
        let load = |facts: &&NodeFacts| self.edge(facts, now).figures.map(|figures| figures.load_bps());
        Pool {
            replicas: self.platform.replicas(id),
            edges: edges.iter().map(|facts| self.edge(facts, now)).collect(),
            leaving_bps: leaving.iter().filter_map(load).fold(0, u64::saturating_add),
        }
    }

    fn edge(&self, facts: &NodeFacts, now: Now) -> Edge {
        let node = self.map.node(&facts.id);
        let boot = node
            .and_then(|node| node.identity.as_ref())
            .map(|identity| &identity.boot_id);
        let phase = match &facts.reach {
            None => Phase::Pending,
            Some(_) if boot.is_some() && boot == self.proven.get(&facts.id) => Phase::Serving,
            Some(_) => Phase::Starting,
        };
        Edge {
            node: facts.id.clone(),
            phase,
            draining: facts.drain.map(|drain| drain.plan),
            drain_seen: node.is_some_and(|node| node.draining()),
            figures: node
                .and_then(|node| node.fresh_figures(now.monotonic))
                .map(EdgeFigures::from),
        }
    }
}
