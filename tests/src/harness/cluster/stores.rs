//! What the harness sees of the cluster: caches of a few kinds, kept by watches that outlive an absent API server.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Node, Pod, Secret, Service};
use kube::runtime::reflector::{Store, store::Writer};
use kube::runtime::watcher;
use kube::{Api, Client, Resource};
use serde::de::DeserializeOwned;
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

/// Pause after a watch that failed.
const PAUSE: Duration = Duration::from_millis(200);

/// The caches. They end when dropped.
#[derive(Debug)]
pub struct Stores {
    /// Pods.
    pub pods: Store<Pod>,
    /// Services.
    pub services: Store<Service>,
    /// Secrets.
    pub secrets: Store<Secret>,
    /// Configuration maps.
    pub config_maps: Store<ConfigMap>,
    /// Deployments.
    pub deployments: Store<Deployment>,
    /// Nodes.
    pub nodes: Store<Node>,
    changes: watch::Receiver<u64>,
    _tasks: [AbortOnDropHandle<()>; 6],
}

impl Stores {
    /// Starts the watches.
    pub fn start(client: &Client) -> Arc<Self> {
        let (bump, changes) = watch::channel(0);
        let (pods, one) = cache(client, &bump);
        let (services, two) = cache(client, &bump);
        let (secrets, three) = cache(client, &bump);
        let (config_maps, four) = cache(client, &bump);
        let (deployments, five) = cache(client, &bump);
        let (nodes, six) = cache(client, &bump);
        Arc::new(Self {
            pods,
            services,
            secrets,
            config_maps,
            deployments,
            nodes,
            changes,
            _tasks: [one, two, three, four, five, six],
        })
    }

    /// Told of every change of anything.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.clone()
    }

    /// The pod with this uid.
    pub fn pod(&self, uid: &str) -> Option<Arc<Pod>> {
        self.pods.find(|pod| pod.metadata.uid.as_deref() == Some(uid))
    }
}

fn cache<K>(client: &Client, bump: &watch::Sender<u64>) -> (Store<K>, AbortOnDropHandle<()>)
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
{
    let api: Api<K> = Api::all(client.clone());
    let mut writer = Writer::<K>::default();
    let (reader, bump) = (writer.as_reader(), bump.clone());
    let task = tokio::spawn(async move {
        let mut events = std::pin::pin!(watcher(api, watcher::Config::default()));
        while let Some(event) = events.next().await {
            match event {
                Ok(event) => {
                    writer.apply_watcher_event(&event);
                    bump.send_modify(|count| *count += 1);
                }
                Err(_) => tokio::time::sleep(PAUSE).await,
            }
        }
    });
    (reader, AbortOnDropHandle::new(task))
}
