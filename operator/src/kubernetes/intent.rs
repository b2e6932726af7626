//! What the control loop wants of a pool's edges and the API server does not hold yet. Pure; lost without harm: a new leader
//! reads the number from the Deployment and the drains from the pods.
//!
//! ```text
//! add, hold_drain, remove ─▶ Intent ─▶ settle(Seen) ─▶ replicas, annotations ─▶ apply
//!                              ▲ what stands is forgotten ┘
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use jiff::{SignedDuration, Timestamp};

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
    /// The number to which the Deployment was lowered, and for which of them, until so many are left.
    lowered: Option<(u32, BTreeSet<String>)>,
}

/// A drain that does not stand yet. Its time begins when it does: until then the edge is not told, and nobody moves.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Wanted {
    length: SignedDuration,
    asked: Timestamp,
}

impl Intent {
    /// Takes in what the API server holds by now.
    pub fn settle(&mut self, seen: &Seen) {
        let live = count(seen.live.len());
        // Edges whose Deployment is gone are kept: it is made anew around them.
        let replicas = *self.replicas.get_or_insert(seen.replicas.unwrap_or(live));
        self.drains.retain(|name, wanted| {
            seen.live.get(name).is_some_and(|pod| match wanted {
                // What stands may be an older drain that was taken back since.
                Some(wanted) => pod.drain.is_none_or(|standing| standing.since < wanted.asked),
                None => pod.drain.is_some(),
            })
        });
        self.victims.retain(|name| seen.live.contains_key(name));
        if let Some((_, meant)) = self.lowered.take_if(|(lowered, _)| live <= *lowered) {
            // If an edge is left that should have gone, another one went: what is to be done is decided afresh.
            self.victims.retain(|name| !meant.contains(name));
        }
        let is_marked = |name: &&String| seen.live.get(*name).is_some_and(|pod| pod.marked);
        let all_marked = !self.victims.is_empty() && self.victims.iter().all(|name| is_marked(&name));
        // Only from a state in which every edge is there: otherwise the platform may pick another than the one meant.
        let all_there = live == replicas && !seen.unsettled;
        if all_marked && self.lowered.is_none() && all_there {
            let lowered = replicas.saturating_sub(count(self.victims.len()));
            self.replicas = Some(lowered);
            self.lowered = Some((lowered, self.victims.clone()));
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
        self.victims.remove(name);
        if drain.is_none()
            && let Some((lowered, meant)) = &mut self.lowered
            && meant.remove(name)
        {
            // The number had fallen for this one.
            *lowered = lowered.saturating_add(1);
            self.replicas = Some(*lowered);
        }
        let wanted = drain.map(|drain| Wanted {
            length: drain.deadline.duration_since(now),
            asked: now,
        });
        self.drains.insert(name.to_owned(), wanted);
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
                ..wanted.standing(wall).drain(now, wall)
            }),
            None => pod.drain.map(|standing| standing.drain(now, wall)),
        }
    }

    /// The drain that an edge's annotations should hold, if they are written at `now`.
    pub fn standing(&self, name: &str, pod: &PodSeen, now: Timestamp) -> Option<StandingDrain> {
        match self.drains.get(name) {
            Some(wanted) => wanted.map(|wanted| wanted.standing(now)),
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
    fn standing(self, now: Timestamp) -> StandingDrain {
        StandingDrain {
            since: now,
            deadline: now.saturating_add(self.length).unwrap_or(Timestamp::MAX),
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
mod tests;
