//! MPEG-DASH by dash.js through the load balancer of a pool, in low latency.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use e2e::browser::Browser;
use e2e::harness::{Local, root};
use serde::Deserialize;
use tokio::time::{Instant, sleep};

use crate::front::{Front, Manner};
use crate::levels::Scene;
use crate::stage::{SOON, Stage, median};

/// For a fleet to come up in a debug build on a busy machine.
const LONG: Duration = Duration::from_secs(40);
/// A standstill of the playhead that is longer counts as a stall, where whatever else runs holds the browser up for a moment.
const STALL_MS: f64 = 1000.0;
/// The manifest says that players stay 1.6 s behind; where whatever else runs makes one begin late, it takes 25 s to catch up with a
/// second.
const MOST_LATENCY_S: f64 = 4.0;

/// Asks for the manifest as dash.js does by itself, in whatever mode the manifest makes it choose.
const PAGE: &str = r#"<!doctype html><title>dash.js</title><video id="video" muted autoplay></video>
<script src="/dash.js"></script>
<script>
const video = document.getElementById("video");
const player = dashjs.MediaPlayer().create();
const seen = { errors: [], periods: [], manifests: 0, stalls: [], media: [], refused: [] };
new PerformanceObserver((list) => {
  for (const { name, responseStatus, duration } of list.getEntries()) {
    if (!name.includes(".m4s")) continue;
    seen.media.push(name.split("/").pop());
    if (responseStatus >= 400) seen.refused.push(`${name} ${responseStatus} after ${duration.toFixed()} ms`);
  }
}).observe({ type: "resource", buffered: true });
player.on("error", (event) => seen.errors.push(JSON.stringify(event.error && { code: event.error.code, message: event.error.message })));
player.on("periodSwitchCompleted", ({ toStreamInfo }) => seen.periods.push(toStreamInfo.id));
player.on("manifestLoaded", () => (seen.manifests += 1));
player.initialize(video, new URLSearchParams(location.search).get("manifest"), true);
const dash = () => ({
  latency: player.getCurrentLiveLatency(),
  target: player.getTargetLiveDelay(),
  buffer: video.buffered.length ? video.buffered.end(video.buffered.length - 1) - video.currentTime : 0,
  position: video.currentTime,
  now: Date.now() / 1000,
  rate: video.playbackRate,
  frames: video.getVideoPlaybackQuality().totalVideoFrames,
  ...seen,
});
let position = -1, since = 0, last = 0;
const look = () => {
  const now = Date.now();
  if (video.currentTime !== position) {
    if (position > 0 && last - since > 100) seen.stalls.push(last - since);
    position = video.currentTime;
    since = now;
  }
  last = now;
  setTimeout(look, 10);
};
look();
</script>"#;

#[derive(Clone, Debug, Deserialize)]
struct Look {
    latency: Option<f64>,
    target: Option<f64>,
    buffer: f64,
    position: f64,
    now: f64,
    rate: f64,
    frames: u64,
    errors: Vec<String>,
    manifests: u64,
    stalls: Vec<f64>,
    media: Vec<String>,
    refused: Vec<String>,
}

async fn look(browser: &Browser) -> Result<Look> {
    Ok(serde_json::from_value(browser.eval("return dash()").await?)?)
}

/// Opens a page with dash.js that plays this manifest.
async fn open(browser: &Browser, manifest: &str) -> Result<Front> {
    let script = root().join(".cache/dashjs/dash.all.min.js");
    let script =
        std::fs::read_to_string(&script).with_context(|| format!("no {}: run make setup", script.display()))?;
    let files = vec![
        ("/", "text/html", PAGE.to_owned()),
        ("/dash.js", "text/javascript", script),
    ];
    let front = Front::start(Manner::Files(files)).await?;
    browser
        .open(&format!("http://{}/?manifest={manifest}", front.address))
        .await?;
    Ok(front)
}

#[tokio::test(flavor = "multi_thread")]
async fn dash_js_plays_through_the_load_balancer_with_little_latency() -> Result<()> {
    let manifest = "apiVersion: headwater.dev/v1alpha1\nkind: StreamOrigin\nmetadata: {name: main}\nspec: {}\n---\n\
                    apiVersion: headwater.dev/v1alpha1\nkind: EdgePool\nmetadata: {name: web}\nspec:\n  \
                    upstream: {kind: StreamOrigin, name: main}\n  replicas: 2\n";
    let local = Local::start(manifest, &["--sample"]).await?;
    local.whole(LONG).await?;
    let balancer = local.pool_http().await?;
    let browser = Browser::start().await?;
    let _front = open(&browser, &format!("http://{balancer}/live/sample.mpd")).await?;
    let settled = "video.currentTime > 0 && !video.paused && dash().frames > 50 && dash().latency < 3";
    browser.wait_until(settled, SOON).await?;
    sleep(Duration::from_secs(3)).await; // the first jumps and corrections
    browser.eval("seen.stalls = []").await?;
    let begin = Instant::now();
    let mut looks = vec![look(&browser).await?];
    while begin.elapsed() < Duration::from_secs(20) {
        sleep(Duration::from_millis(250)).await;
        looks.push(look(&browser).await?);
    }
    let (first, last) = (&looks[0], &looks[looks.len() - 1]);
    let latency = median(looks.iter().filter_map(|look| look.latency).collect());
    let buffer = median(looks.iter().map(|look| look.buffer).collect());
    let speed = (last.position - first.position) / (last.now - first.now);
    let stalls: Vec<f64> = last.stalls.iter().copied().filter(|ms| *ms > STALL_MS).collect();
    println!(
        "median latency {latency:.2} s of {:?} wanted, buffer {buffer:.2} s, speed {speed:.3}, rate {}, standstills {:?} ms, {} manifests",
        last.target, last.rate, last.stalls, last.manifests
    );
    let names: BTreeSet<&String> = last.media.iter().collect();
    println!(
        "{} requests for {} segments, refused: {:?}",
        last.media.len(),
        names.len(),
        last.refused
    );
    ensure!(last.errors.is_empty(), "dash.js says {:?}", last.errors);
    ensure!(last.refused.is_empty(), "refused: {:?}", last.refused);
    ensure!((0.9..=1.1).contains(&speed), "speed {speed}");
    ensure!(
        latency > 0.2 && latency < MOST_LATENCY_S,
        "a median latency of {latency} s"
    );
    ensure!(stalls.is_empty(), "stalls of {stalls:?} ms");
    // Where a segment is longer than it was expected to be it is asked for again.
    ensure!(last.media.len() <= names.len() + 4, "{:?}", last.media);
    ensure!(
        last.frames > first.frames + 200,
        "{} frames",
        last.frames - first.frames
    );
    Ok(())
}

/// A publisher that breaks off and is back at once: another Period, in which dash.js goes on by itself.
#[tokio::test(flavor = "multi_thread")]
async fn dash_js_goes_on_when_the_publisher_is_back() -> Result<()> {
    let stage = Stage::set().await?;
    let publisher = stage.publish("bframes-aac.flv")?;
    stage.origin.playable("cam", SOON).await?;
    let browser = &stage.browser;
    let _front = open(browser, &format!("http://{}/live/cam.mpd", stage.edge.http)).await?;
    browser
        .wait_until("video.currentTime > 0 && !video.paused && dash().frames > 100", SOON)
        .await?;
    drop(publisher);
    let _publisher = stage.publish("bframes-aac.flv")?;
    browser
        .eval("window.mark = { period: seen.periods.at(-1), frames: dash().frames }")
        .await?;
    browser
        .wait_until(
            "mark.period && seen.periods.at(-1) !== mark.period && dash().frames > mark.frames + 150 && dash().latency < 4",
            LONG,
        )
        .await?;
    let last = look(browser).await?;
    println!(
        "latency {:?}, refused {:?}, errors {:?}, standstills {:?}",
        last.latency, last.refused, last.errors, last.stalls
    );
    ensure!(last.errors.is_empty(), "dash.js says {:?}", last.errors);
    Ok(())
}

/// A group's manifest: dash.js knows each quality, and shows the one that is chosen.
#[tokio::test(flavor = "multi_thread")]
async fn dash_js_changes_the_quality_of_a_group() -> Result<()> {
    let Scene { browser, edge, .. } = &Scene::set().await?;
    let _front = open(browser, &format!("http://{}/live/show.mpd", edge.http)).await?;
    browser
        .wait_until("video.currentTime > 0 && !video.paused && dash().frames > 50", SOON)
        .await?;
    let heights = "return player.getRepresentationsByType('video').map(({ height }) => height).sort((a, b) => a - b)";
    let heights: Vec<u64> = serde_json::from_value(browser.eval(heights).await?)?;
    ensure!(heights == [180, 360], "dash.js knows heights of {heights:?}");
    browser
        .eval("player.updateSettings({ streaming: { abr: { autoSwitchBitrate: { video: false } } } })")
        .await?;
    for height in [180, 360, 180] {
        let choose = format!(
            "const all = player.getRepresentationsByType('video');
             player.setRepresentationForTypeById('video', all.find((one) => one.height === {height}).id)"
        );
        browser.eval(&choose).await?;
        browser
            .wait_until(&format!("video.videoHeight === {height}"), SOON)
            .await?;
        let position = look(browser).await?.position;
        browser
            .wait_until(&format!("video.currentTime > {position} + 1"), SOON)
            .await?;
    }
    let last = look(browser).await?;
    println!("standstills {:?} ms, refused: {:?}", last.stalls, last.refused);
    ensure!(last.errors.is_empty(), "dash.js says {:?}", last.errors);
    ensure!(last.refused.is_empty(), "refused: {:?}", last.refused);
    Ok(())
}
