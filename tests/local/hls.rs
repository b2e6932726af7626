//! HLS through a pool's load balancer: viewers count, a drain sends them on, and a new edge takes some.

use std::time::{Duration, Instant};

use e2e::harness::Local;
use e2e::hls::client::{self, Options};
use e2e::hls::validator::Limits;

use crate::{LONG, edges, manifest, on_every_edge, publish_sample};

/// A viewer that leaves is counted for 8 s, and the control loop looks once a second.
const COUNTED: Duration = Duration::from_secs(15);

/// A viewer whose every connection may lead to another edge.
fn options(pool: &str) -> Options {
    let base = Options::new([format!("http://{pool}")], "live/a");
    Options {
        limits: Limits {
            balanced: true,
            ..Limits::servers(Duration::from_millis(500))
        },
        ..base
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_sends_hls_viewers_on_without_a_404_and_without_a_stall() {
    let local = Local::start(&manifest("  replicas: 3"), &[]).await.unwrap();
    local.whole(LONG).await.unwrap();
    let _publication = publish_sample(&local, "a").await;
    let carried = |fleet: &serde_json::Value| on_every_edge(fleet, "a").then_some(());
    local.wait(LONG, "the stream is on every edge", carried).await.unwrap();
    let pool = local.pool_http().await.unwrap();
    let clients: Vec<_> = (0..3).map(|_| client::start(options(&pool))).collect();
    for client in &clients {
        client.playing().await.unwrap();
    }
    local
        .wait(COUNTED, "the viewers are counted", |fleet| {
            (fleet["pools"][0]["viewers"].as_u64()? >= 3).then_some(())
        })
        .await
        .unwrap();
    std::fs::write(&local.manifest, manifest("  replicas: 1")).unwrap();
    let began = Instant::now();
    local
        .wait(LONG, "two edges are gone", |fleet| {
            (edges(fleet).len() == 1).then_some(())
        })
        .await
        .unwrap();
    let gone = began.elapsed();
    clients[0].watch(Duration::from_secs(3)).await;
    for client in clients {
        let report = client.stop().await.unwrap();
        println!(
            "figure: three edges became one within {:.1} s; a viewer of HLS: {report}",
            gone.as_secs_f64()
        );
        report.clean().unwrap();
    }
}
