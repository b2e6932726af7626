//! HLS of nodes as players see it: frame by frame, over a publisher's return and an origin's restart, and with each request sent
//! to another edge.

mod joins;

use std::time::Duration;

use e2e::harness::media::Ffmpeg;
use e2e::harness::{Node, fixture, http, wait_until};
use e2e::hls::client::{self, Options};
use e2e::wire::flv;
use tempfile::TempDir;

use crate::peers::start;
use crate::{LONG, SOON, publish_sample};

/// What a media playlist names: headers, parts, segments.
fn names(playlist: &str) -> Vec<String> {
    let mut gap = false;
    let mut all = Vec::new();
    for line in playlist.lines() {
        match line.split_once("URI=\"") {
            Some((tag, rest)) if tag.starts_with("#EXT-X-MAP") || tag.starts_with("#EXT-X-PART:") => {
                all.extend(rest.split('"').next().map(str::to_owned));
            }
            _ if line.starts_with("#EXT-X-GAP") => gap = true,
            None if !line.starts_with('#') && !line.is_empty() && !std::mem::take(&mut gap) => {
                all.push(line.to_owned())
            }
            _ => {}
        }
    }
    all
}

fn folder(node: &Node) -> String {
    node.http_url("/live/show/")
}

/// Players that know no parts, at an edge: what comes is what was published, byte for byte, from where they begin to the end.
#[tokio::test(flavor = "multi_thread")]
async fn ffmpeg_and_gstreamer_play_the_plain_playlists_frame_by_frame() {
    let origin = Node::origin().await.unwrap();
    let edge = Node::edge(&origin).await.unwrap();
    edge.pull_knowing(origin.rtmp, Some(origin.http), &["show"])
        .await
        .unwrap();
    let file = fixture("gops-aac.flv").unwrap();
    let source = Ffmpeg::System.frames(file.to_str().unwrap(), LONG).await.unwrap();
    let mut publisher = Ffmpeg::System.publish(&file, &origin.rtmp_url("show"), 0).unwrap();
    edge.playable("show", SOON).await.unwrap();
    let url = edge.http_url("/live/show/plain.m3u8");
    let reading = Ffmpeg::System.start_frames(&url).unwrap();
    let folder = TempDir::new().unwrap();
    let kept = |name: &str| folder.path().join(name).display().to_string();
    let pipeline = format!(
        "-q souphttpsrc location={url} ! hlsdemux name=hls hls. ! queue ! qtdemux name=mp4 mp4.video_0 ! queue ! filesink location={}",
        kept("pictures")
    );
    let mut player = start("gst-launch-1.0", &pipeline.split(' ').collect::<Vec<_>>());
    assert!(
        publisher.wait(LONG).await.unwrap().success(),
        "{}",
        publisher.log_tail()
    );
    let came = reading.frames(LONG).await.unwrap();
    let missing = came.are_the_end_of(&source).unwrap();
    assert!(player.wait(LONG).await.unwrap().success(), "{}", player.log_tail());
    let sent: Vec<u8> = flv::read(&std::fs::read(&file).unwrap())
        .unwrap()
        .iter()
        .filter(|tag| tag.kind == flv::VIDEO && tag.body.get(1) == Some(&1))
        .flat_map(|tag| tag.body[5..].to_vec())
        .collect();
    let got = std::fs::read(kept("pictures")).unwrap();
    assert!(
        got.len() > sent.len() / 2 && sent.ends_with(&got),
        "{} of {} bytes",
        got.len(),
        sent.len()
    );
    println!(
        "ffmpeg: all but the first {missing:?} frames; GStreamer: the last {} of {} bytes of pictures",
        got.len(),
        sent.len()
    );
}

/// Media sequence number, discontinuity sequence number, and whether there is a discontinuity.
fn state(playlist: &str) -> (u64, u64, bool) {
    let number = |tag: &str| {
        let line = playlist.lines().find_map(|line| line.strip_prefix(tag));
        line.and_then(|text| text.parse().ok()).unwrap_or(0)
    };
    (
        number("#EXT-X-MEDIA-SEQUENCE:"),
        number("#EXT-X-DISCONTINUITY-SEQUENCE:"),
        playlist.contains("#EXT-X-DISCONTINUITY\n"),
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_publisher_that_returns_goes_on_with_a_discontinuity_and_a_restarted_origin_above_all_numbers() {
    let mut origin = Node::origin().await.unwrap();
    let edge = Node::edge(&origin).await.unwrap();
    edge.pull_knowing(origin.rtmp, Some(origin.http), &["show"])
        .await
        .unwrap();
    let publication = publish_sample(&origin, "show").await;
    edge.playable("show", SOON).await.unwrap();
    let playlist = || async {
        let answer = http::get(&format!("{}video.m3u8", folder(&edge))).await.unwrap();
        answer.text()
    };
    let segments = |text: &str| {
        names(text)
            .into_iter()
            .filter(|name| name.matches('.').count() == 1 && !name.contains("init"))
    };
    wait_until(LONG, "three segments", || async {
        let text = playlist().await;
        if segments(&text).count() >= 3 {
            Ok(())
        } else {
            Err(text)
        }
    })
    .await
    .unwrap();
    publication.abort().await;
    let _publication = publish_sample(&origin, "show").await;
    wait_until(LONG, "a discontinuity", || async {
        let text = playlist().await;
        if state(&text).2 { Ok(()) } else { Err(text) }
    })
    .await
    .unwrap();
    let before = playlist().await;
    let numbers: Vec<u64> = segments(&before)
        .map(|name| name[6..name.len() - 4].parse().unwrap())
        .collect();
    assert!(numbers.windows(2).all(|pair| pair[1] == pair[0] + 1), "{numbers:?}");

    origin.kill().await.unwrap();
    origin.restart().await.unwrap();
    let _publication = publish_sample(&origin, "show").await;
    let after = wait_until(LONG, "a new playlist", || async {
        let text = playlist().await;
        if state(&text).0 > *numbers.last().unwrap() && text.contains("#EXTINF") {
            Ok(text)
        } else {
            Err(text)
        }
    })
    .await
    .unwrap();
    assert!(state(&after).1 > state(&before).1 + 1, "{after}");
    for name in names(&before) {
        let answer = http::get(&format!("{}{name}", folder(&edge))).await.unwrap();
        assert_eq!(answer.status, 200, "{name} was there a moment ago");
    }
    assert!(names(&before).iter().all(|name| !names(&after).contains(name)));
}

/// Plays the sample for `time` from an origin, two edges that come at different times, and one behind another.
async fn each_request_elsewhere(time: Duration) {
    let origin = Node::origin().await.unwrap();
    let (first, second) = (Node::edge(&origin).await.unwrap(), Node::edge(&origin).await.unwrap());
    let leaf = Node::edge(&first).await.unwrap();
    let _publication = publish_sample(&origin, "show").await;
    first
        .pull_knowing(origin.rtmp, Some(origin.http), &["show"])
        .await
        .unwrap();
    first.playable("show", SOON).await.unwrap();
    let warm = client::start(Options::new([first.http_url("")], "live/show"));
    warm.playing().await.unwrap();
    second
        .pull_knowing(origin.rtmp, Some(origin.http), &["show"])
        .await
        .unwrap();
    leaf.pull_knowing(first.rtmp, Some(first.http), &["show"])
        .await
        .unwrap();
    for node in [&second, &leaf] {
        node.playable("show", SOON).await.unwrap();
    }
    let bases = [&first, &second, &leaf].map(|node| node.http_url(""));
    let playing = client::start(Options {
        audit: true,
        ..Options::new(bases.clone(), "live/show")
    });
    playing.playing().await.unwrap();
    playing.watch(time).await;
    // It begins three target durations behind the end: there must be as much.
    let plain = client::start(Options {
        mode: client::Mode::Plain,
        ..Options::new(bases, "live/show")
    });
    plain.watch(time / 2).await;
    for (what, client) in [
        ("one edge", warm),
        ("each request to another", playing),
        ("the same, plain", plain),
    ] {
        let report = client.stop().await.unwrap();
        println!("{what}: {report}");
        report.clean().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_player_whose_every_request_goes_to_another_edge_sees_one_stream() {
    each_request_elsewhere(Duration::from_secs(20)).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "five minutes"]
async fn a_player_whose_every_request_goes_to_another_edge_sees_one_stream_for_five_minutes() {
    each_request_elsewhere(Duration::from_secs(300)).await;
}
