//! The way to the API server, and what is listed there.

use std::fmt::Debug;
use std::time::Duration;

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::Pod;
use kube::api::ListParams;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config, Resource};
use serde::de::DeserializeOwned;
use thiserror::Error;

use super::seen::{Seen, tree};
use super::tree::Tree;
use crate::api::{EdgePool, StreamOrigin};
use crate::args::plugin::Target;
use crate::kubernetes::decide::names::MANAGED_SELECTOR;

/// Longest wait for one answer.
const ANSWER: Duration = Duration::from_secs(20);

/// Why nothing can be seen.
#[derive(Debug, Error)]
pub enum Error {
    /// No way to the API server is configured.
    #[error("failed to find the API server: {0}; set KUBECONFIG, or name another --context")]
    Config(String),
    /// The client can't be made.
    #[error("failed to make the API server's client")]
    Client(#[source] Box<kube::Error>),
    /// The API server refused, or did not answer.
    #[error("failed to list {what}: {why}")]
    List {
        /// What was to be listed.
        what: String,
        /// Why it was not.
        why: String,
    },
}

/// An API server, and which namespaces of it are looked at.
#[derive(Clone)]
pub struct Look {
    /// The client.
    pub client: Client,
    /// Namespace of whatever is named without one.
    pub namespace: String,
    everywhere: bool,
}

impl Look {
    /// A look with the rights of a person's kubeconfig, or of the pod that this runs in.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn new(target: &Target) -> Result<Self, Error> {
        let config = match &target.context {
            None => Config::infer().await.map_err(|error| Error::Config(error.to_string())),
            Some(context) => {
                let options = KubeConfigOptions {
                    context: Some(context.clone()),
                    ..KubeConfigOptions::default()
                };
                let read = async { Config::from_custom_kubeconfig(Kubeconfig::read()?, &options).await };
                read.await.map_err(|error| Error::Config(error.to_string()))
            }
        }?;
        let namespace = target
            .namespace
            .clone()
            .unwrap_or_else(|| config.default_namespace.clone());
        let client = Client::try_from(config).map_err(|error| Error::Client(Box::new(error)))?;
        Ok(Self::with(client, namespace, target.all_namespaces))
    }

    /// A look through a client.
    pub fn with(client: Client, namespace: String, everywhere: bool) -> Self {
        Self {
            client,
            namespace,
            everywhere,
        }
    }

    /// All namespaces are looked at.
    pub fn is_everywhere(&self) -> bool {
        self.everywhere
    }

    /// Where it looks, in words.
    pub fn place(&self) -> String {
        match self.everywhere {
            true => "all namespaces".to_owned(),
            false => format!("namespace {}", self.namespace),
        }
    }

    /// Both kinds and their pods, as a tree.
    ///
    /// # Errors
    /// [`Error::List`].
    pub async fn tree(&self) -> Result<Tree, Error> {
        let (all, ours) = (ListParams::default(), ListParams::default().labels(MANAGED_SELECTOR));
        let lists = (
            Box::pin(self.list::<StreamOrigin>(&all)),
            Box::pin(self.list::<EdgePool>(&all)),
            Box::pin(self.list::<Pod>(&ours)),
        );
        let (origins, pools, pods) = tokio::try_join!(lists.0, lists.1, lists.2)?;
        Ok(tree(&Seen { origins, pools, pods }))
    }

    async fn list<K>(&self, params: &ListParams) -> Result<Vec<K>, Error>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + DeserializeOwned + Clone + Debug,
    {
        let api: Api<K> = match self.everywhere {
            true => Api::all(self.client.clone()),
            false => Api::namespaced(self.client.clone(), &self.namespace),
        };
        let listed = answer(api.list(params)).await;
        listed.map(|list| list.items).map_err(|why| Error::List {
            what: K::plural(&()).into_owned(),
            why,
        })
    }
}

/// An answer of the API server, or why there is none, in a person's words.
pub(super) async fn answer<T>(ask: impl Future<Output = kube::Result<T>>) -> Result<T, String> {
    match tokio::time::timeout(ANSWER, ask).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(kube::Error::Api(status))) if status.code == 404 && status.message.contains("page not found") => {
            Err("Headwater's kinds are not installed in this cluster (kubectl apply -f crds)".to_owned())
        }
        Ok(Err(kube::Error::Api(status))) => Err(status.message.clone()),
        Ok(Err(error)) => Err(crate::fleet::link::chain(&error)),
        Err(_) => Err(format!("the API server did not answer within {} s", ANSWER.as_secs())),
    }
}
