//! Where a stream can be pulled from, in the order in which it is tried.

use std::time::Instant;

use headwater_contract::Source;

use super::chain::Chain;
use super::spread::{Parents, Spread};
use super::{Carriers, Pool};
use crate::fleet::map::{FleetMap, Health};
use crate::fleet::{Addresses, NodeId};

/// The upstream of one pool.
pub(super) struct Upstream<'a> {
    map: &'a FleetMap,
    app: &'a str,
    stable: &'a Addresses,
    tier: Tier,
}

enum Tier {
    /// Any node of an origin may take the stream in next, so that all are named; those that hold it come first.
    Origin {
        carriers: Carriers,
        /// Nodes in order of trust, with their health.
        nodes: Vec<(NodeId, Health)>,
    },
    /// Each pull has its own parent.
    Pool(Spread),
}

impl<'a> Upstream<'a> {
    pub(super) fn origin(map: &'a FleetMap, chain: &Chain<'a>, now: Instant) -> Self {
        let mut nodes: Vec<_> = map
            .nodes_of(chain.origin_id)
            .map(|(id, node)| (node.health(now), !node.figures.ready || node.draining(), id.clone()))
            .collect();
        nodes.sort();
        Self {
            map,
            app: &chain.origin.app,
            stable: &chain.origin.stable,
            tier: Tier::Origin {
                carriers: map.published(chain.origin_id, now),
                nodes: nodes.into_iter().map(|(health, _, id)| (id, health)).collect(),
            },
        }
    }

    pub(super) fn pool(map: &'a FleetMap, chain: &Chain<'a>, above: &'a Pool, spread: Spread) -> Self {
        Self {
            map,
            app: &chain.origin.app,
            stable: &above.stable,
            tier: Tier::Pool(spread),
        }
    }

    /// Sources of one stream for one edge.
    pub(super) fn of_stream(&self, edge: &NodeId, stream: &str) -> Vec<Source> {
        self.sources(self.nodes(edge, stream), Some(stream))
    }

    /// Base URLs for pulls on demand. Ranked by the edge's name alone, so that edges differ in whom they ask first.
    pub(super) fn bases(&self, edge: &NodeId) -> Vec<Source> {
        self.sources(self.nodes(edge, ""), None)
    }

    pub(super) fn into_parents(self) -> Parents {
        match self.tier {
            Tier::Origin { .. } => Parents::new(),
            Tier::Pool(spread) => spread.parents,
        }
    }

    /// Nodes to try before the stable address, and after it.
    fn nodes(&self, edge: &NodeId, stream: &str) -> (Vec<&NodeId>, Vec<&NodeId>) {
        let (carriers, nodes) = match &self.tier {
            Tier::Pool(spread) => return (spread.tried(edge, stream), Vec::new()),
            Tier::Origin { carriers, nodes } => (carriers.get(stream), nodes),
        };
        let holds = |id: &NodeId| carriers.is_some_and(|published| published.on.contains(id));
        let (live, other): (Vec<_>, Vec<_>) = nodes.iter().partition(|(_, health)| *health == Health::Live);
        let (mut first, rest): (Vec<_>, Vec<_>) = live.into_iter().map(|(id, _)| id).partition(|id| holds(id));
        first.extend(rest);
        (first, other.into_iter().map(|(id, _)| id).collect())
    }

    fn sources(&self, (before, after): (Vec<&NodeId>, Vec<&NodeId>), stream: Option<&str>) -> Vec<Source> {
        let addresses = |id: &NodeId| self.map.node(id).map(|node| &node.addresses);
        let before = before.into_iter().filter_map(addresses);
        let after = after.into_iter().filter_map(addresses);
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
        sources
    }
}

fn source(addresses: &Addresses, app: &str, stream: Option<&str>) -> Source {
    let mut url = format!("rtmp://{}/{app}", addresses.rtmp);
    if let Some(stream) = stream {
        url.push('/');
        url.push_str(stream);
    }
    Source {
        url,
        http: (!addresses.http.is_empty()).then(|| format!("http://{}", addresses.http)),
    }
}
