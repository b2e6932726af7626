//! What goes wrong around the operator, and heals by itself.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use e2e::bench::load::Load;
use e2e::harness::cluster::{Case, Cluster, Operator, Space, condition};
use e2e::harness::media::Ffmpeg;
use e2e::harness::node::listed;
use e2e::harness::{http, wait_until};
use serde_json::{Value, json};
use tokio_util::task::AbortOnDropHandle;

use crate::stage::{
    EDGES, LONG, MAIN, ORIGIN, address, all_watch, carried, name, origin_pod, publish_sample, seamless, serve, service,
    serving, since, watch, web,
};

/// How long the API server stays away; a minute in `make long`.
const AWAY: Duration = Duration::from_secs(15);

/// The tests.
pub fn cases() -> Vec<Case> {
    let mut cases = e2e::cases![Nodes:
        one_of_two_operators_leads_and_the_other_takes_over,
        a_leader_that_stood_still_does_nothing_any_more,
        an_origin_on_a_lost_node_comes_back_elsewhere,
        media_goes_on_while_the_api_server_is_away
    ];
    let long = e2e::cases![Nodes: media_goes_on_while_the_api_server_is_away_for_a_minute];
    let taints = e2e::cases![ControllerManager: an_origin_on_a_lost_node_serves_elsewhere_within_30_s_of_the_taint];
    cases.extend(taints);
    cases.extend(long.into_iter().map(|case| case.long().within(LONG * 6)));
    cases
}

/// The holder of the Lease.
async fn holder(space: &Space) -> String {
    let lease = space.find("Lease", "headwater").await.unwrap().unwrap_or_default();
    lease["spec"]["holderIdentity"].as_str().unwrap_or_default().to_owned()
}

async fn held_by(space: &Space, identity: &str, within: Duration) {
    wait_until(within, &format!("{identity} leads"), || async {
        let holder = holder(space).await;
        if holder == identity { Ok(()) } else { Err(holder) }
    })
    .await
    .unwrap();
}

/// True if this operator decides.
async fn leads(operator: &Operator) -> bool {
    let metrics = operator.metrics().await.unwrap_or_default();
    metrics.lines().any(|line| line == "headwater_leader 1")
}

async fn led_by(operator: &Operator, within: Duration) {
    wait_until(within, "it leads", || async {
        if leads(operator).await {
            Ok(())
        } else {
            Err("it does not lead")
        }
    })
    .await
    .unwrap();
}

async fn one_of_two_operators_leads_and_the_other_takes_over(space: Space) {
    let first = serving(&space, "replicas: 2", 2).await;
    let second = Operator::start_second(&space.cluster, &space.name, &[]).await.unwrap();
    second.ready().await.unwrap();
    assert!(leads(&first).await && !leads(&second).await);
    let pods: Vec<String> = space.list("Pod", EDGES).await.unwrap().iter().map(name).collect();
    let _publication = publish_sample(&space, "a").await;
    carried(&first, "a").await;
    let load = watch(&service(&space, "web-edge", 80).await, 4);
    all_watch(&load, 4).await;

    // An end in order gives the Lease back.
    let identity = second.identity().to_owned();
    let begun = Instant::now();
    first.stop().await.unwrap();
    held_by(&space, &identity, LONG).await;
    led_by(&second, LONG).await;
    println!("figure: hand-over after an end in order: {} ms", since(begun));
    assert!(begun.elapsed() < Duration::from_secs(15));

    // A crash leaves it to run out.
    let third = Operator::start(&space.cluster, &space.name, &[]).await.unwrap();
    third.ready().await.unwrap();
    let begun = Instant::now();
    second.kill().await.unwrap();
    led_by(&third, LONG).await;
    println!("figure: hand-over after a crash: {} ms", since(begun));
    assert!(begun.elapsed() < Duration::from_secs(15), "{:?}", begun.elapsed());
    serve(&space, &third, 2).await;
    let after: Vec<String> = space.list("Pod", EDGES).await.unwrap().iter().map(name).collect();
    assert_eq!(pods, after, "nobody made or took away an edge");
    seamless(&load.stop().await.unwrap());
}

async fn a_leader_that_stood_still_does_nothing_any_more(space: Space) {
    let mut first = serving(&space, "replicas: 2", 2).await;
    first.pause().await.unwrap();
    let second = Operator::start_second(&space.cluster, &space.name, &[]).await.unwrap();
    led_by(&second, LONG).await;
    // The second one decides otherwise than the first would.
    space
        .patch("EdgePool", "web", json!({"spec": {"replicas": 3}}))
        .await
        .unwrap();
    space.ready_pods(EDGES, 3, LONG).await.unwrap();
    let audit = space.cluster.audit().unwrap();
    let mark = audit.mark();
    first.resume().await.unwrap();
    // It notices, and ends: its Deployment starts it anew, to stand by.
    let ended = first.child.process.wait(LONG).await.unwrap();
    assert!(!ended.success());
    let written = audit.of(e2e::harness::cluster::User::Operator.name(), mark).unwrap();
    let written: Vec<_> = written
        .into_iter()
        .filter(|write| write.resource != "leases" && write.code < 300)
        .collect();
    assert!(written.is_empty(), "{written:#?}");
    assert!(leads(&second).await);
    let deployment = space.get("Deployment", "web-edge").await.unwrap();
    assert_eq!(deployment["spec"]["replicas"], 3);
}

async fn an_origin_on_a_lost_node_comes_back_elsewhere(space: Space) {
    let operator = serving(&space, "replicas: 2", 2).await;
    let _publication = publish_sample(&space, "a").await;
    carried(&operator, "a").await;
    let lost = name(&origin_pod(&space).await);
    let begun = Instant::now();
    space.lose_node(&lost).await.unwrap();
    space
        .wait_all("Pod", ORIGIN, LONG, "another pod serves", |pods| {
            let other = |pod: &&Value| name(pod) != lost && condition(pod, "Ready") == Some("True");
            pods.iter().find(other).map(address)
        })
        .await
        .unwrap();
    let serves = since(begun);
    let pods = space.list("Pod", EDGES).await.unwrap();
    for pod in pods.iter().map(address) {
        let url = format!("http://{pod}:8080/api/streams");
        wait_until(LONG, "the edge carries the stream of the new origin", || async {
            let text = http::get(&url).await.map(|answer| answer.text()).unwrap_or_default();
            if text.contains("\"name\":\"a\"") {
                Ok(())
            } else {
                Err(text)
            }
        })
        .await
        .unwrap();
    }
    carried(&operator, "a").await;
    // The taint's 10 s before a pod is deleted are the cluster's; what comes after is ours.
    println!(
        "figure: after the pod of a lost node was given up, another served in {serves} ms, and edges carried the stream in {} ms",
        since(begun)
    );
    assert!(
        begun.elapsed() < Duration::from_secs(20),
        "with the taint's 10 s over 30 s"
    );
}

/// How long an encoder sends without anybody taking it before it connects again.
const ENCODER_PATIENCE: Duration = Duration::from_secs(5);

/// ffmpeg as an encoder of a person's: started again when it has ended, and when it is given up.
struct Encoder {
    give_up: tokio::sync::watch::Sender<()>,
    _task: AbortOnDropHandle<()>,
}

impl Encoder {
    async fn start(space: &Space, stream: &str) -> Self {
        let clip = e2e::harness::root().join("operator/src/local/sample.flv");
        let url = format!("rtmp://{}/live/{stream}", service(space, "main-origin", 1935).await);
        let (give_up, mut given_up) = tokio::sync::watch::channel(());
        let task = tokio::spawn(async move {
            loop {
                let mut ffmpeg = Ffmpeg::System.publish(&clip, &url, -1).unwrap();
                tokio::select! {
                    _ = ffmpeg.wait(Duration::from_secs(3_600)) => {}
                    _ = given_up.changed() => {}
                }
                drop(ffmpeg);
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        });
        Self {
            give_up,
            _task: AbortOnDropHandle::new(task),
        }
    }
}

/// The lost origin gives nothing any more: what comes now is the new one's.
async fn goes_on(load: &Load) {
    let before = load.counters().wire_bytes.load(Ordering::Relaxed);
    wait_until(LONG, "pictures come again", || async {
        match load.counters().wire_bytes.load(Ordering::Relaxed) - before {
            bytes if bytes > 50_000 => Ok(()),
            bytes => Err(bytes),
        }
    })
    .await
    .unwrap();
}

/// Played in time, with the real controllers: the taint's eviction, and a pod object that is never confirmed to be gone.
async fn an_origin_on_a_lost_node_serves_elsewhere_within_30_s_of_the_taint(space: Space) {
    // A cluster of its own: the others go on with all nodes.
    let cluster = Cluster::start_own().await.unwrap();
    let own = Space::make(&cluster).await.unwrap();
    drop(space);
    let operator = own.operator(&[]).await.unwrap();
    own.apply(MAIN).await.unwrap();
    own.apply(&web("replicas: 2")).await.unwrap();
    serve(&own, &operator, 2).await;
    let encoder = Encoder::start(&own, "a").await;
    carried(&operator, "a").await;
    let lost = origin_pod(&own).await;
    let node = lost["spec"]["nodeName"].as_str().unwrap().to_owned();
    // An edge that is on it too is lost with it.
    let mut edges = own.list("Pod", EDGES).await.unwrap();
    edges.retain(|edge| edge["spec"]["nodeName"] != *node);
    assert!(!edges.is_empty());
    let loads: Vec<_> = edges
        .iter()
        .map(|edge| watch(&format!("{}:8080", address(edge)), 1))
        .collect();
    for load in &loads {
        all_watch(load, 1).await;
    }

    cluster.lose_node(&node).await.unwrap();
    let tainted = Instant::now();
    let gives_up = async {
        tokio::time::sleep(ENCODER_PATIENCE).await;
        encoder.give_up.send_replace(());
    };
    let recovers = async {
        let given_up = |pod: &Value| pod["metadata"]["deletionTimestamp"].is_string().then_some(());
        own.wait("Pod", &name(&lost), LONG, "is given up", given_up)
            .await
            .unwrap();
        let given_up = since(tainted);
        let at = own
            .wait_all("Pod", ORIGIN, LONG, "another pod serves", |pods| {
                let other = |pod: &&Value| name(pod) != name(&lost) && condition(pod, "Ready") == Some("True");
                pods.iter().find(other).map(address)
            })
            .await
            .unwrap();
        let serves = since(tainted);
        listed(&format!("{at}:8080"), "a", LONG).await.unwrap();
        (given_up, serves, since(tainted))
    };
    let ((), (given_up, serves, published)) = tokio::join!(gives_up, recovers);
    for load in &loads {
        goes_on(load).await;
    }
    let carried_after = since(tainted);
    println!(
        "figure: origin on a lost node: {given_up} ms after the taint its pod was given up, after {serves} ms another served, after \
        {published} ms ffmpeg's stream was there, after {carried_after} ms viewers of all {} edges elsewhere had its pictures",
        edges.len()
    );
    assert!(tainted.elapsed() < Duration::from_secs(30), "{:?}", tainted.elapsed());
    let left = own.get("Pod", &name(&lost)).await.unwrap();
    assert!(
        left["metadata"]["deletionTimestamp"].is_string(),
        "nobody confirmed its end"
    );
    carried(&operator, "a").await;
    for load in loads {
        let report = load.stop().await.unwrap();
        assert_eq!(report.cut, 0, "viewers stay with their edge: {report}");
    }
    drop((operator, encoder));
    own.close().await.unwrap();
}

async fn media_goes_on_while_the_api_server_is_away(space: Space) {
    api_server_away(space, AWAY).await;
}

async fn media_goes_on_while_the_api_server_is_away_for_a_minute(space: Space) {
    api_server_away(space, Duration::from_secs(60)).await;
}

async fn api_server_away(space: Space, away: Duration) {
    // A cluster of its own: the others go on meanwhile.
    let cluster = Cluster::start_own().await.unwrap();
    let own = Space::make(&cluster).await.unwrap();
    drop(space);
    let operator = own.operator(&[]).await.unwrap();
    own.apply(MAIN).await.unwrap();
    own.apply(&web("replicas: 2")).await.unwrap();
    serve(&own, &operator, 2).await;
    let _publication = publish_sample(&own, "a").await;
    carried(&operator, "a").await;
    let load = watch(&service(&own, "web-edge", 80).await, 4);
    all_watch(&load, 4).await;
    let origin = service(&own, "main-origin", 1935).await;
    let edges: Vec<String> = own.list("Pod", EDGES).await.unwrap().iter().map(address).collect();

    cluster.stop_api_server().await.unwrap();
    let begun = Instant::now();
    // A stream that comes meanwhile is on every edge, as always: the fleet does not need the API server.
    let clip = e2e::harness::root().join("operator/src/local/sample.flv");
    let options = e2e::bench::publish::Options::new(format!("rtmp://{origin}/live/b"), clip);
    let _other = e2e::bench::publish::start(options).unwrap();
    for edge in &edges {
        let url = format!("http://{edge}:8080/api/streams");
        wait_until(Duration::from_secs(5), "the edge carries the new stream", || async {
            let text = http::get(&url).await.map(|answer| answer.text()).unwrap_or_default();
            if text.contains("\"name\":\"b\"") {
                Ok(())
            } else {
                Err(text)
            }
        })
        .await
        .unwrap();
    }
    println!(
        "figure: a stream published while the API server was away was on every edge within {} ms",
        since(begun)
    );
    tokio::time::sleep(away.saturating_sub(begun.elapsed())).await;
    cluster.start_api_server().await.unwrap();
    let back = Instant::now();
    wait_until(LONG, "the API server takes a change", || async {
        let changed = own.patch("EdgePool", "web", json!({"spec": {"replicas": 3}})).await;
        changed.map_err(|error| format!("{error:#}"))
    })
    .await
    .unwrap();
    let taken = since(back);
    let scaled = |deployment: &Value| (deployment["spec"]["replicas"] == 3).then_some(());
    own.wait("Deployment", "web-edge", LONG, "is scaled", scaled)
        .await
        .unwrap();
    println!(
        "figure: a change was taken {taken} ms after the API server was started again, and acted on {} ms after that",
        since(back) - taken
    );
    // The cluster's own controllers and the kubelet take their time.
    own.ready_pods(EDGES, 3, LONG * 2).await.unwrap();
    serve(&own, &operator, 3).await;
    seamless(&load.stop().await.unwrap());
    drop(operator);
    own.close().await.unwrap();
}
