//! The loop against fake nodes on real ports, on a platform that makes them.

mod scaling;

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use headwater_contract::{Event, NodeFigures, Role, StreamDown, StreamEnd, StreamSource, StreamState};

use super::*;
use crate::fake_node::{FakeNode, TOKEN, Told, hello};
use crate::fleet::Addresses;
use crate::fleet::link::ControlToken;
use crate::local::manifests::{self, ManifestFile};
use crate::platform::{Drain, Error, NodeFacts, OriginWish, Reach, origin_id, pool_id};

/// A fake node and its drain.
type Made = (Arc<FakeNode>, Option<Drain>);

/// What stands where the test can see it.
#[derive(Default)]
struct World {
    nodes: Mutex<BTreeMap<NodeId, Made>>,
    routed: Mutex<Vec<NodeId>>,
    made: Mutex<u32>,
    /// Nodes that do not answer yet.
    deaf: Mutex<BTreeSet<NodeId>>,
    /// The nodes are somebody else's.
    foreign: AtomicBool,
    /// No edge can be made.
    full: AtomicBool,
}

/// A platform whose nodes are fakes.
struct Fakes(Arc<World>);

impl World {
    async fn make(&self, resource: &ResourceId, role: Role) -> NodeId {
        self.make_holding(resource, role, &[]).await
    }

    async fn make_holding(&self, resource: &ResourceId, role: Role, streams: &[StreamState]) -> NodeId {
        let number = {
            let mut made = self.made.lock().unwrap();
            *made += 1;
            *made
        };
        let id = resource.node(format!("{}-{number}", resource.name));
        let mut hello = hello(&id.name, role);
        hello.streams = streams.to_vec();
        let node = FakeNode::start(hello).await;
        self.nodes.lock().unwrap().insert(id.clone(), (Arc::new(node), None));
        id
    }

    fn of(&self, resource: &ResourceId) -> Vec<(NodeId, Arc<FakeNode>)> {
        let nodes = self.nodes.lock().unwrap();
        let of = nodes.iter().filter(|(id, _)| id.resource == *resource);
        of.map(|(id, (node, _))| (id.clone(), node.clone())).collect()
    }
}

impl Platform for Fakes {
    async fn keep(&mut self, wishes: &Wishes) -> Result<(), Error> {
        for id in wishes.origins.keys() {
            if self.0.of(id).is_empty() {
                self.0.make(id, Role::Origin).await;
            }
        }
        Ok(())
    }

    fn nodes(&self) -> Vec<NodeFacts> {
        let nodes = self.0.nodes.lock().unwrap();
        let deaf = self.0.deaf.lock().unwrap();
        let facts = nodes.iter().map(|(id, (node, drain))| NodeFacts {
            id: id.clone(),
            reach: Some(Reach {
                addresses: Addresses {
                    rtmp: node.ops.to_string(),
                    http: node.ops.to_string(),
                    ops: node.ops.to_string(),
                },
                ops: node.ops,
                token: ControlToken::new(if deaf.contains(id) { "refused" } else { TOKEN }),
            }),
            drain: *drain,
            leaving: false,
        });
        facts.collect()
    }

    fn addresses(&self, _: &ResourceId) -> Addresses {
        Addresses {
            rtmp: "127.0.0.1:1".into(),
            http: "127.0.0.1:2".into(),
            ops: String::new(),
        }
    }

    fn replicas(&self, pool: &ResourceId) -> u32 {
        self.0.of(pool).len().try_into().unwrap()
    }

    fn scales(&self, _: &ResourceId) -> bool {
        !self.0.foreign.load(Ordering::Relaxed)
    }

    async fn add(&mut self, pool: &ResourceId, edges: u32) -> Result<(), Error> {
        if self.0.full.load(Ordering::Relaxed) {
            let reason = "full".to_owned();
            return Err(Error {
                step: "make an edge",
                reason,
            });
        }
        for _ in 0..edges {
            self.0.make(pool, Role::Edge).await;
        }
        Ok(())
    }

    async fn hold_drain(&mut self, node: &NodeId, drain: Option<Drain>) -> Result<(), Error> {
        self.0.nodes.lock().unwrap().get_mut(node).unwrap().1 = drain;
        Ok(())
    }

    async fn remove(&mut self, node: &NodeId) -> Result<bool, Error> {
        self.0.nodes.lock().unwrap().remove(node);
        Ok(true)
    }

    fn wake(&self) -> Arc<tokio::sync::Notify> {
        Arc::default()
    }

    fn route(&mut self, _: &ResourceId, serving: &[NodeId]) {
        *self.0.routed.lock().unwrap() = serving.to_vec();
    }
}

fn wishes(pool: &str) -> Arc<Wishes> {
    let text = format!(
        "apiVersion: headwater.dev/v1alpha1\nkind: StreamOrigin\nmetadata: {{name: main}}\nspec:\n  publish: {{keysSecret: keys}}\n  dvr: {{minutes: 10}}\n  groups: ['{{group}}_{{variant}}']\n  \
         pulls: [{{stream: fetched, url: 'rtmp://127.0.0.1:3/live/x'}}]\n---\napiVersion: v1\nkind: Secret\nmetadata: {{name: keys}}\n\
         stringData: {{cam1: s3cret}}\n---\napiVersion: headwater.dev/v1alpha1\nkind: EdgePool\nmetadata: {{name: web}}\nspec:\n  \
         upstream: {{kind: StreamOrigin, name: main}}\n{pool}\n"
    );
    let file = ManifestFile {
        name: "test".into(),
        text,
    };
    let manifests = manifests::read(&[file]).unwrap();
    let origins = manifests.origins.iter().map(|spec| {
        let wish = OriginWish {
            spec: spec.clone(),
            keys: manifests.publish_keys(spec),
        };
        (origin_id(&spec.key), wish)
    });
    Arc::new(Wishes {
        origins: origins.collect(),
        pools: manifests
            .pools
            .iter()
            .map(|spec| (pool_id(&spec.key), spec.clone()))
            .collect(),
        ..Wishes::default()
    })
}

const AUTO: &str = "  drainTimeoutSeconds: 600\n  autoscaling: {minReplicas: 2, maxReplicas: 5, capacityMbps: 10, scaleOutPercent: 70, \
    scaleInPercent: 40, scaleOutStabilizationSeconds: 0, scaleInStabilizationSeconds: 0}";

/// A loop that runs.
struct Running {
    world: Arc<World>,
    wishes: watch::Sender<Arc<Wishes>>,
    snapshots: watch::Receiver<Arc<Snapshot>>,
    metrics: Metrics,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn run(wished: Arc<Wishes>) -> Running {
    run_in(Arc::default(), wished)
}

/// A loop that finds a world in being.
fn run_in(world: Arc<World>, wished: Arc<Wishes>) -> Running {
    let settings = Settings {
        term: 5,
        longest_wait: Duration::from_millis(200),
    };
    let metrics = Metrics::new().unwrap();
    let control = Control::new(settings, Fakes(world.clone()), metrics.clone());
    let (wishes, seen) = watch::channel(wished);
    let snapshots = control.snapshots();
    let task = tokio::spawn(async move { drop(control.run(seen, std::future::pending()).await) });
    Running {
        world,
        wishes,
        snapshots,
        metrics,
        task,
    }
}

impl Running {
    /// Waits for a report that fits, at most 20 s.
    async fn until(&mut self, wanted: impl Fn(&Snapshot) -> bool) -> Arc<Snapshot> {
        let waited = async {
            while !wanted(&self.snapshots.borrow_and_update()) {
                self.snapshots.changed().await.unwrap();
            }
        };
        if tokio::time::timeout(Duration::from_secs(20), waited).await.is_err() {
            panic!("not in time: {:#?}", self.snapshots.borrow().fleet);
        }
        self.snapshots.borrow().clone()
    }

    fn edges(&self) -> Vec<(NodeId, Arc<FakeNode>)> {
        self.world.of(&ResourceId::pool("default", "web"))
    }

    fn origin(&self) -> Arc<FakeNode> {
        self.world.of(&ResourceId::origin("default", "main"))[0].1.clone()
    }
}

fn ready(edges: u32) -> impl Fn(&Snapshot) -> bool {
    move |snapshot| {
        let fleet = &snapshot.fleet;
        fleet.origins.first().is_some_and(|origin| origin.ready)
            && fleet.pools.first().is_some_and(|pool| pool.ready == edges)
    }
}

fn stream(name: &str, source: StreamSource) -> StreamState {
    StreamState {
        name: name.into(),
        epoch: 9,
        source,
        playable: true,
        video: None,
        audio: None,
        width: 0,
        height: 0,
        since: Timestamp::UNIX_EPOCH,
    }
}

fn loaded(mbps: u64, viewers: u64) -> NodeFigures {
    NodeFigures {
        ready: true,
        viewers,
        movable_viewers: viewers,
        sent_bps: mbps * 1_000_000,
        demand_bps: mbps * 1_000_000,
        ..Default::default()
    }
}

fn load(node: &FakeNode, mbps: u64, viewers: u64) {
    node.change(|hello| hello.figures = loaded(mbps, viewers));
    node.say(Event::Figures(loaded(mbps, viewers)));
}

fn last<'a>(told: &'a [Told], what: &str) -> Option<&'a Told> {
    told.iter().rev().find(|told| told.what.starts_with(what))
}

#[tokio::test]
async fn a_published_stream_goes_to_every_edge_and_its_end_too() {
    let mut running = run(wishes("  replicas: 2"));
    running.until(ready(2)).await;
    let origin = running.origin();
    origin.say(Event::StreamUp(stream("cam1", StreamSource::Publish)));
    for (_, edge) in running.edges() {
        let pulls =
            |told: &[Told]| last(told, "PUT /v1/pulls").is_some_and(|told| told.body["pulls"][0]["stream"] == "cam1");
        let told = edge.until_told(pulls).await;
        let sources = &last(&told, "PUT /v1/pulls").unwrap().body["pulls"][0]["sources"];
        assert_eq!(
            sources[0]["url"],
            format!("rtmp://{}/live/cam1", origin.ops),
            "the node's own address comes first"
        );
        assert_eq!(sources[1]["url"], "rtmp://127.0.0.1:1/live/cam1");
        edge.say(Event::StreamUp(stream("cam1", StreamSource::Pull)));
    }
    running
        .until(|snapshot| {
            snapshot.fleet.pools[0]
                .edges
                .iter()
                .all(|edge| edge.streams == ["live/cam1"])
        })
        .await;
    assert_eq!(running.metrics.replication_seconds.get_sample_count(), 1);
    let text = running.metrics.text().unwrap();
    assert!(
        text.contains(r#"headwater_edgepool_replicating{namespace="default",pool="web"} 1"#),
        "{text}"
    );
    origin.say(Event::StreamDown(StreamDown {
        name: "cam1".into(),
        epoch: 9,
        reason: StreamEnd::Unpublished,
    }));
    for (_, edge) in running.edges() {
        let empty =
            |told: &[Told]| last(told, "PUT /v1/pulls").is_some_and(|told| told.body["pulls"] == serde_json::json!([]));
        edge.until_told(empty).await;
    }
}

#[tokio::test]
async fn an_origin_gets_its_keys_and_the_streams_that_it_fetches() {
    let mut running = run(wishes("  replicas: 1"));
    running.until(ready(1)).await;
    let both = |told: &[Told]| last(told, "PUT /v1/publishing").is_some() && last(told, "PUT /v1/pulls").is_some();
    let told = running.origin().until_told(both).await;
    assert_eq!(
        last(&told, "PUT /v1/publishing").unwrap().body["keys"]["cam1"],
        "s3cret"
    );
    assert_eq!(last(&told, "PUT /v1/publishing").unwrap().body["dvrSeconds"], 600);
    assert_eq!(
        last(&told, "PUT /v1/publishing").unwrap().body["groups"],
        serde_json::json!(["{group}_{variant}"])
    );
    assert_eq!(
        last(&told, "PUT /v1/pulls").unwrap().body["pulls"][0]["stream"],
        "fetched"
    );
    assert!(running.snapshots.borrow().origins.values().all(|origin| origin.secured));
}

#[tokio::test]
async fn a_changed_manifest_takes_effect_at_once() {
    let mut running = run(wishes("  replicas: 1"));
    running.until(ready(1)).await;
    running.wishes.send_replace(wishes("  replicas: 3"));
    running.until(ready(3)).await;
    let without: Wishes = Wishes {
        pools: BTreeMap::new(),
        ..(*wishes("")).clone()
    };
    running.wishes.send_replace(Arc::new(without));
    running.until(|snapshot| snapshot.fleet.pools.is_empty()).await;
    let text = running.metrics.text().unwrap();
    assert!(
        !text.contains("headwater_edgepool_viewers{"),
        "a pool that is gone has no figures"
    );
}

/// The edge that was heard last was told the streams of the others before its own were known, and ended the rest.
#[tokio::test]
async fn a_control_plane_that_starts_over_running_nodes_ends_no_pull_before_it_has_heard_them() {
    let (origin, web) = (
        ResourceId::origin("default", "main"),
        ResourceId::pool("default", "web"),
    );
    let published = ["cam1", "cam2"].map(|name| stream(name, StreamSource::Publish));
    let held = ["cam1", "cam2"].map(|name| stream(name, StreamSource::Pull));
    let world = Arc::new(World::default());
    let main = world.make_holding(&origin, Role::Origin, &published).await;
    world.make_holding(&web, Role::Edge, &held[..1]).await;
    let late = world.make_holding(&web, Role::Edge, &held).await;
    world.deaf.lock().unwrap().extend([main.clone(), late.clone()]);
    let mut running = run_in(world, wishes("  replicas: 2"));
    running
        .until(|snapshot| snapshot.fleet.pools.first().is_some_and(|pool| pool.ready == 1))
        .await;
    running.world.deaf.lock().unwrap().remove(&late);
    running.until(|snapshot| snapshot.fleet.pools[0].ready == 2).await;
    running.world.deaf.lock().unwrap().remove(&main);
    running.until(|snapshot| snapshot.fleet.origins[0].ready).await;
    for (id, edge) in running.edges() {
        let told = edge.until_told(|told| last(told, "PUT /v1/pulls").is_some()).await;
        if id == late {
            let sets = told.iter().filter(|told| told.what == "PUT /v1/pulls");
            let whole = |told: &Told| told.body["pulls"].as_array().is_some_and(|pulls| pulls.len() == 2);
            assert!(sets.clone().all(whole), "a pull was ended: {told:?}");
        }
    }
}

#[tokio::test]
async fn without_anybody_who_wishes_the_last_wishes_are_kept_and_nodes_are_heard() {
    let mut running = run(wishes("  replicas: 1"));
    running.until(ready(1)).await;
    drop(std::mem::replace(&mut running.wishes, watch::channel(Arc::default()).0));
    running
        .origin()
        .say(Event::StreamUp(stream("cam1", StreamSource::Publish)));
    running.edges()[0]
        .1
        .until_told(|told| last(told, "PUT /v1/pulls").is_some_and(|told| told.body["pulls"][0]["stream"] == "cam1"))
        .await;
}
