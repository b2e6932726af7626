//! A release of the chart on a test cluster, by real Helm.

use std::path::PathBuf;

use e2e::harness::cluster::{Cluster, Objects, User};
use e2e::harness::helm;
use serde_json::{Value, json};

/// Where there is no Helm, says so loudly and returns false.
pub(crate) fn helm_is_there() -> bool {
    if let Some(why) = helm::lacks() {
        eprintln!("SKIPPED: a cluster test of the chart: {why}");
        return false;
    }
    true
}

/// A release in a namespace.
pub(crate) struct Release<'a> {
    pub(crate) cluster: &'a Cluster,
    pub(crate) chart: PathBuf,
    pub(crate) name: &'static str,
    pub(crate) namespace: String,
}

impl<'a> Release<'a> {
    /// One of the chart as it is here, not installed yet.
    pub(crate) fn new(cluster: &'a Cluster, name: &'static str, namespace: &str) -> Self {
        Self {
            cluster,
            chart: helm::chart(),
            name,
            namespace: namespace.to_owned(),
        }
    }

    /// Lets Helm do something with it.
    pub(crate) fn helm(&self, what: &str, aks: bool, values: Value) -> Result<Value, String> {
        let mut request = helm::request(what, aks, values);
        request["chart"] = json!(self.chart);
        request["name"] = json!(self.name);
        request["namespace"] = json!(self.namespace);
        request["kubeconfig"] = json!(self.cluster.kubeconfig(User::Admin));
        tokio::task::block_in_place(|| helm::run(&[request]).unwrap().remove(0))
    }

    /// What the operator would apply: the resources of its ConfigMap.
    pub(crate) async fn defaults(&self, objects: &Objects) -> String {
        let name = if self.name.contains("headwater") {
            self.name.to_owned()
        } else {
            format!("{}-headwater", self.name)
        };
        let map = objects
            .get("ConfigMap", &format!("{name}-default-resources"))
            .await
            .unwrap();
        map["data"]["default-resources.yaml"].as_str().unwrap().to_owned()
    }
}
