//! What breaks heals by itself; the times are printed.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use e2e::bench::{load, publish};
use e2e::harness::process::{Signal, runs, send};
use e2e::harness::websocket::Viewer;
use e2e::harness::{Local, wait_until};

use crate::{LONG, edges, on_every_edge, publish_sample, two_edges};

/// The process of a node, by an address that it listens on.
fn process_at(local: &Local, address: &str) -> u32 {
    let children = local.process.children();
    let found = children
        .iter()
        .find(|(_, line)| line.contains(&format!("-listen {address} ")));
    found.unwrap_or_else(|| panic!("no node at {address}: {children:?}")).0
}

/// A fleet of an origin and two edges, all of which carry the stream.
async fn carrying(stream: &str) -> (Local, publish::Publication) {
    let local = two_edges().await;
    let publication = publish_sample(&local, stream).await;
    carried(&local, stream).await;
    (local, publication)
}

async fn carried(local: &Local, stream: &str) {
    local
        .wait(LONG, "the stream is on every edge", |fleet| {
            on_every_edge(fleet, stream).then_some(())
        })
        .await
        .unwrap();
}

/// Viewers of a stream through the pool's load balancer.
async fn watch(local: &Local, viewers: u32, reconnect: Option<Duration>) -> load::Load {
    let url = load::url(load::Protocol::Ws, &local.pool_http().await.unwrap(), "live/a");
    let options = load::Options {
        reconnect,
        ..load::Options::new(url, viewers, LONG * 4)
    };
    let load = load::start(options).unwrap();
    wait_until(LONG, "all watch", || async {
        match load.playing() {
            playing if playing >= u64::from(viewers) => Ok(()),
            playing => Err(playing),
        }
    })
    .await
    .unwrap();
    load
}

#[tokio::test(flavor = "multi_thread")]
async fn viewers_of_a_killed_edge_land_elsewhere_and_the_pool_is_whole_in_5_s() {
    let (local, _publication) = carrying("a").await;
    let load = watch(&local, 10, Some(Duration::from_millis(100))).await;
    let (edge, watching) = local
        .wait(LONG, "the fleet map shows all viewers", |fleet| {
            let victim = edges(fleet).into_iter().max_by_key(|edge| edge["viewers"].as_u64())?;
            (fleet["pools"][0]["viewers"] == 10).then(|| (victim.clone(), victim["viewers"].as_u64().unwrap_or(0)))
        })
        .await
        .unwrap();
    let victim = process_at(&local, edge["http"].as_str().unwrap());
    send(victim, Signal::Kill).await.unwrap();
    let began = Instant::now();
    wait_until(LONG, "the cut viewers watch again", || async {
        let cuts = load.counters().cuts.load(Ordering::Relaxed);
        if cuts >= watching && load.playing() >= 10 + cuts {
            Ok(())
        } else {
            Err(format!("{cuts} of {watching} cut, {} played", load.playing()))
        }
    })
    .await
    .unwrap();
    let viewers = began.elapsed();
    wait_until(LONG, "another process has the place of the killed one", || async {
        let children = local.process.children();
        let replaced = children.len() == 3 && children.iter().all(|(id, _)| *id != victim);
        if replaced { Ok(()) } else { Err(format!("{children:?}")) }
    })
    .await
    .unwrap();
    local.whole(LONG).await.unwrap();
    carried(&local, "a").await;
    let whole = began.elapsed();
    println!(
        "figure: edge killed: its {watching} viewers watch again after {viewers:?}, the pool is whole after {whole:?}"
    );
    assert!(viewers < Duration::from_secs(2), "{viewers:?}");
    assert!(whole < Duration::from_secs(5), "{whole:?}");
    let report = load.stop().await.unwrap();
    assert_eq!((report.served, report.cut), (10, watching), "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_killed_origin_every_edge_carries_the_stream_within_3_s_of_the_publishers_return() {
    let (local, publication) = carrying("a").await;
    let load = watch(&local, 4, None).await;
    let fleet = local.fleet().await.unwrap();
    let epoch = fleet["origins"][0]["streams"][0]["epoch"].as_u64().unwrap();
    let rtmp = local.origin_rtmp().await.unwrap();
    send(process_at(&local, &rtmp), Signal::Kill).await.unwrap();
    let began = Instant::now();
    let found = local
        .wait(LONG, "the publisher is back", |fleet| {
            let found = fleet["origins"][0]["streams"][0]["epoch"].as_u64();
            found.filter(|found| *found > epoch)
        })
        .await
        .unwrap();
    let back = Instant::now();
    assert_eq!(local.origin_rtmp().await.unwrap(), rtmp, "the address has changed");
    for edge in edges(&fleet) {
        let url = format!("ws://{}/live/a.mp4", edge["http"].as_str().unwrap());
        wait_until(Duration::from_secs(5), "the edge plays the new epoch", || async {
            let mut viewer = Viewer::connect(&url).await.map_err(|error| format!("{error:#}"))?;
            let playing = viewer.until(Duration::from_secs(1), "media", |viewer| viewer.binary.len() > 1);
            playing.await.map_err(|error| format!("{error:#}"))?;
            match viewer
                .texts_of("hello")
                .first()
                .and_then(|hello| hello["epoch"].as_u64())
            {
                Some(epoch) if epoch == found => Ok(()),
                other => Err(format!("epoch {other:?}, not {found}")),
            }
        })
        .await
        .unwrap();
    }
    let (away, carried) = (back - began, back.elapsed());
    println!("figure: origin killed: publisher back after {away:?}, every edge plays its stream {carried:?} later");
    assert!(carried < Duration::from_secs(3), "{carried:?}");
    // Those who watched all the while have kept their connections.
    let before = load.counters().wire_bytes.load(Ordering::Relaxed);
    wait_until(Duration::from_secs(10), "media comes to the old viewers", || async {
        let came = load.counters().wire_bytes.load(Ordering::Relaxed) - before;
        if came > 400_000 { Ok(()) } else { Err(came) }
    })
    .await
    .unwrap();
    let report = load.stop().await.unwrap();
    assert_eq!((report.served, report.cut), (4, 0), "{report}");
    println!(
        "figure: origin killed: viewers kept their connections, nothing came for {:.0} ms",
        report.gaps.longest_silence_ms
    );
    publication.stop().await;
}

/// Also while the stream runs and viewers watch.
async fn leaves_nothing_behind(signal: Signal, what: &str) {
    let (mut local, _publication) = carrying("a").await;
    let _load = watch(&local, 4, None).await;
    let children = local.process.children();
    assert_eq!(children.len(), 3, "{children:?}");
    let began = Instant::now();
    local.process.signal(signal).await.unwrap();
    local.process.wait(Duration::from_secs(15)).await.unwrap();
    wait_until(Duration::from_secs(10), "every node has ended", || async {
        let left: Vec<_> = children.iter().filter(|(id, _)| runs(*id)).collect();
        if left.is_empty() {
            Ok(())
        } else {
            Err(format!("{left:?}"))
        }
    })
    .await
    .unwrap();
    let took = began.elapsed();
    println!("figure: headwater local {what}: it and its 3 nodes are gone after {took:?}");
    assert!(took < Duration::from_secs(8), "{took:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn ctrl_c_leaves_no_process_behind() {
    leaves_nothing_behind(Signal::Int, "interrupted").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_leaves_no_process_behind() {
    leaves_nothing_behind(Signal::Kill, "killed").await;
}
