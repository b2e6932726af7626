//! TLS on the delivery port, beside plain HTTP.

use super::http2::{body_until, speak};
use super::*;
use crate::tls::rig::{certificates, connect};
use crate::tls::{HTTP1, HTTP2};

fn secure(bounds: Bounds) -> (Node, String) {
    let (certificates, certificate) = certificates();
    (start_with(bounds, Some(certificates)), certificate)
}

#[tokio::test]
async fn alpn_chooses_between_http_2_and_http_1() {
    let (mut node, certificate) = secure(bounds());
    let stream = connect(node.addr, &certificate, &[HTTP2, HTTP1]).await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(HTTP2));
    let mut client = speak(stream, 65_535).await;
    let mut flv = client.get("/live/cam.flv").await;
    assert_eq!(body_until(flv.body_mut(), "K(1)").await, "I(a)K(1)");

    for offered in [&[HTTP1][..], &[]] {
        let mut stream = connect(node.addr, &certificate, offered).await.unwrap();
        stream
            .write_all(b"GET /live/cam.flv HTTP/1.0\r\nhost: x\r\n\r\n")
            .await
            .unwrap();
        assert!(read_until(&mut stream, "I(a)K(1)").await.starts_with("HTTP/1.0 200"));
    }
    node.rig.frame("2");
    assert_eq!(body_until(flv.body_mut(), "F(2)").await, "F(2)");
    let refused = connect(node.addr, &certificate, &[b"spdy/3"]).await.unwrap_err();
    assert!(refused.to_string().contains("NoApplicationProtocol"), "{refused}");
}

#[tokio::test]
async fn a_websocket_goes_over_tls() {
    let (mut node, certificate) = secure(bounds());
    let stream = connect(node.addr, &certificate, &[HTTP1]).await.unwrap();
    let (mut socket, _) = tokio_tungstenite::client_async("ws://node.example/live/cam.mp4", stream)
        .await
        .unwrap();
    assert!(next(&mut socket).await.to_text().unwrap().contains("hello"));
    assert_eq!(next(&mut socket).await.into_data(), "I(a)");
    while next(&mut socket).await.into_data() != "K(1)" {}
    // More than the sockets' buffers and than TLS holds for itself.
    let large = "x".repeat(60_000);
    for _ in 0..200 {
        node.rig.frame(&large);
    }
    let mut frames = 0;
    while frames < 200 {
        frames += usize::from(next(&mut socket).await.into_data().starts_with(b"F("));
    }
    node.rig.finish(StreamEnd::Unpublished);
    assert_eq!(next(&mut socket).await.to_text().unwrap(), r#"{"type":"end"}"#);
    assert!(matches!(next(&mut socket).await, Message::Close(_)));
    assert_eq!(node.rig.delivery.meters.refusals(meters::Refusal::Malformed), 0);
}

#[tokio::test]
async fn plain_http_and_http_2_go_on_beside_tls() {
    let (node, _) = secure(bounds());
    let answer = rest(open(node.addr, "GET /readyz").await).await;
    assert!(answer.starts_with("HTTP/1.0 200"), "{answer}");
    let mut client = speak(TcpStream::connect(node.addr).await.unwrap(), 65_535).await;
    assert_eq!(client.get("/readyz").await.status(), 200);
}

#[tokio::test]
async fn a_handshake_that_is_none_is_refused_and_one_that_does_not_go_on_is_not_waited_for() {
    let (node, certificate) = secure(Bounds {
        head: Duration::from_millis(300),
        ..bounds()
    });
    let refused = |reason| node.rig.delivery.meters.refusals(reason);
    for (said, reason) in [
        (&b"\x16\x03\x01\x02\x00\x01\x00"[..], meters::Refusal::Timeout),
        (b"\x16", meters::Refusal::Timeout),
        (b"\x16garbage, not a record at all", meters::Refusal::Malformed),
    ] {
        let before = refused(reason);
        let mut peer = TcpStream::connect(node.addr).await.unwrap();
        peer.write_all(said).await.unwrap();
        let mut answer = Vec::new();
        let read = tokio::time::timeout(Duration::from_secs(5), peer.read_to_end(&mut answer));
        read.await.expect("it is waited for").ok();
        until("it is counted", || refused(reason) == before + 1).await;
    }
    // Idle after a handshake is no slowness; a client that does not trust us is no malformed one.
    let before = [meters::Refusal::Timeout, meters::Refusal::Malformed].map(refused);
    for offered in [HTTP1, HTTP2] {
        let mut idle = connect(node.addr, &certificate, &[offered]).await.unwrap();
        let mut answer = Vec::new();
        let read = tokio::time::timeout(Duration::from_secs(5), idle.read_to_end(&mut answer));
        read.await.expect("it is waited for").ok();
    }
    let (_, strange) = certificates();
    connect(node.addr, &strange, &[HTTP1]).await.unwrap_err();
    until("all are gone", || node.rig.tasks.len() <= 2).await;
    let after = [meters::Refusal::Timeout, meters::Refusal::Malformed].map(refused);
    assert_eq!(before, after);
}

#[tokio::test]
async fn tls_on_a_port_without_a_certificate_is_refused_as_malformed() {
    let node = start(bounds());
    let (_, certificate) = certificates();
    connect(node.addr, &certificate, &[HTTP1]).await.unwrap_err();
    until("it is counted", || {
        node.rig.delivery.meters.refusals(meters::Refusal::Malformed) == 1
    })
    .await;
}
