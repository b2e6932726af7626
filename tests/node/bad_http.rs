//! HTTP, WebSocket and control requests that are wrong: refused with what is allowed, counted, nobody else the worse for it.

use ::http::Method;
use e2e::harness::{Node, http};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use crate::SOON;
use crate::bad_input::{ends, is_closed, refused, untouched};

#[tokio::test(flavor = "multi_thread")]
async fn http_refusals_say_what_is_wrong() {
    let node = Node::origin().await.unwrap();
    for (method, path, status, reason, said) in [
        ("GET", "/live/unknown.flv", 404, "not_found", "live/unknown"),
        ("GET", "/live/unknown.mp4", 404, "not_found", "live/unknown"),
        ("GET", "/other/unknown.mp4", 404, "not_found", "live"),
        ("GET", "/live/..%2f..%2fetc.flv", 404, "not_found", ""),
        ("POST", "/live/unknown.flv", 405, "method", "GET"),
        ("DELETE", "/api/streams", 405, "method", "GET"),
    ] {
        let before = refused(&node, reason).await;
        let answer = http::send(method.parse().unwrap(), &node.http_url(path), None, None)
            .await
            .unwrap();
        let text = answer.text();
        assert_eq!(answer.status, status, "{method} {path}: {text}");
        assert!(
            !text.trim().is_empty() && text.contains(said),
            "{method} {path}: {text}"
        );
        assert_eq!(refused(&node, reason).await, before + 1, "{method} {path}");
        if status == 405 {
            assert!(answer.headers.contains_key("allow"), "{:?}", answer.headers);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_control_api_refuses_without_the_token() {
    let node = Node::origin().await.unwrap();
    for token in [None, Some("wrong")] {
        let before = refused(&node, "token").await;
        let url = format!("http://{}/v1/hello", node.ops);
        let answer = http::send(Method::GET, &url, token, None).await.unwrap();
        assert_eq!(answer.status, 401, "{}", answer.text());
        assert_eq!(refused(&node, "token").await, before + 1);
    }
    let unknown = node
        .control(Method::PUT, "/v1/drain", Some(b"{\"dedline\":1}".to_vec()))
        .await
        .unwrap();
    assert_eq!(unknown.status, 400);
    assert!(unknown.text().contains("dedline"), "{}", unknown.text());
}

/// The code of a close frame at the end of what came (RFC 6455 §5.5.1).
fn close_code(bytes: &[u8]) -> Option<u16> {
    let [0x88, 2, high, low] = bytes.get(bytes.len().checked_sub(4)?..)? else {
        return None;
    };
    Some(u16::from_be_bytes([*high, *low]))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_malformed_websocket_frame_closes_that_viewer_alone() {
    let node = Node::origin().await.unwrap();
    // Head, what is wrong with it, and the close code (RFC 6455 §7.4.1).
    let faults: [(&[u8], &str, u16); 9] = [
        (&[0x81, 2, b'h', b'i'], "not masked", 1002),
        (&[0xc1, 0x80, 0, 0, 0, 0], "first reserved bit", 1002),
        (&[0x91, 0x80, 0, 0, 0, 0], "third reserved bit", 1002),
        (&[0x83, 0x80, 0, 0, 0, 0], "reserved opcode", 1002),
        (&[0x8b, 0x80, 0, 0, 0, 0], "reserved control opcode", 1002),
        (&[0x80, 0x80, 0, 0, 0, 0], "continuation of nothing", 1002),
        (&[0x09, 0x80, 0, 0, 0, 0], "ping in fragments", 1002),
        (&[0x89, 0xfe, 0, 126, 0, 0, 0, 0], "ping of 126 bytes", 1002),
        (
            &[0x82, 0xff, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0],
            "message of 2^63 bytes",
            1009,
        ),
    ];
    untouched(&node, "malformed", faults.len() as u64, async {
        for (frame, what, code) in faults {
            let mut socket = TcpStream::connect(node.http).await.unwrap();
            let request = format!(
                "GET /live/good.mp4 HTTP/1.1\r\nHost: {}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                 Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
                node.http
            );
            socket.write_all(request.as_bytes()).await.unwrap();
            socket.write_all(frame).await.unwrap();
            let all = ends(&mut socket, SOON).await;
            assert!(
                all.starts_with(b"HTTP/1.1 101"),
                "{what}: {}",
                String::from_utf8_lossy(&all[..all.len().min(200)])
            );
            assert_eq!(close_code(&all), Some(code), "{what}");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endless_request_head_is_refused() {
    let node = Node::origin().await.unwrap();
    untouched(&node, "malformed", 10, async {
        for _ in 0..10 {
            let mut head = b"GET /live/good.flv HTTP/1.1\r\n".to_vec();
            head.extend(std::iter::repeat_n(b"X-Filler: 0123456789abcdef\r\n", 4_000).flatten());
            let answer = is_closed(node.http, &head, SOON).await;
            let text = String::from_utf8_lossy(&answer);
            assert!(text.is_empty() || text.starts_with("HTTP/1.1 431"), "{text}");
        }
    })
    .await;
}
