//! The CRD's own schema, held against a JSON value: unknown fields, types, bounds, words of a closed set, keys of a list.
//!
//! Generic, so that it never drifts from the API types. A `pattern` is not looked at: each text that has one is a name or an
//! address with a type of its own in [`crate::api::names`], whose refusal says more. CEL rules are in the files beside this one.

use std::sync::LazyLock;

use kube::CustomResourceExt;
use serde_json::{Map, Value};

use super::error::{FieldError, Problem, quoted};
use crate::api::{EdgePool, StreamOrigin};
use crate::crds::spec_schema;

/// Schema of a StreamOrigin's `spec`.
pub(crate) static ORIGIN_SPEC: LazyLock<Value> = LazyLock::new(|| spec_schema(&StreamOrigin::crd()));
/// Schema of an EdgePool's `spec`.
pub(crate) static POOL_SPEC: LazyLock<Value> = LazyLock::new(|| spec_schema(&EdgePool::crd()));

/// Everything in `value` that `schema` does not allow.
pub(crate) fn check(schema: &Value, value: &Value, path: &str) -> Vec<FieldError> {
    let mut found = Vec::new();
    walk(schema, value, path, &mut found);
    found
}

/// Removes nulls of fields that have a default and may not be null, as the API server does before it fills defaults in.
pub(crate) fn drop_defaulted_nulls(schema: &Value, value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|key, field| {
                let schema = &schema["properties"][key];
                !(field.is_null() && schema["nullable"] != true && schema.get("default").is_some())
            });
            for (key, field) in fields {
                let known = &schema["properties"][key.as_str()];
                drop_defaulted_nulls(
                    if known.is_null() {
                        &schema["additionalProperties"]
                    } else {
                        known
                    },
                    field,
                );
            }
        }
        Value::Array(items) => items
            .iter_mut()
            .for_each(|item| drop_defaulted_nulls(&schema["items"], item)),
        _ => {}
    }
}

/// Path of a field of the object at `path`.
pub(crate) fn child(path: &str, key: &str) -> String {
    let plain = !key.is_empty() && key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
    match (path.is_empty(), plain) {
        (true, true) => key.to_owned(),
        (false, true) => format!("{path}.{key}"),
        (_, false) => format!("{path}[\"{key}\"]"),
    }
}

/// The one of `known` that a person may have meant by `key`.
pub(crate) fn nearest<'a>(key: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    const NEAR: f64 = 0.8;
    known
        .map(|name| (strsim::jaro_winkler(&key.to_lowercase(), &name.to_lowercase()), name))
        .filter(|(likeness, _)| *likeness >= NEAR)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, name)| name)
}

/// The refusal of a field that is none of `known`.
pub(crate) fn unknown_field<'a>(path: &str, key: &str, known: impl Iterator<Item = &'a str> + Clone) -> FieldError {
    FieldError {
        path: path.to_owned(),
        problem: Problem::UnknownField {
            key: key.to_owned(),
            nearest: nearest(key, known.clone()).map(str::to_owned),
            known: known.map(str::to_owned).collect(),
        },
    }
}

/// The refusal of a value of a wrong type; the value itself is not shown.
pub(crate) fn wrong_type(path: &str, value: &Value, wanted: &str) -> FieldError {
    let (is, advice) = match value {
        Value::Null => ("empty", ""),
        Value::Bool(_) => (
            "a boolean",
            if wanted == "a string" {
                " (put it in quotes)"
            } else {
                ""
            },
        ),
        Value::Number(number) if number.is_f64() => (
            "a fraction",
            if wanted == "a string" {
                " (put it in quotes)"
            } else {
                ""
            },
        ),
        Value::Number(_) => (
            "an integer",
            if wanted == "a string" {
                " (put it in quotes)"
            } else {
                ""
            },
        ),
        Value::String(_) => ("a string", ""),
        Value::Array(_) => ("a list", ""),
        Value::Object(_) => ("an object", ""),
    };
    FieldError::refused(path, format!("is {is}; it must be {wanted}{advice}"))
}

fn walk(schema: &Value, value: &Value, path: &str, found: &mut Vec<FieldError>) {
    if value.is_null() && schema["nullable"] == true {
        return;
    }
    if schema["x-kubernetes-int-or-string"] == true {
        match value {
            Value::String(text) => walk_string(schema, text, path, found),
            Value::Number(number) if !number.is_f64() => {}
            _ => found.push(wrong_type(path, value, "an integer or a string")),
        }
        return;
    }
    match (schema["type"].as_str(), value) {
        (Some("object"), Value::Object(fields)) => walk_object(schema, fields, path, found),
        (Some("array"), Value::Array(items)) => walk_array(schema, items, path, found),
        (Some("string"), Value::String(text)) => walk_string(schema, text, path, found),
        (Some("integer"), Value::Number(number)) if !number.is_f64() => walk_integer(schema, value, path, found),
        (Some("number"), Value::Number(_)) | (Some("boolean"), Value::Bool(_)) | (None, _) => {}
        (Some("object"), _) => found.push(wrong_type(path, value, "an object")),
        (Some("array"), _) => found.push(wrong_type(path, value, "a list")),
        (Some("string"), _) => found.push(wrong_type(path, value, "a string")),
        (Some("integer"), _) => found.push(wrong_type(path, value, "an integer")),
        (Some("boolean"), _) => found.push(wrong_type(path, value, "true or false")),
        (Some(_), _) => found.push(wrong_type(path, value, "a number")),
    }
}

fn walk_object(schema: &Value, fields: &Map<String, Value>, path: &str, found: &mut Vec<FieldError>) {
    let empty = Map::new();
    let properties = schema["properties"].as_object().unwrap_or(&empty);
    let open = schema["x-kubernetes-preserve-unknown-fields"] == true;
    let further = schema.get("additionalProperties");
    bound_count(schema, ("minProperties", "maxProperties"), fields.len(), path, found);
    for required in schema["required"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
    {
        if !fields.contains_key(required) {
            found.push(FieldError::refused(
                child(path, required),
                "is missing; it has no default",
            ));
        }
    }
    for (key, value) in fields {
        match (properties.get(key), further) {
            (Some(schema), _) => walk(schema, value, &child(path, key), found),
            (None, Some(schema)) => walk(schema, value, &child(path, key), found),
            (None, None) if open => {}
            (None, None) => found.push(unknown_field(path, key, properties.keys().map(String::as_str))),
        }
    }
}

fn walk_array(schema: &Value, items: &[Value], path: &str, found: &mut Vec<FieldError>) {
    bound_count(schema, ("minItems", "maxItems"), items.len(), path, found);
    let keys: Vec<&str> = schema["x-kubernetes-list-map-keys"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    for (at, item) in items.iter().enumerate() {
        let path = format!("{path}[{at}]");
        walk(&schema["items"], item, &path, found);
        let key_of = |item: &Value| {
            keys.iter()
                .map(|key| item.get(*key).cloned())
                .collect::<Option<Vec<Value>>>()
        };
        if let (Some(key), Some(own)) = (keys.first(), key_of(item))
            && items[..at].iter().any(|earlier| key_of(earlier).as_ref() == Some(&own))
        {
            let own = own.first().and_then(Value::as_str).unwrap_or_default();
            found.push(FieldError::refused(
                child(&path, key),
                format!("{} is there twice; each may stand once", quoted(own)),
            ));
        }
    }
}

fn walk_string(schema: &Value, text: &str, path: &str, found: &mut Vec<FieldError>) {
    if let Some(words) = schema["enum"].as_array() {
        let words: Vec<&str> = words.iter().filter_map(Value::as_str).collect();
        if !words.contains(&text) {
            found.push(FieldError::refused(
                path,
                format!("{} is not allowed; allowed are {}", quoted(text), words.join(", ")),
            ));
        }
        return;
    }
    if schema.get("pattern").is_some() {
        return;
    }
    let length = text.chars().count() as u64;
    match (schema["minLength"].as_u64(), schema["maxLength"].as_u64()) {
        (Some(least), _) if length < least => {
            found.push(FieldError::refused(
                path,
                format!("has {length} characters; it must have at least {least}"),
            ));
        }
        (_, Some(most)) if length > most => {
            found.push(FieldError::refused(
                path,
                format!("has {length} characters; at most {most} are allowed"),
            ));
        }
        _ => {}
    }
}

fn walk_integer(schema: &Value, value: &Value, path: &str, found: &mut Vec<FieldError>) {
    // A bound may be written as 1 or 1.0; those of the CRDs are far inside what f64 holds exactly.
    let (least, most) = (schema["minimum"].as_f64(), schema["maximum"].as_f64());
    let number = value.as_f64().unwrap_or_default();
    if least.is_some_and(|least| number < least) || most.is_some_and(|most| number > most) {
        let allowed = match (least, most) {
            (Some(least), Some(most)) => format!("{least} to {most}"),
            (Some(least), None) => format!("{least} and more"),
            (None, most) => format!("at most {}", most.unwrap_or_default()),
        };
        found.push(FieldError::refused(
            path,
            format!("{value} is out of range; allowed are {allowed}"),
        ));
    }
}

fn bound_count(schema: &Value, (min, max): (&str, &str), count: usize, path: &str, found: &mut Vec<FieldError>) {
    let count = count as u64;
    if let Some(least) = schema[min].as_u64().filter(|least| count < *least) {
        found.push(FieldError::refused(
            path,
            format!("has {count} entries; it must have at least {least}"),
        ));
    }
    if let Some(most) = schema[max].as_u64().filter(|most| count > *most) {
        found.push(FieldError::refused(
            path,
            format!("has {count} entries; at most {most} are allowed"),
        ));
    }
}
