//! Entry point: parse, log, run until a signal.

use clap::Parser;
use media_node::args::Args;
use media_node::node::{Node, signal};
use media_node::settings::Settings;
use media_node::telemetry;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    telemetry::start(&args.node().log, args.node().log_format)?;
    let settings = Settings::from(args);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let outcome = runtime.block_on(async {
        let signal = signal::end(settings.end_with_stdin)?;
        Node::start(settings)?.run(signal).await;
        Ok(())
    });
    // Not dropped: that would wait for the read of standard input, which ends with the parent only.
    runtime.shutdown_background();
    outcome
}
