//! What needs a real browser: the pages' decisions, the player page against real nodes, the console against a fleet.
//! Times are measured, and a browser takes a core: they run one at a time, but for those that the Makefile names.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod console;
mod dash;
mod decisions;
mod dvr;
mod embed;
mod faults;
mod figures;
mod fleet;
mod front;
mod hls;
mod levels;
mod page;
mod protocols;
mod stage;
