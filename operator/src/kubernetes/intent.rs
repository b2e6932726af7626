//! What the control loop wants of a pool's edges and the API server does not hold yet. Pure; lost without harm: a new leader
//! reads the number from the Deployment and the drains from the pods.
//!
//! ```text
//! add, hold_drain, remove ─▶ Intent ─▶ settle(Seen) ─▶ replicas, annotations ─▶ apply
//!                              ▲ what stands is forgotten ┘
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use jiff::Timestamp;

use crate::platform::Drain;

/// A pool's pods and its Deployment, as far as numbers go.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Seen {
    /// `spec.replicas` of the Deployment; none while there is no Deployment.
    pub replicas: Option<u32>,
    /// Pods that are not being deleted, by name.
    pub live: BTreeMap<String, PodSeen>,
    /// A rollout is under way, or a pod does not run yet: the platform may take another edge than the one meant.
    pub unsettled: bool,
}

/// What a pod's annotations say.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct PodSeen {
    /// The drain that stands.
    pub drain: Option<StandingDrain>,
    /// It has the lowest deletion cost: it is the one that goes next.
    pub marked: bool,
}

/// A drain as the annotations have it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StandingDrain {
    /// When it began.
    pub since: Timestamp,
    /// When it is over.
    pub deadline: Timestamp,
}

/// What is wanted of one pool.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Intent {
    replicas: Option<u32>,
    /// Drains that do not stand as wanted yet; none: to be taken back.
    drains: BTreeMap<String, Option<Wanted>>,
    /// Edges that are to go, by name.
    victims: BTreeSet<String>,
    /// The number to which the Deployment was lowered for them, until so many are left.
    lowered: Option<u32>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Wanted {
    drain: Drain,
    since: Timestamp,
}

impl Intent {
    /// Takes in what the API server holds by now.
    pub fn settle(&mut self, seen: &Seen) {
        let live = count(seen.live.len());
        // Edges whose Deployment is gone are kept: it is made anew around them.
        let replicas = *self.replicas.get_or_insert(seen.replicas.unwrap_or(live));
        self.drains.retain(|name, wanted| {
            seen.live
                .get(name)
                .is_some_and(|pod| pod.drain != wanted.map(|wanted| wanted.standing()))
        });
        self.victims.retain(|name| seen.live.contains_key(name));
        if self.lowered.is_some_and(|lowered| live <= lowered) {
            // If an edge is left that should have gone, another one went: what is to be done is decided afresh.
            self.lowered = None;
            self.victims.clear();
        }
        let marked = self
            .victims
            .iter()
            .filter(|name| seen.live.get(*name).is_some_and(|pod| pod.marked));
        let marked = count(marked.count());
        // Only from a state in which every edge is there: otherwise the platform may pick another than the one meant.
        let all_there = live == replicas && !seen.unsettled;
        if marked > 0 && self.lowered.is_none() && all_there && marked == count(self.victims.len()) {
            self.replicas = Some(replicas - marked);
            self.lowered = self.replicas;
        }
    }

    /// Edges that are kept in being, draining ones included.
    pub fn replicas(&self, seen: &Seen) -> u32 {
        self.deployment_replicas(seen).max(count(seen.live.len()))
    }

    /// `spec.replicas` as it should be.
    pub fn deployment_replicas(&self, seen: &Seen) -> u32 {
        self.replicas.or(seen.replicas).unwrap_or(0)
    }

    /// Makes so many edges more.
    pub fn add(&mut self, edges: u32, seen: &Seen) {
        self.replicas = Some(self.replicas(seen).saturating_add(edges));
        self.lowered = None;
        self.victims.clear();
    }

    /// Wants a drain, or with none takes it back.
    pub fn hold_drain(&mut self, name: &str, drain: Option<Drain>, now: Timestamp) {
        if self.victims.remove(name) && drain.is_none() && self.lowered.is_some() {
            // The number had fallen for this one.
            self.replicas = self.replicas.map(|replicas| replicas.saturating_add(1));
            self.lowered = self.replicas;
        }
        self.drains
            .insert(name.to_owned(), drain.map(|drain| Wanted { drain, since: now }));
    }

    /// Wants an edge to go. True if that is new.
    pub fn remove(&mut self, name: &str) -> bool {
        self.victims.insert(name.to_owned())
    }

    /// The drain of an edge: as wanted, else as it stands.
    pub fn drain(&self, name: &str, pod: &PodSeen, now: Instant, wall: Timestamp) -> Option<Drain> {
        match self.drains.get(name) {
            Some(wanted) => wanted.map(|wanted| Drain {
                held: false,
                ..wanted.drain
            }),
            None => pod.drain.map(|standing| standing.drain(now, wall)),
        }
    }

    /// The drain that an edge's annotations should hold.
    pub fn standing(&self, name: &str, pod: &PodSeen) -> Option<StandingDrain> {
        match self.drains.get(name) {
            Some(wanted) => wanted.map(|wanted| wanted.standing()),
            None => pod.drain,
        }
    }

    /// True if an edge is to go next: as wanted, or, where the number has fallen already and a pod is still to go for it, as marked
    /// by a leader before this one.
    pub fn is_victim(&self, name: &str, seen: &Seen) -> bool {
        let marked = seen.live.get(name).is_some_and(|pod| pod.marked);
        self.victims.contains(name) || (marked && count(seen.live.len()) > self.deployment_replicas(seen))
    }

    /// Nothing is wanted that does not stand.
    pub fn is_idle(&self) -> bool {
        self.drains.is_empty() && self.victims.is_empty() && self.lowered.is_none()
    }
}

impl Wanted {
    fn standing(self) -> StandingDrain {
        StandingDrain {
            since: self.since,
            deadline: self.drain.deadline,
        }
    }
}

impl StandingDrain {
    /// The drain in both clocks.
    fn drain(self, now: Instant, wall: Timestamp) -> Drain {
        let at = |time: Timestamp| {
            let ahead = time.duration_since(wall);
            match std::time::Duration::try_from(ahead) {
                Ok(ahead) => now + ahead,
                Err(_) => {
                    let ago = std::time::Duration::try_from(-ahead).unwrap_or_default();
                    now.checked_sub(ago).unwrap_or(now)
                }
            }
        };
        Drain {
            plan: crate::autoscaling::Draining {
                since: at(self.since),
                deadline: at(self.deadline),
            },
            deadline: self.deadline,
            held: true,
        }
    }
}

fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
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
        let standing = intent.standing("a", &bare).unwrap();
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
        assert_eq!(intent.standing("a", &pod), None);
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
}
