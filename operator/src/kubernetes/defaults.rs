//! Default resources: StreamOrigins and EdgePools from a file, applied at the start and whenever the file changes.
//!
//! ```text
//! file or folder ─▶ look (by content) ─▶ manifests::for_cluster ─▶ apply, not forced ─▶ without what others own
//! ```
//!
//! The field manager is another than the operator's own, so that a person's edits win. Nothing is ever deleted: what is taken out of the
//! file stays in the cluster.

mod conflict;

use std::collections::BTreeSet;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::path::PathBuf;
use std::time::Duration;

use kube::api::{ApiResource, DynamicObject, Patch, PatchParams};
use kube::{Api, Client};
use serde_json::Value;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tracing::{error, info, warn};

use super::leader::Fence;
use crate::api::{EdgePool, StreamOrigin};
use crate::fleet::link::chain;
use crate::local::manifests::{self, ManifestErrors, ManifestFile};
use crate::settings::Operator;

/// Field manager of what is applied from the file.
pub const FIELD_MANAGER: &str = "headwater-defaults";
/// How often the file is looked at, and what failed is tried again.
const PERIOD: Duration = Duration::from_secs(3);
/// Longest wait for one write.
const ANSWER: Duration = Duration::from_secs(10);
/// Attempts to write one resource, each without the fields that others own.
const ATTEMPTS: usize = 4;

/// Keeps the cluster in step with a file of resources.
pub struct Defaults {
    path: PathBuf,
    /// The only namespace that resources may name; none for all.
    only: Option<String>,
    /// Namespace of a resource that names none.
    fallback: String,
    client: Client,
    fence: Option<Fence>,
    /// Content that was read last, and whether something of it is still to be written.
    read: Option<(u64, Vec<Value>)>,
    /// Errors and conflicts that have been told.
    told: BTreeSet<String>,
}

impl Defaults {
    /// None where the settings name no file.
    pub fn of(settings: &Operator, client: Client, fence: Option<Fence>) -> Option<Self> {
        let fallback = settings.namespace.as_ref();
        Some(Self {
            path: settings.default_resources.clone()?,
            only: settings.namespace.clone(),
            fallback: fallback.unwrap_or(&settings.surroundings.operator_namespace).clone(),
            client,
            fence,
            read: None,
            told: BTreeSet::new(),
        })
    }

    /// Looks at the file for ever.
    pub async fn keep(mut self) {
        let mut ticks = interval(PERIOD);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            self.look().await;
            self.write().await;
        }
    }

    /// Reads the file, and takes what it holds if that is new and without errors.
    async fn look(&mut self) {
        let path = self.path.clone();
        // The disk may block: not on this thread.
        let Ok(files) = tokio::task::spawn_blocking(move || manifests::files(&[path])).await else {
            return;
        };
        let hash = hash_of(&files);
        if self.read.as_ref().is_some_and(|(before, _)| *before == hash) {
            return;
        }
        let read = files.and_then(|files| manifests::for_cluster(&files, self.only.as_deref(), &self.fallback));
        let wanted = match read {
            Ok(wanted) => {
                info!(resources = wanted.len(), "the default resources were read");
                wanted
            }
            Err(errors) => {
                let errors = errors.to_string();
                error!(errors, "the default resources have errors; nothing of them is applied");
                Vec::new()
            }
        };
        self.read = Some((hash, wanted));
        self.told.clear();
    }

    /// Writes what is still to be written; what fails is tried again at the next look.
    async fn write(&mut self) {
        let Some((_, wanted)) = &mut self.read else { return };
        for resource in std::mem::take(wanted) {
            if let Err(problem) = self.apply(&resource).await {
                let title = title(&resource);
                self.say(&title, &problem, || {
                    error!(
                        resource = title,
                        error = problem,
                        "a default resource could not be applied; it is tried again"
                    );
                });
                if let Some((_, wanted)) = &mut self.read {
                    wanted.push(resource);
                }
            }
        }
    }

    /// Applies one resource, but for the fields that others own.
    async fn apply(&mut self, resource: &Value) -> Result<(), String> {
        let text = |pointer: &str| resource.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        let kind = match text("/kind") {
            "EdgePool" => ApiResource::erase::<EdgePool>(&()),
            _ => ApiResource::erase::<StreamOrigin>(&()),
        };
        let api: Api<DynamicObject> = Api::namespaced_with(self.client.clone(), text("/metadata/namespace"), &kind);
        let mut wanted = resource.clone();
        for _ in 0..ATTEMPTS {
            if let Some(fence) = &self.fence {
                fence.check().map_err(|asleep| asleep.to_string())?;
            }
            // Not forced: what somebody else has set is theirs.
            let (params, patch) = (PatchParams::apply(FIELD_MANAGER), Patch::Apply(&wanted));
            let written = timeout(ANSWER, api.patch(text("/metadata/name"), &params, &patch)).await;
            let fields = match written {
                Ok(Ok(_)) => {
                    info!(resource = title(resource), "a default resource was applied");
                    return Ok(());
                }
                Ok(Err(kube::Error::Api(status))) => match conflict::fields(&status) {
                    fields if fields.is_empty() => return Err(status.message.clone()),
                    fields => fields,
                },
                Ok(Err(error)) => return Err(chain(&error)),
                Err(_) => return Err("the API server did not answer in time".to_owned()),
            };
            let title = title(resource);
            for field in fields {
                conflict::leave_out(&mut wanted, &field);
                self.say(&title, &field, || {
                    warn!(
                        resource = title,
                        field, "somebody else has set this field, and that stands; the default is not applied"
                    );
                });
            }
        }
        Err("others own fields of it that can't be left out".to_owned())
    }

    /// Says something once, until the file changes.
    fn say(&mut self, title: &str, what: &str, say: impl FnOnce()) {
        if self.told.insert(format!("{title}: {what}")) {
            say();
        }
    }
}

fn hash_of(files: &Result<Vec<ManifestFile>, ManifestErrors>) -> u64 {
    let mut hasher = DefaultHasher::new();
    match files {
        Ok(files) => files.iter().for_each(|file| (&file.name, &file.text).hash(&mut hasher)),
        Err(errors) => errors.to_string().hash(&mut hasher),
    }
    hasher.finish()
}

fn title(resource: &Value) -> String {
    let text = |pointer: &str| resource.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    format!(
        "{} {}/{}",
        text("/kind"),
        text("/metadata/namespace"),
        text("/metadata/name")
    )
}
