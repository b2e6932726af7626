//! Groups: streams that are one another's qualities, listed as one by an origin and by edges, one below the other.

use std::collections::BTreeMap;
use std::time::Duration;

use e2e::bench::publish;
use e2e::dash;
use e2e::harness::media::Ffmpeg;
use e2e::harness::process::{Process, Signal};
use e2e::harness::{Node, fixture, http as web, wait_until};
use e2e::hls::client::{self, Options};
use e2e::hls::playlist::{Playlist, parse};
use e2e::hls::rule::Rule;
use headwater_contract::Role;
use http::Method;
use serde_json::{Value, json};

use crate::{LONG, publish_sample};

const PATTERN: &str = "{group}_{variant}";
/// Two pictures of the same source, with the same sound and a key frame each second.
const QUALITIES: [(&str, &str); 2] = [("h264-aac.flv", "show_360"), ("h264-small-aac.flv", "show_180")];

/// An edge that knows nothing but what it is asked for.
async fn edge_of(upstream: &Node) -> Node {
    let (rtmp, http) = (
        format!("rtmp://{}/live", upstream.rtmp),
        format!("http://{}", upstream.http),
    );
    let flags = ["--upstream", &rtmp, "--upstream-http", &http, "--ready-wait", "1s"];
    Node::start(Role::Edge, &flags).await.unwrap()
}

/// One process that publishes all of them, as an encoder does.
fn encode(origin: &Node, qualities: &[(&str, &str)]) -> Process {
    let mut args: Vec<String> = Vec::new();
    for (file, _) in qualities {
        let file = fixture(file).unwrap().display().to_string();
        args.extend(["-re", "-stream_loop", "-1", "-i"].map(str::to_owned));
        args.push(file);
    }
    for (at, (_, name)) in qualities.iter().enumerate() {
        let (input, url) = (at.to_string(), origin.rtmp_url(name));
        args.extend(["-map", &input, "-c", "copy", "-f", "flv", &url].map(str::to_owned));
    }
    Ffmpeg::System
        .start(&args.iter().map(String::as_str).collect::<Vec<_>>())
        .unwrap()
}

/// The variants of a multivariant playlist, in its order, with their heights.
async fn variants(node: &Node, path: &str) -> Result<Vec<(String, u64)>, String> {
    let answer = web::get(&node.http_url(path))
        .await
        .map_err(|error| format!("{error:#}"))?;
    if answer.status != 200 {
        return Err(format!("{} {}", answer.status, answer.text()));
    }
    match parse(&answer.text()) {
        Ok(Playlist::Multivariant(playlist)) => Ok(playlist
            .variants
            .iter()
            .map(|variant| (variant.uri.clone(), variant.resolution.map_or(0, |(_, height)| height)))
            .collect()),
        other => Err(format!("{other:?}")),
    }
}

/// Waits until a node lists these streams as the group `show`, in this order.
async fn lists(node: &Node, members: &[&str]) {
    let wanted: Vec<String> = members.iter().map(|name| format!("{name}/video.m3u8")).collect();
    wait_until(LONG, "the group is listed", || async {
        let found = variants(node, "/live/show.m3u8").await?;
        let uris: Vec<&String> = found.iter().map(|(uri, _)| uri).collect();
        if uris == wanted.iter().collect::<Vec<_>>() {
            Ok(())
        } else {
            Err(format!("{found:?}"))
        }
    })
    .await
    .unwrap();
}

/// What a media playlist says of each of its segments: discontinuity sequence number, date, duration, and where its media begin.
type Segments = BTreeMap<u64, (u64, String, String, u64)>;

async fn segments(node: &Node, stream: &str, rendition: &str) -> Result<Segments, String> {
    let folder = node.http_url(&format!("/live/{stream}/"));
    let get = |name: String| async move { web::get(&name).await.map_err(|error| format!("{error:#}")) };
    let answer = get(format!("{folder}plain-{rendition}.m3u8")).await?;
    if answer.status != 200 {
        return Err(format!("{} {}", answer.status, answer.text()));
    }
    let (mut found, mut discontinuity) = (Segments::new(), 0);
    let (mut date, mut duration) = (String::new(), String::new());
    for line in answer.text().lines() {
        if let Some(number) = line.strip_prefix("#EXT-X-DISCONTINUITY-SEQUENCE:") {
            discontinuity = number.parse().map_err(|_| line.to_owned())?;
        } else if line == "#EXT-X-DISCONTINUITY" {
            discontinuity += 1;
        } else if let Some(text) = line.strip_prefix("#EXT-X-PROGRAM-DATE-TIME:") {
            date = text.to_owned();
        } else if let Some(text) = line.strip_prefix("#EXTINF:") {
            duration = text.to_owned();
        } else if let Some(number) = line
            .strip_suffix(".m4s")
            .and_then(|name| name.rsplit_once('-')?.1.parse().ok())
        {
            let file = get(format!("{folder}{line}")).await?;
            let at = file.body.windows(4).position(|four| four == b"tfdt").ok_or("no tfdt")? + 8;
            let time = file.body.get(at..at + 8).ok_or("a short tfdt")?;
            let time = u64::from_be_bytes(time.try_into().map_err(|_| "a short tfdt")?);
            found.insert(number, (discontinuity, date.clone(), duration.clone(), time));
        }
    }
    Ok(found)
}

/// Waits until both qualities have `least` segments in common at a node, of which `enough` holds and which are all the same in both;
/// says those of the best.
async fn agree(node: &Node, least: usize, enough: impl Fn(&Segments) -> bool) -> Segments {
    wait_until(LONG, "the qualities agree", || async {
        for rendition in ["video", "audio"] {
            let (best, other) = (
                segments(node, "show_360", rendition).await?,
                segments(node, "show_180", rendition).await?,
            );
            let differs = best
                .iter()
                .find(|(number, said)| other.get(number).is_some_and(|other| other != *said));
            if let Some((number, said)) = differs {
                return Err(format!("{rendition} {number}: {said:?} but {:?}", other[number]));
            }
            let in_common = best.iter().filter(|(number, _)| other.contains_key(number));
            let common: Segments = in_common.map(|(number, said)| (*number, said.clone())).collect();
            if common.len() < least || !enough(&common) {
                return Err(format!("{rendition}: {} in common, {best:?}, {other:?}", common.len()));
            }
        }
        segments(node, "show_360", "video").await
    })
    .await
    .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_origin_and_edges_one_below_the_other_list_the_same_qualities_with_matching_times_and_numbers() {
    let origin = Node::start(Role::Origin, &["--group", PATTERN]).await.unwrap();
    let edge = edge_of(&origin).await;
    let below = edge_of(&edge).await;
    let _qualities = encode(&origin, &QUALITIES);
    let _other = publish_sample(&origin, "news_360").await;
    for (_, name) in QUALITIES {
        origin.playable(name, LONG).await.unwrap();
    }
    // Nobody has asked the edges for any of them so far.
    for node in [&below, &edge, &origin] {
        lists(node, &["show_360", "show_180"]).await;
        let heights = variants(node, "/live/show.m3u8").await.unwrap();
        assert_eq!(
            heights.iter().map(|(_, height)| *height).collect::<Vec<_>>(),
            [360, 180]
        );
        let plain = variants(node, "/live/show/plain.m3u8").await.unwrap();
        let uris: Vec<&str> = plain.iter().map(|(uri, _)| uri.as_str()).collect();
        assert_eq!(uris, ["../show_360/plain-video.m3u8", "../show_180/plain-video.m3u8"]);
    }
    for node in [&origin, &below] {
        agree(node, 4, |_| true).await;
    }
    let listed: Value = serde_json::from_str(&web::get(&below.http_url("/api/streams")).await.unwrap().text()).unwrap();
    let group = |name: &str| {
        let streams = listed["streams"].as_array().unwrap();
        streams
            .iter()
            .find(|stream| stream["name"] == name)
            .map(|stream| stream["group"].clone())
    };
    assert_eq!(group("show_180"), Some(json!("show")));
    let members = web::get(&below.http_url("/live/show_180/group.json")).await.unwrap();
    let members: Value = serde_json::from_str(&members.text()).unwrap();
    assert_eq!(members["group"], "show");
    assert_eq!(members["members"][0]["name"], "show_360");
    assert_eq!(members["members"][0]["height"], 360);
    // A group of none, and a stream of none.
    assert_eq!(
        web::get(&below.http_url("/live/nothing.m3u8")).await.unwrap().status,
        404
    );
    let none = web::get(&below.http_url("/live/nothing/group.json"))
        .await
        .unwrap()
        .text();
    assert_eq!(serde_json::from_str::<Value>(&none).unwrap()["members"], json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quality_that_comes_is_added_and_one_that_ends_leaves() {
    let mut origin = Node::start(Role::Origin, &["--group", PATTERN]).await.unwrap();
    let edge = edge_of(&origin).await;
    let _small = encode(&origin, &QUALITIES[1..]);
    origin.playable("show_180", LONG).await.unwrap();
    lists(&edge, &["show_180"]).await;
    let mut best = encode(&origin, &QUALITIES[..1]);
    lists(&edge, &["show_360", "show_180"]).await;
    lists(&origin, &["show_360", "show_180"]).await;
    best.signal(Signal::Int).await.unwrap();
    best.wait(LONG).await.unwrap();
    for node in [&origin, &edge] {
        lists(node, &["show_180"]).await;
    }
    // A stream that is named as the group is itself.
    let show = publish_sample(&origin, "show").await;
    let own = variants(&origin, "/live/show.m3u8").await.unwrap();
    assert_eq!(
        own.iter().map(|(uri, _)| uri.as_str()).collect::<Vec<_>>(),
        ["show/video.m3u8"]
    );
    // Once it has ended, the group is what lives under its name, though it can still be played back.
    show.stop().await;
    lists(&origin, &["show_180"]).await;
    // An edge that can't ask any more for a stream of that name lists what it has.
    origin.kill().await.unwrap();
    wait_until(LONG, "the edge can't ask", || async {
        match web::get(&edge.http_url("/live/nothing.m3u8"))
            .await
            .map(|answer| answer.status)
        {
            Ok(status) if status == 503 => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await
    .unwrap();
    let kept = variants(&edge, "/live/show.m3u8").await.unwrap();
    assert_eq!(kept.len(), 1, "{kept:?}");
}

/// One manifest of MPEG-DASH: each quality is a Representation over the files that HLS lists, the sound is there once.
#[tokio::test(flavor = "multi_thread")]
async fn a_groups_manifest_offers_all_qualities_and_ends_as_they_do() {
    let origin = Node::start(Role::Origin, &["--group", PATTERN]).await.unwrap();
    let edge = edge_of(&origin).await;
    let mut encoder = encode(&origin, &QUALITIES);
    for (_, name) in QUALITIES {
        origin.playable(name, LONG).await.unwrap();
    }
    for (node, path) in [
        (&origin, "/live/show.mpd"),
        (&edge, "/live/show.mpd"),
        (&edge, "/live/show/plain.mpd"),
    ] {
        let manifest = wait_until(LONG, "both qualities with three segments", || async {
            let text = web::get(&node.http_url(path)).await.unwrap().text();
            let manifest = dash::parse(&text).map_err(|error| format!("{error:#}: {text}"))?;
            let of = &manifest.periods.last().ok_or("no period")?.representations;
            let there = of.len() == 3 && of.iter().all(|one| one.spans.len() >= 3);
            if there { Ok(manifest) } else { Err(text) }
        })
        .await
        .unwrap();
        let of = &manifest.periods[manifest.periods.len() - 1].representations;
        let ids: Vec<&str> = of.iter().map(|one| one.id.trim_start_matches("../")).collect();
        assert_eq!(ids, ["show_360/video", "show_180/video", "show_360/audio"]);
        let (best, small) = (&of[0], &of[1]);
        assert_eq!(best.offset, small.offset, "one line between media time and wall clock");
        let shared = best.spans.iter().filter(|span| small.spans.contains(span)).count();
        assert!(shared >= 2, "segments that begin together: {best:?} {small:?}");
        for one in of {
            for url in [one.init.clone(), one.url(one.numbers().end - 1)] {
                // From beside the group's folder, or from in it.
                let path = format!("/live/{}", url.strip_prefix("../").unwrap_or(&url));
                assert_eq!(web::get(&node.http_url(&path)).await.unwrap().status, 200, "{path}");
            }
        }
    }
    encoder.signal(Signal::Int).await.unwrap();
    encoder.wait(LONG).await.unwrap();
    for node in [&origin, &edge] {
        wait_until(LONG, "the manifest is static", || async {
            let text = web::get(&node.http_url("/live/show.mpd")).await.unwrap().text();
            let manifest = dash::parse(&text).map_err(|error| format!("{error:#}: {text}"))?;
            let whole = manifest
                .periods
                .last()
                .is_some_and(|last| last.representations.len() == 3);
            if manifest.kind == "static" && whole {
                Ok(())
            } else {
                Err(text)
            }
        })
        .await
        .unwrap();
    }
}

/// All break together, and go on together: with one discontinuity, and with times and dates that match again.
#[tokio::test(flavor = "multi_thread")]
async fn an_encoder_that_returns_goes_on_with_qualities_that_match() {
    let origin = Node::start(Role::Origin, &["--group", PATTERN]).await.unwrap();
    let mut encoder = encode(&origin, &QUALITIES);
    for (_, name) in QUALITIES {
        origin.playable(name, LONG).await.unwrap();
    }
    lists(&origin, &["show_360", "show_180"]).await;
    let before = agree(&origin, 3, |_| true).await;
    let (_, (newest, ..)) = before.last_key_value().unwrap();
    encoder.signal(Signal::Kill).await.unwrap();
    encoder.wait(LONG).await.unwrap();
    let _encoder = encode(&origin, &QUALITIES);
    let again = |found: &Segments| {
        found
            .values()
            .filter(|(discontinuity, ..)| discontinuity > newest)
            .count()
            >= 3
    };
    agree(&origin, 6, again).await;
}

/// The control plane says which streams belong together, also while they live.
#[tokio::test(flavor = "multi_thread")]
async fn patterns_that_are_set_while_streams_live_hold_from_their_next_segments_on() {
    let origin = Node::origin().await.unwrap();
    let _qualities = encode(&origin, &QUALITIES);
    for (_, name) in QUALITIES {
        origin.playable(name, LONG).await.unwrap();
    }
    assert_eq!(web::get(&origin.http_url("/live/show.m3u8")).await.unwrap().status, 404);
    let set = |groups: Value| {
        let body = serde_json::to_vec(&json!({ "groups": groups })).unwrap();
        origin.control(Method::PUT, "/v1/publishing", Some(body))
    };
    let refused = set(json!(["{group}"])).await.unwrap();
    assert!(refused.status.is_client_error() && refused.text().contains("is no pattern of a group"));
    assert!(set(json!([PATTERN])).await.unwrap().status.is_success());
    lists(&origin, &["show_360", "show_180"]).await;
    assert!(set(json!([])).await.unwrap().status.is_success());
    wait_until(LONG, "the group is gone", || async {
        match variants(&origin, "/live/show.m3u8").await {
            Err(error) if error.starts_with("404") => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await
    .unwrap();
}

/// The validator of playlists over every quality at once, with each request sent to another node.
#[tokio::test(flavor = "multi_thread")]
async fn all_qualities_at_once_keep_the_rules_at_every_node() {
    let origin = Node::start(Role::Origin, &["--group", PATTERN]).await.unwrap();
    let edge = edge_of(&origin).await;
    // The clips' sound is a little longer than their pictures: at each turn a frame, and so a part, has an odd length.
    let each = QUALITIES.map(|(file, name)| {
        let clip = fixture(file).unwrap();
        publish::start(publish::Options::new(origin.rtmp_url(name), clip)).unwrap()
    });
    for (_, name) in QUALITIES {
        origin.playable(name, LONG).await.unwrap();
    }
    for node in [&origin, &edge] {
        lists(node, &["show_360", "show_180"]).await;
    }
    agree(&origin, 4, |_| true).await;
    let mut options = Options::new([origin.http_url(""), edge.http_url("")], "live/show");
    options.every = true;
    options.limits = options.limits.without(&[Rule::PartMinimum]);
    let client = client::start(options);
    client.playing().await.unwrap();
    client.watch(Duration::from_secs(8)).await;
    let report = client.stop().await.unwrap();
    println!("{report}");
    drop(each);
    report.clean().unwrap();
}
