//! The pods of each resource, found without walking through all of them: an index that is made anew after a change, when somebody
//! asks.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use k8s_openapi::api::core::v1::Pod;
use kube::runtime::reflector::Store;

use super::decide::names;
use crate::fleet::ResourceId;

/// Pods by resource, in order of name.
pub type Index = BTreeMap<ResourceId, Vec<Arc<Pod>>>;

/// The pods. Cheap to clone; the lock is held while the index is made.
#[derive(Clone)]
pub struct Pods {
    store: Store<Pod>,
    changes: Arc<AtomicU64>,
    index: Arc<Mutex<(u64, Arc<Index>)>>,
}

impl Pods {
    /// An index over a store, whose every change is counted in `changes`.
    pub fn new(store: Store<Pod>, changes: Arc<AtomicU64>) -> Self {
        Self {
            store,
            changes,
            // No count of changes, so that the first who asks makes it.
            index: Arc::new(Mutex::new((u64::MAX, Arc::default()))),
        }
    }

    /// The pods of every resource.
    pub fn index(&self) -> Arc<Index> {
        let mut held = self.index.lock().unwrap_or_else(PoisonError::into_inner);
        // Read before the store is: a change meanwhile makes it anew once more.
        let changes = self.changes.load(Ordering::Acquire);
        if held.0 != changes {
            let mut index = Index::new();
            for pod in self.store.state() {
                if let Some(resource) = names::resource_of(&pod.metadata) {
                    index.entry(resource).or_default().push(pod);
                }
            }
            for pods in index.values_mut() {
                pods.sort_by(|a, b| a.metadata.name.cmp(&b.metadata.name));
            }
            *held = (changes, Arc::new(index));
        }
        held.1.clone()
    }

    /// The pods of one resource.
    pub fn of(&self, resource: &ResourceId) -> Vec<Arc<Pod>> {
        self.index().get(resource).cloned().unwrap_or_default()
    }

    /// Completes when the pods were listed once.
    pub async fn ready(&self) {
        let _ = self.store.wait_until_ready().await;
    }
}
