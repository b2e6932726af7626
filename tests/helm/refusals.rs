//! Values that are wrong are refused, with the key's path.

use e2e::harness::helm;
use serde_json::json;

use crate::helm_is_there;

#[test]
fn a_typo_a_wrong_type_and_a_contradiction_are_refused_with_the_key_s_path() {
    if !helm_is_there("refusals") {
        return;
    }
    let scaling = |fields| json!({"pool": {"spec": {"autoscaling": fields}}});
    let wrong = [
        (json!({"operatr": {}}), "operatr"),
        (json!({"operator": {"replica": 2}}), "/operator"),
        (json!({"operator": {"replicas": 3}}), "/operator/replicas"),
        (json!({"operator": {"replicas": "2"}}), "/operator/replicas"),
        (
            json!({"operator": {"tolerations": [{"kye": "x"}]}}),
            "/operator/tolerations/0",
        ),
        (json!({"image": {"pullPolicy": "Sometimes"}}), "/image/pullPolicy"),
        (json!({"image": {"digest": "sha1:0"}}), "/image/digest"),
        (json!({"watchNamespace": "a.b"}), "/watchNamespace"),
        (json!({"metricsFrom": "monitoring"}), "/metricsFrom"),
        (
            json!({"monitoring": {"podMonitor": {"intervall": "1s"}}}),
            "/monitoring/podMonitor",
        ),
        (json!({"origin": {"name": "Main"}}), "/origin/name"),
        (
            json!({"origin": {"spec": {"publish": {"keySecret": "x"}}}}),
            "/origin/spec/publish",
        ),
        (
            json!({"pool": {"spec": {"service": {"type": "Balancer"}}}}),
            "/pool/spec/service/type",
        ),
        (scaling(json!({"minReplica": 1})), "/pool/spec/autoscaling"),
        (scaling(json!({"minReplicas": 0})), "/pool/spec/autoscaling/minReplicas"),
        (
            scaling(json!({"minReplicas": 5, "maxReplicas": 4})),
            "pool.spec.autoscaling.maxReplicas: 4 is below",
        ),
        (
            scaling(json!({"minReplicas": 6})),
            "pool.spec.autoscaling.maxReplicas: 5 is below",
        ),
        (
            scaling(json!({"scaleInPercent": 70})),
            "pool.spec.autoscaling.scaleInPercent: 70 is not below",
        ),
        (
            scaling(json!({"fallbackReplicas": 9})),
            "pool.spec.autoscaling.fallbackReplicas: 9 is not between",
        ),
        (json!({"origin": {"create": false}}), "pool.spec.upstream"),
        (json!({"serviceAccount": {"create": false}}), "serviceAccount.name"),
    ];
    let requests: Vec<_> = wrong
        .iter()
        .map(|(values, _)| helm::request("render", false, values.clone()))
        .collect();
    let answers = helm::run(&requests).unwrap();
    let mut faults = Vec::new();
    for ((values, path), answer) in wrong.iter().zip(answers) {
        match answer {
            Ok(_) => faults.push(format!("{values} is taken")),
            Err(words) if !words.contains(path) => faults.push(format!("{values} is refused without {path}: {words}")),
            Err(_) => {}
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}
