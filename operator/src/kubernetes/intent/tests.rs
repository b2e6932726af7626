//! Numbers, drains and victims of a pool, and what a new leader makes of them.

use std::time::Duration;

use super::*;

fn seen(replicas: u32, pods: &[(&str, bool)]) -> Seen {
    Seen {
        replicas: Some(replicas),
        live: pods
            .iter()
            .map(|(name, marked)| {
                let pod = PodSeen {
                    drain: None,
                    marked: *marked,
                };
                ((*name).to_owned(), pod)
            })
            .collect(),
        unsettled: false,
    }
}

fn settled(intent: &mut Intent, seen: &Seen) -> u32 {
    intent.settle(seen);
    intent.deployment_replicas(seen)
}

#[test]
fn a_new_leader_goes_on_with_the_number_that_stands() {
    let mut intent = Intent::default();
    assert_eq!(
        settled(&mut intent, &seen(3, &[("a", false), ("b", false), ("c", false)])),
        3
    );
    assert_eq!(
        settled(&mut Intent::default(), &Seen::default()),
        0,
        "no Deployment yet"
    );
}

#[test]
fn a_number_changed_by_hand_is_put_right() {
    let mut intent = Intent::default();
    settled(&mut intent, &seen(2, &[("a", false), ("b", false)]));
    assert_eq!(settled(&mut intent, &seen(7, &[("a", false), ("b", false)])), 2);
}

#[test]
fn edges_are_added_to_those_that_are_there_or_coming() {
    let mut intent = Intent::default();
    let pods = seen(2, &[("a", false), ("b", false)]);
    settled(&mut intent, &pods);
    intent.add(2, &pods);
    assert_eq!((settled(&mut intent, &pods), intent.replicas(&pods)), (4, 4));
}

#[test]
fn the_number_falls_once_and_only_after_the_mark_was_read_back() {
    let mut intent = Intent::default();
    let before = seen(3, &[("a", false), ("b", false), ("c", false)]);
    settled(&mut intent, &before);
    assert!(intent.remove("b"));
    assert!(!intent.remove("b"), "asked again each second");
    assert_eq!(settled(&mut intent, &before), 3, "the mark does not stand yet");
    let marked = seen(3, &[("a", false), ("b", true), ("c", false)]);
    assert_eq!(settled(&mut intent, &marked), 2);
    assert_eq!(
        settled(&mut intent, &seen(2, &[("a", false), ("b", true), ("c", false)])),
        2
    );
    assert_eq!(intent.replicas(&marked), 3, "it is still there");
    let after = seen(2, &[("a", false), ("c", false)]);
    assert_eq!((settled(&mut intent, &after), intent.replicas(&after)), (2, 2));
    assert!(intent.is_idle());
}

#[test]
fn several_go_at_once() {
    let mut intent = Intent::default();
    let marked = seen(3, &[("a", true), ("b", true), ("c", false)]);
    settled(&mut intent, &marked);
    intent.remove("a");
    intent.remove("b");
    assert_eq!(settled(&mut intent, &marked), 1);
    assert_eq!(
        settled(&mut intent, &seen(1, &[("b", true), ("c", false)])),
        1,
        "one has gone"
    );
    assert_eq!(settled(&mut intent, &seen(1, &[("c", false)])), 1);
    assert!(intent.is_idle());
}

/// The ReplicaSet deletes pods that are not ready first: a crash in the wrong moment takes another edge than the one meant.
#[test]
fn when_another_edge_went_the_plan_starts_afresh() {
    let mut intent = Intent::default();
    let marked = seen(3, &[("a", false), ("b", true), ("c", false)]);
    settled(&mut intent, &marked);
    intent.remove("b");
    assert_eq!(settled(&mut intent, &marked), 2);
    assert_eq!(
        settled(&mut intent, &seen(2, &[("a", false), ("b", true)])),
        2,
        "c went"
    );
    assert!(!intent.is_victim("b", &seen(2, &[("a", false), ("b", true)])));
}

#[test]
fn the_number_does_not_fall_during_a_rollout() {
    let mut intent = Intent::default();
    let mut marked = seen(2, &[("a", false), ("b", true)]);
    settled(&mut intent, &marked);
    intent.remove("b");
    marked.unsettled = true;
    assert_eq!(settled(&mut intent, &marked), 2);
    marked.unsettled = false;
    assert_eq!(settled(&mut intent, &marked), 1);
}

/// The ReplicaSet may be slow: without the mark it would take any edge.
#[test]
fn a_new_leader_leaves_the_mark_while_the_number_has_fallen_and_the_pod_has_not_gone() {
    let mut intent = Intent::default();
    let lowered = seen(1, &[("a", false), ("b", true)]);
    settled(&mut intent, &lowered);
    assert!(intent.is_victim("b", &lowered) && !intent.is_victim("a", &lowered));
    let back = seen(2, &[("a", false), ("b", true)]);
    assert!(!Intent::default().is_victim("b", &back), "nothing is to go");
}

#[test]
fn a_drain_that_is_taken_back_after_the_number_fell_raises_it_again() {
    let mut intent = Intent::default();
    let marked = seen(2, &[("a", false), ("b", true)]);
    settled(&mut intent, &marked);
    intent.remove("b");
    assert_eq!(settled(&mut intent, &marked), 1);
    intent.hold_drain("b", None, Timestamp::from_second(1_000).unwrap());
    assert_eq!(settled(&mut intent, &marked), 2);
    assert!(!intent.is_victim("b", &marked));
}

/// A Deployment deleted with `--cascade=orphan`, or by hand a moment ago: made anew with none it would end what it adopts.
#[test]
fn edges_without_a_deployment_are_kept() {
    let orphans = Seen {
        replicas: None,
        ..seen(0, &[("a", false), ("b", false)])
    };
    assert_eq!(settled(&mut Intent::default(), &orphans), 2);
}

#[test]
fn the_number_does_not_fall_while_an_edge_is_missing() {
    let mut intent = Intent::default();
    let short = seen(3, &[("a", false), ("b", true)]);
    settled(&mut intent, &short);
    intent.remove("b");
    assert_eq!(settled(&mut intent, &short), 3);
}

#[test]
fn a_drain_is_held_back_until_it_stands() {
    let (now, wall) = (Instant::now(), Timestamp::from_second(1_000).unwrap());
    let mut intent = Intent::default();
    let drain = Drain::new(now, wall, now + Duration::from_secs(60));
    intent.hold_drain("a", Some(drain), wall);
    let bare = PodSeen::default();
    let wanted = intent.drain("a", &bare, now, wall).unwrap();
    assert!(!wanted.held);
    let standing = intent.standing("a", &bare, wall).unwrap();
    assert_eq!(standing.deadline, Timestamp::from_second(1_060).unwrap());
    let pod = PodSeen {
        drain: Some(standing),
        marked: false,
    };
    let mut stands = seen(1, &[("a", false)]);
    stands.live.insert("a".into(), pod);
    intent.settle(&stands);
    let held = intent.drain("a", &pod, now, wall).unwrap();
    assert!(held.held);
    assert_eq!(held.plan.deadline, now + Duration::from_secs(60));
    intent.hold_drain("a", None, wall);
    assert_eq!(intent.drain("a", &pod, now, wall), None, "taken back at once");
    assert_eq!(intent.standing("a", &pod, wall), None);
}

/// While the API server was away the time of a drain ran out before the edge was told: its viewers were cut without being moved.
#[test]
fn the_time_of_a_drain_begins_when_it_stands() {
    let (now, wall) = (Instant::now(), Timestamp::from_second(1_000).unwrap());
    let mut intent = Intent::default();
    let pods = seen(1, &[("a", false)]);
    intent.hold_drain("a", Some(Drain::new(now, wall, now + Duration::from_secs(60))), wall);
    let (later, later_wall) = (now + Duration::from_secs(300), Timestamp::from_second(1_300).unwrap());
    intent.settle(&pods);
    let drain = intent.drain("a", &PodSeen::default(), later, later_wall).unwrap();
    assert_eq!(drain.plan.deadline, later + Duration::from_secs(60));
    let standing = intent.standing("a", &PodSeen::default(), later_wall).unwrap();
    assert_eq!(standing.deadline, Timestamp::from_second(1_360).unwrap());
}

/// The number fell for one edge; another that was marked meanwhile lost its mark, and was told to go twice.
#[test]
fn an_edge_that_is_marked_while_another_goes_stays_marked() {
    let mut intent = Intent::default();
    let all = seen(3, &[("a", false), ("b", true), ("c", true)]);
    settled(&mut intent, &all);
    intent.remove("b");
    assert_eq!(settled(&mut intent, &all), 2);
    intent.remove("c");
    assert_eq!(settled(&mut intent, &all), 2, "one after the other");
    let after = seen(2, &[("a", false), ("c", true)]);
    assert_eq!(settled(&mut intent, &after), 1);
    assert!(intent.is_victim("c", &after));
}

#[test]
fn a_drain_of_the_past_is_over() {
    let (now, wall) = (Instant::now(), Timestamp::from_second(1_000).unwrap());
    let standing = StandingDrain {
        since: Timestamp::from_second(10).unwrap(),
        deadline: Timestamp::from_second(20).unwrap(),
    };
    assert!(standing.drain(now, wall).plan.deadline <= now);
}
