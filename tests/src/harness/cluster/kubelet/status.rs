//! The status of a pod as a kubelet reports it: written when it changes, and only then.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::os::unix::process::ExitStatusExt as _;
use std::process::ExitStatus;

use anyhow::{Context, Result};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::Client;
use kube::api::{Api, Patch, PatchParams};
use serde_json::{Value, json};

/// How a pod has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// Its last container ended well.
    Succeeded,
    /// It did not, or not in time.
    Failed,
}

/// What is known of a container.
#[derive(Debug, Default)]
pub(super) struct Container {
    /// Its name.
    pub(super) name: String,
    /// Its image, which nobody runs.
    pub(super) image: String,
    /// Since when it runs.
    pub(super) running: Option<Timestamp>,
    /// Why it does not run yet.
    pub(super) waiting: Option<String>,
    /// Starts after the first.
    pub(super) restarts: u32,
    /// It answers its probe.
    pub(super) ready: bool,
    /// It was asked to end, or is not started again.
    pub(super) terminating: bool,
    started: bool,
    last_end: Option<Value>,
}

impl Container {
    /// One that has not run yet.
    pub(super) fn new(spec: &k8s_openapi::api::core::v1::Container) -> Self {
        Self {
            name: spec.name.clone(),
            image: spec.image.clone().unwrap_or_default(),
            ..Self::default()
        }
    }

    /// It was started.
    pub(super) fn start(&mut self) {
        if self.started {
            self.restarts += 1;
        }
        self.started = true;
        self.running = Some(Timestamp::now());
        self.waiting = None;
    }

    /// It has ended.
    pub(super) fn end(&mut self, status: ExitStatus) {
        let code = status
            .code()
            .unwrap_or_else(|| 128 + status.signal().unwrap_or_default());
        self.last_end = Some(json!({
            "exitCode": code,
            "reason": if code == 0 { "Completed" } else { "Error" },
            "startedAt": self.running.map(second),
            "finishedAt": second(Timestamp::now()),
            "containerID": "test://ended",
        }));
        self.running = None;
        self.ready = false;
        self.waiting = Some("CrashLoopBackOff".to_owned());
    }

    fn status(&self, uid: &str) -> Value {
        json!({
            "name": self.name,
            "image": self.image,
            "imageID": self.image,
            "containerID": format!("test://{uid}/{}", self.name),
            "ready": self.ready,
            "started": self.running.is_some(),
            "restartCount": self.restarts,
            "state": self.state(),
            "lastState": self.last_end.as_ref().map_or(json!({}), |end| json!({"terminated": end})),
        })
    }

    fn state(&self) -> Value {
        match (&self.running, &self.waiting, &self.last_end) {
            (Some(since), _, _) => json!({"running": {"startedAt": second(*since)}}),
            (None, _, Some(end)) if self.terminating => json!({"terminated": end}),
            (None, Some(why), _) => json!({"waiting": {"reason": reason(why), "message": why}}),
            (None, None, _) => json!({"waiting": {"reason": "ContainerCreating"}}),
        }
    }
}

/// The word before a colon, where it is one.
fn reason(why: &str) -> &str {
    let word = why.split(':').next().unwrap_or_default();
    if word.contains(' ') { "ContainerCreating" } else { word }
}

fn second(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// Writes the status of one pod.
pub(super) struct Reporter {
    address: Ipv4Addr,
    since: String,
    conditions: BTreeMap<&'static str, (bool, String)>,
    written: Value,
}

impl Reporter {
    pub(super) fn new(address: Ipv4Addr) -> Self {
        Self {
            address,
            since: second(Timestamp::now()),
            conditions: BTreeMap::new(),
            written: Value::Null,
        }
    }

    /// Writes the status if it is another than the last one. The last of the containers is the one that counts.
    pub(super) async fn report(
        &mut self,
        pods: &Api<Pod>,
        name: &str,
        pod: &Pod,
        of: &[&Container],
        outcome: Option<Outcome>,
    ) -> Result<()> {
        let uid = pod.metadata.uid.as_deref().unwrap_or_default();
        let status = self.status(uid, of, outcome);
        if status == self.written {
            return Ok(());
        }
        let patch = Patch::Merge(json!({"metadata": {"uid": uid}, "status": status}));
        match pods.patch_status(name, &PatchParams::default(), &patch).await {
            Ok(_) => {}
            // Gone, or another pod of that name: the next look shows it.
            Err(kube::Error::Api(status)) if status.code == 404 || status.code == 409 => return Ok(()),
            Err(error) => return Err(error).context("failed to report the pod's status"),
        }
        self.written = status;
        Ok(())
    }

    fn status(&mut self, uid: &str, of: &[&Container], outcome: Option<Outcome>) -> Value {
        let (beside, last) = of.split_at(of.len().saturating_sub(1));
        let ready = last.iter().all(|container| container.ready);
        let address = self.address.to_string();
        let conditions = [
            ("PodScheduled", true),
            ("Initialized", true),
            ("ContainersReady", ready),
            ("Ready", ready),
        ];
        let conditions: Vec<Value> = conditions.map(|(kind, holds)| self.condition(kind, holds)).into();
        let statuses = |containers: &[&Container]| -> Vec<Value> {
            containers.iter().map(|container| container.status(uid)).collect()
        };
        let phase = match outcome {
            Some(outcome) => format!("{outcome:?}"),
            None if last.iter().all(|container| container.started) => "Running".to_owned(),
            None => "Pending".to_owned(),
        };
        json!({
            "phase": phase,
            "hostIP": address,
            "hostIPs": [{"ip": address}],
            "podIP": address,
            "podIPs": [{"ip": address}],
            "startTime": self.since,
            "conditions": conditions,
            "initContainerStatuses": statuses(beside),
            "containerStatuses": statuses(last),
        })
    }

    fn condition(&mut self, kind: &'static str, holds: bool) -> Value {
        let entry = self
            .conditions
            .entry(kind)
            .or_insert_with(|| (holds, second(Timestamp::now())));
        if entry.0 != holds {
            *entry = (holds, second(Timestamp::now()));
        }
        let mut condition = json!({
            "type": kind,
            "status": if holds { "True" } else { "False" },
            "lastTransitionTime": entry.1,
        });
        if !holds {
            condition["reason"] = "ContainersNotReady".into();
            condition["message"] = "the last container is not ready".into();
        }
        condition
    }
}

/// What the control plane says of a pod whose cluster node is silent.
pub(in crate::harness::cluster) async fn not_ready(client: &Client, namespace: &str, pod: &str) -> Result<()> {
    let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
    let now = second(Timestamp::now());
    let condition = json!({
        "type": "Ready", "status": "False", "reason": "NodeNotReady", "lastTransitionTime": now,
    });
    let patch = Patch::Strategic(json!({"status": {"conditions": [condition]}}));
    pods.patch_status(pod, &PatchParams::default(), &patch).await?;
    Ok(())
}
