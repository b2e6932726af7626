//! Stands in for the controllers of Deployments and ReplicaSets where there is no kube-controller-manager: pods belong to the Deployment itself.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::Client;
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use tokio_util::task::AbortOnDropHandle;

use super::service_proxy::ready;
use super::stores::Stores;

/// Label that tells pods of one template from those of another.
const HASH: &str = "pod-template-hash";
/// Annotation by which the owner says which pods should go first.
const COST: &str = "controller.kubernetes.io/pod-deletion-cost";
/// Longest time between two looks.
const LOOK: Duration = Duration::from_millis(500);
/// How long the cache may take to show what was just done.
const CATCH_UP: Duration = Duration::from_secs(3);

/// The running stand-in; it ends when dropped.
#[derive(Debug)]
pub struct Deployments {
    _task: AbortOnDropHandle<()>,
}

impl Deployments {
    /// Starts it.
    pub fn start(client: Client, stores: Arc<Stores>) -> Self {
        Self {
            _task: AbortOnDropHandle::new(tokio::spawn(watch(client, stores))),
        }
    }
}

async fn watch(client: Client, stores: Arc<Stores>) {
    let mut changes = stores.changes();
    loop {
        let deployments = stores.deployments.state();
        for deployment in &deployments {
            // The API server may be away: the next look tries again.
            let _ = step(&client, &stores, deployment).await;
        }
        let owners: BTreeSet<&str> = deployments.iter().filter_map(|d| d.metadata.uid.as_deref()).collect();
        for pod in stores.pods.state() {
            let orphan = owner(&pod).is_some_and(|owner| !owners.contains(owner));
            if orphan && pod.metadata.deletion_timestamp.is_none() {
                let _ = delete(&client, &pod).await;
            }
        }
        if tokio::time::timeout(LOOK, changes.changed())
            .await
            .is_ok_and(|told| told.is_err())
        {
            return;
        }
    }
}

/// Uid of the Deployment that a pod belongs to.
fn owner(pod: &Pod) -> Option<&str> {
    let mut owners = pod.metadata.owner_references.iter().flatten();
    let owner = owners.find(|owner| owner.kind == "Deployment" && owner.controller == Some(true));
    owner.map(|owner| owner.uid.as_str())
}

/// Hash of the template that a pod was made from.
fn template_of(pod: &Pod) -> Option<&str> {
    Some(pod.metadata.labels.as_ref()?.get(HASH)?)
}

/// What a Deployment lacks or has too much.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Step {
    /// Pods of the present template to make.
    pub create: usize,
    /// Names of pods that go.
    pub delete: Vec<String>,
}

/// The next step of a Deployment with these pods, by the rules of the real controllers.
pub fn decide(deployment: &Deployment, hash: &str, pods: &[Arc<Pod>]) -> Step {
    let Some(spec) = &deployment.spec else {
        return Step::default();
    };
    let replicas = usize::try_from(spec.replicas.unwrap_or(1)).unwrap_or_default();
    let (fresh, old): (Vec<&Arc<Pod>>, Vec<&Arc<Pod>>) = pods.iter().partition(|pod| template_of(pod) == Some(hash));
    let staying = |pods: &[&Arc<Pod>]| -> Vec<Arc<Pod>> {
        let pods = pods.iter().filter(|pod| pod.metadata.deletion_timestamp.is_none());
        pods.map(|pod| Arc::clone(pod)).collect()
    };
    let (mut staying_fresh, mut staying_old) = (staying(&fresh), staying(&old));
    rank(&mut staying_fresh);
    rank(&mut staying_old);
    let names = |pods: &[Arc<Pod>]| {
        pods.iter()
            .filter_map(|pod| pod.metadata.name.clone())
            .collect::<Vec<_>>()
    };
    if staying_fresh.len() > replicas {
        let surplus = staying_fresh.len() - replicas;
        return Step {
            create: 0,
            delete: names(&staying_fresh[..surplus]),
        };
    }
    let strategy = spec.strategy.as_ref();
    if strategy.and_then(|strategy| strategy.type_.as_deref()) == Some("Recreate") {
        // All of the old are gone, not only asked to go, before one of the new comes.
        return Step {
            create: if old.is_empty() {
                replicas - staying_fresh.len()
            } else {
                0
            },
            delete: names(&staying_old),
        };
    }
    let rolling = strategy.and_then(|strategy| strategy.rolling_update.as_ref());
    let surge = share(rolling.and_then(|rolling| rolling.max_surge.as_ref()), replicas, true);
    let missing = share(
        rolling.and_then(|rolling| rolling.max_unavailable.as_ref()),
        replicas,
        false,
    );
    let room = (replicas + surge).saturating_sub(staying_fresh.len() + staying_old.len());
    let serving = pods
        .iter()
        .filter(|pod| pod.metadata.deletion_timestamp.is_none() && ready(pod))
        .count();
    let idle = staying_old.iter().filter(|pod| !ready(pod)).count();
    let spare = serving.saturating_sub(replicas.saturating_sub(missing)) + idle;
    Step {
        create: room.min(replicas - staying_fresh.len()),
        delete: names(&staying_old[..spare.min(staying_old.len())]),
    }
}

/// The first to go first: unready before ready, cheap before dear, young before old.
fn rank(pods: &mut [Arc<Pod>]) {
    pods.sort_by_key(|pod| {
        let annotations = pod.metadata.annotations.as_ref();
        let cost = annotations.and_then(|annotations| annotations.get(COST)?.parse::<i32>().ok());
        let made = pod.metadata.creation_timestamp.as_ref().map(|time| time.0);
        (ready(pod), cost.unwrap_or_default(), std::cmp::Reverse(made))
    });
}

/// A number or a percentage of the replicas; a quarter where nothing is said.
fn share(value: Option<&IntOrString>, replicas: usize, up: bool) -> usize {
    let percent = |percent: usize| {
        if up {
            (replicas * percent).div_ceil(100)
        } else {
            replicas * percent / 100
        }
    };
    match value {
        Some(IntOrString::Int(number)) => usize::try_from(*number).unwrap_or_default(),
        Some(IntOrString::String(text)) => percent(text.trim_end_matches('%').parse().unwrap_or(25)),
        None => percent(25),
    }
}

async fn step(client: &Client, stores: &Stores, deployment: &Deployment) -> Result<()> {
    let uid = deployment.metadata.uid.as_deref();
    if deployment.metadata.deletion_timestamp.is_some() {
        return Ok(());
    }
    let own = || stores.pods.state_filter(|pod| owner(pod) == uid && uid.is_some());
    let hash = template_hash(deployment)?;
    let next = decide(deployment, &hash, &own());
    for _ in 0..next.create {
        create(client, stores, deployment, &hash).await?;
    }
    for name in &next.delete {
        if let Some(pod) = own().into_iter().find(|pod| pod.metadata.name.as_ref() == Some(name)) {
            delete(client, &pod).await?;
            let gone = || {
                own()
                    .iter()
                    .all(|p| p.metadata.uid != pod.metadata.uid || p.metadata.deletion_timestamp.is_some())
            };
            caught_up(stores, gone).await;
        }
    }
    report(client, deployment, &hash, &own()).await
}

/// Hash of the pod template, stable for as long as it is.
fn template_hash(deployment: &Deployment) -> Result<String> {
    let template = deployment.spec.as_ref().map(|spec| &spec.template);
    let text = serde_json::to_vec(&template)?;
    // FNV-1a.
    let hash = text.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    });
    Ok(format!("{:010x}", hash & 0xff_ffff_ffff))
}

async fn create(client: &Client, stores: &Stores, deployment: &Deployment, hash: &str) -> Result<()> {
    let namespace = deployment.metadata.namespace.as_deref().unwrap_or_default();
    let name = deployment.metadata.name.as_deref().unwrap_or_default();
    let mut pod = serde_json::to_value(deployment.spec.as_ref().map(|spec| &spec.template))?;
    pod["metadata"]["labels"][HASH] = hash.into();
    pod["metadata"]["generateName"] = format!("{name}-{hash}-").into();
    pod["metadata"]["ownerReferences"] = json!([{
        "apiVersion": "apps/v1", "kind": "Deployment", "name": name, "uid": deployment.metadata.uid,
        "controller": true, "blockOwnerDeletion": true,
    }]);
    let pod: Pod = serde_json::from_value(pod)?;
    let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
    let made = pods.create(&PostParams::default(), &pod).await?;
    let uid = made.metadata.uid.unwrap_or_default();
    caught_up(stores, || stores.pod(&uid).is_some()).await;
    Ok(())
}

async fn delete(client: &Client, pod: &Pod) -> Result<()> {
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
    let name = pod.metadata.name.as_deref().unwrap_or_default();
    pods.delete(name, &DeleteParams::default()).await?;
    Ok(())
}

/// Waits until the cache shows what was just done: the next decision would else do it again.
async fn caught_up(stores: &Stores, shown: impl Fn() -> bool) {
    let mut changes = stores.changes();
    let shows = async {
        while !shown() {
            if changes.changed().await.is_err() {
                return;
            }
        }
    };
    // Past this the pod is gone again, or the API server is.
    let _ = tokio::time::timeout(CATCH_UP, shows).await;
}

/// Status of a Deployment, as a patch.
fn status(deployment: &Deployment, hash: &str, pods: &[Arc<Pod>]) -> Value {
    let wanted = deployment.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1);
    let count = |count: usize| i32::try_from(count).unwrap_or(i32::MAX);
    let staying: Vec<_> = pods
        .iter()
        .filter(|pod| pod.metadata.deletion_timestamp.is_none())
        .collect();
    let serving = count(staying.iter().filter(|pod| ready(pod)).count());
    let updated = staying.iter().filter(|pod| template_of(pod) == Some(hash));
    let updated = count(updated.count());
    let flag = |holds: bool| if holds { "True" } else { "False" };
    json!({
        "observedGeneration": deployment.metadata.generation,
        "replicas": count(staying.len()),
        "updatedReplicas": updated,
        "readyReplicas": serving,
        "availableReplicas": serving,
        "unavailableReplicas": (wanted - serving).max(0),
        "terminatingReplicas": count(pods.len() - staying.len()),
        "conditions": [
            {"type": "Available", "status": flag(serving >= wanted), "reason": "MinimumReplicas", "message": ""},
            {"type": "Progressing", "status": "True", "reason": if updated == wanted && serving == wanted {
                "NewReplicaSetAvailable"
            } else {
                "ReplicaSetUpdated"
            }, "message": ""},
        ],
    })
}

async fn report(client: &Client, deployment: &Deployment, hash: &str, pods: &[Arc<Pod>]) -> Result<()> {
    let status = status(deployment, hash, pods);
    let current = serde_json::to_value(&deployment.status)?;
    let number = |value: &Value| value.as_i64().unwrap_or_default();
    let fields = [
        "observedGeneration",
        "replicas",
        "updatedReplicas",
        "readyReplicas",
        "availableReplicas",
        "unavailableReplicas",
    ];
    if fields
        .iter()
        .all(|field| number(&current[field]) == number(&status[field]))
    {
        return Ok(());
    }
    let namespace = deployment.metadata.namespace.as_deref().unwrap_or_default();
    let deployments: Api<Deployment> = Api::namespaced(client.clone(), namespace);
    let name = deployment.metadata.name.as_deref().unwrap_or_default();
    let patch = Patch::Merge(json!({"status": status}));
    deployments.patch_status(name, &PatchParams::default(), &patch).await?;
    Ok(())
}

#[cfg(test)]
mod tests;
