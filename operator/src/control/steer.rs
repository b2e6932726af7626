//! Replication and commands: from the map to what each node is to do, and which edges take viewers.

use headwater_contract::{Publishing, Pull, Pulls, Push, Source};

use super::{Control, Now};
use crate::fleet::link::{Service, Wanted};
use crate::fleet::{NodeId, ResourceId};
use crate::platform::{NodeFacts, OriginWish, Platform, Wishes};
use crate::replication::{self, plan};
use crate::validate::ValidPool;

impl<P: Platform> Control<P> {
    /// Plans who pulls what and tells every node what it is to do.
    pub(super) fn steer(&mut self, wishes: &Wishes, now: Now) {
        let nodes = self.platform.nodes();
        let resources = self.resources(wishes, &nodes);
        self.plan = plan(&self.map, &resources, &self.plan.parents, now.monotonic);
        let heard = |facts: &NodeFacts| self.map.node(&facts.id).is_some_and(|node| node.identity.is_some());
        let all_heard = nodes.iter().filter(|facts| facts.reach.is_some()).all(heard);
        let learning = self.learning.goes_on(all_heard, now.monotonic);
        for facts in &nodes {
            let Some((_, link)) = self.links.get(&facts.id) else {
                continue;
            };
            let origin = wishes.origins.get(&facts.id.resource);
            link.want(Wanted {
                pulls: match origin {
                    Some(origin) => Some(own_pulls(origin)),
                    None if learning => None,
                    None => self.plan.nodes.get(&facts.id).map(|desired| desired.command()),
                },
                publishing: origin.map(publishing),
                // Who runs a node drains it: a drain of somebody else's node is not ours to take back.
                service: match facts.drain {
                    _ if facts.leaving || !self.platform.scales(&facts.id.resource) => None,
                    Some(drain) if drain.held => Some(Service::Drain(drain.deadline)),
                    Some(_) => None,
                    None => Some(Service::Serve),
                },
            });
        }
        for pool in wishes.pools.keys() {
            let serving: Vec<NodeId> = nodes
                .iter()
                .filter(|facts| facts.id.resource == *pool && facts.drain.is_none() && !facts.leaving)
                .filter(|facts| facts.reach.is_some())
                .filter(|facts| self.map.node(&facts.id).is_some_and(|node| node.serves(now.monotonic)))
                .map(|facts| facts.id.clone())
                .collect();
            self.platform.route(pool, &serving);
        }
        let observed = self.replicated.observe(&self.map, &self.plan, now.monotonic);
        for seconds in observed {
            self.metrics.replication_seconds.observe(seconds);
        }
    }

    /// What replication goes by, beside the map.
    fn resources(&self, wishes: &Wishes, nodes: &[NodeFacts]) -> replication::Resources {
        let origin = |(id, wish): (&ResourceId, &OriginWish)| {
            let origin = replication::Origin::of(&wish.spec, self.platform.stable(id));
            (id.clone(), origin)
        };
        let pool = |(id, spec): (&ResourceId, &ValidPool)| {
            let draining = nodes
                .iter()
                .filter(|facts| facts.id.resource == *id && (facts.drain.is_some() || facts.leaving));
            let draining = draining.map(|facts| facts.id.clone()).collect();
            let pool = replication::Pool::of(spec, self.platform.stable(id), draining);
            (id.clone(), pool)
        };
        replication::Resources {
            origins: wishes.origins.iter().map(origin).collect(),
            pools: wishes.pools.iter().map(pool).collect(),
        }
    }
}

/// The streams that an origin fetches itself.
fn own_pulls(origin: &OriginWish) -> Pulls {
    let pulls = origin.spec.pulls.iter().map(|pull| Pull {
        stream: pull.stream.as_str().to_owned(),
        sources: vec![Source {
            url: pull.url.expose().to_owned(),
            http: None,
        }],
    });
    Pulls {
        term: None,
        pulls: pulls.collect(),
        on_demand: None,
    }
}

fn publishing(origin: &OriginWish) -> Publishing {
    let pushes = origin.spec.pushes.iter().map(|push| Push {
        stream: push.stream.as_str().to_owned(),
        url: push.url.expose().to_owned(),
    });
    Publishing {
        term: None,
        keys: origin.keys.clone(),
        on_conflict: origin.spec.on_conflict,
        pushes: pushes.collect(),
    }
}
