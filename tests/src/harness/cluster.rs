//! A Kubernetes cluster for tests: a real API server and store, real controllers where they are there, and a kubelet of our own.
//!
//! ```text
//! assets · keys · network ─▶ servers ─▶ stores ─▶ kubelet (pods as processes) · service_proxy · deployments (stand-in)
//! suite ─▶ space (a namespace for each test) ─▶ objects (apply, wait, table) · operator · audit · rights · api_proxy (faults)
//! ```

pub mod api_proxy;
pub mod assets;
pub mod audit;
pub mod deployments;
mod keys;
pub mod kubelet;
pub mod network;
pub mod objects;
pub mod operator;
mod reaper;
pub mod rights;
pub mod servers;
pub mod service_proxy;
pub mod space;
pub mod stores;
pub mod suite;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use kube::Client;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::Mutex;

pub use api_proxy::{ApiProxy, Call, Fault};
pub use assets::Assets;
pub use audit::{Audit, Mark, Write};
pub use objects::{Objects, Table, condition, secret_text};
pub use operator::Operator;
pub use reaper::Child;
pub use rights::{Right, Rights};
pub use servers::User;
pub use space::Space;
pub use suite::{Case, Need};

use self::assets::Programs;
use self::deployments::Deployments;
use self::kubelet::Kubelet;
use self::network::Network;
use self::servers::Servers;
use self::service_proxy::ServiceProxy;
use self::stores::Stores;
use super::{root, wait_until};

/// Names of the cluster's nodes; each is a zone of its own.
pub const NODES: [&str; 3] = ["node-a", "node-b", "node-c"];

/// A running cluster; all of its processes end when it is dropped.
pub struct Cluster {
    // In the order in which they end.
    /// A client that may do everything.
    pub client: Client,
    /// The test kubelet; none in a foreign cluster.
    pub kubelet: Option<Kubelet>,
    _proxy: Option<ServiceProxy>,
    _deployments: Option<Deployments>,
    has_controllers: bool,
    servers: Option<Mutex<Servers>>,
    folder: Option<TempDir>,
}

impl Cluster {
    /// Starts a cluster with Headwater's definitions in it.
    pub async fn start(programs: Programs) -> Result<Self> {
        Self::start_with(programs, None).await
    }

    async fn start_with(programs: Programs, rights: Option<Rights>) -> Result<Self> {
        let folder = TempDir::with_prefix("headwater-cluster-")?;
        let network = Arc::new(Network::claim()?);
        let servers = Servers::start(programs, folder.path(), &network, rights).await?;
        let client = servers::client(&servers::kubeconfig(folder.path(), User::Admin)).await?;
        let nodes = servers::client(&servers::kubeconfig(folder.path(), User::Nodes)).await?;
        let stores = Stores::start(&nodes);
        let has_controllers = servers.has_controllers();
        let cluster = Self {
            client,
            kubelet: Some(Kubelet::start(nodes.clone(), stores.clone(), network, folder.path())),
            _proxy: Some(ServiceProxy::start(stores.clone())),
            _deployments: (!has_controllers).then(|| Deployments::start(nodes, stores)),
            has_controllers,
            servers: Some(Mutex::new(servers)),
            folder: Some(folder),
        };
        cluster.add_nodes().await?;
        cluster.install_definitions().await?;
        if let Some(servers) = &cluster.servers {
            servers.lock().await.start_controllers()?;
        }
        Ok(cluster)
    }

    /// Starts a cluster of one's own: for tests that stop its API server, or count what is written by all.
    pub async fn start_own() -> Result<Arc<Self>> {
        Self::start_found(None).await
    }

    /// Starts a cluster of one's own that remembers which rights were asked for, and guards owner references.
    pub async fn start_guarded() -> Result<Arc<Self>> {
        Self::start_found(Some(Rights::start().await?)).await
    }

    async fn start_found(rights: Option<Rights>) -> Result<Arc<Self>> {
        match Assets::find() {
            Assets::Found(programs) => Ok(Arc::new(Self::start_with(programs, rights).await?)),
            other => anyhow::bail!("there is nothing to start a cluster with: {other:?}"),
        }
    }

    /// The cluster of `KUBECONFIG`, with Headwater's definitions in it afterwards.
    pub async fn outside() -> Result<Self> {
        let cluster = Self {
            client: Client::try_default()
                .await
                .context("failed to reach the cluster of KUBECONFIG")?,
            kubelet: None,
            _proxy: None,
            _deployments: None,
            has_controllers: true,
            servers: None,
            folder: None,
        };
        cluster.install_definitions().await?;
        Ok(cluster)
    }

    /// Objects that have no namespace.
    pub fn objects(&self) -> Objects {
        Objects::new(self.client.clone(), "default")
    }

    /// True if there is a kube-controller-manager.
    pub fn has_controllers(&self) -> bool {
        self.has_controllers
    }

    /// Folder of its files; none in a foreign cluster.
    pub fn folder(&self) -> Option<&Path> {
        self.folder.as_ref().map(TempDir::path)
    }

    /// File with which a user reaches the API server; in a foreign cluster everybody is the same.
    pub fn kubeconfig(&self, user: User) -> PathBuf {
        match self.folder() {
            Some(folder) => servers::kubeconfig(folder, user),
            None => PathBuf::from(std::env::var_os("KUBECONFIG").unwrap_or_default()),
        }
    }

    /// File with which a service account reaches the API server, with the rights that its roles give it. The account is made
    /// if it is not there.
    pub async fn account_kubeconfig(&self, namespace: &str, account: &str) -> Result<PathBuf> {
        let folder = self.folder().context("a foreign cluster gives no accounts")?;
        let objects = Objects::new(self.client.clone(), namespace);
        if objects.find("ServiceAccount", account).await?.is_none() {
            let kind = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": account}});
            objects.apply_one(kind).await?;
        }
        let file = folder.join(format!("{namespace}-{account}.kubeconfig"));
        servers::account(&self.client, folder, namespace, account, &file).await?;
        Ok(file)
    }

    /// What a user was to be allowed so far, by a cluster that remembers it; see [`Rights::asked`].
    pub async fn rights_asked(&self, user: &str, there: impl Fn(&str) -> bool) -> Result<BTreeSet<Right>> {
        let servers = self.servers.as_ref().context("a foreign cluster remembers nothing")?;
        let servers = servers.lock().await;
        let rights = servers.rights().context("this cluster remembers no rights")?;
        Ok(rights.asked(user, there))
    }

    /// The audit log.
    pub fn audit(&self) -> Result<Audit> {
        let folder = self.folder().context("a foreign cluster shows no audit log")?;
        Ok(Audit::new(&folder.join("audit.log")))
    }

    /// Ends the API server as a crash does; everything else stays.
    pub async fn stop_api_server(&self) -> Result<()> {
        let servers = self.servers.as_ref().context("a foreign cluster is left alone")?;
        servers.lock().await.stop_api_server().await
    }

    /// Starts the API server again, on the same port and with the same store.
    pub async fn start_api_server(&self) -> Result<()> {
        let servers = self.servers.as_ref().context("a foreign cluster is left alone")?;
        servers.lock().await.start_api_server().await
    }

    /// The end of its servers' logs.
    pub async fn log_tails(&self) -> String {
        match &self.servers {
            Some(servers) => servers.lock().await.log_tails(),
            None => String::new(),
        }
    }

    /// Runs kubectl with these arguments and returns what it prints; standard error is its error.
    pub async fn kubectl(&self, args: &[&str]) -> Result<String> {
        let program = assets::kubectl().context("there is no kubectl")?;
        let mut command = tokio::process::Command::new(program);
        command.args(args).env("KUBECONFIG", self.kubeconfig(User::Admin));
        if let Some(folder) = self.folder() {
            // What it caches goes with the cluster.
            command.env("KUBECACHEDIR", folder.join("kubectl"));
        }
        let output = command
            .kill_on_drop(true)
            .output()
            .await
            .context("failed to run kubectl")?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        anyhow::ensure!(
            output.status.success(),
            "kubectl {}: {}",
            args.join(" "),
            text(&output.stderr)
        );
        Ok(text(&output.stdout))
    }

    /// Keeps a cluster node from taking pods, or no longer.
    pub async fn cordon(&self, node: &str, closed: bool) -> Result<()> {
        self.objects()
            .patch("Node", node, json!({"spec": {"unschedulable": closed}}))
            .await?;
        Ok(())
    }

    /// Loses a cluster node for good. That its heartbeats have failed to come is said here; what comes of that is the real controllers':
    /// the taint, and the eviction of what does not tolerate it. Returns once the node is tainted as unreachable.
    pub async fn lose_node(&self, node: &str) -> Result<()> {
        let kubelet = self.kubelet.as_ref().context("a foreign cluster is left alone")?;
        let lost = kubelet.freeze_node(node).await?;
        let objects = self.objects();
        let ready = json!([{"type": "Ready", "status": "Unknown", "reason": "NodeStatusUnknown", "message": ""}]);
        objects
            .patch_sub("Node", node, "status", json!({"status": {"conditions": ready}}))
            .await?;
        for (namespace, pod) in lost {
            kubelet::not_ready(&self.client, &namespace, &pod).await?;
        }
        let patience = Duration::from_secs(30);
        let tainted = |node: &Value| {
            let mut taints = node["spec"]["taints"].as_array()?.iter();
            let gives_up =
                |taint: &&Value| taint["key"] == "node.kubernetes.io/unreachable" && taint["effect"] == "NoExecute";
            taints.find(gives_up).map(|_| ())
        };
        objects
            .wait("Node", node, patience, "is tainted as unreachable", tainted)
            .await
    }

    async fn add_nodes(&self) -> Result<()> {
        let objects = self.objects();
        for node in NODES {
            let labels = json!({
                "kubernetes.io/hostname": node, "topology.kubernetes.io/zone": format!("zone-{node}"),
                "kubernetes.io/os": "linux",
            });
            let meta = json!({"name": node, "labels": labels});
            let object = json!({"apiVersion": "v1", "kind": "Node", "metadata": meta});
            objects.apply_one(object).await?;
            // Nobody else takes away the taint that every new node has.
            objects.patch("Node", node, json!({"spec": {"taints": null}})).await?;
            let ready = json!([{"type": "Ready", "status": "True", "reason": "KubeletReady", "message": ""}]);
            let size = json!({"cpu": "8", "memory": "32Gi", "pods": "250"});
            let status = json!({"conditions": ready, "capacity": size, "allocatable": size});
            objects
                .patch_sub("Node", node, "status", json!({"status": status}))
                .await?;
        }
        Ok(())
    }

    /// Installs `crds/*.yaml` and waits until the API server serves them.
    async fn install_definitions(&self) -> Result<()> {
        let objects = self.objects();
        let mut files: Vec<PathBuf> = Vec::new();
        for entry in std::fs::read_dir(root().join("crds"))? {
            files.push(entry?.path());
        }
        files.sort();
        let mut names = Vec::new();
        for file in files
            .iter()
            .filter(|file| file.extension().is_some_and(|ending| ending == "yaml"))
        {
            let applied = objects.apply(&std::fs::read_to_string(file)?).await?;
            names.extend(
                applied
                    .iter()
                    .filter_map(|object| Some(object["metadata"]["name"].as_str()?.to_owned())),
            );
        }
        let patience = Duration::from_secs(20);
        for name in names {
            let kind = "CustomResourceDefinition";
            let established = |object: &Value| (condition(object, "Established") == Some("True")).then_some(());
            objects
                .wait(kind, &name, patience, "is established", established)
                .await?;
        }
        // Discovery follows a moment later.
        wait_until(patience, "the kinds are served", || async {
            for kind in ["EdgePool", "StreamOrigin"] {
                objects.list(kind, "").await.map_err(|error| format!("{error:#}"))?;
            }
            Ok::<_, String>(())
        })
        .await
    }
}
