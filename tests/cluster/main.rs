//! Headwater in a cluster: a real API server, nodes as processes. Times are measured: these tests run one at a time.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod definitions;
mod harness;
mod replication;
mod stage;

use std::process::ExitCode;

use e2e::harness::cluster::suite;

fn main() -> ExitCode {
    let modules = [definitions::cases(), harness::cases(), replication::cases()];
    suite::main("cluster", modules.into_iter().flatten().collect())
}
