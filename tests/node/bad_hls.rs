//! Requests for HLS that are wrong, too early, too late, or too many: bounded, answered, nobody else the worse for it.

use std::time::{Duration, Instant};

use ::http::Method;
use e2e::harness::{Node, http};
use futures_util::future::join_all;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::publish_sample;

/// Requests that wait at once, of one client.
const CROWD: usize = 2_000;
/// For a crowd to be answered, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

async fn playlist(node: &Node, query: &str) -> http::Answer {
    http::get(&node.http_url(&format!("/live/a/video.m3u8{query}")))
        .await
        .unwrap()
}

/// Number of the newest whole segment in a playlist.
fn newest(playlist: &str) -> u64 {
    let names = playlist.lines().filter(|line| !line.starts_with('#'));
    let number = |name: &str| name.strip_prefix("video-")?.strip_suffix(".m4s")?.parse().ok();
    names.filter_map(number).next_back().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_directives_and_numbers_out_of_the_window_are_refused_with_what_is_allowed() {
    let node = Node::origin().await.unwrap();
    let _publication = publish_sample(&node, "a").await;
    let text = playlist(&node, "").await.text();
    let (number, huge) = (newest(&text), u64::MAX);
    for (path, status, said) in [
        (format!("video.m3u8?_HLS_msn={huge}"), 400, "_HLS_msn must be at most"),
        (
            format!("video.m3u8?_HLS_msn={}", number + 100),
            400,
            "_HLS_msn must be at most",
        ),
        (
            "video.m3u8?_HLS_msn=99999999999999999999999".into(),
            400,
            "must be a whole number",
        ),
        ("video.m3u8?_HLS_msn=-1".into(), 400, "must be a whole number"),
        ("video.m3u8?_HLS_part=3".into(), 400, "_HLS_msn"),
        (format!("video.m3u8?_HLS_msn={number}&_HLS_skip=maybe"), 400, "YES"),
        (format!("video-{}.m4s", number - 1_000), 410, "has left the window"),
        ("video-1.m4s".into(), 410, "has left the window"),
        (format!("video-{}.m4s", number + 1_000), 404, "not yet"),
        (format!("video-{number}.99.m4s"), 404, "not yet"),
        (format!("video-{huge}.{huge}.m4s"), 404, "not yet"),
        ("video-init-1-1.mp4".into(), 410, "has left the window"),
        (format!("video-init-{huge}-1.mp4"), 404, "not yet"),
        ("subtitles.m3u8".into(), 404, "video.m3u8"),
        ("../../etc/passwd".into(), 404, ""),
    ] {
        let answer = http::get(&node.http_url(&format!("/live/a/{path}"))).await.unwrap();
        let text = answer.text();
        assert_eq!(answer.status, status, "{path}: {text}");
        assert!(text.contains(said), "{path}: {text}");
        assert_eq!(answer.headers["access-control-allow-origin"], "*", "{path}");
    }
    let old = playlist(&node, "?_HLS_msn=0&_HLS_part=0").await;
    assert_eq!(old.status, 200, "what is asked for is there, and more");
    let url = node.http_url("/live/a.m3u8");
    let post = http::send(Method::POST, &url, None, Some(b"x".to_vec())).await;
    assert_eq!(post.unwrap().status, 405);
    let unknown = http::get(&node.http_url("/live/nothing.m3u8")).await.unwrap();
    assert_eq!(
        (unknown.status.as_u16(), unknown.text().as_str()),
        (404, "no stream live/nothing here\n")
    );
}

/// Sends a request on a connection of its own and leaves the answer to be read.
async fn ask(node: &Node, path: &str) -> TcpStream {
    let mut stream = TcpStream::connect(node.http).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: edge\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    stream
}

async fn answer(mut stream: TcpStream) -> String {
    let mut text = String::new();
    tokio::time::timeout(PATIENCE, stream.read_to_string(&mut text))
        .await
        .expect("an answer")
        .unwrap();
    text
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crowd_of_blocked_requests_is_answered_with_what_comes_and_with_the_end() {
    let node = Node::origin().await.unwrap();
    let publication = publish_sample(&node, "a").await;
    let number = newest(&playlist(&node, "").await.text());
    // Two segments ahead: 2 to 3 s from now.
    let path = format!("/live/a/video.m3u8?_HLS_msn={}", number + 2);
    let crowd = join_all((0..CROWD).map(|_| ask(&node, &path))).await;
    let begun = Instant::now();
    let beside = playlist(&node, &format!("?_HLS_msn={}", number + 1)).await;
    assert_eq!(beside.status, 200, "one beside the crowd is served");
    let answers = join_all(crowd.into_iter().map(answer)).await;
    let wanted = format!("\nvideo-{}.m4s\n", number + 2);
    let served = answers
        .iter()
        .filter(|text| text.starts_with("HTTP/1.1 200") && text.contains(&wanted));
    assert_eq!(served.count(), CROWD);
    println!(
        "{CROWD} blocked requests answered within {:.1} s",
        begun.elapsed().as_secs_f64()
    );

    // The stream ends while they wait; on a busy machine some may have been answered before.
    let number = newest(&playlist(&node, "").await.text());
    let path = format!("/live/a/video.m3u8?_HLS_msn={}", number + 2);
    let crowd = join_all((0..CROWD / 4).map(|_| ask(&node, &path))).await;
    publication.stop().await;
    let answers = join_all(crowd.into_iter().map(answer)).await;
    let wanted = format!("\nvideo-{}.m4s\n", number + 2);
    let (ended, other): (Vec<_>, Vec<_>) = answers.iter().partition(|text| text.ends_with("#EXT-X-ENDLIST\n"));
    assert!(!ended.is_empty());
    let wrong = other.iter().find(|text| !text.contains(&wanted));
    assert_eq!(wrong, None);
    assert!(answers.iter().all(|text| text.starts_with("HTTP/1.1 200")));
    let metric = node.metric("headwater_node_streams").await.unwrap();
    assert_eq!(metric, Some(0.0), "and the node lives");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_is_answered_by_head_by_range_and_by_what_one_has() {
    let node = Node::origin().await.unwrap();
    let _publication = publish_sample(&node, "a").await;
    let number = newest(&playlist(&node, "").await.text());
    let url = node.http_url(&format!("/live/a/video-{number}.m4s"));
    let whole = http::get(&url).await.unwrap();
    assert_eq!(whole.status, 200);
    assert!(whole.headers["cache-control"].to_str().unwrap().contains("immutable"));
    let head = http::send(Method::HEAD, &url, None, None).await.unwrap();
    assert_eq!((head.status.as_u16(), head.body.len()), (200, 0));
    assert_eq!(head.headers["content-length"], whole.headers["content-length"]);
    assert_eq!(head.headers["etag"], whole.headers["etag"]);
}
