//! Where a stream can be pulled from, in the order in which it is tried.

use std::rc::Rc;

use headwater_contract::{Pull, Source};

use super::basis::Facts;
use super::chain::Chain;
use super::edges::PlannedBefore;
use super::spread::{Parents, ParentsOf, Spread, Tried};
use super::{Carriers, Pool};
use crate::fleet::map::{FleetMap, Health};
use crate::fleet::{Addresses, NodeId};

/// The upstream of one pool, or of one edge of it.
pub(super) trait Upstream {
    /// Sources of one stream: of this number among those of the pool, and of this name.
    fn of_stream(&self, at: usize, stream: &str) -> Vec<Source>;

    /// Base URLs for pulls on demand.
    fn bases(&self) -> Vec<Source>;
}

/// Any node of an origin may take the stream in next, so that all are named; those that hold it come first. The same for
/// every edge.
pub(super) struct OriginTier<'a> {
    carriers: Rc<Carriers>,
    /// Live nodes in order of trust.
    live: Vec<(&'a NodeId, Option<Place>)>,
    stable: Option<Place>,
    /// The others, tried after the stable address.
    other: Vec<Option<Place>>,
}

impl<'a> OriginTier<'a> {
    pub(super) fn new(chain: &Chain<'a>, facts: &mut Facts<'a>) -> Self {
        let (map, now, app) = (facts.map, facts.now, &chain.origin.app);
        let mut nodes: Vec<_> = map
            .nodes_of(chain.origin_id)
            .map(|(id, node)| (node.health(now), !node.figures.ready || node.draining(), id))
            .collect();
        nodes.sort();
        let (live, other): (Vec<_>, Vec<_>) = nodes.into_iter().partition(|(health, ..)| *health == Health::Live);
        Self {
            carriers: facts.published(chain.origin_id),
            live: live.into_iter().map(|(.., id)| (id, Place::of(map, id, app))).collect(),
            stable: Place::new(&chain.origin.stable, app),
            other: other.into_iter().map(|(.., id)| Place::of(map, id, app)).collect(),
        }
    }

    fn sources(&self, first: impl Fn(&NodeId) -> bool, stream: Option<&str>) -> Vec<Source> {
        let (first, rest): (Vec<_>, Vec<_>) = self.live.iter().partition(|(id, _)| first(id));
        let live = first.into_iter().chain(rest).map(|(_, place)| place);
        sources(live.chain([&self.stable]).chain(&self.other).flatten(), stream)
    }
}

impl Upstream for OriginTier<'_> {
    fn of_stream(&self, _: usize, stream: &str) -> Vec<Source> {
        let carriers = self.carriers.get(stream);
        let holds = |id: &NodeId| carriers.is_some_and(|published| published.on.contains(id));
        self.sources(holds, Some(stream))
    }

    fn bases(&self) -> Vec<Source> {
        self.sources(|_| false, None)
    }
}

/// Each pull from a pool has its own parent.
pub(super) struct PoolTier<'a> {
    spread: Spread<'a>,
    /// Where the parents are, in their order.
    places: Vec<Option<Place>>,
    stable: Option<Place>,
}

/// A pool as one edge sees it.
pub(super) struct PoolTierOf<'a> {
    tier: &'a PoolTier<'a>,
    tried: Tried<'a>,
    /// What the last plan had, where that still helps: the pulls in order of name, and their parents.
    known: Option<(&'a [Pull], &'a ParentsOf)>,
}

impl PoolTierOf<'_> {
    /// The sources that a pull had, if it keeps its parent.
    fn known(&self, at: usize, stream: &str) -> Option<Vec<Source>> {
        let (pulls, parents) = self.known?;
        let own = self.tried.own(at)?;
        let at = pulls.binary_search_by(|pull| (*pull.stream).cmp(stream)).ok()?;
        (**parents.get(stream)? == *own).then(|| pulls[at].sources.clone())
    }

    fn sources(&self, [first, second]: [Option<usize>; 2], stream: Option<&str>) -> Vec<Source> {
        let parents = first.into_iter().chain(second).map(|at| &self.tier.places[at]);
        sources(parents.chain([&self.tier.stable]).flatten(), stream)
    }
}

impl<'a> PoolTier<'a> {
    pub(super) fn new(map: &'a FleetMap, chain: &Chain<'a>, above: &'a Pool, spread: Spread<'a>) -> Self {
        let app = &chain.origin.app;
        Self {
            places: spread.parents().map(|parent| Place::of(map, parent, app)).collect(),
            stable: Place::new(&above.stable, app),
            spread,
        }
    }

    pub(super) fn of<'s>(&'s self, edge: &NodeId, before: &'s PlannedBefore) -> PoolTierOf<'s> {
        let known = || Some((&*before.nodes.get(edge)?.pulls, before.parents.get(edge)?));
        PoolTierOf {
            tier: self,
            tried: self.spread.of(edge),
            known: before.sources_hold.then(known).flatten(),
        }
    }

    pub(super) fn into_parents(self) -> Parents {
        self.spread.into_parents()
    }
}

impl Upstream for PoolTierOf<'_> {
    fn of_stream(&self, at: usize, stream: &str) -> Vec<Source> {
        self.known(at, stream)
            .unwrap_or_else(|| self.sources(self.tried.by(at), Some(stream)))
    }

    /// Ranked by the edge's name alone, so that edges differ in whom they ask first.
    fn bases(&self) -> Vec<Source> {
        self.sources(self.tried.by_name_alone(), None)
    }
}

/// Where a node, or a Service, is pulled from: written once a plan, and not for each pull.
struct Place {
    /// `rtmp://host:port/app`.
    base: String,
    http: Option<String>,
}

impl Place {
    fn of(map: &FleetMap, node: &NodeId, app: &str) -> Option<Self> {
        Self::new(&map.node(node)?.addresses, app)
    }

    /// None for one without an RTMP address.
    fn new(addresses: &Addresses, app: &str) -> Option<Self> {
        (!addresses.rtmp.is_empty()).then(|| Self {
            base: format!("rtmp://{}/{app}", addresses.rtmp),
            http: (!addresses.http.is_empty()).then(|| format!("http://{}", addresses.http)),
        })
    }

    fn source(&self, stream: Option<&str>) -> Source {
        Source {
            url: match stream {
                None => self.base.clone(),
                Some(stream) => [&self.base, "/", stream].concat(),
            },
            http: self.http.clone(),
        }
    }
}

/// The sources at these places, in this order, none of them twice.
fn sources<'a>(places: impl Iterator<Item = &'a Place>, stream: Option<&str>) -> Vec<Source> {
    let mut seen: Vec<&Place> = Vec::with_capacity(4);
    for place in places {
        if seen.iter().all(|known| known.base != place.base) {
            seen.push(place);
        }
    }
    seen.iter().map(|place| place.source(stream)).collect()
}
