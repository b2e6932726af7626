//! Manifests that change take effect; wrong ones change nothing and say why.

use std::path::Path;
use std::time::Duration;

use e2e::harness::{Local, Process, program, root};

use crate::{LONG, manifest, two_edges};

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_manifest_takes_effect_and_a_wrong_one_changes_nothing() {
    let local = two_edges().await;
    std::fs::write(&local.manifest, manifest("  replicas: 3")).unwrap();
    local
        .wait(LONG, "a third edge", |fleet| {
            (fleet["pools"][0]["ready"] == 3).then_some(())
        })
        .await
        .unwrap();
    let before = local.fleet().await.unwrap();
    assert!(before["manifestError"].is_null(), "{before}");
    let logged = local.process.log().len();
    std::fs::write(&local.manifest, manifest("  replicsa: 1")).unwrap();
    let fleet = local
        .wait(LONG, "the mistake stands in the fleet map", |fleet| {
            fleet["manifestError"].is_string().then(|| fleet.clone())
        })
        .await
        .unwrap();
    let log = local.process.log()[logged..].to_owned();
    for said in [fleet["manifestError"].as_str().unwrap(), &log] {
        for word in ["local.yaml", "replicsa", "replicas"] {
            assert!(said.contains(word), "no {word} in:\n{said}");
        }
    }
    let names = |fleet: &serde_json::Value| {
        let edges = crate::edges(fleet);
        edges.iter().map(|edge| edge["name"].to_string()).collect::<Vec<_>>()
    };
    assert_eq!(
        (names(&fleet), &fleet["pools"][0]["ready"]),
        (names(&before), &3.into())
    );
    std::fs::write(&local.manifest, manifest("  replicas: 2")).unwrap();
    local
        .wait(LONG, "the mended manifest is in force", |fleet| {
            let mended = fleet["manifestError"].is_null() && fleet["pools"][0]["ready"] == 2;
            mended.then_some(())
        })
        .await
        .unwrap();
}

/// Starts with a manifest that must be refused, and returns what is said.
async fn refusal(text: &str) -> String {
    let folder = tempfile::TempDir::new().unwrap();
    let file = folder.path().join("wrong.yaml");
    std::fs::write(&file, text).unwrap();
    let args = ["local", "-f", file.to_str().unwrap(), "--ops-listen", "127.0.0.1:0"].map(str::to_owned);
    let mut process = Process::start("headwater", &program("headwater").unwrap(), &args).unwrap();
    let status = process.wait(Duration::from_secs(10)).await.unwrap();
    assert!(!status.success(), "accepted:\n{text}");
    process.log()
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_manifests_are_refused_with_the_field_and_what_is_allowed() {
    let missing = "  replicas: 2\n---\napiVersion: headwater.dev/v1alpha1\nkind: EdgePool\nmetadata: {name: lost}\n\
        spec: {upstream: {kind: StreamOrigin, name: mian}}";
    for (pool, said) in [
        (
            "  replicsa: 2",
            vec![
                "wrong.yaml:11",
                "EdgePool default/web",
                "`replicsa`",
                "did you mean `replicas`",
            ],
        ),
        (
            "  replicas: many",
            vec!["wrong.yaml", "spec.replicas", "must be an integer"],
        ),
        ("  replicas: 0", vec!["wrong.yaml", "spec.replicas", "allowed are 1 to"]),
        (
            "  autoscaling: {minReplicas: 5, maxReplicas: 2, capacityMbps: 10}",
            vec!["wrong.yaml", "spec.autoscaling.maxReplicas", "at least minReplicas"],
        ),
        (
            missing,
            vec![
                "wrong.yaml",
                "EdgePool default/lost",
                "spec.upstream.name",
                "did you mean `main`",
            ],
        ),
    ] {
        let log = refusal(&manifest(pool)).await;
        for word in said {
            assert!(log.contains(word), "{pool}: no {word} in:\n{log}");
        }
        println!("figure: refused: {}", log.trim());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_example_runs_with_its_sample_and_ends_when_told_to() {
    let example = std::fs::read_to_string(root().join("examples/local.yaml")).unwrap();
    let mut local = Local::start(&example, &["--sample", "--exit-after", "20"])
        .await
        .unwrap();
    local
        .wait(LONG, "the sample is on every edge", |fleet| {
            let whole = fleet["pools"][0]["ready"].as_u64() >= Some(2);
            (whole && crate::on_every_edge(fleet, "sample")).then_some(())
        })
        .await
        .unwrap();
    let pool = local.pool_http().await.unwrap();
    let page = e2e::harness::http::get(&format!("http://{pool}/play/live/sample"))
        .await
        .unwrap();
    assert!(
        page.status.is_success() && page.text().contains("/play/player.js"),
        "{}",
        page.status
    );
    assert!(local.process.wait(LONG).await.unwrap().success());
    assert!(Path::new(&local.manifest).exists());
}
