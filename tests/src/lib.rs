//! Harness of the end-to-end tests, and the load and latency tools.
//!
//! ```text
//! wire      readers and writers of the formats on the wire, written apart from the server's: they check it
//! hls       the rules of HLS, a player that keeps their record, a stream that keeps them all
//! dash      manifests of MPEG-DASH as far as ours go
//! bench     publish (a clip in real time, each picture stamped with its send time), load (N viewers that read the stamps)
//! harness   nodes and local mode as processes, media programs, comparison of what came with what was sent
//! monitoring  rules and dashboards as the chart ships them, and what their queries name
//! browser   headless Chromium by WebDriver, and what the player page says of itself
//! ```

pub mod wire;

pub mod hls;

pub mod dash;

pub mod bench;

pub mod harness;

pub mod monitoring;

pub mod browser;
