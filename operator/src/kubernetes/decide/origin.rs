//! The objects of a StreamOrigin: one pod that comes back elsewhere by itself, its address and its guards.

use std::marker::PhantomData;

use k8s_openapi::api::apps::v1::{Deployment, DeploymentSpec, DeploymentStrategy};
use k8s_openapi::api::core::v1::Toleration;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

use super::{Decided, Objects, OriginFacts, Surroundings, guard, metadata, names, pods, resources, service};
use crate::fleet::ResourceId;
use crate::validate::ValidOrigin;

/// Time between SIGTERM and SIGKILL. An origin ends its publishers and pulls within 5 s and waits for no viewer.
const GRACE_SECONDS: i64 = 15;
/// How long its cluster node may be lost before the pod is made elsewhere. The cluster's own default is 300.
const LOST_NODE_SECONDS: i64 = 10;
/// Taints of a cluster node that is lost.
const LOST_NODE_TAINTS: [&str; 2] = ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"];

/// The objects that a StreamOrigin should have.
pub fn origin(origin: &ValidOrigin, facts: &OriginFacts, around: &Surroundings) -> Objects<Decided> {
    let id = ResourceId::origin(&origin.key.namespace, &origin.key.name);
    let OriginFacts { owner } = facts;
    let deployment = Deployment {
        metadata: metadata(&id, owner, names::object(&id)),
        spec: Some(DeploymentSpec {
            replicas: Some(if origin.suspend { 0 } else { 1 }),
            revision_history_limit: Some(pods::REVISIONS_KEPT),
            selector: LabelSelector {
                match_labels: Some(names::selector(&id)),
                ..LabelSelector::default()
            },
            // Two origins at once would share the publishers between them.
            strategy: Some(DeploymentStrategy {
                type_: Some("Recreate".to_owned()),
                ..DeploymentStrategy::default()
            }),
            template: pods::template(pod(&id, origin), around),
            ..DeploymentSpec::default()
        }),
        status: None,
    };
    Objects {
        deployment: Some(deployment),
        service: service::service(&id, owner, &origin.service, origin.tls_secret.is_some()),
        network_policy: guard::network_policy(&id, owner, around),
        disruption_budget: None,
        phase: PhantomData,
    }
}

fn pod<'a>(id: &'a ResourceId, origin: &'a ValidOrigin) -> pods::Pod<'a> {
    pods::Pod {
        id,
        app: origin.app.as_str(),
        // Until the operator has said who may publish, nobody may: a restart opens no gap.
        flags: ["--require-publishing-rules".to_owned()]
            .into_iter()
            .chain(origin.dvr.flags(pods::SCRATCH_FOLDER))
            .collect(),
        scratch_gibibytes: origin.dvr.disk_gibibytes,
        grace_seconds: GRACE_SECONDS,
        resources: resources::ORIGIN,
        tolerations: lost_node(&origin.template.tolerations),
        spread: Vec::new(),
        operators_annotations: &[],
        tls_secret: origin.tls_secret.as_ref(),
        template: &origin.template,
    }
}

/// How long a lost node is put up with, for each of its taints that the template says nothing of.
fn lost_node(given: &[Toleration]) -> Vec<Toleration> {
    let named = |taint: &str| {
        given.iter().any(|toleration| {
            toleration.key.as_deref() == Some(taint)
                && toleration.effect.as_deref().is_none_or(|effect| effect == "NoExecute")
        })
    };
    let ours = LOST_NODE_TAINTS.into_iter().filter(|taint| !named(taint));
    ours.map(|taint| Toleration {
        key: Some(taint.to_owned()),
        operator: Some("Exists".to_owned()),
        effect: Some("NoExecute".to_owned()),
        toleration_seconds: Some(LOST_NODE_SECONDS),
        value: None,
    })
    .collect()
}
