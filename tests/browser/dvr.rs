//! The past: a viewer goes back in it, stays there, and comes back to live.

use std::time::Duration;

use anyhow::{Result, ensure};
use e2e::harness::media::Ffmpeg;
use e2e::harness::{Node, fixture};
use headwater_contract::Role;
use tokio::time::sleep;

use crate::protocols::open;
use crate::stage::{SOON, Stage};

#[tokio::test(flavor = "multi_thread")]
async fn where_the_window_is_long_one_can_go_back_and_come_back_to_live() -> Result<()> {
    let stage = Stage::set().await?;
    let origin = Node::start(Role::Origin, &["--hls-window", "120s"]).await?;
    let _publisher = Ffmpeg::System.publish(&fixture("h264-aac.flv")?, &origin.rtmp_url("cam"), -1)?;
    origin.playable("cam", SOON).await?;
    open(&stage.browser, origin.http, "?protocol=hls").await?;
    stage.until("headwater.state === 'playing'").await?;
    let live =
        "!document.getElementById('live').hidden && document.getElementById('live').getAttribute('aria-pressed')";
    ensure!(
        stage.browser.eval(&format!("return {live}")).await? == false,
        "a way back over nothing"
    );
    let long_enough = Duration::from_secs(90); // more than a minute must have been seen
    stage
        .browser
        .wait_until(&format!("({live}) === 'true'"), long_enough)
        .await?;

    let back = "const bar = document.getElementById('time');
      bar.value = '-40'; bar.dispatchEvent(new Event('input')); bar.dispatchEvent(new Event('change'));";
    stage.browser.eval(back).await?;
    let there = format!("({live}) === 'false' && headwater.state === 'playing' && headwater.latencyMs > 30000");
    stage.until(&there).await?;
    // Nobody drags the viewer back to live, and Pause keeps the place.
    sleep(Duration::from_secs(4)).await;
    ensure!(
        stage.browser.player().await?.latency_ms > Some(30_000.0),
        "it did not stay back"
    );
    stage
        .browser
        .eval("document.getElementById('pause').click(); return headwater.video.currentTime")
        .await?;
    stage.until("headwater.state === 'paused'").await?;
    stage.browser.eval("document.getElementById('pause').click()").await?;
    stage
        .until("headwater.state === 'playing' && headwater.latencyMs > 30000")
        .await?;

    stage.browser.eval("document.getElementById('live').click()").await?;
    stage
        .until(&format!(
            "({live}) === 'true' && headwater.state === 'playing' && headwater.latencyMs < 1500"
        ))
        .await
}
