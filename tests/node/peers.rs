//! Other people's programs as publishers and viewers.

use std::path::Path;
use std::time::Duration;

use e2e::harness::frames::expect_codecs;
use e2e::harness::media::{Ffmpeg, reading};
use e2e::harness::{Nginx, Node, Process, fixture};
use headwater_contract::Role;

use crate::{LONG, SOON, publish_sample};

pub(crate) fn start(program: &str, args: &[&str]) -> Process {
    Process::start(
        program,
        Path::new(program),
        &args.iter().map(|arg| (*arg).to_owned()).collect::<Vec<_>>(),
    )
    .unwrap()
}

/// Frames come from the edge with these codecs.
async fn plays(edge: &Node, stream: &str, size: &str) {
    let reading = reading(Ffmpeg::System, &edge.http_url(&format!("/live/{stream}.flv")), LONG)
        .await
        .unwrap();
    e2e::harness::wait_until(LONG, "some seconds have come", || async {
        if reading.count() > 150 {
            Ok(())
        } else {
            Err(reading.count())
        }
    })
    .await
    .unwrap();
    let frames = reading.stop().await.unwrap();
    frames.times_never_go_back().unwrap();
    expect_codecs(&frames, &[("video", "h264", size), ("audio", "aac", "")]).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn ffmpeg_encodes_and_publishes() {
    let origin = Node::origin().await.unwrap();
    let edge = Node::edge(&origin).await.unwrap();
    let url = origin.rtmp_url("encoded");
    let _publisher = Ffmpeg::System
        .start(&[
            "-re",
            "-f",
            "lavfi",
            "-i",
            "testsrc2=s=320x180:r=30",
            "-f",
            "lavfi",
            "-i",
            "sine=r=44100",
            "-c:v",
            "libx264",
            "-preset",
            "ultrafast",
            "-g",
            "30",
            "-c:a",
            "aac",
            "-f",
            "flv",
            &url,
        ])
        .unwrap();
    origin.playable("encoded", LONG).await.unwrap();
    plays(&edge, "encoded", "320x180").await;
}

async fn gstreamer_publishes(sink: &str) {
    let origin = Node::origin().await.unwrap();
    let edge = Node::edge(&origin).await.unwrap();
    let location = format!("location={}", origin.rtmp_url("gst"));
    let mut args: Vec<&str> = "-q flvmux name=mux streamable=true videotestsrc is-live=true ! video/x-raw,width=320,height=180,framerate=25/1 ! \
        x264enc tune=zerolatency speed-preset=ultrafast key-int-max=25 ! h264parse ! queue ! mux. \
        audiotestsrc is-live=true ! audio/x-raw,rate=48000,channels=2 ! avenc_aac ! aacparse ! queue ! mux. mux. !"
        .split_whitespace()
        .collect();
    args.extend([sink, location.as_str()]);
    let _publisher = start("gst-launch-1.0", &args);
    origin.playable("gst", LONG).await.unwrap();
    plays(&edge, "gst", "320x180").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn gstreamer_publishes_by_rtmp2sink() {
    gstreamer_publishes("rtmp2sink").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn gstreamer_publishes_by_rtmpsink() {
    gstreamer_publishes("rtmpsink").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rtmpdump_reads_an_edge() {
    let origin = Node::origin().await.unwrap();
    let edge = Node::edge(&origin).await.unwrap();
    let _publication = publish_sample(&origin, "a").await;
    let folder = tempfile::TempDir::new().unwrap();
    let file = folder.path().join("dumped.flv");
    let url = edge.rtmp_url("a");
    let dump = start("rtmpdump", &["-q", "--live", "-r", &url, "-o", file.to_str().unwrap()]);
    e2e::harness::wait_until(LONG, "some seconds are dumped", || async {
        let size = std::fs::metadata(&file).map(|file| file.len()).unwrap_or(0);
        if size > 250_000 { Ok(()) } else { Err(size) }
    })
    .await
    .unwrap();
    drop(dump);
    let frames = Ffmpeg::System.frames(file.to_str().unwrap(), LONG).await.unwrap();
    expect_codecs(&frames, &[("video", "h264", "640x360"), ("audio", "aac", "")]).unwrap();
    frames.times_rise().unwrap();
    assert!(
        frames.track("video").unwrap().frames.len() > 50,
        "{}",
        frames.track("video").unwrap().frames.len()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn nginx_pushes_to_an_origin() {
    let origin = Node::origin().await.unwrap();
    let edge = Node::edge(&origin).await.unwrap();
    let nginx = Nginx::start(&format!("push rtmp://{}/live;", origin.rtmp))
        .await
        .unwrap();
    let _publisher = Ffmpeg::System
        .publish(&fixture("h264-aac.flv").unwrap(), &nginx.rtmp_url("pushed"), -1)
        .unwrap();
    origin.playable("pushed", LONG).await.unwrap();
    plays(&edge, "pushed", "640x360").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nginx_pulls_from_an_edge() {
    let origin = Node::origin().await.unwrap();
    let edge = Node::edge(&origin).await.unwrap();
    let _publication = publish_sample(&origin, "pulled").await;
    let nginx = Nginx::start(&format!("pull rtmp://{}/live/pulled name=pulled static;", edge.rtmp))
        .await
        .unwrap();
    let reading = reading(Ffmpeg::System, &nginx.rtmp_url("pulled"), LONG).await.unwrap();
    e2e::harness::wait_until(LONG, "frames come through nginx", || async {
        if reading.count() > 100 {
            Ok(())
        } else {
            Err(reading.count())
        }
    })
    .await
    .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edge_pulls_from_nginx() {
    let nginx = Nginx::start("").await.unwrap();
    let edge = Node::start(Role::Edge, &["--ready-wait", "1s"]).await.unwrap();
    edge.pull(nginx.rtmp, &["foreign"]).await.unwrap();
    let _publisher = Ffmpeg::System
        .publish(&fixture("h264-aac.flv").unwrap(), &nginx.rtmp_url("foreign"), -1)
        .unwrap();
    edge.playable("foreign", LONG).await.unwrap();
    plays(&edge, "foreign", "640x360").await;
    let began = std::time::Instant::now();
    edge.pull(nginx.rtmp, &[]).await.unwrap();
    edge.gone("foreign", SOON).await.unwrap();
    assert!(began.elapsed() < Duration::from_secs(2));
}
