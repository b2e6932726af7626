//! `headwater local` as a process, and its fleet map.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tempfile::TempDir;

use super::process::Process;
use super::{http, ports, program, wait_until};

/// How long the fleet may take to come up: debug builds on a busy machine.
const START: Duration = Duration::from_secs(30);

/// A running local mode.
#[derive(Debug)]
pub struct Local {
    /// Its process.
    pub process: Process,
    /// Operator's ops port.
    pub ops: SocketAddr,
    /// The manifest; tests write to it.
    pub manifest: PathBuf,
    _folder: TempDir,
}

impl Local {
    /// Starts it with this manifest and further flags, and waits until its API answers.
    pub async fn start(manifest: &str, flags: &[&str]) -> Result<Self> {
        let folder = TempDir::new()?;
        let file = folder.path().join("local.yaml");
        std::fs::write(&file, manifest)?;
        let ops = ports::free()?;
        let mut args = vec!["local".to_owned(), "-f".to_owned(), file.display().to_string()];
        args.extend(["--ops-listen".to_owned(), ops.to_string()]);
        args.extend(flags.iter().map(|flag| (*flag).to_owned()));
        let process = Process::start("headwater local", &program("headwater")?, &args)?;
        let mut local = Self {
            process,
            ops,
            manifest: file,
            _folder: folder,
        };
        let deadline = std::time::Instant::now() + START;
        while local.fleet().await.is_err() {
            ensure!(
                local.process.ended().is_none(),
                "headwater local ended:\n{}",
                local.process.log_tail()
            );
            ensure!(
                std::time::Instant::now() < deadline,
                "no fleet map:\n{}",
                local.process.log_tail()
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(local)
    }

    /// The fleet map.
    pub async fn fleet(&self) -> Result<Value> {
        let answer = http::get(&format!("http://{}/api/v1/fleet", self.ops)).await?;
        ensure!(answer.status.is_success(), "{}", answer.status);
        answer.json()
    }

    /// Waits until the fleet map satisfies `look`, which returns what it was looking for.
    pub async fn wait<T>(&self, within: Duration, what: &str, look: impl Fn(&Value) -> Option<T>) -> Result<T> {
        wait_until(within, what, || async {
            let fleet = self.fleet().await.map_err(|error| format!("{error:#}"))?;
            look(&fleet).ok_or_else(|| fleet.to_string())
        })
        .await
    }

    /// Waits until every pool has as many ready edges as it wants, and every origin is ready.
    pub async fn whole(&self, within: Duration) -> Result<Value> {
        self.wait(within, "the fleet is whole", |fleet| {
            let origins = fleet["origins"].as_array()?;
            let pools = fleet["pools"].as_array()?;
            let ready = !origins.is_empty()
                && origins.iter().all(|origin| origin["ready"] == true)
                && pools
                    .iter()
                    .all(|pool| pool["desired"].as_u64() > Some(0) && pool["ready"] == pool["desired"]);
            ready.then(|| fleet.clone())
        })
        .await
    }

    /// The first origin's RTMP address.
    pub async fn origin_rtmp(&self) -> Result<String> {
        text(&self.fleet().await?["origins"][0]["rtmp"])
    }

    /// The first pool's HTTP address: its load balancer.
    pub async fn pool_http(&self) -> Result<String> {
        text(&self.fleet().await?["pools"][0]["http"])
    }
}

fn text(value: &Value) -> Result<String> {
    Ok(value.as_str().context("the fleet map has no such address")?.to_owned())
}
