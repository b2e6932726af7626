//! What may be said about the pods of an origin or a pool. Named fields only, so that the CRD stays small and every
//! field of the pod that keeps it safe stays the operator's.

use std::collections::BTreeMap;
use std::fmt;

use k8s_openapi::api::core::v1::{Toleration, TopologySpreadConstraint};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// What may be said about the pods.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct TemplateSpec {
    /// CPU and memory of the media node's container.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resources: Option<Resources>,
    /// Labels that a cluster node must have.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "node_selector_schema")]
    pub node_selector: BTreeMap<String, String>,
    /// Taints of cluster nodes that the pods put up with.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "tolerations_schema")]
    pub tolerations: Vec<Toleration>,
    /// Affinity to cluster nodes and to other pods, as in a pod's spec.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "affinity_schema")]
    pub affinity: Option<serde_json::Value>,
    /// How pods are spread; given, it replaces the spread over zones and nodes that the operator sets.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "topology_spread_schema")]
    pub topology_spread_constraints: Vec<TopologySpreadConstraint>,
    /// Further labels of the pods.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "labels_schema")]
    pub labels: BTreeMap<String, String>,
    /// Further annotations of the pods.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "super::service::annotations_schema")]
    pub annotations: BTreeMap<String, String>,
    /// PriorityClass of the pods.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub priority_class_name: Option<String>,
}

/// CPU and memory of a container.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Resources {
    /// What the scheduler sets aside, e.g. `cpu: 500m` or `memory: 256Mi`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "quantities_schema")]
    pub requests: BTreeMap<String, Amount>,
    /// What the container may use at most.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "quantities_schema")]
    pub limits: BTreeMap<String, Amount>,
}

/// A Kubernetes quantity, written as an integer or as a string.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Amount {
    /// `2`
    Integer(i64),
    /// `500m`, `1Gi`
    Text(String),
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Amount::Integer(number) => write!(f, "{number}"),
            Amount::Text(text) => f.write_str(text),
        }
    }
}

/// Label prefixes that the operator sets itself.
pub const RESERVED_LABELS: [&str; 2] = ["headwater.dev/", "app.kubernetes.io/"];

fn quantities_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "maxProperties": 16,
        "additionalProperties": {
            "x-kubernetes-int-or-string": true,
            "maxLength": 32,
        },
    })
}

fn node_selector_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "maxProperties": 32,
        "additionalProperties": { "type": "string", "maxLength": 63 },
    })
}

fn labels_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "maxProperties": 32,
        "additionalProperties": { "type": "string", "maxLength": 63 },
        "x-kubernetes-validations": [{
            "rule": "self.all(key, !key.startsWith('headwater.dev/') && !key.startsWith('app.kubernetes.io/'))",
            "message": "labels under headwater.dev/ and app.kubernetes.io/ are the operator's own",
        }],
    })
}

fn tolerations_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "maxItems": 32,
        "x-kubernetes-list-type": "atomic",
        "items": {
            "description": "A taint that the pods put up with.",
            "type": "object",
            "properties": {
                "key": { "description": "Key of the taint; none stands for all.", "type": "string", "maxLength": 317 },
                "operator": {
                    "description": "How the value is compared; Equal unless given.",
                    "type": "string", "enum": ["Exists", "Equal"],
                },
                "value": { "description": "Value of the taint.", "type": "string", "maxLength": 63 },
                "effect": {
                    "description": "Effect of the taint; none stands for all.",
                    "type": "string", "enum": ["NoSchedule", "PreferNoSchedule", "NoExecute"],
                },
                "tolerationSeconds": {
                    "description": "How long a NoExecute taint is put up with, in seconds.",
                    "type": "integer", "format": "int64",
                },
            },
        },
    })
}

fn affinity_schema(_: &mut SchemaGenerator) -> Schema {
    // Its full schema alone would be larger than all the rest; the operator reads it strictly instead.
    json_schema!({
        "type": "object",
        "nullable": true,
        "maxProperties": 3,
        "x-kubernetes-preserve-unknown-fields": true,
    })
}

fn topology_spread_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "maxItems": 8,
        "x-kubernetes-list-type": "atomic",
        "items": {
            "description": "One rule of how the pods are spread.",
            "type": "object",
            "required": ["maxSkew", "topologyKey", "whenUnsatisfiable"],
            "properties": {
                "maxSkew": {
                    "description": "By how many pods two domains may differ.",
                    "type": "integer", "format": "int32", "minimum": 1,
                },
                "minDomains": {
                    "description": "Least number of domains that are counted.",
                    "type": "integer", "format": "int32", "minimum": 1,
                },
                "topologyKey": {
                    "description": "Label of cluster nodes whose values are the domains.",
                    "type": "string", "minLength": 1, "maxLength": 317,
                },
                "whenUnsatisfiable": {
                    "description": "What happens to a pod that fits nowhere.",
                    "type": "string", "enum": ["DoNotSchedule", "ScheduleAnyway"],
                },
                "nodeAffinityPolicy": {
                    "description": "Whether nodes outside the pods' affinity count.",
                    "type": "string", "enum": ["Honor", "Ignore"],
                },
                "nodeTaintsPolicy": {
                    "description": "Whether nodes with taints that are not put up with count.",
                    "type": "string", "enum": ["Honor", "Ignore"],
                },
                "matchLabelKeys": {
                    "description": "Pod labels whose values narrow down which pods are counted.",
                    "type": "array", "maxItems": 16,
                    "items": { "type": "string", "maxLength": 317 },
                },
                "labelSelector": {
                    "description": "Which pods are counted; the operator fills in those of the same resource.",
                    "type": "object",
                    "properties": {
                        "matchLabels": {
                            "description": "Labels and values that a pod must have.",
                            "type": "object", "maxProperties": 32,
                            "additionalProperties": { "type": "string", "maxLength": 63 },
                        },
                        "matchExpressions": {
                            "description": "Rules that a pod's labels must meet.",
                            "type": "array", "maxItems": 16,
                            "items": {
                                "description": "One rule.",
                                "type": "object",
                                "required": ["key", "operator"],
                                "properties": {
                                    "key": { "description": "The label.", "type": "string", "maxLength": 317 },
                                    "operator": {
                                        "description": "How it is compared.",
                                        "type": "string", "enum": ["In", "NotIn", "Exists", "DoesNotExist"],
                                    },
                                    "values": {
                                        "description": "What it is compared with.",
                                        "type": "array", "maxItems": 32,
                                        "items": { "type": "string", "maxLength": 63 },
                                    },
                                },
                            },
                        },
                    },
                },
            },
        },
    })
}
