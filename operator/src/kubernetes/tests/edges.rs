//! Edges that run: scale-in from the drain to the pod's end, on nodes that speak the contract. In real time.

use std::collections::BTreeMap;

use headwater_contract::{DrainState, Role};

use super::*;
use crate::fake_node::{FakeNode, hello};
use crate::kubernetes::decide::names;

/// An API server with a pool, and its edges.
pub(super) struct World {
    pub(super) api: FakeApi,
    pub(super) nodes: BTreeMap<&'static str, FakeNode>,
}

impl World {
    /// A pool of three edges that serve, and the operator that made it.
    pub(super) async fn new() -> (Self, Running) {
        let api = both();
        let operator = Running::start(&api);
        until(&api, "the Deployment", || {
            replicas(&api, "web-edge").filter(|replicas| *replicas == 3)
        })
        .await;
        let mut world = Self {
            api,
            nodes: BTreeMap::new(),
        };
        for name in ["a", "b", "c"] {
            world.start(name).await;
        }
        world.until_ready(3).await;
        world.api.take_writes();
        (world, operator)
    }

    async fn start(&mut self, name: &'static str) {
        let node = FakeNode::start_as_pod(hello(name, Role::Edge)).await;
        let labels = names::labels(&crate::fleet::ResourceId::pool(fake_api::NAMESPACE, "web"));
        self.api.put(json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": labels},
            "status": {"phase": "Running", "podIP": node.ops.ip().to_string()},
        }));
        self.nodes.insert(name, node);
    }

    /// The pod and its node are gone.
    pub(super) fn end(&mut self, name: &str) {
        self.api.remove("Pod", name);
        self.nodes.remove(name);
    }

    async fn until_ready(&self, edges: u64) {
        until(&self.api, "ready edges", || {
            let pool = self.api.get("EdgePool", "web")?;
            (pool.pointer("/status/readyReplicas")?.as_u64() == Some(edges)).then_some(())
        })
        .await;
    }

    pub(super) fn scale(&self, replicas: u32) {
        self.api
            .edit("EdgePool", "web", |pool| pool["spec"]["replicas"] = json!(replicas));
    }

    /// The annotation of a pod.
    pub(super) fn annotation(&self, pod: &str, key: &str) -> Option<String> {
        let pod = self.api.get("Pod", pod)?;
        Some(pod["metadata"]["annotations"].get(key)?.as_str()?.to_owned())
    }

    /// The pod drains since a minute ago, by its annotations and by its node, as another leader has left it.
    fn drains(&self, name: &str) {
        let now = jiff::Timestamp::now();
        let (since, deadline) = (now - Duration::from_secs(60), now + Duration::from_secs(600));
        let annotations = json!({names::DRAIN_SINCE: since.to_string(), names::DRAIN_DEADLINE: deadline.to_string()});
        let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "annotations": annotations}});
        self.api.apply_as(apply::FIELD_MANAGER, &pod);
        self.nodes[name].figures(|figures| {
            figures.ready = false;
            figures.drain = Some(DrainState { since, deadline });
        });
    }

    pub(super) fn was_told(&self, name: &str, what: &str) -> bool {
        self.nodes[name].told().iter().any(|told| told.what.starts_with(what))
    }
}

pub(super) const DRAIN: &str = "PUT /v1/drain";
const SERVE: &str = "DELETE /v1/drain";

/// The first write that changed an object of this kind and name.
fn at(writes: &[Write], kind: &str, name: &str) -> Option<usize> {
    let mut writes = writes.iter().enumerate();
    writes
        .find(|(_, write)| write.changed && write.kind == kind && write.name == name)
        .map(|(at, _)| at)
}

#[tokio::test]
async fn a_drain_stands_as_an_annotation_before_the_node_is_told() {
    let (world, operator) = World::new().await;
    world.nodes["a"].figures(|figures| figures.viewers = 7);
    world.nodes["b"].figures(|figures| figures.viewers = 5);
    until(&world.api, "the viewers are known", || {
        let snapshot = operator.snapshots.borrow().clone();
        (snapshot.fleet.pools[0].viewers == 12).then_some(())
    })
    .await;
    world.api.refuse("Pod", 500, "etcdserver: request timed out");
    world.scale(2);
    let refused = || {
        let writes = world.api.take_writes();
        writes
            .iter()
            .any(|write| write.kind == "Pod" && write.code == 500)
            .then_some(())
    };
    for _ in 0..2 {
        until(&world.api, "an attempt to write the drain", refused).await;
    }
    assert!(world.nodes.keys().all(|name| !world.was_told(name, DRAIN)));
    world.api.accept();
    world.nodes["c"]
        .until_told(|told| told.iter().any(|told| told.what == DRAIN))
        .await;
    let deadline = world.annotation("c", names::DRAIN_DEADLINE).unwrap();
    let told = world.nodes["c"]
        .told()
        .into_iter()
        .find(|told| told.what == DRAIN)
        .unwrap();
    assert_eq!(told.body["deadline"], json!(deadline));
    assert!(
        world.annotation("a", names::DRAIN_DEADLINE).is_none(),
        "the least loaded one drains"
    );
    assert_eq!(
        replicas(&world.api, "web-edge"),
        Some(3),
        "the number falls when it is empty"
    );
}

#[tokio::test]
async fn a_new_leader_goes_on_with_a_drain_and_lowers_the_number_after_the_mark_was_read_back() {
    let (mut world, operator) = World::new().await;
    operator.stop().await;
    world.drains("b");
    world.scale(2);
    world.api.hold_watch("Pod", true);
    world.api.take_writes();
    let _operator = Running::start(&world.api);
    let mark = || world.annotation("b", names::DELETION_COST);
    assert_eq!(until(&world.api, "the mark", mark).await, names::LOWEST_COST);
    assert!(!world.was_told("b", SERVE), "its drain goes on");
    let look = || {
        world.api.edit("EdgePool", "web", |pool| {
            pool["metadata"]["annotations"] = json!({"look": "again"})
        })
    };
    look();
    tokio::time::sleep(Duration::from_millis(1_200)).await;
    assert_eq!(
        replicas(&world.api, "web-edge"),
        Some(3),
        "the mark was written, and not read back"
    );
    world.api.hold_watch("Pod", false);
    until(&world.api, "the number falls", || {
        replicas(&world.api, "web-edge").filter(|replicas| *replicas == 2)
    })
    .await;
    let writes = world.api.take_writes();
    assert!(
        at(&writes, "Pod", "b") < at(&writes, "Deployment", "web-edge"),
        "{writes:#?}"
    );
    world.end("b");
    let steady = || {
        let pool = world.api.get("EdgePool", "web")?;
        (pool.pointer("/status/replicas")?.as_u64() == Some(2)).then_some(())
    };
    until(&world.api, "two edges", steady).await;
    for name in ["a", "c"] {
        assert_eq!(world.annotation(name, names::DELETION_COST), None);
        assert!(!world.was_told(name, DRAIN));
    }
    assert_eq!(replicas(&world.api, "web-edge"), Some(2));
}

#[tokio::test]
async fn the_number_does_not_fall_during_a_rollout() {
    let (world, operator) = World::new().await;
    operator.stop().await;
    world.drains("b");
    world.scale(2);
    world.api.hold_watch("Pod", true);
    let _operator = Running::start(&world.api);
    until(&world.api, "the mark", || world.annotation("b", names::DELETION_COST)).await;
    // The mark stands and is not seen yet; then a new make of the pods begins.
    world.api.hold_rollouts(true);
    world.api.edit("EdgePool", "web", |pool| {
        pool["spec"]["template"] = json!({"labels": {"example.com/new": "make"}})
    });
    let rolling = || {
        let pool = condition(&world.api, "EdgePool", "web", "AbleToScale")?;
        (pool.1 == "RolloutUnderWay").then_some(())
    };
    until(&world.api, "the rollout is seen", rolling).await;
    world.api.hold_watch("Pod", false);
    tokio::time::sleep(Duration::from_millis(1_200)).await;
    assert_eq!(replicas(&world.api, "web-edge"), Some(3));
    world.api.hold_rollouts(false);
    until(&world.api, "the number falls", || {
        replicas(&world.api, "web-edge").filter(|replicas| *replicas == 2)
    })
    .await;
}

#[tokio::test]
async fn when_another_pod_went_the_plan_starts_afresh() {
    let (mut world, operator) = World::new().await;
    operator.stop().await;
    world.drains("b");
    world.scale(2);
    let _operator = Running::start(&world.api);
    until(&world.api, "the number falls", || {
        replicas(&world.api, "web-edge").filter(|replicas| *replicas == 2)
    })
    .await;
    // It was not ready at the wrong moment.
    world.end("a");
    let back = || {
        let drains = world.annotation("b", names::DRAIN_DEADLINE).is_some();
        let marked = world.annotation("b", names::DELETION_COST).is_some();
        (!drains && !marked).then_some(())
    };
    until(&world.api, "the edge that drained serves again", back).await;
    world.nodes["b"]
        .until_told(|told| told.iter().any(|told| told.what.starts_with(SERVE)))
        .await;
    world.nodes["b"].figures(|figures| {
        figures.ready = true;
        figures.drain = None;
    });
    world.until_ready(2).await;
    assert_eq!(replicas(&world.api, "web-edge"), Some(2));
}

#[tokio::test]
async fn a_pod_with_viewers_is_not_safe_to_evict() {
    let (world, _operator) = World::new().await;
    let guard = |name: &str| world.annotation(name, names::SAFE_TO_EVICT);
    world.nodes["a"].figures(|figures| figures.viewers = 1);
    let begun = tokio::time::Instant::now();
    until(&world.api, "the guard", || guard("a").filter(|guard| guard == "false")).await;
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
    assert_eq!(guard("b"), None);
    world.nodes["a"].figures(|figures| figures.viewers = 0);
    until(&world.api, "no guard", || {
        world.api.edit("EdgePool", "web", |pool| {
            pool["metadata"]["annotations"] = json!({"look": "again"})
        });
        guard("a").is_none().then_some(())
    })
    .await;
}

/// Before its nodes have said hello a new leader knows of none: it said so in every status, and took it back a moment later.
#[tokio::test]
async fn a_new_leader_says_nothing_of_nodes_that_it_has_not_heard_yet() {
    let (world, operator) = World::new().await;
    operator.stop().await;
    let before = world.api.get("EdgePool", "web").unwrap()["status"].clone();
    world.api.take_writes();
    let operator = Running::start(&world.api);
    until(&world.api, "the fleet is heard", || {
        let snapshot = operator.snapshots.borrow().clone();
        let ready = snapshot.fleet.pools.first().is_some_and(|pool| pool.ready == 3);
        ready.then_some(())
    })
    .await;
    tokio::time::sleep(Duration::from_millis(1_200)).await;
    let writes = world.api.take_writes();
    let statuses = writes
        .iter()
        .filter(|write| write.verb == "status" && write.kind == "EdgePool");
    assert_eq!(statuses.count(), 0, "{writes:#?}");
    assert_eq!(world.api.get("EdgePool", "web").unwrap()["status"], before);
}
