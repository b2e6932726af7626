//! LL-HLS by hls.js through the load balancer of a pool, while an edge dies and another comes.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use e2e::browser::Browser;
use e2e::harness::Local;
use e2e::harness::process::{self, Signal};
use serde::Deserialize;
use tokio::time::{Instant, sleep, sleep_until};

use crate::stage::{SOON, median};

/// For a fleet to come up in a debug build on a busy machine.
const LONG: Duration = Duration::from_secs(40);
/// A standstill of the playhead that is longer counts as a stall: in ten minutes on a machine that does nothing else.
const STALL_MS: f64 = 100.0;
/// The same among all other tests, where whatever else runs holds the browser up for a moment.
const BUSY_STALL_MS: f64 = 1000.0;
/// After a kill, stalls within this time are put down to it.
const AFTER_KILL: Duration = Duration::from_secs(3);

fn manifest(replicas: u32) -> String {
    format!(
        "apiVersion: headwater.dev/v1alpha1\nkind: StreamOrigin\nmetadata: {{name: main}}\nspec: {{}}\n---\n\
         apiVersion: headwater.dev/v1alpha1\nkind: EdgePool\nmetadata: {{name: web}}\nspec:\n  \
         upstream: {{kind: StreamOrigin, name: main}}\n  replicas: {replicas}\n"
    )
}

/// Notes each standstill of the playhead, looking every 10 ms. A page that is itself held up sees no standstill: only looks that
/// find the playhead where it was count.
const WATCH: &str = "const watch = window.stallWatch = { stalls: [], position: -1, since: 0, seen: 0 };
  const look = () => {
    const now = Date.now();
    const { video } = headwater;
    const position = video.paused ? -1 : video.currentTime;
    if (position !== watch.position || position < 0) {
      if (watch.seen - watch.since > 100) watch.stalls.push({ at: watch.since, ms: watch.seen - watch.since });
      Object.assign(watch, { position, since: now });
    }
    watch.seen = now;
    setTimeout(look, 10);
  };
  look();";

const SAMPLE: &str =
    "return { lag: headwater.latencyMs, edgeLag: headwater.edgeLatencyMs, buffer: headwater.bufferMs };";

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Sample {
    lag: Option<f64>,
    edge_lag: Option<f64>,
    buffer: f64,
}

#[derive(Clone, Debug, Deserialize)]
struct Stall {
    /// Unix milliseconds.
    at: f64,
    ms: f64,
}

/// The process of an edge that serves somebody.
async fn busy_edge(local: &Local) -> Result<u32> {
    let fleet = local.fleet().await?;
    let edges = fleet["pools"][0]["edges"].as_array().context("no edges")?;
    let busy = edges.iter().max_by_key(|edge| edge["viewers"].as_u64());
    let http = busy
        .and_then(|edge| edge["http"].as_str())
        .context("no edge has an address")?;
    let children = local.process.children();
    let found = children.iter().find(|(_, line)| line.contains(http));
    Ok(found
        .with_context(|| format!("no child listens at {http}: {children:?}"))?
        .0)
}

fn unix_ms() -> f64 {
    jiff::Timestamp::now().as_millisecond() as f64
}

/// Plays for `length`; an edge is added after a third of it, and one killed after two. Stalls are standstills over `stall_ms`.
async fn plays_on(length: Duration, stall_ms: f64) -> Result<()> {
    let local = Local::start(&manifest(2), &["--sample"]).await?;
    local.whole(LONG).await?;
    let balancer = local.pool_http().await?;
    let browser = Browser::start().await?;
    browser
        .open(&format!("http://{balancer}/play/live/sample?protocol=hls"))
        .await?;
    let settled = "headwater.state === 'playing' && headwater.rate === 1 && headwater.latencyMs < 1500";
    browser.wait_until(settled, SOON).await?;
    sleep(Duration::from_secs(3)).await; // the first jumps and corrections
    browser.eval(WATCH).await?;
    let before = browser.player().await?;

    let begin = Instant::now();
    let (mut samples, mut added, mut killed_at) = (Vec::new(), false, f64::INFINITY);
    while begin.elapsed() < length {
        sleep_until(Instant::now() + Duration::from_millis(250)).await;
        samples.push(serde_json::from_value::<Sample>(browser.eval(SAMPLE).await?)?);
        if !added && begin.elapsed() > length / 3 {
            added = true;
            std::fs::write(&local.manifest, manifest(3))?;
        }
        if killed_at.is_infinite() && begin.elapsed() > length * 2 / 3 {
            let edge = busy_edge(&local).await?;
            killed_at = unix_ms();
            process::send(edge, Signal::Kill).await?;
        }
    }
    let after = browser.player().await?;
    let mut stalls: Vec<Stall> = serde_json::from_value(browser.eval("return stallWatch.stalls").await?)?;
    stalls.retain(|stall| stall.ms > stall_ms);
    judge(&samples, &stalls, killed_at, stall_ms)?;
    let speed = (after.position - before.position) / ((after.now_ms - before.now_ms) / 1000.0);
    ensure!((0.97..=1.03).contains(&speed), "speed {speed}");
    ensure!(after.reconnects == before.reconnects, "hls.js was made anew");
    let edges = local.fleet().await?["pools"][0]["edges"].as_array().map_or(0, Vec::len);
    ensure!(edges >= 3, "{edges} edges: none was added");
    Ok(())
}

fn judge(samples: &[Sample], stalls: &[Stall], killed_at: f64, stall_ms: f64) -> Result<()> {
    let lag = median(samples.iter().filter_map(|sample| sample.lag).collect());
    let edge_lag = median(samples.iter().filter_map(|sample| sample.edge_lag).collect());
    let buffer = median(samples.iter().map(|sample| sample.buffer).collect());
    let due_to_kill = |stall: &&Stall| {
        let since = stall.at + stall.ms - killed_at;
        (0.0..=AFTER_KILL.as_millis() as f64 + stall.ms).contains(&since)
    };
    let shown: Vec<String> = stalls
        .iter()
        .map(|stall| format!("{:.0} ms at kill {:+.1} s", stall.ms, (stall.at - killed_at) / 1000.0))
        .collect();
    println!(
        "median latency {lag:.0} ms by date, {edge_lag:.0} ms by hls.js; median buffer {buffer:.0} ms; {} stalls {shown:?}",
        stalls.len()
    );
    ensure!(samples.len() > 20, "{} samples", samples.len());
    ensure!(lag > 200.0 && lag < 1500.0, "a median latency of {lag} ms by date");
    ensure!(
        edge_lag > 100.0 && edge_lag < 1500.0,
        "a median latency of {edge_lag} ms by hls.js"
    );
    let (killed, other): (Vec<_>, Vec<_>) = stalls.iter().partition(due_to_kill);
    ensure!(other.is_empty(), "stalls that no kill explains: {shown:?}");
    let most = 1000.0 + 2.0 * (stall_ms - STALL_MS); // a second where nothing else runs
    ensure!(
        killed.len() <= 1 && killed.iter().all(|stall| stall.ms < most),
        "the kill cost more than one stall of under {most} ms: {shown:?}"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn hls_through_the_load_balancer_lags_little_and_outlives_an_edge() -> Result<()> {
    plays_on(Duration::from_secs(45), BUSY_STALL_MS).await
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes ten minutes; make long runs it"]
async fn for_ten_minutes_hls_lags_little_and_outlives_an_edge() -> Result<()> {
    plays_on(Duration::from_secs(600), STALL_MS).await
}
