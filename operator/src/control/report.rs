//! What the loop tells people: one snapshot for the ops port, the status table and the metrics.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use prometheus::GaugeVec;

use super::{Control, Now};
use crate::api::edge_pool::{ReplicationMode, UpstreamKind};
use crate::autoscaling::verdict::Verdict;
use crate::fleet::ResourceId;
use crate::fleet::ResourceKind;
use crate::fleet::document::{self, EdgeEntry, Fleet, PoolEntry, Target};
use crate::fleet::figures::totals;
use crate::history::About;
use crate::metrics::PoolGauges;
use crate::platform::{HappeningReason, Platform, Wishes};
use crate::replication;
use crate::validate::{Scaling, ValidPool};

/// The fleet at one moment.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// The document of `/api/v1/fleet`.
    pub fleet: Fleet,
    /// The document of `/api/v1/targets`.
    pub targets: Arc<Vec<Target>>,
    /// What was decided of each pool, and why.
    pub pools: BTreeMap<ResourceId, PoolReport>,
    /// The app of each origin, and whether publishers need a key.
    pub origins: BTreeMap<ResourceId, OriginReport>,
    /// Nodes that ran before this control plane are still waited for: what is said of them is not whole.
    pub learning: bool,
    /// When it was made; none before the first time.
    pub at: Option<Instant>,
}

/// An origin's part of a [`Snapshot`].
#[derive(Clone, Debug, Default)]
pub struct OriginReport {
    /// App of its streams.
    pub app: String,
    /// Publishers need a key.
    pub secured: bool,
    /// It is stopped by its manifest.
    pub suspended: bool,
    /// A pull of its own that does not work, in a person's words.
    pub failing_pull: Option<String>,
}

/// A pool's part of a [`Snapshot`].
#[derive(Clone, Debug, Default)]
pub struct PoolReport {
    /// How many edges, and why; none for attached nodes.
    pub verdict: Option<Verdict>,
    /// How it is replicated.
    pub replication: Option<replication::Verdict>,
    /// What one edge may send, bits per second; none without autoscaling.
    pub capacity_bps: Option<u64>,
    /// Edges at least and at most; none without autoscaling.
    pub bounds: Option<(u32, u32)>,
    /// Edges are added above this utilisation; none without autoscaling.
    pub scale_out_percent: Option<u32>,
    /// Streams are pulled when somebody asks, not beforehand.
    pub on_demand: bool,
    /// Nodes that a newer control plane has taken over.
    pub superseded: u32,
    /// Streams that every edge should carry.
    pub planned_streams: usize,
    /// A pull that does not work, in a person's words.
    pub failing_pull: Option<String>,
}

impl PoolReport {
    /// Ready edges of the pool that do not carry every stream yet that they were given beforehand.
    pub fn behind(&self, entry: &PoolEntry) -> usize {
        if self.on_demand {
            return 0;
        }
        let lacks = |edge: &&EdgeEntry| edge.ready && edge.streams.len() < self.planned_streams;
        entry.edges.iter().filter(lacks).count()
    }

    /// False while edges lack streams, or nothing new can reach them since their origin is not heard.
    pub fn replicates(&self, entry: &PoolEntry) -> bool {
        let unheard = match self.replication {
            Some(
                replication::Verdict::UpstreamUnheard
                | replication::Verdict::UpstreamSilent
                | replication::Verdict::UpstreamNotFound
                | replication::Verdict::UpstreamCycle
                | replication::Verdict::UpstreamInvalid,
            ) => true,
            Some(
                replication::Verdict::Replicating
                | replication::Verdict::TooManyStreams
                | replication::Verdict::UpstreamSuspended
                | replication::Verdict::Suspended,
            )
            | None => false,
        };
        !unheard && self.behind(entry) == 0
    }
}

/// Longest time that a change waits for its report.
const LONGEST: Duration = Duration::from_millis(250);
/// A report may take one part in so many of the loop's time.
const SHARE: u32 = 20;

/// When reports are made: at once while nothing much happens, and in a burst no more often than the loop can afford.
#[derive(Debug, Default)]
pub(super) struct Reporting {
    /// No report before this.
    not_before: Option<Instant>,
    /// Something happened that was not reported.
    owed: bool,
    /// The targets of the map's nodes, with [`crate::fleet::map::FleetMap::placed`] of which they are true.
    targets: Option<(u64, Arc<Vec<Target>>)>,
}

impl Reporting {
    /// A report may be made now; if not, it is owed.
    pub(super) fn may(&mut self, now: Instant) -> bool {
        self.owed = self.not_before.is_some_and(|at| now < at);
        !self.owed
    }

    /// A report was made at `now` that took this long.
    pub(super) fn took(&mut self, cost: Duration, now: Instant) {
        self.not_before = Some(now + (cost * SHARE).min(LONGEST));
    }

    /// Waits until an owed report may be made; for ever while none is owed.
    pub(super) async fn owed(&self) {
        match self.not_before {
            Some(at) if self.owed => tokio::time::sleep_until(at.into()).await,
            _ => std::future::pending().await,
        }
    }
}

fn upstream(pool: &ValidPool) -> document::UpstreamEntry {
    let kind = match pool.upstream.kind {
        UpstreamKind::StreamOrigin => ResourceKind::StreamOrigin,
        UpstreamKind::EdgePool => ResourceKind::EdgePool,
    };
    document::UpstreamEntry {
        kind: kind.to_string(),
        name: pool.upstream.key.name.clone(),
    }
}

impl<P: Platform> Control<P> {
    pub(super) fn report(&mut self, wishes: &Wishes, now: Now) {
        let mut resources = document::Resources::default();
        let mut pools = BTreeMap::new();
        for (id, wish) in &wishes.origins {
            let facts = document::Origin {
                addresses: self.platform.addresses(id),
                suspended: wish.spec.suspend,
            };
            resources.origins.insert(id.clone(), facts);
        }
        for (id, spec) in &wishes.pools {
            let verdict = self.pools.get(id).and_then(|memory| memory.verdict);
            let auto = match spec.scaling {
                Scaling::Auto(auto) => Some(auto),
                Scaling::Fixed { .. } => None,
            };
            let replication = self.plan.pools.get(id).map(|plan| plan.verdict);
            let failing_pull = self.failing_pull(id, now);
            let facts = document::Pool {
                addresses: self.platform.addresses(id),
                desired: verdict.map_or_else(|| self.platform.replicas(id), |verdict| verdict.desired),
                utilization_percent: verdict.and_then(|verdict| verdict.utilization_percent),
                upstream: Some(upstream(spec)),
                suspended: spec.suspend,
                capacity_bps: auto.map(|auto| auto.capacity_bps),
                bounds: auto.map(|auto| (auto.min_replicas, auto.max_replicas)),
                scale_out_percent: auto.map(|auto| auto.scale_out_percent),
                scaling: verdict.map(|verdict| verdict.reason.to_string()),
                replication: replication.map(|verdict| verdict.to_string()),
                failing_pull: failing_pull.clone(),
            };
            resources.pools.insert(id.clone(), facts);
            let superseded = self.superseded.range(id.node("")..);
            let superseded = superseded.take_while(|node| node.resource == *id).count();
            let report = PoolReport {
                verdict,
                replication,
                capacity_bps: auto.map(|auto| auto.capacity_bps),
                bounds: auto.map(|auto| (auto.min_replicas, auto.max_replicas)),
                scale_out_percent: auto.map(|auto| auto.scale_out_percent),
                on_demand: spec.replication.mode == ReplicationMode::OnDemand,
                superseded: u32::try_from(superseded).unwrap_or(u32::MAX),
                planned_streams: self.plan.pools.get(id).map_or(0, |plan| plan.streams.len()),
                failing_pull,
            };
            pools.insert(id.clone(), report);
        }
        let origins = wishes.origins.iter().map(|(id, wish)| {
            let report = OriginReport {
                app: wish.spec.app.as_str().to_owned(),
                secured: wish.keys.is_some(),
                suspended: wish.spec.suspend,
                failing_pull: self.failing_pull(id, now),
            };
            (id.clone(), report)
        });
        let origins = origins.collect();
        let snapshot = Snapshot {
            fleet: document::fleet(&self.map, &resources, now.monotonic),
            targets: self.targets(),
            pools,
            origins,
            learning: self.learning.is_on(),
            at: Some(Instant::now()),
        };
        self.tell_troubles(&snapshot, now);
        self.metrics_of(&snapshot, now);
        self.snapshot.send_replace(Arc::new(snapshot));
    }

    /// Tells of pulls that have begun to fail, and of pools whose upstream has been found missing.
    fn tell_troubles(&self, new: &Snapshot, now: Now) {
        let old = self.snapshot.borrow().clone();
        let tell = |resource: &ResourceId, reason, note| self.announce(resource, reason, note, About::default(), now);
        let failing = |snapshot: &Snapshot, id: &ResourceId| match id.kind {
            ResourceKind::StreamOrigin => snapshot.origins.get(id).and_then(|report| report.failing_pull.clone()),
            ResourceKind::EdgePool => snapshot.pools.get(id).and_then(|report| report.failing_pull.clone()),
        };
        for id in new.origins.keys().chain(new.pools.keys()) {
            if let Some(pull) = failing(new, id).filter(|_| failing(&old, id).is_none()) {
                tell(id, HappeningReason::PullFailed, format!("a pull does not work: {pull}"));
            }
        }
        let lost = |report: &PoolReport| report.replication == Some(replication::Verdict::UpstreamNotFound);
        for (id, report) in &new.pools {
            if lost(report) && !old.pools.get(id).is_some_and(lost) {
                let note = "its upstream, or one above it, does not exist".to_owned();
                tell(id, HappeningReason::UpstreamNotFound, note);
            }
        }
    }

    /// The first pull of a resource's nodes that does not work.
    fn failing_pull(&self, resource: &ResourceId, now: Now) -> Option<String> {
        let edges = self.map.nodes_of(resource).filter(|(_, node)| !node.draining());
        let mut failing = edges.filter_map(|(id, node)| {
            let pull = node.fresh_figures(now.monotonic)?.failing_pulls.first()?;
            Some(format!("{} on {}: {}", pull.stream, id.name, pull.error))
        });
        failing.next()
    }

    fn targets(&mut self) -> Arc<Vec<Target>> {
        let placed = self.map.placed();
        if let Some((of, targets)) = &self.reporting.targets
            && *of == placed
        {
            return targets.clone();
        }
        let targets = document::targets(&self.map);
        // A node without a process has no address to scrape.
        let reachable = |target: &Target| target.targets.iter().all(|address| !address.is_empty());
        let targets: Arc<Vec<Target>> = Arc::new(targets.into_iter().filter(reachable).collect());
        self.reporting.targets = Some((placed, targets.clone()));
        targets
    }

    fn metrics_of(&self, snapshot: &Snapshot, now: Now) {
        let gauges: &PoolGauges = &self.metrics.pools;
        // Pools that are gone must not stand there for ever.
        let before = self.snapshot.borrow();
        for id in before.pools.keys().filter(|id| !snapshot.pools.contains_key(id)) {
            gauges.forget(&id.namespace, &id.name);
        }
        for pool in &snapshot.fleet.pools {
            let id = ResourceId::pool(&pool.namespace, &pool.name);
            let names = [pool.namespace.as_str(), pool.name.as_str()];
            let set = |gauge: &GaugeVec, value: f64| gauge.with_label_values(&names).set(value);
            let totals = totals(&self.map, &id, now.monotonic);
            set(&gauges.outbound, totals.sent_bps as f64);
            set(&gauges.viewers, totals.viewers as f64);
            set(&gauges.utilization, pool.utilization_percent / 100.0);
            let report = snapshot.pools.get(&id);
            let behind = report.map_or(0, |report| report.behind(pool));
            let replicates = report.is_none_or(|report| report.replicates(pool));
            set(&gauges.replicating, f64::from(u8::from(replicates)));
            for (state, count) in [
                ("desired", f64::from(pool.desired)),
                ("ready", f64::from(pool.ready)),
                ("draining", f64::from(pool.draining)),
                ("behind", behind as f64),
            ] {
                let gauge = gauges.replicas.with_label_values(&[names[0], names[1], state]);
                gauge.set(count);
            }
            match report.and_then(|report| Some((report.bounds?, report.capacity_bps?, report.scale_out_percent?))) {
                Some(((min, max), capacity, scale_out)) => {
                    set(&gauges.min_replicas, f64::from(min));
                    set(&gauges.max_replicas, f64::from(max));
                    set(&gauges.edge_capacity, capacity as f64);
                    set(&gauges.scale_out_ratio, f64::from(scale_out) / 100.0);
                }
                None => gauges.forget_scaling(&pool.namespace, &pool.name),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edge(ready: bool, streams: &[&str]) -> EdgeEntry {
        EdgeEntry {
            ready,
            streams: streams.iter().map(|name| format!("live/{name}")).collect(),
            ..EdgeEntry::default()
        }
    }

    #[test]
    fn a_pool_replicates_while_its_origin_is_heard_and_its_ready_edges_carry_all() {
        let entry = PoolEntry {
            edges: vec![edge(true, &["a", "b"]), edge(true, &["a"]), edge(false, &[])],
            ..PoolEntry::default()
        };
        let report = |verdict, planned_streams, on_demand| PoolReport {
            replication: Some(verdict),
            planned_streams,
            on_demand,
            ..PoolReport::default()
        };
        let (fine, silent) = (replication::Verdict::Replicating, replication::Verdict::UpstreamSilent);
        for (report, behind, replicates) in [
            (report(fine, 1, false), 0, true),
            (report(fine, 2, false), 1, false),
            (report(fine, 2, true), 0, true),
            (report(silent, 1, false), 0, false),
            (report(replication::Verdict::Suspended, 0, false), 0, true),
        ] {
            let told = (report.behind(&entry), report.replicates(&entry));
            assert_eq!(told, (behind, replicates), "{report:?}");
        }
    }
}
