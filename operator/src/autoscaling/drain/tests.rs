//! Tests of scale-in by draining.

use proptest::prelude::*;

use super::super::{Draining, EdgeFigures};
use super::*;
use crate::fleet::ResourceId;

fn rules(desired: u32) -> Rules {
    Rules {
        desired,
        timeout: Duration::from_secs(1800),
        accept: Duration::from_secs(10),
        rollout: false,
    }
}

fn node(i: usize) -> NodeId {
    ResourceId::pool("default", "web").node(format!("web-{i}"))
}

/// Serving edges with these viewers, one megabit per second each.
fn pool(viewers: &[u64]) -> Pool {
    let edge = |(i, &viewers): (usize, &u64)| Edge {
        node: node(i),
        phase: Phase::Serving,
        draining: None,
        drain_seen: false,
        figures: Some(EdgeFigures {
            viewers,
            demand_bps: viewers * 1_000_000,
            ..Default::default()
        }),
    };
    Pool {
        replicas: u32::try_from(viewers.len()).unwrap(),
        edges: viewers.iter().enumerate().map(edge).collect(),
        leaving_bps: 0,
    }
}

fn draining(pool: &mut Pool, i: usize, since: Instant) {
    pool.edges[i].draining = Some(Draining {
        since,
        deadline: since + rules(0).timeout,
    });
    pool.edges[i].drain_seen = true;
}

fn later(now: Instant, seconds: u64) -> Instant {
    now + Duration::from_secs(seconds)
}

fn remove(i: usize, cause: Removal) -> Action {
    Action::Remove { node: node(i), cause }
}

#[test]
fn the_least_loaded_edges_drain_as_many_at_once_as_the_rule_allows() {
    let now = Instant::now();
    let deadline = now + rules(0).timeout;
    let start = |i| Action::StartDrain {
        node: node(i),
        deadline,
    };
    assert_eq!(
        step(&pool(&[9, 2, 7, 1, 8]), &rules(2), now),
        [start(3), start(1), start(2)]
    );
    assert_eq!(step(&pool(&[9, 2]), &rules(2), now), []);
}

#[test]
fn a_draining_edge_goes_when_it_is_empty_and_no_longer_accepts() {
    let now = Instant::now();
    let mut pool = pool(&[5, 5, 0]);
    draining(&mut pool, 2, now);
    assert_eq!(step(&pool, &rules(2), later(now, 9)), []);
    assert_eq!(step(&pool, &rules(2), later(now, 10)), [remove(2, Removal::Empty)]);
    pool.edges[2].drain_seen = false;
    assert_eq!(
        step(&pool, &rules(2), later(now, 10)),
        [],
        "the node has not been told yet"
    );
}

#[test]
fn viewers_relays_and_missing_figures_keep_a_draining_edge_until_its_deadline() {
    let now = Instant::now();
    let relays = EdgeFigures {
        relays: 1,
        ..Default::default()
    };
    let viewers = EdgeFigures {
        viewers: 1,
        ..Default::default()
    };
    for figures in [Some(relays), Some(viewers), None] {
        let mut pool = pool(&[5, 5, 0]);
        draining(&mut pool, 2, now);
        pool.edges[2].figures = figures;
        assert_eq!(step(&pool, &rules(2), later(now, 1799)), [], "{figures:?}");
        assert_eq!(
            step(&pool, &rules(2), later(now, 1800)),
            [remove(2, Removal::DeadlinePassed)]
        );
    }
}

#[test]
fn load_that_returns_takes_drains_back_before_new_edges_are_made() {
    let now = Instant::now();
    let mut pool = pool(&[5, 5, 3, 0, 4]);
    for i in 2..5 {
        draining(&mut pool, i, now);
    }
    let back = |i| Action::CancelDrain { node: node(i) };
    assert_eq!(
        step(&pool, &rules(4), later(now, 60)),
        [back(4), back(2), remove(3, Removal::Empty)]
    );
    assert_eq!(
        step(&pool, &rules(7), later(now, 60)),
        [back(4), back(2), back(3), Action::Add { edges: 2 }]
    );
}

#[test]
fn a_drain_past_its_deadline_or_of_a_silent_edge_is_not_taken_back() {
    let now = Instant::now();
    let mut pool = pool(&[5, 5, 3, 4]);
    draining(&mut pool, 2, now);
    draining(&mut pool, 3, now);
    pool.edges[3].figures = None;
    assert_eq!(step(&pool, &rules(3), later(now, 1800)), [Action::Add { edges: 1 }]);
}

#[test]
fn nothing_is_drained_or_removed_while_an_edge_is_coming_or_a_rollout_is_under_way() {
    let now = Instant::now();
    let mut settled = pool(&[5, 5, 4, 0]);
    draining(&mut settled, 3, now);
    let at = later(now, 60);
    assert_eq!(step(&settled, &rules(2), at).len(), 2);

    let mut starting = settled.clone();
    starting.edges[0].phase = Phase::Starting;
    let mut pending = settled.clone();
    pending.edges[0].phase = Phase::Pending;
    let mut short = settled.clone();
    short.replicas += 1;
    for unsettled in [starting, pending, short] {
        assert_eq!(step(&unsettled, &rules(2), at), []);
    }
    let rollout = Rules {
        rollout: true,
        ..rules(2)
    };
    assert_eq!(step(&settled, &rollout, at), []);
}

/// A draining edge whose process was restarted drains on and never turns ready.
#[test]
fn a_restarted_draining_edge_holds_nothing_up() {
    let now = Instant::now();
    let mut pool = pool(&[5, 5, 0]);
    draining(&mut pool, 2, now);
    pool.edges[2].phase = Phase::Starting;
    assert_eq!(step(&pool, &rules(2), later(now, 60)), [remove(2, Removal::Empty)]);
}

#[test]
fn an_edge_without_figures_is_never_chosen_to_drain() {
    let mut pool = pool(&[5, 5, 5]);
    pool.edges[0].figures = None;
    let actions = step(&pool, &rules(1), Instant::now());
    assert_eq!(actions.len(), 2);
    assert!(
        !actions
            .iter()
            .any(|action| matches!(action, Action::StartDrain { node: n, .. } if *n == node(0)))
    );
}

fn any_edge() -> impl Strategy<Value = (u8, Option<u64>, Option<u64>, bool)> {
    (
        0..6u8,
        prop::option::of(0..2_500u64),
        prop::option::weighted(0.8, 0..4u64),
        any::<bool>(),
    )
}

proptest! {
    #[test]
    fn a_step_goes_towards_the_wanted_number_and_never_past_it(
        edges in prop::collection::vec(any_edge(), 0..12),
        desired in 0..12u32,
        unmade in 0..3u32,
        rollout in any::<bool>(),
    ) {
        let now = Instant::now() + Duration::from_secs(10_000);
        let mut pool = pool(&vec![0; edges.len()]);
        pool.replicas += if unmade == 2 { 1 } else { 0 };
        for (edge, (phase, drained, viewers, seen)) in pool.edges.iter_mut().zip(edges) {
            edge.phase = match phase { 0 => Phase::Pending, 1 => Phase::Starting, _ => Phase::Serving };
            edge.draining = drained.map(|ago| {
                let since = now - Duration::from_secs(ago);
                Draining { since, deadline: since + Duration::from_secs(1800) }
            });
            edge.drain_seen = seen && edge.draining.is_some();
            edge.figures = viewers.map(|viewers| EdgeFigures { viewers, demand_bps: viewers, ..Default::default() });
        }
        let current = pool.current();
        let actions = step(&pool, &Rules { rollout, ..rules(desired) }, now);

        let (mut after, mut named, mut made) = (current, Vec::new(), false);
        for action in &actions {
            match action {
                Action::Add { edges } => { after += edges; made = true; }
                Action::CancelDrain { node } => { after += 1; named.push(node); }
                Action::StartDrain { node, deadline } => {
                    after -= 1;
                    prop_assert_eq!(*deadline, now + Duration::from_secs(1800));
                    named.push(node);
                }
                Action::Remove { node, .. } => {
                    let edge = pool.edges.iter().find(|edge| edge.node == *node).unwrap();
                    let drain = edge.draining.unwrap();
                    let empty = edge.figures.is_some_and(|figures| figures.is_empty());
                    prop_assert!(empty || now >= drain.deadline, "viewers cut before the deadline");
                    named.push(node);
                }
            }
        }
        if desired >= current {
            prop_assert_eq!(after, desired, "grows in one step");
        } else {
            prop_assert!(after >= desired && after <= current);
        }
        let downward = actions.iter().any(|a| matches!(a, Action::StartDrain { .. } | Action::Remove { .. }));
        prop_assert!(!downward || !(made || rollout || pool.unsettled()));
        let count = named.len();
        named.sort();
        named.dedup();
        prop_assert_eq!(named.len(), count, "one action an edge");
    }
}
