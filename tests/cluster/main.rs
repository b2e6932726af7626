//! Headwater in a cluster: a real API server, nodes as processes. Times are measured: these tests run one at a time.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod definitions;
mod faults;
mod harness;
mod replication;
mod scaling;
mod stage;
mod writes;

use std::process::ExitCode;

use e2e::harness::cluster::suite;

fn main() -> ExitCode {
    let modules = [
        definitions::cases(),
        harness::cases(),
        replication::cases(),
        writes::cases(),
        scaling::cases(),
        faults::cases(),
    ];
    suite::main("cluster", modules.into_iter().flatten().collect())
}
