//! The past of a stream, played back and sought in by HLS: the first viewer has all of it, at any node, from memory or from files.

use std::path::{Path, PathBuf};

use e2e::harness::media::Ffmpeg;
use e2e::harness::process::Process;
use e2e::harness::{Node, http, wait_until};
use headwater_contract::Role;
use tempfile::TempDir;

use crate::{LONG, SOON};

/// Segments of 1 s, so that what is more than eight seconds from the end is old.
const SHORT: [&str; 6] = ["--hls-longest", "1s", "--hls-window", "6s", "--dvr", "20s"];

/// Seconds of the clip.
const CLIP: u32 = 30;

/// A clip in which no frame comes twice: a key frame each second, with B frames.
async fn clip(folder: &Path) -> PathBuf {
    let path = folder.join("clip.flv");
    let sources = [
        "-f",
        "lavfi",
        "-i",
        "testsrc2=s=320x180:r=25",
        "-f",
        "lavfi",
        "-i",
        "sine=f=440:b=4",
    ];
    let length = CLIP.to_string();
    let codecs = [
        "-t",
        &length,
        "-c:v",
        "libx264",
        "-preset",
        "ultrafast",
        "-bf",
        "2",
        "-g",
        "25",
        "-b:v",
        "400k",
    ];
    let rest = [
        "-keyint_min",
        "25",
        "-sc_threshold",
        "0",
        "-c:a",
        "aac",
        path.to_str().unwrap(),
    ];
    let args: Vec<&str> = sources.into_iter().chain(codecs).chain(rest).collect();
    let mut made = Ffmpeg::System.start(&args).unwrap();
    assert!(made.wait(LONG * 2).await.unwrap().success(), "{}", made.log_tail());
    path
}

async fn edge(origin: &Node) -> Node {
    let (rtmp, http) = (
        format!("rtmp://{}/live", origin.rtmp),
        format!("http://{}", origin.http),
    );
    let flags = ["--upstream", &rtmp, "--upstream-http", &http, "--ready-wait", "1s"];
    Node::start(Role::Edge, &flags).await.unwrap()
}

/// The numbers that a playlist lists, and how long they last.
async fn listed(node: &Node, playlist: &str) -> Result<(Vec<u64>, f64), String> {
    let url = node.http_url(&format!("/live/cam/{playlist}"));
    let answer = http::get(&url).await.map_err(|error| format!("{error:#}"))?;
    if !answer.status.is_success() {
        return Err(format!("{} {}", answer.status, answer.text()));
    }
    let text = answer.text();
    let seconds = text.lines().filter_map(|line| line.strip_prefix("#EXTINF:"));
    let seconds = seconds
        .filter_map(|rest| rest.trim_end_matches(',').parse::<f64>().ok())
        .sum();
    let number = |line: &str| line.strip_suffix(".m4s")?.rsplit_once('-')?.1.parse().ok();
    Ok((text.lines().filter_map(number).collect(), seconds))
}

/// The playlist, once it lasts that long.
async fn reaches(node: &Node, seconds: f64) -> Vec<u64> {
    let what = format!("{seconds} s are listed");
    let reached = wait_until(LONG, &what, || async {
        let (numbers, lasts) = listed(node, "plain-video.m3u8").await?;
        match lasts >= seconds {
            true => Ok(numbers),
            false => Err(format!("{lasts} s, {numbers:?}")),
        }
    });
    reached.await.unwrap()
}

async fn file(node: &Node, name: &str) -> Result<Vec<u8>, u16> {
    let answer = http::get(&node.http_url(&format!("/live/cam/{name}"))).await.unwrap();
    match answer.status.as_u16() {
        200 => Ok(answer.body.to_vec()),
        status => Err(status),
    }
}

/// Waits until so much of the stream has come, asking for nothing of its HLS.
async fn has_run(node: &Node, seconds: u64) {
    let since = node.playable("cam", LONG).await.unwrap().since;
    let run = || async {
        let run = jiff::Timestamp::now().duration_since(since).as_secs();
        if run >= seconds as i64 { Ok(()) } else { Err(run) }
    };
    wait_until(LONG, "the stream has run for long enough", run)
        .await
        .unwrap();
}

async fn metric(node: &Node, name: &str) -> f64 {
    node.metric(name).await.unwrap().unwrap_or(f64::NAN)
}

const MEMORY: &str = "headwater_node_dvr_bytes{where=\"memory\"}";
const DISK: &str = "headwater_node_dvr_bytes{where=\"disk\"}";

/// An edge that comes late lists what its origin does, and has the same bytes of the oldest of it.
async fn the_oldest_is_the_same_on(late: &Node, origin: &Node) -> Vec<u64> {
    let numbers = reaches(late, 19.0).await;
    let (at_origin, _) = listed(origin, "plain-video.m3u8").await.unwrap();
    assert!(
        numbers[0].abs_diff(at_origin[0]) <= 1,
        "{numbers:?} against {at_origin:?}"
    );
    let oldest = at_origin[1];
    for rendition in ["video", "audio"] {
        let name = format!("{rendition}-{oldest}.m4s");
        let (here, there) = (file(late, &name).await.unwrap(), file(origin, &name).await.unwrap());
        assert!(
            here.len() > 1_000 && here == there,
            "{name}: {} and {} bytes",
            here.len(),
            there.len()
        );
    }
    assert_eq!(
        file(late, &format!("video-{oldest}.0.m4s")).await,
        Err(410),
        "parts are for what is young"
    );
    assert_eq!(file(late, &format!("video-{}.m4s", oldest - 90)).await, Err(410));
    numbers
}

/// Waits for the end of the stream, and plays all of it that can be played.
async fn plays_to_the_end(node: &Node, mut publisher: Process, clip: &Path) {
    assert!(
        publisher.wait(LONG).await.unwrap().success(),
        "{}",
        publisher.log_tail()
    );
    let url = node.http_url("/live/cam/plain.m3u8");
    let ended = || async {
        let answer = http::get(&node.http_url("/live/cam/plain-video.m3u8")).await;
        let text = answer.map_err(|error| error.to_string())?.text();
        if text.contains("#EXT-X-ENDLIST") {
            Ok(())
        } else {
            Err(text)
        }
    };
    wait_until(SOON, "the playlist has ended", ended).await.unwrap();
    let played = Ffmpeg::System.frames(&url, LONG).await.unwrap();
    let source = Ffmpeg::System.frames(clip.to_str().unwrap(), LONG).await.unwrap();
    let missing = played.are_the_end_of(&source).unwrap();
    println!("of {CLIP} s, frames that had left the window: {missing:?}");
    let first = missing[0] as f64 / 25.0;
    assert!(
        (4.0..=f64::from(CLIP) - 19.0).contains(&first),
        "the last 20 s are there, and no more: from {first} s on"
    );
}

/// Half of the parts are listed within so many milliseconds of their last frame's being taken in.
async fn part_latency(node: &Node) -> i64 {
    let (mut query, mut latencies) = (String::new(), Vec::new());
    while latencies.len() < 16 {
        let url = node.http_url(&format!("/live/cam/video.m3u8{query}"));
        let text = http::get(&url).await.unwrap().text();
        let now = jiff::Timestamp::now().as_millisecond();
        let (_, newest) = text.rsplit_once("#EXT-X-PROGRAM-DATE-TIME:").unwrap();
        let begun: jiff::Timestamp = newest.lines().next().unwrap().parse().unwrap();
        let parts = newest
            .lines()
            .filter_map(|line| line.strip_prefix("#EXT-X-PART:DURATION="));
        let seconds = parts.filter_map(|rest| rest.split(',').next()?.parse::<f64>().ok());
        let end = begun.as_millisecond() + (seconds.sum::<f64>() * 1_000.0) as i64;
        if !query.is_empty() {
            latencies.push(now - end);
        }
        let (_, hint) = text.rsplit_once("PRELOAD-HINT:TYPE=PART,URI=\"video-").unwrap();
        let (next, _) = hint.split_once(".m4s").unwrap();
        let (number, part) = next.split_once('.').unwrap();
        query = format!("?_HLS_msn={number}&_HLS_part={part}");
    }
    latencies.sort_unstable();
    latencies[latencies.len() / 2]
}

#[tokio::test]
async fn the_first_viewer_has_all_of_the_past_and_plays_it_frame_by_frame() {
    let folder = TempDir::new().unwrap();
    let clip = clip(folder.path()).await;
    let origin = Node::start(Role::Origin, &SHORT).await.unwrap();
    let plain = Node::start(Role::Origin, &SHORT[..4]).await.unwrap();
    let publisher = Ffmpeg::System.publish(&clip, &origin.rtmp_url("cam"), 0).unwrap();
    let _other = Ffmpeg::System.publish(&clip, &plain.rtmp_url("cam"), 0).unwrap();
    has_run(&origin, 21).await;
    assert!(
        metric(&origin, MEMORY).await > 100_000.0,
        "nobody asked, and it is packaged"
    );

    let late = edge(&origin).await;
    the_oldest_is_the_same_on(&late, &origin).await;
    let (with, without) = tokio::join!(part_latency(&origin), part_latency(&plain));
    println!("half of the parts come within {with} ms with a past, {without} ms without");
    assert!(with <= without + 150, "{with} ms against {without} ms");
    let held = metric(&late, MEMORY).await;
    assert!(
        (1_000.0..200_000.0).contains(&held),
        "an edge holds what was asked for: {held}"
    );
    plays_to_the_end(&late, publisher, &clip).await;
}

#[tokio::test]
async fn files_hold_the_past_until_they_can_not_be_written() {
    let folder = TempDir::new().unwrap();
    let clip = clip(folder.path()).await;
    let files = folder.path().join("dvr");
    let mut flags = SHORT.to_vec();
    flags.extend(["--dvr-dir", files.to_str().unwrap()]);
    let origin = Node::start(Role::Origin, &flags).await.unwrap();
    let publisher = Ffmpeg::System.publish(&clip, &origin.rtmp_url("cam"), 0).unwrap();
    has_run(&origin, 21).await;
    assert!(metric(&origin, DISK).await > 100_000.0);
    let late = edge(&origin).await;
    let numbers = the_oldest_is_the_same_on(&late, &origin).await;
    let stream = files.join("headwater-dvr/cam");
    let count = std::fs::read_dir(&stream).unwrap().count();
    println!("{} segments are listed, {count} files", numbers.len());
    assert!(
        (2 * (numbers.len() - 11)..=2 * (numbers.len() + 2)).contains(&count),
        "video and audio of what is old"
    );

    // From now on nothing can be written: what is old from here on is in memory, and the live edge goes on.
    std::fs::rename(&stream, folder.path().join("away")).unwrap();
    std::fs::write(&stream, b"no folder").unwrap();
    let failed = || async {
        let failures = metric(&origin, "headwater_node_dvr_write_failures_total").await;
        if failures > 0.0 { Ok(()) } else { Err(failures) }
    };
    wait_until(SOON, "a write has failed", failed).await.unwrap();
    let (before, _) = listed(&origin, "plain-video.m3u8").await.unwrap();
    let goes_on = || async {
        let (now, _) = listed(&origin, "plain-video.m3u8").await?;
        if now.last() > before.last() {
            Ok(())
        } else {
            Err(format!("{now:?}"))
        }
    };
    wait_until(SOON, "the live edge goes on", goes_on).await.unwrap();
    std::fs::remove_file(&stream).unwrap();
    std::fs::rename(folder.path().join("away"), &stream).unwrap();
    plays_to_the_end(&late, publisher, &clip).await;
}

#[tokio::test]
async fn memory_that_is_full_makes_the_window_shorter_on_every_node() {
    let mut flags = SHORT.to_vec();
    flags.extend(["--dvr-memory", "300KiB"]);
    let origin = Node::start(Role::Origin, &flags).await.unwrap();
    let _publication = crate::publish_sample(&origin, "cam").await;
    let edge = edge(&origin).await;
    let before = reaches(&edge, 6.0).await;
    let shed = || async {
        let shed = metric(&origin, "headwater_node_dvr_shed_segments_total").await;
        if shed > 3.0 { Ok(()) } else { Err(shed) }
    };
    wait_until(LONG, "old segments had to go", shed).await.unwrap();
    let held = metric(&origin, MEMORY).await;
    assert!(
        held <= 1.5 * 300.0 * 1_024.0,
        "{held} bytes: within the bound and a second's media"
    );
    let (_, lasts) = listed(&origin, "plain-video.m3u8").await.unwrap();
    assert!((7.0..18.0).contains(&lasts), "{lasts} s are listed instead of 20");

    let follows = || async {
        let (theirs, _) = listed(&origin, "plain-video.m3u8").await?;
        let (ours, _) = listed(&edge, "plain-video.m3u8").await?;
        match ours[0] > before[0] && ours[0].abs_diff(theirs[0]) <= 6 {
            true => Ok(ours),
            false => Err(format!("{ours:?} against {theirs:?}")),
        }
    };
    let numbers = wait_until(LONG, "the edge lists what its upstream does", follows)
        .await
        .unwrap();
    println!("{} segments are listed by the edge", numbers.len());
}
