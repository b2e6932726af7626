//! What both kinds have in common: the schema's bounds, the key, the Service and the pods.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Affinity, ResourceRequirements};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kube::api::ObjectMeta;
use serde::Serialize;
use serde_json::Value;

use super::error::{Findings, Quote, quoted};
use super::schema::{self, child};
use super::{Exposure, FieldError, ValidService, ValidTemplate};
use crate::api::names::{Namespace, ResourceKey, ResourceName, SecretName};
use crate::api::service::{ServiceSpec, ServiceType};
use crate::api::template::{Amount, RESERVED_LABELS, TemplateSpec};
use crate::api::tls::TlsSpec;

/// Namespace of a resource that names none.
pub(crate) const DEFAULT_NAMESPACE: &str = "default";
const SERVICE: &str = "spec.service";
const TEMPLATE: &str = "spec.template";

/// The schema's bounds, held against a spec as it would be written.
pub(super) fn bounds(schema: &Value, spec: &impl Serialize) -> Findings {
    match serde_json::to_value(spec) {
        Ok(value) => Findings::new(schema::check(schema, &value, "spec")),
        Err(error) => Findings::new(vec![FieldError::refused(
            "spec",
            format!("can't be written as JSON: {error}"),
        )]),
    }
}

/// Namespace and name.
pub(super) fn key(metadata: &ObjectMeta, found: &mut Findings) -> Option<ResourceKey> {
    let namespace = metadata.namespace.as_deref().unwrap_or(DEFAULT_NAMESPACE);
    let namespace = found.name(
        "metadata.namespace",
        namespace,
        Namespace::parse(namespace),
        Quote::Shown,
    );
    let Some(name) = metadata.name.as_deref() else {
        found.refuse("metadata.name", "is missing; it has no default");
        return None;
    };
    let name = found.name("metadata.name", name, ResourceName::parse(name), Quote::Shown);
    Some(ResourceKey::new(namespace?.as_str(), name?.as_str()))
}

/// The Secret with the certificate.
pub(super) fn tls(raw: Option<&TlsSpec>, found: &mut Findings) -> Option<SecretName> {
    let name = raw?.secret_name.as_str();
    found.name("spec.tls.secretName", name, SecretName::parse(name), Quote::Shown)
}

/// The Service.
pub(super) fn service(raw: &ServiceSpec, found: &mut Findings) -> ValidService {
    own_keys(
        &raw.annotations,
        &format!("{SERVICE}.annotations"),
        &["headwater.dev/"],
        found,
    );
    if raw.load_balancer_class.is_some() && raw.type_ != ServiceType::LoadBalancer {
        found.refuse(
            format!("{SERVICE}.loadBalancerClass"),
            "is set; it is allowed with type LoadBalancer only",
        );
    }
    if raw.external_traffic_policy.is_some() && raw.type_ == ServiceType::ClusterIp {
        let problem = "is set; it is allowed with type LoadBalancer or NodePort only";
        found.refuse(format!("{SERVICE}.externalTrafficPolicy"), problem);
    }
    let policy = raw.external_traffic_policy;
    ValidService {
        annotations: raw.annotations.clone(),
        exposure: match raw.type_ {
            ServiceType::ClusterIp => Exposure::ClusterIp,
            ServiceType::NodePort => Exposure::NodePort { policy },
            ServiceType::LoadBalancer => Exposure::LoadBalancer {
                class: raw.load_balancer_class.clone(),
                policy,
            },
        },
    }
}

/// The pods.
pub(super) fn template(raw: &TemplateSpec, found: &mut Findings) -> ValidTemplate {
    own_keys(&raw.labels, &format!("{TEMPLATE}.labels"), &RESERVED_LABELS, found);
    own_keys(
        &raw.annotations,
        &format!("{TEMPLATE}.annotations"),
        &["headwater.dev/"],
        found,
    );
    let resources = raw.resources.as_ref().map(|resources| ResourceRequirements {
        requests: quantities(&resources.requests, &format!("{TEMPLATE}.resources.requests"), found),
        limits: quantities(&resources.limits, &format!("{TEMPLATE}.resources.limits"), found),
        ..ResourceRequirements::default()
    });
    ValidTemplate {
        resources,
        node_selector: raw.node_selector.clone(),
        tolerations: raw.tolerations.clone(),
        affinity: raw.affinity.as_ref().and_then(|raw| affinity(raw, found)),
        topology_spread_constraints: raw.topology_spread_constraints.clone(),
        labels: raw.labels.clone(),
        annotations: raw.annotations.clone(),
        priority_class_name: raw.priority_class_name.clone(),
    }
}

fn own_keys(map: &BTreeMap<String, String>, path: &str, reserved: &[&str], found: &mut Findings) {
    for key in map.keys() {
        if let Some(prefix) = reserved.iter().find(|prefix| key.starts_with(**prefix)) {
            found.refuse(
                child(path, key),
                format!("is the operator's own; any key but those under {prefix} is allowed"),
            );
        }
    }
}

fn quantities(raw: &BTreeMap<String, Amount>, path: &str, found: &mut Findings) -> Option<BTreeMap<String, Quantity>> {
    for (key, amount) in raw {
        let text = amount.to_string();
        if !is_quantity(&text) {
            let problem = format!(
                "{} is not a quantity; allowed are numbers such as 2, 500m, 256Mi or 1Gi",
                quoted(&text)
            );
            found.refuse(child(path, key), problem);
        }
    }
    let read = raw
        .iter()
        .map(|(key, amount)| (key.clone(), Quantity(amount.to_string())));
    (!raw.is_empty()).then(|| read.collect())
}

/// Kubernetes' quantity, not below zero: a decimal number with a suffix or an exponent.
fn is_quantity(text: &str) -> bool {
    let text = text.strip_prefix('+').unwrap_or(text);
    let end = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, suffix) = text.split_at(end);
    let number_is_right = number.matches('.').count() <= 1 && number.bytes().any(|b| b.is_ascii_digit());
    let suffixes = [
        "", "m", "u", "n", "k", "M", "G", "T", "P", "E", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei",
    ];
    let exponent = suffix.strip_prefix(['e', 'E']).is_some_and(|exponent| {
        let digits = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
        !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit())
    });
    number_is_right && (suffixes.contains(&suffix) || exponent)
}

/// Reads an affinity without loss: its schema is open, so a misspelt field would else be ignored.
fn affinity(raw: &Value, found: &mut Findings) -> Option<Affinity> {
    let path = format!("{TEMPLATE}.affinity");
    let read: Affinity = match serde_path_to_error::deserialize(raw) {
        Ok(read) => read,
        Err(error) => {
            let at = match error.path().to_string().as_str() {
                "." => path,
                inner => format!("{path}.{inner}"),
            };
            found.refuse(at, format!("is not as in a pod's spec: {}", error.inner()));
            return None;
        }
    };
    let kept = serde_json::to_value(&read).unwrap_or_default();
    for lost in lost_fields(raw, &kept, &path) {
        found.refuse(lost, "is unknown; allowed is what a pod's spec.affinity has");
    }
    Some(read)
}

fn lost_fields(raw: &Value, kept: &Value, path: &str) -> Vec<String> {
    match (raw, kept) {
        (Value::Object(raw), Value::Object(kept)) => raw
            .iter()
            .flat_map(|(key, value)| match kept.get(key) {
                Some(kept) => lost_fields(value, kept, &child(path, key)),
                None if value.is_null() => Vec::new(),
                None => vec![child(path, key)],
            })
            .collect(),
        (Value::Array(raw), Value::Array(kept)) => raw
            .iter()
            .zip(kept)
            .enumerate()
            .flat_map(|(at, (raw, kept))| lost_fields(raw, kept, &format!("{path}[{at}]")))
            .collect(),
        _ => Vec::new(),
    }
}
