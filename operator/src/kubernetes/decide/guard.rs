//! What guards a resource's pods: who may reach which port, and how many edges may be evicted at once.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::networking::v1::{
    NetworkPolicy, NetworkPolicyIngressRule, NetworkPolicyPeer, NetworkPolicyPort, NetworkPolicySpec,
};
use k8s_openapi::api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::names::{COMPONENT, Component, HEADWATER, NAME, NAMESPACE_NAME};
use super::{Owner, Surroundings, metadata, names, pods};
use crate::fleet::ResourceId;

/// RTMP and HTTP from anywhere; ops from the operator and from where metrics are read. What pods send is not
/// restricted.
pub(super) fn network_policy(id: &ResourceId, owner: &Owner, around: &Surroundings) -> NetworkPolicy {
    let operator = NetworkPolicyPeer {
        namespace_selector: Some(labelled([(NAMESPACE_NAME, around.operator_namespace.as_str())])),
        pod_selector: Some(labelled([(NAME, HEADWATER), (COMPONENT, Component::Operator.as_str())])),
        ip_block: None,
    };
    let readers: BTreeSet<&str> = around.metrics_from.iter().map(String::as_str).collect();
    let readers = readers.into_iter().map(|namespace| NetworkPolicyPeer {
        namespace_selector: Some(labelled([(NAMESPACE_NAME, namespace)])),
        ..NetworkPolicyPeer::default()
    });
    NetworkPolicy {
        metadata: metadata(id, owner, names::object(id)),
        spec: Some(NetworkPolicySpec {
            pod_selector: Some(LabelSelector {
                match_labels: Some(names::selector(id)),
                ..LabelSelector::default()
            }),
            policy_types: Some(vec!["Ingress".to_owned()]),
            ingress: Some(vec![
                NetworkPolicyIngressRule {
                    ports: Some(vec![port(pods::RTMP), port(pods::HTTP)]),
                    from: None,
                },
                NetworkPolicyIngressRule {
                    ports: Some(vec![port(pods::OPS)]),
                    from: Some(std::iter::once(operator).chain(readers).collect()),
                },
            ]),
            egress: None,
        }),
    }
}

/// All edges that are wanted but one stay. Draining edges are unready and not counted, and may be evicted at any time:
/// SIGTERM goes on with their drain.
pub(super) fn disruption_budget(id: &ResourceId, owner: &Owner, desired: u32) -> PodDisruptionBudget {
    let stay = i32::try_from(desired.saturating_sub(1)).unwrap_or(i32::MAX);
    PodDisruptionBudget {
        metadata: metadata(id, owner, names::object(id)),
        spec: Some(PodDisruptionBudgetSpec {
            min_available: Some(IntOrString::Int(stay)),
            selector: Some(LabelSelector {
                match_labels: Some(names::selector(id)),
                ..LabelSelector::default()
            }),
            unhealthy_pod_eviction_policy: Some("AlwaysAllow".to_owned()),
            max_unavailable: None,
        }),
        status: None,
    }
}

/// By number: network plug-ins differ in how well they know ports by name.
fn port(number: u16) -> NetworkPolicyPort {
    NetworkPolicyPort {
        protocol: Some("TCP".to_owned()),
        port: Some(IntOrString::Int(i32::from(number))),
        end_port: None,
    }
}

fn labelled<const N: usize>(pairs: [(&str, &str); N]) -> LabelSelector {
    let labels: BTreeMap<String, String> = pairs
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into_iter()
        .collect();
    LabelSelector {
        match_labels: Some(labels),
        ..LabelSelector::default()
    }
}
