//! DECIDE: from a proven resource and the facts around it to the Kubernetes objects that should exist.
//!
//! ```text
//!                                                             ┌▶ Deployment           pods, resources
//! ValidOrigin + OriginFacts ─▶ origin ───┬▶ Objects<Decided> ─┼▶ Service              service
//! ValidPool + PoolFacts ─────▶ edge_pool ┘                    ├▶ NetworkPolicy        guard
//!                                                             └▶ PodDisruptionBudget  guard, of pools alone
//!
//! Secret as it is + now ─▶ token::step ─▶ Secret as it should be
//! ```
//!
//! Pure: no client, no clock, no await, no logger; equal input gives equal text. Who may publish, pulls and pushes are
//! in none of the objects, so that changing them restarts nothing.

mod edge_pool;
mod guard;
pub mod names;
mod origin;
mod pods;
mod resources;
mod service;
pub mod token;

use std::marker::PhantomData;
use std::net::IpAddr;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};

pub use edge_pool::{edge_pool, upstream_of};
pub use origin::origin;

use crate::api::API_VERSION;
use crate::fleet::ResourceId;

/// What every decision goes by, beside the resource: from the operator's settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Surroundings {
    /// Image of the media node.
    pub image: String,
    /// When that image is pulled; none leaves it to the cluster.
    pub pull_policy: Option<String>,
    /// Names of the Secrets that it is pulled with; none leaves that to the pods' ServiceAccount.
    pub pull_secrets: Vec<String>,
    /// Namespace of the operator's pods.
    pub operator_namespace: String,
    /// Namespaces whose pods may read the nodes' metrics.
    pub metrics_from: Vec<String>,
}

/// The resource as an owner. Its kind, name and namespace come from the proven value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// `metadata.uid`.
    pub uid: String,
}

/// What an origin's objects depend on, beside its spec.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OriginFacts {
    /// Whose objects they are.
    pub owner: Owner,
}

/// What a pool's objects depend on, beside its spec.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolFacts {
    /// Whose objects they are.
    pub owner: Owner,
    /// Replicas of the Deployment: edges wanted and edges that drain.
    pub replicas: u32,
    /// Edges wanted, draining ones not counted.
    pub desired: u32,
    /// ClusterIP of the upstream's Service. None while it has none, or nobody knows whose streams come from there: then the
    /// Deployment is not decided, unless suspended.
    pub upstream: Option<IpAddr>,
    /// App of the origin at the upper end.
    pub app: String,
}

/// Phase of [`Objects`] that should exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decided {}

/// Phase of [`Objects`] as the API server has taken them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Applied {}

/// The objects of one resource, in one phase of their making.
#[derive(Clone, Debug, PartialEq)]
pub struct Objects<Phase> {
    /// What runs the pods. None: nothing is known to change it by; one that exists is left alone.
    pub deployment: Option<Deployment>,
    /// The address.
    pub service: Service,
    /// Who may reach the pods.
    pub network_policy: NetworkPolicy,
    /// How many pods may be evicted at once. None: there is to be none.
    pub disruption_budget: Option<PodDisruptionBudget>,
    /// Visible to the stages, so that they can take the value apart without `..`.
    pub(super) phase: PhantomData<Phase>,
}

impl Objects<Applied> {
    /// The objects as the API server answered them: for the apply stage alone.
    pub(crate) fn applied(
        deployment: Option<Deployment>,
        service: Service,
        network_policy: NetworkPolicy,
        disruption_budget: Option<PodDisruptionBudget>,
    ) -> Self {
        Self {
            deployment,
            service,
            network_policy,
            disruption_budget,
            phase: PhantomData,
        }
    }
}

/// Metadata of an object that belongs to a resource and goes with it.
fn metadata(id: &ResourceId, owner: &Owner, name: String) -> ObjectMeta {
    ObjectMeta {
        name: Some(name),
        namespace: Some(id.namespace.clone()),
        labels: Some(names::labels(id)),
        owner_references: Some(vec![OwnerReference {
            api_version: API_VERSION.to_owned(),
            kind: id.kind.as_str().to_owned(),
            name: id.name.clone(),
            uid: owner.uid.clone(),
            controller: Some(true),
            block_owner_deletion: Some(true),
        }]),
        ..ObjectMeta::default()
    }
}

#[cfg(test)]
mod tests;
