//! etcd, API server and controllers as processes on free loopback ports, with the API server's end and return.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use k8s_openapi::api::authentication::v1::TokenRequest;
use k8s_openapi::api::core::v1::ServiceAccount;
use serde_json::{Value, json};

use super::assets::Programs;
use super::network::Network;
use super::reaper::Child;
use super::rights::Rights;
use super::{audit, keys};
use crate::harness::process::Signal;
use crate::harness::{http, ports, wait_until};

/// How long a server may take to start on a busy machine.
const START: Duration = Duration::from_secs(60);

/// Controllers that run: those that Headwater's objects depend on, and those that give up the pods of a lost node.
const CONTROLLERS: [&str; 7] = [
    "deployment-controller",
    "replicaset-controller",
    "disruption-controller",
    "garbage-collector-controller",
    "namespace-controller",
    "node-lifecycle-controller",
    "taint-eviction-controller",
];

/// A user that the API server knows by a token. All of them may do everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum User {
    /// The tests.
    Admin,
    /// The test kubelet and what stands in for controllers: told apart from the operator in the audit log.
    Nodes,
    /// kube-controller-manager.
    Controllers,
    /// The operator.
    Operator,
    /// A second operator.
    SecondOperator,
}

impl User {
    /// All of them.
    pub const ALL: [User; 5] = [
        User::Admin,
        User::Nodes,
        User::Controllers,
        User::Operator,
        User::SecondOperator,
    ];

    /// Name in the audit log.
    pub fn name(self) -> &'static str {
        match self {
            User::Admin => "test-admin",
            User::Nodes => "test-nodes",
            User::Controllers => "test-controllers",
            User::Operator => "test-operator",
            User::SecondOperator => "test-second-operator",
        }
    }
}

/// The processes.
#[derive(Debug)]
pub struct Servers {
    programs: Programs,
    folder: PathBuf,
    services: String,
    store: SocketAddr,
    api: SocketAddr,
    rights: Option<Rights>,
    controllers: Option<Child>,
    api_server: Option<Child>,
    _etcd: Child,
}

impl Servers {
    /// Starts them but for the controllers; the API server answers `/readyz` afterwards. With an authorizer it is asked for every right,
    /// and owner references are guarded, as some clusters do.
    pub async fn start(programs: Programs, folder: &Path, network: &Network, rights: Option<Rights>) -> Result<Self> {
        let (store, peers, api) = (ports::free()?, ports::free()?, ports::free()?);
        write_files(folder, api)?;
        if let Some(rights) = &rights {
            let server = format!("http://{}", rights.address());
            write_config(&folder.join("rights.kubeconfig"), json!({"server": server}), json!({}))?;
        }
        let etcd = start_etcd(&programs.etcd, folder, store, peers)?;
        let url = format!("http://{store}/health");
        wait_until(START, "etcd is healthy", || async {
            match http::get(&url).await {
                Ok(answer) if answer.status.is_success() => Ok(()),
                Ok(answer) => Err(answer.text()),
                Err(error) => Err(error.to_string()),
            }
        })
        .await
        .with_context(|| etcd.process.log_tail())?;
        let mut servers = Self {
            programs,
            folder: folder.to_owned(),
            services: network.services(),
            store,
            api,
            rights,
            controllers: None,
            api_server: None,
            _etcd: etcd,
        };
        servers.start_api_server().await?;
        Ok(servers)
    }

    /// Starts kube-controller-manager, where it is there. Its garbage collector looks for kinds at its start and every 30 s, and asks
    /// for an owner of a kind that it does not know ever more rarely: what it should collect must be defined before.
    pub fn start_controllers(&mut self) -> Result<()> {
        if let Some(program) = &self.programs.controller_manager {
            self.controllers = Some(start_controllers(program, &self.folder)?);
        }
        Ok(())
    }

    /// Which rights were asked for, where that is remembered.
    pub fn rights(&self) -> Option<&Rights> {
        self.rights.as_ref()
    }

    /// True if there is a kube-controller-manager.
    pub fn has_controllers(&self) -> bool {
        self.programs.controller_manager.is_some()
    }

    /// Ends the API server as a crash does. etcd and the controllers stay.
    pub async fn stop_api_server(&mut self) -> Result<()> {
        if let Some(mut server) = self.api_server.take() {
            server.process.signal(Signal::Kill).await?;
            server.process.wait(Duration::from_secs(10)).await?;
        }
        Ok(())
    }

    /// Starts the API server on the port that it had, and waits until it is ready.
    pub async fn start_api_server(&mut self) -> Result<()> {
        ensure!(self.api_server.is_none(), "the API server runs already");
        let file = |name: &str| self.folder.join(name).display().to_string();
        let flags = [
            ("etcd-servers", format!("http://{}", self.store)),
            ("bind-address", self.api.ip().to_string()),
            ("advertise-address", self.api.ip().to_string()),
            ("secure-port", self.api.port().to_string()),
            ("cert-dir", file("certificates")),
            ("token-auth-file", file("tokens.csv")),
            ("service-account-issuer", format!("https://{}/", self.api)),
            ("service-account-key-file", file("accounts.pub")),
            ("service-account-signing-key-file", file("accounts.key")),
            ("service-cluster-ip-range", self.services.clone()),
            ("disable-admission-plugins", "ServiceAccount".to_owned()),
            ("endpoint-reconciler-type", "none".to_owned()),
            ("audit-policy-file", file("audit-policy.yaml")),
            ("audit-log-path", file("audit.log")),
            ("audit-log-maxsize", "10000".to_owned()),
        ];
        let mut args: Vec<String> = flags.iter().map(|(name, value)| format!("--{name}={value}")).collect();
        let authorizers = if self.rights.is_some() { "Webhook,RBAC" } else { "RBAC" };
        args.push(format!("--authorization-mode={authorizers}"));
        if self.rights.is_some() {
            args.push("--authorization-webhook-version=v1".to_owned());
            args.push(format!(
                "--authorization-webhook-config-file={}",
                file("rights.kubeconfig")
            ));
            args.push("--enable-admission-plugins=OwnerReferencesPermissionEnforcement".to_owned());
        }
        let log = self.folder.join("kube-apiserver.log");
        let mut server = Child::start("kube-apiserver", &self.programs.api_server, &args, &[], Some(&log))?;
        self.ready(&mut server).await?;
        self.api_server = Some(server);
        Ok(())
    }

    async fn ready(&self, server: &mut Child) -> Result<()> {
        let certificate = self.folder.join("certificates/apiserver.crt");
        let deadline = std::time::Instant::now() + START;
        let mut last = "no certificate yet".to_owned();
        loop {
            if let Some(status) = server.process.ended() {
                bail!(
                    "kube-apiserver ended at once ({status}):\n{}",
                    server.process.log_tail()
                );
            }
            if certificate.exists() {
                // Read anew each time: the file may be half written at first.
                match self.asks_readiness().await {
                    Ok(()) => return Ok(()),
                    Err(error) => last = format!("{error:#}"),
                }
            }
            ensure!(
                std::time::Instant::now() < deadline,
                "kube-apiserver is not ready within {START:?}: {last}\n{}",
                server.process.log_tail()
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    async fn asks_readiness(&self) -> Result<()> {
        let client = client(&kubeconfig(&self.folder, User::Admin)).await?;
        let request = ::http::Request::get("/readyz").body(Vec::new())?;
        client.request_text(request).await?;
        Ok(())
    }

    /// The end of the logs of API server and controllers.
    pub fn log_tails(&self) -> String {
        let tail = |child: &Option<Child>| child.as_ref().map(|child| child.process.log_tail());
        let [api, controllers] = [tail(&self.api_server), tail(&self.controllers)].map(Option::unwrap_or_default);
        format!("---- kube-apiserver ----\n{api}\n---- kube-controller-manager ----\n{controllers}")
    }
}

/// The file with which a user reaches the API server.
pub fn kubeconfig(folder: &Path, user: User) -> PathBuf {
    folder.join(format!("{}.kubeconfig", user.name()))
}

/// A client by such a file.
pub async fn client(kubeconfig: &Path) -> Result<kube::Client> {
    let file = kube::config::Kubeconfig::read_from(kubeconfig)?;
    let mut config = kube::Config::from_custom_kubeconfig(file, &kube::config::KubeConfigOptions::default()).await?;
    // A refusal is told at once: an eviction that a budget forbids would else be tried for minutes.
    config.default_retry = false;
    Ok(kube::Client::try_from(config)?)
}

/// Writes a file with which the holder of a token reaches the API server.
pub fn write_kubeconfig(file: &Path, server: &str, certificate: &Path, token: &str) -> Result<()> {
    let cluster = json!({"server": server, "certificate-authority": certificate});
    write_config(file, cluster, json!({"token": token}))
}

fn write_config(file: &Path, cluster: Value, user: Value) -> Result<()> {
    let config = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "test", "cluster": cluster}],
        "users": [{"name": "test", "user": user}],
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
        "current-context": "test",
    });
    std::fs::write(file, serde_json::to_vec_pretty(&config)?).context("failed to write a kubeconfig")
}

/// Writes `file`, with which a service account that is there reaches the API server with the rights that its roles give it.
pub async fn account(client: &kube::Client, folder: &Path, namespace: &str, account: &str, file: &Path) -> Result<()> {
    let request: TokenRequest = serde_json::from_value(json!({"spec": {"audiences": [], "expirationSeconds": 7200}}))?;
    let api: kube::Api<ServiceAccount> = kube::Api::namespaced(client.clone(), namespace);
    let answer = api
        .create_token_request(account, &kube::api::PostParams::default(), &request)
        .await?;
    let token = answer.status.context("the API server gave no token")?.token;
    let admin = kube::config::Kubeconfig::read_from(kubeconfig(folder, User::Admin))?;
    let server = admin
        .clusters
        .first()
        .and_then(|cluster| cluster.cluster.as_ref()?.server.clone());
    let server = server.context("a kubeconfig without a server")?;
    write_kubeconfig(file, &server, &folder.join("certificates/apiserver.crt"), &token)
}

fn write_files(folder: &Path, api: SocketAddr) -> Result<()> {
    let certificate = folder.join("certificates/apiserver.crt");
    let (private, public) = keys::pair()?;
    std::fs::write(folder.join("accounts.key"), private)?;
    std::fs::write(folder.join("accounts.pub"), public)?;
    std::fs::write(folder.join("audit-policy.yaml"), audit::POLICY)?;
    let mut tokens = String::new();
    for user in User::ALL {
        let (name, token) = (user.name(), keys::token());
        tokens.push_str(&format!("{token},{name},{name},\"system:masters\"\n"));
        write_kubeconfig(
            &kubeconfig(folder, user),
            &format!("https://{api}"),
            &certificate,
            &token,
        )?;
    }
    std::fs::write(folder.join("tokens.csv"), tokens)?;
    Ok(())
}

fn start_etcd(program: &Path, folder: &Path, store: SocketAddr, peers: SocketAddr) -> Result<Child> {
    let (store, peers) = (format!("http://{store}"), format!("http://{peers}"));
    let flags = [
        ("name", "default".to_owned()),
        ("data-dir", folder.join("etcd").display().to_string()),
        ("listen-client-urls", store.clone()),
        ("advertise-client-urls", store),
        ("listen-peer-urls", peers.clone()),
        ("initial-advertise-peer-urls", peers.clone()),
        ("initial-cluster", format!("default={peers}")),
    ];
    let mut args: Vec<String> = flags.iter().map(|(name, value)| format!("--{name}={value}")).collect();
    args.push("--unsafe-no-fsync".to_owned());
    Child::start("etcd", program, &args, &[], Some(&folder.join("etcd.log")))
}

fn start_controllers(program: &Path, folder: &Path) -> Result<Child> {
    let config = kubeconfig(folder, User::Controllers).display().to_string();
    let flags = [
        ("kubeconfig", config),
        ("controllers", CONTROLLERS.join(",")),
        // Nodes have no heartbeats here: the tests say which of them is lost.
        ("node-monitor-grace-period", "24h".to_owned()),
        ("node-monitor-period", "1s".to_owned()),
        ("bind-address", "127.0.0.1".to_owned()),
        ("secure-port", "0".to_owned()),
        ("leader-elect", "false".to_owned()),
        ("use-service-account-credentials", "false".to_owned()),
    ];
    let args: Vec<String> = flags.iter().map(|(name, value)| format!("--{name}={value}")).collect();
    let log = folder.join("kube-controller-manager.log");
    Child::start("kube-controller-manager", program, &args, &[], Some(&log))
}
