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
    /// Sources of one stream.
    fn of_stream(&self, stream: &str) -> Vec<Source>;

    /// Base URLs for pulls on demand.
    fn bases(&self) -> Vec<Source>;
}

/// Any node of an origin may take the stream in next, so that all are named; those that hold it come first. The same for
/// every edge.
pub(super) struct OriginTier<'a> {
    writer: Writer<'a>,
    carriers: Rc<Carriers>,
    /// Live nodes in order of trust.
    live: Vec<&'a NodeId>,
    /// The others, tried after the stable address.
    other: Vec<&'a NodeId>,
}

impl<'a> OriginTier<'a> {
    pub(super) fn new(chain: &Chain<'a>, facts: &mut Facts<'a>) -> Self {
        let (map, now) = (facts.map, facts.now);
        let mut nodes: Vec<_> = map
            .nodes_of(chain.origin_id)
            .map(|(id, node)| (node.health(now), !node.figures.ready || node.draining(), id))
            .collect();
        nodes.sort();
        let (live, other): (Vec<_>, Vec<_>) = nodes.into_iter().partition(|(health, ..)| *health == Health::Live);
        let ids = |nodes: Vec<(Health, bool, &'a NodeId)>| nodes.into_iter().map(|(.., id)| id).collect();
        Self {
            writer: Writer {
                map,
                app: &chain.origin.app,
                stable: &chain.origin.stable,
            },
            carriers: facts.published(chain.origin_id),
            live: ids(live),
            other: ids(other),
        }
    }
}

impl Upstream for OriginTier<'_> {
    fn of_stream(&self, stream: &str) -> Vec<Source> {
        let carriers = self.carriers.get(stream);
        let holds = |id: &NodeId| carriers.is_some_and(|published| published.on.contains(id));
        let (mut first, rest): (Vec<&NodeId>, Vec<_>) = self.live.iter().partition(|id| holds(id));
        first.extend(rest);
        self.writer.sources(&first, &self.other, Some(stream))
    }

    fn bases(&self) -> Vec<Source> {
        self.writer.sources(&self.live, &self.other, None)
    }
}

/// Each pull from a pool has its own parent.
pub(super) struct PoolTier<'a> {
    writer: Writer<'a>,
    spread: Spread,
}

/// A pool as one edge sees it.
pub(super) struct PoolTierOf<'a> {
    writer: &'a Writer<'a>,
    tried: Tried<'a>,
    /// What the last plan had, where that still helps: the pulls in order of name, and their parents.
    known: Option<(&'a [Pull], &'a ParentsOf)>,
}

impl PoolTierOf<'_> {
    /// The sources that a pull had, if it keeps its parent.
    fn known(&self, stream: &str) -> Option<Vec<Source>> {
        let (pulls, parents) = self.known?;
        let own = self.tried.own(stream)?;
        let at = pulls.binary_search_by(|pull| (*pull.stream).cmp(stream)).ok()?;
        (parents.get(stream)? == own).then(|| pulls[at].sources.clone())
    }
}

impl<'a> PoolTier<'a> {
    pub(super) fn new(map: &'a FleetMap, chain: &Chain<'a>, above: &'a Pool, spread: Spread) -> Self {
        Self {
            writer: Writer {
                map,
                app: &chain.origin.app,
                stable: &above.stable,
            },
            spread,
        }
    }

    pub(super) fn of<'s>(&'s self, edge: &NodeId, before: &'s PlannedBefore) -> PoolTierOf<'s> {
        let known = || Some((&*before.nodes.get(edge)?.pulls, before.parents.get(edge)?));
        PoolTierOf {
            writer: &self.writer,
            tried: self.spread.of(edge),
            known: before.sources_hold.then(known).flatten(),
        }
    }

    pub(super) fn into_parents(self) -> Parents {
        self.spread.parents
    }
}

impl Upstream for PoolTierOf<'_> {
    fn of_stream(&self, stream: &str) -> Vec<Source> {
        self.known(stream)
            .unwrap_or_else(|| self.writer.sources(&self.tried.by(stream), &[], Some(stream)))
    }

    /// Ranked by the edge's name alone, so that edges differ in whom they ask first.
    fn bases(&self) -> Vec<Source> {
        self.writer.sources(&self.tried.by(""), &[], None)
    }
}

/// Writes the sources down.
pub(super) struct Writer<'a> {
    map: &'a FleetMap,
    app: &'a str,
    stable: &'a Addresses,
}

impl Writer<'_> {
    /// The nodes to try before the stable address, that, and the nodes after it.
    fn sources(&self, before: &[&NodeId], after: &[&NodeId], stream: Option<&str>) -> Vec<Source> {
        let addresses = |id: &&NodeId| self.map.node(id).map(|node| &node.addresses);
        let before = before.iter().filter_map(addresses);
        let after = after.iter().filter_map(addresses);
        let mut sources: Vec<Source> = Vec::new();
        for addresses in before.chain([self.stable]).chain(after) {
            if addresses.rtmp.is_empty() {
                continue;
            }
            let source = source(addresses, self.app, stream);
            if sources.iter().all(|known| known.url != source.url) {
                sources.push(source);
            }
        }
        sources.shrink_to_fit();
        sources
    }
}

fn source(addresses: &Addresses, app: &str, stream: Option<&str>) -> Source {
    let url = match stream {
        None => format!("rtmp://{}/{app}", addresses.rtmp),
        Some(stream) => format!("rtmp://{}/{app}/{stream}", addresses.rtmp),
    };
    Source {
        url,
        http: (!addresses.http.is_empty()).then(|| format!("http://{}", addresses.http)),
    }
}
