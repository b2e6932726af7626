//! The qualities of a group: hls.js changes between them, and so does the page's menu over WebSocket, without a stall.

use std::time::Duration;

use anyhow::{Result, ensure};
use e2e::browser::Browser;
use e2e::harness::media::Ffmpeg;
use e2e::harness::{Node, Process, fixture};
use headwater_contract::Role;
use serde_json::Value;
use tokio::time::sleep;

use crate::stage::SOON;

/// Nothing is moved on the way from one quality to another that lasts longer than this, on a machine on which all else runs.
const STILL: Duration = Duration::from_millis(1000);

pub(crate) struct Scene {
    pub(crate) browser: Browser,
    pub(crate) edge: Node,
    _encoder: Process,
    origin: Node,
}

impl Scene {
    /// An encoder of 360 and 180 lines, an origin, an edge that pulls on demand, and a browser.
    pub(crate) async fn set() -> Result<Self> {
        let origin = Node::start(Role::Origin, &["--group", "{group}_{variant}"]).await?;
        let (rtmp, http) = (
            format!("rtmp://{}/live", origin.rtmp),
            format!("http://{}", origin.http),
        );
        let flags = ["--upstream", &rtmp, "--upstream-http", &http, "--ready-wait", "1s"];
        let edge = Node::start(Role::Edge, &flags).await?;
        let [best, small] = ["h264-aac.flv", "h264-small-aac.flv"].map(fixture);
        let (best, small) = (best?.display().to_string(), small?.display().to_string());
        let urls = ["show_360", "show_180"].map(|name| origin.rtmp_url(name));
        let input = ["-re", "-stream_loop", "-1", "-i"];
        let mut args = [&input[..], &[&best], &input[..], &[&small]].concat();
        args.extend(["-map", "0", "-c", "copy", "-f", "flv", &urls[0]]);
        args.extend(["-map", "1", "-c", "copy", "-f", "flv", &urls[1]]);
        let encoder = Ffmpeg::System.start(&args)?;
        for name in ["show_360", "show_180"] {
            origin.playable(name, SOON).await?;
        }
        Ok(Self {
            browser: Browser::start().await?,
            edge,
            _encoder: encoder,
            origin,
        })
    }

    pub(crate) async fn open(&self, path: &str) -> Result<()> {
        self.browser
            .open(&format!("http://{}/play/live/{path}", self.edge.http))
            .await
    }

    pub(crate) async fn until(&self, expression: &str) -> Result<()> {
        self.browser.wait_until(expression, SOON).await.map(drop)
    }

    async fn settled(&self) -> Result<()> {
        self.until("headwater.state === 'playing' && headwater.rate === 1 && headwater.bufferMs > 0")
            .await?;
        sleep(Duration::from_secs(3)).await; // the jumps of the beginning
        self.until("headwater.rate === 1").await
    }

    /// Chooses by the menu, as a person does, and waits until the picture is that high.
    async fn choose(&self, label: &str, height: u32) -> Result<()> {
        let script = format!(
            "const menu = document.getElementById('quality');
             const option = [...menu.options].find(({{ text }}) => text.startsWith('{label}'));
             menu.value = option.value;
             menu.dispatchEvent(new Event('change'));"
        );
        self.browser.eval(&script).await?;
        self.until(&format!("headwater.video?.videoHeight === {height}")).await
    }

    async fn menu(&self) -> Result<Value> {
        self.browser
            .eval("return [...document.getElementById('quality').options].map(({ text }) => text)")
            .await
    }

    /// Goes up and down, and sees the playhead never at rest for long. Says how often the page itself saw it at rest.
    async fn changes_without_a_stall(&self, changes: &[(&str, u32)]) -> Result<u32> {
        let before = self.browser.player().await?;
        self.browser.watch_for_freezes().await?;
        for (label, height) in changes {
            self.choose(label, *height).await?;
            self.until("headwater.video.buffered.length === 1").await?;
        }
        sleep(Duration::from_secs(2)).await; // what comes after the last one
        let freeze = self.browser.longest_freeze().await?;
        let after = self.browser.player().await?;
        println!(
            "{} changes: longest standstill {freeze:?}, stalls {}, jumps {}",
            changes.len(),
            after.stalls - before.stalls,
            after.seeks - before.seeks
        );
        ensure!(freeze < STILL, "the picture stood still for {freeze:?}");
        ensure!(after.reconnects == before.reconnects, "it was made anew");
        Ok((after.stalls - before.stalls) as u32)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn hls_js_plays_a_group_and_changes_its_quality_up_and_down_without_a_stall() -> Result<()> {
    let scene = Scene::set().await?;
    scene.open("show").await?;
    scene.until("headwater.protocol === 'hls'").await?;
    scene.settled().await?;
    let menu = scene.menu().await?;
    let label = menu[0].as_str().unwrap_or_default().to_owned();
    ensure!(
        label.starts_with("Auto") && menu[1] == "360p" && menu[2] == "180p",
        "{menu}"
    );
    let low = scene.browser.eval("return headwater.edgeLatencyMs").await?;
    ensure!(
        low.as_f64().is_some_and(|ms| ms < 2_500.0),
        "{low} ms is no low latency"
    );
    // What "Auto" takes is what this machine carries: the best.
    let changes = [("180p", 180), ("360p", 360), ("180p", 180), ("Auto", 360)];
    scene.changes_without_a_stall(&changes).await?;
    let errors: Vec<String> = scene.browser.console().await?;
    // That the name is no stream is found out by a WebSocket.
    let faults = errors
        .iter()
        .filter(|line| line.contains("SEVERE") && !line.contains("live/show.mp4"));
    ensure!(faults.count() == 0, "{errors:#?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_menu_changes_the_quality_over_websocket_at_a_key_frame_without_a_gap() -> Result<()> {
    let scene = Scene::set().await?;
    scene.open("show_360").await?;
    scene.until("headwater.protocol === 'ws'").await?;
    scene.settled().await?;
    scene
        .until("document.getElementById('quality').options.length === 2")
        .await?;
    let menu = scene.menu().await?;
    ensure!(menu[0] == "360p" && menu[1] == "180p", "{menu}");
    scene
        .browser
        .screenshot(&e2e::harness::root().join("target/levels.png"))
        .await?;
    let ranges = "return headwater.video.buffered.length";
    let changes = [("180p", 180), ("360p", 360), ("180p", 180)];
    let stalls = scene.changes_without_a_stall(&changes).await?;
    ensure!(stalls == 0, "{stalls} stalls");
    ensure!(
        scene.browser.eval(ranges).await? == 1,
        "there is a gap in what is buffered"
    );
    ensure!(
        scene.browser.eval("return headwater.moves").await? == 0,
        "a change of quality is no move"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_address_says_which_quality_is_played_first() -> Result<()> {
    let scene = Scene::set().await?;
    for (query, height) in [
        ("show?quality=180", 180),
        ("show?protocol=ws&quality=180p", 180),
        ("show?protocol=ws", 360),
        ("show_360?protocol=hls&quality=180", 180),
        ("show_180?protocol=hls", 180),
    ] {
        scene.open(query).await?;
        scene
            .until(&format!(
                "headwater.state === 'playing' && headwater.video?.videoHeight === {height}"
            ))
            .await?;
        scene.until("headwater.qualities.length >= 2").await?;
    }
    Ok(())
}

/// Pause ends the session, and Play begins another one.
#[tokio::test(flavor = "multi_thread")]
async fn pause_and_play_keep_the_quality_that_was_chosen() -> Result<()> {
    let scene = Scene::set().await?;
    for protocol in ["ws", "hls"] {
        scene.open(&format!("show_360?protocol={protocol}")).await?;
        scene.settled().await?;
        scene.until("headwater.qualities.length >= 2").await?;
        scene.choose("180p", 180).await?;
        let play = "document.getElementById('pause').click()";
        scene.browser.eval(play).await?;
        scene.until("headwater.state === 'paused'").await?;
        scene.browser.eval(play).await?;
        scene
            .until("headwater.state === 'playing' && headwater.video.videoHeight === 180 && headwater.bufferMs > 0")
            .await?;
        let quality =
            "const { qualities, quality } = headwater; return qualities.find(({ id }) => id === quality)?.label";
        scene.until("headwater.quality >= 0").await?;
        let quality = scene.browser.eval(quality).await?;
        ensure!(quality == "180p", "{protocol}: {quality}");
    }
    Ok(())
}

/// Members come later than viewers, and one of them is enough.
#[tokio::test(flavor = "multi_thread")]
async fn a_group_that_is_not_live_so_far_is_played_as_soon_as_it_is() -> Result<()> {
    let origin = Node::start(Role::Origin, &["--group", "{group}_{variant}"]).await?;
    let browser = Browser::start().await?;
    let url = format!("http://{}/play/live/show", origin.http);
    browser.open(&format!("{url}?protocol=ws")).await?;
    browser.wait_until("headwater.state === 'waiting'", SOON).await?;
    let publish =
        |fixture_name: &str, name: &str| Ffmpeg::System.publish(&fixture(fixture_name)?, &origin.rtmp_url(name), -1);
    let _best = publish("h264-aac.flv", "show_360")?;
    let shown = "headwater.state === 'playing' && headwater.video?.videoHeight === 360";
    browser.wait_until(shown, SOON).await?;
    browser.open(&url).await?;
    browser.wait_until(shown, SOON).await?;
    Ok(())
}

/// It has other tracks, and none of the key frames that are waited for.
#[tokio::test(flavor = "multi_thread")]
async fn the_menu_goes_over_to_a_member_without_pictures_and_back() -> Result<()> {
    let scene = Scene::set().await?;
    let input = fixture("h264-aac.flv")?.display().to_string();
    let url = scene.origin.rtmp_url("show_voice");
    let _voice = Ffmpeg::System.start(&[
        "-re",
        "-stream_loop",
        "-1",
        "-i",
        &input,
        "-map",
        "0:a",
        "-c",
        "copy",
        "-f",
        "flv",
        &url,
    ])?;
    scene.origin.playable("show_voice", SOON).await?;
    scene.open("show_360?protocol=ws").await?;
    scene.settled().await?;
    scene.until("headwater.qualities.length === 3").await?;
    for (id, shown) in [
        (2, "!headwater.video.videoHeight"),
        (0, "headwater.video.videoHeight === 360"),
    ] {
        scene.browser.eval(&format!("headwater.choose({id})")).await?;
        scene
            .until(&format!(
                "headwater.quality === {id} && headwater.shownQuality === {id} && {shown}"
            ))
            .await?;
        scene
            .until("headwater.state === 'playing' && headwater.bufferMs > 0")
            .await?;
    }
    Ok(())
}
