//! Tests of the scaling rule, one per sentence of it, and properties over random pools and loads.

use proptest::prelude::*;

use super::super::{Draining, Edge, EdgeFigures, Phase};
use super::*;
use crate::fleet::ResourceId;

const MBPS: u64 = 1_000_000;

fn rule() -> Autoscaling {
    Autoscaling {
        min_replicas: 2,
        max_replicas: 5,
        capacity_bps: 100 * MBPS,
        scale_out_percent: 70,
        scale_in_percent: 40,
        scale_out_stabilization: Duration::from_secs(15),
        scale_in_stabilization: Duration::from_secs(300),
    }
}

/// A pool of serving edges, each with these megabits per second of load, none standing for missing figures.
fn pool(loads: &[Option<u64>]) -> Pool {
    let edge = |(i, load): (usize, &Option<u64>)| Edge {
        node: ResourceId::pool("default", "web").node(format!("web-{i}")),
        phase: Phase::Serving,
        draining: None,
        drain_seen: false,
        figures: load.map(|load| EdgeFigures {
            demand_bps: load * MBPS,
            ..Default::default()
        }),
    };
    Pool {
        replicas: u32::try_from(loads.len()).unwrap(),
        edges: loads.iter().enumerate().map(edge).collect(),
        leaving_bps: 0,
    }
}

/// So many edges that share a load evenly, in megabits per second.
fn even(edges: u32, load: u64) -> Pool {
    let share = load / u64::from(edges.max(1));
    let mut pool = pool(&vec![Some(share); usize::try_from(edges).unwrap()]);
    if let Some(figures) = pool.edges.first_mut().and_then(|edge| edge.figures.as_mut()) {
        figures.demand_bps = (load - share * u64::from(edges.saturating_sub(1))) * MBPS;
    }
    pool
}

/// The verdicts of one second each while nothing but time changes.
fn watch(scaler: &mut Scaler, pool: &Pool, from: Instant, seconds: u64) -> Vec<Verdict> {
    let look = |s| {
        scaler.verdict(
            pool,
            &Mode::Auto(rule()),
            Pause::default(),
            from + Duration::from_secs(s),
        )
    };
    (0..seconds).map(look).collect()
}

fn settled(pool: &Pool) -> Verdict {
    *watch(&mut Scaler::default(), pool, Instant::now(), 302).last().unwrap()
}

#[test]
fn the_recommendation_follows_the_rule_at_and_around_its_thresholds() {
    for (load_mbps, n, expected) in [
        (140, 2, 2), // exactly 70 %: not above
        (141, 2, 3), // ceil(141 / 70)
        (350, 2, 5),
        (351, 2, 6),
        (80, 2, 2), // exactly 40 %: not below
        (79, 2, 2), // below, but one edge would be at 79 % and the midpoint is 55 %
        (55, 2, 1), // one edge at the midpoint
        (56, 2, 2),
        (110, 5, 2), // two edges at 55 %
        (111, 5, 3),
        (199, 5, 4), // four at 50 %
        (0, 5, 1),
        (0, 0, 0),
        (100, 0, 2),
    ] {
        assert_eq!(
            recommendation(load_mbps * MBPS, n, &rule()),
            expected,
            "{load_mbps} Mbit/s on {n}"
        );
    }
}

#[test]
fn the_larger_of_bits_sent_and_bits_wanted_counts() {
    let mut saturated = pool(&[Some(150), Some(0)]);
    saturated.edges[0].figures = Some(EdgeFigures {
        sent_bps: 100 * MBPS,
        demand_bps: 190 * MBPS,
        ..Default::default()
    });
    assert_eq!(settled(&saturated).load_bps, 190 * MBPS);
    saturated.edges[0].figures = Some(EdgeFigures {
        sent_bps: 160 * MBPS,
        demand_bps: 0,
        ..Default::default()
    });
    assert_eq!(settled(&saturated).desired, 3);
}

#[test]
fn load_of_draining_edges_counts_and_their_capacity_does_not() {
    let now = Instant::now();
    let mut pool = pool(&[Some(70), Some(70), Some(70)]);
    pool.edges[2].draining = Some(Draining {
        since: now,
        deadline: now,
    });
    let verdict = settled(&pool);
    assert_eq!((verdict.current, verdict.desired), (2, 3));
    assert_eq!(verdict.utilization_percent, Some(105.0));
}

#[test]
fn starting_edges_count_so_that_one_overload_is_answered_once() {
    let mut pool = pool(&[Some(100), Some(100)]);
    pool.replicas = 3;
    let verdict = settled(&pool);
    assert_eq!(
        (verdict.current, verdict.desired, verdict.reason),
        (3, 3, Reason::WithinBand)
    );
}

#[test]
fn a_scale_out_waits_for_its_window_and_takes_the_lowest_recommendation_in_it() {
    let (mut scaler, start) = (Scaler::default(), Instant::now());
    watch(&mut scaler, &even(2, 100), start, 1);
    let peak = watch(&mut scaler, &even(2, 350), start + Duration::from_secs(1), 10);
    assert!(
        peak.iter()
            .all(|verdict| verdict.desired == 2 && verdict.reason == Reason::ScaleOutStabilizing)
    );
    let lower = watch(&mut scaler, &even(2, 200), start + Duration::from_secs(11), 6);
    assert_eq!(lower[4].desired, 2, "the calm second is still in the window");
    assert_eq!((lower[5].desired, lower[5].reason), (3, Reason::LoadAboveScaleOut));
}

#[test]
fn a_scale_in_waits_for_its_window_and_takes_the_highest_recommendation_in_it() {
    let (mut scaler, start) = (Scaler::default(), Instant::now());
    watch(&mut scaler, &even(5, 300), start, 1);
    let quiet = watch(&mut scaler, &even(5, 50), start + Duration::from_secs(1), 200);
    assert!(
        quiet
            .iter()
            .all(|verdict| verdict.desired == 5 && verdict.reason == Reason::ScaleInStabilizing)
    );
    let busier = watch(&mut scaler, &even(5, 160), start + Duration::from_secs(201), 101);
    assert_eq!(busier[99].desired, 5);
    assert_eq!((busier[100].desired, busier[100].reason), (3, Reason::LoadBelowScaleIn));
}

#[test]
fn after_a_start_or_a_gap_nothing_happens_before_a_window_was_seen() {
    let (mut scaler, start) = (Scaler::default(), Instant::now());
    assert!(
        watch(&mut scaler, &even(5, 10), start, 300)
            .iter()
            .all(|verdict| verdict.desired == 5)
    );
    let later = start + Duration::from_secs(1000);
    assert!(
        watch(&mut scaler, &even(5, 10), later, 300)
            .iter()
            .all(|verdict| verdict.desired == 5)
    );
    assert_eq!(
        watch(&mut scaler, &even(5, 10), later + Duration::from_secs(300), 2)[1].desired,
        2
    );
}

#[test]
fn missing_figures_hold_a_scale_in_and_its_window_starts_anew() {
    let (mut scaler, start) = (Scaler::default(), Instant::now());
    let blind = pool(&[Some(1), None, Some(1), Some(1)]);
    let verdicts = watch(&mut scaler, &blind, start, 1000);
    assert!(
        verdicts
            .iter()
            .all(|verdict| verdict.desired == 4 && verdict.reason == Reason::FiguresMissing)
    );
    assert!(!verdicts[0].able_to_scale() && !verdicts[0].scaling_active());
    let seeing = watch(
        &mut scaler,
        &pool(&[Some(1); 4]),
        start + Duration::from_secs(1000),
        301,
    );
    assert!(seeing[..299].iter().all(|verdict| verdict.desired == 4));
    assert_eq!(seeing[300].desired, 2);
}

#[test]
fn missing_figures_do_not_hold_a_scale_out() {
    assert_eq!(settled(&pool(&[Some(100), Some(100), None])).desired, 3);
    assert_eq!(settled(&pool(&[Some(100), Some(130), None])).desired, 4);
}

#[test]
fn bounds_hold_at_once_and_are_told() {
    let first = |pool: &Pool| watch(&mut Scaler::default(), pool, Instant::now(), 1)[0];
    let few = first(&even(0, 0));
    assert_eq!((few.desired, few.reason), (2, Reason::BelowMinimum));
    let many = first(&even(7, 300));
    assert_eq!((many.desired, many.reason), (5, Reason::AboveMaximum));
    let full = settled(&even(5, 499));
    assert_eq!(
        (full.desired, full.limited, full.scaling_limited()),
        (5, Some(Limit::AtMaximum), true)
    );
    let idle = settled(&even(2, 0));
    assert_eq!((idle.desired, idle.limited), (2, Some(Limit::AtMinimum)));
}

#[test]
fn pauses_hold_their_direction_only() {
    let (mut scaler, start) = (Scaler::default(), Instant::now());
    let mut settle = |pool: &Pool, pause| {
        let mut last = None;
        for s in 0..302 {
            last = Some(scaler.verdict(pool, &Mode::Auto(rule()), pause, start + Duration::from_secs(s)));
        }
        scaler = Scaler::default();
        last.map(|verdict| (verdict.desired, verdict.reason)).unwrap()
    };
    let all = Pause {
        all: true,
        ..Default::default()
    };
    let scale_in = Pause {
        scale_in: true,
        ..Default::default()
    };
    let scale_out = Pause {
        scale_out: true,
        ..Default::default()
    };
    assert_eq!(settle(&even(2, 200), all), (2, Reason::Paused));
    assert_eq!(settle(&even(2, 200), scale_out), (2, Reason::ScaleOutPaused));
    assert_eq!(settle(&even(2, 200), scale_in), (3, Reason::LoadAboveScaleOut));
    assert_eq!(settle(&even(4, 10), scale_in), (4, Reason::ScaleInPaused));
    assert_eq!(settle(&even(4, 10), scale_out), (2, Reason::LoadBelowScaleIn));
    assert_eq!(
        settle(&Pool::default(), all),
        (2, Reason::BelowMinimum),
        "a pool without edges has no number to hold"
    );
}

#[test]
fn without_autoscaling_the_number_is_the_persons() {
    let verdict = Scaler::default().verdict(
        &even(2, 500),
        &Mode::Manual { replicas: 7 },
        Pause {
            all: true,
            ..Default::default()
        },
        Instant::now(),
    );
    assert_eq!(
        (verdict.desired, verdict.reason, verdict.scaling_active()),
        (7, Reason::Manual, false)
    );
    let suspended = Scaler::default().verdict(&even(2, 500), &Mode::Suspended, Pause::default(), Instant::now());
    assert_eq!((suspended.desired, suspended.reason), (0, Reason::Suspended));
}

#[test]
fn reasons_and_limits_read_back_as_they_print() {
    for reason in Reason::ALL {
        assert_eq!(reason.to_string().parse(), Ok(reason));
    }
    for limit in Limit::ALL {
        assert_eq!(limit.to_string().parse(), Ok(limit));
    }
}

fn any_rule() -> impl Strategy<Value = Autoscaling> {
    (1..20u32, 0..30u32, 1..2_000u64, 2..100u32, 0..120u64, 0..600u64).prop_flat_map(
        |(min, more, capacity, out, out_window, in_window)| {
            (1..out).prop_map(move |scale_in| Autoscaling {
                min_replicas: min,
                max_replicas: min + more,
                capacity_bps: capacity * MBPS,
                scale_out_percent: out,
                scale_in_percent: scale_in,
                scale_out_stabilization: Duration::from_secs(out_window),
                scale_in_stabilization: Duration::from_secs(in_window),
            })
        },
    )
}

proptest! {
    #[test]
    fn never_outside_min_and_max(
        rule in any_rule(),
        looks in prop::collection::vec((0..60u32, 0..100_000u64, 1..20u64), 1..200),
    ) {
        let (mut scaler, mut now) = (Scaler::default(), Instant::now());
        for (edges, load, gap) in looks {
            now += Duration::from_secs(gap);
            let verdict = scaler.verdict(&even(edges, load), &Mode::Auto(rule), Pause::default(), now);
            prop_assert!((rule.min_replicas..=rule.max_replicas).contains(&verdict.desired), "{verdict:?}");
        }
    }

    #[test]
    fn no_scale_in_while_any_figures_are_missing(
        rule in any_rule(),
        edges in 1..30u32,
        looks in prop::collection::vec((0..50_000u64, 0..30usize), 1..400),
    ) {
        let edges = edges.clamp(rule.min_replicas, rule.max_replicas);
        let (mut scaler, start) = (Scaler::default(), Instant::now());
        for (s, (load, missing)) in (0..).zip(looks) {
            let mut pool = even(edges, load);
            let missing = missing % pool.edges.len();
            pool.edges[missing].figures = None;
            let now = start + Duration::from_secs(s);
            let verdict = scaler.verdict(&pool, &Mode::Auto(rule), Pause::default(), now);
            prop_assert!(verdict.desired >= edges, "{verdict:?}");
        }
    }

    /// Whatever it recommends, it is content with: a steady load moves the pool once each way at most.
    #[test]
    fn a_recommendation_recommends_itself(rule in any_rule(), n in 1..60u32, load in 0..100_000u64) {
        let load = load * MBPS;
        let next = recommendation(load, n, &rule);
        prop_assume!(next > 0);
        let after = recommendation(load, next, &rule);
        if next > n {
            // After a growth no further growth; shrinking only if whole edges are coarse against the band.
            prop_assert!(after <= next);
        } else {
            prop_assert_eq!(after, next, "{} from {}", load, n);
        }
    }

    #[test]
    fn no_flapping_while_the_load_stays_within_the_band(
        n in 2..=5u32,
        percents in prop::collection::vec(40..=70u64, 1..900),
    ) {
        let (mut scaler, start) = (Scaler::default(), Instant::now());
        for (s, percent) in (0..).zip(percents) {
            let pool = even(n, u64::from(n) * percent);
            let now = start + Duration::from_secs(s);
            let verdict = scaler.verdict(&pool, &Mode::Auto(rule()), Pause::default(), now);
            prop_assert_eq!(verdict.desired, n);
        }
    }

    /// A load that jumps about faster than the windows moves the pool out at most, never back and forth.
    #[test]
    fn noise_faster_than_the_windows_never_scales_in(loads in prop::collection::vec(0..300u64, 600), every in 5..200usize) {
        let (mut scaler, start, mut n) = (Scaler::default(), Instant::now(), 4);
        for (s, load) in (0..).zip(loads) {
            let load = if usize::try_from(s).unwrap() % every == 0 { 250 } else { load };
            let now = start + Duration::from_secs(s);
            let verdict = scaler.verdict(&even(n, load), &Mode::Auto(rule()), Pause::default(), now);
            prop_assert!(verdict.desired >= n);
            n = verdict.desired;
        }
    }

    #[test]
    fn a_window_is_the_extreme_of_its_span(values in prop::collection::vec((1..50u32, 0..5u64), 1..300), span in 0..40u64) {
        let (mut lowest, mut highest) = (Window::new(Extreme::Lowest), Window::new(Extreme::Highest));
        let (mut now, span) = (Instant::now(), Duration::from_secs(span));
        let mut all = Vec::new();
        for (value, gap) in values {
            now += Duration::from_secs(gap);
            all.push((now, value));
            let within = || all.iter().filter(|(at, _)| now - *at <= span).map(|(_, value)| *value);
            prop_assert_eq!(Some(lowest.push(value, span, now)), within().min());
            prop_assert_eq!(Some(highest.push(value, span, now)), within().max());
        }
    }
}

/// A rolling update ends edges under their viewers' load, which the others get: it must not look like calm.
#[test]
fn the_load_of_edges_that_are_being_ended_counts() {
    let mut pool = even(2, 100);
    let before = pool.load_bps();
    pool.leaving_bps = 50;
    assert_eq!(pool.load_bps(), before + 50);
    assert_eq!(pool.current(), 2);
}
