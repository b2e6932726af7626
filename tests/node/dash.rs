//! MPEG-DASH of nodes: the manifest is the same everywhere and names what HLS names, a segment comes while it is made, and what
//! can't be completed does not look whole.

use std::net::SocketAddr;
use std::time::Duration;

use e2e::dash::{self, Manifest};
use e2e::harness::media::Ffmpeg;
use e2e::harness::{Node, fixture, http, wait_until};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::{LONG, SOON, publish_sample};

async fn text(node: &Node, path: &str) -> String {
    http::get(&node.http_url(path)).await.unwrap().text()
}

/// The manifest, once it is as `enough` says.
async fn manifest(node: &Node, what: &str, enough: impl Fn(&Manifest) -> bool) -> Manifest {
    wait_until(LONG, what, || async {
        let text = text(node, "/live/show.mpd").await;
        dash::parse(&text).ok().filter(|manifest| enough(manifest)).ok_or(text)
    })
    .await
    .unwrap()
}

fn segments(manifest: &Manifest) -> usize {
    let periods = manifest.periods.iter();
    periods.map(|period| period.representations[0].spans.len()).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_manifest_is_the_same_everywhere_and_names_the_segments_of_hls() {
    let origin = Node::origin().await.unwrap();
    let _publication = publish_sample(&origin, "show").await;
    let (first, late) = (Node::edge(&origin).await.unwrap(), Node::edge(&origin).await.unwrap());
    let leaf = Node::edge(&first).await.unwrap();
    first
        .pull_knowing(origin.rtmp, Some(origin.http), &["show"])
        .await
        .unwrap();
    first.playable("show", SOON).await.unwrap();
    leaf.pull_knowing(first.rtmp, Some(first.http), &["show"])
        .await
        .unwrap();
    manifest(&first, "four segments", |manifest| segments(manifest) >= 4).await;
    late.pull_knowing(origin.rtmp, Some(origin.http), &["show"])
        .await
        .unwrap();
    let nodes = [&origin, &first, &late, &leaf];
    for node in nodes {
        node.playable("show", SOON).await.unwrap();
        manifest(node, "a manifest", |manifest| segments(manifest) >= 4).await;
    }
    let same = wait_until(LONG, "one manifest", || async {
        let mut texts = Vec::new();
        for node in nodes {
            texts.push((
                text(node, "/live/show.mpd").await,
                text(node, "/live/show/plain.mpd").await,
            ));
        }
        match texts.windows(2).all(|pair| pair[0] == pair[1]) {
            true => Ok(texts.remove(0)),
            false => Err(format!("{texts:#?}")),
        }
    })
    .await
    .unwrap();
    let low = dash::parse(&same.0).unwrap();
    assert_eq!((low.kind.as_str(), low.periods.len()), ("dynamic", 1), "{}", same.0);
    let plain = dash::parse(&same.1).unwrap();
    let playlists = [
        text(&origin, "/live/show/plain-video.m3u8").await,
        text(&origin, "/live/show/plain-audio.m3u8").await,
    ];
    let (low, plain) = (&low.periods[0].representations, &plain.periods[0].representations);
    assert_eq!((low.len(), plain.len()), (2, 2), "pictures and sound");
    for (low, plain) in low.iter().zip(plain) {
        assert_eq!((&low.spans, low.numbers()), (&plain.spans, plain.numbers()));
        assert!(low.expected.is_some() && plain.expected.is_none());
        assert_eq!(low.url(7), format!("show/{}", plain.url(7)));
        let end = low.spans.last().unwrap();
        assert_eq!(
            low.expected.unwrap().0,
            end.0 + end.1,
            "it begins where the last one ends"
        );
        let named = low.numbers().filter(|number| {
            let name = plain.url(*number);
            playlists
                .iter()
                .any(|playlist| playlist.lines().any(|line| line == name))
        });
        assert!(
            named.count() + 1 >= low.spans.len(),
            "all but one that has left: {playlists:?}"
        );
        let urls = low.numbers().map(|number| low.url(number)).chain([low.init.clone()]);
        for url in urls {
            let path = format!("/live/{url}");
            let wanted = http::get(&origin.http_url(&path)).await.unwrap();
            assert_eq!(wanted.status, 200, "{path}");
            for node in nodes {
                let answer = http::get(&node.http_url(&path)).await.unwrap();
                assert!(answer.body == wanted.body, "{path} differs");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_publisher_that_returns_is_a_new_period_and_a_stream_that_ended_is_static() {
    let origin = Node::origin().await.unwrap();
    let edge = Node::edge(&origin).await.unwrap();
    edge.pull_knowing(origin.rtmp, Some(origin.http), &["show"])
        .await
        .unwrap();
    let publication = publish_sample(&origin, "show").await;
    edge.playable("show", SOON).await.unwrap();
    let before = manifest(&edge, "two segments", |manifest| segments(manifest) >= 2).await;
    publication.abort().await;
    let publication = publish_sample(&origin, "show").await;
    let after = manifest(&edge, "a new period", |manifest| manifest.periods.len() == 2).await;
    let (old, new) = (&after.periods[0], &after.periods[1]);
    assert_eq!((&old.id, &old.start), (&before.periods[0].id, &before.periods[0].start));
    assert_ne!(old.id, new.id);
    for period in [old, new] {
        assert_eq!(period.representations.len(), 2, "pictures and sound: {after:#?}");
    }
    for (old, new) in old.representations.iter().zip(&new.representations) {
        // A publisher that breaks off, or begins, may leave one of both without anything in a segment.
        assert!(
            (0..=1).contains(&(new.first - old.numbers().end)),
            "numbers go on: {after:#?}"
        );
        assert!(new.offset > old.offset && old.expected.is_none() && new.expected.is_some());
    }
    publication.stop().await;
    let ended = manifest(&edge, "the end", |manifest| manifest.kind == "static").await;
    for representation in ended.periods.iter().flat_map(|period| &period.representations) {
        assert!(representation.expected.is_none());
        for number in representation.numbers() {
            let url = edge.http_url(&format!("/live/{}", representation.url(number)));
            assert_eq!(http::get(&url).await.unwrap().status, 200, "{url}");
        }
    }
}

/// Frames before the first key frame of both tracks, of sound for a second.
const MOST_MISSING: usize = 50;

/// Of a live stream whose numbers do not begin with 1, ffmpeg's demuxer loses count when it reads the manifest again.
#[tokio::test(flavor = "multi_thread")]
async fn ffmpeg_plays_what_has_ended_frame_by_frame() {
    let origin = Node::origin().await.unwrap();
    let edge = Node::edge(&origin).await.unwrap();
    edge.pull_knowing(origin.rtmp, Some(origin.http), &["show"])
        .await
        .unwrap();
    let file = fixture("gops-aac.flv").unwrap();
    let source = Ffmpeg::System.frames(file.to_str().unwrap(), LONG).await.unwrap();
    let mut publisher = Ffmpeg::System.publish(&file, &origin.rtmp_url("show"), 0).unwrap();
    edge.playable("show", SOON).await.unwrap();
    manifest(&edge, "a segment", |manifest| segments(manifest) > 0).await;
    assert!(
        publisher.wait(LONG).await.unwrap().success(),
        "{}",
        publisher.log_tail()
    );
    manifest(&edge, "the end", |manifest| manifest.kind == "static").await;
    let url = edge.http_url("/live/show/plain.mpd");
    let came = Ffmpeg::System.frames(&url, LONG).await.unwrap();
    let missing = came.are_the_end_of(&source).unwrap();
    println!("ffmpeg: all but the first {missing:?} frames");
    assert!(
        missing.iter().all(|frames| *frames <= MOST_MISSING),
        "the first {missing:?} frames are missing"
    );
}

/// What caches and players count on, as for playlists of HLS.
#[tokio::test(flavor = "multi_thread")]
async fn manifests_are_answered_as_playlists_are() {
    let origin = Node::origin().await.unwrap();
    let _publication = publish_sample(&origin, "show").await;
    manifest(&origin, "a segment", |manifest| segments(manifest) > 0).await;
    for path in ["/live/show.mpd", "/live/show/plain.mpd"] {
        let text = text(&origin, path).await;
        let ask = |method: &str, headers: &str| {
            let request = format!("{method} {path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n{headers}\r\n");
            Taking::asking(origin.http, request)
        };
        let mut plain = ask("GET", "").await;
        plain.closed().await;
        let (head, _) = plain.parts().unwrap();
        for line in [
            "200 ok",
            "content-type: application/dash+xml",
            "cache-control: max-age=1",
            "vary: accept-encoding",
            "access-control-allow-origin: *",
        ] {
            assert!(head.contains(line), "{line} in {head}");
        }
        let mut gzip = ask("GET", "accept-encoding: gzip\r\n").await;
        gzip.closed().await;
        let (head, body) = gzip.parts().unwrap();
        assert!(
            head.contains("content-encoding: gzip") && body.len() < text.len() / 2,
            "{head}"
        );
        let mut empty = ask("HEAD", "").await;
        empty.closed().await;
        let (head, body) = empty.parts().unwrap();
        assert!(head.contains("content-length: ") && body.is_empty(), "{head}");
        // The state that a tag names may be gone by the time that it is asked for again.
        wait_until(LONG, "not modified", || async {
            let mut first = ask("GET", "").await;
            first.closed().await;
            let head = first.parts().unwrap().0;
            let tag = String::from_utf8_lossy(&first.got)
                .lines()
                .find_map(|line| line.strip_prefix("etag: ").map(str::to_owned));
            let mut again = ask("GET", &format!("if-none-match: {}\r\n", tag.unwrap_or_default())).await;
            again.closed().await;
            let (status, body) = again.parts().unwrap();
            if status.starts_with("http/1.1 304") && body.is_empty() {
                Ok(())
            } else {
                Err(head)
            }
        })
        .await
        .unwrap();
    }
    let missing = http::get(&origin.http_url("/live/none.mpd")).await.unwrap();
    assert_eq!(missing.status, 404, "{}", missing.text());
    let old = http::get(&origin.http_url("/live/show/video-7.m4s")).await.unwrap();
    assert_eq!(old.status, 410, "{}", old.text());
    let time = text(&origin, "/api/time").await;
    let off = jiff::Timestamp::now().as_millisecond() - time.parse::<jiff::Timestamp>().unwrap().as_millisecond();
    assert!((0..5_000).contains(&off), "{time}");
}

/// A connection that asks for a segment: what has come of the answer.
struct Taking {
    socket: TcpStream,
    got: Vec<u8>,
}

impl Taking {
    async fn of(server: SocketAddr, path: &str, version: &str) -> Self {
        Self::asking(server, format!("GET {path} HTTP/{version}\r\nhost: test\r\n\r\n")).await
    }

    async fn asking(server: SocketAddr, request: String) -> Self {
        let mut socket = TcpStream::connect(server).await.unwrap();
        socket.write_all(request.as_bytes()).await.unwrap();
        Self {
            socket,
            got: Vec::new(),
        }
    }

    /// Head and body so far.
    fn parts(&self) -> Option<(String, &[u8])> {
        let end = self.got.windows(4).position(|four| four == b"\r\n\r\n")?;
        Some((
            String::from_utf8_lossy(&self.got[..end]).to_lowercase(),
            &self.got[end + 4..],
        ))
    }

    async fn until(&mut self, enough: impl Fn(&str, &[u8]) -> bool) {
        let reading = async {
            while !self.parts().is_some_and(|(head, body)| enough(&head, body)) {
                assert!(
                    self.socket.read_buf(&mut self.got).await.unwrap() > 0,
                    "it broke off: {:?}",
                    self.parts()
                );
            }
        };
        timeout(LONG, reading).await.expect("it goes on");
    }

    /// Reads until the other side has closed the connection.
    async fn closed(&mut self) {
        let reading = async { while matches!(self.socket.read_buf(&mut self.got).await, Ok(more) if more > 0) {} };
        timeout(LONG, reading).await.expect("it is closed");
    }
}

const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

/// RFC 9112 §7.1.
fn dechunked(mut body: &[u8]) -> (Vec<u8>, usize) {
    let (mut whole, mut chunks) = (Vec::new(), 0);
    while let Some(line) = body.windows(2).position(|two| two == b"\r\n") {
        let size = usize::from_str_radix(std::str::from_utf8(&body[..line]).unwrap(), 16).unwrap();
        if size == 0 {
            break;
        }
        whole.extend_from_slice(&body[line + 2..line + 2 + size]);
        body = &body[line + 2 + size + 2..];
        chunks += 1;
    }
    (whole, chunks)
}

/// The URL of the segment that is being made, or made next.
async fn growing(node: &Node) -> String {
    let manifest = manifest(node, "two segments", |manifest| segments(manifest) >= 2).await;
    let video = &manifest.periods.last().unwrap().representations[0];
    format!("/live/{}", video.url(video.numbers().end))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_segment_comes_part_by_part_while_it_is_made_with_the_bytes_that_it_will_have() {
    let origin = Node::origin().await.unwrap();
    let edge = Node::edge(&origin).await.unwrap();
    edge.pull_knowing(origin.rtmp, Some(origin.http), &["show"])
        .await
        .unwrap();
    let _publication = publish_sample(&origin, "show").await;
    edge.playable("show", SOON).await.unwrap();
    // Whether the last one listed is complete by the time that it is asked for is a matter of luck, if of good luck.
    let mut seen = 0;
    for _ in 0..5 {
        let path = growing(&edge).await;
        let mut taking = Taking::of(edge.http, &path, "1.1").await;
        taking.until(|_, body| !body.is_empty()).await;
        let (head, _) = taking.parts().unwrap();
        if !head.contains("transfer-encoding: chunked") {
            continue;
        }
        assert!(head.contains("cache-control: public, max-age=30"), "{head}");
        assert!(!head.contains("etag") && !head.contains("content-length"), "{head}");
        assert!(head.contains("access-control-allow-origin: *"), "{head}");
        taking.until(|_, body| body.ends_with(LAST_CHUNK)).await;
        let (bytes, chunks) = dechunked(taking.parts().unwrap().1);
        for node in [&edge, &origin] {
            let whole = http::get(&node.http_url(&path)).await.unwrap();
            assert!(whole.body == bytes, "{} of {} bytes", bytes.len(), whole.body.len());
        }
        seen = seen.max(chunks);
        if seen >= 3 {
            break;
        }
    }
    assert!(seen >= 3, "at most {seen} pieces at once");
    // Who can't tell an end from a break gets it when it is complete.
    let path = growing(&edge).await;
    let mut taking = Taking::of(edge.http, &path, "1.0").await;
    taking.closed().await;
    let (head, body) = taking.parts().unwrap();
    assert!(
        head.contains(&format!("content-length: {}", body.len())) && head.contains("immutable"),
        "{head}"
    );
}

/// The origin dies while an edge makes a segment: what was sent of it must not be taken for all of it.
#[tokio::test(flavor = "multi_thread")]
async fn a_segment_that_is_never_completed_breaks_off() {
    let mut origin = Node::origin().await.unwrap();
    let edge = Node::edge(&origin).await.unwrap();
    edge.pull_knowing(origin.rtmp, Some(origin.http), &["show"])
        .await
        .unwrap();
    let _publication = publish_sample(&origin, "show").await;
    edge.playable("show", SOON).await.unwrap();
    let path = growing(&edge).await;
    // The one after the next, which is not begun: it is there as soon as it has begun.
    let number: u64 = path.split(['-', '.']).nth(1).unwrap().parse().unwrap();
    let path = path.replace(&number.to_string(), &(number + 1).to_string());
    let mut taking = Taking::of(edge.http, &path, "1.1").await;
    taking.until(|_, body| !body.is_empty()).await;
    origin.kill().await.unwrap();
    taking.closed().await;
    let (head, body) = taking.parts().unwrap();
    assert!(head.contains("transfer-encoding: chunked"), "{head}");
    assert!(!body.ends_with(LAST_CHUNK), "it ended as if it were whole");
    let answer = timeout(Duration::from_secs(20), http::get(&edge.http_url("/live/show.mpd")))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(answer.status, 200, "what is complete is still there");
}
