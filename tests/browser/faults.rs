//! What goes wrong in the field, and how the page goes on.

use std::time::Duration;

use anyhow::{Result, ensure};
use e2e::harness::process::Signal;
use e2e::harness::{Node, Proxy, wait_until};

use crate::stage::{SOON, Stage, samples};

/// Longest time for which the picture may stand still where it must not stop: two frames and the page's own timer.
const NO_STOP: Duration = Duration::from_millis(250);

#[tokio::test(flavor = "multi_thread")]
async fn a_publishers_blip_keeps_the_viewer() -> Result<()> {
    let stage = Stage::set().await?;
    let (publisher, before) = stage.show("h264-aac.flv").await?;

    publisher.signal(Signal::Kill).await?;
    stage.until("headwater.state === 'buffering'").await?;
    let _publisher = stage.publish("h264-aac.flv")?;
    let after = stage.converged().await?;
    ensure!(after.reconnects == before.reconnects, "the viewer was cut");
    ensure!(after.epoch == before.epoch, "the stream was another one");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_publisher_that_returns_with_another_picture_is_shown_to_the_same_viewer() -> Result<()> {
    let stage = Stage::set().await?;
    let (publisher, before) = stage.show("h264-aac.flv").await?;
    ensure!(before.width == 640, "{} pixels wide", before.width);

    publisher.signal(Signal::Kill).await?;
    stage.until("headwater.state === 'buffering'").await?;
    let publisher = stage.publish("h264-small-aac.flv")?;
    stage.until("headwater.video.videoWidth === 320").await?;
    let after = stage.converged().await?;
    ensure!(after.reconnects == before.reconnects, "the viewer was cut");

    // Without sound: another set of tracks, which a SourceBuffer does not take.
    publisher.signal(Signal::Kill).await?;
    stage.until("headwater.state === 'buffering'").await?;
    let _publisher = stage.publish("video-only.flv")?;
    stage.until("headwater.video.videoWidth === 480").await?;
    stage.converged().await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_was_killed_is_found_again() -> Result<()> {
    let mut stage = Stage::set().await?;
    let (_publisher, _) = stage.show("h264-aac.flv").await?;

    stage.edge.kill().await?;
    stage.until("headwater.state === 'reconnecting'").await?;
    let kept = stage.browser.player().await?;
    ensure!(kept.width == 640, "the last picture is gone");
    stage.edge.restart().await?;
    let after = stage.converged().await?;
    ensure!(after.reconnects == 1, "{} reconnects", after.reconnects);
    ensure!(after.position > kept.position, "the time line went back");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_origin_that_was_killed_comes_back_as_a_new_incarnation() -> Result<()> {
    let mut stage = Stage::set().await?;
    let (_publisher, before) = stage.show("h264-aac.flv").await?;

    stage.origin.kill().await?;
    stage.until("headwater.state !== 'playing'").await?;
    stage.origin.restart().await?;
    let _publisher = stage.publish("h264-aac.flv")?;
    let after = stage.converged().await?;
    ensure!(after.epoch != before.epoch, "still epoch {:?}", after.epoch);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_ends_is_waited_for() -> Result<()> {
    let stage = Stage::set().await?;
    stage.open(stage.edge.http).await?;
    stage.until("headwater.state === 'waiting'").await?;
    let mut publisher = stage.publish("h264-aac.flv")?;
    stage.converged().await?;

    publisher.signal(Signal::Int).await?; // ffmpeg unpublishes
    publisher.wait(SOON).await?;
    stage.until("headwater.state === 'ended'").await?;
    let _publisher = stage.publish("h264-aac.flv")?;
    stage.converged().await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_viewer_of_a_draining_edge_moves_and_the_picture_never_stops() -> Result<()> {
    let stage = Stage::set().await?;
    let second = Node::edge(&stage.origin).await?;
    let _publisher = stage.publish("h264-aac.flv")?;
    stage.origin.playable("cam", SOON).await?;
    let balancer = Proxy::start(stage.edge.http).await?;
    stage.open(balancer.address).await?;
    let before = stage.converged().await?;

    stage.browser.watch_for_freezes().await?;
    stage.edge.drain(Duration::from_secs(600)).await?;
    // The load balancer lags: the first tries land on the node that drains.
    stage
        .browser
        .wait_until("headwater.moving || headwater.moves > 0", Duration::from_secs(15))
        .await?;
    balancer.lead_to(second.http);
    stage.until("headwater.moves === 1").await?;
    let after = stage.browser.player().await?;
    samples(&stage.browser, Duration::from_secs(3)).await?;
    let freeze = stage.browser.longest_freeze().await?;
    println!("longest standstill {freeze:?}");
    ensure!(after.node != before.node, "still on {}", after.node);
    ensure!(
        after.stalls == before.stalls && freeze < NO_STOP,
        "the picture stood still for {freeze:?}"
    );
    ensure!(
        after.reconnects == 0 && after.seeks == before.seeks,
        "it did not go on without a break"
    );
    wait_until(SOON, "the drained edge is empty", || async {
        match stage.edge.hello().await {
            Ok(hello) if hello.figures.viewers == 0 => Ok(()),
            Ok(hello) => Err(format!("{} viewers", hello.figures.viewers)),
            Err(error) => Err(format!("{error:#}")),
        }
    })
    .await
}
