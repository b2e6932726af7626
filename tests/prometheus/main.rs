//! Rules and dashboards against a real Prometheus: promtool's scenarios, and a local fleet under load that it scrapes.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod fleet;
mod scenarios;
mod server;
