//! Nodes that run apart from the control plane: it comes and goes, and nobody who watches sees it.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use e2e::bench::{load, publish};
use e2e::harness::process::Signal;
use e2e::harness::websocket::Viewer;
use e2e::harness::{Local, Node, root, wait_until};
use headwater_contract::{PULLS_PATH, Pulls, Refused};
use http::Method;
use serde_json::json;
use tempfile::TempDir;

use crate::{LONG, manifest, on_every_edge};

/// For what takes well under a second on an idle machine.
const SOON: Duration = Duration::from_secs(5);

/// An origin and two edges that nobody but this test has started, and the file by which they are adopted.
struct Apart {
    origin: Node,
    edges: [Node; 2],
    folder: TempDir,
}

impl Apart {
    async fn start() -> Self {
        let origin = Node::origin().await.unwrap();
        let edges = [Node::edge(&origin).await.unwrap(), Node::edge(&origin).await.unwrap()];
        let folder = TempDir::new().unwrap();
        let entry = |node: &Node, role: &str, resource: &str| {
            let (ops, rtmp, http) = (node.ops, node.rtmp, node.http);
            json!({"role": role, "resource": resource, "ops": ops, "rtmp": rtmp, "http": http, "tokenFile": node.token_file()})
        };
        let nodes = json!([
            entry(&origin, "origin", "main"),
            entry(&edges[0], "edge", "web"),
            entry(&edges[1], "edge", "web"),
        ]);
        std::fs::write(folder.path().join("nodes.json"), nodes.to_string()).unwrap();
        Self { origin, edges, folder }
    }

    /// Starts a control plane over them and waits until every edge carries the stream by its order.
    async fn control_plane(&self, stream: &str) -> Local {
        let file = self.folder.path().join("nodes.json");
        let flags = ["--attach", file.to_str().unwrap()];
        let local = Local::start(&manifest("  replicas: 2"), &flags).await.unwrap();
        local
            .wait(LONG, "the stream is on every edge", |fleet| {
                let both = fleet["pools"][0]["ready"] == 2;
                (both && on_every_edge(fleet, stream)).then_some(())
            })
            .await
            .unwrap();
        assert!(local.process.children().is_empty(), "{:?}", local.process.children());
        local
    }

    fn publish(&self, stream: &str) -> publish::Publication {
        let options = publish::Options {
            reconnect: Some(Duration::from_millis(200)),
            ..publish::Options::new(
                self.origin.rtmp_url(stream),
                root().join("operator/src/local/sample.flv"),
            )
        };
        publish::start(options).unwrap()
    }

    /// Two viewers of each protocol, spread over the edges; none comes again once it was cut.
    async fn audience(&self, stream: &str, protocols: &[load::Protocol]) -> Vec<load::Load> {
        let mut loads = Vec::new();
        for (protocol, edge) in protocols.iter().zip(self.edges.iter().cycle()) {
            let authority = match protocol {
                load::Protocol::Rtmp => edge.rtmp,
                _ => edge.http,
            };
            let url = load::url(*protocol, &authority.to_string(), &format!("live/{stream}"));
            loads.push(load::start(load::Options::new(url, 2, LONG * 4)).unwrap());
        }
        for load in &loads {
            wait_until(SOON, "all watch", || async {
                if load.playing() >= 2 {
                    Ok(())
                } else {
                    Err(load.playing())
                }
            })
            .await
            .unwrap();
        }
        loads
    }

    async fn boots(&self) -> Vec<String> {
        let mut boots = Vec::new();
        for node in std::iter::once(&self.origin).chain(&self.edges) {
            boots.push(node.hello().await.unwrap().boot_id);
        }
        boots
    }
}

async fn kill(mut local: Local) {
    local.process.signal(Signal::Kill).await.unwrap();
    local.process.wait(SOON).await.unwrap();
}

/// Waits until every load has received this much more.
async fn flows(loads: &[load::Load], bytes: u64) {
    for load in loads {
        let before = load.counters().wire_bytes.load(Ordering::Relaxed);
        wait_until(LONG, "media comes", || async {
            let came = load.counters().wire_bytes.load(Ordering::Relaxed) - before;
            if came > bytes {
                Ok(())
            } else {
                Err(format!("{came} bytes more; {:?}", load.counters()))
            }
        })
        .await
        .unwrap();
    }
}

/// A command of the control plane with this term.
async fn command(node: &Node, term: u64) -> e2e::harness::http::Answer {
    let pulls = Pulls {
        term: Some(term),
        ..Pulls::default()
    };
    let body = serde_json::to_vec(&pulls).unwrap();
    node.control(Method::PUT, PULLS_PATH, Some(body)).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn viewers_notice_nothing_of_a_control_plane_that_is_killed_and_comes_back() {
    let apart = Apart::start().await;
    let _publication = apart.publish("a");
    let local = apart.control_plane("a").await;
    let every = [
        load::Protocol::Rtmp,
        load::Protocol::Flv,
        load::Protocol::Ws,
        load::Protocol::Mp4,
    ];
    let loads = apart.audience("a", &every).await;
    let boots = apart.boots().await;
    let first_term = apart.edges[0].hello().await.unwrap().term;
    assert!(first_term > 0);

    kill(local).await;
    flows(&loads, 200_000).await;
    // A stream that nobody was told of, on demand.
    let _second = apart.publish("b");
    apart.origin.playable("b", SOON).await.unwrap();
    let began = Instant::now();
    let mut viewer = Viewer::connect(&apart.edges[1].ws_url("b")).await.unwrap();
    viewer
        .until(SOON, "media of the new stream", |viewer| viewer.binary.len() > 1)
        .await
        .unwrap();
    println!(
        "figure: control plane gone: a new stream played at an edge {:?} after it was asked for",
        began.elapsed()
    );

    let began = Instant::now();
    let local = apart.control_plane("b").await;
    println!(
        "figure: control plane back: fleet adopted, both streams on every edge after {:?}",
        began.elapsed()
    );
    let fleet = local.fleet().await.unwrap();
    assert!(on_every_edge(&fleet, "a"), "{fleet}");
    let binary = viewer.binary.len();
    viewer
        .until(SOON, "the on-demand viewer goes on", |viewer| {
            viewer.binary.len() > binary + 25
        })
        .await
        .unwrap();
    flows(&loads, 200_000).await;
    assert_eq!(apart.boots().await, boots, "a node was started anew");

    let term = apart.edges[0].hello().await.unwrap().term;
    assert!(term > first_term, "{term} after {first_term}");
    let refused = command(&apart.edges[0], first_term).await;
    assert_eq!(refused.status, 409, "{}", refused.text());
    assert_eq!(refused.json::<Refused>().unwrap().term, Some(term));
    for load in loads {
        let report = load.stop().await.unwrap();
        assert!(report.clean(), "{report}");
        let gaps = (report.gaps.gaps, report.gaps.backward, report.gaps.missing_pictures);
        assert_eq!(gaps, (0, 0, 0), "{report}");
        println!(
            "figure: control plane killed and back: {}: no gap, longest silence {:.0} ms",
            report.url, report.gaps.longest_silence_ms
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pulls_find_a_restarted_origin_without_a_control_plane() {
    let mut apart = Apart::start().await;
    let _publication = apart.publish("a");
    let local = apart.control_plane("a").await;
    // The protocol that takes new headers in the middle.
    let loads = apart.audience("a", &[load::Protocol::Ws, load::Protocol::Ws]).await;
    kill(local).await;
    let epoch = apart.edges[0].playable("a", SOON).await.unwrap().epoch;

    apart.origin.kill().await.unwrap();
    apart.origin.restart().await.unwrap();
    let source = apart.origin.playable("a", SOON).await.unwrap();
    assert!(source.epoch > epoch);
    let began = Instant::now();
    for edge in &apart.edges {
        wait_until(SOON, "the edge carries the new epoch", || async {
            let hello = edge.hello().await.map_err(|error| error.to_string())?;
            let carried = hello
                .streams
                .iter()
                .find(|stream| stream.name == "a" && stream.playable);
            match carried {
                Some(stream) if stream.epoch == source.epoch => Ok(()),
                _ => Err(format!("{:?}", hello.streams)),
            }
        })
        .await
        .unwrap();
    }
    let took = began.elapsed();
    println!(
        "figure: no control plane, origin killed: both edges carry its stream {took:?} after the publisher's return"
    );
    assert!(took < Duration::from_secs(3), "{took:?}");
    flows(&loads, 200_000).await;
    for load in loads {
        let report = load.stop().await.unwrap();
        assert_eq!((report.cut, report.served), (0, 2), "{report}");
    }
}
