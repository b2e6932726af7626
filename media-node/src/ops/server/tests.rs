//! The ops port as the operator and a person with curl see it.

use std::path::PathBuf;
use std::time::Duration;

use headwater_contract::{Event, Moved, NodeHello, Pulls, Refused, Role, StreamDown, StreamEnd};
use serde::de::DeserializeOwned;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::deliver::rig::Rig;
use crate::http_server::Bounds;
use crate::ingest::publishing::{Access, PublishRules};
use crate::ingest::pull::{PullContext, Puller};
use crate::listen;
use crate::ops::control::Terms;
use crate::ops::events::Events;
use crate::ops::token::TokenFile;
use crate::ops::{Identity, Parts};
use crate::package::feed::FeedLimits;

struct Node {
    rig: Rig,
    ops: Ops,
    addr: std::net::SocketAddr,
    stop: CancellationToken,
    _folder: tempfile::TempDir,
}

fn puller(rig: &Rig, stop: &CancellationToken) -> Puller {
    let context = PullContext {
        hub: rig.delivery.hub.clone(),
        meters: rig.delivery.meters.clone(),
        app: "live".parse().unwrap(),
        idle_timeout: Duration::from_secs(60),
        tasks: rig.tasks.clone(),
        stop: stop.clone(),
    };
    Puller::new(context, &[], &[]).unwrap()
}

fn start(role: Role) -> Node {
    let mut rig = Rig::new(FeedLimits::default());
    rig.config("a");
    rig.key("1");
    let folder = tempfile::tempdir().unwrap();
    let token: PathBuf = folder.path().join("token");
    std::fs::write(&token, "secret\n").unwrap();
    let stop = CancellationToken::new();
    let parts = Parts {
        identity: Identity {
            name: "edge-1".into(),
            role,
            boot_id: "boot".into(),
            app: "live".into(),
            rtmp_port: 1935,
            http_port: 8080,
        },
        hub: rig.delivery.hub.clone(),
        meters: rig.delivery.meters.clone(),
        lifecycle: rig.delivery.lifecycle.clone(),
        movers: rig.delivery.movers.clone(),
        pulls: puller(&rig, &stop),
        rules: (role == Role::Origin).then(|| PublishRules::new(true)),
        token: TokenFile::new(&token),
        drain_accept: Duration::ZERO,
        terms: Terms::default(),
        events: Events::default(),
    };
    let ops = Ops::new(parts);
    let listener = listen::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let addr = listener.local_addr().unwrap();
    let server = HttpServer {
        bounds: Bounds {
            connections: 64,
            head: Duration::from_secs(5),
            write: Duration::from_secs(5),
        },
        meters: ops.meters.clone(),
        tls: None,
        lifecycle: None,
        stop: stop.clone(),
        tasks: rig.tasks.clone(),
    };
    tokio::spawn(run(listener, server, ops.clone()));
    Node {
        rig,
        ops,
        addr,
        stop,
        _folder: folder,
    }
}

impl Node {
    async fn ask_as(&self, token: &str, request: &str, body: &str) -> (u16, String, String) {
        let mut stream = TcpStream::connect(self.addr).await.unwrap();
        let length = body.len();
        let head = format!(
            "{request} HTTP/1.0\r\nhost: x\r\nauthorization: Bearer {token}\r\ncontent-length: {length}\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        let _ = stream.write_all(body.as_bytes()).await; // an answer may come before the body is through
        let mut answer = Vec::new();
        let read = tokio::time::timeout(Duration::from_secs(5), stream.read_to_end(&mut answer));
        let _ = read.await.unwrap_or_else(|_| panic!("{request} is not answered"));
        let answer = String::from_utf8(answer).unwrap();
        let (head, body) = answer
            .split_once("\r\n\r\n")
            .unwrap_or_else(|| panic!("{request}: {answer}"));
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (status, head.to_owned(), body.to_owned())
    }

    async fn ask(&self, request: &str, body: &str) -> (u16, String) {
        let (status, _, body) = self.ask_as("secret", request, body).await;
        (status, body)
    }

    async fn get<T: DeserializeOwned>(&self, path: &str) -> T {
        let (status, body) = self.ask(&format!("GET {path}"), "").await;
        assert_eq!(status, 200, "{body}");
        serde_json::from_str(&body).unwrap()
    }

    async fn listen(&self) -> Listener {
        let mut stream = TcpStream::connect(self.addr).await.unwrap();
        let request = "GET /v1/events HTTP/1.0\r\nhost: x\r\nauthorization: Bearer secret\r\n\r\n";
        stream.write_all(request.as_bytes()).await.unwrap();
        Listener {
            stream,
            text: String::new(),
        }
    }
}

struct Listener {
    stream: TcpStream,
    text: String,
}

impl Listener {
    async fn next(&mut self) -> Event {
        loop {
            if let Some((event, rest)) = self.text.split_once("\n\n") {
                let data = event.split("data:").nth(1).map(|data| data.trim().to_owned());
                let name = event.split("event:").nth(1).and_then(|line| line.lines().next());
                let event: Option<Event> = data.map(|data| serde_json::from_str(&data).unwrap());
                assert_eq!(event.as_ref().map(|event| event.name()), name.map(str::trim));
                self.text = rest.to_owned();
                match event {
                    Some(event) => return event,
                    None => continue,
                }
            }
            let mut bytes = [0; 4096];
            let read = tokio::time::timeout(Duration::from_secs(5), self.stream.read(&mut bytes));
            let count = read.await.unwrap_or_else(|_| panic!("no event")).unwrap();
            assert!(count > 0, "the events ended");
            self.text.push_str(std::str::from_utf8(&bytes[..count]).unwrap());
        }
    }

    async fn find<T>(&mut self, pick: impl Fn(Event) -> Option<T>) -> T {
        let deadline = std::time::Instant::now() + Duration::from_secs(5);
        loop {
            assert!(std::time::Instant::now() < deadline, "no such event");
            if let Some(found) = pick(self.next().await) {
                return found;
            }
        }
    }
}

#[tokio::test]
async fn health_says_why_a_node_is_not_ready_and_life_goes_on() {
    let node = start(Role::Edge);
    assert_eq!(node.ask("GET /readyz", "").await, (200, "ready\n".into()));
    let drain = r#"{"deadline": "2099-01-01T00:00:00Z"}"#;
    assert_eq!(node.ask("PUT /v1/drain", drain).await.0, 200);
    assert_eq!(node.ask("GET /readyz", "").await, (503, "draining\n".into()));
    assert_eq!(node.ask("GET /livez", "").await.0, 200);
    assert!(node.ask("GET /v1/drain", "").await.1.contains("2099"));
    assert_eq!(node.ask("DELETE /v1/drain?term=3", "").await.0, 204);
    assert_eq!(node.ask("GET /v1/drain", "").await.1, "null");
    assert_eq!(node.ask("GET /readyz", "").await.0, 200);
}

#[tokio::test]
async fn nobody_gets_in_without_the_token() {
    let node = start(Role::Edge);
    for request in ["GET /v1/hello", "PUT /v1/pulls", "GET /v1/unknown", "POST /v1/hello"] {
        let (status, head, body) = node.ask_as("wrong", request, "").await;
        assert_eq!(status, 401, "{request}");
        assert!(head.contains("www-authenticate: Bearer"), "{head}");
        serde_json::from_str::<Refused>(&body).unwrap();
        assert!(!body.contains("secret"));
    }
    assert_eq!(node.ops.meters.refusals(meters::Refusal::Token), 4);
    assert_eq!(node.ask_as("wrong", "GET /metrics", "").await.0, 200);
}

#[tokio::test]
async fn a_command_of_an_old_term_is_refused_with_the_term_in_force() {
    let node = start(Role::Edge);
    let pulls = |term: u64| {
        format!(
            r#"{{"term": {term}, "pulls": [{{"stream": "a", "sources": [{{"url": "rtmp://127.0.0.1:1/live/a"}}]}}]}}"#
        )
    };
    assert_eq!(node.ask("PUT /v1/pulls", &pulls(7)).await.0, 204);
    let (status, body) = node.ask("PUT /v1/pulls", &pulls(6)).await;
    let refused: Refused = serde_json::from_str(&body).unwrap();
    assert_eq!((status, refused.term), (409, Some(7)));
    assert_eq!(node.ask("DELETE /v1/drain?term=1", "").await.0, 409);
    assert_eq!(node.ops.meters.refusals(meters::Refusal::Term), 2);
    assert_eq!(node.get::<Pulls>("/v1/pulls").await.term, Some(7));
    assert_eq!(node.get::<NodeHello>("/v1/hello").await.term, 7);
}

#[tokio::test]
async fn bad_commands_are_told_what_is_wrong() {
    let node = start(Role::Edge);
    let long = " ".repeat((4 << 20) + 1);
    let cases = [
        ("PUT /v1/pulls", r#"{"pulls": [], "extra": 1}"#, 400, "extra"),
        ("PUT /v1/pulls", r#"{"pulls": [{"stream": 5}]}"#, 400, "pulls[0].stream"),
        ("PUT /v1/pulls", r#"{"pulls": []} x"#, 400, "trailing"),
        (
            "PUT /v1/pulls",
            r#"{"pulls": [{"stream": "a/b", "sources": []}]}"#,
            400,
            "a/b",
        ),
        ("PUT /v1/drain", "", 400, "EOF"),
        ("PUT /v1/publishing", "{}", 400, "edge"),
        ("DELETE /v1/drain?terms=1", "", 400, "terms"),
        ("PUT /v1/pulls", &long, 413, "longer"),
        ("POST /v1/pulls", "", 405, "does not take POST"),
        ("GET /v1/other", "", 404, "/v1/other"),
    ];
    for (request, body, status, words) in cases {
        let (answered, text) = node.ask(request, body).await;
        assert_eq!(answered, status, "{request} {text}");
        let refused: Refused = serde_json::from_str(&text).unwrap();
        assert!(refused.error.contains(words), "{request}: {}", refused.error);
    }
    let (_, head, _) = node.ask_as("secret", "POST /v1/drain", "").await;
    let allow = head.lines().find(|line| line.starts_with("allow:")).unwrap();
    for method in ["GET", "PUT", "DELETE"] {
        assert!(allow.contains(method), "{allow}");
    }
}

#[tokio::test]
async fn an_origin_takes_publishing_rules() {
    let node = start(Role::Origin);
    let rules = r#"{"keys": {"*": "k"}, "onConflict": "TakeOver"}"#;
    assert_eq!(node.ask("PUT /v1/publishing", rules).await.0, 204);
    let rules = node.ops.rules.as_ref().unwrap().current();
    assert!(matches!(&rules.access, Access::Keys(keys) if keys.len() == 1));
    assert_eq!(node.ask("GET /v1/publishing", "").await.0, 405, "it holds keys");
}

#[tokio::test]
async fn viewers_are_asked_to_move() {
    let node = start(Role::Edge);
    let _seats = [node.ops.movers.join(), node.ops.movers.join(), node.ops.movers.join()];
    for asked in [2, 1] {
        let (status, body) = node.ask("POST /v1/move", r#"{"viewers": 2}"#).await;
        assert_eq!((status, serde_json::from_str(&body).unwrap()), (200, Moved { asked }));
    }
}

#[tokio::test]
async fn listeners_hear_hello_figures_and_the_life_of_streams() {
    let mut node = start(Role::Edge);
    let stop = CancellationToken::new();
    let sampler = tokio::spawn(events::run(node.ops.clone(), stop.clone()));
    let mut listener = node.listen().await;
    let Event::Hello(hello) = listener.next().await else {
        panic!("not a hello")
    };
    assert_eq!((hello.name.as_str(), hello.boot_id.as_str()), ("edge-1", "boot"));
    assert_eq!(hello.streams[0].video.as_deref(), Some("avc1.64001f"));
    assert!(hello.streams[0].playable && hello.figures.ready);
    let _watching = node.rig.stream().watch();
    let viewers = listener.find(|event| match event {
        Event::Figures(figures) => figures.streams.first().filter(|stream| stream.viewers == 1).cloned(),
        _ => None,
    });
    assert_eq!(viewers.await.name, "cam");
    node.rig.config("b");
    node.rig.key("2");
    let up = listener.find(|event| match event {
        Event::StreamUp(stream) => Some(stream),
        _ => None,
    });
    assert_eq!(up.await.name, "cam");
    node.ops.lifecycle.drain(jiff::Timestamp::now(), Duration::ZERO);
    listener
        .find(|event| {
            matches!(event, Event::Figures(figures) if figures.drain.is_some() && !figures.ready).then_some(())
        })
        .await;
    node.rig.finish(StreamEnd::Unpublished);
    let down: StreamDown = listener
        .find(|event| match event {
            Event::StreamDown(down) => Some(down),
            _ => None,
        })
        .await;
    assert_eq!((down.name.as_str(), down.reason), ("cam", StreamEnd::Unpublished));
    stop.cancel();
    sampler.await.unwrap();
}

#[tokio::test]
async fn readers_are_bounded_and_a_place_is_free_again_when_one_leaves() {
    let node = start(Role::Edge);
    let mut listeners = Vec::new();
    for _ in 0..16 {
        let mut listener = node.listen().await;
        listener.next().await;
        listeners.push(listener);
    }
    assert_eq!(node.ask("GET /v1/events", "").await.0, 503);
    drop(listeners);
    let deadline = std::time::Instant::now() + Duration::from_secs(5);
    loop {
        let mut listener = node.listen().await;
        let mut bytes = [0; 12];
        listener.stream.read_exact(&mut bytes).await.unwrap();
        if bytes.ends_with(b"200") {
            break;
        }
        assert!(std::time::Instant::now() < deadline, "no place gets free");
    }
}

#[tokio::test]
async fn metrics_name_what_the_design_promises() {
    let node = start(Role::Edge);
    let pulls = r#"{"pulls": [{"stream": "a", "sources": [{"url": "rtmp://127.0.0.1:1/live/a"}]}]}"#;
    assert_eq!(node.ask("PUT /v1/pulls", pulls).await.0, 204);
    let (status, text) = node.ask("GET /metrics", "").await;
    assert_eq!(status, 200);
    for line in [
        "headwater_node_sent_bytes_total{protocol=\"ws\"} 0",
        "headwater_node_received_bytes_total 0",
        "headwater_node_viewers{protocol=\"rtmp\"} 0",
        "headwater_node_streams 1",
        "headwater_node_dropped_frames_total{reason=\"slow_viewer\"} 0",
        "headwater_node_refused_total{reason=\"token\"} 0",
        "headwater_node_draining 0",
        "headwater_pull_up{app=\"live\",stream=\"a\"} 0",
        "headwater_pull_reconnects_total 0",
        "headwater_edge_lag_seconds{app=\"live\",stream=\"cam\"} 0",
        "headwater_stream_publisher{app=\"live\",stream=\"cam\"} 1",
        "headwater_stream_viewers{app=\"live\",stream=\"cam\"} 0",
    ] {
        assert!(text.contains(line), "{line} in\n{text}");
    }
    assert!(!text.contains("headwater_node_viewers{protocol=\"relay\"}"));
}

#[tokio::test(start_paused = true)]
async fn an_edge_latches_when_its_first_pulls_are_playable_and_without_any_when_it_has_waited() {
    let pull = |stream: &str| headwater_contract::Pull {
        stream: stream.into(),
        sources: vec![headwater_contract::Source {
            url: format!("rtmp://127.0.0.1:1/live/{stream}"),
            http: None,
        }],
    };
    let set = |names: &[&str]| Pulls {
        pulls: names.iter().map(|name| pull(name)).collect(),
        ..Pulls::default()
    };
    for (set, waits) in [
        (None, true),
        (Some(set(&["cam", "unreachable"])), true),
        (Some(set(&["cam"])), false),
        (Some(set(&[])), false),
    ] {
        let node = start(Role::Edge);
        let lifecycle = crate::lifecycle::Lifecycle::default();
        let parts = Parts {
            lifecycle: lifecycle.clone(),
            pulls: puller(&node.rig, &node.stop),
            identity: node.ops.identity.clone(),
            hub: node.ops.hub.clone(),
            meters: node.ops.meters.clone(),
            movers: node.ops.movers.clone(),
            rules: None,
            token: TokenFile::new(std::path::Path::new("none")),
            drain_accept: Duration::ZERO,
            terms: Terms::default(),
            events: Events::default(),
        };
        let ops = Ops::new(parts);
        let begun = tokio::time::Instant::now();
        let task = tokio::spawn(health::watch(ops.clone(), Duration::from_secs(10), node.stop.clone()));
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert!(!lifecycle.phase().ready());
        if let Some(set) = set {
            ops.pulls.set(set).unwrap();
        }
        task.await.unwrap();
        assert!(lifecycle.phase().ready());
        assert_eq!(begun.elapsed() >= Duration::from_secs(10), waits);
    }
}
