//! The plan alone: a map of the whole fleet in memory, a full plan, and plans of one changed stream.

use std::time::{Duration, Instant};

use headwater::fleet::Addresses;
use headwater::fleet::map::FleetMap;
use headwater::replication::{Origin, Plan, Pool, Resources};
use headwater_contract::{Event, Role, StreamDown, StreamEnd};
use serde::{Deserialize, Serialize};

use crate::process::{memory_mib, say};
use crate::scene::{Scene, hello, stream};

/// What plans of a fleet take.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Figures {
    /// A plan from nothing, milliseconds.
    pub(crate) full_ms: f64,
    /// The slowest of twenty plans with one stream more or fewer, milliseconds.
    pub(crate) one_ms: f64,
    /// The slowest of twenty plans with nothing changed, milliseconds.
    pub(crate) none_ms: f64,
    /// Memory of map and plan for each edge, KiB.
    pub(crate) edge_kib: f64,
}

fn addresses(host: &str) -> Addresses {
    Addresses {
        rtmp: format!("{host}:1935"),
        http: format!("{host}:8080"),
        ops: format!("{host}:8081"),
    }
}

fn resources(scene: &Scene) -> Resources {
    let mut resources = Resources::default();
    for at in 0..scene.origins {
        let origin = Origin {
            suspended: false,
            app: "live".into(),
            stable: addresses(&format!("stable-{at}")),
        };
        resources.origins.insert(scene.origin(at), origin);
    }
    for at in 0..scene.pools {
        let pool = Pool {
            suspended: false,
            upstream: scene.upstream(at),
            mode: Default::default(),
            streams: vec!["*".into()],
            idle_timeout_seconds: 60,
            stable: addresses(&format!("stable-web-{at}")),
            draining: Default::default(),
        };
        resources.pools.insert(scene.pool(at), pool);
    }
    resources
}

fn map(scene: &Scene, now: Instant) -> FleetMap {
    let mut map = FleetMap::default();
    for (at, (id, role, origin)) in scene.nodes().into_iter().enumerate() {
        map.track(id.clone(), addresses(&format!("node-{at:04}")));
        let streams = scene.names(origin).iter().map(|name| stream(name, role)).collect();
        map.apply(&id, Event::Hello(hello(&id.name, role, streams)), now);
    }
    map
}

fn millis(took: Duration) -> f64 {
    took.as_secs_f64() * 1_000.0
}

/// Does something: how long it took, in milliseconds.
fn timed<T>(work: impl FnOnce() -> T) -> (T, f64) {
    let begun = Instant::now();
    let result = work();
    (result, millis(begun.elapsed()))
}

/// Measures and says it.
pub(crate) fn run(scene: &Scene) {
    let now = Instant::now();
    let (before, _) = memory_mib(std::process::id());
    let (mut map, resources) = (map(scene, now), resources(scene));
    let (mut plan, full_ms) = timed(|| Plan::default().renew(&map, &resources, now, |_| true));
    assert_eq!(plan.nodes.len(), scene.all_edges());
    assert!(plan.nodes.values().all(|set| set.pulls.len() == scene.streams));
    let (after, _) = memory_mib(std::process::id());
    let (mut one_ms, mut none_ms) = (0.0_f64, 0.0_f64);
    for round in 0..20 {
        let at = round % scene.origins;
        let origin = scene.origin(at).node(format!("main-{at:02}-0"));
        let changed = match round / scene.origins % 2 {
            0 => Event::StreamUp(stream("another", Role::Origin)),
            _ => Event::StreamDown(StreamDown {
                name: "another".into(),
                epoch: u64::MAX,
                reason: StreamEnd::Unpublished,
            }),
        };
        map.apply(&origin, changed, now);
        let (renewed, took) = timed(|| plan.renew(&map, &resources, now, |_| true));
        plan = renewed;
        one_ms = one_ms.max(took);
        assert_eq!(plan.renewed.len(), scene.pools / scene.origins);
        let (renewed, took) = timed(|| plan.renew(&map, &resources, now, |_| true));
        plan = renewed;
        none_ms = none_ms.max(took);
        assert!(plan.renewed.is_empty());
    }
    say(&Figures {
        full_ms,
        one_ms,
        none_ms,
        edge_kib: (after - before) * 1024.0 / scene.all_edges() as f64,
    });
}
