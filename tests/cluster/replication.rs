//! A stream that is published in the cluster is on every edge at once, tier by tier.

use std::time::{Duration, Instant};

use e2e::harness::cluster::{Case, Space, condition, secret_text};
use e2e::harness::media::Ffmpeg;
use e2e::harness::{http, node, root, wait_until};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::stage::{
    EDGES, LONG, MAIN, address, all_watch, edges, name, on_every_edge, origin_pod, pool, publish_sample, reason, serve,
    service, serving, since, watch, web,
};

/// How often a stream is published anew.
const PUBLISHES: u32 = 20;

/// The tests.
pub fn cases() -> Vec<Case> {
    e2e::cases![Nodes:
        the_example_serves_and_a_stream_of_ffmpegs_is_on_every_edge_within_a_second,
        a_changed_secret_holds_within_a_second_and_restarts_nothing,
        the_lowest_tier_goes_on_when_a_middle_edge_goes,
        pools_in_a_circle_say_so_and_go_on_when_it_is_broken
    ]
}

/// When a node first lists the stream, asked meanwhile.
fn listed(address: &str, stream: &str) -> JoinHandle<Instant> {
    let (address, stream) = (format!("{address}:8080"), stream.to_owned());
    tokio::spawn(async move { node::listed(&address, &stream, LONG).await.unwrap() })
}

async fn the_example_serves_and_a_stream_of_ffmpegs_is_on_every_edge_within_a_second(space: Space) {
    let operator = space.operator(&[]).await.unwrap();
    let example = std::fs::read_to_string(root().join("examples/cluster.yaml")).unwrap();
    space.apply(&example).await.unwrap();
    serve(&space, &operator, 2).await;
    let origin = address(&origin_pod(&space).await);
    let pods: Vec<String> = space.list("Pod", EDGES).await.unwrap().iter().map(address).collect();
    let clip = root().join("operator/src/local/sample.flv");
    let mut last = Vec::new();
    for round in 0..PUBLISHES {
        let stream = format!("mine{round}");
        let at_origin = listed(&origin, &stream);
        let at_edges: Vec<_> = pods.iter().map(|pod| listed(pod, &stream)).collect();
        let publisher = Ffmpeg::System
            .publish(&clip, &format!("rtmp://{origin}:1935/live/{stream}"), -1)
            .unwrap();
        let began = at_origin.await.unwrap();
        let mut slowest = 0;
        for at_edge in at_edges {
            slowest = slowest.max(at_edge.await.unwrap().saturating_duration_since(began).as_millis());
        }
        last.push(slowest);
        drop(publisher);
    }
    last.sort_unstable();
    let (median, most) = (last[last.len() / 2], last[last.len() - 1]);
    println!(
        "figure: first key frame at the origin to playable on the last edge, {PUBLISHES} publishes: median {median} ms, max {most} ms"
    );
    assert!(most < 1_000, "{last:?}");

    // A person with `kubectl get` sees it.
    let origins = space.table("StreamOrigin").await.unwrap();
    assert_eq!(origins.cell(0, "Ready").as_deref(), Some("True"));
    let pools = space.table("EdgePool").await.unwrap();
    assert_eq!(
        (pools.cell(0, "Desired").as_deref(), pools.cell(0, "Up").as_deref()),
        (Some("2"), Some("2"))
    );
    let event = space
        .wait_all("Event", "", LONG, "a published stream is told", |events| {
            let told = |event: &&Value| event["reason"] == "StreamPublished";
            events.iter().find(told).cloned()
        })
        .await
        .unwrap();
    assert_eq!(
        event["regarding"]["name"]
            .as_str()
            .or(event["involvedObject"]["name"].as_str()),
        Some("main"),
        "{event}"
    );
}

async fn a_changed_secret_holds_within_a_second_and_restarts_nothing(space: Space) {
    let operator = serving(&space, "replicas: 1", 1).await;
    let pod = origin_pod(&space).await;
    space
        .patch(
            "StreamOrigin",
            "main",
            json!({"spec": {"publish": {"keysSecret": "keys"}}}),
        )
        .await
        .unwrap();
    space
        .wait(
            "StreamOrigin",
            "main",
            LONG,
            "says that the Secret is missing",
            |origin| (reason(origin, "Secured").0 == "KeysSecretMissing").then_some(()),
        )
        .await
        .unwrap();
    let clip = root().join("operator/src/local/sample.flv");
    let url = |key: &str| format!("rtmp://{}:1935/live/a?key={key}", address(&pod));
    let mut refused = Ffmpeg::System.publish(&clip, &url("one"), -1).unwrap();
    let status = refused.wait(LONG).await.unwrap();
    assert!(!status.success(), "a missing Secret refuses all");

    for key in ["one", "two"] {
        let secret =
            json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "keys"}, "stringData": {"a": key}});
        space.apply_one(secret).await.unwrap();
        let changed = Instant::now();
        let accepted = wait_until(LONG, "the new key is accepted", || async {
            let mut publisher = Ffmpeg::System.publish(&clip, &url(key), -1).unwrap();
            let listed = wait_until(Duration::from_secs(2), "it publishes", || async {
                let fleet = operator.fleet().await.map_err(|error| error.to_string())?;
                let live = fleet["origins"][0]["streams"]
                    .as_array()
                    .is_some_and(|streams| !streams.is_empty());
                if live { Ok(()) } else { Err("no stream".to_owned()) }
            });
            tokio::select! {
                listed = listed => listed.map(|()| publisher).map_err(|error| error.to_string()),
                ended = publisher.wait(LONG) => Err(format!("refused: {ended:?}")),
            }
        })
        .await
        .unwrap();
        println!(
            "figure: a changed key is accepted {} ms after the change, ffmpeg's start included",
            since(changed)
        );
        assert!(
            changed.elapsed() < Duration::from_secs(2),
            "ffmpeg's start included: {:?}",
            changed.elapsed()
        );
        drop(accepted);
        operator
            .wait_fleet(LONG, "the stream is gone", |fleet| {
                fleet["origins"][0]["streams"]
                    .as_array()
                    .is_some_and(Vec::is_empty)
                    .then_some(())
            })
            .await
            .unwrap();
    }
    let mut refused = Ffmpeg::System.publish(&clip, &url("one"), -1).unwrap();
    assert!(
        !refused.wait(LONG).await.unwrap().success(),
        "the key of before is refused"
    );
    let after = origin_pod(&space).await;
    assert_eq!(name(&pod), name(&after));
    assert_eq!(after["status"]["containerStatuses"][0]["restartCount"], 0);
}

async fn the_lowest_tier_goes_on_when_a_middle_edge_goes(space: Space) {
    let operator = space.operator(&[]).await.unwrap();
    space.apply(MAIN).await.unwrap();
    space.apply(&web("replicas: 2")).await.unwrap();
    space
        .apply(&pool("far", "{kind: EdgePool, name: web}", "replicas: 3"))
        .await
        .unwrap();
    serve(&space, &operator, 2).await;
    let far = "app.kubernetes.io/component=edge,app.kubernetes.io/instance=far";
    space.ready_pods(far, 3, LONG).await.unwrap();
    let _publication = publish_sample(&space, "a").await;
    operator
        .wait_fleet(LONG, "the stream is three tiers down", |fleet| {
            on_every_edge(fleet, "far", "a").then_some(())
        })
        .await
        .unwrap();
    let load = watch(&service(&space, "far-edge", 80).await, 3);
    all_watch(&load, 3).await;
    let middle = space.list("Pod", EDGES).await.unwrap();
    // Its children have somebody else to ask before the pod is replaced.
    space.lose_node(&name(&middle[0])).await.unwrap();
    let lost = Instant::now();
    let dead = address(&middle[0]);
    let token = space.get("Secret", "far-edge-control").await.unwrap();
    let token = secret_text(&token, "token").unwrap();
    let token = token.lines().next().unwrap().to_owned();
    let pods = space.list("Pod", far).await.unwrap();
    let told = pods
        .iter()
        .map(|pod| tokio::spawn(told_of_another(address(pod), token.clone(), dead.clone())));
    for child in told.collect::<Vec<_>>() {
        child.await.unwrap();
    }
    println!(
        "figure: the children of a lost middle edge were planned anew within {} ms",
        since(lost)
    );
    assert!(lost.elapsed() < Duration::from_secs(1), "{:?}", lost.elapsed());
    operator
        .wait_fleet(LONG, "the lowest tier carries the stream", |fleet| {
            let carries = on_every_edge(fleet, "far", "a") && edges(fleet, "far").len() == 3;
            carries.then_some(())
        })
        .await
        .unwrap();
    let report = load.stop().await.unwrap();
    assert_eq!(report.cut, 0, "{report}");
}

/// Waits until an edge is told to pull its stream from another address than this one.
async fn told_of_another(edge: String, token: String, dead: String) {
    let url = format!("http://{edge}:8081/v1/pulls");
    wait_until(LONG, "a child is told of another parent", || async {
        let answer = http::send(::http::Method::GET, &url, Some(&token), None).await;
        let pulls: Value = answer
            .and_then(|answer| answer.json())
            .map_err(|error| error.to_string())?;
        let parent = pulls["pulls"][0]["sources"][0]["url"].to_string();
        if parent.contains("rtmp") && !parent.contains(&dead) {
            Ok(())
        } else {
            Err(pulls.to_string())
        }
    })
    .await
    .unwrap();
}

async fn pools_in_a_circle_say_so_and_go_on_when_it_is_broken(space: Space) {
    let operator = space.operator(&[]).await.unwrap();
    space.apply(MAIN).await.unwrap();
    space
        .apply(&pool("one", "{kind: EdgePool, name: two}", "replicas: 1"))
        .await
        .unwrap();
    space
        .apply(&pool("two", "{kind: EdgePool, name: one}", "replicas: 1"))
        .await
        .unwrap();
    for name in ["one", "two"] {
        let message = space
            .wait("EdgePool", name, LONG, "says that it is in a circle", |pool| {
                let (reason, message) = reason(pool, "Ready");
                (reason == "UpstreamCycle" && condition(pool, "UpstreamCycle") == Some("True")).then_some(message)
            })
            .await
            .unwrap();
        assert!(message.contains("StreamOrigin"), "{message}");
    }
    space.delete("EdgePool", "one").await.unwrap();
    space.gone("EdgePool", "one", LONG).await.unwrap();
    space
        .apply(&pool("one", "{kind: StreamOrigin, name: main}", "replicas: 1"))
        .await
        .unwrap();
    let _publication = publish_sample(&space, "a").await;
    operator
        .wait_fleet(LONG, "both pools carry the stream", |fleet| {
            (on_every_edge(fleet, "one", "a") && on_every_edge(fleet, "two", "a")).then_some(())
        })
        .await
        .unwrap();
}
