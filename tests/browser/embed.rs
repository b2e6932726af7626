//! The player inside pages of others.

use anyhow::{Result, bail, ensure};
use e2e::harness::process::Signal;

use crate::front::{Front, Manner};
use crate::stage::{SOON, Stage};

/// A page of somebody else, of another origin, that notes what it is told.
fn host(player: &str, attributes: &str) -> String {
    format!(
        "<!doctype html><link rel=icon href=data:,><script>
           window.told = [];
           for (const name of ['playing', 'stalled', 'ended', 'protocol', 'quality', 'latency', 'error']) {{
             document.addEventListener('headwater:' + name, (event) => told.push([name, event.detail, event.target.tagName]));
           }}
         </script><div id=place><script id=cam src=\"{player}\" {attributes}></script></div>"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn one_script_tag_embeds_the_player_and_tells_the_page_what_happens() -> Result<()> {
    let stage = Stage::set().await?;
    let mut publisher = stage.publish("h264-aac.flv")?;
    stage.origin.playable("cam", SOON).await?;
    let player = stage.edge.http_url("/play/embed.js");
    let page = host(&player, "data-stream=cam data-muted data-protocol=hls data-width=480");
    let front = Front::start(Manner::Files(vec![("/", "text/html", page)])).await?;
    stage.browser.open(&format!("http://{}/", front.address)).await?;

    let heard = |name: &str, more: &str| {
        format!("told.some(([name, detail, tag]) => name === '{name}' && tag === 'IFRAME' && {more})")
    };
    for wanted in [
        heard(
            "protocol",
            "detail.protocol === 'hls' && detail.why.includes('asked for')",
        ),
        heard("playing", "true"),
        heard("quality", "detail.quality === '360p'"),
        heard("latency", "detail.latencyMs > 0 && detail.latencyMs < 5000"),
    ] {
        if let Err(error) = stage.until(&wanted).await {
            bail!("{error:#}\ntold: {}", stage.browser.eval("return told").await?);
        }
    }
    let frame = stage
        .browser
        .eval("const { width, height } = document.getElementById('cam-player').getBoundingClientRect(); return [width, height];")
        .await?;
    ensure!(frame == serde_json::json!([480, 270]), "{frame}");

    // What others post is not taken for the player's.
    let forged = "told.length = 0;
      window.postMessage({ source: 'headwater', type: 'headwater:ended', detail: {} }, '*');
      return new Promise((resolve) => setTimeout(() => resolve(told.some(([name]) => name === 'ended')), 500));";
    ensure!(
        stage.browser.eval(forged).await? == false,
        "a forged message was relayed"
    );

    publisher.signal(Signal::Int).await?; // ffmpeg unpublishes
    publisher.wait(SOON).await?;
    stage.until(&heard("ended", "true")).await?;
    let _publisher = stage.publish("h264-aac.flv")?;
    stage.browser.eval("told.length = 0").await?;
    stage.until(&heard("playing", "true")).await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_embedded_page_is_nothing_but_the_picture_and_waits_for_a_click_if_told_to() -> Result<()> {
    let stage = Stage::set().await?;
    let _publisher = stage.publish("h264-aac.flv")?;
    stage.origin.playable("cam", SOON).await?;
    stage
        .browser
        .open(&stage.edge.http_url("/play/live/cam?embed=1&autoplay=0&muted=1"))
        .await?;
    stage
        .until("headwater.state === 'paused' && !document.getElementById('start').hidden")
        .await?;
    let gone = "[...document.querySelectorAll('header, .live, .figures, .protocol')].every((part) => getComputedStyle(part).display === 'none')";
    stage.until(gone).await?;
    stage.browser.eval("document.getElementById('start').click()").await?;
    stage
        .until("headwater.state === 'playing' && headwater.video.muted && headwater.video.clientWidth === innerWidth")
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tag_without_a_stream_says_so_on_the_console() -> Result<()> {
    let stage = Stage::set().await?;
    let page = host(&stage.edge.http_url("/play/embed.js"), "data-stream=\"a b\"");
    let front = Front::start(Manner::Files(vec![("/", "text/html", page)])).await?;
    stage.browser.open(&format!("http://{}/", front.address)).await?;
    let console = stage.browser.console().await?.join("\n");
    ensure!(console.contains("data-stream must be NAME or APP/NAME"), "{console}");
    let frames = stage
        .browser
        .eval("return document.querySelectorAll('iframe').length")
        .await?;
    ensure!(frames == 0, "{frames} frames");
    Ok(())
}
