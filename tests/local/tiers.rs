//! Pools below pools, and pools that pull only what is asked for.

use std::time::{Duration, Instant};

use e2e::bench::load;
use e2e::harness::media::ffprobe;
use e2e::harness::{Local, wait_until};
use serde_json::Value;

use crate::{LONG, manifest, publish_sample};

/// A pool more, below `upstream`.
fn pool(name: &str, kind: &str, upstream: &str, rest: &str) -> String {
    format!(
        "---\napiVersion: headwater.dev/v1alpha1\nkind: EdgePool\nmetadata: {{name: {name}}}\nspec:\n  \
        upstream: {{kind: {kind}, name: {upstream}}}\n  replicas: 1\n{rest}"
    )
}

fn pool_of<'a>(fleet: &'a Value, name: &str) -> &'a Value {
    let pools = fleet["pools"].as_array().unwrap();
    pools.iter().find(|pool| pool["name"] == name).unwrap_or(&Value::Null)
}

fn carried(fleet: &Value, pool: &str) -> Vec<String> {
    let edges = pool_of(fleet, pool)["edges"].as_array().cloned().unwrap_or_default();
    let streams = edges
        .iter()
        .filter_map(|edge| edge["streams"].as_array().cloned())
        .flatten();
    streams
        .filter_map(|stream| stream.as_str().map(str::to_owned))
        .collect()
}

async fn address(local: &Local, pool: &str, field: &str) -> String {
    let fleet = local.fleet().await.unwrap();
    pool_of(&fleet, pool)[field].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_lowest_of_three_tiers_plays_and_says_how_late_it_is() {
    let tiers =
        manifest("  replicas: 1") + &pool("middle", "EdgePool", "web", "") + &pool("low", "EdgePool", "middle", "");
    let local = Local::start(&tiers, &[]).await.unwrap();
    local.whole(LONG).await.unwrap();
    let _publication = publish_sample(&local, "a").await;
    let began = Instant::now();
    local
        .wait(LONG, "the stream is on the lowest tier", |fleet| {
            (carried(fleet, "low") == ["live/a"]).then_some(())
        })
        .await
        .unwrap();
    println!(
        "figure: publish to playable three tiers down: {} ms",
        began.elapsed().as_millis()
    );
    let http = address(&local, "low", "http").await;
    let report = load::run(load::Options::new(
        load::url(load::Protocol::Ws, &http, "live/a"),
        4,
        Duration::from_secs(3),
    ))
    .await
    .unwrap();
    assert!(report.clean() && report.gaps.missing_pictures == 0, "{report}");
    println!(
        "figure: added delay three tiers down: p50 {:.1} ms, p99 {:.1} ms",
        report.added_delay_ms.p50, report.added_delay_ms.p99
    );
    local
        .wait(Duration::from_secs(5), "the lag is known", |fleet| {
            pool_of(fleet, "low")["edges"][0]["lagMs"].as_u64()
        })
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_on_demand_pool_pulls_what_is_asked_for_and_ends_it_when_nobody_watches() {
    let manifests = manifest("  replicas: 1")
        + &pool(
            "asked",
            "StreamOrigin",
            "main",
            "  replication: {mode: OnDemand, streams: [\"a*\"], idleTimeoutSeconds: 2}\n",
        );
    let local = Local::start(&manifests, &[]).await.unwrap();
    local.whole(LONG).await.unwrap();
    let _publications = (publish_sample(&local, "a1").await, publish_sample(&local, "b1").await);
    local
        .wait(LONG, "both are on the eager pool", |fleet| {
            (carried(fleet, "web") == ["live/a1", "live/b1"]).then_some(())
        })
        .await
        .unwrap();
    let fleet = local.fleet().await.unwrap();
    assert!(
        carried(&fleet, "asked").is_empty(),
        "pulled before anybody asked: {fleet}"
    );
    let http = address(&local, "asked", "http").await;
    let rtmp = address(&local, "asked", "rtmp").await;
    let viewers = load::run(load::Options::new(
        load::url(load::Protocol::Flv, &http, "live/a1"),
        5,
        Duration::from_secs(2),
    ))
    .await
    .unwrap();
    assert!(viewers.clean(), "{viewers}");
    println!(
        "figure: first key frame of a stream pulled on demand: {:.0} ms",
        viewers.first_key_ms.max
    );
    let left = Instant::now();
    local
        .wait(Duration::from_secs(10), "the idle stream is ended", |fleet| {
            carried(fleet, "asked").is_empty().then_some(())
        })
        .await
        .unwrap();
    println!(
        "figure: idle stream (2 s) ended {:.1} s after the last viewer",
        left.elapsed().as_secs_f64()
    );
    assert!(left.elapsed() > Duration::from_millis(1900), "{:?}", left.elapsed());

    // What the pool's patterns leave out is not there, by any protocol.
    let refused = e2e::harness::http::get(&format!("http://{http}/live/b1.flv"))
        .await
        .unwrap();
    assert_eq!(refused.status, 404, "{}", refused.text());
    assert!(ffprobe(&format!("rtmp://{rtmp}/live/b1"), LONG).await.is_err());
    // And one asked for again comes again.
    let mut again = e2e::harness::websocket::Viewer::connect(&format!("ws://{http}/live/a1.mp4"))
        .await
        .unwrap();
    again
        .until(Duration::from_secs(5), "media comes", |viewer| viewer.binary.len() > 3)
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pool_added_on_disk_serves_and_one_taken_out_goes() {
    let one = manifest("  replicas: 1");
    let local = Local::start(&one, &[]).await.unwrap();
    local.whole(LONG).await.unwrap();
    let _publication = publish_sample(&local, "a").await;
    std::fs::write(&local.manifest, one.clone() + &pool("two", "StreamOrigin", "main", "")).unwrap();
    local
        .wait(LONG, "the second pool carries the stream", |fleet| {
            (carried(fleet, "two") == ["live/a"] && pool_of(fleet, "two")["ready"] == 1).then_some(())
        })
        .await
        .unwrap();
    let http = address(&local, "two", "http").await;
    assert_ne!(http, address(&local, "web", "http").await);
    let mut playing = e2e::harness::websocket::Viewer::connect(&format!("ws://{http}/live/a.mp4"))
        .await
        .unwrap();
    playing
        .until(Duration::from_secs(5), "media comes", |viewer| viewer.binary.len() > 3)
        .await
        .unwrap();
    drop(playing);
    let before = local.process.children().len();
    std::fs::write(&local.manifest, one).unwrap();
    local
        .wait(LONG, "the second pool is gone", |fleet| {
            pool_of(fleet, "two").is_null().then_some(())
        })
        .await
        .unwrap();
    wait_until(LONG, "its edge has ended", || async {
        let now = local.process.children().len();
        if now + 1 == before { Ok(()) } else { Err(now) }
    })
    .await
    .unwrap();
    let fleet = local.fleet().await.unwrap();
    assert_eq!(
        carried(&fleet, "web"),
        ["live/a"],
        "the other pool was touched: {fleet}"
    );
}
