//! One pod: bound, started, probed, reported, restarted, ended. Looked at anew after every change, so that no event can be missed.

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use k8s_openapi::api::core::v1::{Container, Node, Pod};
use kube::Client;
use kube::api::{Api, DeleteParams, PostParams, Preconditions};
use serde_json::{Value, json};

use super::command::{self, Launch};
use super::probe::Probe;
use super::status::{self, Outcome, Reporter};
use super::volumes::Volumes;
use super::{LOOK, State};
use crate::harness::cluster::network::Network;
use crate::harness::cluster::reaper::Child;
use crate::harness::cluster::servers;
use crate::harness::cluster::stores::Stores;
use crate::harness::process::Signal;

/// What every pod stands on.
#[derive(Clone)]
pub(super) struct Ground {
    pub(super) client: Client,
    pub(super) stores: Arc<Stores>,
    pub(super) network: Arc<Network>,
    pub(super) state: State,
    /// Of the cluster's files.
    pub(super) home: PathBuf,
    /// Of the pods' files.
    pub(super) folder: PathBuf,
}

/// A container, and the process that runs in its place.
#[derive(Default)]
struct Member {
    container: status::Container,
    child: Option<Child>,
    /// Before this it is not started again.
    not_before: Option<Instant>,
}

impl Member {
    /// Every container of a pod, the one that counts last; where the pod can't be run there is one, which says why later.
    fn of(pod: &Pod) -> Vec<Self> {
        let spec = pod.spec.as_ref();
        let first = spec.and_then(|spec| spec.containers.first());
        let containers = command::containers(pod).unwrap_or_else(|_| first.into_iter().collect());
        let member = |container: &Container| Self {
            container: status::Container::new(container),
            ..Self::default()
        };
        containers.into_iter().map(member).collect()
    }

    /// Notices that its process has ended; returns how.
    fn see_end(&mut self) -> Option<ExitStatus> {
        let status = self.child.as_mut().and_then(|child| child.process.ended())?;
        self.child = None;
        // A kubelet's back-off, shortened: at once, then a second later, and so on.
        let wait = Duration::from_secs(u64::from(self.container.restarts.min(10)));
        self.not_before = Some(Instant::now() + wait);
        self.container.end(status);
        Some(status)
    }

    /// True if it should be started now.
    fn is_due(&self) -> bool {
        self.child.is_none() && self.not_before.is_none_or(|time| Instant::now() >= time)
    }

    async fn kill(&mut self) -> Result<()> {
        self.container.terminating = true;
        if let Some(mut child) = self.child.take() {
            child.process.signal(Signal::Kill).await?;
            let status = child.process.wait(Duration::from_secs(5)).await?;
            self.container.end(status);
        }
        Ok(())
    }
}

/// A pod on this kubelet.
struct Runner {
    ground: Ground,
    uid: String,
    address: Ipv4Addr,
    pods: Api<Pod>,
    volumes: Volumes,
    /// The last is the one that counts.
    members: Vec<Member>,
    /// File with which it reaches the API server, once it was made.
    account: Option<PathBuf>,
    probe: Probe,
    reporter: Reporter,
    since: Instant,
    outcome: Option<Outcome>,
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
        members: Member::of(&pod),
        account: None,
        since: Instant::now(),
        outcome: None,
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
        self.see_ends(&pod).await?;
        if pod.metadata.deletion_timestamp.is_some() {
            if self.wind_down(&pod).await? == Next::Gone {
                return Ok(Next::Gone);
            }
        } else if self.outcome.is_none() {
            self.start(&pod).await?;
        }
        if self.members.iter().any(|member| member.child.is_some()) {
            self.volumes.sync(&pod, &self.ground.stores)?;
        }
        if let Some(last) = self.members.last_mut() {
            last.container.ready = last.child.is_some() && self.probe.ready(&pod).await;
            if let Some(child) = &last.child
                && !last.container.terminating
                && !self.probe.alive(&pod).await
            {
                child.process.signal(Signal::Kill).await?;
            }
        }
        let containers: Vec<&status::Container> = self.members.iter().map(|member| &member.container).collect();
        let pod_name = pod.metadata.name.as_deref().unwrap_or_default();
        self.reporter
            .report(&self.pods, pod_name, &pod, &containers, self.outcome)
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

    /// Starts the containers that do not run, those beside the last before it.
    async fn start(&mut self, pod: &Pod) -> Result<()> {
        if !self.members.iter().any(Member::is_due) {
            return Ok(());
        }
        if let Err(why) = self.prepare(pod).await {
            for member in self.members.iter_mut().filter(|member| member.is_due()) {
                member.container.waiting = Some(format!("{why:#}"));
            }
            return Ok(());
        }
        let log = self.ground.folder.join(&self.uid).join("log");
        let name = pod.metadata.name.as_deref().unwrap_or_default();
        let last = self.members.len().saturating_sub(1);
        let (mounts, stores) = (self.volumes.mounts(), &self.ground.stores);
        for (at, (member, spec)) in self.members.iter_mut().zip(command::containers(pod)?).enumerate() {
            if !member.is_due() {
                continue;
            }
            let launch = match Launch::new(pod, spec, self.address, mounts, stores, self.account.as_deref()) {
                Ok(launch) => launch,
                Err(error) => {
                    member.container.waiting = Some(format!("{error:#}"));
                    return Ok(());
                }
            };
            let child = Child::start(name, &launch.program, &launch.args, &launch.env, Some(&log))?;
            if at == last {
                let id = child.process.id();
                self.ground.state.update(&self.uid, |record| record.process = id);
                self.probe.forget();
            }
            member.container.start();
            member.child = Some(child);
        }
        Ok(())
    }

    /// What must be there before a container starts: a pod that can be run, its volumes, and its account's file.
    async fn prepare(&mut self, pod: &Pod) -> Result<()> {
        let containers = command::containers(pod)?;
        self.volumes.sync(pod, &self.ground.stores)?;
        if self.account.is_none() && containers.into_iter().any(command::has_account) {
            let account = pod.spec.as_ref().and_then(|spec| spec.service_account_name.as_deref());
            let account = account.context("a pod that speaks to the API server has no account")?;
            let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
            let file = self.ground.folder.join(&self.uid).join("kubeconfig");
            servers::account(&self.ground.client, &self.ground.home, namespace, account, &file).await?;
            self.account = Some(file);
        }
        Ok(())
    }

    /// Notices that containers have ended, and what that means for the pod.
    async fn see_ends(&mut self, pod: &Pod) -> Result<()> {
        let ends: Vec<Option<ExitStatus>> = self.members.iter_mut().map(Member::see_end).collect();
        let spec = pod.spec.as_ref();
        if let Some(status) = ends.last().copied().flatten() {
            self.ground.state.update(&self.uid, |record| record.process = None);
            let policy = spec.and_then(|spec| spec.restart_policy.as_deref());
            self.outcome = self.outcome.or(match (policy, status.success()) {
                (Some("OnFailure" | "Never"), true) => Some(Outcome::Succeeded),
                (Some("Never"), false) => Some(Outcome::Failed),
                _ => None,
            });
        }
        let deadline = spec.and_then(|spec| spec.active_deadline_seconds);
        let deadline = deadline.and_then(|seconds| u64::try_from(seconds).ok().map(Duration::from_secs));
        if self.outcome.is_none() && deadline.is_some_and(|deadline| self.since.elapsed() >= deadline) {
            self.outcome = Some(Outcome::Failed);
        }
        if self.outcome.is_some() {
            self.end().await?;
        }
        Ok(())
    }

    /// SIGTERM, then SIGKILL when the grace period is over, then the word that it is gone.
    async fn wind_down(&mut self, pod: &Pod) -> Result<Next> {
        let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
        let hurried = self.ground.state.lock().hurried.contains(namespace);
        let asked = *self.asked_to_end.get_or_insert_with(Instant::now);
        let grace = pod.metadata.deletion_grace_period_seconds.unwrap_or(30);
        let grace = Duration::from_secs(u64::try_from(grace).unwrap_or_default());
        let mut running = false;
        for member in &mut self.members {
            let Some(child) = &member.child else { continue };
            running = true;
            if hurried || asked.elapsed() >= grace {
                child.process.signal(Signal::Kill).await?;
            } else if !member.container.terminating {
                member.container.terminating = true;
                child.process.signal(Signal::Term).await?;
            }
        }
        if running {
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
        for member in &mut self.members {
            member.kill().await?;
        }
        self.ground.state.update(&self.uid, |record| record.process = None);
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
