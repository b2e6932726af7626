//! An operator that is killed at any write of a scale-in, on nodes with viewers: whoever comes after it ends at the same objects.
//! In real time, many at once.

use std::collections::BTreeSet;

use fake_api::{Failure, When};
use futures_util::future::join_all;

use super::edges::{DRAIN, World};
use super::*;
use crate::kubernetes::decide::names;

/// Worlds that live at the same time.
const AT_ONCE: usize = 32;
/// Longest life of one: a drain alone takes the ten seconds that load balancers are given.
const LIFE: Duration = Duration::from_secs(240);
/// Nothing was written for so long: what figures had to say was said, which may take ten seconds.
const REST: Duration = Duration::from_secs(12);
/// Time between two looks.
const LOOK: Duration = Duration::from_millis(100);
/// Viewers of each edge; the last is the one that stays.
const VIEWERS: [(&str, u64); 3] = [("a", 3), ("b", 5), ("c", 7)];

/// A scale-in from three edges to one, from the first viewer to the last write.
struct ScaleIn {
    world: World,
    operator: Running,
    born: tokio::time::Instant,
    /// Edges whose viewers have moved on.
    left: BTreeSet<&'static str>,
    deaths: usize,
}

impl ScaleIn {
    async fn new() -> Self {
        let (world, operator) = World::new().await;
        Self {
            world,
            operator,
            born: tokio::time::Instant::now(),
            left: BTreeSet::new(),
            deaths: 0,
        }
    }

    /// Plays it; the objects that are there at last.
    async fn play(&mut self) -> Vec<Value> {
        for (name, viewers) in VIEWERS {
            self.world.nodes[name].figures(|figures| figures.viewers = viewers);
        }
        self.until("every edge with viewers is guarded", |world| {
            VIEWERS
                .iter()
                .all(|(name, _)| world.annotation(name, names::SAFE_TO_EVICT).is_some())
        })
        .await;
        self.world.scale(1);
        self.until("one edge is left, and its viewers are told of", |world| {
            let pool = world.api.get("EdgePool", "web").unwrap();
            let edges = pool["status"]["edges"].as_array().cloned().unwrap_or_default();
            world.nodes.len() == 1 && edges.len() == 1 && pool["status"]["viewers"] == 7
        })
        .await;
        let (mut written, mut since) = (self.world.api.writes(), tokio::time::Instant::now());
        while since.elapsed() < REST {
            self.live("nothing is written any more").await;
            if self.world.api.writes() != written {
                (written, since) = (self.world.api.writes(), tokio::time::Instant::now());
            }
        }
        lasting(&self.world.api)
    }

    /// Lives on until a condition holds.
    async fn until(&mut self, what: &str, holds: impl Fn(&World) -> bool) {
        while !holds(&self.world) {
            self.live(what).await;
        }
    }

    /// The cluster does its part, viewers who are asked to move do, and a dead operator is followed by another.
    async fn live(&mut self, awaited: &str) {
        tokio::time::sleep(LOOK).await;
        assert!(
            self.born.elapsed() < LIFE,
            "not in time: {awaited}; {:#?}\n{:#?}",
            self.world.api.take_writes(),
            lasting(&self.world.api)
        );
        if self.operator.caller.is_dead() {
            self.operator = Running::start(&self.world.api);
            self.deaths += 1;
        }
        for (name, _) in VIEWERS {
            let there = self.world.nodes.contains_key(name) && !self.left.contains(name);
            if there && self.world.was_told(name, DRAIN) {
                self.left.insert(name);
                self.world.nodes[name].figures(|figures| figures.viewers = 0);
            }
        }
        self.remove_surplus();
    }

    /// What the controller of ReplicaSets does: the pods of the lowest cost go, whoever watches them.
    fn remove_surplus(&mut self) {
        let replicas = replicas(&self.world.api, "web-edge").unwrap();
        while self.world.nodes.len() as u64 > replicas {
            let cost = |name: &&'static str| -> i64 {
                let cost = self.world.annotation(name, names::DELETION_COST);
                cost.map_or(0, |cost| cost.parse().unwrap())
            };
            let cheapest = self.world.nodes.keys().copied().min_by_key(cost).unwrap();
            assert!(self.left.contains(cheapest), "{cheapest} goes with its viewers");
            self.world.end(cheapest);
        }
    }

    /// The annotations that the write was about at which the operator died.
    fn died_for(&self) -> BTreeSet<String> {
        let writes = self.world.api.take_writes();
        let fatal = writes.into_iter().filter(|write| write.code == 0);
        fatal.flat_map(|write| write.annotations).collect()
    }
}

/// The objects without what differs from one world to the next.
fn lasting(api: &FakeApi) -> Vec<Value> {
    let mut objects = api.normal();
    for pod in objects.iter_mut().filter(|object| object["kind"] == "Pod") {
        pod["status"]["podIP"].take();
    }
    objects
}

/// A scale-in whose operator was to be killed at one write.
struct Life {
    number: usize,
    /// There was such a write.
    died: bool,
    /// The annotations that it was about.
    of: BTreeSet<String>,
    /// The objects that were there at last.
    left: Vec<Value>,
}

async fn killed_at(number: usize, when: When) -> Life {
    let mut scale_in = ScaleIn::new().await;
    scale_in.world.api.fail_write(number, when, Failure::Death);
    let left = scale_in.play().await;
    let died = scale_in.deaths > 0;
    assert_eq!(scale_in.deaths, usize::from(died), "killed {when:?} write {number}");
    let of = scale_in.died_for();
    Life { number, died, of, left }
}

/// Kills an operator at each write that there is, and one at a write that there is not.
async fn killed_at_each(when: When) -> (When, Vec<Life>) {
    let mut lives: Vec<Life> = Vec::new();
    while lives.iter().all(|life| life.died) {
        let next = lives.len() + 1;
        lives.extend(join_all((next..next + AT_ONCE).map(|number| killed_at(number, when))).await);
    }
    (when, lives)
}

#[tokio::test]
async fn killed_at_any_write_of_a_scale_in_the_next_operator_ends_at_the_same_objects() {
    let undisturbed = async { ScaleIn::new().await.play().await };
    let every = [When::Before, When::After].map(killed_at_each);
    let (right, every) = tokio::join!(undisturbed, join_all(every));
    for (when, lives) in every {
        for Life { number, left, .. } in &lives {
            for (got, right) in left.iter().zip(&right) {
                assert!(
                    got == right,
                    "killed {when:?} write {number}\n got   {got}\n right {right}"
                );
            }
            assert_eq!(left.len(), right.len(), "killed {when:?} write {number}");
        }
        let killed = lives.iter().filter(|life| life.died).count();
        let of: BTreeSet<String> = lives.into_iter().flat_map(|life| life.of).collect();
        println!(
            "figure: killed {when:?} each of {killed} writes of a scale-in, among them those of the annotations {of:?}"
        );
        assert!(killed > 10, "{killed}");
        for key in [
            names::DRAIN_SINCE,
            names::DRAIN_DEADLINE,
            names::DELETION_COST,
            names::SAFE_TO_EVICT,
        ] {
            assert!(of.contains(key), "never killed at a write of {key}: {of:?}");
        }
    }
}
