//! The platform's nodes as one round of the loop sees them, and which resources something has changed for. Pure.

use std::collections::BTreeSet;

use crate::fleet::{NodeId, ResourceId};
use crate::platform::NodeFacts;

/// The platform's nodes, in order of id.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Nodes(Vec<NodeFacts>);

impl Nodes {
    /// Nodes as the platform names them.
    pub(super) fn new(mut facts: Vec<NodeFacts>) -> Self {
        if !facts.is_sorted_by(|one, next| one.id <= next.id) {
            facts.sort_by(|one, next| one.id.cmp(&next.id));
        }
        Self(facts)
    }

    /// Every node.
    pub(super) fn iter(&self) -> std::slice::Iter<'_, NodeFacts> {
        self.0.iter()
    }

    /// The nodes of one resource.
    pub(super) fn of(&self, resource: &ResourceId) -> &[NodeFacts] {
        let from = self.0.partition_point(|facts| facts.id.resource < *resource);
        let rest = &self.0[from..];
        let nodes = rest.partition_point(|facts| facts.id.resource == *resource);
        &rest[..nodes]
    }

    /// The nodes of each resource that has any.
    pub(super) fn by_resource(&self) -> impl Iterator<Item = (&ResourceId, &[NodeFacts])> {
        let groups = self.0.chunk_by(|one, next| one.id.resource == next.id.resource);
        groups.filter_map(|nodes| Some((&nodes.first()?.id.resource, nodes)))
    }

    /// One of these names is in use.
    pub(super) fn contains(&self, id: &NodeId) -> bool {
        self.0.binary_search_by(|facts| facts.id.cmp(id)).is_ok()
    }

    /// Some node has no process.
    pub(super) fn any_unreachable(&self) -> bool {
        self.0.iter().any(|facts| facts.reach.is_none())
    }
}

/// The resources that a round has to look at.
#[derive(Debug)]
pub(super) enum Touched {
    /// Every one.
    All,
    /// Those of which nodes said something new, those of them whose nodes may serve now or serve no more, and the streams
    /// that came up.
    Some {
        resources: BTreeSet<ResourceId>,
        serving: BTreeSet<ResourceId>,
        streams: BTreeSet<String>,
    },
}

impl Touched {
    /// None yet.
    pub(super) fn none() -> Self {
        Self::Some {
            resources: BTreeSet::new(),
            serving: BTreeSet::new(),
            streams: BTreeSet::new(),
        }
    }

    /// No resource is touched.
    pub(super) fn is_none(&self) -> bool {
        matches!(self, Self::Some { resources, .. } if resources.is_empty())
    }

    /// Something has changed for this one.
    pub(super) fn add(&mut self, resource: &ResourceId) {
        if let Self::Some { resources, .. } = self
            && !resources.contains(resource)
        {
            resources.insert(resource.clone());
        }
    }

    /// Other nodes of this one may serve than before.
    pub(super) fn add_serving(&mut self, resource: &ResourceId) {
        self.add(resource);
        if let Self::Some { serving, .. } = self
            && !serving.contains(resource)
        {
            serving.insert(resource.clone());
        }
    }

    /// A stream of this name came up somewhere.
    pub(super) fn add_stream(&mut self, stream: &str) {
        if let Self::Some { streams, .. } = self
            && !streams.contains(stream)
        {
            streams.insert(stream.to_owned());
        }
    }

    /// This resource is to be looked at.
    pub(super) fn has(&self, resource: &ResourceId) -> bool {
        match self {
            Self::All => true,
            Self::Some { resources, .. } => resources.contains(resource),
        }
    }

    /// Other nodes of this one may serve than before.
    pub(super) fn may_serve(&self, resource: &ResourceId) -> bool {
        match self {
            Self::All => true,
            Self::Some { serving, .. } => serving.contains(resource),
        }
    }

    /// This stream may have come up where it was missing.
    pub(super) fn has_stream(&self, stream: &str) -> bool {
        match self {
            Self::All => true,
            Self::Some { streams, .. } => streams.contains(stream),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(id: NodeId) -> NodeFacts {
        NodeFacts {
            id,
            reach: None,
            drain: None,
            leaving: false,
        }
    }

    #[test]
    fn the_nodes_of_a_resource_are_found_whatever_order_they_came_in() {
        let (a, b, c) = (
            ResourceId::origin("default", "main"),
            ResourceId::pool("default", "web"),
            ResourceId::pool("default", "web2"),
        );
        let nodes = Nodes::new([b.node("2"), a.node("1"), c.node("1"), b.node("1")].map(facts).into());
        let names = |id: &ResourceId| -> Vec<&str> { nodes.of(id).iter().map(|facts| &*facts.id.name).collect() };
        assert_eq!(
            (names(&a), names(&b), names(&c)),
            (vec!["1"], vec!["1", "2"], vec!["1"])
        );
        assert_eq!(names(&ResourceId::pool("default", "nowhere")), [] as [&str; 0]);
        assert!(nodes.contains(&b.node("2")) && !nodes.contains(&b.node("3")));
    }

    #[test]
    fn what_is_touched_once_is_touched_and_nothing_else() {
        let web = ResourceId::pool("default", "web");
        let mut touched = Touched::none();
        assert!(touched.is_none());
        touched.add(&web);
        touched.add_stream("cam1");
        assert!(!touched.may_serve(&web));
        touched.add_serving(&web);
        assert!(touched.may_serve(&web));
        assert!(touched.has(&web) && touched.has_stream("cam1") && !touched.is_none());
        assert!(!touched.has(&ResourceId::pool("default", "web2")) && !touched.has_stream("cam2"));
        assert!(Touched::All.has(&web) && Touched::All.has_stream("cam2"));
    }
}
