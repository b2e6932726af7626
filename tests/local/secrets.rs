//! Publish keys in local mode: asked for, checked, and changed on disk while it runs.

use std::time::Duration;

use e2e::bench::publish;
use e2e::harness::{Local, root, wait_until};

use crate::{LONG, manifest};

/// The fleet with a key for every stream, but `cam` which has its own.
fn secured(any: &str, cam: &str) -> String {
    let fleet = manifest("  replicas: 1").replace("{app: live}", "{app: live, publish: {keysSecret: keys}}");
    format!(
        "{fleet}---\napiVersion: v1\nkind: Secret\nmetadata: {{name: keys}}\nstringData: {{\"*\": {any}, cam: {cam}}}\n"
    )
}

/// Tries to publish for a moment; true if the origin took it.
async fn accepted(local: &Local, stream: &str) -> bool {
    let clip = root().join("operator/src/local/sample.flv");
    let url = format!("rtmp://{}/live/{stream}", local.origin_rtmp().await.unwrap());
    let options = publish::Options {
        duration: Some(Duration::from_millis(300)),
        ..publish::Options::new(url, clip)
    };
    publish::start(options).unwrap().report().await.streams == 1
}

#[tokio::test(flavor = "multi_thread")]
async fn a_publisher_needs_the_key_of_its_stream_and_a_changed_secret_holds_at_once() {
    let local = Local::start(&secured("first", "own"), &[]).await.unwrap();
    local.whole(LONG).await.unwrap();
    for (stream, taken) in [
        ("mine", false),
        ("mine?key=wrong", false),
        ("mine?key=firstx", false),
        ("mine?key=", false),
        ("mine?key=first", true),
        ("cam?key=first", false),
        ("cam?key=own", true),
    ] {
        assert_eq!(accepted(&local, stream).await, taken, "{stream}");
    }
    std::fs::write(&local.manifest, secured("second", "own")).unwrap();
    wait_until(Duration::from_secs(5), "the new key is in force", || async {
        if accepted(&local, "mine?key=second").await {
            Ok(())
        } else {
            Err("refused")
        }
    })
    .await
    .unwrap();
    assert!(!accepted(&local, "mine?key=first").await, "the old key still opens");

    // The Secret is gone: nobody may publish, and why is said.
    let fleet = secured("second", "own");
    std::fs::write(&local.manifest, fleet.split("---\napiVersion: v1\n").next().unwrap()).unwrap();
    wait_until(Duration::from_secs(5), "a missing Secret refuses all", || async {
        if accepted(&local, "mine?key=second").await {
            Err("taken")
        } else {
            Ok(())
        }
    })
    .await
    .unwrap();
    let log = local.process.log();
    for key in ["first", "second", "firstx"] {
        assert!(!log.contains(&format!("key={key}")), "a key in the log");
    }
}
