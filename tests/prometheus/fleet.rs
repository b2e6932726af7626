//! A fleet under load: every panel and rule has data, every alert could fire, and those fire of which the cause is made.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use e2e::bench::{load, publish};
use e2e::harness::{Local, http, root, wait_until};
use e2e::monitoring::{dashboards, documented, rules, scraped, selectors};
use serde_json::Value;

use crate::server::Prometheus;

/// For a fleet to come up, and for Prometheus to see something, on a busy machine.
const LONG: Duration = Duration::from_secs(40);
/// Viewers of 0.43 Mbit/s each: more than the pool may send.
const VIEWERS: u32 = 8;
/// Two edges of 1 Mbit/s each, and no more.
const MANIFEST: &str = "apiVersion: headwater.dev/v1alpha1\nkind: StreamOrigin\nmetadata: {name: main}\nspec: {app: live}\n---\n\
    apiVersion: headwater.dev/v1alpha1\nkind: EdgePool\nmetadata: {name: web}\nspec:\n  \
    upstream: {kind: StreamOrigin, name: main}\n  \
    autoscaling: {minReplicas: 2, maxReplicas: 2, capacityMbps: 1, scaleOutStabilizationSeconds: 0}\n";
/// What Grafana would put in.
const VARIABLES: [(&str, &str); 4] = [
    ("namespace", "default"),
    ("pool", "web"),
    ("stream", "a"),
    ("__rate_interval", "10s"),
];
/// Alerts whose cause the test makes; they need minutes to fire, so that they are pending.
const CAUSED: [&str; 3] = [
    "HeadwaterPoolAtMaximum",
    "HeadwaterPublishersRefused",
    "HeadwaterStreamWithoutPublisher",
];
/// Alerts that must keep still meanwhile.
const STILL: [&str; 3] = [
    "HeadwaterNoReadyEdge",
    "HeadwaterOperatorNoLeader",
    "HeadwaterReconcileErrors",
];

/// Publishes the sample clip, again and again where it is refused.
async fn publish_sample(local: &Local, stream: &str) -> publish::Publication {
    let clip = root().join("operator/src/local/sample.flv");
    let url = format!("rtmp://{}/live/{stream}", local.origin_rtmp().await.unwrap());
    let reconnect = Some(Duration::from_millis(200));
    publish::start(publish::Options {
        reconnect,
        ..publish::Options::new(url, clip)
    })
    .unwrap()
}

/// Which of these queries return no number yet.
async fn silent(prometheus: &Prometheus, queries: &BTreeSet<String>) -> Vec<String> {
    let mut silent = Vec::new();
    for expr in queries {
        match prometheus.query(expr).await {
            Ok(values) if values.iter().any(|value| !value.is_nan()) => {}
            Ok(values) => silent.push(format!("{expr}: {values:?}")),
            Err(error) => silent.push(format!("{error:#}")),
        }
    }
    silent
}

/// Queries of all panels, all recorded series, and all that the alerts look at.
fn queries() -> BTreeSet<String> {
    let dashboards = dashboards().unwrap();
    let panels = dashboards.iter().flat_map(|dashboard| dashboard.queries());
    let mut queries: BTreeSet<String> = panels.map(|query| query.with(&VARIABLES)).collect();
    assert!(queries.len() > 30, "panels were not found");
    for rule in rules().unwrap() {
        queries.extend(rule.record);
        if rule.alert.is_some() {
            queries.extend(selectors(&rule.expr).into_iter().map(|selector| selector.text));
        }
    }
    queries
}

/// The metrics that the operator and every node export, with their labels.
async fn exported(local: &Local) -> BTreeMap<String, BTreeSet<String>> {
    let targets: Value = http::get(&format!("http://{}/api/v1/targets", local.ops))
        .await
        .unwrap()
        .json()
        .unwrap();
    let nodes = targets
        .as_array()
        .unwrap()
        .iter()
        .map(|target| target["targets"][0].as_str().unwrap().to_owned());
    let mut metrics = BTreeMap::new();
    for address in nodes.chain([local.ops.to_string()]) {
        let text = http::get(&format!("http://{address}/metrics")).await.unwrap().text();
        metrics.extend(scraped(&text));
    }
    metrics
}

async fn until_alerts(prometheus: &Prometheus, wanted: &[&str]) {
    wait_until(LONG, "the alerts see their cause", || async {
        let rules = prometheus.rules().await.map_err(|error| format!("{error:#}"))?;
        let inactive = |name: &&&str| {
            !rules
                .iter()
                .any(|rule| rule["name"] == **name && rule["state"] != "inactive")
        };
        let missing: Vec<_> = wanted.iter().filter(inactive).collect();
        if missing.is_empty() {
            Ok(())
        } else {
            Err(format!("{missing:?} are inactive"))
        }
    })
    .await
    .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn panels_rules_and_alerts_work_on_a_fleet_under_load() {
    let local = Local::start(MANIFEST, &[]).await.unwrap();
    local.whole(LONG).await.unwrap();
    let prometheus = Prometheus::start(&local).await.unwrap();
    wait_until(LONG, "operator, origin and both edges are scraped", || async {
        match prometheus.targets().await {
            Ok((4, down)) if down.is_empty() => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await
    .unwrap();

    // Streams come once all is watched: what happens is then seen as an increase.
    let _publisher = publish_sample(&local, "a").await;
    let second = publish_sample(&local, "b").await;
    local
        .wait(LONG, "both streams are on both edges", |fleet| {
            let edges = fleet["pools"][0]["edges"].as_array()?;
            let whole = |edge: &Value| edge["streams"].as_array().is_some_and(|streams| streams.len() == 2);
            (edges.len() == 2 && edges.iter().all(whole)).then_some(())
        })
        .await
        .unwrap();
    drop(second); // with no goodbye
    let _refused = publish_sample(&local, "a").await;
    let url = load::url(load::Protocol::Ws, &local.pool_http().await.unwrap(), "live/a");
    let _viewers = load::start(load::Options::new(url, VIEWERS, Duration::from_secs(600))).unwrap();
    until_alerts(&prometheus, &CAUSED).await;

    let queries = queries();
    wait_until(LONG, "every query returns data", || async {
        let silent = silent(&prometheus, &queries).await;
        if silent.is_empty() {
            Ok(())
        } else {
            Err(silent.join("\n"))
        }
    })
    .await
    .unwrap();

    let in_force = prometheus.rules().await.unwrap();
    let rules = rules().unwrap();
    assert_eq!(in_force.len(), rules.len());
    for rule in &in_force {
        assert!(
            rule["health"] == "ok" && rule["lastError"].as_str().unwrap_or_default().is_empty(),
            "{rule}"
        );
        if STILL.iter().any(|name| rule["name"] == *name) {
            assert_eq!(rule["state"], "inactive", "{rule}");
        }
    }
    for rule in rules.iter().filter(|rule| rule.alert.is_some()) {
        prometheus.query(&rule.expr).await.unwrap();
    }
    assert_eq!(
        exported(&local).await,
        documented().unwrap(),
        "docs/monitoring.md names other metrics or labels"
    );
}
