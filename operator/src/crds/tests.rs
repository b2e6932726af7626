//! The rendered files: committed as they are, small, described field by field, and with their rules.

use std::path::PathBuf;

use serde_json::Value;

use super::*;
use crate::api::names;

const LARGEST: usize = 200 * 1024;

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../crds")
}

fn schemas() -> Vec<(String, Value)> {
    let of = |definition: CustomResourceDefinition| {
        let schema = serde_json::to_value(&definition.spec.versions[0].schema).unwrap();
        (definition.spec.names.kind, schema["openAPIV3Schema"].clone())
    };
    definitions().into_iter().map(of).collect()
}

fn each_schema(schema: &Value, path: &str, visit: &mut impl FnMut(&str, &Value)) {
    visit(path, schema);
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        each_schema(property, &format!("{path}.{name}"), visit);
    }
    for (key, suffix) in [("items", "[]"), ("additionalProperties", "{}")] {
        if schema[key].is_object() {
            each_schema(&schema[key], &format!("{path}{suffix}"), visit);
        }
    }
}

/// Set `UPDATE_CRDS` to write them anew.
#[test]
fn committed_files_are_what_the_types_say() {
    for (name, text) in render().unwrap() {
        let file = folder().join(&name);
        if std::env::var_os("UPDATE_CRDS").is_some() {
            std::fs::write(&file, &text).unwrap();
        }
        let committed = std::fs::read_to_string(&file).unwrap_or_default();
        assert!(
            committed == text,
            "crds/{name} is not what `headwater crds` renders: run UPDATE_CRDS=1 cargo test -p headwater crds"
        );
    }
}

#[test]
fn every_file_stays_small() {
    for (name, text) in render().unwrap() {
        assert!(text.len() < LARGEST, "{name} has {} bytes", text.len());
    }
}

#[test]
fn a_rendered_file_reads_back_as_the_definition() {
    for ((name, text), definition) in render().unwrap().into_iter().zip(definitions()) {
        let read: Value = serde_saphyr::from_str(&text).unwrap();
        assert_eq!(read, serde_json::to_value(&definition).unwrap(), "{name}");
    }
}

#[test]
fn every_field_has_a_description() {
    for (kind, schema) in schemas() {
        let mut without = Vec::new();
        for part in ["spec", "status"] {
            each_schema(&schema["properties"][part], part, &mut |path, schema| {
                let of_map_or_plain_list = path.ends_with("{}") || (path.ends_with("[]") && schema["type"] != "object");
                if !of_map_or_plain_list && schema["description"].as_str().is_none_or(|text| text.len() < 4) {
                    without.push(path.to_owned());
                }
            });
        }
        // The API server takes any; kubectl explain shows the kind's own.
        without.retain(|path| path != "spec" && path != "status");
        assert!(without.is_empty(), "{kind}: {without:?}");
    }
}

#[test]
fn every_list_map_and_text_has_a_bound() {
    for (kind, schema) in schemas() {
        let mut unbound = Vec::new();
        for part in ["spec", "status"] {
            each_schema(&schema["properties"][part], part, &mut |path, schema| {
                let bounded = match schema["type"].as_str() {
                    Some("array") => schema["maxItems"].is_u64(),
                    Some("string") => {
                        schema["maxLength"].is_u64() || schema["enum"].is_array() || schema["format"] == "date-time"
                    }
                    Some("object") => schema["properties"].is_object() || schema["maxProperties"].is_u64(),
                    Some("integer" | "number") => {
                        path.starts_with("status")
                            || schema["minimum"].is_number()
                            || path.ends_with("tolerationSeconds")
                    }
                    Some("boolean") => true,
                    _ => schema["x-kubernetes-int-or-string"] == true,
                };
                if !bounded {
                    unbound.push(path.to_owned());
                }
            });
        }
        assert!(unbound.is_empty(), "{kind}: {unbound:?}");
    }
}

/// The schema walk leaves patterns to the types of `names`; a pattern of another kind would go unchecked in local mode.
#[test]
fn every_pattern_belongs_to_a_type_of_names() {
    let known = [
        names::STREAM_NAME_PATTERN,
        names::STREAM_PATTERN_PATTERN,
        names::RESOURCE_NAME_PATTERN,
        names::SECRET_NAME_PATTERN,
        names::RTMP_URL_PATTERN,
        names::PUSH_URL_PATTERN,
    ];
    let mut seen = 0;
    for (kind, schema) in schemas() {
        each_schema(&schema, "", &mut |path, schema| {
            if let Some(pattern) = schema["pattern"].as_str() {
                seen += 1;
                assert!(known.contains(&pattern), "{kind}{path}: {pattern}");
            }
        });
    }
    assert!(seen >= known.len());
}

#[test]
fn the_rules_are_in_the_schema_with_plain_messages() {
    let mut rules = Vec::new();
    for (kind, schema) in schemas() {
        each_schema(&schema, "", &mut |path, schema| {
            for rule in schema["x-kubernetes-validations"].as_array().into_iter().flatten() {
                let message = rule["message"].as_str().unwrap_or_default();
                assert!(message.len() > 20, "{kind}{path}: {rule}");
                rules.push(format!("{kind}{path} {}", rule["rule"].as_str().unwrap()));
            }
        });
    }
    for wanted in [
        "EdgePool.spec.autoscaling self.minReplicas <= self.maxReplicas",
        "EdgePool.spec.autoscaling self.scaleInPercent < self.scaleOutPercent",
        "EdgePool.spec.upstream.kind self == oldSelf",
        "StreamOrigin.spec.app !(self in ['api', 'play', 'v1'])",
        "StreamOrigin.spec.pushes[] !self.stream.contains('*') || self.url.contains('{stream}')",
        "EdgePool self.metadata.name.size() <= 40",
        "StreamOrigin self.metadata.name.size() <= 40",
    ] {
        assert!(
            rules.iter().any(|rule| rule == wanted),
            "{wanted} is not among {rules:#?}"
        );
    }
}

#[test]
fn names_scale_and_defaults_are_those_of_the_contract() {
    let [origin, pool] = definitions();
    assert_eq!(origin.spec.names.short_names, Some(vec!["sto".to_owned()]));
    assert_eq!(pool.spec.names.short_names, Some(vec!["edp".to_owned()]));
    for definition in [&origin, &pool] {
        assert_eq!(definition.spec.names.categories, Some(vec!["headwater".to_owned()]));
        assert_eq!(definition.spec.scope, "Namespaced");
        assert!(
            definition.spec.versions[0]
                .subresources
                .as_ref()
                .unwrap()
                .status
                .is_some()
        );
    }
    let scale = pool.spec.versions[0].subresources.clone().unwrap().scale.unwrap();
    assert_eq!(scale.spec_replicas_path, ".spec.replicas");
    assert_eq!(scale.status_replicas_path, ".status.replicas");
    assert_eq!(scale.label_selector_path.as_deref(), Some(".status.selector"));
    let spec = spec_schema(&pool);
    let autoscaling = &spec["properties"]["autoscaling"]["properties"];
    for (field, default) in [
        ("minReplicas", 2),
        ("maxReplicas", 5),
        ("capacityMbps", 1000),
        ("scaleOutPercent", 70),
        ("scaleInPercent", 40),
        ("scaleOutStabilizationSeconds", 15),
        ("scaleInStabilizationSeconds", 300),
    ] {
        assert_eq!(autoscaling[field]["default"], default, "{field}");
    }
    assert_eq!(spec["properties"]["replicas"]["default"], 2);
    assert_eq!(spec["properties"]["drainTimeoutSeconds"]["default"], 1800);
    assert_eq!(
        spec["properties"]["replication"]["properties"]["streams"]["default"],
        serde_json::json!(["*"])
    );
    assert_eq!(spec["required"], serde_json::json!(["upstream"]));
    assert_eq!(spec_schema(&origin)["properties"]["app"]["default"], "live");
}
