//! Names, labels and annotations of everything that is made in a cluster, and the way back from an object to its
//! resource.
//!
//! They are a contract with what runs already: a changed selector can't be applied, a changed name leaves the old
//! object behind.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use crate::api::API_VERSION;
use crate::api::names::ResourceName;
use crate::fleet::{ResourceId, ResourceKind, UnknownWord, one_of};

/// Field manager of everything that the operator applies; value of [`NAME`] and [`MANAGED_BY`].
pub const HEADWATER: &str = "headwater";

/// Label: which product.
pub const NAME: &str = "app.kubernetes.io/name";
/// Label: which part of it, a [`Component`].
pub const COMPONENT: &str = "app.kubernetes.io/component";
/// Label: which resource.
pub const INSTANCE: &str = "app.kubernetes.io/instance";
/// Label: who keeps the object as it is.
pub const MANAGED_BY: &str = "app.kubernetes.io/managed-by";
/// Label of every namespace that holds its name (set by the API server).
pub const NAMESPACE_NAME: &str = "kubernetes.io/metadata.name";

/// Label selector of everything that the operator makes.
pub const MANAGED_SELECTOR: &str = "app.kubernetes.io/managed-by=headwater";

/// Pod annotation: since when the edge drains, RFC 3339.
pub const DRAIN_SINCE: &str = "headwater.dev/drain-since";
/// Pod annotation: until when its viewers may stay, RFC 3339.
pub const DRAIN_DEADLINE: &str = "headwater.dev/drain-deadline";
/// Pod annotation: the pod with the lowest number goes first when a ReplicaSet shrinks.
pub const DELETION_COST: &str = "controller.kubernetes.io/pod-deletion-cost";
/// Pod annotation: `"false"` keeps the cluster autoscaler from removing its node.
pub const SAFE_TO_EVICT: &str = "cluster-autoscaler.kubernetes.io/safe-to-evict";

/// Value of [`DELETION_COST`] of a pod that is to go next: the lowest that there is.
pub const LOWEST_COST: &str = "-2147483647";

/// Every pod annotation that is set by the operator while a pod runs.
pub const POD_ANNOTATIONS: [&str; 4] = [DRAIN_SINCE, DRAIN_DEADLINE, DELETION_COST, SAFE_TO_EVICT];

/// Name of the media node's container.
pub const CONTAINER: &str = "media-node";
/// Name of the RTMP port, of the container and of the Service.
pub const RTMP_PORT: &str = "rtmp";
/// Name of the HTTP delivery port, of the container and of the Service.
pub const HTTP_PORT: &str = "http";
/// Name of the port of the Service for HTTPS; the container's is the one for HTTP.
pub const HTTPS_PORT: &str = "https";
/// Name of the ops port, of the container alone.
pub const OPS_PORT: &str = "ops";

/// Part of the product: value of [`COMPONENT`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Component {
    /// Belongs to a StreamOrigin.
    Origin,
    /// Belongs to an EdgePool.
    Edge,
    /// The operator itself.
    Operator,
}

impl Component {
    /// Every one of them.
    pub const ALL: [Self; 3] = [Self::Origin, Self::Edge, Self::Operator];

    /// The label's value.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Origin => "origin",
            Self::Edge => "edge",
            Self::Operator => "operator",
        }
    }

    /// What a resource of this kind is made of.
    pub fn of(kind: ResourceKind) -> Self {
        match kind {
            ResourceKind::StreamOrigin => Self::Origin,
            ResourceKind::EdgePool => Self::Edge,
        }
    }

    /// Which kind is made of it; the operator belongs to none.
    pub fn kind(self) -> Option<ResourceKind> {
        match self {
            Self::Origin => Some(ResourceKind::StreamOrigin),
            Self::Edge => Some(ResourceKind::EdgePool),
            Self::Operator => None,
        }
    }
}

impl fmt::Display for Component {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Component {
    type Err = UnknownWord;

    fn from_str(word: &str) -> Result<Self, UnknownWord> {
        one_of("component", &Self::ALL, word)
    }
}

/// Name of a resource's Deployment, Service, NetworkPolicy and PodDisruptionBudget.
pub fn object(id: &ResourceId) -> String {
    format!("{}-{}", id.name, Component::of(id.kind))
}

/// Name of the Secret with a resource's control token.
pub fn control_secret(id: &ResourceId) -> String {
    format!("{}-control", object(id))
}

/// Labels of every object and pod of a resource.
pub fn labels(id: &ResourceId) -> BTreeMap<String, String> {
    let mut labels = selector(id);
    labels.insert(MANAGED_BY.to_owned(), HEADWATER.to_owned());
    labels
}

/// Labels by which a resource's pods are found. They can't be changed once a Deployment has them.
pub fn selector(id: &ResourceId) -> BTreeMap<String, String> {
    let pairs = [
        (NAME, HEADWATER),
        (COMPONENT, Component::of(id.kind).as_str()),
        (INSTANCE, id.name.as_str()),
    ];
    pairs
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into_iter()
        .collect()
}

/// The pods of the EdgePool with this name as a label selector in text: `status.selector`, by which HPA and KEDA find
/// them.
pub fn edge_selector(name: &str) -> String {
    let pairs: Vec<String> = selector(&ResourceId::pool("", name))
        .iter()
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    pairs.join(",")
}

/// The resource that an object or a pod belongs to, by its labels and namespace. None: it is none of ours.
pub fn resource_of(metadata: &ObjectMeta) -> Option<ResourceId> {
    let labels = metadata.labels.as_ref()?;
    let label = |key: &str| labels.get(key).map(String::as_str);
    if label(NAME) != Some(HEADWATER) || label(MANAGED_BY) != Some(HEADWATER) {
        return None;
    }
    let kind = label(COMPONENT)?.parse::<Component>().ok()?.kind()?;
    let name = ResourceName::parse(label(INSTANCE)?).ok()?;
    Some(ResourceId {
        namespace: metadata.namespace.clone()?,
        kind,
        name: name.as_str().to_owned(),
    })
}

/// The resource that an object names as the one that keeps it.
pub fn owner_of(metadata: &ObjectMeta) -> Option<ResourceId> {
    let mut owners = metadata.owner_references.iter().flatten();
    let owner = owners.find(|owner| owner.controller == Some(true) && owner.api_version == API_VERSION)?;
    Some(ResourceId {
        namespace: metadata.namespace.clone()?,
        kind: owner.kind.parse().ok()?,
        name: ResourceName::parse(&owner.name).ok()?.as_str().to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;

    use super::*;

    fn metadata(id: &ResourceId) -> ObjectMeta {
        ObjectMeta {
            namespace: Some(id.namespace.clone()),
            labels: Some(labels(id)),
            ..ObjectMeta::default()
        }
    }

    #[test]
    fn components_read_back_as_they_are_written() {
        for component in Component::ALL {
            assert_eq!(component.to_string().parse(), Ok(component));
        }
        for kind in ResourceKind::ALL {
            assert_eq!(Component::of(kind).kind(), Some(kind));
        }
        let error = "edges".parse::<Component>().unwrap_err().to_string();
        assert!(error.contains("origin, edge, operator"), "{error}");
    }

    #[test]
    fn the_longest_name_fits_a_service() {
        let longest = "a".repeat(crate::api::names::RESOURCE_NAME_MAX);
        for id in [ResourceId::origin("ns", &longest), ResourceId::pool("ns", &longest)] {
            assert!(object(&id).len() <= 63 && control_secret(&id).len() <= 63);
        }
    }

    #[test]
    fn an_origin_and_a_pool_of_one_name_share_nothing() {
        let (origin, pool) = (ResourceId::origin("ns", "a"), ResourceId::pool("ns", "a"));
        assert_ne!(object(&origin), object(&pool));
        assert_ne!(control_secret(&origin), control_secret(&pool));
        assert_ne!(selector(&origin), selector(&pool));
    }

    #[test]
    fn an_object_leads_back_to_its_resource() {
        for id in [ResourceId::origin("ns", "main"), ResourceId::pool("other", "web")] {
            assert_eq!(resource_of(&metadata(&id)), Some(id));
        }
    }

    #[test]
    fn an_object_of_somebody_else_leads_nowhere() {
        let id = ResourceId::pool("ns", "web");
        let without = |key: &str| {
            let mut metadata = metadata(&id);
            metadata.labels.as_mut().unwrap().remove(key);
            metadata
        };
        for key in [NAME, COMPONENT, INSTANCE, MANAGED_BY] {
            assert_eq!(resource_of(&without(key)), None, "without {key}");
        }
        let with = |key: &str, value: &str| {
            let mut metadata = metadata(&id);
            metadata
                .labels
                .as_mut()
                .unwrap()
                .insert(key.to_owned(), value.to_owned());
            metadata
        };
        for (key, value) in [
            (NAME, "other"),
            (MANAGED_BY, "Helm"),
            (COMPONENT, "operator"),
            (COMPONENT, "cache"),
            (INSTANCE, "Not a name"),
        ] {
            assert_eq!(resource_of(&with(key, value)), None, "{key}={value}");
        }
        assert_eq!(resource_of(&ObjectMeta::default()), None);
        let nowhere = ObjectMeta {
            namespace: None,
            ..metadata(&id)
        };
        assert_eq!(resource_of(&nowhere), None);
    }

    #[test]
    fn an_object_without_labels_leads_back_by_its_owner() {
        let reference = |api_version: &str, controller| OwnerReference {
            api_version: api_version.to_owned(),
            kind: "EdgePool".to_owned(),
            name: "web".to_owned(),
            controller,
            ..OwnerReference::default()
        };
        let owned = |reference| ObjectMeta {
            namespace: Some("ns".to_owned()),
            owner_references: Some(vec![reference]),
            ..ObjectMeta::default()
        };
        let ours = owned(reference(API_VERSION, Some(true)));
        assert_eq!(owner_of(&ours), Some(ResourceId::pool("ns", "web")));
        assert_eq!(owner_of(&owned(reference(API_VERSION, None))), None);
        assert_eq!(owner_of(&owned(reference("apps/v1", Some(true)))), None);
        assert_eq!(owner_of(&ObjectMeta::default()), None);
    }

    #[test]
    fn the_selector_in_text_is_the_selector() {
        assert_eq!(
            edge_selector("web"),
            "app.kubernetes.io/component=edge,app.kubernetes.io/instance=web,app.kubernetes.io/name=headwater"
        );
        assert_eq!(MANAGED_SELECTOR, format!("{MANAGED_BY}={HEADWATER}"));
    }

    /// Kubernetes reads the cost as a 32-bit number and refuses the pod otherwise.
    #[test]
    fn the_lowest_cost_is_a_number_that_the_api_server_takes() {
        assert_eq!(LOWEST_COST.parse(), Ok(-i32::MAX));
    }
}
