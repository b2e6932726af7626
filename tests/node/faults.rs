//! Publishers that vanish and come back, and nodes that are told to end: who watches goes on, and nothing waits for ever.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use e2e::bench::{load, publish};
use e2e::harness::process::Signal;
use e2e::harness::proxy::Weather;
use e2e::harness::{Node, Proxy, root, wait_until};
use headwater_contract::Role;

use crate::{LONG, SOON, publish_sample};

/// How long the publisher stays away. A silent one is let go after 2 s, a stream after 10 s.
const AWAY: Duration = Duration::from_secs(4);
/// A step in the timestamps may differ by this from the time away as viewers saw it: frames come 40 ms apart, and this
/// machine is busy.
const TOLERANCE_MS: f64 = 250.0;

const PROTOCOLS: [load::Protocol; 4] = [
    load::Protocol::Rtmp,
    load::Protocol::Flv,
    load::Protocol::Ws,
    load::Protocol::Mp4,
];

fn sample(url: String) -> publish::Options {
    publish::Options {
        reconnect: Some(Duration::from_millis(200)),
        ..publish::Options::new(url, root().join("operator/src/local/sample.flv"))
    }
}

/// Two viewers of each protocol, watching; none comes again once it was cut.
async fn audience(node: &Node, stream: &str) -> Vec<load::Load> {
    let mut loads = Vec::new();
    for protocol in PROTOCOLS {
        let authority = match protocol {
            load::Protocol::Rtmp => node.rtmp,
            _ => node.http,
        };
        let url = load::url(protocol, &authority.to_string(), &format!("live/{stream}"));
        loads.push(load::start(load::Options::new(url, 2, LONG * 4)).unwrap());
    }
    for load in &loads {
        watched(load, 2).await;
    }
    loads
}

async fn watched(load: &load::Load, viewers: u64) {
    wait_until(LONG, "all watch", || async {
        match load.playing() {
            playing if playing >= viewers => Ok(()),
            playing => Err(playing),
        }
    })
    .await
    .unwrap();
}

/// Waits until every load has received this much more.
async fn flows(loads: &[load::Load], bytes: u64) {
    for load in loads {
        let before = load.counters().wire_bytes.load(Ordering::Relaxed);
        wait_until(LONG, "media comes", || async {
            let came = load.counters().wire_bytes.load(Ordering::Relaxed) - before;
            if came > bytes {
                Ok(())
            } else {
                Err(format!("{came} bytes more; {:?}", load.counters()))
            }
        })
        .await
        .unwrap();
    }
}

/// Every viewer kept its connection, and the one gap in its timestamps is as long as nothing came.
async fn same_viewers_went_on(loads: Vec<load::Load>, fault: &str) {
    for load in loads {
        let report = load.stop().await.unwrap();
        assert_eq!(
            (report.served, report.cut, report.connect_failures, report.gaps.backward),
            (2, 0, 0, 0),
            "{report}"
        );
        let (step, silence) = (report.gaps.largest_ms, report.gaps.longest_silence_ms);
        println!(
            "figure: publisher away, {fault}: {}: nothing came for {silence:.0} ms, timestamps stepped by {step:.0} ms",
            report.url
        );
        assert!((step - silence).abs() < TOLERANCE_MS, "{report}");
        assert!(silence > AWAY.as_secs_f64() * 1000.0 - TOLERANCE_MS, "{report}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_publisher_cut_with_a_fin_comes_back_to_the_same_viewers() {
    let origin = Node::origin().await.unwrap();
    let edge = Node::edge(&origin).await.unwrap();
    let proxy = Proxy::start(origin.rtmp).await.unwrap();
    let publication = publish::start(sample(format!("rtmp://{}/live/a", proxy.address))).unwrap();
    origin.playable("a", SOON).await.unwrap();
    let loads = audience(&edge, "a").await;
    proxy.set(Weather::Cut);
    tokio::time::sleep(AWAY).await;
    proxy.set(Weather::Pass);
    flows(&loads, 200_000).await;
    same_viewers_went_on(loads, "with a FIN").await;
    let sent = publication.stop().await;
    assert!(sent.reconnects >= 1, "{sent:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_publisher_lost_without_a_fin_comes_back_to_the_same_viewers() {
    let origin = Node::origin().await.unwrap();
    let edge = Node::edge(&origin).await.unwrap();
    let proxy = Proxy::start(origin.rtmp).await.unwrap();
    let lost = publish::start(sample(format!("rtmp://{}/live/a", proxy.address))).unwrap();
    origin.playable("a", SOON).await.unwrap();
    let loads = audience(&edge, "a").await;
    // The proxy keeps its side of the dead connection open: the origin is never told.
    proxy.set(Weather::Stall);
    lost.abort().await;
    tokio::time::sleep(AWAY).await;
    let back = publish::start(sample(origin.rtmp_url("a"))).unwrap();
    flows(&loads, 200_000).await;
    same_viewers_went_on(loads, "without a FIN").await;
    let sent = back.stop().await;
    assert_eq!((sent.streams, sent.errors.len()), (1, 0), "{sent:?}");
}

/// SIGTERM, and how long it took to end.
async fn ends(node: &mut Node, within: Duration) -> Duration {
    let began = Instant::now();
    node.process.signal(Signal::Term).await.unwrap();
    let status = node.process.wait(within).await.unwrap();
    assert!(status.success(), "{status}: {}", node.process.log_tail());
    began.elapsed()
}

/// The children of local mode read their standard input to its end; a read that never ends held up the exit.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_without_viewers_ends_within_2_s_of_sigterm() {
    for (role, flags) in [
        (Role::Origin, &[][..]),
        (Role::Edge, &["--ready-wait", "0s", "--drain-accept", "0s"]),
    ] {
        let mut node = Node::start(role, flags).await.unwrap();
        let took = ends(&mut node, SOON).await;
        println!("figure: SIGTERM of an empty {role:?}: ended after {took:?}");
        assert!(took < Duration::from_secs(2), "{role:?}: {took:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edge_told_to_end_serves_its_viewers_until_the_deadline() {
    let origin = Node::origin().await.unwrap();
    let _publication = publish_sample(&origin, "a").await;
    let upstream = format!("rtmp://{}/live", origin.rtmp);
    let flags = [
        "--upstream",
        &upstream,
        "--ready-wait",
        "0s",
        "--drain-accept",
        "0s",
        "--drain-timeout",
        "4s",
    ];
    let mut edge = Node::start(Role::Edge, &flags).await.unwrap();
    let url = load::url(load::Protocol::Flv, &edge.http.to_string(), "live/a");
    let load = load::start(load::Options::new(url, 2, LONG)).unwrap();
    watched(&load, 2).await;
    let took = ends(&mut edge, LONG).await;
    let report = load.stop().await.unwrap();
    println!("figure: SIGTERM of an edge with viewers and a drain timeout of 4 s: ended after {took:?}");
    assert!(
        (Duration::from_millis(3_900)..Duration::from_secs(7)).contains(&took),
        "{took:?}"
    );
    assert_eq!(
        (report.cut, report.gaps.gaps, report.gaps.missing_pictures),
        (2, 0, 0),
        "{report}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_origin_told_to_end_sends_its_publishers_away_within_5_s() {
    let mut origin = Node::origin().await.unwrap();
    let publication = publish::start(publish::Options {
        reconnect: None,
        ..sample(origin.rtmp_url("a"))
    })
    .unwrap();
    origin.playable("a", SOON).await.unwrap();
    let loads = audience(&origin, "a").await;
    let took = ends(&mut origin, LONG).await;
    println!("figure: SIGTERM of an origin with a publisher and 8 viewers: ended after {took:?}");
    assert!(took < Duration::from_secs(5), "{took:?}");
    let sent = publication.report().await;
    assert_eq!(sent.errors.len(), 1, "{sent:?}");
    for load in loads {
        load.stop().await.unwrap();
    }
}
