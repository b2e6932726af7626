//! The test kubelet: schedules pods, runs the programs of their containers as processes on a loopback address of each pod's own, and
//! keeps its status true. It knows our two images, and programs of this machine that a container names as its command.
//!
//! ```text
//! command   program, arguments and environment of a container    probe    readiness, asked every 200 ms
//! volumes   Secrets and ConfigMaps as files, kept up to date      status   what a kubelet reports
//! pod       one pod from binding to its confirmed end
//! ```

mod command;
mod pod;
mod probe;
mod status;
mod volumes;

pub(super) use probe::port;
pub(super) use status::not_ready;

use std::collections::{BTreeSet, HashMap};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use kube::Client;
use kube::runtime::reflector::Lookup as _;
use tokio_util::task::AbortOnDropHandle;

use super::network::Network;
use super::stores::Stores;
use crate::harness::process::{self, Signal};
use crate::harness::wait_until;

/// Longest time between two looks at a pod.
const LOOK: Duration = Duration::from_millis(100);

/// What a test may know of a pod and do to it.
#[derive(Clone, Debug, Default)]
pub struct Record {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// Its address.
    pub address: Option<Ipv4Addr>,
    /// Its cluster node.
    pub node: Option<String>,
    /// Id of its container's process, while it runs.
    pub process: Option<u32>,
    /// Log of its container, across restarts.
    pub log: PathBuf,
    /// Its cluster node was lost: nobody runs it and nobody reports.
    pub lost: bool,
}

/// Shared with the tasks of the pods.
#[derive(Debug, Default)]
struct Shared {
    /// By uid; those of pods that are gone stay, for their logs.
    records: HashMap<String, Record>,
    /// Namespaces whose pods wait to be scheduled.
    held: BTreeSet<String>,
    /// Namespaces whose pods end at once.
    hurried: BTreeSet<String>,
}

/// A handle of the state; locked for a moment only, never across an await.
#[derive(Clone, Debug, Default)]
struct State(Arc<Mutex<Shared>>);

impl State {
    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The node of these that has the fewest of the pods that `there` says are there; the pod is put down for it, and stays so while
    /// its binding is not seen yet.
    fn schedule(&self, uid: &str, nodes: &[String], there: impl Fn(&str) -> bool) -> Option<String> {
        let mut shared = self.lock();
        let chosen = shared.records.get(uid)?.node.clone();
        if let Some(chosen) = chosen.filter(|chosen| nodes.contains(chosen)) {
            return Some(chosen);
        }
        let load = |node: &String| {
            let on = shared
                .records
                .iter()
                .filter(|(_, record)| record.node.as_ref() == Some(node));
            on.filter(|(uid, _)| there(uid)).count()
        };
        let chosen = nodes.iter().min_by_key(|node| (load(node), (*node).clone()))?.clone();
        shared.records.get_mut(uid)?.node = Some(chosen.clone());
        Some(chosen)
    }

    fn update(&self, uid: &str, change: impl FnOnce(&mut Record)) {
        if let Some(record) = self.lock().records.get_mut(uid) {
            change(record);
        }
    }
}

/// The running kubelet; pods' processes end when it is dropped.
pub struct Kubelet {
    client: Client,
    state: State,
    _task: AbortOnDropHandle<()>,
}

impl Kubelet {
    /// Starts it; files of pods go below `folder`.
    pub fn start(client: Client, stores: Arc<Stores>, network: Arc<Network>, folder: &Path) -> Self {
        let state = State::default();
        let ground = pod::Ground {
            client: client.clone(),
            stores,
            network,
            state: state.clone(),
            home: folder.to_owned(),
            folder: folder.join("pods"),
        };
        Self {
            client,
            state,
            _task: AbortOnDropHandle::new(tokio::spawn(watch(ground))),
        }
    }

    /// All pods that a namespace has or had.
    pub fn records(&self, namespace: &str) -> Vec<Record> {
        let shared = self.state.lock();
        let own = shared.records.values().filter(|record| record.namespace == namespace);
        let mut own: Vec<Record> = own.cloned().collect();
        own.sort_by(|a, b| a.name.cmp(&b.name));
        own
    }

    /// A pod.
    pub fn record(&self, namespace: &str, pod: &str) -> Result<Record> {
        let records = self.records(namespace);
        let found = records.into_iter().find(|record| record.name == pod);
        found.with_context(|| format!("the test kubelet knows no pod {pod}"))
    }

    /// Log of a pod's container, across restarts.
    pub fn log(&self, namespace: &str, pod: &str) -> String {
        let record = self.record(namespace, pod);
        record.map_or_else(
            |_| String::new(),
            |record| std::fs::read_to_string(record.log).unwrap_or_default(),
        )
    }

    /// Sends a signal to a pod's container: `Kill` has it restarted, `Stop` freezes it.
    pub async fn signal(&self, namespace: &str, pod: &str, signal: Signal) -> Result<()> {
        let Some(id) = self.record(namespace, pod)?.process else {
            bail!("the container of {pod} does not run");
        };
        process::send(id, signal).await
    }

    /// `kill -9` of a pod's container; it is started again, and its restarts are counted.
    pub async fn kill_container(&self, namespace: &str, pod: &str) -> Result<()> {
        let id = self.record(namespace, pod)?.process;
        self.signal(namespace, pod, Signal::Kill).await?;
        wait_until(Duration::from_secs(10), "the container has ended", || async {
            match self.record(namespace, pod) {
                Ok(record) if record.process == id => Err("it runs".to_owned()),
                Ok(_) => Ok(()),
                Err(error) => Err(error.to_string()),
            }
        })
        .await
    }

    /// The pod's cluster node is lost: its process is gone at once and nothing is reported any more. What the control plane
    /// does of itself after that, it does here: the pod is marked not ready, and deleted with nobody to confirm it.
    pub async fn lose_node(&self, namespace: &str, pod: &str) -> Result<()> {
        self.cut_off(namespace, pod).await?;
        status::not_ready(&self.client, namespace, pod).await?;
        let pods: kube::Api<k8s_openapi::api::core::v1::Pod> = kube::Api::namespaced(self.client.clone(), namespace);
        pods.delete(pod, &kube::api::DeleteParams::default()).await?;
        Ok(())
    }

    /// Only the first half of [`Kubelet::lose_node`]: the time before the control plane has noticed.
    pub async fn cut_off(&self, namespace: &str, pod: &str) -> Result<()> {
        let record = self.record(namespace, pod)?;
        for record in self.state.lock().records.values_mut() {
            if record.namespace == namespace && record.name == pod {
                record.lost = true;
            }
        }
        if let Some(id) = record.process {
            process::send(id, Signal::Kill).await?;
        }
        Ok(())
    }

    /// A cluster node is lost with all its pods: their processes stand still, so that what is sent to them is taken by nobody and no
    /// connection ends, and nothing is reported any more. Their names, with their namespaces.
    pub async fn freeze_node(&self, node: &str) -> Result<Vec<(String, String)>> {
        let mut lost = Vec::new();
        for record in self.state.lock().records.values_mut() {
            if record.node.as_deref() == Some(node) {
                record.lost = true;
                lost.push(record.clone());
            }
        }
        for id in lost.iter().filter_map(|record| record.process) {
            process::send(id, Signal::Stop).await?;
        }
        Ok(lost.into_iter().map(|record| (record.namespace, record.name)).collect())
    }

    /// Holds back or lets go: pods of a held namespace stay Pending.
    pub fn hold(&self, namespace: &str, held: bool) {
        let mut shared = self.state.lock();
        if held {
            shared.held.insert(namespace.to_owned());
        } else {
            shared.held.remove(namespace);
        }
    }

    /// Pods of this namespace that are deleted end at once from now on: for the end of a test.
    pub fn hurry(&self, namespace: &str) {
        self.state.lock().hurried.insert(namespace.to_owned());
    }
}

/// Gives every pod a task of its own, for as long as it is there.
async fn watch(ground: pod::Ground) {
    let mut changes = ground.stores.changes();
    let mut tasks: HashMap<String, AbortOnDropHandle<()>> = HashMap::new();
    loop {
        tasks.retain(|_, task| !task.is_finished());
        for pod in ground.stores.pods.state() {
            let Some(uid) = pod.metadata.uid.clone() else { continue };
            if tasks.contains_key(&uid) || ground.state.lock().records.get(&uid).is_some_and(|known| known.lost) {
                continue;
            }
            let (namespace, name) = (pod.namespace().unwrap_or_default(), pod.name().unwrap_or_default());
            let record = Record {
                namespace: namespace.to_string(),
                name: name.to_string(),
                log: ground.folder.join(&uid).join("log"),
                ..Record::default()
            };
            ground.state.lock().records.insert(uid.clone(), record);
            let task = tokio::spawn(pod::run(ground.clone(), uid.clone()));
            tasks.insert(uid, AbortOnDropHandle::new(task));
        }
        if tokio::time::timeout(Duration::from_secs(1), changes.changed())
            .await
            .is_ok_and(|told| told.is_err())
        {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Pods on nodes; those without one wait.
    fn state(pods: &[(&str, Option<&str>)]) -> State {
        let state = State::default();
        for (uid, node) in pods {
            let record = Record {
                node: node.map(str::to_owned),
                ..Record::default()
            };
            state.lock().records.insert((*uid).to_owned(), record);
        }
        state
    }

    #[test]
    fn pods_that_come_together_go_to_different_nodes() {
        let nodes = ["a", "b", "c"].map(str::to_owned);
        let state = state(&[("1", None), ("2", None), ("3", None), ("4", None)]);
        let placed = ["1", "2", "3", "4"].map(|uid| state.schedule(uid, &nodes, |_| true).unwrap());
        assert_eq!(placed, ["a", "b", "c", "a"]);
    }

    #[test]
    fn a_pod_goes_where_the_fewest_are_and_those_that_are_gone_do_not_count() {
        let nodes = ["a", "b"].map(str::to_owned);
        let pods = [
            ("1", Some("a")),
            ("2", Some("a")),
            ("3", Some("b")),
            ("4", None),
            ("5", None),
        ];
        let state = state(&pods);
        let there = |uid: &str| uid != "1" && uid != "2";
        assert_eq!(state.schedule("4", &nodes, there).unwrap(), "a");
        assert_eq!(
            state.schedule("5", &nodes[1..], there).unwrap(),
            "b",
            "only where it may"
        );
        assert_eq!(state.schedule("6", &nodes, there), None, "nobody knows it");
    }

    /// Each look before the binding was seen put it down for another node: it ran on one and counted on another.
    #[test]
    fn a_pod_that_is_looked_at_twice_before_its_binding_is_seen_stays_where_it_was_put() {
        let nodes = ["a", "b"].map(str::to_owned);
        let state = state(&[("1", None)]);
        let placed = [(), ()].map(|()| state.schedule("1", &nodes, |_| true).unwrap());
        assert_eq!(placed, ["a", "a"]);
        assert_eq!(
            state.schedule("1", &nodes[1..], |_| true).unwrap(),
            "b",
            "the other was closed"
        );
    }
}
