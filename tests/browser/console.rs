//! The operator's console in a real browser: a local fleet with viewers, and an edge that drains.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, ensure};
use e2e::bench::load::{self, Load, Protocol};
use e2e::browser::Browser;
use e2e::harness::{Local, root};

use crate::stage::SOON;

/// For a fleet to come up, and for a pool to change its number of edges, in a debug build on a busy machine.
const LONG: Duration = Duration::from_secs(40);

/// An origin, and a pool of so many edges.
fn manifest(replicas: u32) -> String {
    format!(
        "apiVersion: headwater.dev/v1alpha1\nkind: StreamOrigin\nmetadata: {{name: main}}\nspec: {{}}\n---\n\
         apiVersion: headwater.dev/v1alpha1\nkind: EdgePool\nmetadata: {{name: web}}\nspec:\n  \
         upstream: {{kind: StreamOrigin, name: main}}\n  replicas: {replicas}\n  drainTimeoutSeconds: 300\n"
    )
}

/// Viewers of the sample that can't move.
fn watch(address: &str, viewers: u32) -> Result<Load> {
    let url = load::url(Protocol::Flv, address, "live/sample");
    load::start(load::Options::new(url, viewers, Duration::from_secs(300)))
}

/// The text of the first element that the selector finds holds `text`.
fn says(selector: &str, text: &str) -> String {
    format!("document.querySelector({selector:?})?.textContent.includes({text:?})")
}

async fn edges(local: &Local) -> Result<Vec<String>> {
    let fleet = local.whole(LONG).await?;
    let edges = fleet["pools"][0]["edges"].as_array().cloned().unwrap_or_default();
    Ok(edges
        .iter()
        .filter_map(|edge| edge["http"].as_str().map(str::to_owned))
        .collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_console_shows_a_fleet_its_viewers_as_they_come_and_an_edge_that_drains() -> Result<()> {
    let local = Local::start(&manifest(2), &["--sample"]).await?;
    let edges = edges(&local).await?;
    ensure!(edges.len() == 2, "{edges:?}");
    let browser = Browser::start().await?;
    browser.look_like(1280, 860, "light").await?;
    browser.open(&format!("http://{}/", local.ops)).await?;
    for part in [
        says("#map .origin", "main"),
        says("#map .origin .stream", "live/sample"),
        says("#map .tree .pool", "web"),
        "document.querySelectorAll('#map [data-edge]').length === 2".to_owned(),
        says("#map .stream", "on 2 of 2 edges"),
        says("#health", "All is well."),
        says("[data-figure=viewers]", "0"),
    ] {
        browser.wait_until(&part, SOON).await?;
    }
    let _few = watch(&edges[0], 1)?;
    let _more = watch(&edges[1], 3)?;
    browser
        .wait_until(
            "document.querySelector('[data-figure=viewers]').textContent === '4'",
            SOON,
        )
        .await?;

    // The less loaded of both goes, but not before its viewer does.
    std::fs::write(&local.manifest, manifest(1))?;
    let left = says("[data-edge] .left:not([hidden])", "1 viewer left, cut in 4:");
    browser.wait_until(&left, LONG).await?;
    let share = "Number(document.querySelector('[data-edge] [aria-label=Drain]:not([hidden])')?.getAttribute('aria-valuenow')) > 0";
    browser.wait_until(share, SOON).await?;
    for reason in ["ScaledIn", "EdgeDraining", "StreamPublished"] {
        let row = format!("document.querySelector('#events [data-reason={reason}]')");
        browser.wait_until(&row, SOON).await?;
    }
    browser
        .wait_until("document.querySelector('#strip .mark.down')", SOON)
        .await?;

    // A phone shows it without a second direction to scroll in; what is paused asks no more.
    browser.look_like(390, 844, "dark").await?;
    let fits = "document.documentElement.scrollWidth <= 390";
    browser.wait_until(fits, SOON).await?;
    browser.eval("document.getElementById('pause').click()").await?;
    let paused =
        "headwater.state === 'paused' && document.getElementById('pause').getAttribute('aria-pressed') === 'true'";
    browser.wait_until(paused, SOON).await?;
    browser.eval("document.getElementById('pause').click()").await?;
    browser.wait_until("headwater.state === 'live'", SOON).await?;
    let errors = browser.console().await?;
    ensure!(errors.is_empty(), "{errors:#?}");
    Ok(())
}

/// Pictures for the documentation and for a person's eye, in `target/screens`.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "makes pictures and judges none; docs/console.png is one of them"]
async fn the_console_is_photographed() -> Result<()> {
    let scaled = |least: u32, most: u32| {
        let rule = format!("autoscaling: {{minReplicas: {least}, maxReplicas: {most}, capacityMbps: 8}}");
        manifest(0).replace("replicas: 0", &rule)
    };
    let local = Local::start(&scaled(3, 5), &["--sample"]).await?;
    let edges = edges(&local).await?;
    let loads: Result<Vec<Load>> = edges
        .iter()
        .zip([4, 12, 9])
        .map(|(edge, viewers)| watch(edge, viewers))
        .collect();
    let _loads = loads?;
    let folder: PathBuf = root().join("target/screens");
    std::fs::create_dir_all(&folder)?;
    let browser = Browser::start().await?;
    browser.open(&format!("http://{}/", local.ops)).await?;
    browser
        .wait_until(
            "document.querySelector('[data-figure=viewers]').textContent === '25'",
            SOON,
        )
        .await?;
    std::fs::write(&local.manifest, scaled(2, 2))?;
    browser
        .wait_until("document.querySelector('[data-edge] .left:not([hidden])')", LONG)
        .await?;
    for (name, width, height) in [("desktop", 1280, 860), ("phone", 390, 844)] {
        for scheme in ["dark", "light"] {
            browser.look_like(width, height, scheme).await?;
            let answers = browser.eval("return headwater.answers").await?;
            browser
                .wait_until(&format!("headwater.answers > {answers}"), SOON)
                .await?;
            browser
                .screenshot(&folder.join(format!("console-{name}-{scheme}.png")))
                .await?;
        }
    }
    Ok(())
}
