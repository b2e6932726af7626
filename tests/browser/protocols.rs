//! By which protocol the page plays, that each of them plays, and what it does where one can't be had.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Result, ensure};
use e2e::browser::Browser;
use tokio::time::sleep;

use crate::front::{Front, Manner};
use crate::levels::Scene;
use crate::stage::{SOON, Stage, median, samples};

/// Opens the page of `live/cam` with a query behind it.
pub(crate) async fn open(browser: &Browser, server: SocketAddr, query: &str) -> Result<()> {
    browser.open(&format!("http://{server}/play/live/cam{query}")).await
}

/// The line that says which protocol, and why.
async fn line(browser: &Browser) -> Result<String> {
    let text = browser
        .eval("return document.getElementById('protocol').textContent")
        .await?;
    Ok(text.as_str().unwrap_or_default().to_owned())
}

/// It plays by `protocol`, at the source's speed, with pictures that are new.
async fn plays(browser: &Browser, protocol: &str) -> Result<()> {
    let playing = format!("headwater.protocol === '{protocol}' && headwater.state === 'playing'");
    browser.wait_until(&playing, SOON).await?;
    browser
        .wait_until("headwater.video?.currentTime > 0 && headwater.rate === 1", SOON)
        .await?;
    sleep(Duration::from_secs(3)).await; // the jumps of the beginning
    browser.wait_until("headwater.rate === 1", SOON).await?;
    let frames = "return headwater.video.getVideoPlaybackQuality().totalVideoFrames";
    let (before, seen) = (
        browser.eval(frames).await?,
        samples(browser, Duration::from_secs(5)).await?,
    );
    let shown = browser.eval(frames).await?.as_u64().unwrap_or(0) - before.as_u64().unwrap_or(0);
    let (first, last) = (&seen[0], &seen[seen.len() - 1]);
    let speed = (last.position - first.position) / ((last.now_ms - first.now_ms) / 1000.0);
    let lag = median(seen.iter().filter_map(|player| player.latency_ms).collect());
    println!("{protocol}: speed {speed:.3}, lag median {lag:.0} ms, {shown} frames");
    ensure!((0.94..=1.06).contains(&speed), "speed {speed}");
    ensure!(shown > 50, "{shown} frames in 5 s");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn each_protocol_plays_and_the_page_says_which_and_why() -> Result<()> {
    let stage = Stage::set().await?;
    let _publisher = stage.publish("h264-aac.flv")?;
    stage.origin.playable("cam", SOON).await?;
    for (query, protocol, words) in [
        ("", "ws", "fMP4 over WebSocket, the least latency"),
        ("?protocol=hls", "hls", "LL-HLS by hls.js, asked for by the address"),
        (
            "?protocol=native",
            "native",
            "HLS by the browser itself, asked for by the address",
        ),
    ] {
        open(&stage.browser, stage.edge.http, query).await?;
        if protocol == "native" {
            // Chromium's own HLS stops at each reload of a live playlist: that it shows pictures is all that is asked of it.
            stage
                .until("headwater.protocol === 'native' && headwater.video?.currentTime > 4")
                .await?;
        } else {
            plays(&stage.browser, protocol).await?;
            let errors: Vec<String> = stage.browser.console().await?;
            ensure!(!errors.iter().any(|line| line.contains("SEVERE")), "{errors:#?}");
        }
        let said = line(&stage.browser).await?;
        ensure!(said == words, "{said}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_protocol_that_there_is_not_is_an_error_that_names_those_that_there_are() -> Result<()> {
    let stage = Stage::set().await?;
    open(&stage.browser, stage.edge.http, "?protocol=dash").await?;
    stage.until("headwater.state === 'unsupported'").await?;
    let said = stage
        .browser
        .eval("return document.getElementById('message').textContent")
        .await?;
    ensure!(
        said == "There is no protocol \"dash\": ?protocol= takes ws, hls or native.",
        "{said}"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn where_websockets_are_blocked_hls_plays_and_the_page_says_so() -> Result<()> {
    let stage = Stage::set().await?;
    let _publisher = stage.publish("h264-aac.flv")?;
    stage.origin.playable("cam", SOON).await?;
    let front = Front::start(Manner::NoUpgrades(stage.edge.http)).await?;
    open(&stage.browser, front.address, "").await?;
    plays(&stage.browser, "hls").await?;
    let said = line(&stage.browser).await?;
    ensure!(said.contains("WebSocket connections are blocked"), "{said}");

    // Who asks for WebSocket gets no other, and is told what is wrong.
    open(&stage.browser, front.address, "?protocol=ws").await?;
    let told =
        "headwater.protocol === 'ws' && document.getElementById('message').textContent.includes(\"can't be opened\")";
    stage.until(told).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_set_of_qualities_plays_by_hls_with_a_menu_of_them() -> Result<()> {
    let scene = Scene::set().await?;
    scene.open("show").await?;
    scene
        .until("headwater.protocol === 'hls' && headwater.state === 'playing'")
        .await?;
    let said = line(&scene.browser).await?;
    ensure!(said.contains("the stream has several qualities"), "{said}");
    let menu = "[...document.querySelectorAll('#quality:not([hidden]) option')].map((option) => option.text)";
    scene
        .until(&format!(
            "{menu}.map((text) => text.split(' ')[0]).join() === 'Auto,360p,180p'"
        ))
        .await?;
    for label in ["180p", "360p", "180p"] {
        let pick = format!(
            "const menu = document.getElementById('quality');
             menu.value = [...menu.options].find((option) => option.text === '{label}').value;
             menu.dispatchEvent(new Event('change'));"
        );
        scene.browser.eval(&pick).await?;
        let shown = "headwater.qualities.find(({ id }) => id === headwater.shownQuality)?.label";
        scene
            .until(&format!("{shown} === '{label}' && headwater.state === 'playing'"))
            .await?;
    }
    let player = scene.browser.player().await?;
    ensure!(player.reconnects == 0, "hls.js was made anew");
    scene.browser.eval("headwater.choose(-1)").await?;
    scene.until(&format!("{menu}[0].startsWith('Auto (')")).await
}
