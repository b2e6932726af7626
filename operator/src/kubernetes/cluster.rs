//! The cluster as a platform: what the API server holds, seen through the stores, and what the control loop wants of it.
//!
//! Nothing here waits for the API server. What the loop wants is kept as an [`Intent`] and the resource is marked; the
//! controllers write it, again and again until it stands. While the API server is away the loop goes on with what is known.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Pod, Secret, Service};
use kube::ResourceExt;
use kube::runtime::reflector::ObjectRef;
use tokio::sync::{Notify, mpsc};

use super::decide::{names, token};
use super::intent::{Intent, PodSeen, Seen, StandingDrain};
use super::marks::Marks;
use super::observe::{Stores, has_certificate};
use super::report::{Certificate, Reached};
use crate::api::tls::TlsSpec;
use crate::fleet::link::ControlToken;
use crate::fleet::{Addresses, NodeId, ResourceId, ResourceKind};
use crate::metrics::Metrics;
use crate::platform::{Drain, Error, Happening, NodeFacts, Platform, Reach, Wishes};

/// Media nodes' ports in a pod.
const PORTS: Ports = Ports {
    rtmp: 1935,
    http: 8080,
    ops: 8081,
};
/// HTTP port of the Services; RTMP's is the pods'.
const SERVICE_HTTP: u16 = 80;
/// The nodes' `--drain-accept`: the program's default, which pods are not told otherwise.
const DRAIN_ACCEPT: Duration = Duration::from_secs(10);

struct Ports {
    rtmp: u16,
    http: u16,
    ops: u16,
}

/// What is wanted of every pool. Cheap to clone; the lock is held for one look at a pool.
#[derive(Clone, Debug, Default)]
pub struct Intents(Arc<Mutex<BTreeMap<ResourceId, Intent>>>);

impl Intents {
    /// Works on the intent of one pool, after it has taken in what is seen of it.
    pub fn of<T>(&self, pool: &ResourceId, seen: &Seen, work: impl FnOnce(&mut Intent) -> T) -> T {
        let mut intents = self.lock();
        let intent = intents.entry(pool.clone()).or_default();
        intent.settle(seen);
        work(intent)
    }

    /// Forgets pools that are gone, and of suspended ones the number: it begins anew with what is wanted then.
    fn retain(&self, wishes: &Wishes) {
        let runs = |pool: &ResourceId| wishes.pools.get(pool).is_none_or(|spec| !spec.suspend);
        let known = |pool: &ResourceId| wishes.pools.contains_key(pool) || wishes.unreadable.contains(pool);
        self.lock().retain(|pool, _| known(pool) && runs(pool));
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<ResourceId, Intent>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The platform.
pub struct Cluster {
    stores: Stores,
    intents: Intents,
    marks: Marks,
    wake: Arc<Notify>,
    happenings: mpsc::Sender<Happening>,
    metrics: Metrics,
}

impl Cluster {
    /// A platform over these stores. `wake` is notified when pods have changed.
    pub fn new(
        stores: Stores,
        intents: Intents,
        marks: Marks,
        wake: Arc<Notify>,
        happenings: mpsc::Sender<Happening>,
        metrics: Metrics,
    ) -> Self {
        Self {
            stores,
            intents,
            marks,
            wake,
            happenings,
            metrics,
        }
    }

    /// Works on the intent of a pool and marks it to be written.
    fn want<T>(&self, pool: &ResourceId, work: impl FnOnce(&mut Intent, &Seen) -> T) -> T {
        let seen = seen(&self.stores, pool);
        let result = self.intents.of(pool, &seen, |intent| work(intent, &seen));
        self.marks.one(pool.clone());
        result
    }

    fn facts(&self, id: NodeId, pod: &Pod, now: Instant, wall: Timestamp) -> NodeFacts {
        let leaving = pod.metadata.deletion_timestamp.is_some();
        let drain = match id.resource.kind {
            ResourceKind::StreamOrigin => None,
            ResourceKind::EdgePool => {
                let seen = pod_seen(pod);
                let intents = self.intents.lock();
                let intent = intents.get(&id.resource);
                match intent {
                    Some(intent) => intent.drain(&id.name, &seen, now, wall),
                    None => Intent::default().drain(&id.name, &seen, now, wall),
                }
            }
        };
        NodeFacts {
            reach: reach(&self.stores, &id.resource, pod),
            id,
            drain,
            leaving,
        }
    }
}

impl Platform for Cluster {
    /// The controllers make what is wished; only what is wanted of pools that are gone is forgotten.
    async fn keep(&mut self, wishes: &Wishes) -> Result<(), Error> {
        self.intents.retain(wishes);
        Ok(())
    }

    fn nodes(&self) -> Vec<NodeFacts> {
        let (now, wall) = (tokio::time::Instant::now().into_std(), Timestamp::now());
        let index = self.stores.pods.index();
        let running = |(resource, pods): (&ResourceId, &Vec<Arc<Pod>>)| {
            let pods = pods.iter().filter(|pod| !has_ended(pod));
            let facts = pods.map(|pod| self.facts(resource.node(pod.name_any()), pod, now, wall));
            facts.collect::<Vec<_>>()
        };
        // In order of id: the index is in order of resource, and of name within.
        index.iter().flat_map(running).collect()
    }

    fn addresses(&self, resource: &ResourceId) -> Addresses {
        addresses(&self.stores, resource)
    }

    fn stable(&self, resource: &ResourceId) -> Addresses {
        stable(&self.stores, resource)
    }

    fn replicas(&self, pool: &ResourceId) -> u32 {
        let seen = seen(&self.stores, pool);
        self.intents.of(pool, &seen, |intent| intent.replicas(&seen))
    }

    fn scales(&self, _: &ResourceId) -> bool {
        true
    }

    fn rolling(&self, pool: &ResourceId) -> bool {
        deployment(&self.stores, pool).is_some_and(|deployment| is_rolling(&deployment))
    }

    fn drain_accept(&self) -> Duration {
        DRAIN_ACCEPT
    }

    fn tell(&self, happening: Happening) {
        // Full: the log has it, and a person who reads Events has enough to read.
        if self.happenings.try_send(happening).is_err() {
            self.metrics.reconcile_errors.with_label_values(&["event"]).inc();
        }
    }

    async fn add(&mut self, pool: &ResourceId, edges: u32) -> Result<(), Error> {
        self.want(pool, |intent, seen| intent.add(edges, seen));
        Ok(())
    }

    async fn hold_drain(&mut self, node: &NodeId, drain: Option<Drain>) -> Result<(), Error> {
        let now = Timestamp::now();
        self.want(&node.resource, |intent, _| intent.hold_drain(&node.name, drain, now));
        Ok(())
    }

    async fn remove(&mut self, node: &NodeId) -> Result<bool, Error> {
        Ok(self.want(&node.resource, |intent, _| intent.remove(&node.name)))
    }

    fn wake(&self) -> Arc<Notify> {
        self.wake.clone()
    }

    /// Services send viewers to ready pods; nobody has to be told.
    fn route(&mut self, _: &ResourceId, _: &[NodeId]) {}
}

/// The pods and the Deployment of a pool.
pub fn seen(stores: &Stores, pool: &ResourceId) -> Seen {
    let pods = stores.pods.of(pool);
    let live = || {
        pods.iter()
            .filter(|pod| pod.metadata.deletion_timestamp.is_none() && !has_ended(pod))
    };
    let deployment = deployment(stores, pool);
    let rolling = deployment.as_deref().is_some_and(is_rolling);
    let replicas = deployment.and_then(|deployment| deployment.spec.as_ref()?.replicas);
    Seen {
        replicas: replicas.map(|replicas| u32::try_from(replicas).unwrap_or(0)),
        live: live().map(|pod| (pod.name_any(), pod_seen(pod))).collect(),
        unsettled: rolling || !live().all(|pod| phase(pod) == Some("Running")),
    }
}

/// The Deployment of a resource.
pub fn deployment(stores: &Stores, resource: &ResourceId) -> Option<Arc<Deployment>> {
    Stores::object(&stores.deployments, resource, &names::object(resource))
}

/// The Service of a resource.
pub fn service(stores: &Stores, resource: &ResourceId) -> Option<Arc<Service>> {
    Stores::object(&stores.services, resource, &names::object(resource))
}

/// The control token by which the nodes of a resource are spoken to.
pub fn control_token(stores: &Stores, resource: &ResourceId) -> Option<ControlToken> {
    let secret = Stores::object(&stores.secrets, resource, &names::control_secret(resource))?;
    token::in_use(&secret)
}

/// A Secret.
pub fn secret(stores: &Stores, namespace: &str, name: &str) -> Option<Arc<Secret>> {
    stores.secrets.get(&ObjectRef::new(name).within(namespace))
}

/// What there is of the certificate that a spec names.
pub fn certificate(stores: &Stores, namespace: &str, spec: Option<&TlsSpec>) -> Certificate {
    let Some(name) = spec.map(|spec| spec.secret_name.clone()) else {
        return Certificate::None;
    };
    match secret(stores, namespace, &name) {
        None => Certificate::Missing(name),
        Some(secret) if has_certificate(&secret) => Certificate::There(name),
        Some(_) => Certificate::Incomplete(name),
    }
}

/// The addresses by which people reach a resource: its load balancer's, else those inside the cluster.
pub fn addresses(stores: &Stores, resource: &ResourceId) -> Addresses {
    let host = service(stores, resource).and_then(|service| public_host(&service));
    host.map_or_else(|| stable(stores, resource), |host| at_service(&host))
}

/// The addresses of a resource's Service inside the cluster.
fn stable(stores: &Stores, resource: &ResourceId) -> Addresses {
    let address = service(stores, resource).and_then(|service| cluster_ip(&service));
    address
        .map(|address| at_service(&bracketed(address)))
        .unwrap_or_default()
}

/// How people reach a Service, as far as its address does not say it.
pub fn reached(service: &Service) -> Reached {
    let spec = service.spec.as_ref();
    let kind = spec.and_then(|spec| spec.type_.as_deref()).unwrap_or_default();
    match kind {
        "LoadBalancer" if public_host(service).is_none() => Reached::Waiting,
        "NodePort" => {
            let ports = spec.and_then(|spec| spec.ports.as_deref()).unwrap_or_default();
            let port = |name: &str| {
                let named = ports.iter().find(|port| port.name.as_deref() == Some(name));
                named.and_then(|port| port.node_port).unwrap_or(0)
            };
            Reached::NodePorts {
                rtmp: port(names::RTMP_PORT),
                http: port(names::HTTP_PORT),
                https: Some(port(names::HTTPS_PORT)).filter(|port| *port > 0),
            }
        }
        _ => Reached::There,
    }
}

/// The address of a Service inside the cluster.
pub fn cluster_ip(service: &Service) -> Option<IpAddr> {
    service.spec.as_ref()?.cluster_ip.as_deref()?.parse().ok()
}

/// The host by which people reach a Service from outside, as it stands in an address: an IPv6 one in brackets.
pub fn public_host(service: &Service) -> Option<String> {
    let ingress = service.status.as_ref()?.load_balancer.as_ref()?.ingress.as_ref()?;
    let first = ingress.first()?;
    match (&first.hostname, &first.ip) {
        (Some(name), _) if !name.is_empty() => Some(name.clone()),
        (_, Some(address)) => Some(match address.parse() {
            Ok(address) => bracketed(address),
            Err(_) => address.clone(),
        }),
        _ => None,
    }
}

/// True while pods of an older make are being replaced, or the Deployment's controller has not seen its newest make yet.
pub fn is_rolling(deployment: &Deployment) -> bool {
    let Some(status) = &deployment.status else {
        return true;
    };
    let behind = status.observed_generation < deployment.metadata.generation;
    behind || status.updated_replicas.unwrap_or(0) < status.replicas.unwrap_or(0)
}

/// What a pod's annotations say.
pub fn pod_seen(pod: &Pod) -> PodSeen {
    let annotations = pod.annotations();
    let time = |key: &str| annotations.get(key)?.parse::<Timestamp>().ok();
    let drain = time(names::DRAIN_DEADLINE).map(|deadline| StandingDrain {
        since: time(names::DRAIN_SINCE).unwrap_or(deadline),
        deadline,
    });
    PodSeen {
        drain,
        marked: annotations.get(names::DELETION_COST).map(String::as_str) == Some(names::LOWEST_COST),
    }
}

/// A pod whose containers run no more and never will.
pub fn has_ended(pod: &Pod) -> bool {
    matches!(phase(pod), Some("Succeeded" | "Failed"))
}

fn phase(pod: &Pod) -> Option<&str> {
    pod.status.as_ref()?.phase.as_deref()
}

fn reach(stores: &Stores, resource: &ResourceId, pod: &Pod) -> Option<Reach> {
    let status = pod.status.as_ref()?;
    if phase(pod) != Some("Running") {
        return None;
    }
    let address: IpAddr = status.pod_ip.as_deref()?.parse().ok()?;
    let at = |port| SocketAddr::new(address, port);
    Some(Reach {
        addresses: Addresses {
            rtmp: at(PORTS.rtmp).to_string(),
            http: at(PORTS.http).to_string(),
            ops: at(PORTS.ops).to_string(),
        },
        ops: at(PORTS.ops),
        token: control_token(stores, resource)?,
    })
}

fn at_service(host: &str) -> Addresses {
    Addresses {
        rtmp: format!("{host}:{}", PORTS.rtmp),
        http: format!("{host}:{SERVICE_HTTP}"),
        ops: String::new(),
    }
}

fn bracketed(address: IpAddr) -> String {
    match address {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => format!("[{address}]"),
    }
}
