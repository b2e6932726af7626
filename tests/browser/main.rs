//! What needs a real browser: the pages' decisions, the player page against real nodes, the console against a fleet.
//! Run one at a time: times are measured, and a browser takes a core.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod console;
mod dash;
mod decisions;
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
