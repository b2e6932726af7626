//! What the chart asks for runs: its default resources by `headwater local`, and what `helm test` does against them.

use std::process::{Command, Stdio};
use std::time::Duration;

use e2e::harness::{Local, wait_until};
use serde_json::{Value, json};

use crate::{helm_is_there, object, render};

const LONG: Duration = Duration::from_secs(30);

/// Arguments of a container, with the Services' names replaced by where they are here.
fn args(container: &Value, origin: &str, pool: &str) -> Vec<String> {
    let args = container["args"].as_array().unwrap().iter();
    args.map(|arg| arg.as_str().unwrap())
        .map(|arg| {
            arg.replace("main-origin.headwater-system.svc:1935", origin)
                .replace("web-edge.headwater-system.svc", pool)
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_default_set_comes_up_and_the_chart_s_test_publishes_to_it_and_plays_it() {
    if !helm_is_there("fleet") {
        return;
    }
    let objects = render(false, json!({}));
    let map = object(&objects, "ConfigMap", "headwater-default-resources");
    let manifest = map["data"]["default-resources.yaml"].as_str().unwrap();
    let local = Local::start(manifest, &[]).await.unwrap();
    let fleet = local.whole(LONG).await.unwrap();
    assert_eq!(fleet["pools"][0]["desired"], 2, "{fleet}");

    let test = object(&objects, "Pod", "headwater-test");
    let (origin, pool) = (local.origin_rtmp().await.unwrap(), local.pool_http().await.unwrap());
    let publish = args(&test["spec"]["initContainers"][0], &origin, &pool);
    let play = args(&test["spec"]["containers"][0], &origin, &pool);
    assert!(publish.iter().any(|arg| arg.contains(&origin)), "{publish:?}");
    assert!(play.iter().any(|arg| arg.contains(&pool)), "{play:?}");
    let mut publisher = Command::new("ffmpeg")
        .args(&publish)
        .stdin(Stdio::null())
        .spawn()
        .unwrap();
    // The kubelet starts the player again until it has ended well.
    let played = wait_until(LONG, "the test's player ends well", || async {
        let player = tokio::process::Command::new("ffmpeg")
            .args(&play)
            .stdin(Stdio::null())
            .output()
            .await;
        let player = player.map_err(|error| error.to_string())?;
        let words = String::from_utf8_lossy(&player.stderr).into_owned();
        player.status.success().then_some(()).ok_or(words)
    })
    .await;
    publisher.kill().unwrap();
    publisher.wait().unwrap();
    played.unwrap();
}
