//! Every kind of stream from every delivery URL of an edge: what comes is what was published, byte for byte.

use std::path::{Path, PathBuf};

use e2e::harness::frames::{Frames, expect_codecs};
use e2e::harness::media::{Ffmpeg, start_ffprobe, stream_of};
use e2e::harness::websocket::Viewer;
use e2e::harness::{Node, fixture};
use e2e::wire::flv;
use tempfile::TempDir;

use crate::{LONG, SOON};

/// Frames that a viewer may miss who comes once the stream is playable: none, since a newcomer is given the group of pictures.
/// The edge itself may come up to one group of pictures (1 s: 25 pictures, 47 AAC or 50 Opus frames) after the publisher, and a little more
/// of the sound.
const LATE: usize = 60;
/// The same for a reader that is a process of its own: on a busy machine it takes a second or two to start, which is 50 pictures, 94 AAC
/// or 100 Opus frames. What it reads from then on is held to the same.
const LATE_PROCESS: usize = LATE + 100;

/// Where frames came from, and the frames.
type Deliveries = Vec<(String, Frames)>;

/// Publishes a file to an origin and reads it at an edge from every URL until it ends.
async fn through_an_edge(file: &Path, ffmpeg: Ffmpeg, stream: &str) -> Deliveries {
    let origin = Node::origin().await.unwrap();
    let edge = Node::edge(&origin).await.unwrap();
    edge.pull(origin.rtmp, &[stream]).await.unwrap();
    let mut publisher = ffmpeg.publish(file, &origin.rtmp_url(stream), 0).unwrap();
    edge.playable(stream, SOON).await.unwrap();

    let urls = [
        edge.rtmp_url(stream),
        edge.http_url(&format!("/live/{stream}.flv")),
        edge.http_url(&format!("/live/{stream}.mp4")),
    ];
    let readings: Vec<_> = urls.iter().map(|url| ffmpeg.start_frames(url).unwrap()).collect();
    let mut viewers = Vec::new();
    for ending in ["mp4", "flv"] {
        let url = format!("ws://{}/live/{stream}.{ending}", edge.http);
        viewers.push((ending, Viewer::connect(&url).await.unwrap(), url));
    }

    let folder = TempDir::new().unwrap();
    let mut all = Deliveries::new();
    for (ending, viewer, url) in &mut viewers {
        viewer.to_end(LONG).await.unwrap();
        let kept: PathBuf = folder.path().join(format!("kept.{ending}"));
        std::fs::write(&kept, viewer.binary.concat()).unwrap();
        all.push((url.clone(), ffmpeg.frames(kept.to_str().unwrap(), LONG).await.unwrap()));
    }
    assert!(
        publisher.wait(LONG).await.unwrap().success(),
        "{}",
        publisher.log_tail()
    );
    for (url, reading) in urls.into_iter().zip(readings) {
        all.push((url, reading.frames(LONG).await.unwrap()));
    }
    all
}

async fn is_identical(name: &str, ffmpeg: Ffmpeg, codecs: &[(&str, &str, &str)]) {
    let file = fixture(name).unwrap();
    let source = ffmpeg.frames(file.to_str().unwrap(), LONG).await.unwrap();
    for (url, came) in through_an_edge(&file, ffmpeg, "kind").await {
        expect_codecs(&came, codecs).unwrap_or_else(|error| panic!("{url}: {error:#}"));
        came.times_rise().unwrap_or_else(|error| panic!("{url}: {error:#}"));
        let missing = came
            .are_the_end_of(&source)
            .unwrap_or_else(|error| panic!("{url}: {error:#}"));
        let late = if url.starts_with("ws://") { LATE } else { LATE_PROCESS };
        assert!(
            missing.iter().all(|missing| *missing <= late),
            "{url}: the first {missing:?} frames did not come"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn h264_and_aac() {
    is_identical(
        "h264-aac.flv",
        Ffmpeg::System,
        &[("video", "h264", "640x360"), ("audio", "aac", "")],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn b_frames_keep_their_composition_times() {
    is_identical(
        "bframes-aac.flv",
        Ffmpeg::System,
        &[("video", "h264", "480x270"), ("audio", "aac", "")],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn audio_only() {
    is_identical("audio-only.flv", Ffmpeg::System, &[("audio", "aac", "")]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn video_only() {
    is_identical("video-only.flv", Ffmpeg::System, &[("video", "h264", "480x270")]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn h265_and_aac() {
    is_identical(
        "h265-aac.flv",
        Ffmpeg::Enhanced,
        &[("video", "hevc", "480x270"), ("audio", "aac", "")],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn av1_and_opus() {
    is_identical(
        "av1-opus.flv",
        Ffmpeg::Enhanced,
        &[("video", "av1", "480x270"), ("audio", "opus", "")],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn codec_parameters_that_change_in_mid_stream_arrive_as_a_new_init() {
    let read = |name: &str| flv::read(&std::fs::read(fixture(name).unwrap()).unwrap()).unwrap();
    // AAC of 6 s is one frame longer than the pictures: the second clip starts behind both.
    let tags = flv::join(&read("h264-aac.flv"), &read("h264-small-aac.flv"), 6080);
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("changing.flv");
    std::fs::write(&file, flv::write(&tags)).unwrap();

    let origin = Node::origin().await.unwrap();
    let edge = Node::edge(&origin).await.unwrap();
    let options = e2e::bench::publish::Options {
        stamp: false,
        rounds: Some(1),
        ..e2e::bench::publish::Options::new(origin.rtmp_url("changing"), &file)
    };
    let publication = e2e::bench::publish::start(options).unwrap();
    origin.playable("changing", SOON).await.unwrap();
    let mut viewer = Viewer::connect(&edge.ws_url("changing")).await.unwrap();
    let flv_url = edge.http_url("/live/changing.flv");
    let reading = Ffmpeg::System.start_frames(&flv_url).unwrap();
    viewer.to_end(LONG).await.unwrap();
    assert!(publication.report().await.errors.is_empty());
    assert_eq!(viewer.inits(), 2, "{:?}", viewer.texts);

    let source = Ffmpeg::System.frames(file.to_str().unwrap(), LONG).await.unwrap();
    let came = reading.frames(LONG).await.unwrap();
    came.times_rise().unwrap();
    let missing = came.are_the_end_of(&source).unwrap();
    assert!(missing.iter().all(|missing| *missing <= LATE_PROCESS), "{missing:?}");
    // Each init stands alone with what follows: cut there, both halves are files with their own resolution.
    let second = viewer
        .binary
        .iter()
        .rposition(|message| message.get(4..8) == Some(b"ftyp"))
        .unwrap();
    for (part, size) in [
        (&viewer.binary[..second], "640x360"),
        (&viewer.binary[second..], "320x180"),
    ] {
        let kept = folder.path().join("part.mp4");
        std::fs::write(&kept, part.concat()).unwrap();
        let frames = Ffmpeg::System.frames(kept.to_str().unwrap(), LONG).await.unwrap();
        expect_codecs(&frames, &[("video", "h264", size), ("audio", "aac", "")]).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ffprobe_sees_codecs_resolution_and_every_frame() {
    let origin = Node::origin().await.unwrap();
    let edge = Node::edge(&origin).await.unwrap();
    edge.pull(origin.rtmp, &["probed"]).await.unwrap();
    let file = fixture("bframes-aac.flv").unwrap();
    let mut publisher = Ffmpeg::System.publish(&file, &origin.rtmp_url("probed"), 0).unwrap();
    edge.playable("probed", SOON).await.unwrap();
    let urls = [
        edge.rtmp_url("probed"),
        edge.http_url("/live/probed.flv"),
        edge.http_url("/live/probed.mp4"),
    ];
    let probes: Vec<_> = urls.iter().map(|url| start_ffprobe(url).unwrap()).collect();
    assert!(publisher.wait(LONG).await.unwrap().success());
    for (url, probe) in urls.iter().zip(probes) {
        let probed = probe.value(LONG).await.unwrap();
        assert_eq!(
            probed["streams"].as_array().unwrap().len(),
            2,
            "{url}: more than sound and pictures: {}",
            probed["streams"]
        );
        let (video, audio) = (stream_of(&probed, "video"), stream_of(&probed, "audio"));
        assert_eq!(
            (&video["codec_name"], &video["profile"]),
            (&"h264".into(), &"High".into()),
            "{url}"
        );
        assert_eq!((&video["width"], &video["height"]), (&480.into(), &270.into()), "{url}");
        assert_eq!(
            (&audio["codec_name"], &audio["sample_rate"]),
            (&"aac".into(), &"48000".into()),
            "{url}"
        );
        let count: usize = video["nb_read_packets"].as_str().unwrap().parse().unwrap();
        let late = LATE + 50; // of LATE_PROCESS, what pictures can make up
        assert!((150 - late..=150).contains(&count), "{url}: {count} pictures of 150");
    }
}
