//! Objects of any kind as JSON: applied from YAML under strict validation, read, changed, waited for, shown as a person sees them.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use kube::api::{Api, ApiResource, DeleteParams, DynamicObject, GroupVersionKind, ListParams, Patch, PatchParams};
use kube::discovery::{ApiCapabilities, Scope};
use kube::{Client, discovery};
use serde_json::Value;

use crate::harness::wait_until;

/// Field manager of the tests.
const MANAGER: &str = "test";

/// Where the kinds that tests name stand.
const KINDS: [(&str, &str, &str); 20] = [
    ("headwater.dev", "v1alpha1", "EdgePool"),
    ("headwater.dev", "v1alpha1", "StreamOrigin"),
    ("apps", "v1", "Deployment"),
    ("apps", "v1", "ReplicaSet"),
    ("", "v1", "Pod"),
    ("", "v1", "Service"),
    ("", "v1", "Secret"),
    ("", "v1", "ConfigMap"),
    ("", "v1", "Event"),
    ("", "v1", "Node"),
    ("", "v1", "Namespace"),
    ("", "v1", "ServiceAccount"),
    ("policy", "v1", "PodDisruptionBudget"),
    ("networking.k8s.io", "v1", "NetworkPolicy"),
    ("coordination.k8s.io", "v1", "Lease"),
    ("rbac.authorization.k8s.io", "v1", "Role"),
    ("rbac.authorization.k8s.io", "v1", "RoleBinding"),
    ("rbac.authorization.k8s.io", "v1", "ClusterRole"),
    ("rbac.authorization.k8s.io", "v1", "ClusterRoleBinding"),
    ("apiextensions.k8s.io", "v1", "CustomResourceDefinition"),
];

/// What `kubectl get` shows.
#[derive(Clone, Debug, PartialEq)]
pub struct Table {
    /// Columns: name, and priority (0: always shown; else with `-o wide`).
    pub columns: Vec<(String, i64)>,
    /// Rows of cells.
    pub rows: Vec<Vec<Value>>,
}

impl Table {
    /// A cell as a person sees it.
    pub fn cell(&self, row: usize, column: &str) -> Option<String> {
        let at = self.columns.iter().position(|(name, _)| name == column)?;
        match self.rows.get(row)?.get(at)? {
            Value::String(text) => Some(text.clone()),
            other => Some(other.to_string()),
        }
    }
}

/// Access to the objects of one namespace, and to those that have none.
pub struct Objects {
    client: Client,
    namespace: String,
    known: Mutex<HashMap<GroupVersionKind, (ApiResource, ApiCapabilities)>>,
}

impl Clone for Objects {
    fn clone(&self) -> Self {
        Self::new(self.client.clone(), &self.namespace)
    }
}

impl Objects {
    /// Access to the objects of `namespace`.
    pub fn new(client: Client, namespace: &str) -> Self {
        Self {
            client,
            namespace: namespace.to_owned(),
            known: Mutex::default(),
        }
    }

    /// The API of a kind that [`KINDS`] names.
    pub async fn api(&self, kind: &str) -> Result<Api<DynamicObject>> {
        let found = KINDS.iter().find(|(_, _, known)| *known == kind);
        let (group, version, kind) = found.with_context(|| format!("the harness knows no kind {kind}"))?;
        let namespace = self.namespace.clone();
        self.api_of(&GroupVersionKind::gvk(group, version, kind), &namespace)
            .await
    }

    async fn api_of(&self, kind: &GroupVersionKind, namespace: &str) -> Result<Api<DynamicObject>> {
        let known = self
            .known
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(kind)
            .cloned();
        let (resource, capabilities) = match known {
            Some(known) => known,
            None => {
                let found = discovery::pinned_kind(&self.client, kind).await?;
                let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
                known.insert(kind.clone(), found.clone());
                found
            }
        };
        Ok(match capabilities.scope {
            Scope::Cluster => Api::all_with(self.client.clone(), &resource),
            Scope::Namespaced => Api::namespaced_with(self.client.clone(), namespace, &resource),
        })
    }

    /// Applies every document of a YAML text as `kubectl apply --server-side --validate=strict` does.
    /// A document without a namespace goes to this one. Returns the objects as they are afterwards.
    pub async fn apply(&self, yaml: &str) -> Result<Vec<Value>> {
        let mut applied = Vec::new();
        for document in documents(yaml)? {
            applied.push(self.apply_one(document).await?);
        }
        Ok(applied)
    }

    /// Applies one object.
    pub async fn apply_one(&self, object: Value) -> Result<Value> {
        let object: DynamicObject = serde_json::from_value(object).context("not a Kubernetes object")?;
        let types = object.types.as_ref().context("an object without apiVersion and kind")?;
        let kind = GroupVersionKind::try_from(types)?;
        let namespace = object
            .metadata
            .namespace
            .clone()
            .unwrap_or_else(|| self.namespace.clone());
        let name = object.metadata.name.clone().context("an object without a name")?;
        let api = self.api_of(&kind, &namespace).await?;
        let params = PatchParams::apply(MANAGER).force().validation_strict();
        let applied = api.patch(&name, &params, &Patch::Apply(&object)).await;
        Ok(serde_json::to_value(applied.map_err(plain)?)?)
    }

    /// Applies what the API server must refuse; returns its words.
    pub async fn refused(&self, yaml: &str) -> Result<String> {
        match self.apply(yaml).await {
            Ok(_) => bail!("the API server took what it should refuse:\n{yaml}"),
            Err(error) => Ok(format!("{error:#}")),
        }
    }

    /// An object.
    pub async fn get(&self, kind: &str, name: &str) -> Result<Value> {
        let object = self.find(kind, name).await?;
        object.with_context(|| format!("there is no {kind} {name}"))
    }

    /// An object, if it is there.
    pub async fn find(&self, kind: &str, name: &str) -> Result<Option<Value>> {
        let object = self.api(kind).await?.get_opt(name).await.map_err(plain)?;
        Ok(object.map(serde_json::to_value).transpose()?)
    }

    /// All objects of a kind with these labels (`a=b,c=d`; empty: all).
    pub async fn list(&self, kind: &str, labels: &str) -> Result<Vec<Value>> {
        let api = self.api(kind).await?;
        let list = api.list(&ListParams::default().labels(labels)).await.map_err(plain)?;
        Ok(list
            .items
            .into_iter()
            .map(serde_json::to_value)
            .collect::<Result<_, _>>()?)
    }

    /// Changes an object by a merge patch, under strict validation.
    pub async fn patch(&self, kind: &str, name: &str, patch: Value) -> Result<Value> {
        let params = PatchParams::default().validation_strict();
        let patched = self.api(kind).await?.patch(name, &params, &Patch::Merge(patch)).await;
        Ok(serde_json::to_value(patched.map_err(plain)?)?)
    }

    /// Changes a subresource (`status`, `scale`) by a merge patch.
    pub async fn patch_sub(&self, kind: &str, name: &str, subresource: &str, patch: Value) -> Result<Value> {
        let (api, params) = (self.api(kind).await?, PatchParams::default());
        let patched = api
            .patch_subresource(subresource, name, &params, &Patch::Merge(patch))
            .await;
        Ok(serde_json::to_value(patched.map_err(plain)?)?)
    }

    /// Scales a resource as `kubectl scale` and an HPA do.
    pub async fn scale(&self, kind: &str, name: &str, replicas: u32) -> Result<Value> {
        let patch = serde_json::json!({"spec": {"replicas": replicas}});
        self.patch_sub(kind, name, "scale", patch).await
    }

    /// Deletes an object; one that is gone already is no error.
    pub async fn delete(&self, kind: &str, name: &str) -> Result<()> {
        match self.api(kind).await?.delete(name, &DeleteParams::background()).await {
            Ok(_) => Ok(()),
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
            Err(error) => Err(plain(error)),
        }
    }

    /// Objects of a kind as `kubectl get` shows them.
    pub async fn table(&self, kind: &str) -> Result<Table> {
        let api = self.api(kind).await?;
        let accept = "application/json;as=Table;v=v1;g=meta.k8s.io";
        let request = ::http::Request::get(api.resource_url()).header("accept", accept);
        let table: Value = self.client.request(request.body(Vec::new())?).await.map_err(plain)?;
        let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
        let column = |column: Value| {
            let name = column["name"].as_str().unwrap_or_default().to_owned();
            (name, column["priority"].as_i64().unwrap_or_default())
        };
        Ok(Table {
            columns: list(&table["columnDefinitions"]).into_iter().map(column).collect(),
            rows: list(&table["rows"]).iter().map(|row| list(&row["cells"])).collect(),
        })
    }

    /// Waits until an object satisfies `look`, which returns what it was looking for. An absent object is `null`.
    pub async fn wait<T>(
        &self,
        kind: &str,
        name: &str,
        within: Duration,
        what: &str,
        look: impl Fn(&Value) -> Option<T>,
    ) -> Result<T> {
        wait_until(within, &format!("{kind} {name}: {what}"), || async {
            let object = self.find(kind, name).await.map_err(|error| format!("{error:#}"))?;
            let object = object.unwrap_or_default();
            look(&object).ok_or_else(|| object.to_string())
        })
        .await
    }

    /// Waits until there is no such object.
    pub async fn gone(&self, kind: &str, name: &str, within: Duration) -> Result<()> {
        let gone = |object: &Value| object.is_null().then_some(());
        self.wait(kind, name, within, "is gone", gone).await
    }

    /// Waits until the objects of a kind with these labels satisfy `look`.
    pub async fn wait_all<T>(
        &self,
        kind: &str,
        labels: &str,
        within: Duration,
        what: &str,
        look: impl Fn(&[Value]) -> Option<T>,
    ) -> Result<T> {
        wait_until(within, &format!("{kind} with {labels}: {what}"), || async {
            let objects = self.list(kind, labels).await.map_err(|error| format!("{error:#}"))?;
            look(&objects).ok_or_else(|| Value::from(objects).to_string())
        })
        .await
    }
}

/// The documents of a YAML text that say anything.
pub fn documents(yaml: &str) -> Result<Vec<Value>> {
    let documents: Vec<Value> = serde_saphyr::from_multiple(yaml).context("failed to read YAML")?;
    Ok(documents.into_iter().filter(|document| !document.is_null()).collect())
}

/// An entry of a Secret, as text.
pub fn secret_text(secret: &Value, key: &str) -> Result<String> {
    use base64::Engine as _;
    let data = secret["data"][key].as_str().context("the Secret has no such entry")?;
    let bytes = base64::engine::general_purpose::STANDARD.decode(data)?;
    Ok(String::from_utf8(bytes)?)
}

/// Status of a condition of an object, e.g. `True`.
pub fn condition<'a>(object: &'a Value, kind: &str) -> Option<&'a str> {
    let conditions = object["status"]["conditions"].as_array()?;
    let found = conditions.iter().find(|condition| condition["type"] == kind)?;
    found["status"].as_str()
}

/// The API server's words alone.
pub(super) fn plain(error: kube::Error) -> anyhow::Error {
    match error {
        kube::Error::Api(status) => anyhow::anyhow!("{} ({} {})", status.message, status.code, status.reason),
        other => anyhow::Error::new(other),
    }
}
