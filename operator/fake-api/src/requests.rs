//! Requests: what a method and a path mean, and what is done about it.

use std::collections::{BTreeMap, BTreeSet};

use hyper::{Method, Uri};
use serde_json::{Value, json};

use super::merge;
use super::objects::{Key, Objects, Refused};

/// A request as far as it is known before its body.
pub(crate) struct Target {
    pub(crate) verb: &'static str,
    pub(crate) key: Key,
    pub(crate) selector: Option<String>,
    /// Version from which to watch.
    pub(crate) since: u64,
    status: bool,
    query: BTreeMap<String, String>,
}

impl Target {
    /// Panics on what the fake does not know: the operator asks for nothing else.
    pub(crate) fn parse(method: &Method, uri: &Uri, applies: bool) -> Self {
        let segments: Vec<&str> = uri.path().split('/').filter(|segment| !segment.is_empty()).collect();
        let rest = match segments.first() {
            Some(&"api") => &segments[2..],
            Some(&"apis") => &segments[3..],
            _ => panic!("the fake API knows no {uri}"),
        };
        let (namespace, rest) = match rest {
            ["namespaces", namespace, rest @ ..] if !rest.is_empty() => (*namespace, rest),
            rest => ("", rest),
        };
        let name = rest.get(1).copied().unwrap_or_default();
        let status = rest.get(2) == Some(&"status");
        let query: BTreeMap<String, String> = uri.query().unwrap_or_default().split('&').filter_map(pair).collect();
        let verb = match *method {
            Method::GET if name.is_empty() && query.contains_key("watch") => "watch",
            Method::GET if name.is_empty() => "list",
            Method::GET => "get",
            Method::PATCH if status => "status",
            Method::PATCH if applies => "apply",
            Method::PATCH => "patch",
            Method::POST => "create",
            Method::DELETE => "delete",
            _ => panic!("the fake API knows no {method} {uri}"),
        };
        Self {
            verb,
            key: Key::at(rest[0], namespace, name),
            selector: query.get("labelSelector").cloned(),
            since: query
                .get("resourceVersion")
                .and_then(|since| since.parse().ok())
                .unwrap_or(0),
            status,
            query,
        }
    }

    pub(crate) fn watches(&self) -> bool {
        self.verb == "watch"
    }

    pub(crate) fn is_write(&self) -> bool {
        !matches!(self.verb, "watch" | "list" | "get")
    }

    /// A later page of a list.
    pub(crate) fn continues(&self) -> bool {
        self.query.contains_key("continue")
    }

    pub(crate) fn read(&self, objects: &Objects, page: Option<usize>) -> Result<Value, Refused> {
        if self.verb == "get" {
            let found = objects.get(&self.key).cloned();
            return found.ok_or_else(|| (404, format!("{} {} not found", self.key.kind, self.key.name)));
        }
        let all: Vec<&Value> = objects.of_kind(self.key.kind, self.selector.as_deref()).collect();
        let from: usize = self
            .query
            .get("continue")
            .and_then(|from| from.parse().ok())
            .unwrap_or(0);
        let to = page.map_or(all.len(), |page| (from + page).min(all.len()));
        let mut metadata = json!({"resourceVersion": objects.version().to_string()});
        // A last page may be empty.
        if page.is_some() && from < all.len() {
            metadata["continue"] = json!(to.to_string());
        }
        Ok(json!({
            "apiVersion": self.key.api_version(), "kind": format!("{}List", self.key.kind), "metadata": metadata,
            "items": all.get(from..to).unwrap_or_default(),
        }))
    }

    /// The annotations that this body would set, change or take away, if it is applied.
    pub(crate) fn annotations(&self, objects: &Objects, body: &[u8]) -> Vec<String> {
        if self.verb != "apply" {
            return Vec::new();
        }
        let body: Value = serde_json::from_slice(body).unwrap_or_default();
        let of = |object: &Value| -> BTreeMap<String, Value> {
            let annotations = object["metadata"]["annotations"].as_object().cloned();
            annotations.unwrap_or_default().into_iter().collect()
        };
        let (live, wanted) = (objects.get(&self.key).map(of).unwrap_or_default(), of(&body));
        let keys: BTreeSet<&String> = live.keys().chain(wanted.keys()).collect();
        let changed = keys.into_iter().filter(|key| live.get(*key) != wanted.get(*key));
        changed.cloned().collect()
    }

    pub(crate) fn write(&self, objects: &mut Objects, body: &[u8]) -> Result<Value, Refused> {
        let body: Value = serde_json::from_slice(body).unwrap_or_default();
        match self.verb {
            "delete" => objects.delete(&self.key, body.pointer("/preconditions/uid").and_then(Value::as_str)),
            "create" => {
                let named = Key {
                    namespace: self.key.namespace.clone(),
                    ..Key::of(&body)
                };
                objects.create(&named, body)
            }
            "patch" => {
                if objects.get(&self.key).is_none() {
                    return Err((404, format!("{} {} not found", self.key.kind, self.key.name)));
                }
                objects.edit(&self.key, |object| merge::patch(object, &body));
                Ok(objects.get(&self.key).cloned().unwrap_or_default())
            }
            _ => {
                let manager = self.query.get("fieldManager").map(String::as_str).unwrap_or_default();
                let forced = self.query.get("force").map(String::as_str) == Some("true");
                let conflicts = match forced {
                    true => Vec::new(),
                    false => objects.conflicts(&self.key, manager, &body),
                };
                if !conflicts.is_empty() {
                    let fields: String = conflicts.iter().map(|field| format!("\n- {field}")).collect();
                    return Err((409, format!("Apply failed with conflicts:{fields}")));
                }
                objects.apply(&self.key, manager, &body, self.status)
            }
        }
    }
}

fn pair(pair: &str) -> Option<(String, String)> {
    let (key, value) = pair.split_once('=')?;
    Some((key.to_owned(), decoded(value)))
}

/// Percent-decoding, as far as label selectors need it.
fn decoded(text: &str) -> String {
    let pairs = [("%2F", "/"), ("%3D", "="), ("%2C", ","), ("%3A", ":")];
    pairs
        .iter()
        .fold(text.to_owned(), |text, (code, char)| text.replace(code, char))
}
