//! A namespace for one test, with everything that the test does in it.

use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::kubelet::{Kubelet, Record};
use super::objects::Objects;
use super::operator::Operator;
use super::{Cluster, kubelet};
use crate::harness::process::Signal;

/// Lines of a pod's log that a failed test shows.
const SHOWN: usize = 25;
/// Namespaces made by this process so far.
static COUNT: AtomicU32 = AtomicU32::new(0);

/// A namespace; [`Objects`] of it are at hand as its own methods.
#[derive(Clone)]
pub struct Space {
    /// Its name.
    pub name: String,
    /// The cluster that it is in.
    pub cluster: Arc<Cluster>,
    objects: Objects,
}

impl Deref for Space {
    type Target = Objects;

    fn deref(&self) -> &Objects {
        &self.objects
    }
}

impl Space {
    /// Makes a namespace.
    pub async fn make(cluster: &Arc<Cluster>) -> Result<Self> {
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        Self::named(cluster, &format!("test-{}-{number}", std::process::id())).await
    }

    /// Makes a namespace of this name.
    pub async fn named(cluster: &Arc<Cluster>, name: &str) -> Result<Self> {
        let objects = Objects::new(cluster.client.clone(), name);
        let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
        objects.apply_one(namespace).await?;
        Ok(Self {
            name: name.to_owned(),
            cluster: cluster.clone(),
            objects,
        })
    }

    /// Starts an operator for this namespace.
    pub async fn operator(&self, flags: &[&str]) -> Result<Operator> {
        Operator::start(&self.cluster, &self.name, flags).await
    }

    /// The test kubelet.
    pub fn kubelet(&self) -> Result<&Kubelet> {
        self.cluster
            .kubelet
            .as_ref()
            .context("a foreign cluster has no test kubelet")
    }

    /// A pod as the test kubelet knows it.
    pub fn pod(&self, name: &str) -> Result<Record> {
        self.kubelet()?.record(&self.name, name)
    }

    /// Waits until exactly so many pods with these labels are ready and none is beside them; returns them.
    pub async fn ready_pods(&self, labels: &str, count: usize, within: Duration) -> Result<Vec<Value>> {
        self.wait_all("Pod", labels, within, &format!("{count} are ready"), |pods| {
            let ready = pods.iter().all(|pod| super::condition(pod, "Ready") == Some("True"));
            (pods.len() == count && ready).then(|| pods.to_vec())
        })
        .await
    }

    /// Kills a pod's container; it is started again.
    pub async fn kill_container(&self, pod: &str) -> Result<()> {
        self.kubelet()?.kill_container(&self.name, pod).await
    }

    /// Sends a signal to a pod's container.
    pub async fn signal(&self, pod: &str, signal: Signal) -> Result<()> {
        self.kubelet()?.signal(&self.name, pod, signal).await
    }

    /// Loses the cluster node of a pod; see [`kubelet::Kubelet::lose_node`].
    pub async fn lose_node(&self, pod: &str) -> Result<()> {
        self.kubelet()?.lose_node(&self.name, pod).await
    }

    /// Evicts a pod, as `kubectl drain` and a cluster autoscaler do; a disruption budget may refuse it.
    pub async fn evict(&self, pod: &str) -> Result<()> {
        let eviction = json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": pod}});
        let (api, params) = (self.api("Pod").await?, kube::api::PostParams::default());
        let answer = api
            .create_subresource::<Value, Value>("eviction", pod, &params, &eviction)
            .await;
        answer.map(|_| ()).map_err(super::objects::plain)
    }

    /// Gives a Service of type LoadBalancer its address, as a cloud does.
    pub async fn set_load_balancer(&self, service: &str, address: &str) -> Result<()> {
        let ingress = json!({"status": {"loadBalancer": {"ingress": [{"ip": address}]}}});
        self.patch_sub("Service", service, "status", ingress).await?;
        Ok(())
    }

    /// What a person needs to see when a test has failed.
    pub async fn dump(&self) -> String {
        let mut text = format!("==== namespace {} ====\n", self.name);
        for kind in ["StreamOrigin", "EdgePool"] {
            for object in self.list(kind, "").await.unwrap_or_default() {
                let name = object["metadata"]["name"].as_str().unwrap_or_default();
                let shown = json!({"spec": object["spec"], "status": object["status"]});
                text += &format!("{kind} {name}: {shown}\n");
            }
        }
        for kind in [
            "Deployment",
            "Pod",
            "Service",
            "PodDisruptionBudget",
            "Secret",
            "NetworkPolicy",
            "Lease",
        ] {
            match self.table(kind).await {
                Ok(table) if table.rows.is_empty() => {}
                Ok(table) => {
                    text += &format!("{kind}:\n");
                    for row in &table.rows {
                        let cells: Vec<String> = row.iter().map(Value::to_string).collect();
                        text += &format!("    {}\n", cells.join("  "));
                    }
                }
                Err(error) => text += &format!("{kind}: {error:#}\n"),
            }
        }
        for event in self.list("Event", "").await.unwrap_or_default() {
            let (of, word) = (&event["involvedObject"], |value: &Value| {
                value.as_str().unwrap_or_default().to_owned()
            });
            let (of, reason) = (
                format!("{} {}", word(&of["kind"]), word(&of["name"])),
                word(&event["reason"]),
            );
            text += &format!("Event of {of}: {reason}: {}\n", word(&event["message"]));
        }
        let records = self
            .kubelet()
            .map(|kubelet| kubelet.records(&self.name))
            .unwrap_or_default();
        for record in records {
            let log = std::fs::read_to_string(&record.log).unwrap_or_default();
            let lines: Vec<&str> = log.lines().collect();
            let tail = lines[lines.len().saturating_sub(SHOWN)..].join("\n");
            text += &format!("---- log of pod {} ({:?}) ----\n{tail}\n", record.name, record.address);
        }
        text
    }

    /// Deletes the namespace with all that is in it; waits for none of it but where there is no controller of namespaces.
    pub async fn close(self) -> Result<()> {
        if let Some(kubelet) = &self.cluster.kubelet {
            kubelet::Kubelet::hurry(kubelet, &self.name);
        }
        if !self.cluster.has_controllers() {
            for kind in ["EdgePool", "StreamOrigin", "Deployment", "Pod"] {
                for object in self.list(kind, "").await? {
                    let name = object["metadata"]["name"].as_str().unwrap_or_default();
                    self.delete(kind, name).await?;
                }
            }
        }
        self.delete("Namespace", &self.name).await
    }
}
