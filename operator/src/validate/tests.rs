//! Each rule with a spec that breaks it, pushed through the real deserialisation and the real `validate`.

use serde_json::{Value, json};

use super::*;
use crate::api::{EdgePool, StreamOrigin};

fn origin_of(spec: Value) -> Result<ValidOrigin, Vec<String>> {
    let raw = json!({ "apiVersion": "headwater.dev/v1alpha1", "kind": "StreamOrigin", "metadata": { "name": "main" }, "spec": spec });
    let raw: StreamOrigin = serde_json::from_value(raw).unwrap();
    origin(&raw).map_err(|errors| errors.iter().map(ToString::to_string).collect())
}

fn pool_of(changes: Value) -> Result<ValidPool, Vec<String>> {
    let mut spec = json!({ "upstream": { "kind": "StreamOrigin", "name": "main" } });
    for (key, value) in changes.as_object().unwrap() {
        spec[key] = value.clone();
    }
    let raw = json!({
        "apiVersion": "headwater.dev/v1alpha1", "kind": "EdgePool", "metadata": { "name": "web", "namespace": "tv" }, "spec": spec,
    });
    let raw: EdgePool = serde_json::from_value(raw).unwrap();
    pool(&raw).map_err(|errors| errors.iter().map(ToString::to_string).collect())
}

#[test]
fn an_empty_origin_has_the_documented_defaults() {
    let origin = origin_of(json!({})).unwrap();
    assert_eq!(origin.key, ResourceKey::new("default", "main"));
    assert_eq!(origin.app.as_str(), "live");
    assert_eq!(origin.keys_secret, None);
    assert_eq!(origin.on_conflict, OnConflict::Reject);
    assert_eq!(
        origin.service.exposure,
        Exposure::LoadBalancer {
            class: None,
            policy: None
        }
    );
    assert_eq!(origin.template, ValidTemplate::default());
    assert!(!origin.suspend && origin.pulls.is_empty() && origin.pushes.is_empty());
}

#[test]
fn the_past_is_kept_as_long_as_is_said_within_its_bounds() {
    assert_eq!(origin_of(json!({})).unwrap().dvr, ValidDvr::default());
    let said = json!({"dvr": {"minutes": 720, "memoryMebibytes": 64, "diskGibibytes": 2}});
    let dvr = origin_of(said).unwrap().dvr;
    assert_eq!(dvr.seconds, 43_200);
    assert_eq!(
        dvr.flags("/dvr"),
        ["--dvr-memory=64MiB", "--dvr-dir=/dvr", "--dvr-disk=1843MiB"]
    );
    assert_eq!(dvr.in_memory().flags("/dvr"), ["--dvr-memory=64MiB"]);
    for (wrong, field) in [
        (json!({"dvr": {"minutes": 721}}), "spec.dvr.minutes"),
        (json!({"dvr": {"memoryMebibytes": 1}}), "spec.dvr.memoryMebibytes"),
        (json!({"dvr": {"diskGibibytes": 0}}), "spec.dvr.diskGibibytes"),
    ] {
        let errors = origin_of(wrong).unwrap_err();
        assert!(errors.iter().any(|error| error.contains(field)), "{errors:?}");
    }
}

#[test]
fn groups_are_patterns_with_a_group_and_a_variant() {
    let said = json!({"groups": ["{group}_{variant}", "{group}.q-{variant}"]});
    let groups = origin_of(said).unwrap().groups;
    assert_eq!(groups.len(), 2);
    assert_eq!(groups[0].as_str(), "{group}_{variant}");
    for (wrong, field, words) in [
        (
            json!(["{group}_{variant}x"]),
            "spec.groups[0]",
            "such as {group}_{variant}",
        ),
        (json!(["show_{variant}xxxxxx"]), "spec.groups[0]", "not a pattern"),
        (json!(["{group}/x{variant}"]), "spec.groups[0]", "not a pattern"),
        (
            json!(["{group}_{variant}", "{group}_{variant}"]),
            "spec.groups[1]",
            "twice",
        ),
        (json!(vec!["{group}_{variant}"; 9]), "spec.groups", "8"),
    ] {
        let errors = origin_of(json!({ "groups": wrong })).unwrap_err();
        assert!(
            errors
                .iter()
                .any(|error| error.contains(field) && error.contains(words)),
            "{errors:?}"
        );
    }
}

#[test]
fn a_minimal_pool_has_the_documented_defaults() {
    let pool = pool_of(json!({})).unwrap();
    assert_eq!(pool.upstream.key, ResourceKey::new("tv", "main"));
    assert_eq!(pool.scaling, Scaling::Fixed { replicas: 2 });
    assert_eq!(pool.drain_timeout, Duration::from_secs(1800));
    assert_eq!(pool.replication.mode, ReplicationMode::Eager);
    assert_eq!(pool.replication.idle_timeout, Duration::from_secs(60));
    assert!(pool.replication.carries("anything"));
}

#[test]
fn autoscaling_carries_its_units() {
    let pool = pool_of(json!({ "autoscaling": { "capacityMbps": 20, "scaleInStabilizationSeconds": 30 } })).unwrap();
    let Scaling::Auto(autoscaling) = pool.scaling else {
        panic!("{pool:?}")
    };
    assert_eq!(autoscaling.capacity_bps, 20_000_000);
    assert_eq!((autoscaling.min_replicas, autoscaling.max_replicas), (2, 5));
    assert_eq!((autoscaling.scale_out_percent, autoscaling.scale_in_percent), (70, 40));
    assert_eq!(autoscaling.scale_out_stabilization, Duration::from_secs(15));
    assert_eq!(autoscaling.scale_in_stabilization, Duration::from_secs(30));
}

#[test]
fn each_bad_pool_is_refused_with_its_field_and_what_is_allowed() {
    for (changes, expected) in [
        (
            json!({ "autoscaling": { "minReplicas": 2, "maxReplicas": 1 } }),
            "spec.autoscaling.maxReplicas: 1 is below minReplicas (2); it must be at least minReplicas",
        ),
        (
            json!({ "autoscaling": { "scaleInPercent": 70 } }),
            "spec.autoscaling.scaleInPercent: 70 is not below scaleOutPercent (70); it must be below scaleOutPercent",
        ),
        (
            json!({ "autoscaling": { "minReplicas": 0 } }),
            "spec.autoscaling.minReplicas: 0 is out of range; allowed are 1 to 1000",
        ),
        (
            json!({ "autoscaling": { "capacityMbps": 0 } }),
            "spec.autoscaling.capacityMbps: 0 is out of range; allowed are 1 to 1000000",
        ),
        (
            json!({ "autoscaling": { "scaleOutPercent": 101 } }),
            "spec.autoscaling.scaleOutPercent: 101 is out of range; allowed are 2 to 100",
        ),
        (
            json!({ "autoscaling": { "scaleInStabilizationSeconds": -1 } }),
            "spec.autoscaling.scaleInStabilizationSeconds: -1 is out of range; allowed are 0 to 3600",
        ),
        (
            json!({ "replicas": 0 }),
            "spec.replicas: 0 is out of range; allowed are 1 to 1000",
        ),
        (
            json!({ "drainTimeoutSeconds": -5 }),
            "spec.drainTimeoutSeconds: -5 is out of range; allowed are 0 to 86400",
        ),
        (
            json!({ "upstream": { "kind": "StreamOrigin", "name": "Main" } }),
            "spec.upstream.name: `Main` is not a resource name; allowed are 1 to 40 of a-z 0-9 -, the first of them a letter, the last a letter or digit",
        ),
        (
            json!({ "replication": { "streams": [] } }),
            "spec.replication.streams: has 0 entries; it must have at least 1",
        ),
        (
            json!({ "replication": { "streams": ["ok", "a/b"] } }),
            "spec.replication.streams[1]: `a/b` is not a stream pattern; allowed are 1 to 128 of A-Z a-z 0-9 . _ - and *, the first of them not a dot",
        ),
        (
            json!({ "service": { "type": "NodePort", "loadBalancerClass": "x" } }),
            "spec.service.loadBalancerClass: is set; it is allowed with type LoadBalancer only",
        ),
        (
            json!({ "service": { "type": "ClusterIP", "externalTrafficPolicy": "Local" } }),
            "spec.service.externalTrafficPolicy: is set; it is allowed with type LoadBalancer or NodePort only",
        ),
        (
            json!({ "service": { "annotations": { "headwater.dev/x": "y" } } }),
            "spec.service.annotations[\"headwater.dev/x\"]: is the operator's own; any key but those under headwater.dev/ is allowed",
        ),
        (
            json!({ "template": { "labels": { "app.kubernetes.io/name": "y" } } }),
            "spec.template.labels[\"app.kubernetes.io/name\"]: is the operator's own; any key but those under app.kubernetes.io/ is allowed",
        ),
        (
            json!({ "template": { "resources": { "limits": { "memory": "1 GB" } } } }),
            "spec.template.resources.limits.memory: `1 GB` is not a quantity; allowed are numbers such as 2, 500m, 256Mi or 1Gi",
        ),
        (
            json!({ "tls": { "secretName": "Web" } }),
            "spec.tls.secretName: `Web` is not the name of a Secret; allowed are 1 to 253 of a-z 0-9 . -, first and last a letter or digit",
        ),
        (
            json!({ "template": { "affinity": { "nodeAfinity": {} } } }),
            "spec.template.affinity.nodeAfinity: is unknown; allowed is what a pod's spec.affinity has",
        ),
    ] {
        assert_eq!(pool_of(changes.clone()), Err(vec![expected.to_owned()]), "{changes}");
    }
}

#[test]
fn each_bad_origin_is_refused_with_its_field_and_what_is_allowed() {
    let address = "is not an RTMP address; allowed is rtmp://host[:port]/app/stream[?query], at most 1024 characters";
    for (spec, expected) in [
        (
            json!({ "app": "api" }),
            "spec.app: `api` is a reserved app name; any but api, play and v1 is allowed".to_owned(),
        ),
        (
            json!({ "app": "" }),
            "spec.app: `` is not an app name; allowed are 1 to 128 of A-Z a-z 0-9 . _ -, the first of them not a dot".to_owned(),
        ),
        (
            json!({ "publish": { "keysSecret": "Main" } }),
            "spec.publish.keysSecret: `Main` is not the name of a Secret; allowed are 1 to 253 of a-z 0-9 . -, first and last a letter or digit".to_owned(),
        ),
        (
            json!({ "tls": { "secretName": "-" } }),
            "spec.tls.secretName: `-` is not the name of a Secret; allowed are 1 to 253 of a-z 0-9 . -, first and last a letter or digit".to_owned(),
        ),
        (
            json!({ "pulls": [{ "stream": "a", "url": "rtmp://h/a" }] }),
            format!("spec.pulls[0].url: {address}"),
        ),
        (
            json!({ "pulls": [{ "stream": "a", "url": "rtmp://h/live/{stream}" }] }),
            format!("spec.pulls[0].url: {address}"),
        ),
        (
            json!({ "pulls": [{ "stream": "a", "url": "rtmp://h/l/a" }, { "stream": "a", "url": "rtmp://h/l/b" }] }),
            "spec.pulls[1].stream: `a` is there twice; each may stand once".to_owned(),
        ),
        (
            json!({ "pushes": [{ "stream": "*", "url": "http://h/live/{stream}" }] }),
            format!("spec.pushes[0].url: {address}, in which {{stream}} stands for the stream's name"),
        ),
        (
            json!({ "pushes": [{ "stream": "cam*", "url": "rtmp://h/live/one" }] }),
            "spec.pushes[0].url: has no {stream}, so all streams that match `cam*` would go to one name; put {stream} into it or name one stream".to_owned(),
        ),
    ] {
        assert_eq!(origin_of(spec.clone()).map(drop), Err(vec![expected]), "{spec}");
    }
}

#[test]
fn names_of_resources_are_held_to_dns_labels() {
    for (name, right) in [("web", true), ("Web", false), ("1web", false), ("a.b", false)] {
        let raw = json!({
            "apiVersion": "headwater.dev/v1alpha1", "kind": "StreamOrigin", "metadata": { "name": name }, "spec": {},
        });
        let raw: StreamOrigin = serde_json::from_value(raw).unwrap();
        assert_eq!(origin(&raw).is_ok(), right, "{name}");
    }
}

#[test]
fn all_refusals_are_told_at_once() {
    let errors = pool_of(json!({
        "replicas": 0, "drainTimeoutSeconds": -1, "autoscaling": { "minReplicas": 9, "scaleInPercent": 90 },
    }))
    .unwrap_err();
    assert_eq!(errors.len(), 4, "{errors:#?}");
}

#[test]
fn no_refusal_and_no_debug_text_shows_an_address() {
    let spec = json!({
        "pulls": [{ "stream": "a", "url": "rtmp://h/s3cret" }],
        "pushes": [{ "stream": "*", "url": "rtmp://h/live2/s3cret" }, { "stream": "b", "url": format!("rtmp://h/live/{}s3cret", "x".repeat(2000)) }],
    });
    let errors = origin_of(spec).unwrap_err();
    assert_eq!(errors.len(), 3);
    assert!(!errors.concat().contains("s3cret"));
    let right = json!({ "pulls": [{ "stream": "a", "url": "rtmp://h/live/s3cret" }], "pushes": [{ "stream": "a", "url": "rtmp://h/live/s3cret" }] });
    assert!(!format!("{:?}", origin_of(right.clone()).unwrap()).contains("s3cret"));
    let raw: crate::api::StreamOriginSpec = serde_json::from_value(right).unwrap();
    assert!(!format!("{raw:?}").contains("s3cret"));
}

#[test]
fn quantities_take_integers_and_texts() {
    let template = json!({ "template": { "resources": { "requests": { "cpu": 2, "memory": "256Mi" }, "limits": { "cpu": "1.5", "memory": "1e9" } } } });
    let resources = pool_of(template).unwrap().template.resources.unwrap();
    assert_eq!(resources.requests.unwrap()["cpu"].0, "2");
    assert_eq!(resources.limits.unwrap()["memory"].0, "1e9");
}

#[test]
fn affinity_is_read_without_loss() {
    let term = json!({ "topologyKey": "zone", "labelSelector": { "matchLabels": { "a": "b" } } });
    let affinity = json!({ "podAntiAffinity": { "requiredDuringSchedulingIgnoredDuringExecution": [term] } });
    assert!(
        pool_of(json!({ "template": { "affinity": affinity } }))
            .unwrap()
            .template
            .affinity
            .is_some()
    );
    let wrong = pool_of(json!({ "template": { "affinity": { "podAffinity": 5 } } })).unwrap_err();
    assert!(
        wrong[0].starts_with("spec.template.affinity.podAffinity: is not as in a pod's spec"),
        "{wrong:?}"
    );
}

#[test]
fn the_kind_of_an_upstream_can_not_change_but_its_name_can() {
    let old = pool_of(json!({})).unwrap();
    let renamed = pool_of(json!({ "upstream": { "kind": "StreamOrigin", "name": "other" } })).unwrap();
    let moved = pool_of(json!({ "upstream": { "kind": "EdgePool", "name": "main" } })).unwrap();
    assert_eq!(pool_change(&old, &renamed), Ok(()));
    let refused = pool_change(&old, &moved).unwrap_err();
    assert_eq!(
        refused[0].to_string(),
        "spec.upstream.kind: can't be changed from StreamOrigin to EdgePool; make a pool of another name instead"
    );
}
