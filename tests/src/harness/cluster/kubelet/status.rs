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

/// What is known of the container.
#[derive(Debug, Default)]
pub(super) struct Container {
    /// Since when it runs.
    pub(super) running: Option<Timestamp>,
    /// Why it does not run yet.
    pub(super) waiting: Option<String>,
    /// Starts after the first.
    pub(super) restarts: u32,
    /// It answers its probe.
    pub(super) ready: bool,
    /// It was asked to end.
    pub(super) terminating: bool,
    started: bool,
    last_end: Option<Value>,
}

impl Container {
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

    /// Writes the status if it is another than the last one.
    pub(super) async fn report(&mut self, pods: &Api<Pod>, name: &str, pod: &Pod, of: &Container) -> Result<()> {
        let status = self.status(pod, of);
        if status == self.written {
            return Ok(());
        }
        let patch = Patch::Merge(json!({"metadata": {"uid": pod.metadata.uid}, "status": status}));
        match pods.patch_status(name, &PatchParams::default(), &patch).await {
            Ok(_) => {}
            // Gone, or another pod of that name: the next look shows it.
            Err(kube::Error::Api(status)) if status.code == 404 || status.code == 409 => return Ok(()),
            Err(error) => return Err(error).context("failed to report the pod's status"),
        }
        self.written = status;
        Ok(())
    }

    fn status(&mut self, pod: &Pod, of: &Container) -> Value {
        let spec = pod.spec.as_ref();
        let container = spec.and_then(|spec| spec.containers.first());
        let image = container
            .and_then(|container| container.image.clone())
            .unwrap_or_default();
        let name = container.map(|container| container.name.clone()).unwrap_or_default();
        let address = self.address.to_string();
        let running = of.running.is_some();
        let conditions = [
            ("PodScheduled", true),
            ("Initialized", true),
            ("ContainersReady", of.ready),
            ("Ready", of.ready),
        ];
        let conditions: Vec<Value> = conditions.map(|(kind, holds)| self.condition(kind, holds)).into();
        json!({
            "phase": if of.started { "Running" } else { "Pending" },
            "hostIP": address,
            "hostIPs": [{"ip": address}],
            "podIP": address,
            "podIPs": [{"ip": address}],
            "startTime": self.since,
            "conditions": conditions,
            "containerStatuses": [{
                "name": name,
                "image": image,
                "imageID": image,
                "containerID": format!("test://{}", pod.metadata.uid.as_deref().unwrap_or_default()),
                "ready": of.ready,
                "started": running,
                "restartCount": of.restarts,
                "state": of.state(),
                "lastState": of.last_end.as_ref().map_or(json!({}), |end| json!({"terminated": end})),
            }],
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
            condition["message"] = "containers with unready status: [media-node]".into();
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
