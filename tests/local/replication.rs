//! A published stream is on every edge at once, and goes from all of them when it ends.

use std::time::{Duration, Instant};

use e2e::harness::media::Ffmpeg;
use e2e::harness::websocket::Viewer;
use e2e::harness::{node, root};
use tokio::task::JoinHandle;

use crate::{LONG, edges, on_every_edge, publish_sample, two_edges};

/// How often a stream is published anew.
const PUBLISHES: u32 = 10;

/// When a node first lists the stream, asked meanwhile.
fn listed(address: &str, stream: &str) -> JoinHandle<Instant> {
    let (address, stream) = (address.to_owned(), stream.to_owned());
    tokio::spawn(async move { node::listed(&address, &stream, LONG).await.unwrap() })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_of_ffmpegs_is_playable_on_every_edge_within_half_a_second_of_its_first_key_frame() {
    let local = two_edges().await;
    let fleet = local.fleet().await.unwrap();
    let origin = fleet["origins"][0]["http"].as_str().unwrap().to_owned();
    let addresses: Vec<String> = edges(&fleet)
        .iter()
        .map(|edge| edge["http"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(addresses.len(), 2);
    let clip = root().join("operator/src/local/sample.flv");
    let rtmp = local.origin_rtmp().await.unwrap();
    let mut took = Vec::new();
    for round in 0..PUBLISHES {
        let stream = format!("mine{round}");
        let at_origin = listed(&origin, &stream);
        let at_edges: Vec<_> = addresses.iter().map(|address| listed(address, &stream)).collect();
        let publisher = Ffmpeg::System
            .publish(&clip, &format!("rtmp://{rtmp}/live/{stream}"), -1)
            .unwrap();
        let began = at_origin.await.unwrap();
        for at_edge in at_edges {
            took.push(at_edge.await.unwrap().saturating_duration_since(began).as_millis());
        }
        if round == 0 {
            for address in &addresses {
                let mut viewer = Viewer::connect(&format!("ws://{address}/live/{stream}.mp4"))
                    .await
                    .unwrap();
                viewer
                    .until(Duration::from_secs(2), "media comes", |viewer| viewer.binary.len() > 1)
                    .await
                    .unwrap();
            }
        }
        drop(publisher);
    }
    took.sort_unstable();
    let (median, most) = (took[took.len() / 2], took[took.len() - 1]);
    println!(
        "figure: first key frame at the origin to playable on an edge, {} samples: median {median} ms, max {most} ms",
        took.len()
    );
    assert!(most < 500, "{took:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_fleet_map_shows_a_stream_come_and_go() {
    let local = two_edges().await;
    let publication = publish_sample(&local, "mine").await;
    local
        .wait(LONG, "the stream is on every edge", |fleet| {
            on_every_edge(fleet, "mine").then_some(())
        })
        .await
        .unwrap();
    let fleet = local.fleet().await.unwrap();
    assert_eq!(fleet["origins"][0]["streams"][0]["name"], "mine", "{fleet}");
    publication.stop().await;
    local
        .wait(Duration::from_secs(3), "the stream is gone everywhere", |fleet| {
            let none = |value: &serde_json::Value| value["streams"].as_array().is_some_and(Vec::is_empty);
            (edges(fleet).iter().all(none) && none(&fleet["origins"][0])).then_some(())
        })
        .await
        .unwrap();
}
