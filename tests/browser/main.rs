//! What needs a real browser: the player's decisions, and the player page against real nodes. Run one at a time: times are
//! measured, and a browser takes a core.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod decisions;
mod faults;
mod figures;
mod fleet;
mod page;
mod stage;
