//! What a node costs when it does nothing, and what a viewer costs.

mod hls;

use std::time::Duration;

use e2e::bench::{load, raise_file_limit};
use e2e::harness::{Node, wait_until};
use headwater_contract::Role;

use crate::{LONG, publish_sample};

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_edge_is_small_and_still() {
    const LOOKED_AT: Duration = Duration::from_secs(10);
    let edge = Node::start(Role::Edge, &["--ready-wait", "0s"]).await.unwrap();
    let before = edge.process.cpu().unwrap();
    tokio::time::sleep(LOOKED_AT).await;
    let used = edge.process.cpu().unwrap() - before;
    let resident = edge.process.resident_kib().unwrap();
    println!("figure: idle edge: {resident} KiB resident, {used:?} of CPU in {LOOKED_AT:?}");
    assert!(resident < 20 * 1024, "{resident} KiB");
    assert!(used < LOOKED_AT / 50, "{used:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_viewer_costs_under_32_kib() {
    const VIEWERS: u64 = 1000;
    if raise_file_limit() < 4 * VIEWERS {
        panic!("the limit of open files is too low for this test");
    }
    for protocol in [
        load::Protocol::Ws,
        load::Protocol::Rtmp,
        load::Protocol::Flv,
        load::Protocol::Mp4,
    ] {
        // A node of its own for each protocol: what the allocator keeps of one crowd would be the next one's.
        let origin = Node::origin().await.unwrap();
        let publication = publish_sample(&origin, "a").await;
        let authority = match protocol {
            load::Protocol::Rtmp => origin.rtmp,
            _ => origin.http,
        };
        let url = load::url(protocol, &authority.to_string(), "live/a");
        // One viewer first: the feed and its group of pictures are the stream's cost.
        load::run(load::Options::new(url.clone(), 1, Duration::from_secs(1)))
            .await
            .unwrap();
        let before = origin.process.resident_kib().unwrap();
        let load = load::start(load::Options {
            probes: 0,
            ..load::Options::new(url, VIEWERS as u32, LONG * 2)
        })
        .unwrap();
        wait_until(LONG, "all watch", || async {
            match load.playing() {
                playing if playing >= VIEWERS => Ok(()),
                playing => Err(playing),
            }
        })
        .await
        .unwrap();
        tokio::time::sleep(Duration::from_secs(3)).await;
        let each = (origin.process.resident_kib().unwrap().saturating_sub(before)) as f64 / VIEWERS as f64;
        let report = load.stop().await.unwrap();
        println!("figure: {VIEWERS} viewers of one stream by {protocol:?}: {each:.1} KiB each");
        assert_eq!((report.cut, report.connect_failures), (0, 0), "{report}");
        assert!(each < 32.0, "{protocol:?}: {each} KiB a viewer");
        publication.stop().await;
    }
}
