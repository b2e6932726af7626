//! `drain EDGE`: the edge's pod is evicted. SIGTERM drains it, as a node drain does: its viewers are asked to move, and it ends when the
//! last has gone or its time is over. The pool's budget is respected, and the Deployment makes another edge at once.
//!
//! Drains by annotation belong to the operator, which takes back those that it has not planned.

use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::api::EvictParams;
use kube::{Api, ResourceExt};
use thiserror::Error;
use tokio::time::{Instant, sleep};

use super::look::{self, Look, answer};
use super::tree::Tree;
use crate::args::plugin::DrainArgs;
use crate::fleet::{ResourceId, ResourceKind};
use crate::kubernetes::decide::names;

/// How often a drain is looked at.
const PERIOD: Duration = Duration::from_secs(2);
/// What is waited for beyond the pod's own time.
const PATIENCE: Duration = Duration::from_secs(60);

/// Why an edge is not drained.
#[derive(Debug, Error)]
pub enum Error {
    /// It is not looked for in one namespace.
    #[error("an edge is in one namespace: name it with -n instead of -A")]
    Everywhere,
    /// The API server's word about the pod.
    #[error("failed to look for edge {0}: {1}; `kubectl headwater status` lists the edges")]
    Pod(String, String),
    /// The pod is something else.
    #[error("{0} is no edge of a pool")]
    NoEdge(String),
    /// The pod takes publishers.
    #[error("{0} is the pod of origin {1}: draining would cut its publishers; if that is meant, delete the pod")]
    Origin(String, String),
    /// The budget, or the rights, do not allow it.
    #[error("edge {0} was not evicted: {1}")]
    Refused(String, String),
    /// What is waited for can't be seen.
    #[error(transparent)]
    Look(#[from] look::Error),
    /// It is there still.
    #[error("edge {0} is there still, after its time")]
    TooLong(String),
}

/// Evicts an edge, and waits for its end if that is asked for.
///
/// # Errors
/// [`Error`].
pub async fn run(look: &Look, args: &DrainArgs) -> Result<(), Error> {
    if look.is_everywhere() {
        return Err(Error::Everywhere);
    }
    let name = args.edge.trim_start_matches("pod/");
    let pods: Api<Pod> = Api::namespaced(look.client.clone(), &look.namespace);
    let pod = answer(pods.get(name))
        .await
        .map_err(|why| Error::Pod(name.to_owned(), why))?;
    let pool = pool_of(&pod)?;
    let seconds = grace(&pod);
    if pod.metadata.deletion_timestamp.is_some() {
        println!("edge {name} is on its way out already");
    } else {
        let evicted = answer(pods.evict(name, &EvictParams::default())).await;
        evicted.map_err(|why| Error::Refused(name.to_owned(), refusal(&why)))?;
        println!("{}", said(name, &pool.name, seconds));
    }
    match args.wait {
        true => gone(look, &pods, &pod, Duration::from_secs(seconds) + PATIENCE).await,
        false => Ok(()),
    }
}

/// The pool that a pod is an edge of.
fn pool_of(pod: &Pod) -> Result<ResourceId, Error> {
    let resource = names::resource_of(&pod.metadata).ok_or_else(|| Error::NoEdge(pod.name_any()))?;
    match resource.kind {
        ResourceKind::EdgePool => Ok(resource),
        ResourceKind::StreamOrigin => Err(Error::Origin(pod.name_any(), resource.name)),
    }
}

/// Seconds that a pod may take to end.
fn grace(pod: &Pod) -> u64 {
    let seconds = pod.spec.as_ref().and_then(|spec| spec.termination_grace_period_seconds);
    seconds.and_then(|seconds| u64::try_from(seconds).ok()).unwrap_or(30)
}

fn said(edge: &str, pool: &str, seconds: u64) -> String {
    format!(
        "edge {edge} of pool {pool} drains: its viewers are asked to move, and it ends when the last has gone, at the latest in {seconds} s; \
        another edge takes its place"
    )
}

/// The API server's refusal, and what to do about a budget.
fn refusal(why: &str) -> String {
    match why.contains("disruption budget") {
        true => format!(
            "{why} (the pool's budget allows one edge at a time to be away; try again when all edges are ready)"
        ),
        false => why.to_owned(),
    }
}

/// Waits until the very pod is gone, and tells its viewers whenever their number changes.
async fn gone(look: &Look, pods: &Api<Pod>, pod: &Pod, patience: Duration) -> Result<(), Error> {
    let (name, until) = (pod.name_any(), Instant::now() + patience);
    let mut told = None;
    loop {
        let seen = answer(pods.get_opt(&name))
            .await
            .map_err(|why| Error::Pod(name.clone(), why))?;
        if seen.is_none_or(|seen| seen.uid() != pod.uid()) {
            println!("edge {name} is gone");
            return Ok(());
        }
        if Instant::now() >= until {
            return Err(Error::TooLong(name));
        }
        let viewers = viewers(&look.tree().await?, &name);
        if viewers.is_some() && viewers != told {
            println!("{} viewers", viewers.unwrap_or_default());
            told = viewers;
        }
        sleep(PERIOD).await;
    }
}

fn viewers(tree: &Tree, edge: &str) -> Option<i64> {
    let pools = tree.all_pools().into_iter();
    let mut edges = pools.flat_map(|pool| &pool.edges);
    edges
        .find(|known| known.name == edge)?
        .figures
        .as_ref()
        .map(|figures| figures.viewers)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(component: &str) -> Pod {
        let labels = json!({
            "app.kubernetes.io/name": "headwater", "app.kubernetes.io/component": component,
            "app.kubernetes.io/instance": "web", "app.kubernetes.io/managed-by": "headwater",
        });
        let spec = json!({"containers": [], "terminationGracePeriodSeconds": 1830});
        let metadata = json!({"name": "p", "namespace": "video", "labels": labels});
        serde_json::from_value(json!({"metadata": metadata, "spec": spec})).unwrap()
    }

    #[test]
    fn only_an_edge_is_drained() {
        assert_eq!(pool_of(&pod("edge")).unwrap(), ResourceId::pool("video", "web"));
        assert_eq!(grace(&pod("edge")), 1830);
        let error = pool_of(&pod("origin")).unwrap_err().to_string();
        assert!(error.contains("origin web") && error.contains("publishers"), "{error}");
        assert!(matches!(pool_of(&pod("operator")), Err(Error::NoEdge(_))));
        assert!(matches!(pool_of(&Pod::default()), Err(Error::NoEdge(_))));
    }

    #[test]
    fn a_budget_that_refuses_is_explained() {
        let why = "Cannot evict pod as it would violate the pod's disruption budget.";
        assert!(refusal(why).contains("try again when all edges are ready"));
        assert_eq!(refusal("forbidden"), "forbidden");
    }
}
