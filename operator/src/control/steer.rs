//! Replication and commands: from the map to what each node is to do, and which edges take viewers.

use headwater_contract::{Publishing, Pull, Pulls, Push, Source};

use super::nodes::Touched;
use super::{Control, Now};
use crate::fleet::link::{Service, Wanted};
use crate::fleet::{NodeId, ResourceId};
use crate::platform::{NodeFacts, OriginWish, Platform, Wishes};
use crate::replication::{self, DesiredPulls};
use crate::validate::ValidPool;

impl<P: Platform> Control<P> {
    /// Plans who pulls what and tells every node what it is to do.
    ///
    /// Only those of which something has changed: all of them, or pools that were planned anew because of what is `touched`.
    pub(super) fn steer(&mut self, wishes: &Wishes, mut touched: Touched, now: Now) {
        if matches!(touched, Touched::All) {
            self.resources = self.resources(wishes);
        }
        let before = std::mem::take(&mut self.plan);
        self.plan = before.renew(&self.map, &self.resources, now.monotonic, |id| touched.has(id));
        let mut learning = false;
        if !self.learning.is_over(now.monotonic) {
            let heard = |facts: &NodeFacts| self.map.node(&facts.id).is_some_and(|node| node.identity.is_some());
            let all_heard = self.nodes.iter().filter(|facts| facts.reach.is_some()).all(heard);
            learning = self.learning.goes_on(all_heard, now.monotonic);
            // What was planned meanwhile is told to all at its end.
            touched = Touched::All;
        }
        match &touched {
            Touched::All => {
                let every = self.nodes.by_resource();
                every.for_each(|(id, nodes)| self.tell_resource(wishes, id, nodes, learning));
            }
            // All else that a node is told comes from wishes and platform.
            Touched::Some { .. } => {
                let renewed = self.plan.renewed.iter();
                renewed.for_each(|id| self.tell_resource(wishes, id, self.nodes.of(id), learning));
            }
        }
        for id in wishes.pools.keys().filter(|id| touched.may_serve(id)) {
            let serves = |facts: &&NodeFacts| {
                let node = self.map.node(&facts.id).filter(|node| node.serves(now.monotonic));
                facts.drain.is_none() && !facts.leaving && facts.reach.is_some() && node.is_some()
            };
            let serving = self.nodes.of(id).iter().filter(serves);
            let serving: Vec<NodeId> = serving.map(|facts| facts.id.clone()).collect();
            self.platform.route(id, &serving);
        }
        let observed = self.replicated.observe(&self.map, &self.plan, &touched, now.monotonic);
        for seconds in observed {
            self.metrics.replication_seconds.observe(seconds);
        }
    }

    fn tell_resource(&self, wishes: &Wishes, id: &ResourceId, nodes: &[NodeFacts], learning: bool) {
        match wishes.origins.get(id) {
            Some(origin) => {
                let (pulls, publishing) = (DesiredPulls::from(own_pulls(origin)), publishing(origin));
                self.tell_nodes(id, nodes, |_| (Some(pulls.clone()), Some(publishing.clone())));
            }
            None if learning => self.tell_nodes(id, nodes, |_| (None, None)),
            None => self.tell_nodes(id, nodes, |node| (self.plan.nodes.get(node).cloned(), None)),
        }
    }

    /// Tells the nodes of one resource what they are to do.
    fn tell_nodes(
        &self,
        resource: &ResourceId,
        nodes: &[NodeFacts],
        media: impl Fn(&NodeId) -> (Option<DesiredPulls>, Option<Publishing>),
    ) {
        let scales = self.platform.scales(resource);
        for facts in nodes {
            let Some((_, link)) = self.links.get(&facts.id) else {
                continue;
            };
            let (pulls, publishing) = media(&facts.id);
            link.want(Wanted {
                pulls,
                publishing,
                // Who runs a node drains it: a drain of somebody else's node is not ours to take back.
                service: match facts.drain {
                    _ if facts.leaving || !scales => None,
                    Some(drain) if drain.held => Some(Service::Drain(drain.deadline)),
                    Some(_) => None,
                    None => Some(Service::Serve),
                },
            });
        }
    }

    /// What replication goes by, beside the map.
    fn resources(&self, wishes: &Wishes) -> replication::Resources {
        let origin = |(id, wish): (&ResourceId, &OriginWish)| {
            let origin = replication::Origin::of(&wish.spec, self.platform.stable(id));
            (id.clone(), origin)
        };
        let pool = |(id, spec): (&ResourceId, &ValidPool)| {
            let nodes = self.nodes.of(id).iter();
            let draining = nodes.filter(|facts| facts.drain.is_some() || facts.leaving);
            let draining = draining.map(|facts| facts.id.clone()).collect();
            let pool = replication::Pool::of(spec, self.platform.stable(id), draining);
            (id.clone(), pool)
        };
        replication::Resources {
            origins: wishes.origins.iter().map(origin).collect(),
            pools: wishes.pools.iter().map(pool).collect(),
            unreadable: wishes.unreadable.clone(),
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
        // Nodes that know no DVR are not told of none.
        dvr_seconds: Some(origin.spec.dvr.seconds).filter(|seconds| *seconds > 0),
        // Likewise: an empty list would be refused by those that know no groups.
        groups: Some(origin.spec.groups.iter().map(ToString::to_string).collect())
            .filter(|groups: &Vec<_>| !groups.is_empty()),
    }
}
