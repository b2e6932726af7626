//! Edges that drain: players that can move do so without a gap, the others stay until they leave or the deadline.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use e2e::bench::load::{self, Protocol};
use e2e::harness::{Local, http, wait_until};
use serde_json::Value;

use crate::scaling::{all_watch, seamless, watch};
use crate::{LONG, edges, manifest, on_every_edge, publish_sample};

/// `drainTimeoutSeconds` of the first test: longer than the 10 s over which a drain spreads its moves.
const DEADLINE: Duration = Duration::from_secs(16);
/// What a deadline may be off by: the control loop looks once a second, and so does this machine's fleet map.
const LATE: Duration = Duration::from_millis(2500);

async fn carried(local: &Local) {
    local
        .wait(LONG, "the stream is on every edge", |fleet| {
            on_every_edge(fleet, "a").then_some(())
        })
        .await
        .unwrap();
}

fn named(fleet: &Value, name: &str) -> Option<Value> {
    edges(fleet).into_iter().find(|edge| edge["name"] == name)
}

fn names(fleet: &Value) -> Vec<String> {
    let name = |edge: Value| edge["name"].as_str().map(str::to_owned);
    edges(fleet).into_iter().filter_map(name).collect()
}

fn cuts(load: &load::Load) -> u64 {
    load.counters().cuts.load(Ordering::Relaxed)
}

/// Viewers of one edge, past the load balancer.
async fn sit(fleet: &Value, edge: &str, protocol: Protocol, viewers: u32) -> load::Load {
    let field = if protocol == Protocol::Rtmp { "rtmp" } else { "http" };
    let address = named(fleet, edge).unwrap()[field].as_str().unwrap().to_owned();
    let load = watch(&address, protocol, viewers);
    all_watch(&load, u64::from(viewers)).await;
    load
}

/// A pool of so many edges.
fn pool(replicas: u32) -> String {
    let timeout = DEADLINE.as_secs();
    manifest(&format!("  replicas: {replicas}\n  drainTimeoutSeconds: {timeout}"))
}

/// Viewers on `web-1` and `web-2`, the edges that are to drain.
fn on_draining(fleet: &Value) -> u64 {
    let viewers = |name| named(fleet, name).and_then(|edge| edge["viewers"].as_u64());
    viewers("web-1").unwrap_or(0) + viewers("web-2").unwrap_or(0)
}

/// Four edges and their viewers: two edges have so many that the other two are the least loaded wherever the players land.
struct Watched {
    busy: [load::Load; 2],
    /// On `web-1`, to the end.
    staying: [load::Load; 3],
    /// On `web-2`, to leave.
    leaving: load::Load,
    /// Anywhere; they can move.
    players: load::Load,
}

impl Watched {
    async fn start(local: &Local, fleet: &Value) -> Self {
        let watched = Self {
            busy: [
                sit(fleet, "web-3", Protocol::Flv, 14).await,
                sit(fleet, "web-4", Protocol::Flv, 14).await,
            ],
            staying: [
                sit(fleet, "web-1", Protocol::Flv, 1).await,
                sit(fleet, "web-1", Protocol::Rtmp, 1).await,
                sit(fleet, "web-1", Protocol::Mp4, 1).await,
            ],
            leaving: sit(fleet, "web-2", Protocol::Rtmp, 1).await,
            players: watch(&local.pool_http().await.unwrap(), Protocol::Ws, 12),
        };
        all_watch(&watched.players, 12).await;
        local
            .wait(LONG, "all viewers are seen", |fleet| {
                (fleet["pools"][0]["viewers"] == 44).then_some(())
            })
            .await
            .unwrap();
        watched
    }
}

/// Waits until the two least loaded edges drain; they refuse newcomers.
async fn two_drain(local: &Local) {
    let fleet = local
        .wait(LONG, "two edges drain", |fleet| {
            (fleet["pools"][0]["draining"] == 2).then(|| fleet.clone())
        })
        .await
        .unwrap();
    for edge in edges(&fleet) {
        let least = edge["name"] == "web-1" || edge["name"] == "web-2";
        assert_eq!(edge["draining"], least, "the least loaded drain: {fleet}");
    }
    let first = named(&fleet, "web-1").unwrap()["http"].as_str().unwrap().to_owned();
    let refused = http::get(&format!("http://{first}/live/a.flv")).await.unwrap();
    assert_eq!(refused.status, 503);
    assert!(refused.headers.contains_key("retry-after"));
}

/// Waits until `web-2` is gone from the fleet map, and its process from the machine.
async fn emptied_edge_goes(local: &Local) {
    let left = Instant::now();
    local
        .wait(Duration::from_secs(5), "the edge that is empty goes", |fleet| {
            named(fleet, "web-2").is_none().then_some(())
        })
        .await
        .unwrap();
    wait_until(Duration::from_secs(3), "and its process with it", || async {
        let children = local.process.children();
        if children.len() == 4 {
            Ok(())
        } else {
            Err(format!("{children:?}"))
        }
    })
    .await
    .unwrap();
    println!(
        "figure: an emptied edge went {:.1} s after its last viewer",
        left.elapsed().as_secs_f64()
    );
}

/// Waits until each of `staying` is cut, at the deadline of a drain that began at `began` and not before.
async fn cut_at_the_deadline(staying: &[load::Load], began: Instant) {
    let cut = wait_until(DEADLINE + LATE * 2, "those who stayed are cut", || async {
        let cut: Vec<u64> = staying.iter().map(cuts).collect();
        let at = began.elapsed();
        let early = cut.iter().sum::<u64>() > 0 && at < DEADLINE - LATE;
        assert!(!early, "cut {cut:?} after {at:?}");
        if cut == [1, 1, 1] {
            Ok(at)
        } else {
            Err(format!("{cut:?}"))
        }
    })
    .await
    .unwrap();
    println!(
        "figure: viewers that can't move were cut {:.1} s into a drain of {DEADLINE:?}",
        cut.as_secs_f64()
    );
    assert!(cut < DEADLINE + LATE, "{cut:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_drains_at_once_move_players_without_a_gap_and_cut_the_others_at_the_deadline_not_before() {
    let local = Local::start(&pool(4), &[]).await.unwrap();
    let fleet = local.whole(LONG).await.unwrap();
    let publication = publish_sample(&local, "a").await;
    carried(&local).await;
    let watched = Watched::start(&local, &fleet).await;
    let to_move = on_draining(&local.fleet().await.unwrap()) - 4;

    std::fs::write(&local.manifest, pool(2)).unwrap();
    two_drain(&local).await;
    let began = Instant::now();
    local
        .wait(DEADLINE, "every player has moved", |fleet| {
            (on_draining(fleet) == 4).then_some(())
        })
        .await
        .unwrap();
    println!(
        "figure: {to_move} players moved off two draining edges in {:.1} s",
        began.elapsed().as_secs_f64()
    );
    assert_eq!(cuts(&watched.leaving), 0);
    watched.leaving.stop().await.unwrap();
    emptied_edge_goes(&local).await;
    assert!(began.elapsed() < DEADLINE - LATE, "not before the deadline");
    cut_at_the_deadline(&watched.staying, began).await;

    let players = watched.players.stop().await.unwrap();
    seamless(&players);
    assert_eq!((players.moves.done, players.moves.failed), (to_move, 0), "{players}");
    for load in watched.busy {
        assert_eq!(cuts(&load), 0, "viewers of an edge that stays were touched");
        load.stop().await.unwrap();
    }
    publication.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn load_that_returns_takes_draining_edges_back_before_new_ones_are_made() {
    // 24 viewers of 0.43 Mbit/s ask for five edges at 70 % of 3 Mbit/s, of which four are allowed.
    let pool = "  autoscaling: {minReplicas: 2, maxReplicas: 4, capacityMbps: 3, scaleOutPercent: 70, scaleInPercent: 40,\n    \
        scaleOutStabilizationSeconds: 1, scaleInStabilizationSeconds: 3}\n  drainTimeoutSeconds: 60";
    let local = Local::start(&manifest(pool), &[]).await.unwrap();
    local.whole(LONG).await.unwrap();
    let publication = publish_sample(&local, "a").await;
    carried(&local).await;
    let address = local.pool_http().await.unwrap();
    let crowd = watch(&address, Protocol::Ws, 24);
    let fleet = local
        .wait(LONG, "four edges serve", |fleet| {
            (fleet["pools"][0]["ready"] == 4 && on_every_edge(fleet, "a")).then(|| fleet.clone())
        })
        .await
        .unwrap();
    let before = names(&fleet);
    let mut sitting = Vec::new();
    for name in &before {
        sitting.push(sit(&fleet, name, Protocol::Flv, 1).await);
    }
    seamless(&crowd.stop().await.unwrap());
    local
        .wait(LONG, "two edges drain at once", |fleet| {
            let pool = &fleet["pools"][0];
            (pool["draining"] == 2 && pool["desired"] == 2).then_some(())
        })
        .await
        .unwrap();
    let crowd = watch(&address, Protocol::Ws, 24);
    all_watch(&crowd, 24).await;
    let began = Instant::now();
    let fleet = local
        .wait(LONG, "the draining edges serve again", |fleet| {
            let pool = &fleet["pools"][0];
            (pool["draining"] == 0 && pool["ready"] == 4).then(|| fleet.clone())
        })
        .await
        .unwrap();
    println!(
        "figure: drains taken back {:.1} s after the load's return",
        began.elapsed().as_secs_f64()
    );
    assert_eq!(names(&fleet), before, "edges were made anew");
    for load in &sitting {
        assert_eq!(cuts(load), 0, "a viewer of an edge that drained was cut");
    }
    seamless(&crowd.stop().await.unwrap());
    for load in sitting {
        load.stop().await.unwrap();
    }
    publication.stop().await;
}
