//! Tests of the rebalance, among them runs against a load balancer that places movers at random.

use proptest::prelude::*;

use super::super::{Draining, Edge};
use super::*;
use crate::fleet::ResourceId;

const BITRATE: u64 = 1_000_000;

/// 100 viewers fill an edge.
fn rule() -> Autoscaling {
    Autoscaling {
        min_replicas: 2,
        max_replicas: 10,
        capacity_bps: 100 * BITRATE,
        scale_out_percent: 70,
        scale_in_percent: 40,
        scale_out_stabilization: Duration::ZERO,
        scale_in_stabilization: Duration::ZERO,
    }
}

fn pool(viewers: &[u64]) -> Pool {
    let edge = |(i, &viewers): (usize, &u64)| Edge {
        node: ResourceId::pool("default", "web").node(format!("web-{i}")),
        phase: Phase::Serving,
        draining: None,
        drain_seen: false,
        figures: Some(EdgeFigures {
            viewers,
            movable: viewers,
            demand_bps: viewers * BITRATE,
            ..Default::default()
        }),
    };
    Pool {
        replicas: u32::try_from(viewers.len()).unwrap(),
        edges: viewers.iter().enumerate().map(edge).collect(),
        leaving_bps: 0,
    }
}

fn asked(orders: &[Order]) -> Vec<(&str, u32)> {
    orders.iter().map(|order| (&*order.node.name, order.viewers)).collect()
}

#[test]
fn nothing_moves_without_a_scale_out() {
    let mut rebalance = Rebalance::default();
    assert_eq!(rebalance.step(&pool(&[100, 0]), &rule(), None, Instant::now()), []);
    assert!(rebalance.is_dormant());
}

#[test]
fn nothing_moves_before_the_new_edges_serve() {
    let (mut rebalance, now) = (Rebalance::default(), Instant::now());
    let mut pool = pool(&[100, 0]);
    pool.edges[1].phase = Phase::Starting;
    assert_eq!(rebalance.step(&pool, &rule(), Some(now), now), []);
    pool.edges[1].phase = Phase::Serving;
    assert_eq!(asked(&rebalance.step(&pool, &rule(), Some(now), now)), [("web-0", 5)]);
}

#[test]
fn a_scale_out_whose_edges_never_serve_is_given_up() {
    let (mut rebalance, now) = (Rebalance::default(), Instant::now());
    let mut pool = pool(&[100, 0]);
    pool.edges[1].phase = Phase::Pending;
    rebalance.step(&pool, &rule(), Some(now), now);
    assert!(!rebalance.is_dormant());
    rebalance.step(&pool, &rule(), Some(now), now + WAITS);
    assert!(rebalance.is_dormant());
}

#[test]
fn only_edges_above_the_threshold_are_asked_and_draining_ones_are_left_out() {
    let (mut rebalance, now) = (Rebalance::default(), Instant::now());
    let mut pool = pool(&[71, 70, 0, 100]);
    pool.edges[3].draining = Some(Draining {
        since: now,
        deadline: now,
    });
    assert_eq!(asked(&rebalance.step(&pool, &rule(), Some(now), now)), [("web-0", 3)]);
}

#[test]
fn a_beat_that_comes_a_little_early_is_not_left_out() {
    let (mut rebalance, now) = (Rebalance::default(), Instant::now());
    let pool = pool(&[100, 0]);
    for beat_ms in [0, 998, 2_001, 2_999] {
        let at = now + Duration::from_millis(beat_ms);
        assert_eq!(
            asked(&rebalance.step(&pool, &rule(), Some(now), at)),
            [("web-0", 5)],
            "{beat_ms}"
        );
    }
}

#[test]
fn five_percent_a_second_and_one_viewer_at_least_however_often_it_looks() {
    let (mut rebalance, now) = (Rebalance::default(), Instant::now());
    let mut few = pool(&[8, 0]);
    for edge in &mut few.edges {
        let figures = edge.figures.as_mut().unwrap();
        figures.demand_bps *= 10;
    }
    assert_eq!(asked(&rebalance.step(&few, &rule(), Some(now), now)), [("web-0", 1)]);
    for millis in [1, 250, 800] {
        assert_eq!(
            rebalance.step(&few, &rule(), Some(now), now + Duration::from_millis(millis)),
            []
        );
    }
    assert_eq!(
        rebalance
            .step(&few, &rule(), Some(now), now + Duration::from_secs(1))
            .len(),
        1
    );
}

#[test]
fn viewers_that_cannot_move_are_not_asked() {
    let (mut rebalance, now) = (Rebalance::default(), Instant::now());
    let mut pool = pool(&[100, 0]);
    pool.edges[0].figures.as_mut().unwrap().movable = 2;
    assert_eq!(asked(&rebalance.step(&pool, &rule(), Some(now), now)), [("web-0", 2)]);
    pool.edges[0].figures.as_mut().unwrap().movable = 0;
    assert_eq!(
        rebalance.step(&pool, &rule(), Some(now), now + Duration::from_secs(1)),
        []
    );
}

#[test]
fn an_edge_goes_on_below_the_threshold_until_it_is_within_ten_percent_of_the_mean() {
    let (mut rebalance, now) = (Rebalance::default(), Instant::now());
    let at = |s| now + Duration::from_secs(s);
    rebalance.step(&pool(&[80, 0]), &rule(), Some(now), now);
    assert_eq!(rebalance.step(&pool(&[60, 20]), &rule(), Some(now), at(5)).len(), 1);
    assert_eq!(rebalance.step(&pool(&[44, 36]), &rule(), Some(now), at(10)), []);
    assert_eq!(
        rebalance.step(&pool(&[36, 64]), &rule(), Some(now), at(15)),
        [],
        "the other was never above the threshold"
    );
    assert_eq!(
        rebalance.step(&pool(&[60, 20]), &rule(), Some(now), at(20)).len(),
        1,
        "it took in others' movers"
    );
}

#[test]
fn it_ends_and_a_new_scale_out_starts_it_again() {
    let (mut rebalance, now) = (Rebalance::default(), Instant::now());
    rebalance.step(&pool(&[100, 0]), &rule(), Some(now), now);
    assert_eq!(rebalance.step(&pool(&[100, 0]), &rule(), Some(now), now + LASTS), []);
    assert!(rebalance.is_dormant());
    let again = now + LASTS + Duration::from_secs(1);
    assert_eq!(rebalance.step(&pool(&[100, 0]), &rule(), Some(again), again).len(), 1);
}

/// Runs a rebalance against random placement, movers leaving `delay` seconds after they were asked.
/// Answers the seconds until the last order, all orders, and the viewers of each edge at the end.
fn run(mut viewers: Vec<u64>, delay: u64, seed: u64) -> (u64, u64, Vec<u64>) {
    let (mut rebalance, now) = (Rebalance::default(), Instant::now());
    let (mut random, mut leaving) = (seed | 1, VecDeque::new());
    let (mut last, mut total) = (0, 0);
    for second in 0..=LASTS.as_secs() {
        while leaving.front().is_some_and(|&(at, _)| at <= second) {
            let Some((_, from)) = leaving.pop_front() else { break };
            random = random
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            let to = usize::try_from((random >> 33) % viewers.len() as u64).unwrap();
            let from: usize = from;
            viewers[from] -= 1;
            viewers[to] += 1;
        }
        let at = now + Duration::from_secs(second);
        for order in rebalance.step(&pool(&viewers), &rule(), Some(now), at) {
            let edge: usize = order.node.name.trim_start_matches("web-").parse().unwrap();
            last = second;
            total += u64::from(order.viewers);
            leaving.extend((0..order.viewers).map(|_| (second + delay, edge)));
        }
    }
    assert!(rebalance.is_dormant());
    (last, total, viewers)
}

#[test]
fn two_full_edges_and_two_new_ones_even_out_within_a_minute() {
    let (last, total, viewers) = run(vec![100, 100, 0, 0], 2, 7);
    println!("rebalance 100,100,0,0: last order after {last} s, {total} moves for 100 needed, ends at {viewers:?}");
    assert!(last < 60 && total < 300, "{last} s, {total} moves");
    assert!(viewers.iter().all(|&count| (38..=62).contains(&count)), "{viewers:?}");
}

proptest! {
    #[test]
    fn it_converges_and_stops_with_random_placement(
        full in prop::collection::vec(71..140u64, 1..4),
        new in 1..5usize,
        delay in 1..4u64,
        seed in any::<u64>(),
    ) {
        let mut start = full.clone();
        start.extend(vec![0; new]);
        let mean = start.iter().sum::<u64>() as f64 / start.len() as f64;
        prop_assume!(mean * 1.1 < 70.0);
        let excess: f64 = full.iter().map(|&count| count as f64 - mean).sum();
        let (last, total, viewers) = run(start, delay, seed);
        prop_assert!(last < LASTS.as_secs(), "orders to the end: {:?}", viewers);
        // Those asked in the last moment may be placed back, so that one or two above the 10 % are left.
        for (edge, _) in full.iter().enumerate() {
            prop_assert!(viewers[edge] as f64 <= mean * 1.1 + 2.0, "edge {} of {:?}", edge, viewers);
        }
        // A mover comes back with the share of the full edges, so that several tries per viewer are the price.
        prop_assert!((total as f64) < excess * 6.0 + 20.0, "{} moves for an excess of {}", total, excess);
    }
}
