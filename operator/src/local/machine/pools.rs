//! Pools on this machine: their load balancers and their edges.

use std::net::SocketAddr;
use std::time::Duration;

use headwater_contract::Role;
use tokio::net::TcpListener;

use super::{AFTER_DEADLINE, Error, Machine, failed};
use crate::api::edge_pool::UpstreamKind;
use crate::fleet::ResourceId;
use crate::local::addresses::Purpose;
use crate::local::load_balancer::LoadBalancer;
use crate::local::processes::{Process, Spec};
use crate::platform::{Platform, Wishes};
use crate::validate::ValidPool;

/// How often another port is tried when the one that was free a moment ago is not.
const TRIES: u32 = 5;
/// Longest chain of pools that is followed up to the origin; a circle ends here.
const LONGEST_CHAIN: usize = 32;

/// What stands before a pool, and what its next edge is made of.
#[derive(Debug)]
pub(super) struct PoolFront {
    pub(super) balancer: LoadBalancer,
    pub(super) http: SocketAddr,
    pub(super) rtmp: SocketAddr,
    pub(super) drain_timeout: Duration,
    /// None while its upstream is not known: no edge can be made.
    upstream: Option<Upstream>,
    /// Names are not used twice: what is remembered of an edge that is gone must not be taken for its successor's.
    made: u32,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Upstream {
    url: String,
    app: String,
}

impl Machine {
    /// Puts a load balancer before the pool.
    pub(super) async fn keep_front(&mut self, id: &ResourceId, spec: &ValidPool) -> Result<(), Error> {
        if let Some(front) = self.pools.get_mut(id) {
            front.drain_timeout = spec.drain_timeout;
            return Ok(());
        }
        let (http, http_address) = self.listen(id, Purpose::PoolHttp).await?;
        let (rtmp, rtmp_address) = self.listen(id, Purpose::PoolRtmp).await?;
        let front = PoolFront {
            balancer: LoadBalancer::start(id.name.clone(), http, rtmp),
            http: http_address,
            rtmp: rtmp_address,
            drain_timeout: spec.drain_timeout,
            upstream: None,
            made: 0,
        };
        self.pools.insert(id.clone(), front);
        Ok(())
    }

    /// Notes what the pool's next edge is to pull from, and ends edges of another app: an edge serves one for as long as
    /// it lives.
    pub(super) fn keep_upstream(&mut self, id: &ResourceId, spec: &ValidPool, wishes: &Wishes) {
        let upstream = self.upstream(spec, wishes);
        let Some(front) = self.pools.get_mut(id) else { return };
        front.upstream = upstream;
        let Some(app) = front.upstream.as_ref().map(|upstream| upstream.app.clone()) else {
            return;
        };
        let stale: Vec<_> = self
            .nodes_of(id)
            .filter(|(_, owned)| owned.spec.app != app)
            .map(|(id, _)| id.clone())
            .collect();
        for node in stale {
            self.end_node(&node, AFTER_DEADLINE);
        }
    }

    /// Closes the load balancers of pools that are not wished any more, once their last edge has gone.
    pub(super) fn close_pools(&mut self, wishes: &Wishes) {
        let ending = &self.ending;
        self.pools.retain(|id, front| {
            let wished = wishes.pools.contains_key(id);
            if !wished {
                front.balancer.set_targets(Vec::new());
            }
            wished || ending.iter().any(|(node, _)| node.resource == *id)
        });
    }

    pub(super) fn add_edge(&mut self, pool: &ResourceId) -> Result<(), Error> {
        let front = self.pools.get_mut(pool);
        let Some((front, upstream)) = front.and_then(|front| front.upstream.clone().map(|upstream| (front, upstream)))
        else {
            return Err(Error {
                step: "make an edge",
                reason: format!("{pool} has no upstream with an address yet"),
            });
        };
        front.made += 1;
        let node = pool.node(format!("{}-{}", pool.name, front.made));
        let spec = Spec {
            program: self.settings.program.clone(),
            role: Role::Edge,
            name: node.name.clone(),
            app: upstream.app,
            rtmp: None,
            token_file: self.settings.token_file.clone(),
            tls_folder: self.certificates.folder(pool),
            upstreams: vec![upstream.url],
            flags: Vec::new(),
        };
        let process = Process::start(spec.clone(), self.wake.clone());
        let owned = super::Owned {
            spec,
            process,
            drain: None,
        };
        self.nodes.insert(node, owned);
        Ok(())
    }

    /// Listens on the pool's port for this purpose.
    async fn listen(&mut self, id: &ResourceId, purpose: Purpose) -> Result<(TcpListener, SocketAddr), Error> {
        let mut last = String::new();
        for _ in 0..TRIES {
            let handed = self.ports.of(id, purpose).map_err(failed("find a port"))?;
            match TcpListener::bind(handed.address).await {
                Ok(listener) => {
                    self.tell_taken(id, purpose, handed.taken, handed.address);
                    return Ok((listener, handed.address));
                }
                Err(error) => {
                    // Taken between the look and now.
                    last = error.to_string();
                    self.ports.give_back(id, purpose);
                }
            }
        }
        Err(Error {
            step: "listen",
            reason: last,
        })
    }

    /// Where the pool's edges pull from when nobody tells them, and the app of the origin at the top.
    fn upstream(&self, spec: &ValidPool, wishes: &Wishes) -> Option<Upstream> {
        let mut above = &spec.upstream;
        for _ in 0..LONGEST_CHAIN {
            match above.kind {
                UpstreamKind::EdgePool => above = &wishes.pools.get(&ResourceId::from(above))?.upstream,
                UpstreamKind::StreamOrigin => {
                    let app = wishes
                        .origins
                        .get(&ResourceId::from(above))?
                        .spec
                        .app
                        .as_str()
                        .to_owned();
                    let rtmp = self.addresses(&ResourceId::from(&spec.upstream)).rtmp;
                    let url = format!("rtmp://{rtmp}/{app}");
                    return (!rtmp.is_empty()).then_some(Upstream { url, app });
                }
            }
        }
        None
    }
}
