//! The tools and the harness against a server that is not ours: what they say of our nodes can be believed only then.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod fmp4;
mod hls;
mod moves;

use std::time::Duration;

use e2e::bench::{load, publish};
use e2e::harness::frames::expect_codecs;
use e2e::harness::media::{Ffmpeg, reading, start_ffprobe, stream_of};
use e2e::harness::proxy::Weather;
use e2e::harness::{Nginx, Proxy, fixture, root, wait_until};

const LONG: Duration = Duration::from_secs(30);

fn clip(url: String) -> publish::Options {
    publish::Options::new(url, root().join("operator/src/local/sample.flv"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_padded_clip_reaches_every_viewer_at_its_bit_rate_with_its_stamps() {
    let nginx = Nginx::start("").await.unwrap();
    let url = nginx.rtmp_url("padded");
    let publication = publish::start(publish::Options {
        bit_rate: Some(2_000_000),
        ..clip(url.clone())
    })
    .unwrap();
    wait_until(LONG, "a key frame is sent", || async {
        publication.first_key_us().ok_or("none")
    })
    .await
    .unwrap();
    let report = load::run(load::Options::new(url, 20, Duration::from_secs(4)))
        .await
        .unwrap();
    let sent = publication.stop().await;
    assert!(report.clean(), "{report}");
    assert_eq!(report.bit_rate.stream_from, "publisher");
    assert!((1_900_000..2_100_000).contains(&report.bit_rate.stream), "{report}");
    assert!((1_900_000..2_100_000).contains(&report.bit_rate.min), "{report}");
    assert_eq!(
        (report.gaps.gaps, report.gaps.backward, report.gaps.missing_pictures),
        (0, 0, 0),
        "{report}"
    );
    assert!(
        report.added_delay_ms.samples > 500 && report.added_delay_ms.p50 < 100.0,
        "{report}"
    );
    assert_eq!(sent.reconnects, 0, "{sent:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stalled_network_shows_as_silence_and_as_delay() {
    let nginx = Nginx::start("wait_key on; wait_video on;").await.unwrap();
    let proxy = Proxy::start(nginx.rtmp).await.unwrap();
    let publication = publish::start(clip(nginx.rtmp_url("a"))).unwrap();
    wait_until(LONG, "a key frame is sent", || async {
        publication.first_key_us().ok_or("none")
    })
    .await
    .unwrap();
    let watched = format!("rtmp://{}/live/a", proxy.address);
    let load = load::start(load::Options::new(watched, 2, Duration::from_secs(8))).unwrap();
    wait_until(LONG, "both watch", || async {
        if load.playing() == 2 {
            Ok(())
        } else {
            Err(load.playing())
        }
    })
    .await
    .unwrap();
    proxy.set(Weather::Stall);
    tokio::time::sleep(Duration::from_secs(3)).await;
    proxy.set(Weather::Pass);
    let report = load.report().await.unwrap();
    drop(publication);
    assert!(report.gaps.longest_silence_ms > 2500.0, "{report}");
    assert!(report.added_delay_ms.max > 2500.0, "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_viewer_is_counted_and_comes_back_if_told_to() {
    let nginx = Nginx::start("").await.unwrap();
    let proxy = Proxy::start(nginx.rtmp).await.unwrap();
    let publication = publish::start(clip(nginx.rtmp_url("a"))).unwrap();
    wait_until(LONG, "a key frame is sent", || async {
        publication.first_key_us().ok_or("none")
    })
    .await
    .unwrap();
    let load = load::start(load::Options {
        reconnect: Some(Duration::from_millis(100)),
        ..load::Options::new(format!("rtmp://{}/live/a", proxy.address), 3, Duration::from_secs(60))
    })
    .unwrap();
    let playing = |count: u64| {
        let load = &load;
        wait_until(LONG, "viewers watch", move || async move {
            if load.playing() >= count {
                Ok(())
            } else {
                Err(load.playing())
            }
        })
    };
    playing(3).await.unwrap();
    proxy.set(Weather::Cut);
    wait_until(LONG, "the cuts are seen", || async {
        let cuts = load.counters().cuts.load(std::sync::atomic::Ordering::Relaxed);
        if cuts >= 3 { Ok(()) } else { Err(cuts) }
    })
    .await
    .unwrap();
    proxy.set(Weather::Pass);
    playing(6).await.unwrap();
    let report = load.stop().await.unwrap();
    drop(publication);
    assert!(report.cut >= 3 && report.reconnects >= 3, "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn frames_that_come_are_found_in_their_source() {
    let nginx = Nginx::start("idle_streams off;").await.unwrap();
    let file = fixture("bframes-aac.flv").unwrap();
    let source = Ffmpeg::System.frames(file.to_str().unwrap(), LONG).await.unwrap();
    source.times_rise().unwrap();
    let url = nginx.rtmp_url("b");
    let mut publisher = Ffmpeg::System.publish(&file, &url, 0).unwrap();
    let reading = reading(Ffmpeg::System, &url, LONG).await.unwrap();
    let probing = start_ffprobe(&url).unwrap();
    assert!(publisher.wait(LONG).await.unwrap().success());
    let came = reading.frames(LONG).await.unwrap();
    let probed = probing.value(LONG).await.unwrap();
    assert_eq!(stream_of(&probed, "video")["width"], 480, "{}", probed["streams"]);
    came.times_rise().unwrap();
    expect_codecs(&came, &[("video", "h264", "480x270"), ("audio", "aac", "")]).unwrap();
    let missing = came.are_the_end_of(&source).unwrap();
    assert!(missing[0] < 60, "{missing:?}");
}
