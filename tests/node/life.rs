//! The life of a stream: beginnings, ends, interruptions, and who may begin one.

use std::time::{Duration, Instant};

use e2e::bench::{load, publish};
use e2e::harness::http;
use e2e::harness::media::Ffmpeg;
use e2e::harness::proxy::Weather;
use e2e::harness::websocket::Viewer;
use e2e::harness::{Node, Proxy, fixture, root, wait_until};

use crate::{LONG, SOON, publish_sample};

fn sample(url: String) -> publish::Options {
    publish::Options::new(url, root().join("operator/src/local/sample.flv"))
}

#[tokio::test(flavor = "multi_thread")]
async fn every_protocol_is_served_without_a_gap() {
    let origin = Node::origin().await.unwrap();
    let edge = Node::edge(&origin).await.unwrap();
    let publication = publish_sample(&origin, "a").await;
    for protocol in [
        load::Protocol::Rtmp,
        load::Protocol::Flv,
        load::Protocol::Ws,
        load::Protocol::Mp4,
    ] {
        let authority = if protocol == load::Protocol::Rtmp {
            edge.rtmp
        } else {
            edge.http
        };
        let url = load::url(protocol, &authority.to_string(), "live/a");
        let report = load::run(load::Options::new(url, 10, Duration::from_secs(3)))
            .await
            .unwrap();
        assert!(report.clean(), "{report}");
        assert_eq!(
            (report.gaps.gaps, report.gaps.backward, report.gaps.missing_pictures),
            (0, 0, 0),
            "{report}"
        );
        assert_eq!(report.bit_rate.stream_from, "publisher", "{report}");
        assert!(report.added_delay_ms.p50 < 250.0, "{report}");
    }
    publication.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_its_publisher_ends_ends_for_every_viewer_within_a_second() {
    let origin = Node::origin().await.unwrap();
    let edge = Node::edge(&origin).await.unwrap();
    let publication = publish_sample(&origin, "a").await;
    let mut viewer = Viewer::connect(&edge.ws_url("a")).await.unwrap();
    viewer
        .until(SOON, "media comes", |viewer| viewer.binary.len() > 3)
        .await
        .unwrap();
    let rtmp = Ffmpeg::System.start_frames(&edge.rtmp_url("a")).unwrap();
    let flv = Ffmpeg::System.start_frames(&edge.http_url("/live/a.flv")).unwrap();
    wait_until(LONG, "all watch", || async {
        if rtmp.count() > 0 && flv.count() > 0 {
            Ok(())
        } else {
            Err(format!("{} {}", rtmp.count(), flv.count()))
        }
    })
    .await
    .unwrap();
    publication.stop().await;
    let began = Instant::now();
    viewer.to_end(SOON).await.unwrap();
    assert!(began.elapsed() < Duration::from_millis(1500), "{:?}", began.elapsed());
    assert_eq!(viewer.texts_of("end").len(), 1, "{:?}", viewer.texts);
    rtmp.frames(SOON).await.unwrap();
    flv.frames(SOON).await.unwrap();
    edge.gone("a", SOON).await.unwrap();
    origin.gone("a", SOON).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_publisher_of_a_live_name_is_refused_and_the_first_goes_on() {
    let origin = Node::origin().await.unwrap();
    let first = publish_sample(&origin, "a").await;
    let second = publish::start(sample(origin.rtmp_url("a"))).unwrap().report().await;
    assert_eq!(second.streams, 0, "{second:?}");
    assert!(second.errors[0].contains("NetStream.Publish.BadName"), "{second:?}");
    let first = first.stop().await;
    assert_eq!((first.errors.len(), first.streams), (0, 1), "{first:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_publisher_gives_way_to_a_newcomer() {
    let origin = Node::origin().await.unwrap();
    let proxy = Proxy::start(origin.rtmp).await.unwrap();
    let _first = publish::start(sample(format!("rtmp://{}/live/a", proxy.address))).unwrap();
    origin.playable("a", SOON).await.unwrap();
    proxy.set(Weather::Stall);
    let second = wait_until(LONG, "the newcomer is let in", || async {
        let second = publish::start(sample(origin.rtmp_url("a"))).map_err(|error| format!("{error:#}"))?;
        match wait_until(Duration::from_secs(2), "sends", || async {
            second.first_key_us().ok_or("nothing")
        })
        .await
        {
            Ok(_) => Ok(second),
            Err(_) => Err(format!("{:?}", second.report().await.errors)),
        }
    })
    .await
    .unwrap();
    let report = second.stop().await;
    assert_eq!(report.streams, 1, "{report:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edge_pulls_on_demand_what_its_upstream_has_and_refuses_what_it_has_not() {
    let origin = Node::origin().await.unwrap();
    let edge = Node::edge(&origin).await.unwrap();
    let _publication = publish_sample(&origin, "there").await;
    assert!(edge.hello().await.unwrap().streams.is_empty());
    let mut viewer = Viewer::connect(&edge.ws_url("there")).await.unwrap();
    viewer
        .until(SOON, "media comes", |viewer| viewer.binary.len() > 3)
        .await
        .unwrap();
    let began = Instant::now();
    let missing = http::get(&edge.http_url("/live/missing.flv")).await.unwrap();
    assert_eq!(missing.status, 404, "{}", missing.text());
    assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
    assert!(Viewer::connect(&edge.ws_url("missing")).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn viewers_on_demand_who_come_at_once_share_one_pull() {
    let origin = Node::origin().await.unwrap();
    let edge = Node::edge(&origin).await.unwrap();
    let _publication = publish_sample(&origin, "a").await;
    let url = load::url(load::Protocol::Flv, &edge.http.to_string(), "live/a");
    let options = load::Options {
        ramp: Duration::ZERO,
        ..load::Options::new(url, 50, Duration::from_secs(2))
    };
    let report = load::run(options).await.unwrap();
    assert!(report.clean(), "{report}");
    assert_eq!(origin.hello().await.unwrap().figures.relays, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cascade_of_edges_delivers_the_same_bytes() {
    let origin = Node::origin().await.unwrap();
    let middle = Node::edge(&origin).await.unwrap();
    let last = Node::edge(&middle).await.unwrap();
    let file = fixture("bframes-aac.flv").unwrap();
    let source = Ffmpeg::System.frames(file.to_str().unwrap(), LONG).await.unwrap();
    let mut publisher = Ffmpeg::System.publish(&file, &origin.rtmp_url("a"), 0).unwrap();
    origin.playable("a", SOON).await.unwrap();
    let reading = Ffmpeg::System.start_frames(&last.rtmp_url("a")).unwrap();
    assert!(publisher.wait(LONG).await.unwrap().success());
    let came = reading.frames(LONG).await.unwrap();
    came.are_the_end_of(&source).unwrap();
    came.times_rise().unwrap();
}
