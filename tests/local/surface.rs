//! What people and programs see of local mode: targets, metrics, the status table.

use std::path::Path;

use e2e::harness::{Process, http, ports, program, root, wait_until};

use crate::{LONG, on_every_edge, publish_sample, two_edges};

/// Names that DESIGN section 5 promises for a node.
const OF_NODE: [&str; 10] = [
    "headwater_node_sent_bytes_total",
    "headwater_node_received_bytes_total",
    "headwater_node_viewers",
    "headwater_node_streams",
    "headwater_node_dropped_frames_total",
    "headwater_node_refused_total",
    "headwater_node_draining",
    "headwater_pull_up",
    "headwater_pull_reconnects_total",
    "headwater_edge_lag_seconds",
];
/// And for the operator.
const OF_OPERATOR: [&str; 8] = [
    "headwater_edgepool_replicas",
    "headwater_edgepool_outbound_bits_per_second",
    "headwater_edgepool_utilization_ratio",
    "headwater_edgepool_viewers",
    "headwater_scale_events_total",
    "headwater_reconcile_seconds",
    "headwater_reconcile_errors_total",
    "headwater_replication_seconds",
];

async fn metrics(address: &str) -> String {
    http::get(&format!("http://{address}/metrics")).await.unwrap().text()
}

/// Names of which a text of metrics has a sample, those that begin as `prefix` does.
fn has(text: &str, name: &str) -> bool {
    text.lines().any(|line| line.starts_with(name))
}

#[tokio::test(flavor = "multi_thread")]
async fn prometheus_finds_every_node_and_every_promised_metric() {
    let local = two_edges().await;
    let _publication = publish_sample(&local, "a").await;
    local
        .wait(LONG, "the stream is on every edge", |fleet| {
            on_every_edge(fleet, "a").then_some(())
        })
        .await
        .unwrap();
    let targets: serde_json::Value = http::get(&format!("http://{}/api/v1/targets", local.ops))
        .await
        .unwrap()
        .json()
        .unwrap();
    let targets = targets.as_array().unwrap();
    let with = |role: &str, owner: &str, name: &str| {
        let labels = |target: &&serde_json::Value| {
            let labels = &target["labels"];
            labels["role"] == role && labels[owner] == name && labels["namespace"] == "default"
        };
        targets.iter().filter(labels).count()
    };
    assert_eq!(
        (with("origin", "origin", "main"), with("edge", "pool", "web")),
        (1, 2),
        "{targets:?}"
    );
    for target in targets {
        for address in target["targets"].as_array().unwrap() {
            let text = metrics(address.as_str().unwrap()).await;
            let edge = target["labels"]["role"] == "edge";
            for name in OF_NODE
                .iter()
                .filter(|name| edge || !name.starts_with("headwater_pull_up"))
            {
                assert!(has(&text, name), "no {name} in {target}:\n{text}");
            }
        }
    }
    let text = metrics(&local.ops.to_string()).await;
    for name in OF_OPERATOR {
        assert!(has(&text, name), "no {name} in:\n{text}");
    }
    assert!(
        text.contains(r#"headwater_edgepool_replicas{namespace="default",pool="web",state="ready"} 2"#),
        "{text}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_terminal_shows_the_table_and_is_left_in_order() {
    let ops = ports::free().unwrap();
    let example = root().join("examples/local.yaml");
    // `script` of util-linux gives it a terminal, of which this pipe is the screen.
    let command = format!(
        "stty cols 140 rows 40; exec {} local -f {} --sample --ops-listen {ops} --exit-after 12",
        program("headwater").unwrap().display(),
        example.display()
    );
    let args = ["-qefc", &command, "/dev/null"].map(str::to_owned);
    let mut terminal = Process::start("script", Path::new("script"), &args).unwrap();
    wait_until(LONG, "the table shows the sample on two ready edges", || async {
        let screen = terminal.log();
        let last = screen.rsplit("Headwater   up ").next().unwrap_or_default().to_owned();
        let ready = |edge: &str| {
            let mut lines = last.lines();
            lines.any(|line| line.trim_start().starts_with(edge) && line.contains("ready"))
        };
        if ready("web-1") && ready("web-2") && last.contains("sample (") && last.contains("2/2") {
            Ok(())
        } else {
            Err(last)
        }
    })
    .await
    .unwrap();
    let screen = terminal.log();
    let fleet = http::get(&format!("http://{ops}/api/v1/fleet")).await.unwrap().text();
    let fleet: serde_json::Value = serde_json::from_str(&fleet).unwrap();
    let page = fleet["pools"][0]["http"].as_str().unwrap();
    assert!(screen.contains(&format!("Open     http://{page}/")), "{screen}");
    assert!(terminal.wait(LONG).await.unwrap().success());
    let screen = terminal.log();
    let (hidden, shown) = (screen.rfind("\u{1b}[?25l"), screen.rfind("\u{1b}[?25h"));
    assert!(
        hidden.is_some() && shown > hidden,
        "the cursor is left hidden: {screen:?}"
    );
}
