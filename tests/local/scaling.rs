//! The pool grows by the bandwidth that it carries, and shrinks without cutting anybody.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use e2e::bench::{load, publish};
use e2e::harness::{Local, http, wait_until};
use serde_json::Value;
use tokio::task::JoinHandle;

use crate::{LONG, edges, manifest, publish_sample};

/// `scaleOutStabilizationSeconds`.
const WINDOW: Duration = Duration::from_secs(2);
/// The sample has 0.43 Mbit/s: at 70 % of 3 Mbit/s an edge has room for four viewers and a bit.
const POOL: &str = "  autoscaling: {minReplicas: 2, maxReplicas: 5, capacityMbps: 3, scaleOutPercent: 70, scaleInPercent: 40,\n    \
    scaleOutStabilizationSeconds: 2, scaleInStabilizationSeconds: 4}\n  drainTimeoutSeconds: 30";
const STREAMS: [&str; 3] = ["a", "b", "c"];

/// Viewers that follow moves, all of which read stamps.
pub(crate) fn watch(authority: &str, protocol: load::Protocol, viewers: u32) -> load::Load {
    let options = load::Options {
        follow_moves: true,
        probes: viewers,
        ..load::Options::new(
            load::url(protocol, authority, "live/a"),
            viewers,
            Duration::from_secs(600),
        )
    };
    load::start(options).unwrap()
}

pub(crate) async fn all_watch(load: &load::Load, viewers: u64) {
    wait_until(LONG, "all watch", || async {
        if load.playing() >= viewers {
            Ok(())
        } else {
            let failures = load.counters().failures.load(Ordering::Relaxed);
            Err(format!("{} of {viewers}, {failures} failed", load.playing()))
        }
    })
    .await
    .unwrap();
}

/// No viewer was cut, and none missed a picture or saw time jump.
pub(crate) fn seamless(report: &load::Report) {
    let gaps = &report.gaps;
    assert_eq!(
        (report.cut, gaps.gaps, gaps.backward, gaps.missing_pictures),
        (0, 0, 0, 0),
        "{report}"
    );
}

/// What happens to a pool while nobody else looks.
#[derive(Debug, Default)]
struct Seen {
    /// Streams that each edge listed when it first said of itself that it is ready.
    carried_when_ready: BTreeMap<String, usize>,
    most_desired: u64,
    /// Most edges at once that are neither draining nor gone.
    most_serving: usize,
    most_draining: u64,
}

struct Watcher {
    seen: Arc<Mutex<Seen>>,
    task: JoinHandle<()>,
}

impl Watcher {
    fn start(local: &Local) -> Self {
        let seen = Arc::new(Mutex::new(Seen::default()));
        let task = tokio::spawn(watch_pool(format!("http://{}/api/v1/fleet", local.ops), seen.clone()));
        Self { seen, task }
    }

    fn end(self) -> Seen {
        self.task.abort();
        std::mem::take(&mut self.seen.lock().unwrap())
    }
}

async fn watch_pool(fleet: String, seen: Arc<Mutex<Seen>>) {
    let mut asked = std::collections::BTreeSet::new();
    loop {
        let document: Value = match http::get(&fleet).await.and_then(|answer| answer.json()) {
            Ok(document) => document,
            Err(_) => return,
        };
        let pool = &document["pools"][0];
        let edges = edges(&document);
        {
            let mut seen = seen.lock().unwrap();
            let count = |field: &str| pool[field].as_u64().unwrap_or(0);
            seen.most_desired = seen.most_desired.max(count("desired"));
            seen.most_draining = seen.most_draining.max(count("draining"));
            let serving = edges.iter().filter(|edge| edge["draining"] == false).count();
            seen.most_serving = seen.most_serving.max(serving);
        }
        for edge in edges {
            let (name, address) = (edge["name"].as_str().unwrap_or(""), edge["http"].as_str().unwrap_or(""));
            if !address.is_empty() && asked.insert(name.to_owned()) {
                tokio::spawn(ask(name.to_owned(), address.to_owned(), seen.clone()));
            }
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
}

/// Asks an edge itself until it is ready, then at once what it carries.
async fn ask(name: String, address: String, seen: Arc<Mutex<Seen>>) {
    loop {
        match http::get(&format!("http://{address}/readyz")).await {
            Ok(answer) if answer.status.is_success() => break,
            _ => tokio::time::sleep(Duration::from_millis(3)).await,
        }
    }
    let listing = http::get(&format!("http://{address}/api/streams")).await;
    let listing: Value = listing.and_then(|answer| answer.json()).unwrap_or_default();
    let streams = listing["streams"].as_array().map_or(0, Vec::len);
    seen.lock().unwrap().carried_when_ready.insert(name, streams);
}

async fn pool_is(local: &Local, within: Duration, what: &str, is: impl Fn(&Value) -> bool) -> Value {
    local
        .wait(within, what, |fleet| is(&fleet["pools"][0]).then(|| fleet.clone()))
        .await
        .unwrap()
}

fn viewers(fleet: &Value) -> Vec<u64> {
    edges(fleet)
        .iter()
        .filter_map(|edge| edge["viewers"].as_u64())
        .collect()
}

async fn two_edges_with_streams() -> (Local, Vec<publish::Publication>) {
    let local = Local::start(&manifest(POOL), &[]).await.unwrap();
    local.whole(LONG).await.unwrap();
    let mut publications = Vec::new();
    for stream in STREAMS {
        publications.push(publish_sample(&local, stream).await);
    }
    local
        .wait(LONG, "the streams are on every edge", |fleet| {
            let all = STREAMS.iter().all(|stream| crate::on_every_edge(fleet, stream));
            all.then_some(())
        })
        .await
        .unwrap();
    (local, publications)
}

/// After the last viewer of a load that needs three edges came.
async fn three_edges_serve(local: &Local) {
    let came = Instant::now();
    pool_is(local, LONG, "more edges are wanted", |pool| {
        pool["desired"].as_u64() > Some(2)
    })
    .await;
    let decided = Instant::now();
    let fleet = pool_is(local, LONG, "a third edge is ready", |pool| {
        pool["ready"].as_u64() >= Some(3)
    })
    .await;
    println!(
        "figure: window of {WINDOW:?} over {:.1} s after the last viewer came; first new edge serves {} ms later",
        (decided - came).as_secs_f64(),
        decided.elapsed().as_millis()
    );
    assert!(decided.elapsed() < Duration::from_secs(5), "{:?}", decided.elapsed());
    assert!(came.elapsed() < WINDOW + Duration::from_secs(7), "{:?}", came.elapsed());
    assert_eq!(fleet["pools"][0]["desired"], 3, "as many as the load needs: {fleet}");
}

/// After the last of 22 viewers came.
async fn evened_out(local: &Local) {
    let fleet = pool_is(local, LONG, "five edges are ready", |pool| pool["ready"] == 5).await;
    let (began, before) = (Instant::now(), viewers(&fleet));
    let fleet = local
        .wait(LONG * 2, "no edge has more than its share", |fleet| {
            let now = viewers(fleet);
            (now.iter().sum::<u64>() == 22 && now.iter().all(|viewers| *viewers <= 5)).then(|| fleet.clone())
        })
        .await
        .unwrap();
    println!(
        "figure: viewers by edge {before:?} became {:?} in {:.1} s",
        viewers(&fleet),
        began.elapsed().as_secs_f64()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn viewers_past_the_threshold_bring_edges_and_their_leaving_takes_them_away_without_a_gap() {
    let (local, publications) = two_edges_with_streams().await;
    let watcher = Watcher::start(&local);
    let address = local.pool_http().await.unwrap();

    // 12 viewers x 0.43 = 5.2 Mbit/s: three edges at 70 % of 3 Mbit/s.
    let staying = watch(&address, load::Protocol::Ws, 3);
    all_watch(&staying, 3).await;
    let first = watch(&address, load::Protocol::Ws, 9);
    all_watch(&first, 9).await;
    three_edges_serve(&local).await;

    // 22 viewers: 9.5 Mbit/s, five edges, 63 % of their capacity.
    let second = watch(&address, load::Protocol::Ws, 10);
    all_watch(&second, 10).await;
    evened_out(&local).await;

    // 40 viewers would need nine.
    let third = watch(&address, load::Protocol::Ws, 18);
    all_watch(&third, 18).await;
    pool_is(&local, LONG, "the load is seen", |pool| pool["viewers"] == 40).await;
    tokio::time::sleep(WINDOW * 2).await;

    let (mut asked, mut moved) = (0, 0);
    for load in [first, second, third] {
        let report = load.stop().await.unwrap();
        seamless(&report);
        assert_eq!(report.moves.failed, 0, "{report}");
        (asked, moved) = (asked + report.moves.asked, moved + report.moves.done);
    }
    println!("figure: {moved} of {asked} viewers asked to move went over, none with a gap");
    assert!(moved > 0, "nobody was rebalanced");
    let gone = Instant::now();
    pool_is(&local, Duration::from_secs(60), "two edges are left", |pool| {
        pool["ready"] == 2 && pool["draining"] == 0 && pool["edges"].as_array().map(Vec::len) == Some(2)
    })
    .await;
    println!(
        "figure: back to 2 edges {:.1} s after the load had gone",
        gone.elapsed().as_secs_f64()
    );
    seamless(&staying.stop().await.unwrap());

    let seen = watcher.end();
    assert_eq!((seen.most_desired, seen.most_serving), (5, 5), "{seen:?}");
    assert!(seen.carried_when_ready.len() >= 5, "{seen:?}");
    for (edge, streams) in &seen.carried_when_ready {
        assert_eq!(
            *streams,
            STREAMS.len(),
            "{edge} was ready with {streams} streams: {seen:?}"
        );
    }
    println!("figure: most edges draining at once: {}", seen.most_draining);
    for publication in publications {
        publication.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_capacity_or_maximum_takes_effect_at_once() {
    let pool = |capacity: u32, most: u32| {
        manifest(&format!(
            "  autoscaling: {{minReplicas: 1, maxReplicas: {most}, capacityMbps: {capacity}, scaleOutStabilizationSeconds: 0,\n    \
            scaleInStabilizationSeconds: 1}}\n  drainTimeoutSeconds: 5"
        ))
    };
    let local = Local::start(&pool(100, 2), &[]).await.unwrap();
    local.whole(LONG).await.unwrap();
    let _publication = publish_sample(&local, "a").await;
    local
        .wait(LONG, "the stream is on every edge", |fleet| {
            crate::on_every_edge(fleet, "a").then_some(())
        })
        .await
        .unwrap();
    let load = watch(&local.pool_http().await.unwrap(), load::Protocol::Ws, 8);
    all_watch(&load, 8).await;
    pool_is(&local, LONG, "the load is seen", |pool| {
        pool["outboundMbps"].as_f64() > Some(2.0)
    })
    .await;
    let fleet = local.fleet().await.unwrap();
    assert_eq!(fleet["pools"][0]["desired"], 1, "{fleet}");
    // 3.4 Mbit/s at 70 % of 2 Mbit/s are three edges, of which two are allowed.
    std::fs::write(&local.manifest, pool(2, 2)).unwrap();
    pool_is(&local, LONG, "a smaller capacity brings an edge", |pool| {
        pool["ready"] == 2
    })
    .await;
    std::fs::write(&local.manifest, pool(2, 4)).unwrap();
    pool_is(&local, LONG, "a larger maximum brings another", |pool| {
        pool["ready"] == 3
    })
    .await;
    std::fs::write(&local.manifest, pool(100, 4)).unwrap();
    pool_is(&local, LONG, "a larger capacity takes them away", |pool| {
        pool["ready"] == 1 && pool["edges"].as_array().map(Vec::len) == Some(1)
    })
    .await;
    seamless(&load.stop().await.unwrap());
}
