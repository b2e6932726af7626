//! What the loop tells people: one snapshot for the ops port, the status table and the metrics.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Control, Now};
use crate::api::edge_pool::UpstreamKind;
use crate::autoscaling::verdict::Verdict;
use crate::fleet::document::{self, Fleet, Target};
use crate::fleet::figures::totals;
use crate::fleet::{ResourceId, ResourceKind};
use crate::metrics::Metrics;
use crate::platform::{Platform, Wishes};
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
    /// Nodes that a newer control plane has taken over.
    pub superseded: u32,
    /// Streams that every edge should carry.
    pub planned_streams: usize,
    /// A pull that does not work, in a person's words.
    pub failing_pull: Option<String>,
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
            };
            (id.clone(), report)
        });
        let snapshot = Snapshot {
            fleet: document::fleet(&self.map, &resources, now.monotonic),
            targets: self.targets(),
            pools,
            origins: origins.collect(),
            learning: self.learning.is_on(),
            at: Some(Instant::now()),
        };
        self.metrics_of(&snapshot, now);
        self.snapshot.send_replace(Arc::new(snapshot));
    }

    /// The first pull of a pool's edges that does not work.
    fn failing_pull(&self, pool: &ResourceId, now: Now) -> Option<String> {
        let edges = self.map.nodes_of(pool).filter(|(_, node)| !node.draining());
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
        let metrics: &Metrics = &self.metrics;
        // Pools that are gone must not stand there for ever.
        for id in self
            .snapshot
            .borrow()
            .pools
            .keys()
            .filter(|id| !snapshot.pools.contains_key(id))
        {
            metrics.forget_pool(&id.namespace, &id.name);
        }
        for pool in &snapshot.fleet.pools {
            let id = ResourceId {
                namespace: pool.namespace.clone(),
                kind: ResourceKind::EdgePool,
                name: pool.name.clone(),
            };
            let names = [pool.namespace.as_str(), pool.name.as_str()];
            for (state, count) in [
                ("desired", pool.desired),
                ("ready", pool.ready),
                ("draining", pool.draining),
            ] {
                metrics
                    .replicas
                    .with_label_values(&[names[0], names[1], state])
                    .set(f64::from(count));
            }
            let totals = totals(&self.map, &id, now.monotonic);
            metrics.outbound.with_label_values(&names).set(totals.sent_bps as f64);
            metrics.viewers.with_label_values(&names).set(totals.viewers as f64);
            metrics
                .utilization
                .with_label_values(&names)
                .set(pool.utilization_percent / 100.0);
        }
    }
}
