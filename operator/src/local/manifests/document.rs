//! One document: which kind it is, what its fields are, whether they hold.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use headwater_contract::PublishKey;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use super::error::{ManifestError, Place};
use super::yaml::Parsed;
use crate::api::API_VERSION;
use crate::api::edge_pool::UpstreamKind;
use crate::api::names::{Namespace, ResourceKey, ResourceName, SecretName};
use crate::validate::schema::{self, child};
use crate::validate::{self, FieldError, Problem, Upstream, ValidOrigin, ValidPool};

/// A document as far as it could be read.
pub(super) struct Document {
    pub(super) place: Place,
    /// Kind and key, where both are clear: others may refer to it even if it has errors.
    pub(super) declares: Option<(&'static str, ResourceKey)>,
    /// The upstream that a pool names, even if the pool has errors elsewhere.
    pub(super) upstream: Option<Upstream>,
    /// What it holds, if it has no errors.
    pub(super) resource: Option<Resource>,
    pub(super) errors: Vec<ManifestError>,
    pub(super) warnings: Vec<String>,
    /// What a person wrote, without anything that was filled in.
    pub(super) written: Value,
    parsed: Parsed,
}

impl Document {
    /// Place of a field of this document.
    pub(super) fn place_of(&self, path: &str) -> Place {
        Place {
            line: self.parsed.line_of(path),
            ..self.place.clone()
        }
    }

    /// Kind and key as they stand in messages.
    pub(super) fn title(&self) -> Option<String> {
        self.declares.as_ref().map(|(kind, key)| format!("{kind} {key}"))
    }
}

/// What a document holds.
pub(super) enum Resource {
    Origin(ValidOrigin),
    Pool(ValidPool),
    Secret(ResourceKey, BTreeMap<String, PublishKey>),
}

pub(super) const ORIGIN: &str = "StreamOrigin";
pub(super) const POOL: &str = "EdgePool";
pub(super) const SECRET: &str = "Secret";
const KINDS: [(&str, &str); 3] = [(ORIGIN, API_VERSION), (POOL, API_VERSION), (SECRET, "v1")];

/// Metadata as a person writes it, and as `kubectl get -o yaml` prints it.
static METADATA: LazyLock<Value> = LazyLock::new(|| {
    let map = json!({ "type": "object", "nullable": true, "additionalProperties": { "type": "string" } });
    let any = json!({});
    json!({
        "type": "object",
        "required": ["name"],
        "properties": {
            "name": { "type": "string" }, "namespace": { "type": "string" }, "labels": map, "annotations": map,
            "creationTimestamp": any, "deletionTimestamp": any, "finalizers": any, "generation": any, "managedFields": any,
            "ownerReferences": any, "resourceVersion": any, "selfLink": any, "uid": any,
        },
    })
});

static SECRET_FIELDS: LazyLock<Value> = LazyLock::new(|| {
    let map = json!({ "type": "object", "nullable": true, "maxProperties": 10000, "additionalProperties": { "type": "string" } });
    json!({
        "type": "object",
        "properties": {
            "apiVersion": {}, "kind": {}, "metadata": {}, "data": map, "stringData": map,
            "type": { "type": "string" }, "immutable": { "type": "boolean" },
        },
    })
});

/// Reads one document.
pub(super) fn read(mut parsed: Parsed, place: Place) -> Document {
    let mut found = Vec::new();
    let mut warnings = Vec::new();
    let mut value = std::mem::take(&mut parsed.value);
    let written = value.clone();
    let kind = kind_of(&value, &mut found);
    let key = kind.and_then(|_| key_of(&value, &mut found));
    let upstream = match (kind, &key) {
        (Some(POOL), Some(key)) => upstream_of(&value["spec"]["upstream"], key),
        _ => None,
    };
    let resource = match kind {
        Some(ORIGIN) => custom(&mut value, &schema::ORIGIN_SPEC, validate::origin, &mut found).map(Resource::Origin),
        Some(POOL) => {
            warnings.extend(ignored_replicas(&value));
            custom(&mut value, &schema::POOL_SPEC, validate::pool, &mut found).map(Resource::Pool)
        }
        Some(_) => {
            let keys = secret(&value, &mut found);
            key.clone().map(|key| Resource::Secret(key, keys))
        }
        None => None,
    };
    let title = match (kind, &key) {
        (Some(kind), Some(key)) => Some(format!("{kind} {key}")),
        (Some(kind), None) => Some(kind.to_owned()),
        (None, _) => None,
    };
    let mut document = Document {
        place,
        declares: kind.zip(key),
        upstream,
        resource: resource.filter(|_| found.is_empty()),
        errors: Vec::new(),
        warnings: Vec::new(),
        written,
        parsed,
    };
    document.errors = found
        .into_iter()
        .map(|error| {
            let path = match &error.problem {
                Problem::UnknownField { key, .. } => child(&error.path, key),
                Problem::Refused(_) => error.path.clone(),
            };
            ManifestError::of_field(Some(document.place_of(&path)), title.as_deref(), error)
        })
        .collect();
    document.warnings = warnings
        .into_iter()
        .map(|(path, text)| {
            format!(
                "{}: {}: {path}: {text}",
                document.place_of(path),
                title.as_deref().unwrap_or_default()
            )
        })
        .collect();
    document
}

fn kind_of(value: &Value, found: &mut Vec<FieldError>) -> Option<&'static str> {
    if !value.is_object() {
        found.push(schema::wrong_type(
            "the document",
            value,
            "an object with apiVersion, kind, metadata and spec",
        ));
        return None;
    }
    let known = KINDS.map(|(kind, _)| kind);
    let kind = match &value["kind"] {
        Value::Null => {
            found.push(FieldError::refused(
                "kind",
                format!("is missing; allowed are {}", known.join(", ")),
            ));
            return None;
        }
        Value::String(kind) => kind.as_str(),
        other => {
            found.push(schema::wrong_type("kind", other, "a string"));
            return None;
        }
    };
    let Some((kind, api_version)) = KINDS.into_iter().find(|(known, _)| *known == kind) else {
        let advice = match schema::nearest(kind, known.into_iter()) {
            Some(nearest) => format!("did you mean `{nearest}`?"),
            None => format!("allowed are {}", known.join(", ")),
        };
        found.push(FieldError::refused("kind", format!("`{kind}` is not known; {advice}")));
        return None;
    };
    match &value["apiVersion"] {
        Value::String(given) if given == api_version => {}
        Value::String(given) => {
            let problem = format!("`{given}` is not known for {kind}; allowed is {api_version}");
            found.push(FieldError::refused("apiVersion", problem));
        }
        Value::Null => found.push(FieldError::refused(
            "apiVersion",
            format!("is missing; allowed is {api_version}"),
        )),
        other => found.push(schema::wrong_type("apiVersion", other, "a string")),
    }
    Some(kind)
}

/// Namespace and name, where they are texts; whether they are right names is the business of `validate`, but for Secrets.
fn key_of(value: &Value, found: &mut Vec<FieldError>) -> Option<ResourceKey> {
    let metadata = match &value["metadata"] {
        Value::Null => {
            found.push(FieldError::refused("metadata.name", "is missing; it has no default"));
            return None;
        }
        metadata => metadata,
    };
    let before = found.len();
    found.extend(schema::check(&METADATA, metadata, "metadata"));
    let name = metadata["name"].as_str()?;
    let namespace = match &metadata["namespace"] {
        Value::Null => validate::DEFAULT_NAMESPACE,
        namespace => namespace.as_str()?,
    };
    if value["kind"] == SECRET && found.len() == before {
        let refusals = [
            ("metadata.name", name, SecretName::parse(name).err()),
            ("metadata.namespace", namespace, Namespace::parse(namespace).err()),
        ];
        found.extend(refusals.into_iter().filter_map(|(path, text, error)| {
            error.map(|error| FieldError::refused(path, format!("`{text}` {error}")))
        }));
    }
    Some(ResourceKey::new(namespace, name))
}

/// A custom resource: the schema first, then, as far as its types allow it, the rules.
fn custom<R: DeserializeOwned, V>(
    value: &mut Value,
    spec_schema: &Value,
    prove: fn(&R) -> Result<V, Vec<FieldError>>,
    found: &mut Vec<FieldError>,
) -> Option<V> {
    let fields = value.as_object_mut()?;
    let known = ["apiVersion", "kind", "metadata", "spec", "status"];
    for key in fields.keys().filter(|key| !known.contains(&key.as_str())) {
        found.push(schema::unknown_field("", key, known.into_iter()));
    }
    let mut spec = fields.remove("spec").unwrap_or(Value::Null);
    if spec.is_null() {
        spec = Value::Object(Map::new());
    }
    schema::drop_defaulted_nulls(spec_schema, &mut spec);
    found.extend(schema::check(spec_schema, &spec, "spec"));
    let metadata = ["name", "namespace"].map(|key| (key, fields["metadata"][key].clone()));
    let mut metadata: Map<String, Value> = metadata
        .into_iter()
        .filter(|(_, value)| value.is_string())
        .map(|(key, value)| (key.to_owned(), value))
        .collect();
    // Those that are no texts were refused with the rest of the metadata.
    let annotations = fields["metadata"]["annotations"].as_object();
    let annotations = annotations.into_iter().flatten().filter(|(_, value)| value.is_string());
    let annotations: Map<String, Value> = annotations.map(|(key, value)| (key.clone(), value.clone())).collect();
    metadata.insert("annotations".to_owned(), Value::Object(annotations));
    let raw = json!({ "apiVersion": API_VERSION, "kind": fields["kind"], "metadata": metadata, "spec": spec });
    match serde_path_to_error::deserialize::<_, R>(&raw) {
        Ok(raw) => match prove(&raw) {
            Ok(valid) => Some(valid),
            Err(refused) => {
                let new = refused
                    .into_iter()
                    .filter(|error| !found.iter().any(|known| known.path == error.path));
                let new: Vec<FieldError> = new.collect();
                found.extend(new);
                None
            }
        },
        // A type that the schema has refused already; only where it has not is this news, and its value is not shown.
        Err(error) if found.is_empty() => {
            found.push(FieldError::refused(
                error.path().to_string(),
                "is not as the field wants it",
            ));
            None
        }
        Err(_) => None,
    }
}

fn upstream_of(value: &Value, pool: &ResourceKey) -> Option<Upstream> {
    let kind = match value["kind"].as_str()? {
        ORIGIN => UpstreamKind::StreamOrigin,
        POOL => UpstreamKind::EdgePool,
        _ => return None,
    };
    let name = ResourceName::parse(value["name"].as_str()?).ok()?;
    Some(Upstream {
        kind,
        key: ResourceKey::new(&pool.namespace, name.as_str()),
    })
}

fn ignored_replicas(value: &Value) -> Option<(&'static str, &'static str)> {
    let both = value["spec"].get("replicas").is_some() && value["spec"]["autoscaling"].is_object();
    both.then_some((
        "spec.replicas",
        "is ignored, since autoscaling is set; take one of them out",
    ))
}

/// The entries of a Secret. No value is ever shown.
fn secret(value: &Value, found: &mut Vec<FieldError>) -> BTreeMap<String, PublishKey> {
    found.extend(schema::check(&SECRET_FIELDS, value, ""));
    let mut entries = BTreeMap::new();
    let texts = |field: &str| {
        let map = value[field].as_object().cloned().unwrap_or_default();
        map.into_iter().filter_map(|(key, value)| match value {
            Value::String(text) => Some((key, text)),
            _ => None,
        })
    };
    for (key, encoded) in texts("data") {
        let path = child("data", &key);
        let encoded: String = encoded.split_whitespace().collect();
        match STANDARD.decode(encoded).map(String::from_utf8) {
            Ok(Ok(text)) => drop(entries.insert(key, (path, text))),
            Ok(Err(_)) => found.push(FieldError::refused(
                path,
                "is not text once decoded; a key must be UTF-8",
            )),
            Err(_) => found.push(FieldError::refused(
                path,
                "is not base64; plain text goes into stringData",
            )),
        }
    }
    for (key, text) in texts("stringData") {
        let path = child("stringData", &key);
        entries.insert(key, (path, text));
    }
    let mut keys = BTreeMap::new();
    for (key, (path, text)) in entries {
        if text.is_empty() {
            found.push(FieldError::refused(
                path,
                "is empty; a key must have at least one character",
            ));
        } else {
            keys.insert(key, PublishKey::new(text));
        }
    }
    keys
}
