//! The control plane over the fake nodes, on a platform that has them all already.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use headwater::control::{Control, Settings};
use headwater::fleet::link::ControlToken;
use headwater::fleet::{Addresses, NodeId, ResourceId};
use headwater::local::manifests::{self, ManifestFile};
use headwater::metrics::Metrics;
use headwater::platform::{Drain, Error, NodeFacts, OriginWish, Platform, Reach, Wishes, origin_id, pool_id};
use serde::{Deserialize, Serialize};
use tokio::sync::{Notify, watch};

use crate::nodes::{Said, TOKEN, Told};
use crate::process::{Part, Running, cpu_seconds, memory_mib, say};
use crate::scene::Scene;

/// Streams that are published, and ended, one after the other.
const PUBLISHED: usize = 20;

/// Several times the same.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) max: f64,
}

/// What the control plane takes.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Figures {
    /// From the start until every edge was told all its streams, seconds.
    pub(crate) start_seconds: f64,
    /// From an origin's event of a new stream until the last edge below it was told, milliseconds, while each node sends
    /// figures of itself each second.
    pub(crate) delivered_ms: Spread,
    /// The same while those of each of its streams change each second too.
    pub(crate) delivered_busy_ms: Spread,
    /// Resident memory after all this, MiB.
    pub(crate) rss_mib: f64,
    /// The most that it was, MiB.
    pub(crate) peak_mib: f64,
    /// Processor seconds a second while each node sends figures of itself each second.
    pub(crate) cpu_quiet: f64,
    /// The same while those of each of its streams change each second too.
    pub(crate) cpu_busy: f64,
}

/// A platform whose nodes were there before.
struct Standing(Vec<NodeFacts>);

impl Standing {
    fn addresses(at: impl std::fmt::Display) -> Addresses {
        Addresses {
            rtmp: format!("127.0.0.1:{at}"),
            http: format!("127.0.0.1:{at}"),
            ops: format!("127.0.0.1:{at}"),
        }
    }
}

impl Platform for Standing {
    async fn keep(&mut self, _: &Wishes) -> Result<(), Error> {
        Ok(())
    }

    fn nodes(&self) -> Vec<NodeFacts> {
        self.0.clone()
    }

    fn addresses(&self, _: &ResourceId) -> Addresses {
        Self::addresses(1935)
    }

    fn replicas(&self, pool: &ResourceId) -> u32 {
        let from = self.0.partition_point(|facts| facts.id.resource < *pool);
        let to = self.0.partition_point(|facts| facts.id.resource <= *pool);
        u32::try_from(to - from).unwrap()
    }

    fn scales(&self, _: &ResourceId) -> bool {
        true
    }

    async fn add(&mut self, pool: &ResourceId, edges: u32) -> Result<(), Error> {
        panic!("{edges} edges are added to {pool}");
    }

    async fn hold_drain(&mut self, node: &NodeId, _: Option<Drain>) -> Result<(), Error> {
        panic!("{node} is drained");
    }

    async fn remove(&mut self, node: &NodeId) -> Result<bool, Error> {
        panic!("{node} is removed");
    }

    fn wake(&self) -> Arc<Notify> {
        Arc::default()
    }

    fn route(&mut self, _: &ResourceId, _: &[NodeId]) {}
}

fn wishes(scene: &Scene) -> Wishes {
    let file = ManifestFile {
        name: "size".into(),
        text: scene.manifests(),
    };
    let manifests = manifests::read(&[file]).unwrap();
    let origins = manifests.origins.iter().map(|spec| {
        let wish = OriginWish {
            spec: spec.clone(),
            keys: None,
        };
        (origin_id(&spec.key), wish)
    });
    Wishes {
        origins: origins.collect::<BTreeMap<_, _>>(),
        pools: manifests
            .pools
            .iter()
            .map(|spec| (pool_id(&spec.key), spec.clone()))
            .collect(),
        ..Wishes::default()
    }
}

fn facts(scene: &Scene, ports: &[u16]) -> Vec<NodeFacts> {
    let fact = |((id, ..), port): ((NodeId, _, _), &u16)| NodeFacts {
        id,
        reach: Some(Reach {
            addresses: Standing::addresses(port),
            ops: SocketAddr::from(([127, 0, 0, 1], *port)),
            token: ControlToken::new(TOKEN),
        }),
        drain: None,
        leaving: false,
    };
    scene.nodes().into_iter().zip(ports).map(fact).collect()
}

fn spread(mut of: Vec<f64>) -> Spread {
    of.sort_by(f64::total_cmp);
    Spread {
        median: of[of.len() / 2],
        max: of[of.len() - 1],
    }
}

/// Measures and says it.
pub(crate) fn run(scene: &Scene, steady_seconds: u64) {
    rlimit::increase_nofile_limit(u64::MAX).unwrap();
    let mut nodes = Running::start(&Part::Nodes { scene: scene.clone() });
    let Said::Ports(ports) = nodes.hear() else {
        panic!("the nodes have no ports");
    };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let settings = Settings {
        term: 1,
        longest_wait: Duration::from_secs(2),
    };
    let metrics = Metrics::new().unwrap();
    let control = Control::new(settings, Standing(facts(scene, &ports)), metrics.clone());
    let (_wishes, seen) = watch::channel(Arc::new(wishes(scene)));
    let begun = Instant::now();
    runtime.spawn(async move { drop(control.run(seen, std::future::pending()).await) });
    let said: Said = nodes.hear();
    assert!(matches!(said, Said::Full), "{said:?}");
    let start_seconds = begun.elapsed().as_secs_f64();
    let mut cpu = [0.0; 2];
    let mut delivered = [Vec::new(), Vec::new()];
    for (at, of_streams) in [true, false].into_iter().enumerate() {
        nodes.tell(&Told::Figures { of_streams });
        let pause = |millis| runtime.block_on(async move { tokio::time::sleep(Duration::from_millis(millis)).await });
        pause(2_000);
        let (before, since) = (cpu_seconds(), Instant::now());
        pause(steady_seconds * 1_000);
        cpu[at] = (cpu_seconds() - before) / since.elapsed().as_secs_f64();
        for round in 0..PUBLISHED {
            let (origin, name) = (round % scene.origins, format!("another-{at}-{round}"));
            let mut wait = |told: &Told| -> f64 {
                nodes.tell(told);
                match nodes.hear() {
                    Said::Delivered { millis } => millis,
                    said => panic!("{said:?}"),
                }
            };
            let published = Told::Publish {
                origin,
                name: name.clone(),
            };
            delivered[at].push(wait(&published));
            pause(137);
            wait(&Told::Unpublish { origin, name });
            pause(137);
        }
    }
    assert!(metrics.replication_seconds.get_sample_count() >= PUBLISHED as u64);
    let (rss_mib, peak_mib) = memory_mib();
    let [busy, quiet] = delivered;
    say(&Figures {
        start_seconds,
        delivered_ms: spread(quiet),
        delivered_busy_ms: spread(busy),
        rss_mib,
        peak_mib,
        cpu_busy: cpu[0],
        cpu_quiet: cpu[1],
    });
}
