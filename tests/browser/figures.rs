//! Speed and lag of what is shown, in calm weather and after a storm.

use std::time::Duration;

use anyhow::{Result, ensure};
use e2e::harness::Proxy;
use e2e::harness::proxy::Weather;
use tokio::time::{Instant, sleep_until};

use crate::stage::{SOON, Stage, converged, plays_steadily, samples};

#[tokio::test(flavor = "multi_thread")]
async fn once_converged_it_plays_at_the_sources_speed_and_lags_by_less_than_half_a_second() -> Result<()> {
    let stage = Stage::set().await?;
    let _playing = stage.show("h264-aac.flv").await?;
    plays_steadily(&stage.browser, Duration::from_secs(15)).await
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes more than a minute; make long runs it"]
async fn for_a_minute_it_plays_at_the_sources_speed_and_lags_by_less_than_half_a_second() -> Result<()> {
    let stage = Stage::set().await?;
    let _playing = stage.show("h264-aac.flv").await?;
    plays_steadily(&stage.browser, Duration::from_secs(60)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_network_stop_of_5_s_it_is_back_under_a_second() -> Result<()> {
    let stage = Stage::set().await?;
    let _publisher = stage.publish("h264-aac.flv")?;
    stage.origin.playable("cam", SOON).await?;
    let network = Proxy::start(stage.edge.http).await?;
    stage.open(network.address).await?;
    let before = converged(&stage.browser).await?;

    network.set(Weather::Stall);
    let stop = Instant::now() + Duration::from_secs(5);
    stage.until("headwater.state === 'buffering'").await?;
    sleep_until(stop).await; // the fault itself
    network.set(Weather::Pass);
    let from = Instant::now();
    let back = "headwater.state === 'playing' && headwater.latencyMs < 1000";
    stage.browser.wait_until(back, Duration::from_secs(15)).await?;
    println!("under 1 s again after {:.1} s", from.elapsed().as_secs_f64());
    // And it stays so.
    let after = samples(&stage.browser, Duration::from_secs(4)).await?;
    let worst = after.iter().filter_map(|player| player.latency_ms).fold(0.0, f64::max);
    ensure!(worst < 1000.0, "lag went up to {worst} ms again");
    let last = &after[after.len() - 1];
    ensure!(
        last.reconnects == before.reconnects,
        "a stop of 5 s is no reason to connect anew"
    );
    Ok(())
}
