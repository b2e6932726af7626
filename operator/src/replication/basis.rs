//! What a pool's plan is made from, so that a plan whose basis has not changed is kept as it is.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Instant;

use super::chain::Chain;
use super::{Carriers, Origin, Pool, Verdict};
use crate::fleet::ResourceId;
use crate::fleet::map::{FleetMap, Health, Standing};

/// The map at one moment; what several pools ask of it is worked out once.
pub(super) struct Facts<'a> {
    pub(super) map: &'a FleetMap,
    pub(super) now: Instant,
    standings: BTreeMap<ResourceId, Standing>,
    published: BTreeMap<ResourceId, Rc<Carriers>>,
}

impl<'a> Facts<'a> {
    pub(super) fn new(map: &'a FleetMap, now: Instant) -> Self {
        Self {
            map,
            now,
            standings: BTreeMap::new(),
            published: BTreeMap::new(),
        }
    }

    /// The streams of an origin.
    pub(super) fn published(&mut self, origin: &ResourceId) -> Rc<Carriers> {
        if let Some(known) = self.published.get(origin) {
            return known.clone();
        }
        let published = Rc::new(self.map.published(origin, self.now));
        self.published.insert(origin.clone(), published.clone());
        published
    }

    fn standing(&mut self, id: &ResourceId) -> Standing {
        if let Some(known) = self.standings.get(id) {
            return known.clone();
        }
        let standing = self.map.standing(id, self.now);
        self.standings.insert(id.clone(), standing.clone());
        standing
    }
}

/// All that the plan of one pool goes by. Equal ones mean equal plans.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Basis {
    pool: Pool,
    /// Its own edges.
    edges: Standing,
    way: Result<Way, Verdict>,
}

/// The way up to the origin, as far as a plan goes by it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Way {
    /// Pools above, the nearest first.
    above: Vec<Pool>,
    /// The edges of the nearest.
    parents: Option<Standing>,
    origin: Origin,
    nodes: Standing,
    /// Which streams the origin's nodes hold.
    published: u64,
    /// Which streams the pool's own edges hold, where the origin can't be asked.
    held: Option<u64>,
}

impl Basis {
    /// The tiers above are as they were for `before`: a pull that keeps its parent keeps its sources.
    pub(super) fn pulls_like(&self, before: &Self) -> bool {
        match (&self.way, &before.way) {
            (Ok(now), Ok(before)) => {
                (&now.above, &now.parents, &now.origin) == (&before.above, &before.parents, &before.origin)
            }
            _ => false,
        }
    }

    pub(super) fn of(id: &ResourceId, pool: &Pool, chain: &Result<Chain<'_>, Verdict>, facts: &mut Facts<'_>) -> Self {
        let way = |chain: &Chain<'_>, facts: &mut Facts<'_>| Way {
            above: chain.above().cloned().collect(),
            parents: chain.above().next().map(|_| facts.standing(&pool.upstream)),
            origin: chain.origin.clone(),
            nodes: facts.standing(chain.origin_id),
            published: facts.map.revision(chain.origin_id).held,
            held: (facts.map.health_of(chain.origin_id, facts.now) != Health::Live)
                .then(|| facts.map.revision(id).held),
        };
        Self {
            pool: pool.clone(),
            edges: facts.standing(id),
            way: chain
                .as_ref()
                .map(|chain| way(chain, facts))
                .map_err(|verdict| *verdict),
        }
    }
}
