//! What the page plays and how it is used.

use anyhow::{Context as _, Result, ensure};
use e2e::harness::fixture;
use e2e::harness::media::Ffmpeg;

use crate::stage::{SOON, Stage};

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_of_stream_that_the_browser_can_play_is_played() -> Result<()> {
    let stage = Stage::set().await?;
    for (file, width) in [
        ("bframes-aac.flv", 480),
        ("video-only.flv", 480),
        ("audio-only.flv", 0),
        ("av1-opus.flv", 480),
    ] {
        let name = file.trim_end_matches(".flv");
        let ffmpeg = if file.starts_with("av1") {
            Ffmpeg::Enhanced
        } else {
            Ffmpeg::System
        };
        let _publisher = ffmpeg.publish(&fixture(file)?, &stage.origin.rtmp_url(name), -1)?;
        stage.origin.playable(name, SOON).await?;
        stage
            .browser
            .open(&stage.edge.http_url(&format!("/play/live/{name}")))
            .await?;
        let first = stage.playing().await.with_context(|| file.to_owned())?;
        let moved_on = format!("headwater.video.currentTime > {}", first.position + 2.0);
        stage
            .browser
            .wait_until(&moved_on, SOON)
            .await
            .with_context(|| file.to_owned())?;
        let player = stage.browser.player().await?;
        ensure!(player.width == width, "{file}: {} pixels wide", player.width);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_front_page_lists_what_is_live_and_plays_what_is_typed() -> Result<()> {
    let stage = Stage::set().await?;
    let _publisher = stage.publish("h264-aac.flv")?;
    stage.origin.playable("cam", SOON).await?;
    stage.browser.open(&stage.origin.http_url("/")).await?;
    stage
        .until("document.querySelector('#streams a[href=\"/play/live/cam\"]')")
        .await?;
    let press_play = "const form = document.getElementById('open');
      form.stream.value = 'cam';
      form.querySelector('button').click();";
    stage.browser.eval(press_play).await?;
    stage.playing().await?;
    let path = stage.browser.eval("return location.pathname").await?;
    ensure!(path == "/play/live/cam", "{path}");
    let errors: Vec<String> = stage.browser.console().await?;
    ensure!(!errors.iter().any(|line| line.contains("SEVERE")), "{errors:#?}");
    Ok(())
}
