//! The delivery server as HTTP and WebSocket clients see it.

mod drains;
mod http2;
mod tls;

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use headwater_contract::StreamEnd;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_util::sync::CancellationToken;

use super::*;
use crate::deliver::rig::{Rig, until};
use crate::http_server::Bounds;
use crate::listen;
use crate::package::feed::FeedLimits;
use crate::tls::Certificates;

struct Node {
    rig: Rig,
    addr: std::net::SocketAddr,
}

fn bounds() -> Bounds {
    Bounds {
        connections: 100,
        head: Duration::from_secs(10),
        write: Duration::from_secs(10),
    }
}

fn start(bounds: Bounds) -> Node {
    start_with(bounds, None)
}

fn start_with(bounds: Bounds, tls: Option<Certificates>) -> Node {
    let mut rig = Rig::new(FeedLimits::default());
    rig.config("a");
    rig.key("1");
    let listener = listen::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let addr = listener.local_addr().unwrap();
    let server = HttpServer {
        bounds,
        meters: rig.delivery.meters.clone(),
        tls,
        lifecycle: Some(rig.delivery.lifecycle.clone()),
        stop: CancellationToken::new(),
        tasks: rig.tasks.clone(),
    };
    tokio::spawn(run(listener, server, rig.delivery.clone()));
    Node { rig, addr }
}

/// Opens a request of HTTP/1.0, so that a body comes as it is.
async fn open(addr: std::net::SocketAddr, request: &str) -> TcpStream {
    let mut stream = TcpStream::connect(addr).await.unwrap();
    let request = format!("{request} HTTP/1.0\r\nhost: x\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    stream
}

async fn rest(mut stream: impl AsyncRead + Unpin) -> String {
    let mut text = String::new();
    let read = tokio::time::timeout(Duration::from_secs(5), stream.read_to_string(&mut text));
    read.await
        .unwrap_or_else(|_| panic!("the answer does not end"))
        .unwrap();
    text
}

async fn read_until(stream: &mut (impl AsyncRead + Unpin), end: &str) -> String {
    let mut text = String::new();
    while !text.ends_with(end) {
        let read = tokio::time::timeout(Duration::from_secs(5), stream.read_u8());
        let byte = read.await.unwrap_or_else(|_| panic!("only {text:?}")).unwrap();
        text.push(char::from(byte));
    }
    text
}

async fn next(socket: &mut (impl StreamExt<Item = Result<Message, Error>> + Unpin)) -> Message {
    let next = tokio::time::timeout(Duration::from_secs(5), socket.next());
    next.await.unwrap().unwrap().unwrap()
}

#[tokio::test]
async fn a_flv_body_is_the_feed_and_ends_with_the_stream() {
    let mut node = start(bounds());
    let mut viewer = open(node.addr, "GET /live/cam.flv").await;
    let head = read_until(&mut viewer, "\r\n\r\n").await.to_lowercase();
    assert!(head.starts_with("http/1.0 200"), "{head}");
    for header in ["video/x-flv", "no-store", "access-control-allow-origin: *"] {
        assert!(head.contains(header), "{head}");
    }
    assert_eq!(read_until(&mut viewer, "K(1)").await, "I(a)K(1)");
    node.rig.config("b");
    node.rig.key("2");
    assert_eq!(read_until(&mut viewer, "K(2)").await, "I(b)K(2)");
    assert_eq!(node.rig.delivery.meters.served(Protocol::Flv), 1);
    node.rig.finish(StreamEnd::Unpublished);
    assert_eq!(rest(viewer).await, "");
    until("nobody is served", || node.rig.delivery.meters.viewers() == 0).await;
}

#[tokio::test]
async fn a_progressive_mp4_ends_where_its_headers_would_change() {
    let mut node = start(bounds());
    let mut viewer = open(node.addr, "GET /live/cam.mp4").await;
    read_until(&mut viewer, "\r\n\r\n").await;
    read_until(&mut viewer, "K(1)").await;
    node.rig.config("b");
    assert_eq!(rest(viewer).await, "");
}

#[tokio::test]
async fn a_viewer_that_leaves_is_noticed_without_media() {
    let node = start(bounds());
    let mut viewer = open(node.addr, "GET /live/cam.flv").await;
    read_until(&mut viewer, "K(1)").await;
    drop(viewer);
    until("nobody is served", || node.rig.delivery.meters.viewers() == 0).await;
}

#[tokio::test]
async fn refusals_say_what_is_wrong_and_count() {
    let node = start(bounds());
    let cases = [
        ("GET /live/none.mp4", "404", "no stream live/none here"),
        ("GET /vod/cam.mp4", "404", "serves the app live"),
        ("GET /live/cam/index.m3u8", "404", "video.m3u8"),
        ("GET /play/none.js", "404", "no such file"),
        ("POST /live/cam.flv", "405", "allow: GET, HEAD, OPTIONS"),
    ];
    for (request, status, words) in cases {
        let answer = rest(open(node.addr, request).await).await;
        assert!(answer.starts_with(&format!("HTTP/1.0 {status}")), "{request}: {answer}");
        assert!(answer.contains(words), "{request}: {answer}");
    }
    assert_eq!(node.rig.delivery.meters.refusals(meters::Refusal::NotFound), 4);
    assert_eq!(node.rig.delivery.meters.refusals(meters::Refusal::Method), 1);
}

#[tokio::test]
async fn head_and_preflight_are_answered_without_a_body() {
    let node = start(bounds());
    let head = rest(open(node.addr, "HEAD /live/cam.mp4").await).await;
    assert!(head.starts_with("HTTP/1.0 200") && head.contains("video/mp4") && head.ends_with("\r\n\r\n"));
    let preflight = rest(open(node.addr, "OPTIONS /api/streams").await).await;
    assert!(preflight.starts_with("HTTP/1.0 204") && preflight.contains("access-control-allow-methods"));
    let page = rest(open(node.addr, "GET /").await).await;
    assert!(page.contains("content-security-policy") && page.contains("<!doctype html>"));
}

#[tokio::test]
async fn the_list_names_what_can_be_played() {
    let node = start(bounds());
    let answer = rest(open(node.addr, "GET /api/streams").await).await;
    let (_, json) = answer.split_once("\r\n\r\n").unwrap();
    let list: serde_json::Value = serde_json::from_str(json).unwrap();
    assert_eq!(list["node"], "edge-1");
    let stream = &list["streams"][0];
    for (field, value) in [("app", "live"), ("name", "cam"), ("video", "avc1.64001f")] {
        assert_eq!(stream[field], value);
    }
    assert_eq!((&stream["width"], &stream["viewers"]), (&640.into(), &0.into()));
    assert!(stream["epoch"].as_u64().unwrap() > 0 && stream["since"].is_string());
}

#[tokio::test]
async fn a_draining_node_serves_on_and_refuses_newcomers() {
    let mut node = start(bounds());
    let mut viewer = open(node.addr, "GET /live/cam.flv").await;
    read_until(&mut viewer, "K(1)").await;
    assert!(
        rest(open(node.addr, "GET /readyz").await)
            .await
            .starts_with("HTTP/1.0 200")
    );
    let deadline = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(60);
    node.rig.delivery.lifecycle.drain(deadline, Duration::ZERO);
    let answer = rest(open(node.addr, "GET /live/cam.flv").await).await;
    assert!(
        answer.starts_with("HTTP/1.0 503") && answer.contains("retry-after: 1"),
        "{answer}"
    );
    assert!(
        rest(open(node.addr, "GET /readyz").await)
            .await
            .starts_with("HTTP/1.0 503")
    );
    node.rig.frame("2");
    assert_eq!(read_until(&mut viewer, "F(2)").await, "F(2)");
    assert_eq!(node.rig.delivery.meters.refusals(meters::Refusal::Draining), 1);
}

#[tokio::test]
async fn a_websocket_player_gets_hello_media_clocks_the_order_to_move_and_the_end() {
    let mut node = start(bounds());
    let url = format!("ws://{}/live/cam.mp4", node.addr);
    let (mut socket, _) = tokio_tungstenite::connect_async(&url).await.unwrap();
    let hello: serde_json::Value = serde_json::from_str(next(&mut socket).await.to_text().unwrap()).unwrap();
    assert_eq!((&hello["type"], &hello["node"]), (&"hello".into(), &"edge-1".into()));
    assert_eq!(hello["epoch"], node.rig.stream().snapshot().epoch);
    assert_eq!(next(&mut socket).await.into_data(), "I(a)");
    assert_eq!(next(&mut socket).await.into_data(), "K(1)");
    for _ in 0..60 {
        node.rig.frame("2");
    }
    node.rig.key("3");
    for _ in 0..60 {
        assert_eq!(next(&mut socket).await.into_data(), "F(2)");
    }
    assert_eq!(next(&mut socket).await.into_data(), "c()");
    assert_eq!(next(&mut socket).await.into_data(), "K(3)");
    assert_eq!(node.rig.delivery.movers.count(), 1);
    assert_eq!(node.rig.delivery.movers.ask(5), 1);
    assert_eq!(next(&mut socket).await.to_text().unwrap(), r#"{"type":"move"}"#);
    node.rig.frame("4");
    assert_eq!(next(&mut socket).await.into_data(), "F(4)");
    socket.send(Message::Ping("hi".into())).await.unwrap();
    assert_eq!(next(&mut socket).await, Message::Pong("hi".into()));
    node.rig.finish(StreamEnd::Unpublished);
    assert_eq!(next(&mut socket).await.to_text().unwrap(), r#"{"type":"end"}"#);
    let Message::Close(Some(close)) = next(&mut socket).await else {
        panic!("no close");
    };
    assert_eq!(u16::from(close.code), 1000);
    until("nobody can be moved", || node.rig.delivery.movers.count() == 0).await;
}

#[tokio::test]
async fn flv_goes_over_websocket_too_without_clocks() {
    let node = start(bounds());
    let url = format!("ws://{}/live/cam.flv", node.addr);
    let (mut socket, _) = tokio_tungstenite::connect_async(&url).await.unwrap();
    assert!(next(&mut socket).await.to_text().unwrap().contains("hello"));
    assert_eq!(next(&mut socket).await.into_data(), "I(a)");
    assert_eq!(next(&mut socket).await.into_data(), "K(1)");
    assert_eq!(node.rig.delivery.meters.served(Protocol::WsFlv), 1);
    assert_eq!(node.rig.delivery.movers.count(), 0);
}

#[tokio::test]
async fn an_unknown_stream_is_a_404_before_the_upgrade() {
    let node = start(bounds());
    let url = format!("ws://{}/live/none.mp4", node.addr);
    match tokio_tungstenite::connect_async(&url).await {
        Err(Error::Http(response)) => assert_eq!(response.status(), 404),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn malformed_frames_close_that_viewer_and_no_other() {
    let mut node = start(bounds());
    let mut other = open(node.addr, "GET /live/cam.flv").await;
    read_until(&mut other, "K(1)").await;
    let mut viewer = TcpStream::connect(node.addr).await.unwrap();
    let upgrade = "GET /live/cam.mp4 HTTP/1.1\r\nhost: x\r\nupgrade: websocket\r\nconnection: upgrade\r\n\
        sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    viewer.write_all(upgrade.as_bytes()).await.unwrap();
    let head = read_until(&mut viewer, "\r\n\r\n").await;
    assert!(head.contains("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="), "{head}");
    viewer.write_all(&[0x81, 2, b'h', b'i']).await.unwrap();
    let mut bytes = Vec::new();
    viewer.read_to_end(&mut bytes).await.unwrap();
    assert!(bytes.ends_with(&[0x88, 2, 0x03, 0xEA]), "{bytes:?}");
    assert_eq!(node.rig.delivery.meters.refusals(meters::Refusal::Malformed), 1);
    node.rig.frame("2");
    assert_eq!(read_until(&mut other, "F(2)").await, "F(2)");
}

#[tokio::test]
async fn one_connection_too_many_is_told_so() {
    let node = start(Bounds {
        connections: 1,
        ..bounds()
    });
    let mut viewer = open(node.addr, "GET /live/cam.flv").await;
    read_until(&mut viewer, "K(1)").await;
    let answer = rest(open(node.addr, "GET /live/cam.flv").await).await;
    assert!(
        answer.starts_with("HTTP/1.1 503") && answer.ends_with("the server is full\n"),
        "{answer}"
    );
    assert_eq!(node.rig.delivery.meters.refusals(meters::Refusal::Limit), 1);
}

#[tokio::test]
async fn a_head_that_does_not_come_is_not_waited_for() {
    let node = start(Bounds {
        head: Duration::from_millis(100),
        ..bounds()
    });
    let mut slow = TcpStream::connect(node.addr).await.unwrap();
    slow.write_all(b"GET /live/cam.flv HTTP/1.1\r\nx: ").await.unwrap();
    rest(slow).await;
    assert_eq!(node.rig.delivery.meters.refusals(meters::Refusal::Timeout), 1);
}

#[tokio::test]
async fn a_connection_that_is_idle_between_requests_is_closed_and_not_counted() {
    let node = start(Bounds {
        head: Duration::from_millis(100),
        ..bounds()
    });
    let mut idle = TcpStream::connect(node.addr).await.unwrap();
    idle.write_all(b"GET /readyz HTTP/1.1\r\nhost: x\r\n\r\n")
        .await
        .unwrap();
    assert!(rest(idle).await.starts_with("HTTP/1.1 200"));
    assert_eq!(
        rest(TcpStream::connect(node.addr).await.unwrap()).await,
        "",
        "a bare connect"
    );
    assert_eq!(node.rig.delivery.meters.refusals(meters::Refusal::Timeout), 0);
}

#[tokio::test]
async fn a_head_that_is_too_long_or_no_http_is_refused_and_counted() {
    let node = start(bounds());
    for bytes in [
        format!("GET /{} HTTP/1.1\r\n", "x".repeat(20_000)),
        "\u{1}\u{2}garbage\r\n\r\n".into(),
    ] {
        let mut stream = TcpStream::connect(node.addr).await.unwrap();
        let _ = stream.write_all(bytes.as_bytes()).await;
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await; // a reset is an answer too
    }
    until("both are counted", || {
        node.rig.delivery.meters.refusals(meters::Refusal::Malformed) == 2
    })
    .await;
}
