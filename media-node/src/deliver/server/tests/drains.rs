//! A drain sends connections away once newcomers are refused, and cuts nobody.

use jiff::Timestamp;

use super::http2::{body_until, request, speak, whole_body};
use super::*;

const SOON: Duration = Duration::from_millis(300);

impl Node {
    fn drain(&self, accept: Duration) {
        let deadline = Timestamp::now() + Duration::from_secs(60);
        self.rig.delivery.lifecycle.drain(deadline, accept);
    }
}

/// A connection that has been answered once and stays open.
async fn kept(node: &Node) -> TcpStream {
    let mut stream = TcpStream::connect(node.addr).await.unwrap();
    assert!(!ask(&mut stream).await.contains("connection: close"));
    stream
}

async fn ask(stream: &mut TcpStream) -> String {
    stream
        .write_all(b"GET /play/none HTTP/1.1\r\nhost: x\r\n\r\n")
        .await
        .unwrap();
    read_until(stream, "player page\n").await
}

#[tokio::test]
async fn idle_connections_close_when_newcomers_are_refused_and_not_before() {
    let node = start(bounds());
    let mut idle = kept(&node).await;
    let begun = std::time::Instant::now();
    node.drain(SOON);
    let answer = ask(&mut idle).await;
    assert!(!answer.contains("connection: close"), "{answer}");
    let mut newcomer = kept(&node).await;
    assert_eq!(rest(&mut idle).await, "");
    assert!(begun.elapsed() >= SOON, "too early: {:?}", begun.elapsed());
    assert_eq!(rest(&mut newcomer).await, "");
    assert_eq!(node.rig.delivery.meters.refusals(meters::Refusal::Timeout), 0);
}

#[tokio::test]
async fn who_comes_to_a_draining_node_is_answered_once() {
    let node = start(bounds());
    node.drain(Duration::ZERO);
    let mut stream = TcpStream::connect(node.addr).await.unwrap();
    stream
        .write_all(b"GET /live/cam.flv HTTP/1.1\r\nhost: x\r\n\r\n")
        .await
        .unwrap();
    let answer = rest(stream).await;
    for part in [
        "HTTP/1.1 503",
        "retry-after: 1",
        "connection: close",
        "this node drains",
    ] {
        assert!(answer.contains(part), "{answer}");
    }
    let mut client = speak(TcpStream::connect(node.addr).await.unwrap(), 65_535).await;
    assert_eq!(client.get("/live/cam.flv").await.status(), 503);
    client.end.await.unwrap().unwrap();
}

#[tokio::test]
async fn long_bodies_and_websockets_go_on_to_their_end() {
    let mut node = start(bounds());
    let mut body = TcpStream::connect(node.addr).await.unwrap();
    body.write_all(b"GET /live/cam.flv HTTP/1.1\r\nhost: x\r\n\r\n")
        .await
        .unwrap();
    read_until(&mut body, "K(1)\r\n").await;
    let url = format!("ws://{}/live/cam.flv", node.addr);
    let (mut socket, _) = tokio_tungstenite::connect_async(&url).await.unwrap();
    let mut client = speak(TcpStream::connect(node.addr).await.unwrap(), 65_535).await;
    let mut stream = client.get("/live/cam.mp4").await;
    body_until(stream.body_mut(), "K(1)").await;

    node.drain(Duration::ZERO);
    // The connection takes no further stream, but ends the one that it has.
    let deadline = std::time::Instant::now() + Duration::from_secs(5);
    while let Ok((answer, _)) = client.requests.send_request(request("GET", "/readyz"), true) {
        assert!(std::time::Instant::now() < deadline, "the connection goes on");
        let _ = answer.await; // served, or refused by GOAWAY
    }
    node.rig.frame("2");
    read_until(&mut body, "F(2)\r\n").await;
    assert_eq!(body_until(stream.body_mut(), "F(2)").await, "F(2)");
    while next(&mut socket).await.into_data() != "F(2)" {}
    assert_eq!(node.rig.delivery.meters.viewers(), 3);
    node.rig.finish(StreamEnd::Unpublished);
    assert_eq!(whole_body(stream.body_mut()).await, "");
    client.end.await.unwrap().unwrap();
    assert_eq!(rest(body).await, "0\r\n\r\n");
}

#[tokio::test]
async fn a_drain_that_is_taken_back_in_time_closes_nothing_and_a_later_one_does() {
    let node = start(bounds());
    let mut idle = kept(&node).await;
    node.drain(SOON);
    node.rig.delivery.lifecycle.undrain();
    let mut nothing = [0];
    let read = tokio::time::timeout(SOON * 2, idle.read(&mut nothing)).await;
    assert!(read.is_err(), "it was closed: {read:?}");
    node.drain(Duration::ZERO);
    assert_eq!(rest(&mut idle).await, "");
    node.rig.delivery.lifecycle.undrain();
    kept(&node).await;
}
