//! HTTP/2 with prior knowledge: what every stream of a connection gets, and what a peer can't do with it.

use h2::client::SendRequest;
use h2::{Reason, RecvStream};
use tokio::task::JoinHandle;

use super::*;

pub(super) struct Client {
    pub(super) requests: SendRequest<Bytes>,
    /// The end of the connection, as the client sees it.
    pub(super) end: JoinHandle<Result<(), h2::Error>>,
}

/// Speaks HTTP/2 on `io`, with this window for each stream.
pub(super) async fn speak(io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, window: u32) -> Client {
    let (requests, connection) = h2::client::Builder::new()
        .initial_window_size(window)
        .handshake(io)
        .await
        .unwrap();
    Client {
        requests: requests.ready().await.unwrap(),
        end: tokio::spawn(connection),
    }
}

async fn client(node: &Node) -> Client {
    speak(TcpStream::connect(node.addr).await.unwrap(), 65_535).await
}

pub(super) fn request(method: &str, path: &str) -> Request<()> {
    let uri = http::Uri::builder().scheme("http").authority("node.example");
    let uri = uri.path_and_query(path).build().unwrap();
    Request::builder().method(method).uri(uri).body(()).unwrap()
}

impl Client {
    pub(super) async fn get(&mut self, path: &str) -> Response<RecvStream> {
        self.send("GET", path).await.unwrap()
    }

    async fn send(&mut self, method: &str, path: &str) -> Result<Response<RecvStream>, h2::Error> {
        let (answer, _) = self.requests.send_request(request(method, path), true)?;
        let answer = tokio::time::timeout(Duration::from_secs(5), answer).await;
        answer.unwrap_or_else(|_| panic!("{method} {path} is not answered"))
    }
}

/// Reads a body up to `end`.
pub(super) async fn body_until(body: &mut RecvStream, end: &str) -> String {
    let mut text = String::new();
    while !text.ends_with(end) {
        let data = tokio::time::timeout(Duration::from_secs(5), body.data()).await;
        let data = data.unwrap_or_else(|_| panic!("only {text:?}")).unwrap().unwrap();
        body.flow_control().release_capacity(data.len()).unwrap();
        text.push_str(std::str::from_utf8(&data).unwrap());
    }
    text
}

pub(super) async fn whole_body(body: &mut RecvStream) -> String {
    let mut text = Vec::new();
    while let Some(data) = body.data().await {
        text.extend_from_slice(&data.unwrap());
    }
    String::from_utf8(text).unwrap()
}

#[tokio::test]
async fn the_streams_of_one_connection_are_served_side_by_side() {
    let mut node = start(bounds());
    let mut client = client(&node).await;
    let mut flv = client.get("/live/cam.flv").await;
    assert_eq!(flv.status(), 200);
    assert_eq!(flv.headers()["content-type"], "video/x-flv");
    assert_eq!(flv.headers()["access-control-allow-origin"], "*");
    let mut mp4 = client.get("/live/cam.mp4").await;
    for body in [flv.body_mut(), mp4.body_mut()] {
        assert_eq!(body_until(body, "K(1)").await, "I(a)K(1)");
    }
    node.rig.frame("2");
    for body in [flv.body_mut(), mp4.body_mut()] {
        assert_eq!(body_until(body, "F(2)").await, "F(2)");
    }
    let mut list = client.get("/api/streams").await;
    assert!(whole_body(list.body_mut()).await.contains("cam"));
    assert_eq!(client.get("/readyz").await.status(), 200);
    assert_eq!(node.rig.delivery.meters.viewers(), 2);
    node.rig.finish(StreamEnd::Unpublished);
    assert_eq!(whole_body(flv.body_mut()).await, "");
    until("nobody is served", || node.rig.delivery.meters.viewers() == 0).await;
}

#[tokio::test]
async fn refusals_are_those_of_http_1() {
    let node = start(bounds());
    let mut client = client(&node).await;
    for (method, path, status, words) in [
        ("GET", "/live/none.mp4", 404, "no stream live/none here"),
        ("POST", "/live/cam.flv", 405, "is not taken here"),
        ("CONNECT", "/live/cam.mp4", 405, "is not taken here"),
        ("HEAD", "/live/cam.mp4", 200, ""),
    ] {
        let mut answer = match method {
            "CONNECT" => {
                let request = Request::connect("node.example:443").body(()).unwrap();
                client.requests.send_request(request, true).unwrap().0.await.unwrap()
            }
            _ => client.send(method, path).await.unwrap(),
        };
        assert_eq!(answer.status(), status, "{method} {path}");
        let text = whole_body(answer.body_mut()).await;
        assert!(text.contains(words), "{method} {path}: {text}");
    }
}

#[tokio::test]
async fn a_stream_that_is_reset_is_no_viewer_any_more() {
    let node = start(bounds());
    let mut client = client(&node).await;
    let mut flv = client.get("/live/cam.flv").await;
    body_until(flv.body_mut(), "K(1)").await;
    assert_eq!(node.rig.delivery.meters.viewers(), 1);
    drop(flv);
    until("nobody is served", || node.rig.delivery.meters.viewers() == 0).await;
    assert_eq!(client.get("/readyz").await.status(), 200, "the connection goes on");
}

#[tokio::test]
async fn a_stream_that_takes_nothing_closes_its_connection_and_no_other() {
    let mut node = start(Bounds {
        write: Duration::from_millis(300),
        ..bounds()
    });
    let mut other = open(node.addr, "GET /live/cam.flv").await;
    read_until(&mut other, "K(1)").await;
    let mut client = speak(TcpStream::connect(node.addr).await.unwrap(), 4).await;
    let held = client.get("/live/cam.flv").await;
    let end = tokio::time::timeout(Duration::from_secs(5), client.end);
    end.await.expect("the connection is not closed").unwrap().ok();
    drop(held);
    until("nobody else is served", || node.rig.delivery.meters.viewers() == 1).await;
    assert_eq!(node.rig.delivery.meters.refusals(meters::Refusal::Timeout), 1);
    node.rig.frame("2");
    assert_eq!(read_until(&mut other, "F(2)").await, "F(2)");
}

#[tokio::test]
async fn each_stream_beyond_the_first_counts_as_a_connection() {
    let node = start(Bounds {
        connections: 2,
        ..bounds()
    });
    let mut client = client(&node).await;
    let first = client.get("/live/cam.flv").await;
    let second = client.get("/live/cam.flv").await;
    let third = client.get("/live/cam.flv").await;
    assert_eq!(
        [&first, &second, &third].map(|it| it.status().as_u16()),
        [200, 200, 503]
    );
    assert_eq!(third.headers()["retry-after"], "1");
    let answer = rest(open(node.addr, "GET /readyz").await).await;
    assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
    assert_eq!(node.rig.delivery.meters.refusals(meters::Refusal::Limit), 2);
    drop(second);
    until("a place is free", || node.rig.delivery.meters.viewers() == 1).await;
    assert_eq!(client.get("/live/cam.flv").await.status(), 200);
}

#[tokio::test]
async fn streams_that_are_opened_only_to_be_reset_end_the_connection() {
    let node = start(bounds());
    let mut client = client(&node).await;
    let deadline = std::time::Instant::now() + Duration::from_secs(5);
    while !client.end.is_finished() {
        assert!(std::time::Instant::now() < deadline, "the connection goes on");
        for _ in 0..200 {
            let Ok((_, mut stream)) = client.requests.send_request(request("GET", "/live/cam.flv"), true) else {
                break;
            };
            stream.send_reset(Reason::CANCEL);
        }
        tokio::task::yield_now().await;
    }
    let error = client.end.await.unwrap().unwrap_err();
    assert_eq!(error.reason(), Some(Reason::ENHANCE_YOUR_CALM));
    until("it is counted", || {
        node.rig.delivery.meters.refusals(meters::Refusal::Malformed) == 1
    })
    .await;
    until("nobody is served", || node.rig.delivery.meters.viewers() == 0).await;
}

#[tokio::test]
async fn a_head_that_is_too_long_is_refused_and_the_connection_goes_on() {
    let node = start(bounds());
    let mut client = client(&node).await;
    let mut long = request("GET", "/readyz");
    let filler = HeaderValue::from_str(&"x".repeat(20_000)).unwrap();
    long.headers_mut().insert("x-filler", filler);
    let answer = client.requests.send_request(long, true).unwrap().0.await;
    assert!(
        answer.as_ref().map_or(true, |answer| answer.status() == 431),
        "{answer:?}"
    );
    assert_eq!(client.get("/readyz").await.status(), 200);
}

#[tokio::test]
async fn a_peer_that_says_that_it_speaks_http_2_and_does_not_is_not_waited_for() {
    let node = start(Bounds {
        head: Duration::from_millis(200),
        ..bounds()
    });
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    let settings = [0, 0, 0, 4, 0, 0, 0, 0, 0];
    let refused = |reason| node.rig.delivery.meters.refusals(reason);
    for said in [&preface[..2], &preface[..10], &preface[..]] {
        let before = refused(meters::Refusal::Timeout);
        let mut slow = TcpStream::connect(node.addr).await.unwrap();
        slow.write_all(said).await.unwrap();
        let mut answer = Vec::new();
        let read = tokio::time::timeout(Duration::from_secs(5), slow.read_to_end(&mut answer));
        read.await.expect("it is waited for").ok();
        until("it is counted, or was answered and idle", || {
            refused(meters::Refusal::Timeout) == before + 1 || said.len() == preface.len()
        })
        .await;
    }
    // Whoever has spoken well and asks nothing is idle, not slow.
    let before = refused(meters::Refusal::Timeout);
    let mut idle = TcpStream::connect(node.addr).await.unwrap();
    idle.write_all(&[&preface[..], &settings].concat()).await.unwrap();
    let mut answer = Vec::new();
    let read = tokio::time::timeout(Duration::from_secs(5), idle.read_to_end(&mut answer));
    read.await.expect("it is waited for").ok();
    assert_eq!(refused(meters::Refusal::Timeout), before);

    let mut garbage = TcpStream::connect(node.addr).await.unwrap();
    garbage.write_all(b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    garbage.read_to_end(&mut answer).await.ok();
    until("it is counted", || refused(meters::Refusal::Malformed) == 1).await;
}
