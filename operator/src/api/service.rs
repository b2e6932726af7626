//! How a StreamOrigin or an EdgePool is reached from outside: what is asked of its Service.

use std::collections::BTreeMap;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// What is asked of the Service.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("x-kubernetes-validations" = [
    {
        "rule": "!has(self.loadBalancerClass) || !has(self.type) || self.type == 'LoadBalancer'",
        "message": "loadBalancerClass is allowed with type LoadBalancer only",
        "fieldPath": ".loadBalancerClass",
    },
    {
        "rule": "!has(self.externalTrafficPolicy) || !has(self.type) || self.type != 'ClusterIP'",
        "message": "externalTrafficPolicy is allowed with type LoadBalancer or NodePort only",
        "fieldPath": ".externalTrafficPolicy",
    },
]))]
pub struct ServiceSpec {
    /// Type of the Service: LoadBalancer, NodePort or ClusterIP.
    #[serde(rename = "type")]
    pub type_: ServiceType,
    /// Annotations of the Service: most clouds take their load balancer's settings from here.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "annotations_schema")]
    pub annotations: BTreeMap<String, String>,
    /// Class of the load balancer, where the cluster has several. Allowed with type LoadBalancer only.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub load_balancer_class: Option<String>,
    /// Where traffic from outside may be sent on to; none leaves it to the cluster.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub external_traffic_policy: Option<ExternalTrafficPolicy>,
}

/// Type of a Service.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ServiceType {
    /// A cloud's or the cluster's load balancer in front.
    #[default]
    LoadBalancer,
    /// A port of every node.
    NodePort,
    /// Inside the cluster alone.
    #[serde(rename = "ClusterIP")]
    ClusterIp,
}

/// Where traffic from outside may be sent on to. Local keeps the viewer's address and skips a hop; Cluster spreads more evenly.
/// Not with type ClusterIP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ExternalTrafficPolicy {
    /// Any node's pods.
    Cluster,
    /// Pods of the node that it came in on.
    Local,
}

/// Most annotations that may be set.
const MAX_ANNOTATIONS: u32 = 64;

/// Schema of a map of annotations.
pub(super) fn annotations_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "maxProperties": MAX_ANNOTATIONS,
        "additionalProperties": { "type": "string", "maxLength": 4096 },
        "x-kubernetes-validations": [{
            "rule": "self.all(key, !key.startsWith('headwater.dev/'))",
            "message": "annotations under headwater.dev/ are the operator's own",
        }],
    })
}
