//! HLS of several nodes: whoever joins when, restarts, or loses its source serves the same files under the same names.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use e2e::harness::media::Ffmpeg;
use e2e::harness::process::Signal;
use e2e::harness::proxy::{Proxy, Weather};
use e2e::harness::{Node, fixture, http, wait_until};
use e2e::hls::client::{self, Options};
use e2e::wire::flv;
use tempfile::TempDir;
use tokio::sync::Mutex;
use tokio_util::task::AbortOnDropHandle;

use crate::peers::start;
use crate::{LONG, SOON, publish_sample};

/// Files of media by name.
type Files = BTreeMap<String, Bytes>;

/// Somebody who asks one node for everything that its playlists name, again and again.
struct Collector {
    files: Arc<Mutex<Files>>,
    faults: Arc<Mutex<Vec<String>>>,
    task: AbortOnDropHandle<()>,
}

/// How often playlists are read.
const EVERY: Duration = Duration::from_millis(150);

impl Collector {
    fn start(base: String) -> Self {
        let (files, faults) = (Arc::<Mutex<Files>>::default(), Arc::<Mutex<Vec<String>>>::default());
        let (kept, told) = (Arc::clone(&files), Arc::clone(&faults));
        let task = tokio::spawn(async move {
            loop {
                for playlist in ["video.m3u8", "audio.m3u8"] {
                    // A node that is being started anew does not answer: that is no fault of HLS.
                    let Ok(answer) = http::get(&format!("{base}{playlist}")).await else {
                        continue;
                    };
                    for name in names(&answer.text()) {
                        if kept.lock().await.contains_key(&name) {
                            continue;
                        }
                        match http::get(&format!("{base}{name}")).await {
                            Ok(file) if file.status == 200 => {
                                kept.lock().await.insert(name, file.body);
                            }
                            Ok(file) => told
                                .lock()
                                .await
                                .push(format!("{name}: {} {}", file.status, file.text())),
                            Err(_) => {}
                        }
                    }
                }
                tokio::time::sleep(EVERY).await;
            }
        });
        Self {
            files,
            faults,
            task: AbortOnDropHandle::new(task),
        }
    }

    async fn finish(self) -> Files {
        self.task.abort();
        assert_eq!(*self.faults.lock().await, Vec::<String>::new());
        self.files.lock().await.clone()
    }
}

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

/// Waits until every node shows the same window in a playlist, with this tag.
async fn agree(nodes: &[&Node], playlist: &str, tag: &str) {
    wait_until(LONG, "every node shows the same window", || async {
        let urls = nodes.iter().map(|node| format!("{}{playlist}", folder(node)));
        let answers = futures_util::future::join_all(urls.map(|url| async move { http::get(&url).await })).await;
        let texts: Vec<String> = answers
            .into_iter()
            .map(|answer| answer.map_or(String::new(), |it| it.text()))
            .collect();
        match texts.iter().all(|text| *text == texts[0] && text.contains(tag)) {
            true => Ok(()),
            false => Err(texts.join("\n----\n")),
        }
    })
    .await
    .unwrap();
}

/// Lets `seconds` of the stream pass.
async fn pass(seconds: f64) {
    tokio::time::sleep(Duration::from_secs_f64(seconds)).await;
}

/// B-frames, groups of pictures from 0.5 to 5.2 s, a frame rate and a sample rate that no millisecond divides. `rounds` is how
/// often one of them loses its source and is started anew.
async fn whoever_joins_when(rounds: usize) {
    let origin = Node::origin().await.unwrap();
    let (early, late, middle) = (
        Node::edge(&origin).await.unwrap(),
        Node::edge(&origin).await.unwrap(),
        Node::edge(&origin).await.unwrap(),
    );
    let proxy = Proxy::start(origin.rtmp).await.unwrap();
    let mut shaken = Node::edge(&origin).await.unwrap();
    let leaf = Node::edge(&middle).await.unwrap();
    let stream = ["show"];
    early
        .pull_knowing(origin.rtmp, Some(origin.http), &stream)
        .await
        .unwrap();
    late.pull_knowing(origin.rtmp, Some(origin.http), &stream)
        .await
        .unwrap();
    middle
        .pull_knowing(origin.rtmp, Some(origin.http), &stream)
        .await
        .unwrap();
    shaken
        .pull_knowing(proxy.address, Some(origin.http), &stream)
        .await
        .unwrap();
    let file = fixture("gops-aac.flv").unwrap();
    let publisher = Ffmpeg::System.publish(&file, &origin.rtmp_url("show"), -1).unwrap();
    for node in [&origin, &early, &late, &middle, &shaken] {
        node.playable("show", SOON).await.unwrap();
    }
    let mut collectors = vec![
        Collector::start(folder(&origin)),
        Collector::start(folder(&early)),
        Collector::start(folder(&shaken)),
    ];
    pass(7.3).await;
    leaf.pull_knowing(middle.rtmp, Some(middle.http), &stream)
        .await
        .unwrap();
    leaf.playable("show", SOON).await.unwrap();
    collectors.push(Collector::start(folder(&leaf)));
    pass(1.9).await;
    collectors.push(Collector::start(folder(&late)));
    for round in 0..rounds {
        proxy.set(Weather::Cut);
        pass(if round % 2 == 0 { 0.4 } else { 2.7 }).await;
        proxy.set(Weather::Pass);
        pass(3.1).await;
        shaken.kill().await.unwrap();
        shaken.restart().await.unwrap();
        shaken
            .pull_knowing(proxy.address, Some(origin.http), &stream)
            .await
            .unwrap();
        shaken.playable("show", LONG).await.unwrap();
        pass(4.7).await;
    }
    let nodes = [&origin, &early, &late, &middle, &shaken, &leaf];
    agree(&nodes, "plain-video.m3u8", "#EXTINF").await;
    agree(&nodes, "plain-audio.m3u8", "#EXTINF").await;
    pass(2.0).await;
    publisher.signal(Signal::Int).await.unwrap();
    for playlist in ["plain-video.m3u8", "plain-audio.m3u8", "video.m3u8", "audio.m3u8"] {
        agree(&nodes, playlist, "#EXT-X-ENDLIST").await;
    }
    pass(1.0).await;
    let mut all = Vec::new();
    for collector in collectors {
        all.push(collector.finish().await);
    }
    let kinds = ["video-init-", "audio-init-", "video-1", "audio-1"];
    for (index, files) in all.iter().enumerate() {
        for kind in kinds {
            assert!(
                files.keys().any(|name| name.starts_with(kind)),
                "node {index} has no {kind}"
            );
        }
        for (name, bytes) in files {
            let others = all.iter().filter_map(|files| files.get(name));
            for other in others {
                assert!(bytes == other, "node {index}: {name}");
            }
        }
    }
    println!(
        "files of each node, all alike under one name: {:?}",
        all.iter().map(BTreeMap::len).collect::<Vec<_>>()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_joins_late_restarts_or_loses_its_source_serves_the_same_files() {
    whoever_joins_when(1).await;
}

/// The same for minutes.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "three minutes"]
async fn whoever_joins_late_restarts_or_loses_its_source_serves_the_same_files_for_minutes() {
    whoever_joins_when(20).await;
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
