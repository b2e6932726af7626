//! What the API server holds, as this process last saw it: one watch a kind, shared by the controllers and the fleet.
//!
//! Each change marks the resources that it concerns ([`super::marks`]); nothing here decides what it means. While the API server
//! is away the stores keep what they held.

use std::fmt::Debug;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::StreamExt;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Pod, Secret, Service};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::api::{Api, ObjectMeta};
use kube::runtime::reflector::{ObjectRef, Store, store};
use kube::runtime::utils::Backoff;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Client, Resource};
use serde::de::DeserializeOwned;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, warn};

use super::decide::names;
use super::marks::Marks;
use super::pods::Pods;
use crate::api::{EdgePool, StreamOrigin, tls};
use crate::fleet::{ResourceId, ResourceKind};

/// How the types of those Secrets begin whose content is surely not ours, and is not kept.
const FOREIGN_SECRETS: [&str; 3] = ["kubernetes.io/", "bootstrap.kubernetes.io/", "helm.sh/"];
/// Type of the Secrets that `spec.tls` names.
const TLS_SECRETS: &str = "kubernetes.io/tls";
/// Wait before a watch that has failed is tried again; doubled each time.
const FIRST_WAIT: Duration = Duration::from_millis(200);
/// Longest wait. The library's 30 s would leave an operator blind for so long after the API server is back.
const LONGEST_WAIT: Duration = Duration::from_secs(2);

/// The stores. Cheap to clone.
#[derive(Clone)]
pub struct Stores {
    /// Every StreamOrigin.
    pub origins: Store<StreamOrigin>,
    /// Every EdgePool.
    pub pools: Store<EdgePool>,
    /// Every Secret: publish keys, control tokens, and of certificates that they are there.
    pub secrets: Store<Secret>,
    /// Our Deployments.
    pub deployments: Store<Deployment>,
    /// Our Services.
    pub services: Store<Service>,
    /// Our PodDisruptionBudgets.
    pub budgets: Store<PodDisruptionBudget>,
    /// Our NetworkPolicies.
    pub policies: Store<NetworkPolicy>,
    /// Our media nodes' pods.
    pub pods: Pods,
}

/// Who is told of changes.
#[derive(Clone)]
pub struct Told {
    /// Resources whose objects, or whose own manifest, changed.
    pub marks: Marks,
    /// Something that wishes are made of changed.
    pub wishes: Arc<Notify>,
    /// Pods or what is needed to reach them changed.
    pub nodes: Arc<Notify>,
}

/// Where to look.
#[derive(Clone, Debug)]
pub enum Scope {
    /// All namespaces.
    Cluster,
    /// One namespace.
    Namespace(String),
}

impl Scope {
    /// The API of a kind in this scope.
    pub fn api<K>(&self, client: Client) -> Api<K>
    where
        K: Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>,
    {
        match self {
            Self::Cluster => Api::all(client),
            Self::Namespace(namespace) => Api::namespaced(client, namespace),
        }
    }
}

impl Stores {
    /// Starts the watches; they end with `stop`.
    pub fn start(client: &Client, scope: &Scope, told: &Told, tasks: &TaskTracker, stop: &CancellationToken) -> Self {
        let watch = Watch {
            client,
            scope,
            told,
            tasks,
            stop,
        };
        let all = watcher::Config::default();
        let ours = watcher::Config::default().labels(names::MANAGED_SELECTOR);
        Self {
            origins: watch.start(all.clone(), slim, |told, origin: &StreamOrigin| {
                told.wishes.notify_one();
                mark(told, ResourceKind::StreamOrigin, &origin.metadata);
            }),
            pools: watch.start(all.clone(), slim, |told, pool: &EdgePool| {
                told.wishes.notify_one();
                mark(told, ResourceKind::EdgePool, &pool.metadata);
            }),
            secrets: watch.start(all, slim_secret, |told, secret: &Secret| {
                told.wishes.notify_one();
                told.nodes.notify_one();
                mark_owner(told, &secret.metadata);
            }),
            deployments: watch.start(ours.clone(), slim, |told, deployment: &Deployment| {
                mark_owner(told, &deployment.metadata);
            }),
            services: watch.start(ours.clone(), slim, |told, service: &Service| {
                // An upstream's address stands in the pods of every pool below it.
                told.marks.all(ResourceKind::EdgePool);
                told.nodes.notify_one();
                mark_owner(told, &service.metadata);
            }),
            budgets: watch.start(ours.clone(), slim, |told, budget: &PodDisruptionBudget| {
                mark_owner(told, &budget.metadata);
            }),
            policies: watch.start(ours.clone(), slim, |told, policy: &NetworkPolicy| {
                mark_owner(told, &policy.metadata);
            }),
            pods: {
                let changes = Arc::new(AtomicU64::new(0));
                let store = watch.counted(&changes, ours, slim_pod, |told, pod: &Pod| {
                    told.nodes.notify_one();
                    mark_owner(told, &pod.metadata);
                });
                Pods::new(store, changes)
            },
        }
    }

    /// Completes when every kind was listed once.
    pub async fn ready(&self) {
        // A writer that is dropped means that the program ends: there is nothing to wait for any more.
        let _ = tokio::join!(
            self.origins.wait_until_ready(),
            self.pools.wait_until_ready(),
            self.secrets.wait_until_ready(),
            self.deployments.wait_until_ready(),
            self.services.wait_until_ready(),
            self.budgets.wait_until_ready(),
            self.policies.wait_until_ready(),
            self.pods.ready(),
        );
    }

    /// The object of this kind that is made for a resource, by its name.
    pub fn object<K>(store: &Store<K>, resource: &ResourceId, name: &str) -> Option<Arc<K>>
    where
        K: Resource<DynamicType = ()> + Clone + 'static,
    {
        store.get(&ObjectRef::new(name).within(&resource.namespace))
    }
}

/// What the watches have in common.
struct Watch<'a> {
    client: &'a Client,
    scope: &'a Scope,
    told: &'a Told,
    tasks: &'a TaskTracker,
    stop: &'a CancellationToken,
}

impl Watch<'_> {
    fn start<K>(
        &self,
        config: watcher::Config,
        slim: impl Fn(&mut K) + Send + 'static,
        tell: impl Fn(&Told, &K) + Send + 'static,
    ) -> Store<K>
    where
        K: Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>
            + Clone
            + Debug
            + DeserializeOwned
            + Send
            + Sync
            + 'static,
    {
        self.counted(&Arc::default(), config, slim, tell)
    }

    /// Counts in `changes` whatever may have changed the store: each object, and the end of each list, which takes the place of all
    /// that was there.
    fn counted<K>(
        &self,
        changes: &Arc<AtomicU64>,
        config: watcher::Config,
        slim: impl Fn(&mut K) + Send + 'static,
        tell: impl Fn(&Told, &K) + Send + 'static,
    ) -> Store<K>
    where
        K: Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>
            + Clone
            + Debug
            + DeserializeOwned
            + Send
            + Sync
            + 'static,
    {
        let (reader, writer) = store::<K>();
        let api: Api<K> = self.scope.api(self.client.clone());
        let kind = K::kind(&()).into_owned();
        let (told, changes) = (self.told.clone(), changes.clone());
        let stream = watcher(api, config)
            .backoff(Waits::default())
            .modify(move |object| slim(object))
            .reflect(writer)
            .take_until(self.stop.clone().cancelled_owned());
        self.tasks.spawn(async move {
            let mut stream = std::pin::pin!(stream);
            let mut failing = false;
            while let Some(event) = stream.next().await {
                changes.fetch_add(1, Ordering::Release);
                match event {
                    Ok(watcher::Event::Apply(object) | watcher::Event::InitApply(object) | watcher::Event::Delete(object)) => {
                        failing = false;
                        tell(&told, &object);
                    }
                    // A list may lack what was there before: whoever goes by it looks again.
                    Ok(watcher::Event::InitDone) => {
                        failing = false;
                        told.wishes.notify_one();
                        told.nodes.notify_one();
                        for kind in ResourceKind::ALL {
                            told.marks.all(kind);
                        }
                    }
                    Ok(watcher::Event::Init) => {}
                    Err(watcher::Error::WatchError(status)) if status.code == 410 => {
                        debug!(kind, "a watch has expired; what there is is listed anew");
                    }
                    Err(error) if failing => debug!(kind, %error, "a watch still fails"),
                    Err(error) => {
                        failing = true;
                        warn!(kind, error = %explain(&error), "a watch has failed; what was seen before holds, and it is tried again");
                    }
                }
            }
        });
        reader
    }
}

/// The waits of one watch, with jitter: all watches of all operators fail at the same moment.
#[derive(Default)]
struct Waits(u32);

impl Iterator for Waits {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        let whole = FIRST_WAIT.saturating_mul(1 << self.0.min(16)).min(LONGEST_WAIT);
        self.0 = self.0.saturating_add(1);
        Some(whole.mul_f64(rand::random_range(0.5..1.0)))
    }
}

impl Backoff for Waits {
    fn reset(&mut self) {
        self.0 = 0;
    }
}

/// What a watch error means, and what to do where a person can do something.
fn explain(error: &watcher::Error) -> String {
    let text = crate::fleet::link::chain(error);
    if text.contains("404") {
        return format!("{text}: are the CustomResourceDefinitions installed? (`kubectl apply -f crds`)");
    }
    if text.contains("403") || text.contains("forbidden") {
        return format!("{text}: the operator's role lacks a right");
    }
    text
}

fn mark(told: &Told, kind: ResourceKind, metadata: &ObjectMeta) {
    if let (Some(namespace), Some(name)) = (&metadata.namespace, &metadata.name) {
        told.marks.one(ResourceId {
            namespace: namespace.clone(),
            kind,
            name: name.clone(),
        });
    }
}

/// Marks the resource that an object is made for: by its labels, or, where somebody took them off, by its owner.
fn mark_owner(told: &Told, metadata: &ObjectMeta) {
    if let Some(resource) = names::resource_of(metadata).or_else(|| names::owner_of(metadata)) {
        told.marks.one(resource);
    }
}

/// Drops what nobody reads: it is most of an object.
fn slim<K: Resource>(object: &mut K) {
    object.meta_mut().managed_fields = None;
}

fn slim_secret(secret: &mut Secret) {
    slim(secret);
    let kind = secret.type_.as_deref().unwrap_or_default();
    if kind == TLS_SECRETS {
        let names = filled(secret).map(|entry| (entry.to_owned(), String::new()));
        secret.string_data = Some(names.collect());
    }
    if FOREIGN_SECRETS.iter().any(|foreign| kind.starts_with(foreign)) {
        secret.data = None;
    }
}

/// Which entries of a certificate a Secret has: what they are is kept of none that is of their type. Those names stand where the
/// API server never answers anything, so that nobody takes them for publish keys.
fn filled(secret: &Secret) -> impl Iterator<Item = &'static str> {
    [tls::CERTIFICATE, tls::KEY].into_iter().filter(|entry| {
        let value = secret.data.as_ref().and_then(|data| data.get(*entry));
        let kept = secret
            .string_data
            .as_ref()
            .is_some_and(|names| names.contains_key(*entry));
        kept || value.is_some_and(|value| !value.0.is_empty())
    })
}

/// True if a Secret of the stores has a certificate and its key.
pub fn has_certificate(secret: &Secret) -> bool {
    filled(secret).count() == 2
}

fn slim_pod(pod: &mut Pod) {
    slim(pod);
    // Of the spec only where it runs is read; the Deployment's template says the rest.
    if let Some(spec) = &mut pod.spec {
        spec.containers.clear();
        spec.volumes = None;
        spec.affinity = None;
        spec.tolerations = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kubernetes::wishes::keys_of;

    fn secret(kind: &str, entries: serde_json::Value) -> Secret {
        serde_json::from_value(serde_json::json!({"type": kind, "data": entries})).unwrap()
    }

    #[test]
    fn of_a_certificate_only_that_it_is_there_is_kept() {
        for (key, whole) in [("aHVudGVyMg==", true), ("", false)] {
            let entries = serde_json::json!({"tls.crt": "Y2VydA==", "tls.key": key, "cam1": "aHVudGVyMg=="});
            let mut slimmed = secret("kubernetes.io/tls", entries.clone());
            slim_secret(&mut slimmed);
            assert_eq!(has_certificate(&slimmed), whole);
            assert_eq!(slimmed.data, None);
            assert!(keys_of(&slimmed).is_empty(), "it opens no stream to anybody");
            let mut opaque = secret("Opaque", entries);
            slim_secret(&mut opaque);
            assert_eq!(has_certificate(&opaque), whole);
        }
    }
}
