//! The way to the API server for everything that is written: server-side apply under one field manager, only where what stands
//! differs from what is wanted, and never by a process that may lead no more.

mod error;

use std::collections::BTreeMap;
use std::collections::hash_map::{DefaultHasher, HashMap};
use std::fmt::Debug;
use std::hash::{Hash, Hasher};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::api::{DeleteParams, ObjectMeta, Patch, PatchParams, Preconditions};
use kube::{Api, Client, Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::decide::{Applied, Decided, Objects, names};
use super::leader::Fence;
use super::observe::Stores;
use crate::fleet::ResourceId;

pub use error::Error;

/// Field manager of all that is written.
pub const FIELD_MANAGER: &str = "headwater";
/// Longest wait for one write.
const ANSWER: Duration = Duration::from_secs(10);

/// Writes. Cheap to clone; the lock is held for one look.
#[derive(Clone)]
pub struct Writer {
    client: Client,
    fence: Option<Fence>,
    /// What was last applied to each object, and the version that came of it. One entry an object that is ours.
    memo: Arc<Mutex<HashMap<Key, Memo>>>,
}

type Key = (String, Option<String>, String);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Memo {
    hash: u64,
    version: Option<String>,
}

impl Writer {
    /// A writer behind a fence; without one only where nobody else can lead.
    pub fn new(client: Client, fence: Option<Fence>) -> Self {
        Self {
            client,
            fence,
            memo: Arc::default(),
        }
    }

    /// Makes an object as wanted. True if that took a write.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn apply<K>(&self, wanted: &K, live: Option<&K>) -> Result<bool, Error>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Serialize + DeserializeOwned + Clone + Debug,
    {
        let (kind, name) = (K::kind(&()).into_owned(), wanted.name_any());
        let encode = |object: &K| {
            serde_json::to_value(object).map_err(|source| Error::Encode {
                kind: kind.clone(),
                name: name.clone(),
                source,
            })
        };
        let value = encode(wanted)?;
        let hash = hash_of(&value);
        let key: Key = (kind.clone(), wanted.namespace(), name.clone());
        if let Some(live) = live
            && let Some(memo) = self.memo(&key)
            && memo.hash == hash
        {
            let untouched = memo.version.is_some() && memo.version == live.resource_version();
            if untouched || stands(&value, &encode(live)?) {
                return Ok(false);
            }
        }
        let api = self.api::<K>(wanted.namespace().as_deref());
        let found = match (live, self.memo(&key)) {
            (Some(live), _) => Some(live.clone()),
            // Only ours are watched: what is not seen may be there all the same.
            (None, None) => self.write("look for", &kind, &name, api.get_opt(&name)).await?,
            (None, Some(_)) => None,
        };
        if found.is_some_and(|found| !is_ours(found.meta(), wanted.meta())) {
            return Err(Error::Foreign { kind, name });
        }
        let params = PatchParams::apply(FIELD_MANAGER).force();
        let patch = Patch::Apply(&value);
        let applied = self
            .write("apply", &kind, &name, api.patch(&name, &params, &patch))
            .await;
        let applied = match applied {
            Err(error) if live.is_some() && error.is_about_what_is_written() => {
                self.replace(&api, &name, &value).await?
            }
            applied => applied?,
        };
        let memo = Memo {
            hash,
            version: applied.resource_version(),
        };
        self.memo
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(key, memo);
        Ok(true)
    }

    /// Makes an object as wanted that the API server would not take beside items of lists that others have put there: server-side
    /// apply leaves those alone, a merge patch replaces the lists (RFC 7386 §2).
    async fn replace<K>(&self, api: &Api<K>, name: &str, value: &Value) -> Result<K, Error>
    where
        K: Resource<DynamicType = ()> + DeserializeOwned + Clone + Debug,
    {
        let params = PatchParams {
            field_manager: Some(FIELD_MANAGER.to_owned()),
            ..PatchParams::default()
        };
        let patch = Patch::Merge(value);
        self.write("replace", &K::kind(&()), name, api.patch(name, &params, &patch))
            .await
    }

    /// Sets the annotations of a pod that are ours, all of them, and takes those back that are not wanted. A pod that is gone is no
    /// error. True if that took a write.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn annotate(&self, pod: &Pod, wanted: &BTreeMap<&'static str, String>) -> Result<bool, Error> {
        let live = pod.annotations();
        let differs = names::POD_ANNOTATIONS
            .iter()
            .any(|key| live.get(*key) != wanted.get(key));
        if !differs {
            return Ok(false);
        }
        let name = pod.name_any();
        let value = json!({
            "apiVersion": "v1",
            "kind": "Pod",
            // With the uid a pod that is gone is not made anew.
            "metadata": {"name": name, "namespace": pod.namespace(), "uid": pod.uid(), "annotations": wanted},
        });
        let api = self.api::<Pod>(pod.namespace().as_deref());
        let params = PatchParams::apply(FIELD_MANAGER).force();
        let patch = Patch::Apply(&value);
        let applied = self.write("annotate", "Pod", &name, api.patch(&name, &params, &patch));
        let applied = match applied.await {
            Err(error) if error.is_about_an_object_that_is_gone() => return Ok(false),
            result => result?,
        };
        let foreign = names::POD_ANNOTATIONS.into_iter().filter(|key| {
            let stands = applied.annotations().contains_key(*key);
            stands && !wanted.contains_key(*key)
        });
        let foreign: BTreeMap<&str, Value> = foreign.map(|key| (key, Value::Null)).collect();
        if foreign.is_empty() {
            return Ok(true);
        }
        // Somebody else set what is ours alone: applying leaves that, and it would be applied again and again.
        let value = json!({
            "metadata": {"resourceVersion": applied.resource_version(), "annotations": foreign},
        });
        let patch = Patch::Merge(&value);
        let params = PatchParams {
            field_manager: Some(FIELD_MANAGER.to_owned()),
            ..PatchParams::default()
        };
        let taken = self.write("annotate", "Pod", &name, api.patch(&name, &params, &patch));
        match taken.await {
            Err(error) if error.is_about_an_object_that_is_gone() => Ok(true),
            result => result.map(|_| true),
        }
    }

    /// Writes the status of a resource.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn status<K>(&self, resource: &K, status: &impl Serialize) -> Result<(), Error>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + DeserializeOwned + Clone + Debug,
    {
        let name = resource.name_any();
        let value = json!({
            "apiVersion": K::api_version(&()),
            "kind": K::kind(&()),
            "metadata": {"name": name, "namespace": resource.namespace(), "uid": resource.uid()},
            "status": status,
        });
        let api = self.api::<K>(resource.namespace().as_deref());
        let params = PatchParams::apply(FIELD_MANAGER).force();
        let patch = Patch::Apply(&value);
        let patched = api.patch_status(&name, &params, &patch);
        match self.write("report", &K::kind(&()), &name, patched).await {
            Err(error) if error.is_about_an_object_that_is_gone() => Ok(()),
            result => result.map(|_| ()),
        }
    }

    /// Deletes an object, the very one that was seen.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn delete<K>(&self, live: &K) -> Result<(), Error>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + DeserializeOwned + Clone + Debug,
    {
        let name = live.name_any();
        let api = self.api::<K>(live.namespace().as_deref());
        let params = DeleteParams {
            preconditions: Some(Preconditions {
                uid: live.uid(),
                resource_version: None,
            }),
            ..DeleteParams::default()
        };
        match self
            .write("delete", &K::kind(&()), &name, api.delete(&name, &params))
            .await
        {
            Err(error) if error.is_about_an_object_that_is_gone() => Ok(()),
            result => result.map(|_| ()),
        }
    }

    fn api<K>(&self, namespace: Option<&str>) -> Api<K>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
    {
        match namespace {
            Some(namespace) => Api::namespaced(self.client.clone(), namespace),
            None => Api::default_namespaced(self.client.clone()),
        }
    }

    async fn write<T>(
        &self,
        verb: &'static str,
        kind: &str,
        name: &str,
        write: impl Future<Output = kube::Result<T>>,
    ) -> Result<T, Error> {
        if let Some(fence) = &self.fence {
            fence.check()?;
        }
        let (kind, name) = (kind.to_owned(), name.to_owned());
        match tokio::time::timeout(ANSWER, write).await {
            Ok(Ok(written)) => Ok(written),
            Ok(Err(source)) => Err(Error::Api {
                verb,
                kind,
                name,
                source: Box::new(source),
            }),
            Err(_) => Err(Error::Timeout { verb, kind, name }),
        }
    }

    fn memo(&self, key: &Key) -> Option<Memo> {
        self.memo
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(key)
            .cloned()
    }

    /// Forgets what was applied for a resource that is gone.
    pub fn forget(&self, resource: &ResourceId) {
        let names = [names::object(resource), names::control_secret(resource)];
        let mut memo = self.memo.lock().unwrap_or_else(PoisonError::into_inner);
        memo.retain(|(_, namespace, name), _| {
            namespace.as_deref() != Some(&resource.namespace) || !names.contains(name)
        });
    }
}

/// Makes the objects of a resource as decided, the Deployment last: its pods need the others.
///
/// # Errors
/// The first of the writes that failed; those after it were not tried.
pub async fn objects(
    writer: &Writer,
    stores: &Stores,
    resource: &ResourceId,
    decided: Objects<Decided>,
) -> Result<Objects<Applied>, Error> {
    let name = names::object(resource);
    let service = Stores::object(&stores.services, resource, &name);
    writer.apply(&decided.service, service.as_deref()).await?;
    let policy = Stores::object(&stores.policies, resource, &name);
    writer.apply(&decided.network_policy, policy.as_deref()).await?;
    let budget: Option<Arc<PodDisruptionBudget>> = Stores::object(&stores.budgets, resource, &name);
    match (&decided.disruption_budget, &budget) {
        (Some(wanted), live) => {
            writer.apply(wanted, live.as_deref()).await?;
        }
        (None, Some(live)) => writer.delete(live.as_ref()).await?,
        (None, None) => {}
    }
    if let Some(wanted) = &decided.deployment {
        let live = Stores::object(&stores.deployments, resource, &name);
        writer.apply(wanted, live.as_deref()).await?;
    }
    let Objects {
        deployment,
        service,
        network_policy,
        disruption_budget,
        phase: _,
    } = decided;
    Ok(Objects::applied(deployment, service, network_policy, disruption_budget))
}

/// True if an object is the resource's own, or was made by an operator for a resource of this name.
fn is_ours(found: &ObjectMeta, wanted: &ObjectMeta) -> bool {
    let owners = |metadata: &ObjectMeta| metadata.owner_references.clone().unwrap_or_default();
    let owner = owners(wanted).into_iter().next().map(|owner| owner.uid);
    let owned = owners(found).into_iter().any(|other| Some(other.uid) == owner);
    let manager = found.labels.as_ref().and_then(|labels| labels.get(names::MANAGED_BY));
    owned || manager.is_some_and(|manager| manager == names::HEADWATER)
}

/// True if all that is wanted is what stands; what stands may say more.
fn stands(wanted: &Value, live: &Value) -> bool {
    match (wanted, live) {
        (Value::Object(wanted), Value::Object(live)) => wanted.iter().all(|(key, wanted)| match live.get(key) {
            Some(live) => stands(wanted, live),
            None => is_nothing(wanted),
        }),
        (Value::Array(wanted), Value::Array(live)) => {
            wanted.len() == live.len() && wanted.iter().zip(live).all(|(wanted, live)| stands(wanted, live))
        }
        (wanted, live) => wanted == live,
    }
}

/// What the API server leaves out.
fn is_nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Object(fields) => fields.values().all(is_nothing),
        Value::Array(items) => items.is_empty(),
        _ => false,
    }
}

fn hash_of(value: &Value) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.to_string().hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;

    use super::*;

    #[test]
    fn an_object_is_ours_by_its_owner_or_by_its_label() {
        let of = |uid: &str, manager: &str| ObjectMeta {
            labels: Some([(names::MANAGED_BY.to_owned(), manager.to_owned())].into()),
            owner_references: Some(vec![OwnerReference {
                uid: uid.to_owned(),
                ..OwnerReference::default()
            }]),
            ..ObjectMeta::default()
        };
        let wanted = of("1", names::HEADWATER);
        assert!(is_ours(&of("1", "nobody"), &wanted), "its labels were taken off");
        assert!(is_ours(&of("2", names::HEADWATER), &wanted), "restored from a backup");
        assert!(!is_ours(&of("2", "Helm"), &wanted));
        assert!(!is_ours(&ObjectMeta::default(), &wanted));
    }

    #[test]
    fn what_stands_may_say_more_but_nothing_else() {
        let wanted = json!({"spec": {"replicas": 2, "ports": [{"port": 80}], "labels": {}, "none": null}});
        let live = json!({"spec": {"replicas": 2, "ports": [{"port": 80, "protocol": "TCP"}]}, "status": {}});
        assert!(stands(&wanted, &live));
        for other in [
            json!({"spec": {"replicas": 3, "ports": [{"port": 80}]}}),
            json!({"spec": {"replicas": 2, "ports": [{"port": 80}, {"port": 81}]}}),
            json!({"spec": {"ports": [{"port": 80}]}}),
            json!({}),
        ] {
            assert!(!stands(&wanted, &other), "{other}");
        }
    }
}
