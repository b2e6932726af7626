//! Nodes over loopback: an origin and edges as processes, real media through them.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod bad_hls;
mod bad_http;
mod bad_input;
mod control;
mod cost;
mod dash;
mod delivery;
mod dvr;
mod faults;
mod figures;
mod groups;
mod hls;
mod http2;
mod life;
mod peers;

use std::time::Duration;

use e2e::bench::publish;
use e2e::harness::{Node, root};

/// Longer than any stream of these tests.
const LONG: Duration = Duration::from_secs(30);
/// For what takes well under a second on an idle machine.
const SOON: Duration = Duration::from_secs(5);

/// Publishes the sample clip in a loop, and waits until the node can serve it.
async fn publish_sample(node: &Node, stream: &str) -> publish::Publication {
    let clip = root().join("operator/src/local/sample.flv");
    let publication = publish::start(publish::Options::new(node.rtmp_url(stream), clip)).unwrap();
    node.playable(stream, SOON).await.unwrap();
    publication
}
