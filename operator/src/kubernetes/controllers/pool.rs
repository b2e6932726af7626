//! One run for an EdgePool.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::ResourceExt;
use kube::runtime::controller::Action;

use super::origin::Failed;
use super::{Context, Error, LEARNS, again, id_of, problem_of, still_learns};
use crate::api::EdgePool;
use crate::api::condition::{self, ConditionReason, ConditionType};
use crate::api::edge_pool::{ReplicationMode, UpstreamKind};
use crate::control::Snapshot;
use crate::fleet::{ResourceId, ResourceKind};
use crate::kubernetes::decide::{self, Owner, PoolFacts, names};
use crate::kubernetes::intent::{Intent, Seen};
use crate::kubernetes::observe::Stores;
use crate::kubernetes::report::Trouble;
use crate::kubernetes::report::pace::{self, Due};
use crate::kubernetes::report::pool::{Facts, status};
use crate::kubernetes::{apply, cluster};
use crate::validate::{self, ValidPool};

/// Longest chain of pools that is followed up to the origin; a circle ends here.
const LONGEST_CHAIN: usize = 32;

/// The annotations of a pod that are the operator's.
type Annotations = BTreeMap<&'static str, String>;

/// Brings one pool to what it says.
pub(super) async fn reconcile(pool: Arc<EdgePool>, context: Arc<Context>) -> Result<Action, Error> {
    let id = id_of(pool.as_ref(), ResourceKind::EdgePool);
    if pool.metadata.deletion_timestamp.is_some() {
        context.forget(&id);
        return Ok(Action::await_change());
    }
    let made = match validate::pool(&pool) {
        Ok(valid) => make(&context, &id, &pool, &valid).await.map_err(Failed::Apply),
        Err(errors) => Err(Failed::Invalid(errors)),
    };
    let trouble = made.as_ref().err().map(Failed::trouble);
    context.tell(&id, made.as_ref().err().map(Failed::happening));
    let figures = report(&context, &id, &pool, trouble).await.map_err(Error::Report)?;
    match made {
        Ok(token) => Ok(again(&context, &id, token, figures)),
        // Only another spec helps, and that is a change.
        Err(Failed::Invalid(_)) => Ok(Action::await_change()),
        Err(Failed::Apply(error)) => Err(Error::Apply(error)),
    }
}

async fn make(
    context: &Context,
    id: &ResourceId,
    pool: &EdgePool,
    valid: &ValidPool,
) -> Result<Timestamp, apply::Error> {
    let owner = Owner {
        uid: pool.uid().unwrap_or_default(),
    };
    let token = context.keep_token(id, &owner).await?;
    let seen = cluster::seen(&context.stores, id);
    let (replicas, annotations) = context
        .intents
        .of(id, &seen, |intent| wanted(context, intent, &seen, id));
    // A drain, and which edge goes next, stand before the number is changed and before a node is told.
    for (pod, annotations) in annotations {
        context.writer.annotate(&pod, &annotations).await?;
    }
    let upstream = ResourceId::from(&valid.upstream);
    let app = app(context, pool);
    let address = cluster::service(&context.stores, &upstream).and_then(|service| cluster::cluster_ip(&service));
    // While the way up is broken, or leads round in a circle, what runs is left as it is, and is scaled as it is: a guess at the
    // app would make every pod anew, and once more when the origin is back.
    let (address, app) = match (address, app) {
        (Some(address), Some(app)) => (Some(address), Some(app)),
        _ => cluster::deployment(&context.stores, id)
            .and_then(|live| decide::upstream_of(&live))
            .map_or((None, None), |(address, app)| (Some(address), Some(app))),
    };
    let facts = PoolFacts {
        owner,
        replicas,
        desired: desired(context, id)
            .or_else(|| budgeted(context, id))
            .unwrap_or(replicas),
        upstream: address,
        app: app.unwrap_or_else(|| "live".to_owned()),
    };
    let decided = decide::edge_pool(valid, &facts, &context.around);
    apply::objects(&context.writer, &context.stores, id, decided).await?;
    Ok(token)
}

/// The Deployment's number and the annotations of every pod that is not being deleted.
fn wanted(context: &Context, intent: &Intent, seen: &Seen, id: &ResourceId) -> (u32, Vec<(Arc<Pod>, Annotations)>) {
    let snapshot = context.snapshots.borrow().clone();
    let entry = pool_entry(&snapshot, id);
    let annotations = context.stores.pods.of(id).into_iter().filter_map(|pod| {
        let name = pod.name_any();
        let pod_seen = seen.live.get(&name)?;
        let mut annotations = Annotations::new();
        if let Some(drain) = intent.standing(&name, pod_seen, Timestamp::now()) {
            annotations.insert(names::DRAIN_SINCE, drain.since.to_string());
            annotations.insert(names::DRAIN_DEADLINE, drain.deadline.to_string());
        }
        if intent.is_victim(&name, seen) {
            annotations.insert(names::DELETION_COST, names::LOWEST_COST.to_owned());
        }
        let edge = entry.and_then(|entry| entry.edges.iter().find(|edge| edge.name == name));
        let watched = match edge {
            Some(edge) if edge.heard => edge.viewers > 0,
            // What is not known stays as it is.
            _ => pod.annotations().contains_key(names::SAFE_TO_EVICT),
        };
        if watched {
            annotations.insert(names::SAFE_TO_EVICT, "false".to_owned());
        }
        Some((pod, annotations))
    });
    (intent.deployment_replicas(seen), annotations.collect())
}

fn desired(context: &Context, id: &ResourceId) -> Option<u32> {
    let snapshot = context.snapshots.borrow().clone();
    let entry = pool_entry(&snapshot, id).filter(|_| !snapshot.learning);
    entry.map(|entry| entry.desired)
}

/// The number of edges that the budget which stands goes by.
fn budgeted(context: &Context, id: &ResourceId) -> Option<u32> {
    let budget = Stores::object(&context.stores.budgets, id, &names::object(id))?;
    match budget.spec.as_ref()?.min_available {
        Some(IntOrString::Int(available)) => u32::try_from(available).ok()?.checked_add(1),
        _ => None,
    }
}

fn pool_entry<'a>(snapshot: &'a Snapshot, id: &ResourceId) -> Option<&'a crate::fleet::document::PoolEntry> {
    snapshot.at?;
    let entries = &snapshot.fleet.pools;
    entries
        .iter()
        .find(|entry| entry.namespace == id.namespace && entry.name == id.name)
}

/// The app of the origin at the upper end, if the way up is whole.
fn app(context: &Context, pool: &EdgePool) -> Option<String> {
    let namespace = pool.namespace()?;
    let mut upstream = pool.spec.upstream.clone();
    for _ in 0..LONGEST_CHAIN {
        let name = upstream.name.as_str();
        match upstream.kind {
            UpstreamKind::StreamOrigin => {
                let origin = kube::runtime::reflector::ObjectRef::new(name).within(&namespace);
                return context
                    .stores
                    .origins
                    .get(&origin)
                    .map(|origin| origin.spec.app.clone());
            }
            UpstreamKind::EdgePool => {
                let above = kube::runtime::reflector::ObjectRef::new(name).within(&namespace);
                upstream = context.stores.pools.get(&above)?.spec.upstream.clone();
            }
        }
    }
    None
}

/// Writes the status if it is due; else says when a figure is.
async fn report(
    context: &Context,
    id: &ResourceId,
    pool: &EdgePool,
    trouble: Option<Trouble>,
) -> Result<Option<Duration>, apply::Error> {
    let snapshot = context.snapshots.borrow().clone();
    if trouble.is_none() && learns(&snapshot, pool) {
        return Ok(Some(LEARNS));
    }
    let app = app(context, pool);
    let new = status(
        &facts(context, &snapshot, id, pool, app.as_deref(), trouble),
        pool.status.as_ref(),
        Timestamp::now(),
    );
    match context.due(id, pace::pool(pool.status.as_ref(), &new)) {
        Ok(()) => {
            context.writer.status(pool, &new).await?;
            context.reported(id);
            Ok(None)
        }
        Err(later) => Ok(later),
    }
}

fn learns(snapshot: &Snapshot, pool: &EdgePool) -> bool {
    let observed = pool.status.as_ref().and_then(|status| status.observed_generation);
    still_learns(snapshot, pool.metadata.generation, observed)
}

/// True if an edge has viewers and its pod does not say so yet: the cluster autoscaler must not take it.
pub(super) fn unguarded(context: &Context, snapshot: &Snapshot, id: &ResourceId) -> bool {
    let watched = pool_entry(snapshot, id).map(|entry| entry.edges.iter().filter(|edge| edge.viewers > 0));
    let watched: BTreeSet<&str> = watched.into_iter().flatten().map(|edge| edge.name.as_str()).collect();
    !watched.is_empty()
        && context.stores.pods.of(id).iter().any(|pod| {
            let leaves = pod.metadata.deletion_timestamp.is_some();
            !leaves
                && watched.contains(pod.name_any().as_str())
                && !pod.annotations().contains_key(names::SAFE_TO_EVICT)
        })
}

/// How much the status that stands differs from what is known.
pub(super) fn due(context: &Context, snapshot: &Snapshot, pool: &EdgePool) -> Due {
    let id = id_of(pool, ResourceKind::EdgePool);
    let standing = pool.status.as_ref();
    if standing.is_some_and(|status| tells_trouble(&status.conditions)) || learns(snapshot, pool) {
        return Due::No;
    }
    let app = app(context, pool);
    let facts = facts(context, snapshot, &id, pool, app.as_deref(), None);
    let new = status(&facts, standing, Timestamp::now());
    pace::pool(standing, &new)
}

/// A trouble is a run's to find and to take back.
pub(super) fn tells_trouble(conditions: &[Condition]) -> bool {
    let troubles = [ConditionReason::InvalidSpec, ConditionReason::ApplyFailed];
    condition::find(conditions, ConditionType::Ready)
        .is_some_and(|ready| troubles.iter().any(|trouble| ready.reason == trouble.as_str()))
}

fn facts<'a>(
    context: &Context,
    snapshot: &'a Snapshot,
    id: &ResourceId,
    pool: &EdgePool,
    app: Option<&'a str>,
    trouble: Option<Trouble>,
) -> Facts<'a> {
    let (stores, spec) = (&context.stores, &pool.spec);
    let pods = stores.pods.of(id);
    let living: Vec<_> = pods
        .iter()
        .filter(|pod| pod.metadata.deletion_timestamp.is_none() && !cluster::has_ended(pod))
        .collect();
    let upstream = match spec.upstream.kind {
        UpstreamKind::StreamOrigin => ResourceId::origin(&id.namespace, &spec.upstream.name),
        UpstreamKind::EdgePool => ResourceId::pool(&id.namespace, &spec.upstream.name),
    };
    let upstream_service = cluster::service(stores, &upstream);
    Facts {
        generation: pool.metadata.generation,
        app,
        suspended: spec.suspend,
        autoscaled: spec.autoscaling.is_some(),
        upstream: format!("{} {}", upstream.kind, upstream.name),
        on_demand: spec.replication.mode == ReplicationMode::OnDemand,
        addresses: cluster::addresses(stores, id),
        reached: cluster::service(stores, id)
            .as_deref()
            .map(cluster::reached)
            .unwrap_or_default(),
        certificate: cluster::certificate(stores, &id.namespace, spec.tls.as_ref()),
        selector: names::edge_selector(&id.name),
        pods: living.len(),
        pending: living.iter().find_map(|pod| problem_of(pod)),
        rolling: cluster::deployment(stores, id).is_some_and(|deployment| cluster::is_rolling(&deployment)),
        entry: pool_entry(snapshot, id),
        report: snapshot.pools.get(id),
        upstream_has_address: upstream_service.is_some_and(|service| cluster::cluster_ip(&service).is_some()),
        trouble,
    }
}
