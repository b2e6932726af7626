//! The page as `headwater local` serves it: through the load balancer in front of a pool of edges.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use e2e::browser::Browser;
use e2e::harness::{Local, root};

use crate::stage::{SOON, converged, plays_steadily};

/// For a fleet to come up in a debug build.
const LONG: Duration = Duration::from_secs(40);

/// The example manifest with the bundled sample, whole, and every edge carrying the sample.
async fn sample_fleet() -> Result<(Local, String)> {
    let manifest = std::fs::read_to_string(root().join("examples/local.yaml"))?;
    let local = Local::start(&manifest, &["--sample"]).await?;
    local.whole(LONG).await?;
    let carried = |fleet: &serde_json::Value| {
        let edges = fleet["pools"][0]["edges"].as_array()?;
        let carries = |edge: &serde_json::Value| edge["streams"].as_array().is_some_and(|streams| !streams.is_empty());
        (!edges.is_empty() && edges.iter().all(carries)).then_some(())
    };
    local.wait(LONG, "every edge carries the sample", carried).await?;
    let balancer = local.pool_http().await?;
    Ok((local, balancer))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sample_plays_from_an_edge_through_the_load_balancer() -> Result<()> {
    let (_local, balancer) = sample_fleet().await?;
    let browser = Browser::start().await?;
    browser.open(&format!("http://{balancer}/")).await?;
    let link = "document.querySelector('#streams a[href=\"/play/live/sample\"]')";
    browser.wait_until(link, SOON).await?;
    browser.eval(&format!("{link}.click()")).await?;
    let player = converged(&browser).await?;
    ensure!(player.node.contains("web"), "served by {}", player.node);
    plays_steadily(&browser, Duration::from_secs(5)).await
}

/// Pictures for the documentation and for a person's eye, in `target/screens`.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "makes pictures and judges none; docs/player.png is one of them"]
async fn the_page_is_photographed() -> Result<()> {
    let (_local, balancer) = sample_fleet().await?;
    let folder = root().join("target/screens");
    std::fs::create_dir_all(&folder)?;
    let browser = Browser::start().await?;
    for (name, width, height) in [("desktop", 1280, 800), ("phone", 390, 844)] {
        for scheme in ["dark", "light"] {
            browser.look_like(width, height, scheme).await?;
            for (page, path) in [("front", "/"), ("play", "/play/live/sample")] {
                browser.open(&format!("http://{balancer}{path}")).await?;
                browser.wait_until("document.querySelector('#streams a')", SOON).await?;
                if page == "play" {
                    converged(&browser).await?;
                }
                let file = folder.join(format!("{name}-{scheme}-{page}.png"));
                browser.screenshot(&file).await.with_context(|| shown(&file))?;
            }
        }
    }
    Ok(())
}

fn shown(file: &Path) -> String {
    file.display().to_string()
}
