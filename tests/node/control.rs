//! Readiness, drain, terms and keys: what the control plane and load balancers see of a node.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use ::http::Method;
use e2e::bench::{load, publish};
use e2e::harness::media::Ffmpeg;
use e2e::harness::media::reading;
use e2e::harness::process::Signal;
use e2e::harness::websocket::Viewer;
use e2e::harness::{Node, http, root, wait_until};
use headwater_contract::{MOVE_PATH, Move, PUBLISHING_PATH, PULLS_PATH, PublishKey, Publishing, Pulls, Refused, Role};

use crate::{LONG, SOON, publish_sample};

async fn status(node: &Node, path: &str) -> (u16, u16) {
    let of = async |port| {
        http::get(&format!("http://{port}{path}"))
            .await
            .map_or(0, |answer| answer.status.as_u16())
    };
    (of(node.ops).await, of(node.http).await)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edge_is_ready_only_once_it_carries_what_its_upstream_has() {
    let origin = Node::origin().await.unwrap();
    let _publication = publish_sample(&origin, "a").await;
    let edge = Node::start_unready(Role::Edge, &["--ready-wait", "20s"]).await.unwrap();
    assert_eq!(status(&edge, "/readyz").await, (503, 503));
    assert_eq!(status(&edge, "/livez").await.0, 200);
    edge.pull(origin.rtmp, &["a"]).await.unwrap();
    let began = Instant::now();
    edge.ready().await.unwrap();
    let streams = edge.hello().await.unwrap().streams;
    assert!(
        streams.iter().any(|stream| stream.name == "a" && stream.playable),
        "{streams:?}"
    );
    assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edge_waits_for_pulls_no_longer_than_it_was_told_and_stays_ready() {
    let began = Instant::now();
    let edge = Node::start(Role::Edge, &["--ready-wait", "2s"]).await.unwrap();
    assert!(began.elapsed() >= Duration::from_secs(2), "{:?}", began.elapsed());
    // A stream that its source does not have never makes it unready.
    let origin = Node::origin().await.unwrap();
    edge.pull(origin.rtmp, &["missing"]).await.unwrap();
    wait_until(SOON, "the failure is told", || async {
        let figures = edge.hello().await.map_err(|error| error.to_string())?.figures;
        if figures.failing_pulls.iter().any(|pull| pull.stream == "missing") {
            Ok(())
        } else {
            Err(format!("{figures:?}"))
        }
    })
    .await
    .unwrap();
    assert_eq!(status(&edge, "/readyz").await, (200, 200));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_draining_edge_asks_players_to_move_and_serves_the_others_on() {
    let origin = Node::origin().await.unwrap();
    let _publication = publish_sample(&origin, "a").await;
    let mut edge = Node::start(
        Role::Edge,
        &[
            "--upstream",
            &format!("rtmp://{}/live", origin.rtmp),
            "--ready-wait",
            "1s",
            "--drain-accept",
            "0s",
        ],
    )
    .await
    .unwrap();
    let mut player = Viewer::connect(&edge.ws_url("a")).await.unwrap();
    let flv = reading(Ffmpeg::System, &edge.http_url("/live/a.flv"), LONG)
        .await
        .unwrap();
    edge.drain(Duration::from_secs(60)).await.unwrap();
    assert_eq!(status(&edge, "/readyz").await, (503, 503));
    assert_eq!(status(&edge, "/livez").await.0, 200);
    player
        .until(Duration::from_secs(12), "it is asked to move", |player| {
            !player.texts_of("move").is_empty()
        })
        .await
        .unwrap();
    let (binary, lines) = (player.binary.len(), flv.count());
    // After `move` the node goes on sending until the client closes.
    player
        .until(SOON, "media still comes", |player| player.binary.len() > binary + 25)
        .await
        .unwrap();
    wait_until(SOON, "FLV still comes", || async {
        if flv.count() > lines + 25 {
            Ok(())
        } else {
            Err(flv.count())
        }
    })
    .await
    .unwrap();
    let refused = http::get(&edge.http_url("/live/a.flv")).await.unwrap();
    assert_eq!(refused.status, 503);
    assert!(refused.headers.contains_key("retry-after"), "{:?}", refused.headers);

    drop(player);
    flv.stop().await.unwrap();
    wait_until(SOON, "nobody watches", || async {
        let figures = edge.hello().await.map_err(|error| error.to_string())?.figures;
        if figures.viewers == 0 {
            Ok(())
        } else {
            Err(format!("{figures:?}"))
        }
    })
    .await
    .unwrap();
    // Empty, it stays up until it is told to end.
    assert_eq!(status(&edge, "/livez").await.0, 200);
    edge.process.signal(Signal::Term).await.unwrap();
    assert!(edge.process.wait(SOON).await.unwrap().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_that_is_taken_back_lets_newcomers_in_again() {
    let edge = Node::start(Role::Edge, &["--ready-wait", "0s", "--drain-accept", "0s"])
        .await
        .unwrap();
    edge.drain(Duration::from_secs(60)).await.unwrap();
    assert_eq!(status(&edge, "/readyz").await, (503, 503));
    let answer = edge.control(Method::DELETE, "/v1/drain", None).await.unwrap();
    assert!(answer.status.is_success(), "{} {}", answer.status, answer.text());
    edge.ready().await.unwrap();
    assert!(edge.hello().await.unwrap().figures.drain.is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn viewers_that_are_told_to_move_between_edges_see_one_stream() {
    let origin = Node::origin().await.unwrap();
    let _publication = publish_sample(&origin, "a").await;
    let (first, second) = (Node::edge(&origin).await.unwrap(), Node::edge(&origin).await.unwrap());
    // A balancer of two: the first connections go to the first edge, later ones to the second.
    let balancer = e2e::harness::Proxy::start(first.http).await.unwrap();
    let options = load::Options {
        follow_moves: true,
        probes: 6,
        ..load::Options::new(format!("ws://{}/live/a.mp4", balancer.address), 6, LONG)
    };
    let load = load::start(options).unwrap();
    wait_until(SOON, "all watch", || async {
        if load.playing() == 6 {
            Ok(())
        } else {
            Err(load.playing())
        }
    })
    .await
    .unwrap();
    balancer.lead_to(second.http);
    let order = serde_json::to_vec(&Move { term: None, viewers: 6 }).unwrap();
    let answer = first.control(Method::POST, MOVE_PATH, Some(order)).await.unwrap();
    assert!(answer.status.is_success(), "{} {}", answer.status, answer.text());
    wait_until(LONG, "all are on the second edge", || async {
        let count = async |node: &Node| node.hello().await.map(|hello| hello.figures.viewers).unwrap_or(99);
        let (a, b) = (count(&first).await, count(&second).await);
        if (a, b) == (0, 6) {
            Ok(())
        } else {
            Err(format!("{a} and {b}"))
        }
    })
    .await
    .unwrap();
    let report = load.stop().await.unwrap();
    assert_eq!(
        (report.moves.asked, report.moves.done, report.cut),
        (6, 6, 0),
        "{report}"
    );
    let gaps = &report.gaps;
    assert_eq!(
        (gaps.gaps, gaps.backward, gaps.missing_pictures, gaps.repeated_pictures),
        (0, 0, 0, 0),
        "{report}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lower_term_is_refused() {
    let edge = Node::start(Role::Edge, &["--ready-wait", "0s"]).await.unwrap();
    let put = async |term: u64| {
        let pulls = Pulls {
            term: Some(term),
            ..Pulls::default()
        };
        edge.control(Method::PUT, PULLS_PATH, Some(serde_json::to_vec(&pulls).unwrap()))
            .await
            .unwrap()
    };
    assert!(put(7).await.status.is_success());
    let refused = put(6).await;
    assert_eq!(refused.status, 409);
    assert_eq!(refused.json::<Refused>().unwrap().term, Some(7));
    assert!(put(7).await.status.is_success());
    assert_eq!(edge.hello().await.unwrap().term, 7);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_right_key_publishes_and_no_key_is_logged() {
    let origin = Node::origin().await.unwrap();
    let keys = BTreeMap::from([("mine".to_owned(), PublishKey::new("open-sesame-1"))]);
    let publishing = Publishing {
        keys: Some(keys),
        ..Publishing::default()
    };
    let body = serde_json::to_vec(&publishing).unwrap();
    assert!(
        origin
            .control(Method::PUT, PUBLISHING_PATH, Some(body))
            .await
            .unwrap()
            .status
            .is_success()
    );
    let clip = root().join("operator/src/local/sample.flv");
    for (stream, accepted) in [
        ("mine", 0),
        ("mine?key=wrong-sesame", 0),
        ("other?key=open-sesame-1", 0),
        ("mine?key=open-sesame-1", 1),
    ] {
        let options = publish::Options {
            duration: Some(Duration::from_secs(1)),
            ..publish::Options::new(origin.rtmp_url(stream), clip.clone())
        };
        let report = publish::start(options).unwrap().report().await;
        assert_eq!(report.streams, accepted, "{stream}: {report:?}");
    }
    assert!(!origin.process.log().contains("sesame"), "a key is in the log");
    let readable = origin.control(Method::GET, PUBLISHING_PATH, None).await.unwrap();
    assert!(!readable.text().contains("sesame"), "{}", readable.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_are_counted() {
    let node = Node::origin().await.unwrap();
    http::get(&node.http_url("/live/unknown.flv")).await.unwrap();
    let metrics = node.metrics().await.unwrap();
    let counted = metrics
        .lines()
        .any(|line| line.starts_with("headwater_node_refused_total{") && !line.ends_with(" 0"));
    assert!(counted, "{metrics}");
}
