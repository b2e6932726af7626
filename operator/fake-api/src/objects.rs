//! The objects, their versions and their history, with the little that controllers of the cluster add.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{NAMESPACE, merge};

/// Kinds that are known: plural, API version, kind.
const KINDS: [(&str, &str, &str); 10] = [
    ("streamorigins", "headwater.dev/v1alpha1", "StreamOrigin"),
    ("edgepools", "headwater.dev/v1alpha1", "EdgePool"),
    ("secrets", "v1", "Secret"),
    ("services", "v1", "Service"),
    ("pods", "v1", "Pod"),
    ("deployments", "apps/v1", "Deployment"),
    ("poddisruptionbudgets", "policy/v1", "PodDisruptionBudget"),
    ("networkpolicies", "networking.k8s.io/v1", "NetworkPolicy"),
    ("events", "events.k8s.io/v1", "Event"),
    ("leases", "coordination.k8s.io/v1", "Lease"),
];

/// What a request is refused with.
pub(crate) type Refused = (u16, String);

/// Where an object is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key {
    pub(crate) kind: &'static str,
    pub(crate) namespace: String,
    pub(crate) name: String,
}

impl Key {
    pub(crate) fn named(kind: &str, name: &str) -> Self {
        let known = KINDS.iter().find(|(_, _, known)| *known == kind);
        Self {
            kind: known.unwrap_or_else(|| panic!("the fake API knows no {kind}")).2,
            namespace: NAMESPACE.to_owned(),
            name: name.to_owned(),
        }
    }

    pub(crate) fn at(plural: &str, namespace: &str, name: &str) -> Self {
        let known = KINDS.iter().find(|(known, ..)| *known == plural);
        Self {
            kind: known.unwrap_or_else(|| panic!("the fake API knows no {plural}")).2,
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        }
    }

    pub(crate) fn of(object: &Value) -> Self {
        let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str);
        Self {
            namespace: text("/metadata/namespace").unwrap_or(NAMESPACE).to_owned(),
            ..Self::named(text("/kind").unwrap(), text("/metadata/name").unwrap())
        }
    }

    pub(crate) fn api_version(&self) -> &'static str {
        KINDS.iter().find(|(_, _, kind)| *kind == self.kind).unwrap().1
    }
}

/// A change as watches tell it.
struct Change {
    version: u64,
    key: Key,
    before: Option<Value>,
    after: Option<Value>,
}

/// Everything there is.
#[derive(Default)]
pub(crate) struct Objects {
    version: u64,
    uids: u64,
    oldest: u64,
    objects: BTreeMap<Key, Value>,
    /// What each manager last applied to an object, or to its status.
    applied: BTreeMap<(Key, String, bool), Value>,
    history: Vec<Change>,
    rollouts_held: bool,
}

impl Objects {
    pub(crate) fn version(&self) -> u64 {
        self.version
    }

    pub(crate) fn oldest(&self) -> u64 {
        self.oldest
    }

    pub(crate) fn expire(&mut self) {
        self.version += 1;
        self.oldest = self.version;
    }

    pub(crate) fn hold_rollouts(&mut self, held: bool) {
        self.rollouts_held = held;
        if !held {
            let deployments: Vec<Key> = self
                .objects
                .keys()
                .filter(|key| key.kind == "Deployment")
                .cloned()
                .collect();
            deployments.iter().for_each(|key| self.roll_out(key));
        }
    }

    pub(crate) fn get(&self, key: &Key) -> Option<&Value> {
        self.objects.get(key)
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = &Value> {
        self.objects.values()
    }

    pub(crate) fn of_kind<'a>(&'a self, kind: &str, selector: Option<&str>) -> impl Iterator<Item = &'a Value> {
        let of_kind = self.objects.iter().filter(move |(key, _)| key.kind == kind);
        of_kind
            .map(|(_, object)| object)
            .filter(move |object| fits(object, selector))
    }

    /// Makes an object; one that is there keeps its uid.
    pub(crate) fn put(&mut self, mut object: Value) {
        let key = Key::of(&object);
        object["metadata"]["namespace"] = json!(key.namespace);
        self.commit(&key, object);
    }

    pub(crate) fn edit(&mut self, key: &Key, edit: impl FnOnce(&mut Value)) {
        let mut object = self.objects.get(key).unwrap_or_else(|| panic!("no {key:?}")).clone();
        edit(&mut object);
        self.commit(key, object);
    }

    pub(crate) fn create(&mut self, key: &Key, object: Value) -> Result<Value, Refused> {
        if self.objects.contains_key(key) {
            return Err((409, format!("{} {} already exists", key.kind, key.name)));
        }
        Ok(self.commit(key, object))
    }

    /// Server-side apply, forced, of an object or of its status.
    pub(crate) fn apply(&mut self, key: &Key, manager: &str, wanted: &Value, status: bool) -> Result<Value, Refused> {
        let live = self.objects.get(key);
        let given = wanted.pointer("/metadata/uid").and_then(Value::as_str);
        match (live, given) {
            (None, _) if status => return Err(not_found(key)),
            (None, Some(_)) => return Err((409, format!("{} {}: uid mismatch", key.kind, key.name))),
            (Some(live), Some(given)) if live["metadata"]["uid"] != given => {
                return Err((409, format!("{} {}: uid mismatch", key.kind, key.name)));
            }
            _ => {}
        }
        let mut object = live.cloned().unwrap_or_else(|| json!({}));
        let of_others =
            |(other, _): &(&(Key, String, bool), &Value)| other.0 == *key && other.1 != manager && other.2 == status;
        let others: Vec<&Value> = self.applied.iter().filter(of_others).map(|(_, value)| value).collect();
        let entry = (key.clone(), manager.to_owned(), status);
        let before = self.applied.get(&entry);
        if status {
            let empty = Value::Null;
            let mut part = object.get("status").cloned().unwrap_or_else(|| json!({}));
            let before = before.map(|before| &before["status"]);
            merge::apply(
                "status",
                &mut part,
                before,
                wanted.get("status").unwrap_or(&empty),
                &others,
            );
            object["status"] = part;
        } else {
            let standing = object.get("status").cloned();
            merge::apply("", &mut object, before, wanted, &others);
            match standing {
                Some(standing) => object["status"] = standing,
                None => drop(object.as_object_mut().unwrap().remove("status")),
            }
        }
        self.applied.insert(entry, wanted.clone());
        Ok(self.commit(key, object))
    }

    /// The fields that others have applied, and that this manager would change.
    pub(crate) fn conflicts(&self, key: &Key, manager: &str, wanted: &Value) -> Vec<String> {
        let Some(live) = self.objects.get(key) else {
            return Vec::new();
        };
        let of_others = self
            .applied
            .iter()
            .filter(|((of, other, status), _)| of == key && other != manager && !status);
        let mut fields: Vec<String> = of_others
            .flat_map(|(_, applied)| merge::conflicts("", live, applied, wanted))
            .filter(|field| field.starts_with(".spec") || field.starts_with(".metadata.annotations"))
            .collect();
        fields.sort();
        fields.dedup();
        fields
    }

    pub(crate) fn delete(&mut self, key: &Key, uid: Option<&str>) -> Result<Value, Refused> {
        let live = self.objects.get(key).ok_or_else(|| not_found(key))?.clone();
        if uid.is_some_and(|uid| live["metadata"]["uid"] != uid) {
            return Err((
                409,
                format!("{} {}: the uid in the precondition is another", key.kind, key.name),
            ));
        }
        self.remove(key)?;
        Ok(live)
    }

    pub(crate) fn remove(&mut self, key: &Key) -> Result<(), Refused> {
        let before = self.objects.remove(key).ok_or_else(|| not_found(key))?;
        self.applied.retain(|(applied, ..), _| applied != key);
        self.version += 1;
        let uid = before["metadata"]["uid"].clone();
        self.history.push(Change {
            version: self.version,
            key: key.clone(),
            before: Some(before),
            after: None,
        });
        // The garbage collector.
        let is_owned = |object: &&Value| {
            let owners = object.pointer("/metadata/ownerReferences").and_then(Value::as_array);
            owners.is_some_and(|owners| owners.iter().any(|owner| owner["uid"] == uid))
        };
        let owned: Vec<Key> = self.all().filter(is_owned).map(Key::of).collect();
        owned.iter().try_for_each(|key| self.remove(key))
    }

    /// The next change of a kind after a version, as an event for those who watch with this selector.
    pub(crate) fn event(&self, kind: &str, selector: Option<&str>, after: u64) -> Option<(u64, Value)> {
        let first = self.history.partition_point(|change| change.version <= after);
        let of_kind = self.history[first..].iter().filter(|change| change.key.kind == kind);
        let mut events = of_kind.filter_map(|change| {
            let fits = |object: &Option<Value>| object.clone().filter(|object| fits(object, selector));
            let (kind, mut object) = match (fits(&change.before), fits(&change.after)) {
                (None, Some(after)) => ("ADDED", after),
                (Some(_), Some(after)) => ("MODIFIED", after),
                (Some(before), None) => ("DELETED", before),
                (None, None) => return None,
            };
            object["metadata"]["resourceVersion"] = json!(change.version.to_string());
            Some((change.version, json!({"type": kind, "object": object})))
        });
        events.next()
    }

    /// Keeps an object as it should be by now. What changes nothing leaves its version as it is.
    fn commit(&mut self, key: &Key, mut object: Value) -> Value {
        let before = self.objects.get(key).cloned();
        object["apiVersion"] = json!(key.api_version());
        object["kind"] = json!(key.kind);
        object["metadata"]["name"] = json!(key.name);
        object["metadata"]["namespace"] = json!(key.namespace);
        for field in ["uid", "creationTimestamp", "generation", "resourceVersion"] {
            match before.as_ref().and_then(|before| before["metadata"].get(field)) {
                Some(known) => object["metadata"][field] = known.clone(),
                None => drop(object["metadata"].as_object_mut().unwrap().remove(field)),
            }
        }
        merge::fill_in(key, &mut object);
        if before.as_ref() == Some(&object) {
            return object;
        }
        self.version += 1;
        let metadata = &mut object["metadata"];
        metadata["resourceVersion"] = json!(self.version.to_string());
        if before.is_none() {
            self.uids += 1;
            metadata["uid"] = json!(format!("uid-{}", self.uids));
            metadata["creationTimestamp"] = json!(jiff::Timestamp::from_second(1_800_000_000).unwrap().to_string());
        }
        let new_make = before
            .as_ref()
            .is_none_or(|before| before.get("spec") != object.get("spec"));
        if new_make && key.api_version() != "v1" {
            let generation = object["metadata"]["generation"].as_u64().unwrap_or(0) + 1;
            object["metadata"]["generation"] = json!(generation);
        }
        self.objects.insert(key.clone(), object.clone());
        self.history.push(Change {
            version: self.version,
            key: key.clone(),
            before,
            after: Some(object.clone()),
        });
        if key.kind == "Deployment" && new_make && !self.rollouts_held {
            self.roll_out(key);
        }
        object
    }

    /// What the Deployment's controller does, at once.
    fn roll_out(&mut self, key: &Key) {
        self.edit(key, |deployment| {
            let replicas = deployment["spec"]["replicas"].clone();
            deployment["status"] = json!({
                "observedGeneration": deployment["metadata"]["generation"],
                "replicas": replicas, "updatedReplicas": replicas,
            });
        });
    }
}

fn not_found(key: &Key) -> Refused {
    (404, format!("{} {} not found", key.kind, key.name))
}

/// True if an object's labels are those of a selector of equalities.
fn fits(object: &Value, selector: Option<&str>) -> bool {
    let pairs = selector.into_iter().flat_map(|selector| selector.split(','));
    pairs
        .filter_map(|pair| pair.split_once('='))
        .all(|(key, value)| object["metadata"]["labels"][key] == value)
}
