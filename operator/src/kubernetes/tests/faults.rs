//! Whatever goes wrong between the operator and the API server: it ends at the same objects.

use super::*;
use fake_api::{Failure, When};

/// More writes than any run from nothing takes.
const MOST_WRITES: usize = 100;

async fn made_whole() -> Vec<Value> {
    let api = both();
    let _operator = Running::start(&api);
    quiet(&api).await;
    api.normal()
}

#[tokio::test(start_paused = true)]
async fn killed_at_any_write_the_next_operator_ends_at_the_same_objects() {
    let right = made_whole().await;
    for when in [When::Before, When::After] {
        let mut died = 0;
        for number in 1..MOST_WRITES {
            let api = both();
            api.fail_write(number, when, Failure::Death);
            let first = Running::start(&api);
            quiet(&api).await;
            let dead = first.caller.is_dead();
            drop(first);
            let _second = Running::start(&api);
            quiet(&api).await;
            assert_same(&api, &right, &format!("killed {when:?} write {number}"));
            if !dead {
                break;
            }
            died = number;
        }
        assert!((10..MOST_WRITES - 1).contains(&died), "{died}");
    }
}

#[tokio::test(start_paused = true)]
async fn whichever_write_fails_and_however_it_ends_at_the_same_objects() {
    let right = made_whole().await;
    let failures = [
        Failure::Connection,
        Failure::Status(409),
        Failure::Status(429),
        Failure::Status(500),
    ];
    for (when, failures) in [(When::Before, &failures[..]), (When::After, &failures[..1])] {
        for failure in failures {
            for number in 1..MOST_WRITES {
                let api = both();
                api.fail_write(number, when, *failure);
                let _operator = Running::start(&api);
                quiet(&api).await;
                if api.fails_yet() {
                    assert!(number > 10);
                    break;
                }
                assert_same(&api, &right, &format!("{failure:?} {when:?} write {number}"));
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_api_server_that_is_away_for_a_minute_changes_nothing() {
    let api = both();
    let operator = Running::start(&api);
    quiet(&api).await;
    let right = api.normal();
    api.away(true);
    api.remove("Service", "web-edge");
    api.edit("EdgePool", "web", |pool| {
        pool["metadata"]["annotations"] = json!({"touched": "yes"})
    });
    tokio::time::sleep(Duration::from_secs(60)).await;
    api.edit("EdgePool", "web", |pool| {
        drop(pool["metadata"].as_object_mut().unwrap().remove("annotations"));
    });
    let back = tokio::time::Instant::now();
    api.away(false);
    until(&api, "the Service is there again", || api.get("Service", "web-edge")).await;
    assert!(back.elapsed() < Duration::from_secs(10), "{:?}", back.elapsed());
    until_same(&api, &right, "after a minute away").await;
    operator.stop().await;
}

#[tokio::test(start_paused = true)]
async fn an_operator_that_starts_while_the_api_server_is_away_waits_for_it() {
    let right = made_whole().await;
    let api = both();
    api.away(true);
    let _operator = Running::start(&api);
    tokio::time::sleep(Duration::from_secs(60)).await;
    api.away(false);
    until(&api, "edges", || {
        replicas(&api, "web-edge").filter(|replicas| *replicas == 3)
    })
    .await;
    until_same(&api, &right, "in the end").await;
}

#[tokio::test(start_paused = true)]
async fn expired_watches_are_taken_up_anew() {
    let api = both();
    let _operator = Running::start(&api);
    quiet(&api).await;
    let right = api.normal();
    for round in 0..3 {
        api.remove("NetworkPolicy", "web-edge");
        api.expire();
        api.edit("Deployment", "web-edge", |object| object["spec"]["replicas"] = json!(7));
        quiet(&api).await;
        assert_same(&api, &right, &format!("round {round}"));
    }
    for _ in 0..3 {
        api.cut();
        api.remove("NetworkPolicy", "main-origin");
        quiet(&api).await;
        assert_same(&api, &right, "in the end");
    }
}

#[tokio::test(start_paused = true)]
async fn throttling_is_waited_out() {
    let right = made_whole().await;
    let api = both();
    api.throttle(40);
    let _operator = Running::start(&api);
    until(&api, "edges", || {
        replicas(&api, "web-edge").filter(|replicas| *replicas == 3)
    })
    .await;
    until_same(&api, &right, "in the end").await;
}

#[tokio::test(start_paused = true)]
async fn what_is_refused_is_told_in_the_api_servers_words_and_taken_back_when_it_is_well() {
    let api = both();
    let words = "admission webhook \"quota\" denied the request: no more deployments";
    api.refuse("Deployment", 403, words);
    let operator = Running::start(&api);
    for (kind, name) in [MAIN, WEB] {
        let message = reason(&api, (kind, name), "Ready", "ApplyFailed").await;
        assert!(
            message.contains(words) && message.contains("it is tried again"),
            "{message}"
        );
    }
    until(&api, "Events", || (api.all("Event").len() >= 2).then_some(())).await;
    tokio::time::sleep(Duration::from_secs(120)).await;
    let failed: Vec<Value> = api
        .all("Event")
        .into_iter()
        .filter(|event| event["reason"] == "ApplyFailed")
        .collect();
    assert_eq!(failed.len(), 2, "told once each: {failed:#?}");
    assert!(operator.errors("apply") >= 2.0);
    let tries = api
        .take_writes()
        .iter()
        .filter(|write| write.kind == "Deployment")
        .count();
    assert!((6..60).contains(&tries), "it backs off: {tries} attempts");
    api.accept();
    reason(&api, MAIN, "Ready", "Starting").await;
    until(&api, "edges", || {
        replicas(&api, "web-edge").filter(|replicas| *replicas == 3)
    })
    .await;
    until_same(&api, &made_whole().await, "in the end").await;
}
