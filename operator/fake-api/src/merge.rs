//! Server-side apply on JSON, defaults, and objects made comparable. Pure.

use serde_json::{Map, Value, json};

use super::objects::Key;

/// Lists that are merged by the key of their items, with the fields of that key; others are replaced as a whole.
const KEYED: [(&str, &[&str]); 8] = [
    ("containers", &["name"]),
    ("env", &["name"]),
    ("volumes", &["name"]),
    ("volumeMounts", &["mountPath"]),
    ("ownerReferences", &["uid"]),
    ("conditions", &["type"]),
    ("ports", &["containerPort", "port", "protocol"]),
    ("topologySpreadConstraints", &["topologyKey", "whenUnsatisfiable"]),
];

/// Makes `live` what `wanted` says, and takes away what the same manager applied before and no longer does, unless another one
/// applies it too.
pub(crate) fn apply(field: &str, live: &mut Value, before: Option<&Value>, wanted: &Value, others: &[&Value]) {
    match (wanted, &mut *live) {
        (Value::Object(wanted), Value::Object(live)) => {
            let dropped = before.and_then(Value::as_object).into_iter().flatten();
            for (key, before) in dropped.filter(|(key, _)| !wanted.contains_key(*key)) {
                strip(live, key, before, &inside(others, key));
            }
            for (key, wanted) in wanted {
                let before = before.and_then(|before| before.get(key));
                let part = live.entry(key).or_insert_with(|| blank(wanted));
                apply(key, part, before, wanted, &inside(others, key));
            }
        }
        (Value::Array(wanted), Value::Array(live)) if keys(field).is_some() => {
            let same = |a: &Value, b: &Value| key_of(field, a) == key_of(field, b);
            let dropped = before.and_then(Value::as_array).into_iter().flatten();
            for dropped in dropped.filter(|dropped| !wanted.iter().any(|item| same(item, dropped))) {
                live.retain(|item| !same(item, dropped));
            }
            for wanted in wanted {
                let known = before.and_then(Value::as_array);
                let known = known.and_then(|known| known.iter().find(|item| same(item, wanted)));
                match live.iter_mut().find(|item| same(item, wanted)) {
                    Some(item) => apply("", item, known, wanted, &[]),
                    None => live.push(wanted.clone()),
                }
            }
        }
        _ => *live = wanted.clone(),
    }
}

/// Paths of the leaves that somebody else applied, and that would be changed.
pub(crate) fn conflicts(path: &str, live: &Value, applied: &Value, wanted: &Value) -> Vec<String> {
    match (live, applied, wanted) {
        (Value::Object(live), Value::Object(applied), Value::Object(wanted)) => {
            let both = wanted.iter().filter_map(|(key, wanted)| {
                let inside = conflicts(&format!("{path}.{key}"), live.get(key)?, applied.get(key)?, wanted);
                Some(inside)
            });
            both.flatten().collect()
        }
        _ if live == wanted => Vec::new(),
        _ => vec![path.to_owned()],
    }
}

fn strip(live: &mut Map<String, Value>, key: &str, before: &Value, others: &[&Value]) {
    match (live.get_mut(key), before) {
        (Some(Value::Object(part)), Value::Object(before)) => {
            for (key, before) in before {
                strip(part, key, before, &inside(others, key));
            }
            if part.is_empty() && others.is_empty() {
                live.remove(key);
            }
        }
        (Some(_), _) if others.is_empty() => drop(live.remove(key)),
        _ => {}
    }
}

fn inside<'a>(others: &[&'a Value], key: &str) -> Vec<&'a Value> {
    others.iter().filter_map(|other| other.get(key)).collect()
}

fn blank(wanted: &Value) -> Value {
    match wanted {
        Value::Object(_) => json!({}),
        Value::Array(_) => json!([]),
        other => other.clone(),
    }
}

fn keys(field: &str) -> Option<&'static [&'static str]> {
    KEYED.iter().find(|(known, _)| *known == field).map(|(_, keys)| *keys)
}

fn key_of(field: &str, item: &Value) -> Vec<Value> {
    let keys = keys(field).unwrap_or_default();
    keys.iter().map(|key| item[*key].clone()).collect()
}

/// JSON merge patch (RFC 7386): null takes a field away.
pub(crate) fn patch(live: &mut Value, patch: &Value) {
    match (patch, &mut *live) {
        (Value::Object(patch), Value::Object(live)) => {
            for (key, part) in patch {
                match part {
                    Value::Null => drop(live.remove(key)),
                    part => self::patch(live.entry(key).or_insert_with(|| blank(part)), part),
                }
            }
        }
        _ => *live = patch.clone(),
    }
}

/// What the API server adds, as far as the operator meets it.
pub(crate) fn fill_in(key: &Key, object: &mut Value) {
    match key.kind {
        "Service" => {
            let address = cluster_ip(key);
            let spec = &mut object["spec"];
            default(spec, "clusterIP", json!(address));
            default(spec, "clusterIPs", json!([address]));
            default(spec, "sessionAffinity", json!("None"));
            default(spec, "type", json!("ClusterIP"));
            default(spec, "internalTrafficPolicy", json!("Cluster"));
        }
        "Deployment" => {
            let spec = &mut object["spec"];
            default(spec, "progressDeadlineSeconds", json!(600));
            let pod = &mut spec["template"]["spec"];
            default(pod, "restartPolicy", json!("Always"));
            default(pod, "dnsPolicy", json!("ClusterFirst"));
            default(pod, "schedulerName", json!("default-scheduler"));
            for container in pod["containers"].as_array_mut().into_iter().flatten() {
                default(container, "terminationMessagePath", json!("/dev/termination-log"));
                default(container, "imagePullPolicy", json!("IfNotPresent"));
                for probe in ["readinessProbe", "livenessProbe"] {
                    if container[probe].is_object() {
                        default(&mut container[probe], "successThreshold", json!(1));
                        default(&mut container[probe]["httpGet"], "scheme", json!("HTTP"));
                    }
                }
            }
        }
        _ => {}
    }
}

fn default(object: &mut Value, field: &str, value: Value) {
    if let Some(fields) = object.as_object_mut() {
        fields.entry(field).or_insert(value);
    }
}

/// The same address for the same name, whatever the order in which Services are made.
fn cluster_ip(key: &Key) -> String {
    let mix = |hash: u32, byte: u8| (hash ^ u32::from(byte)).wrapping_mul(16_777_619);
    let hash = key.name.bytes().fold(2_166_136_261, mix);
    format!("127.200.{}.{}", hash >> 8 & 0xff, 1 + hash % 254)
}

/// An object without what differs from one run to the next: versions, uids, times and tokens.
pub(crate) fn normal(object: &Value) -> Value {
    const DIFFER: [&str; 9] = [
        "resourceVersion",
        "uid",
        "creationTimestamp",
        "generation",
        "observedGeneration",
        "lastTransitionTime",
        "lastScaleTime",
        "headwater.dev/token-since",
        "token",
    ];
    match object {
        Value::Object(fields) => {
            let lasting = fields.iter().filter(|(key, _)| !DIFFER.contains(&key.as_str()));
            Value::Object(lasting.map(|(key, value)| (key.clone(), normal(value))).collect())
        }
        Value::Array(items) => Value::Array(items.iter().map(normal).collect()),
        other => other.clone(),
    }
}
