//! What goes into a report. Whatever can't be read is told, and the rest goes on.

use std::collections::BTreeSet;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Event, Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::Api;
use kube::api::{ApiResource, DynamicObject, ListParams, LogParams};
use serde_json::Value;

use super::Files;
use super::redact::Redactor;
use crate::api::{EdgePool, StreamOrigin};
use crate::plugin::look::{Look, answer};
use crate::plugin::render::{self, Wish};

/// Everything of ours.
const OURS: &str = "app.kubernetes.io/name=headwater";
/// The operator.
const OPERATOR: &str = "app.kubernetes.io/name=headwater,app.kubernetes.io/component=operator";
/// Objects of one kind that are taken at most.
const MOST: u32 = 1000;
/// Pods whose logs are taken at most.
const LOGS: usize = 60;
/// Lines of one log.
const LINES: i64 = 3000;
/// Bytes of one log.
const BYTES: i64 = 1 << 20;

/// A report.
#[derive(Default)]
pub(super) struct Report {
    /// Its files.
    pub(super) files: Files,
    /// What could not be read, and why.
    pub(super) failed: Vec<String>,
    redactor: Redactor,
}

/// A pod whose log is taken.
struct Logged {
    namespace: String,
    name: String,
    restarted: bool,
}

/// Gathers all there is.
pub(super) async fn gather(look: &Look, operator_namespace: &str, now: Timestamp) -> Report {
    let mut report = Report::default();
    let space = (!look.is_everywhere()).then_some(look.namespace.as_str());
    // The two kinds first: what they hold is known from then on, and taken out of all else.
    let mut objects = report
        .list(look, space, &ApiResource::erase::<StreamOrigin>(&()), "")
        .await;
    objects.extend(report.list(look, space, &ApiResource::erase::<EdgePool>(&()), "").await);
    report.redactor.learn(&objects);
    for kind in [
        ApiResource::erase::<Deployment>(&()),
        ApiResource::erase::<ReplicaSet>(&()),
        ApiResource::erase::<Service>(&()),
        ApiResource::erase::<EndpointSlice>(&()),
        ApiResource::erase::<NetworkPolicy>(&()),
        ApiResource::erase::<PodDisruptionBudget>(&()),
        ApiResource::erase::<Pod>(&()),
    ] {
        objects.extend(report.list(look, space, &kind, OURS).await);
    }
    for kind in [ApiResource::erase::<Deployment>(&()), ApiResource::erase::<Pod>(&())] {
        objects.extend(report.list(look, Some(operator_namespace), &kind, OPERATOR).await);
    }
    let leases = report
        .list(look, Some(operator_namespace), &ApiResource::erase::<Lease>(&()), "")
        .await;
    objects.extend(
        leases
            .into_iter()
            .filter(|lease| text(lease, "/metadata/annotations/headwater.dev~1term").is_some()),
    );
    let events = report.list(look, space, &ApiResource::erase::<Event>(&()), "").await;
    report.events(events, &objects);
    let logged = logged(&objects);
    for object in &mut objects {
        report.object(object);
    }
    for pod in logged.iter().take(LOGS) {
        report.log(look, pod).await;
    }
    if logged.len() > LOGS {
        report
            .failed
            .push(format!("the logs of {} pods more than {LOGS}", logged.len() - LOGS));
    }
    report.overview(look, now).await;
    report
}

impl Report {
    async fn list(&mut self, look: &Look, namespace: Option<&str>, kind: &ApiResource, labels: &str) -> Vec<Value> {
        let client = look.client.clone();
        let api: Api<DynamicObject> = match namespace {
            Some(namespace) => Api::namespaced_with(client, namespace, kind),
            None => Api::all_with(client, kind),
        };
        let params = ListParams::default().labels(labels).limit(MOST);
        match answer(api.list(&params)).await {
            Ok(list) => {
                if list.metadata.continue_.is_some_and(|more| !more.is_empty()) {
                    self.failed.push(format!("{} more than {MOST}", kind.plural));
                }
                let values = list.items.into_iter().filter_map(|mut object| {
                    // A list says it once for all.
                    object.types = Some(kube::core::TypeMeta {
                        api_version: kind.api_version.clone(),
                        kind: kind.kind.clone(),
                    });
                    serde_json::to_value(object).ok()
                });
                values.collect()
            }
            Err(why) => {
                self.failed.push(format!("{}: {why}", kind.plural));
                Vec::new()
            }
        }
    }

    /// Writes an object into a file of its own.
    fn object(&mut self, object: &mut Value) {
        self.redactor.object(object);
        let part = |pointer: &str| text(object, pointer).unwrap_or_default();
        let path = format!(
            "{}/{}/{}.yaml",
            part("/metadata/namespace"),
            part("/kind").to_lowercase(),
            part("/metadata/name")
        );
        match serde_saphyr::to_string(object) {
            Ok(yaml) => drop(self.files.insert(path, yaml)),
            Err(error) => self.failed.push(format!("{path}: {error}")),
        }
    }

    /// Writes the Events about these objects, one a line, oldest first.
    fn events(&mut self, events: Vec<Value>, objects: &[Value]) {
        let known: BTreeSet<(&str, &str, &str)> = objects.iter().filter_map(|object| about(object)).collect();
        let is_ours = |event: &&Value| {
            about_of(event)
                .is_some_and(|about| known.contains(&about) || matches!(about.0, "StreamOrigin" | "EdgePool"))
        };
        let mut lines: Vec<String> = events.iter().filter(is_ours).map(line).collect();
        lines.sort();
        let text = lines.iter().map(|line| self.redactor.text(line) + "\n").collect();
        self.files.insert("events.txt".to_owned(), text);
    }

    /// Writes the log of a pod, and of its container before that.
    async fn log(&mut self, look: &Look, pod: &Logged) {
        let api: Api<Pod> = Api::namespaced(look.client.clone(), &pod.namespace);
        for previous in [false, true] {
            if previous && !pod.restarted {
                continue;
            }
            let params = LogParams {
                limit_bytes: Some(BYTES),
                tail_lines: Some(LINES),
                timestamps: true,
                previous,
                ..LogParams::default()
            };
            let ending = if previous { ".previous.log" } else { ".log" };
            let path = format!("{}/logs/{}{ending}", pod.namespace, pod.name);
            match answer(api.logs(&pod.name, &params)).await {
                Ok(log) => drop(self.files.insert(path, self.redactor.text(&log))),
                Err(why) => self.failed.push(format!("{path}: {why}")),
            }
        }
    }

    /// Writes what a person reads first.
    async fn overview(&mut self, look: &Look, now: Timestamp) {
        let server = match answer(look.client.apiserver_version()).await {
            Ok(version) => version.git_version,
            Err(why) => format!("unknown: {why}"),
        };
        match look.tree().await {
            Ok(tree) => {
                let wish = Wish {
                    wide: true,
                    namespaces: true,
                };
                let status = render::status(&tree, wish, now) + "\n" + &render::streams(&tree, wish, now);
                self.files.insert("status.txt".to_owned(), self.redactor.text(&status));
            }
            Err(error) => self.failed.push(error.to_string()),
        }
        let mut about = format!(
            "Headwater report of {}\nplugin {}\nAPI server {server}\nmade at {now}\n\nSecrets were not read. Keys, and what follows \
            the host in the addresses of pulls and pushes, are left out.\n",
            look.place(),
            env!("CARGO_PKG_VERSION"),
        );
        if !self.failed.is_empty() {
            about += "\nWhat could not be read:\n";
        }
        for failed in &self.failed {
            about += &format!("  {}\n", self.redactor.text(failed));
        }
        self.files.insert("about.txt".to_owned(), about);
    }
}

/// The pods among these objects, each once.
fn logged(objects: &[Value]) -> Vec<Logged> {
    let mut seen = BTreeSet::new();
    let pods = objects.iter().filter(|object| object["kind"] == "Pod");
    pods.filter_map(|pod| {
        let (_, namespace, name) = about(pod)?;
        let containers = pod.pointer("/status/containerStatuses").and_then(Value::as_array);
        let restarts = containers
            .into_iter()
            .flatten()
            .filter_map(|container| container["restartCount"].as_i64());
        seen.insert((namespace, name)).then(|| Logged {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            restarted: restarts.sum::<i64>() > 0,
        })
    })
    .collect()
}

/// Kind, namespace and name of an object.
fn about(object: &Value) -> Option<(&str, &str, &str)> {
    Some((
        text(object, "/kind")?,
        text(object, "/metadata/namespace")?,
        text(object, "/metadata/name")?,
    ))
}

/// The same of what an Event is about.
fn about_of(event: &Value) -> Option<(&str, &str, &str)> {
    let part = |part: &str| text(event, &format!("/involvedObject/{part}"));
    Some((part("kind")?, part("namespace")?, part("name")?))
}

/// An Event as a line, its time first.
fn line(event: &Value) -> String {
    let first = |pointers: &[&str]| pointers.iter().find_map(|pointer| text(event, pointer)).unwrap_or("-");
    let time = first(&[
        "/lastTimestamp",
        "/series/lastObservedTime",
        "/eventTime",
        "/metadata/creationTimestamp",
    ]);
    let about = about_of(event).map(|(kind, namespace, name)| format!("{namespace} {kind}/{name}"));
    let message = first(&["/message"]).replace('\n', " ");
    format!(
        "{time} {} {} {} {message}",
        first(&["/type"]),
        about.unwrap_or_default(),
        first(&["/reason"])
    )
}

fn text<'a>(value: &'a Value, pointer: &str) -> Option<&'a str> {
    value.pointer(pointer).and_then(Value::as_str)
}
