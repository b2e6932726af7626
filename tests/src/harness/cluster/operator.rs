//! `headwater operator` as a process against a test cluster.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::Value;

use super::Cluster;
use super::reaper::Child;
use super::servers::User;
use crate::harness::process::Signal;
use crate::harness::{http, ports, program, wait_until};

/// How long it may take to start or to stop: debug builds on a busy machine.
const LONG: Duration = Duration::from_secs(20);

/// Image of the pods' container; the test kubelet runs the program of the same name instead.
pub const IMAGE: &str = "headwater.dev/media-node:test";

/// A running operator; killed when dropped.
#[derive(Debug)]
pub struct Operator {
    /// Its process.
    pub child: Child,
    /// Its ops port.
    pub ops: SocketAddr,
    identity: String,
}

impl Operator {
    /// Starts an operator for one namespace, its Lease there too, and waits until it is alive.
    pub async fn start(cluster: &Cluster, namespace: &str, flags: &[&str]) -> Result<Self> {
        Self::start_as(
            cluster,
            &cluster.kubeconfig(User::Operator),
            "operator-a",
            namespace,
            flags,
        )
        .await
    }

    /// Starts a further operator beside the first.
    pub async fn start_second(cluster: &Cluster, namespace: &str, flags: &[&str]) -> Result<Self> {
        let kubeconfig = cluster.kubeconfig(User::SecondOperator);
        Self::start_as(cluster, &kubeconfig, "operator-b", namespace, flags).await
    }

    /// Starts an operator with the rights that a kubeconfig gives.
    pub async fn start_as(
        cluster: &Cluster,
        kubeconfig: &Path,
        identity: &str,
        namespace: &str,
        flags: &[&str],
    ) -> Result<Self> {
        let ops = ports::free()?;
        let mut args = vec!["operator".to_owned()];
        for (flag, value) in [
            ("--namespace", namespace),
            ("--lease-namespace", namespace),
            ("--ops-listen", &ops.to_string()),
            ("--media-node-image", IMAGE),
            ("--identity", identity),
        ] {
            args.extend([flag.to_owned(), value.to_owned()]);
        }
        args.extend(flags.iter().map(|flag| (*flag).to_owned()));
        let env = [("KUBECONFIG".to_owned(), kubeconfig.display().to_string())];
        let log = cluster
            .folder()
            .map(|folder| folder.join(format!("{identity}-{}.log", ops.port())));
        let child = Child::start(identity, &program("headwater")?, &args, &env, log.as_deref())?;
        let mut operator = Self {
            child,
            ops,
            identity: identity.to_owned(),
        };
        operator.alive().await?;
        Ok(operator)
    }

    async fn alive(&mut self) -> Result<()> {
        let deadline = std::time::Instant::now() + LONG;
        while !self.answers("/livez").await {
            let log = || self.child.process.log_tail();
            ensure!(
                std::time::Instant::now() < deadline,
                "the operator is not alive:\n{}",
                log()
            );
            let ended = self.child.process.ended();
            ensure!(
                ended.is_none(),
                "the operator ended:\n{}",
                self.child.process.log_tail()
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    }

    /// True if a path of its ops port answers with success.
    pub async fn answers(&self, path: &str) -> bool {
        let answer = http::get(&format!("http://{}{path}", self.ops)).await;
        answer.is_ok_and(|answer| answer.status.is_success())
    }

    /// Waits until `/readyz` says so.
    pub async fn ready(&self) -> Result<()> {
        wait_until(LONG, "the operator is ready", || async {
            if self.answers("/readyz").await {
                Ok(())
            } else {
                Err(self.child.process.log_tail())
            }
        })
        .await
    }

    /// Its name in the Lease.
    pub fn identity(&self) -> &str {
        &self.identity
    }

    /// The fleet map.
    pub async fn fleet(&self) -> Result<Value> {
        let answer = http::get(&format!("http://{}/api/v1/fleet", self.ops)).await?;
        ensure!(answer.status.is_success(), "{}", answer.status);
        answer.json()
    }

    /// Waits until the fleet map satisfies `look`, which returns what it was looking for.
    pub async fn wait_fleet<T>(&self, within: Duration, what: &str, look: impl Fn(&Value) -> Option<T>) -> Result<T> {
        wait_until(within, what, || async {
            let fleet = self.fleet().await.map_err(|error| format!("{error:#}"))?;
            look(&fleet).ok_or_else(|| fleet.to_string())
        })
        .await
    }

    /// Its metrics.
    pub async fn metrics(&self) -> Result<String> {
        Ok(http::get(&format!("http://{}/metrics", self.ops)).await?.text())
    }

    /// SIGTERM, and waits for an end in order.
    pub async fn stop(mut self) -> Result<()> {
        self.child.process.signal(Signal::Term).await?;
        let status = self.child.process.wait(LONG).await?;
        ensure!(
            status.success(),
            "the operator ended with {status}:\n{}",
            self.child.process.log_tail()
        );
        Ok(())
    }

    /// `kill -9`, and waits for the end.
    pub async fn kill(mut self) -> Result<()> {
        self.child.process.signal(Signal::Kill).await?;
        self.child.process.wait(LONG).await?;
        Ok(())
    }

    /// Freezes it: a leader that stalls.
    pub async fn pause(&self) -> Result<()> {
        self.child.process.signal(Signal::Stop).await
    }

    /// Thaws it.
    pub async fn resume(&self) -> Result<()> {
        self.child.process.signal(Signal::Cont).await
    }
}
