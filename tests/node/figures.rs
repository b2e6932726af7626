//! What a node says that it sends is what its viewers get, whatever the protocol: the scaling goes by it.

use e2e::bench::load::{self, Protocol};
use e2e::harness::{Node, wait_until};

use crate::{LONG, SOON, publish_sample};

const VIEWERS: u32 = 6;

#[tokio::test(flavor = "multi_thread")]
async fn bytes_sent_are_counted_in_every_protocol() {
    let origin = Node::origin().await.unwrap();
    let edge = Node::edge(&origin).await.unwrap();
    let _publication = publish_sample(&origin, "a").await;
    let (http, rtmp) = (edge.http.to_string(), edge.rtmp.to_string());
    let cases = [
        ("rtmp", load::url(Protocol::Rtmp, &rtmp, "live/a"), 0),
        ("flv", load::url(Protocol::Flv, &http, "live/a"), 0),
        ("mp4", load::url(Protocol::Mp4, &http, "live/a"), 0),
        ("ws", load::url(Protocol::Ws, &http, "live/a"), u64::from(VIEWERS)),
        // Its players know no text messages: nobody could ask them.
        ("ws_flv", format!("ws://{http}/live/a.flv"), 0),
    ];
    for (label, url, movable) in cases {
        let load = load::start(load::Options::new(url, VIEWERS, LONG)).unwrap();
        let figures = wait_until(SOON, "the figures tell what is sent", || async {
            let hello = edge.hello().await.unwrap();
            let bit_rate = hello.figures.streams.iter().map(|stream| stream.bitrate_bps).max();
            let wanted = bit_rate.unwrap_or(0) * u64::from(VIEWERS);
            // Containers add up to a tenth, and a second may hold one more key frame than another.
            let near = |bps: u64| bps * 10 > wanted * 7 && bps * 10 < wanted * 14;
            if wanted > 0 && near(hello.figures.sent_bps) && hello.figures.viewers == u64::from(VIEWERS) {
                Ok(hello.figures)
            } else {
                Err(format!("{label}: {:?}", hello.figures))
            }
        })
        .await
        .unwrap();
        assert_eq!(figures.movable_viewers, movable, "{label}");
        let report = load.stop().await.unwrap();
        wait_until(SOON, "nothing is sent", || async {
            let figures = edge.hello().await.unwrap().figures;
            if figures.sent_bps == 0 && figures.viewers == 0 && figures.movable_viewers == 0 {
                Ok(())
            } else {
                Err(format!("{label}: {figures:?}"))
            }
        })
        .await
        .unwrap();
        let sample = format!("headwater_node_sent_bytes_total{{protocol=\"{label}\"}}");
        let counted = edge.metric(&sample).await.unwrap().unwrap();
        let got = report.wire_bytes as f64;
        // What was on its way when the viewers left was sent and not received, heads and handshakes the other way round.
        assert!(
            (counted - got).abs() < got * 0.05 + f64::from(VIEWERS) * 70_000.0,
            "{label}: {counted} counted, {got} received"
        );
    }
}
