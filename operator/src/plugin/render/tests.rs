//! What a person sees of a small fleet.

use serde_json::{Value, json};

use super::*;
use crate::plugin::seen::{Seen, tree};
use crate::plugin::{top, urls};

fn condition(kind: &str, status: &str, reason: &str, message: &str) -> Value {
    json!({"type": kind, "status": status, "reason": reason, "message": message, "lastTransitionTime": "2026-01-01T00:00:00Z"})
}

fn pool(name: &str, upstream: (&str, &str), status: Value) -> Value {
    json!({
        "metadata": {"name": name, "namespace": "video"},
        "spec": {"upstream": {"kind": upstream.0, "name": upstream.1}, "autoscaling": {"capacityMbps": 100}},
        "status": status,
    })
}

fn pod(name: &str, pool: &str, status: Value) -> Value {
    let labels = json!({
        "app.kubernetes.io/name": "headwater", "app.kubernetes.io/managed-by": "headwater",
        "app.kubernetes.io/component": "edge", "app.kubernetes.io/instance": pool,
    });
    let metadata =
        json!({"name": name, "namespace": "video", "labels": labels, "creationTimestamp": "2026-01-01T00:00:00Z"});
    json!({"metadata": metadata, "spec": {"nodeName": "node-1", "containers": []}, "status": status})
}

/// An origin with two streams, a pool below it with three edges, and one below that.
fn seen() -> Seen {
    let streams = json!([
        {"name": "cam1", "codecs": ["avc1.64001f", "mp4a.40.2"], "width": 1280, "height": 720, "bitrate": 2_500_000,
         "since": "2026-01-01T00:00:00Z"},
        {"name": "door", "codecs": ["avc1.64001f"]},
    ]);
    let origin = json!({
        "metadata": {"name": "main", "namespace": "video"},
        "spec": {},
        "status": {
            "publishUrl": "rtmp://192.0.2.7/live/{stream}", "streamCount": 3, "streams": streams,
            "conditions": [
                condition("Ready", "True", "Serving", "takes publishers"),
                condition("Secured", "False", "AnyoneMayPublish", "anyone who can reach the RTMP port may publish"),
            ],
        },
    });
    let edges = json!([
        {"name": "web-edge-a", "ready": true, "streams": 3, "viewers": 40, "outboundMbps": 90, "lagMs": 21},
        {"name": "web-edge-b", "ready": false, "draining": true, "streams": 3, "viewers": 2, "outboundMbps": 5, "lagMs": 30,
         "drainDeadline": "2026-01-01T00:10:00Z"},
    ]);
    let web = json!({
        "desiredReplicas": 2, "readyReplicas": 1, "viewers": 42, "outboundMbps": 95, "utilizationPercent": 48, "edges": edges,
        "playUrl": "http://192.0.2.8/play/live/{stream}",
        "conditions": [
            condition("Ready", "False", "TooFewEdges", "serves with 1 of 2 edges"),
            condition("ScalingLimited", "True", "AtMinimum", "fewer would do"),
        ],
    });
    let far = json!({"desiredReplicas": 0, "readyReplicas": 0, "conditions": [condition("Ready", "True", "Serving", "serves")]});
    let lone = json!({});
    let waiting = json!({"containerStatuses": [{
        "name": "media-node", "image": "i", "imageID": "", "ready": false, "restartCount": 2,
        "state": {"waiting": {"reason": "ImagePullBackOff"}},
    }]});
    let running = json!({"phase": "Running", "podIP": "10.0.0.4"});
    Seen {
        origins: vec![serde_json::from_value(origin).unwrap()],
        pools: [
            pool("far", ("EdgePool", "web"), far),
            pool("lone", ("StreamOrigin", "none"), lone),
            pool("web", ("StreamOrigin", "main"), web),
        ]
        .map(|pool| serde_json::from_value(pool).unwrap())
        .into(),
        pods: [
            pod("web-edge-a", "web", running.clone()),
            pod("web-edge-b", "web", running),
            pod("web-edge-c", "web", waiting),
        ]
        .map(|pod| serde_json::from_value(pod).unwrap())
        .into(),
    }
}

fn now() -> Timestamp {
    "2026-01-01T00:05:00Z".parse().unwrap()
}

const WIDE: Wish = Wish {
    wide: true,
    namespaces: true,
};

#[test]
fn status_is_a_tree_with_what_is_not_as_usual() {
    let text = status(&tree(&seen()), Wish::default(), now());
    assert_eq!(text, include_str!("golden/status.txt"), "\n{text}");
}

#[test]
fn wide_status_has_places_and_every_condition() {
    let text = status(&tree(&seen()), WIDE, now());
    assert_eq!(text, include_str!("golden/status-wide.txt"), "\n{text}");
}

#[test]
fn streams_are_listed_with_what_they_are() {
    let text = streams(&tree(&seen()), WIDE, now());
    assert_eq!(text, include_str!("golden/streams.txt"), "\n{text}");
}

#[test]
fn urls_are_for_people_unless_all_are_asked_for() {
    let addresses = urls::addresses(&tree(&seen()));
    let text = urls::render(&addresses, Wish::default()) + "\n" + &urls::render(&addresses, WIDE);
    assert_eq!(text, include_str!("golden/urls.txt"), "\n{text}");
}

#[test]
fn a_pool_with_a_certificate_has_addresses_by_tls() {
    let mut seen = seen();
    let url = "https://192.0.2.8/play/live/{stream}";
    for pool in &mut seen.pools {
        pool.status.get_or_insert_default().play_url = Some(url.to_owned());
    }
    let addresses = urls::addresses(&tree(&seen));
    let played = addresses.iter().filter(|address| address.purpose != "publish");
    for address in played {
        let scheme = match address.purpose {
            "websocket" => "wss://",
            "rtmp" => "rtmp://",
            _ => "https://",
        };
        assert!(
            address.url.starts_with(&format!("{scheme}192.0.2.8/")),
            "{}",
            address.url
        );
    }
}

#[test]
fn top_puts_the_busiest_first() {
    let text = top::lines(&tree(&seen()), Wish::default(), now(), usize::MAX).join("\n") + "\n";
    assert_eq!(text, include_str!("golden/top.txt"), "\n{text}");
}

#[test]
fn top_fits_a_narrow_and_a_low_terminal_without_losing_a_column() {
    let mut texts = Vec::new();
    let mut narrow = Vec::new();
    for width in [80, 70] {
        narrow = top::lines(&tree(&seen()), Wish::default(), now(), width);
        assert!(narrow.iter().all(|line| line.chars().count() <= width), "{narrow:#?}");
        texts.push(narrow.join("\n") + "\n");
    }
    let text = texts.join("\n");
    assert_eq!(text, include_str!("golden/top-narrow.txt"), "\n{text}");
    let low = top::fitted(narrow.clone(), 70, 4);
    assert_eq!(low[..3], narrow[..3]);
    assert_eq!(low[3..], ["… and 4 more lines"]);
    assert_eq!(top::fitted(narrow.clone(), 70, narrow.len()), narrow);
    assert_eq!(top::fitted(narrow, 4, 1), ["… an"]);
}

#[test]
fn pools_that_feed_each_other_are_shown_once() {
    let circle = [
        pool("a", ("EdgePool", "b"), json!({})),
        pool("b", ("EdgePool", "a"), json!({})),
    ];
    let seen = Seen {
        pools: circle.map(|pool| serde_json::from_value(pool).unwrap()).into(),
        ..Seen::default()
    };
    let tree = tree(&seen);
    let names: Vec<&str> = tree.all_pools().iter().map(|pool| pool.name.as_str()).collect();
    assert_eq!(names, ["a", "b"]);
    assert!(!tree.is_empty() && Tree::default().is_empty());
}

#[test]
fn programs_get_the_tree_with_fields_as_in_the_resources() {
    let value = serde_json::to_value(tree(&seen())).unwrap();
    assert_eq!(
        value["origins"][0]["pools"][0]["edges"][1]["drainDeadline"],
        "2026-01-01T00:10:00Z"
    );
    assert_eq!(value["origins"][0]["pools"][0]["pools"][0]["name"], "far");
    assert_eq!(
        value["pools"][0]["ready"],
        json!({"ready": false, "reason": "no operator has looked at it"})
    );
    let edge = &value["origins"][0]["pools"][0]["edges"][2];
    assert_eq!(
        (&edge["state"], &edge["why"]),
        (&json!("starting"), &json!("ImagePullBackOff"))
    );
}
