//! A plan that is renewed says what one made afresh would say, whatever happened, and leaves alone what nothing happened to.

use proptest::prelude::*;

use super::*;

/// Something that happens to a fleet of one origin, a middle pool, a pool below it, and one beside them.
#[derive(Clone, Debug)]
enum Happens {
    Published { stream: usize, epoch: u64 },
    Ended { stream: usize, reason: StreamEnd },
    Held { pool: usize, edge: usize, stream: usize },
    Passed { seconds: u64, silent: Vec<usize> },
    Restarted { streams: usize },
    SecondOrigin,
    Added { pool: usize, edge: usize, ready: bool },
    Heard { pool: usize, edge: usize },
    Gone { pool: usize, edge: usize },
    Moved { node: usize },
    Drained { pool: usize, edge: usize, viewers: u64 },
    TakenBack { pool: usize },
    Suspended { pool: usize, held: bool },
    OriginSuspended { held: bool },
    Narrowed { pool: usize, wide: bool },
    Expired,
}

const POOLS: [&str; 3] = ["mid", "low", "web"];

fn happens() -> impl Strategy<Value = Happens> {
    let reason = prop_oneof![Just(StreamEnd::Unpublished), Just(StreamEnd::Shutdown)];
    prop_oneof![
        (0..4usize, 1..4u64).prop_map(|(stream, epoch)| Happens::Published { stream, epoch }),
        (0..4usize, reason).prop_map(|(stream, reason)| Happens::Ended { stream, reason }),
        (0..3usize, 0..4usize, 0..5usize).prop_map(|(pool, edge, stream)| Happens::Held { pool, edge, stream }),
        (0..20u64, prop::collection::vec(0..14usize, 0..4))
            .prop_map(|(seconds, silent)| Happens::Passed { seconds, silent }),
        (0..4usize).prop_map(|streams| Happens::Restarted { streams }),
        Just(Happens::SecondOrigin),
        (0..3usize, 0..4usize, any::<bool>()).prop_map(|(pool, edge, ready)| Happens::Added { pool, edge, ready }),
        (0..3usize, 0..4usize).prop_map(|(pool, edge)| Happens::Heard { pool, edge }),
        (0..3usize, 0..4usize).prop_map(|(pool, edge)| Happens::Gone { pool, edge }),
        (0..14usize).prop_map(|node| Happens::Moved { node }),
        (0..3usize, 0..4usize, 0..2u64).prop_map(|(pool, edge, viewers)| Happens::Drained { pool, edge, viewers }),
        (0..3usize).prop_map(|pool| Happens::TakenBack { pool }),
        (0..3usize, any::<bool>()).prop_map(|(pool, held)| Happens::Suspended { pool, held }),
        any::<bool>().prop_map(|held| Happens::OriginSuspended { held }),
        (0..3usize, any::<bool>()).prop_map(|(pool, wide)| Happens::Narrowed { pool, wide }),
        Just(Happens::Expired),
    ]
}

impl Fleet {
    fn nth(&self, node: usize) -> Option<NodeId> {
        self.map.nodes().nth(node).map(|(id, _)| id.clone())
    }

    fn happen(&mut self, what: Happens) {
        let main = origin().node("main-0");
        let edge = |pool_at: usize, edge: usize| pool(POOLS[pool_at]).node(format!("{}-{edge}", POOLS[pool_at]));
        match what {
            Happens::Published { stream, epoch } => {
                self.up(&main, &format!("cam{stream}"), epoch, StreamSource::Publish)
            }
            Happens::Ended { stream, reason } => {
                let name = format!("cam{stream}");
                let down = StreamDown { name, epoch: 9, reason };
                self.map.apply(&main, Event::StreamDown(down), self.now);
            }
            Happens::Held { pool, edge: at, stream } => {
                self.up(&edge(pool, at), &format!("cam{stream}"), 1, StreamSource::Pull);
            }
            Happens::Passed { seconds, silent } => {
                let silent: Vec<NodeId> = silent.into_iter().filter_map(|node| self.nth(node)).collect();
                self.pass(seconds, &silent);
            }
            Happens::Restarted { streams } => {
                let held: Vec<_> = (0..streams)
                    .map(|i| stream(&format!("cam{i}"), 5, StreamSource::Publish))
                    .collect();
                let boot = format!("{:?}", self.now);
                self.boot(&origin(), "main-0", &boot, &held, true);
            }
            Happens::SecondOrigin => {
                let held = [stream("cam1", 7, StreamSource::Publish)];
                self.boot(&origin(), "main-1", "first", &held, true);
            }
            Happens::Added { pool: at, edge, ready } => {
                self.node(&pool(POOLS[at]), &format!("{}-{edge}", POOLS[at]), ready);
            }
            Happens::Heard { pool: at, edge: number } => {
                self.map.forget(&edge(at, number), self.now);
                self.map.track(edge(at, number), Addresses::default());
            }
            Happens::Gone { pool, edge: at } => self.map.forget(&edge(pool, at), self.now),
            Happens::Moved { node } => {
                if let Some(id) = self.nth(node) {
                    self.map.track(id, stable("elsewhere"));
                }
            }
            Happens::Drained {
                pool,
                edge: at,
                viewers,
            } => {
                if self.map.node(&edge(pool, at)).is_some() {
                    self.drain(&edge(pool, at), viewers);
                }
            }
            Happens::TakenBack { pool } => self.facts(POOLS[pool]).draining.clear(),
            Happens::Suspended { pool, held } => self.facts(POOLS[pool]).suspended = held,
            Happens::OriginSuspended { held } => {
                self.resources.origins.get_mut(&origin()).unwrap().suspended = held;
            }
            Happens::Narrowed { pool, wide } => {
                self.facts(POOLS[pool]).streams = vec![if wide { "*" } else { "cam1" }.to_owned()];
            }
            Happens::Expired => self.map.expire(self.now),
        }
    }
}

fn three_pools() -> Fleet {
    let mut fleet = Fleet::new()
        .pool("mid", origin(), 3)
        .pool("low", pool("mid"), 4)
        .pool("web", origin(), 3);
    fleet.publish(&["cam0", "cam1"]);
    fleet
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn a_renewed_plan_is_the_plan(story in prop::collection::vec(happens(), 1..40)) {
        let mut fleet = three_pools();
        let mut renewed = fleet.plan();
        for what in story {
            let told = what.clone();
            fleet.happen(what);
            let afresh = fleet.plan_after(&renewed.parents);
            let before = renewed.clone();
            renewed = renewed.renew(&fleet.map, &fleet.resources, fleet.now, |_| true);
            prop_assert_eq!(&renewed.pools, &afresh.pools, "after {:?}", told);
            prop_assert_eq!(&renewed.nodes, &afresh.nodes, "after {:?}", told);
            prop_assert_eq!(&renewed.parents, &afresh.parents, "after {:?}", told);
            for (id, set) in &renewed.nodes {
                // Below an origin one of two equal sets may be taken for all.
                if let Some(known) = before.nodes.get(id).filter(|known| *known == set)
                    && id.resource == pool("low")
                {
                    prop_assert!(set.is(known), "{id} was given an equal set anew after {told:?}");
                }
            }
        }
    }
}

#[test]
fn only_the_pools_below_a_changed_origin_are_planned_anew() {
    let mut fleet = three_pools();
    let other = ResourceId::origin("default", "other");
    let facts = Origin {
        app: "live".into(),
        ..Origin::default()
    };
    fleet.resources.origins.insert(other.clone(), facts);
    fleet.node(&other, "other-0", true);
    let mut fleet = fleet.pool("else", other.clone(), 2);
    let plan = fleet.plan();
    let same = plan.clone().renew(&fleet.map, &fleet.resources, fleet.now, |_| true);
    assert!(same.renewed.is_empty(), "{:?}", same.renewed);

    fleet.up(&other.node("other-0"), "cam9", 1, StreamSource::Publish);
    let next = same.renew(&fleet.map, &fleet.resources, fleet.now, |_| true);
    assert_eq!(next.renewed, BTreeSet::from([pool("else")]));
    for (id, set) in plan.nodes.iter().filter(|(id, _)| id.resource != pool("else")) {
        assert!(next.nodes[id].is(set));
    }
    let sets: Vec<_> = ["else-0", "else-1"]
        .map(|edge| &next.nodes[&pool("else").node(edge)])
        .into();
    assert!(sets[0].is(sets[1]), "edges below an origin share one set");
}

#[test]
fn what_edges_say_of_their_streams_and_figures_plans_nothing_anew_while_the_origin_is_heard() {
    let mut fleet = three_pools();
    let plan = fleet.plan();
    fleet.up(&pool("web").node("web-0"), "cam1", 1, StreamSource::Pull);
    fleet.pass(1, &[]);
    let plan = plan.renew(&fleet.map, &fleet.resources, fleet.now, |_| true);
    assert!(plan.renewed.is_empty(), "{:?}", plan.renewed);
    fleet.pass(3, &[origin().node("main-0")]);
    let plan = plan.renew(&fleet.map, &fleet.resources, fleet.now, |_| true);
    assert_eq!(plan.renewed.len(), 3, "silence alone is news");
    assert_eq!(verdict(&plan, "web"), Verdict::UpstreamSilent);
}

#[test]
fn a_hello_that_says_the_same_leaves_every_set_the_value_that_it_was() {
    let mut fleet = three_pools();
    let plan = fleet.plan();
    fleet.map.disconnected(&pool("web").node("web-0"));
    fleet.node(&pool("web"), "web-0", true);
    fleet.node(&pool("web"), "web-7", true);
    let next = plan.clone().renew(&fleet.map, &fleet.resources, fleet.now, |_| true);
    assert_eq!(next.renewed, BTreeSet::from([pool("web")]));
    assert!(plan.nodes.iter().all(|(id, set)| next.nodes[id].is(set)));
    assert!(next.nodes[&pool("web").node("web-7")].is(&plan.nodes[&pool("web").node("web-0")]));
}
