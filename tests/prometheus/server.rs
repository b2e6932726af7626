//! A Prometheus that scrapes a local fleet each second, set up as docs/monitoring.md says.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use e2e::harness::{Local, Process, http, ports, root, wait_until};
use e2e::monitoring::RULES;
use serde_json::Value;
use tempfile::TempDir;

/// For it to be ready on a busy machine.
const START: Duration = Duration::from_secs(20);

/// A running Prometheus.
pub struct Prometheus {
    _process: Process,
    address: SocketAddr,
    _folder: TempDir,
}

impl Prometheus {
    /// Starts it; nodes come from the fleet's HTTP service discovery.
    pub async fn start(local: &Local) -> Result<Self> {
        let (folder, address) = (TempDir::new()?, ports::free()?);
        let file = folder.path().join("prometheus.yml");
        let config = format!(
            "global: {{scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s}}\n\
             rule_files: ['{rules}']\n\
             scrape_configs:\n\
             - job_name: headwater-operator\n  \
               honor_labels: true\n  \
               static_configs: [{{targets: ['{ops}']}}]\n\
             - job_name: headwater-nodes\n  \
               http_sd_configs: [{{url: 'http://{ops}/api/v1/targets', refresh_interval: 1s}}]\n",
            rules = root().join(RULES).display(),
            ops = local.ops,
        );
        std::fs::write(&file, config)?;
        let args = [
            format!("--config.file={}", file.display()),
            format!("--storage.tsdb.path={}", folder.path().join("data").display()),
            format!("--web.listen-address={address}"),
            "--log.level=warn".to_owned(),
        ];
        let process = Process::start("prometheus", Path::new("prometheus"), &args).context("run make setup")?;
        let prometheus = Self {
            _process: process,
            address,
            _folder: folder,
        };
        wait_until(START, "Prometheus is ready", || async {
            let answer = http::get(&format!("http://{address}/-/ready")).await;
            match answer {
                Ok(answer) if answer.status.is_success() => Ok(()),
                Ok(answer) => Err(answer.status.to_string()),
                Err(error) => Err(format!("{error:#}")),
            }
        })
        .await?;
        Ok(prometheus)
    }

    async fn api(&self, path: &str) -> Result<Value> {
        let answer = http::get(&format!("http://{}/api/v1/{path}", self.address)).await?;
        let json: Value = answer.json()?;
        ensure!(json["status"] == "success", "{path}: {json}");
        Ok(json["data"].clone())
    }

    /// What a query returns now: its numbers.
    pub async fn query(&self, expr: &str) -> Result<Vec<f64>> {
        let encoded: String = expr.bytes().map(|byte| format!("%{byte:02X}")).collect();
        let data = self
            .api(&format!("query?query={encoded}"))
            .await
            .with_context(|| expr.to_owned())?;
        let series = data["result"].as_array().cloned().unwrap_or_default();
        let values = series.iter().map(|series| {
            let value = series["value"][1].as_str().context("no value")?;
            value.parse().with_context(|| value.to_owned())
        });
        values.collect()
    }

    /// How many targets are scraped well, and what is wrong with the others.
    pub async fn targets(&self) -> Result<(usize, Vec<String>)> {
        let data = self.api("targets?state=active").await?;
        let targets = data["activeTargets"].as_array().cloned().unwrap_or_default();
        let (up, down): (Vec<_>, Vec<_>) = targets.iter().partition(|target| target["health"] == "up");
        Ok((up.len(), down.iter().map(|target| target.to_string()).collect()))
    }

    /// Every rule as it stands: `name`, `health`, `lastError`, and `state` of an alert.
    pub async fn rules(&self) -> Result<Vec<Value>> {
        let data = self.api("rules").await?;
        let groups = data["groups"].as_array().cloned().unwrap_or_default();
        let rules = groups
            .iter()
            .flat_map(|group| group["rules"].as_array().cloned().unwrap_or_default());
        Ok(rules.collect())
    }
}
