//! The operator itself, as a program, between the API server in memory and the fake nodes: what it takes, and what it writes.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use fake_api::FakeApi;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::nodes::{Figures, Said, Told};
use crate::process::{Part, Running, cpu_seconds, memory_mib};
use crate::scene::{Scene, pod};

/// Streams that are published, and ended, one after the other.
const PUBLISHED: usize = 20;
/// Nothing but the Lease was written for so long: statuses have taken in all that the start had to say. Longer than the 10 s
/// between two statuses for figures' sake.
const QUIET: Duration = Duration::from_secs(11);
/// Longest wait for that.
const PATIENCE: Duration = Duration::from_secs(300);
/// How many streams have come to play on every edge.
const REPLICATED: &str = "headwater_replication_seconds_count";

/// Several times the same.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) max: f64,
}

/// What was written to the API server for a while, by verb and kind.
#[derive(Clone, Debug, Default)]
pub(crate) struct Writes {
    pub(crate) seconds: f64,
    pub(crate) of: BTreeMap<(&'static str, &'static str), usize>,
}

impl Writes {
    /// All but those of the Lease.
    pub(crate) fn all(&self) -> usize {
        let counted = self.of.iter().filter(|((_, kind), _)| *kind != "Lease");
        counted.map(|(_, count)| count).sum()
    }

    /// The same a second.
    pub(crate) fn a_second(&self) -> f64 {
        self.all() as f64 / self.seconds
    }
}

/// What the operator takes.
#[derive(Clone, Debug)]
pub(crate) struct Measured {
    /// From the program's start until every edge was told all its streams, seconds.
    pub(crate) start_seconds: f64,
    /// From an origin's event of a new stream until the last edge below it was told, milliseconds, while viewers are steady.
    pub(crate) delivered_ms: Spread,
    /// The same while the figures of each node's streams change each second too.
    pub(crate) delivered_busy_ms: Spread,
    /// Resident memory after all this, MiB.
    pub(crate) rss_mib: f64,
    /// The most that it was, MiB.
    pub(crate) peak_mib: f64,
    /// Processor seconds a second while viewers are steady.
    pub(crate) cpu_steady: f64,
    /// The same while the figures of each node's streams change each second too.
    pub(crate) cpu_busy: f64,
    /// The same while every status has something new to say whenever it may.
    pub(crate) cpu_moving: f64,
    /// Writes until everything stands.
    pub(crate) writes_at_start: Writes,
    /// Writes while viewers are steady.
    pub(crate) writes_steady: Writes,
    /// Writes while every status has something new to say whenever it may.
    pub(crate) writes_moving: Writes,
}

/// The program; killed when dropped.
struct Operator {
    child: Child,
    ops: SocketAddr,
    _folder: TempDir,
}

impl Drop for Operator {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Operator {
    fn start(api: SocketAddr) -> Self {
        let folder = TempDir::with_prefix("headwater-size-").unwrap();
        let kubeconfig = folder.path().join("kubeconfig");
        let config = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "size",
            "clusters": [{"name": "size", "cluster": {"server": format!("http://{api}")}}],
            "users": [{"name": "size", "user": {}}],
            "contexts": [{"name": "size", "context": {"cluster": "size", "user": "size"}}],
        });
        std::fs::write(&kubeconfig, config.to_string()).unwrap();
        let ops = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_headwater"))
            .args(["operator", "--log", "warn", "--ops-listen", &ops.to_string()])
            .env("KUBECONFIG", &kubeconfig)
            .spawn()
            .unwrap();
        Self {
            child,
            ops,
            _folder: folder,
        }
    }

    /// A metric without labels.
    fn metric(&self, name: &str) -> f64 {
        let mut stream = TcpStream::connect(self.ops).unwrap();
        stream
            .write_all(b"GET /metrics HTTP/1.1\r\nhost: size\r\nconnection: close\r\n\r\n")
            .unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value.unwrap_or_else(|| panic!("no {name}")).parse().unwrap()
    }

    fn cpu_seconds(&self) -> f64 {
        cpu_seconds(self.child.id())
    }
}

/// Everything of one measurement.
struct Stage<'a> {
    scene: &'a Scene,
    runtime: Runtime,
    api: FakeApi,
    nodes: Running,
    operator: Operator,
}

impl Stage<'_> {
    fn pause(&self, pause: Duration) {
        self.runtime.block_on(async move { tokio::time::sleep(pause).await });
    }

    fn take_writes(&self, since: Instant) -> Writes {
        let mut writes = Writes {
            seconds: since.elapsed().as_secs_f64(),
            ..Writes::default()
        };
        for write in self.api.take_writes() {
            assert!(write.code == 200, "{write:?}");
            *writes.of.entry((write.verb, write.kind)).or_default() += 1;
        }
        writes
    }

    /// What is written until nothing has been for a while.
    fn until_quiet(&self, begun: Instant) -> Writes {
        let mut all = Writes::default();
        let mut quiet_since = Instant::now();
        while quiet_since.elapsed() < QUIET {
            assert!(begun.elapsed() < PATIENCE, "it never comes to rest: {all:?}");
            self.pause(Duration::from_millis(100));
            let new = self.take_writes(begun);
            if new.all() > 0 {
                quiet_since = Instant::now();
                all.seconds = new.seconds;
            }
            for (what, count) in new.of {
                *all.of.entry(what).or_default() += count;
            }
        }
        all
    }

    /// What is written, and the processor's part, in so many seconds while figures change like this.
    fn steady(&mut self, figures: Figures, settle: Duration, seconds: u64) -> (Writes, f64) {
        self.nodes.tell(&Told::Figures(figures));
        self.pause(settle);
        let (begun, before) = (Instant::now(), self.operator.cpu_seconds());
        self.take_writes(begun);
        self.pause(Duration::from_secs(seconds));
        let cpu = (self.operator.cpu_seconds() - before) / begun.elapsed().as_secs_f64();
        (self.take_writes(begun), cpu)
    }

    /// Publishes streams one after the other, and ends them: how long until the last edge was told of each.
    fn publish(&mut self, prefix: &str) -> Spread {
        let mut delivered: Vec<f64> = (0..PUBLISHED)
            .map(|round| {
                let (origin, name) = (round % self.scene.origins, format!("{prefix}-{round}"));
                let replicated = self.operator.metric(REPLICATED);
                let published = self.deliver(&Told::Publish {
                    origin,
                    name: name.clone(),
                });
                // What ends before every edge has said that it plays is not counted.
                let deadline = Instant::now() + Duration::from_secs(2);
                while self.operator.metric(REPLICATED) == replicated && Instant::now() < deadline {
                    self.pause(Duration::from_millis(20));
                }
                self.deliver(&Told::Unpublish { origin, name });
                published
            })
            .collect();
        delivered.sort_by(f64::total_cmp);
        Spread {
            median: delivered[PUBLISHED / 2],
            max: delivered[PUBLISHED - 1],
        }
    }

    fn deliver(&mut self, told: &Told) -> f64 {
        self.nodes.tell(told);
        let millis = match self.nodes.hear() {
            Said::Delivered { millis } => millis,
            said => panic!("{said:?}"),
        };
        self.pause(Duration::from_millis(137));
        millis
    }
}

/// Measures it, counting for so many seconds wherever something is counted.
pub(crate) fn measure(scene: &Scene, seconds: u64) -> Measured {
    let mut nodes = Running::start(&Part::Nodes { scene: scene.clone() });
    let Said::Addresses(addresses) = nodes.hear() else {
        panic!("the nodes have no addresses");
    };
    let (runtime, api) = (Runtime::new().unwrap(), FakeApi::new());
    for object in scene.resources().into_iter().chain(pods(scene, &addresses)) {
        api.put(object);
    }
    let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
    let address = listener.local_addr().unwrap();
    runtime.spawn(api.clone().listen(listener));
    let begun = Instant::now();
    let mut stage = Stage {
        scene,
        runtime,
        api,
        nodes,
        operator: Operator::start(address),
    };
    let said: Said = stage.nodes.hear();
    assert!(matches!(said, Said::Full), "{said:?}");
    let start_seconds = begun.elapsed().as_secs_f64();
    let writes_at_start = stage.until_quiet(begun);
    // Steady viewers were there from the start: what their figures had to say is said.
    let (writes_steady, cpu_steady) = stage.steady(Figures::Steady, Duration::ZERO, seconds);
    let delivered_ms = stage.publish("steady");
    // The processor's part alone shows in less.
    let (_, cpu_busy) = stage.steady(Figures::OfStreams, Duration::from_secs(2), seconds / 3);
    let delivered_busy_ms = stage.publish("busy");
    let (writes_moving, cpu_moving) = stage.steady(Figures::Moving, QUIET, seconds);
    let published = stage.operator.metric(REPLICATED);
    assert!(published >= PUBLISHED as f64, "{published}");
    let (rss_mib, peak_mib) = memory_mib(stage.operator.child.id());
    Measured {
        start_seconds,
        delivered_ms,
        delivered_busy_ms,
        rss_mib,
        peak_mib,
        cpu_steady,
        cpu_busy,
        cpu_moving,
        writes_at_start,
        writes_steady,
        writes_moving,
    }
}

fn pods<'a>(scene: &Scene, addresses: &'a [Ipv4Addr]) -> impl Iterator<Item = serde_json::Value> + 'a {
    let nodes = scene.nodes().into_iter().zip(addresses);
    nodes.map(|((id, ..), address)| pod(&id, *address))
}
