//! The control token: there is always one that every node knows.

use super::*;
use crate::kubernetes::decide::token::{self, PHASE, ROTATE, SINCE};

fn secret(api: &FakeApi) -> k8s_openapi::api::core::v1::Secret {
    serde_json::from_value(api.get("Secret", "web-edge-control").unwrap()).unwrap()
}

/// The tokens that a node with this Secret takes, the one in use first.
fn lines(api: &FakeApi) -> Vec<String> {
    let secret = secret(api);
    let text = String::from_utf8(secret.data.unwrap()[token::KEY].0.clone()).unwrap();
    text.lines().map(str::to_owned).collect()
}

async fn phase(api: &FakeApi, wanted: &str) {
    until(api, wanted, || {
        let secret = api.get("Secret", "web-edge-control")?;
        (secret["metadata"]["annotations"][PHASE] == wanted).then_some(())
    })
    .await;
    quiet(api).await;
    assert!(token::in_use(&secret(api)).is_some());
}

#[tokio::test(start_paused = true)]
async fn a_rotation_never_uses_a_token_that_a_slow_node_does_not_know() {
    let api = both();
    let _operator = Running::start(&api);
    quiet(&api).await;
    let mut known = lines(&api);
    assert_eq!(known.len(), 1);
    let old = known[0].clone();
    api.edit("Secret", "web-edge-control", |secret| {
        secret["metadata"]["annotations"][ROTATE] = json!("now")
    });
    for (next, tokens) in [("adding", 2), ("switching", 2), ("steady", 1)] {
        phase(&api, next).await;
        let new = lines(&api);
        assert_eq!(new.len(), tokens, "{next}");
        assert!(
            known.contains(&new[0]),
            "{next}: nodes that have the Secret of the phase before know what is used"
        );
        known = new;
        // The phase is over.
        api.edit("Secret", "web-edge-control", |secret| {
            secret["metadata"]["annotations"][SINCE] = json!("2020-01-01T00:00:00Z");
        });
        if next == "steady" {
            break;
        }
    }
    assert_ne!(known[0], old);
}

/// The watch of Secrets may lag behind the write: each look made another token, and nodes had started with the first.
#[tokio::test(start_paused = true)]
async fn a_watch_that_lags_makes_no_second_token() {
    let api = both();
    api.hold_watch("Secret", true);
    let _operator = Running::start(&api);
    quiet(&api).await;
    let first = lines(&api);
    for touch in 0..3 {
        api.edit("EdgePool", "web", |pool| {
            pool["metadata"]["annotations"] = json!({"touch": touch.to_string()})
        });
        quiet(&api).await;
        assert_eq!(lines(&api), first);
    }
    api.hold_watch("Secret", false);
    quiet(&api).await;
    assert_eq!(lines(&api), first);
}

#[tokio::test(start_paused = true)]
async fn no_token_is_in_what_people_read() {
    let api = both();
    api.refuse("Secret", 422, "Secret \"web-edge-control\" is invalid");
    let _operator = Running::start(&api);
    reason(&api, WEB, "Ready", "ApplyFailed").await;
    api.accept();
    reason(&api, WEB, "Ready", "Starting").await;
    quiet(&api).await;
    let token = lines(&api).remove(0);
    for kind in ["EdgePool", "StreamOrigin", "Event", "Deployment"] {
        assert!(
            api.all(kind).iter().all(|object| !object.to_string().contains(&token)),
            "{kind}"
        );
    }
}
