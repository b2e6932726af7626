//! One pod: bound, started, probed, reported, restarted, ended. Looked at anew after every change, so that no event can be missed.

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::Client;
use kube::api::{Api, DeleteParams, PostParams, Preconditions};
use serde_json::{Value, json};

use super::command::Launch;
use super::probe::Probe;
use super::status::{Container, Reporter};
use super::volumes::Volumes;
use super::{LOOK, State};
use crate::harness::cluster::network::Network;
use crate::harness::cluster::reaper::Child;
use crate::harness::cluster::stores::Stores;
use crate::harness::process::Signal;

/// What every pod stands on.
#[derive(Clone)]
pub(super) struct Ground {
    pub(super) client: Client,
    pub(super) stores: Arc<Stores>,
    pub(super) network: Arc<Network>,
    pub(super) state: State,
    pub(super) folder: PathBuf,
}

/// A pod on this kubelet.
struct Runner {
    ground: Ground,
    uid: String,
    address: Ipv4Addr,
    pods: Api<Pod>,
    volumes: Volumes,
    child: Option<Child>,
    container: Container,
    probe: Probe,
    reporter: Reporter,
    /// Before this a container is not started again.
    not_before: Instant,
    /// When SIGTERM was sent.
    asked_to_end: Option<Instant>,
}

/// Not closed, and without a taint: the pods of these tests tolerate none for good.
fn takes_pods(node: &Node) -> bool {
    let spec = node.spec.as_ref();
    let closed = spec.and_then(|spec| spec.unschedulable).unwrap_or_default();
    let tainted = spec
        .and_then(|spec| spec.taints.as_ref())
        .is_some_and(|taints| !taints.is_empty());
    !closed && !tainted
}

/// What became of a look.
#[derive(PartialEq, Eq)]
enum Next {
    Again,
    Gone,
}

/// Runs a pod until it is gone.
pub(super) async fn run(ground: Ground, uid: String) {
    let Some(pod) = ground.stores.pod(&uid) else { return };
    let namespace = pod.metadata.namespace.clone().unwrap_or_default();
    let folder = ground.folder.join(&uid);
    if std::fs::create_dir_all(&folder).is_err() {
        return;
    }
    let address = ground.network.pod();
    ground.state.update(&uid, |record| record.address = Some(address));
    let mut changes = ground.stores.changes();
    let mut runner = Runner {
        pods: Api::namespaced(ground.client.clone(), &namespace),
        volumes: Volumes::new(&folder),
        probe: Probe::new(address),
        reporter: Reporter::new(address),
        ground,
        uid,
        address,
        child: None,
        container: Container::default(),
        not_before: Instant::now(),
        asked_to_end: None,
    };
    loop {
        match runner.look().await {
            Ok(Next::Gone) => return,
            Ok(Next::Again) => {}
            // Told in the pod's log; the API server may be away.
            Err(error) => runner.note(&format!("test kubelet: {error:#}")),
        }
        let _ = tokio::time::timeout(LOOK, changes.changed()).await;
    }
}

impl Runner {
    async fn look(&mut self) -> Result<Next> {
        let (lost, hurried) = {
            let shared = self.ground.state.lock();
            let record = shared.records.get(&self.uid);
            let hurried = record.is_some_and(|record| shared.hurried.contains(&record.namespace));
            (record.is_some_and(|record| record.lost), hurried)
        };
        let pod = self.ground.stores.pod(&self.uid);
        let Some(pod) = pod.filter(|_| !(lost && hurried)) else {
            self.end().await?;
            return Ok(Next::Gone);
        };
        if lost {
            // Nobody is here to look after it, or to say anything of it.
            return Ok(Next::Again);
        }
        if pod.spec.as_ref().is_none_or(|spec| spec.node_name.is_none()) {
            self.bind(&pod).await?;
            return Ok(Next::Again);
        }
        self.see_end();
        if pod.metadata.deletion_timestamp.is_some() {
            if self.wind_down(&pod).await? == Next::Gone {
                return Ok(Next::Gone);
            }
        } else if self.child.is_none() && Instant::now() >= self.not_before {
            self.launch(&pod)?;
        }
        if self.child.is_some() {
            self.volumes.sync(&pod, &self.ground.stores)?;
        }
        self.container.ready = self.child.is_some() && self.probe.ready(&pod).await;
        if let Some(child) = &self.child
            && !self.container.terminating
            && !self.probe.alive(&pod).await
        {
            child.process.signal(Signal::Kill).await?;
        }
        let pod_name = pod.metadata.name.as_deref().unwrap_or_default();
        self.reporter
            .report(&self.pods, pod_name, &pod, &self.container)
            .await?;
        Ok(Next::Again)
    }

    /// Puts the pod on the cluster node that has the fewest.
    async fn bind(&self, pod: &Pod) -> Result<()> {
        let namespace = pod.metadata.namespace.clone().unwrap_or_default();
        let deleted = pod.metadata.deletion_timestamp.is_some();
        if deleted || self.ground.state.lock().held.contains(&namespace) {
            return Ok(());
        }
        let stores = &self.ground.stores;
        let nodes = stores.nodes.state();
        let open = nodes.iter().filter(|node| takes_pods(node));
        let open: Vec<String> = open.filter_map(|node| node.metadata.name.clone()).collect();
        let there = |uid: &str| stores.pod(uid).is_some();
        let Some(node) = self.ground.state.schedule(&self.uid, &open, there) else {
            return Ok(());
        };
        let name = pod.metadata.name.clone().unwrap_or_default();
        let binding = json!({
            "apiVersion": "v1", "kind": "Binding",
            "metadata": {"name": name, "namespace": namespace, "uid": self.uid},
            "target": {"apiVersion": "v1", "kind": "Node", "name": node},
        });
        let params = PostParams::default();
        let bound = self
            .pods
            .create_subresource::<Value, Value>("binding", &name, &params, &binding);
        match bound.await {
            Ok(_) => Ok(()),
            // Bound already, or gone: the next look shows which.
            Err(kube::Error::Api(status)) if status.code == 409 || status.code == 404 => Ok(()),
            Err(error) => Err(error).context("failed to bind the pod"),
        }
    }

    fn launch(&mut self, pod: &Pod) -> Result<()> {
        if let Err(missing) = self.volumes.sync(pod, &self.ground.stores) {
            self.container.waiting = Some(format!("{missing:#}"));
            return Ok(());
        }
        let launch = Launch::new(pod, self.address, self.volumes.mounts(), &self.ground.stores);
        let launch = match launch {
            Ok(launch) => launch,
            Err(error) => {
                self.container.waiting = Some(format!("{error:#}"));
                return Ok(());
            }
        };
        let log = self.ground.folder.join(&self.uid).join("log");
        let name = pod.metadata.name.as_deref().unwrap_or_default();
        let child = Child::start(name, &launch.program()?, &launch.args, &launch.env, Some(&log))?;
        let id = child.process.id();
        self.ground.state.update(&self.uid, |record| record.process = id);
        self.container.start();
        self.probe.forget();
        self.child = Some(child);
        Ok(())
    }

    /// Notices that the container has ended.
    fn see_end(&mut self) {
        let Some(status) = self.child.as_mut().and_then(|child| child.process.ended()) else {
            return;
        };
        self.child = None;
        self.ground.state.update(&self.uid, |record| record.process = None);
        // A kubelet's back-off, shortened: at once, then a second later, and so on.
        self.not_before = Instant::now() + Duration::from_secs(u64::from(self.container.restarts.min(10)));
        self.container.end(status);
    }

    /// SIGTERM, then SIGKILL when the grace period is over, then the word that it is gone.
    async fn wind_down(&mut self, pod: &Pod) -> Result<Next> {
        let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
        let hurried = self.ground.state.lock().hurried.contains(namespace);
        if let Some(child) = &self.child {
            let asked = *self.asked_to_end.get_or_insert_with(Instant::now);
            let grace = pod.metadata.deletion_grace_period_seconds.unwrap_or(30);
            let grace = Duration::from_secs(u64::try_from(grace).unwrap_or_default());
            if hurried || asked.elapsed() >= grace {
                child.process.signal(Signal::Kill).await?;
            } else if !self.container.terminating {
                self.container.terminating = true;
                child.process.signal(Signal::Term).await?;
            }
            return Ok(Next::Again);
        }
        let name = pod.metadata.name.clone().unwrap_or_default();
        let params = DeleteParams::default().grace_period(0).preconditions(Preconditions {
            uid: Some(self.uid.clone()),
            resource_version: None,
        });
        match self.pods.delete(&name, &params).await {
            Ok(_) => Ok(Next::Gone),
            Err(kube::Error::Api(status)) if status.code == 404 || status.code == 409 => Ok(Next::Gone),
            Err(error) => Err(error).context("failed to confirm the pod's end"),
        }
    }

    async fn end(&mut self) -> Result<()> {
        if let Some(mut child) = self.child.take() {
            child.process.signal(Signal::Kill).await?;
            child.process.wait(Duration::from_secs(5)).await?;
            self.ground.state.update(&self.uid, |record| record.process = None);
        }
        Ok(())
    }

    /// Adds a line to the pod's log.
    fn note(&self, line: &str) {
        use std::io::Write as _;
        let log = self.ground.folder.join(&self.uid).join("log");
        if let Ok(mut file) = std::fs::File::options().create(true).append(true).open(log) {
            // A note that can't be kept is no reason to stop.
            let _ = writeln!(file, "{line}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_that_is_closed_or_tainted_takes_no_pods() {
        let node =
            |spec: Value| -> Node { serde_json::from_value(json!({"metadata": {"name": "a"}, "spec": spec})).unwrap() };
        assert!(takes_pods(&node(json!({}))));
        assert!(!takes_pods(&node(json!({"unschedulable": true}))));
        let taint = json!({"key": "node.kubernetes.io/unreachable", "effect": "NoExecute"});
        assert!(!takes_pods(&node(json!({"taints": [taint]}))));
    }
}
