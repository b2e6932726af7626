//! Headwater operator: the control plane.
//!
//! ```text
//! manifests ─▶ api ─▶ validate ─▶ Wishes ──▶ control ──▶ platform: local (this machine) or Kubernetes
//!                                            ▲  │ └────▶ ops: health, metrics, the fleet as JSON and as a page
//! media nodes ─events─▶ fleet::link ─▶ fleet::map  └─▶ fleet::link ─commands─▶ media nodes
//!                                       └─▶ replication, autoscaling (pure)
//! ```

pub mod args;
pub mod settings;
pub mod telemetry;

mod console;
mod ending;

pub mod api;
pub mod crds;
pub mod validate;

pub mod fleet;

pub mod replication;

pub mod autoscaling;

pub mod control;
pub mod history;
pub mod metrics;
pub mod platform;

pub mod kubernetes;
pub mod local;
pub mod ops;
pub mod plugin;

#[cfg(test)]
mod fake_node;

use std::io::Write;

use anyhow::Context;

use args::{Args, Command, CrdsArgs};

/// Does what the command line says.
///
/// # Errors
/// Whatever kept it from being done, in a person's words.
pub fn run(args: Args) -> anyhow::Result<()> {
    let log = telemetry::init(&args.log, args.log_format).map_err(anyhow::Error::msg)?;
    match args.command {
        Command::Local(args) => {
            let settings = settings::Local::from_args(args, jiff::Timestamp::now())?;
            let runtime = tokio::runtime::Runtime::new().context("failed to start the runtime")?;
            log.keep();
            let result = runtime.block_on(local::run(settings, log.clone()));
            log.release();
            Ok(result?)
        }
        Command::Crds(args) => write_crds(&args),
        Command::Operator(args) => {
            let settings = settings::Operator::from_args(args);
            let runtime = tokio::runtime::Runtime::new().context("failed to start the runtime")?;
            Ok(runtime.block_on(kubernetes::run(settings))?)
        }
        Command::Kubectl(args) => {
            let runtime = tokio::runtime::Runtime::new().context("failed to start the runtime")?;
            Ok(runtime.block_on(plugin::run(args))?)
        }
    }
}

fn write_crds(args: &CrdsArgs) -> anyhow::Result<()> {
    for (name, text) in crds::render().context("failed to render the CRDs")? {
        match &args.out {
            None => std::io::stdout()
                .write_all(text.as_bytes())
                .context("failed to write to standard output")?,
            Some(folder) => {
                std::fs::create_dir_all(folder).with_context(|| format!("failed to make {}", folder.display()))?;
                let path = folder.join(name);
                std::fs::write(&path, text).with_context(|| format!("failed to write {}", path.display()))?;
            }
        }
    }
    Ok(())
}
