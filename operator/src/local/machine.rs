//! This machine as a platform: origins and edges are child processes on loopback, a load balancer stands before each pool.

mod pools;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use headwater_contract::Role;
use tokio::sync::Notify;
use tracing::{info, warn};

use super::addresses::{Addresses as Ports, Purpose};
use super::attach::Attached;
use super::certificates::Certificates;
use super::load_balancer::Target;
use super::processes::{Process, Spec, State};
use crate::fleet::link::ControlToken;
use crate::fleet::{Addresses, NodeId, ResourceId};
use crate::platform::{Drain, Error, NodeFacts, OriginWish, Platform, Reach, Wishes};
use pools::PoolFront;

/// How long an origin may take to end: it ends its publishers within 5 s.
const ORIGIN_PATIENCE: Duration = Duration::from_secs(10);
/// How long a node may take beyond its drain's deadline.
const AFTER_DEADLINE: Duration = Duration::from_secs(10);
/// How long all of them may take when the program ends, before they are told to end at once and, 1 s later, killed.
const LAST_PATIENCE: Duration = Duration::from_secs(4);

/// What the machine needs to know.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The `media-node` program.
    pub program: PathBuf,
    /// The control token of every child.
    pub token: ControlToken,
    /// Where that token stands.
    pub token_file: PathBuf,
    /// Folder that only this user can read, for certificates.
    pub secrets: PathBuf,
    /// Nodes that somebody else runs.
    pub attached: Vec<Attached>,
    /// Ports that are never handed out.
    pub reserved: Vec<u16>,
}

/// This machine.
#[derive(Debug)]
pub struct Machine {
    settings: Settings,
    ports: Ports,
    nodes: BTreeMap<NodeId, Owned>,
    /// Nodes that were told to end and have not yet. They are named no more.
    ending: Vec<(NodeId, Process)>,
    pools: BTreeMap<ResourceId, PoolFront>,
    certificates: Certificates,
    wake: Arc<Notify>,
}

/// A node of our own.
#[derive(Debug)]
struct Owned {
    spec: Spec,
    process: Process,
    drain: Option<Drain>,
}

impl Machine {
    /// A machine on which nothing runs.
    pub fn new(settings: Settings) -> Self {
        Self {
            ports: Ports::new(settings.reserved.iter().copied()),
            certificates: Certificates::new(&settings.secrets),
            settings,
            nodes: BTreeMap::new(),
            ending: Vec::new(),
            pools: BTreeMap::new(),
            wake: Arc::default(),
        }
    }

    /// Ends everything in order: load balancers first, so that edges empty at once; then every node, SIGTERM and, 5 s later,
    /// SIGKILL. Attached nodes are left as they are.
    pub async fn end(mut self) {
        self.pools.clear();
        let nodes = std::mem::take(&mut self.nodes);
        let processes: Vec<Process> = nodes
            .into_values()
            .map(|owned| owned.process)
            .chain(self.ending.drain(..).map(|(_, process)| process))
            .collect();
        for process in &processes {
            process.stop(LAST_PATIENCE);
        }
        for process in &processes {
            process.ended().await;
        }
    }

    fn keep_origin(&mut self, id: &ResourceId, wish: &OriginWish) -> Result<(), Error> {
        if self.is_attached(id) {
            return Ok(());
        }
        let node = id.node(format!("{}-1", id.name));
        if wish.spec.suspend {
            self.end_node(&node, ORIGIN_PATIENCE);
        }
        // A suspended origin has its address too: people keep it, and edges are made with it.
        let address = self.origin_port(id)?;
        if wish.spec.suspend {
            return Ok(());
        }
        self.keep_node(
            &node,
            Spec {
                program: self.settings.program.clone(),
                role: Role::Origin,
                name: node.name.clone(),
                app: wish.spec.app.as_str().to_owned(),
                rtmp: Some(address),
                token_file: self.settings.token_file.clone(),
                tls_folder: self.certificates.folder(id),
                upstreams: Vec::new(),
                flags: wish.spec.dvr.in_memory().flags(""),
            },
        );
        Ok(())
    }

    /// The port of an origin stays with it: its process may come and go.
    fn origin_port(&mut self, id: &ResourceId) -> Result<SocketAddr, Error> {
        let handed = self.ports.of(id, Purpose::OriginRtmp).map_err(failed("find a port"))?;
        self.tell_taken(id, Purpose::OriginRtmp, handed.taken, handed.address);
        Ok(handed.address)
    }

    fn tell_taken(&self, id: &ResourceId, purpose: Purpose, taken: Option<u16>, address: SocketAddr) {
        if let Some(port) = taken {
            warn!(
                resource = %id, protocol = purpose.protocol(), taken = port, instead = %address,
                "the default port is taken by another program; the next free one is used"
            );
        }
    }

    /// Runs a node as specified. One that runs otherwise is ended first: its successor needs its port.
    fn keep_node(&mut self, id: &NodeId, spec: Spec) {
        match self.nodes.get(id) {
            Some(owned) if owned.spec == spec => {}
            Some(_) => self.end_node(id, ORIGIN_PATIENCE),
            None if self.ending.iter().any(|(ending, _)| ending == id) => {}
            None => {
                let process = Process::start(spec.clone(), self.wake.clone());
                let owned = Owned {
                    spec,
                    process,
                    drain: None,
                };
                self.nodes.insert(id.clone(), owned);
            }
        }
    }

    fn end_node(&mut self, id: &NodeId, patience: Duration) {
        if let Some(owned) = self.nodes.remove(id) {
            info!(node = id.name, "a media node is told to end");
            owned.process.stop(patience);
            self.ending.push((id.clone(), owned.process));
        }
    }

    fn is_attached(&self, resource: &ResourceId) -> bool {
        self.settings.attached.iter().any(|node| node.id.resource == *resource)
    }

    fn nodes_of<'a>(&'a self, resource: &'a ResourceId) -> impl Iterator<Item = (&'a NodeId, &'a Owned)> {
        self.nodes.iter().filter(move |(id, _)| id.resource == *resource)
    }

    /// Where a node takes viewers, if it runs.
    fn target(&self, id: &NodeId) -> Option<Target> {
        if let Some(node) = self.settings.attached.iter().find(|node| node.id == *id) {
            return Some(Target {
                http: node.http,
                rtmp: node.rtmp,
            });
        }
        match self.nodes.get(id)?.process.state() {
            State::Up { ports, .. } => Some(Target {
                http: ports.http,
                rtmp: ports.rtmp,
            }),
            State::Down { .. } | State::Gone => None,
        }
    }

    fn facts(&self, id: &NodeId, owned: &Owned) -> NodeFacts {
        let reach = match owned.process.state() {
            State::Up { ports, .. } => Some(Reach {
                addresses: Addresses {
                    rtmp: ports.rtmp.to_string(),
                    http: ports.http.to_string(),
                    ops: ports.ops.to_string(),
                },
                ops: ports.ops,
                token: self.settings.token.clone(),
            }),
            State::Down { .. } | State::Gone => None,
        };
        NodeFacts {
            id: id.clone(),
            reach,
            drain: owned.drain,
            leaving: false,
        }
    }
}

impl Platform for Machine {
    async fn keep(&mut self, wishes: &Wishes) -> Result<(), Error> {
        self.ending.retain(|(_, process)| process.state() != State::Gone);
        let unwished: Vec<NodeId> = self
            .nodes
            .keys()
            .filter(|id| !wishes.origins.contains_key(&id.resource) && !wishes.pools.contains_key(&id.resource))
            .cloned()
            .collect();
        for id in unwished {
            let pool = self.pools.get(&id.resource);
            let patience = pool.map_or(ORIGIN_PATIENCE, |pool| pool.drain_timeout + AFTER_DEADLINE);
            self.end_node(&id, patience);
        }
        // One that fails must not keep the others from being made.
        let kept = self.certificates.keep(&wishes.certificates);
        let mut result = kept.map_err(failed("write a certificate"));
        for (id, wish) in &wishes.origins {
            result = result.and(self.keep_origin(id, wish));
        }
        // All load balancers first: a pool may be the upstream of another.
        for (id, spec) in &wishes.pools {
            let kept = self.keep_front(id, spec).await;
            result = result.and(kept);
        }
        for (id, spec) in &wishes.pools {
            self.keep_upstream(id, spec, wishes);
        }
        self.close_pools(wishes);
        result
    }

    fn nodes(&self) -> Vec<NodeFacts> {
        let attached = self.settings.attached.iter().map(|node| NodeFacts {
            id: node.id.clone(),
            reach: Some(node.reach.clone()),
            drain: None,
            leaving: false,
        });
        let mut nodes: Vec<NodeFacts> = self
            .nodes
            .iter()
            .map(|(id, owned)| self.facts(id, owned))
            .chain(attached)
            .collect();
        nodes.sort_by(|a, b| a.id.cmp(&b.id));
        nodes
    }

    fn addresses(&self, resource: &ResourceId) -> Addresses {
        if let Some(pool) = self.pools.get(resource) {
            return Addresses {
                rtmp: pool.rtmp.to_string(),
                http: pool.http.to_string(),
                ops: String::new(),
            };
        }
        if let Some(node) = self.settings.attached.iter().find(|node| node.id.resource == *resource) {
            return node.reach.addresses.clone();
        }
        let owned = self.nodes_of(resource).next();
        let running = owned.and_then(|(id, owned)| self.facts(id, owned).reach);
        running.map(|reach| reach.addresses).unwrap_or_else(|| Addresses {
            rtmp: self
                .ports
                .known(resource, Purpose::OriginRtmp)
                .map(|port| port.to_string())
                .unwrap_or_default(),
            ..Addresses::default()
        })
    }

    fn replicas(&self, pool: &ResourceId) -> u32 {
        let attached = self
            .settings
            .attached
            .iter()
            .filter(|node| node.id.resource == *pool)
            .count();
        u32::try_from(self.nodes_of(pool).count() + attached).unwrap_or(u32::MAX)
    }

    fn scales(&self, pool: &ResourceId) -> bool {
        !self.is_attached(pool)
    }

    async fn add(&mut self, pool: &ResourceId, edges: u32) -> Result<(), Error> {
        for _ in 0..edges {
            self.add_edge(pool)?;
        }
        Ok(())
    }

    async fn hold_drain(&mut self, node: &NodeId, drain: Option<Drain>) -> Result<(), Error> {
        if let Some(owned) = self.nodes.get_mut(node) {
            owned.drain = drain;
        }
        Ok(())
    }

    async fn remove(&mut self, node: &NodeId) -> Result<bool, Error> {
        let deadline = self
            .nodes
            .get(node)
            .and_then(|owned| owned.drain)
            .map(|drain| drain.plan.deadline);
        let now: Instant = tokio::time::Instant::now().into_std();
        let left = deadline
            .map(|deadline| deadline.saturating_duration_since(now))
            .unwrap_or_default();
        self.end_node(node, left + AFTER_DEADLINE);
        Ok(true)
    }

    fn wake(&self) -> Arc<Notify> {
        self.wake.clone()
    }

    fn route(&mut self, pool: &ResourceId, serving: &[NodeId]) {
        let targets = serving.iter().filter_map(|id| self.target(id)).collect();
        if let Some(front) = self.pools.get(pool) {
            front.balancer.set_targets(targets);
        }
    }
}

fn failed<E: std::fmt::Display>(step: &'static str) -> impl FnOnce(E) -> Error {
    move |error| Error {
        step,
        reason: error.to_string(),
    }
}

#[cfg(test)]
mod tests;
