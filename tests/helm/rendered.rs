//! Lint, and what is rendered of a matrix of values.

use std::path::PathBuf;

use e2e::harness::{helm, root};
use serde_json::{Value, json};

use crate::{defaults, helm_is_there, object, render};

/// Values that people set, each with whether those for AKS are below them.
fn matrix() -> Vec<(bool, Value)> {
    vec![
        (false, json!({})),
        (true, json!({})),
        (false, json!({"watchNamespace": "video", "operator": {"replicas": 2}})),
        (
            false,
            json!({"crds": {"create": false}, "rbac": {"create": false}, "networkPolicy": {"create": false}}),
        ),
        (false, json!({"origin": {"create": false}, "pool": {"create": false}})),
        (false, json!({"pool": {"spec": {"autoscaling": null, "replicas": 3}}})),
        (
            false,
            json!({"origin": {"create": false}, "pool": {"spec": {"upstream": {"kind": "EdgePool", "name": "middle"}}}}),
        ),
        (
            true,
            json!({
                "metricsFrom": ["monitoring"], "commonLabels": {"team": "video"}, "commonAnnotations": {"a": "b"},
                "monitoring": {
                    "podMonitor": {"enabled": true, "labels": {"release": "p"}}, "serviceMonitor": {"enabled": true},
                    "dashboards": {"enabled": true},
                },
                "imagePullSecrets": [{"name": "registry"}],
                "image": {"registry": "registry.example/", "digest": format!("sha256:{}", "0".repeat(64))},
                "operator": {
                    "podLabels": {"x": "y"}, "priorityClassName": "high", "nodeSelector": {"kubernetes.io/os": "linux"},
                    "tolerations": [{"key": "a", "operator": "Exists"}], "extraArgs": ["--identity=one"],
                    "affinity": {"podAntiAffinity": {}},
                },
                "serviceAccount": {"name": "streams", "annotations": {"a": "c"}},
                "origin": {"spec": {"publish": {"keysSecret": "keys"}}},
            }),
        ),
    ]
}

#[test]
fn lint_has_nothing_to_say_and_every_choice_of_values_renders() {
    if !helm_is_there("rendered") {
        return;
    }
    let lint = matrix()
        .into_iter()
        .map(|(aks, values)| helm::request("lint", aks, values));
    let renders = matrix()
        .into_iter()
        .map(|(aks, values)| helm::request("render", aks, values));
    let requests: Vec<Value> = lint.chain(renders).collect();
    let answers = helm::run(&requests).unwrap();
    let (lints, renders) = answers.split_at(requests.len() / 2);
    for answer in lints {
        let report = answer.as_ref().unwrap();
        assert_eq!(report["errors"], json!([]), "{report}");
        let messages = report["messages"].as_array().unwrap();
        // 2 is a warning, 3 an error.
        assert!(
            messages.iter().all(|message| message["severity"].as_i64() < Some(2)),
            "{report}"
        );
    }
    for answer in renders {
        for made in helm::objects(answer.as_ref().unwrap()).unwrap() {
            let labels = &made["metadata"]["labels"];
            assert_eq!(labels["app.kubernetes.io/name"], "headwater", "{made}");
            assert_eq!(labels["app.kubernetes.io/managed-by"], "Helm", "{made}");
        }
    }
}

/// Holds what is rendered against its file, without the definitions; `UPDATE_GOLDEN` writes it anew.
fn golden(name: &str, objects: &[Value]) {
    let documents = objects
        .iter()
        .filter(|object| object["kind"] != "CustomResourceDefinition");
    let made: String = documents
        .map(|object| format!("---\n{}", serde_saphyr::to_string(object).unwrap()))
        .collect();
    let path: PathBuf = root().join("tests/helm/golden").join(name);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, &made).unwrap();
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    let line = made
        .lines()
        .zip(committed.lines())
        .position(|(made, committed)| made != committed);
    assert!(
        made == committed,
        "tests/helm/golden/{name} is not what is rendered, from line {line:?} on (UPDATE_GOLDEN=1 writes it anew)"
    );
}

#[test]
fn a_plain_install_and_one_for_a_namespace_are_as_committed() {
    if !helm_is_there("rendered") {
        return;
    }
    golden("plain.yaml", &render(false, json!({})));
    let one = json!({
        "watchNamespace": "video", "operator": {"replicas": 2}, "metricsFrom": ["monitoring"], "test": {"stream": "t"},
        "imagePullSecrets": [{"name": "registry"}, {"name": "mirror"}],
        "crds": {"create": false}, "pool": {"create": false}, "origin": {"spec": {"publish": {"keysSecret": "keys"}}},
        "monitoring": {"podMonitor": {"enabled": true}, "serviceMonitor": {"enabled": true}},
    });
    golden("one-namespace.yaml", &render(false, one));
}

#[test]
fn one_install_gives_one_origin_and_two_edges_and_no_release_holds_them() {
    if !helm_is_there("rendered") {
        return;
    }
    let objects = render(false, json!({}));
    assert!(
        objects
            .iter()
            .all(|object| !["StreamOrigin", "EdgePool"].contains(&object["kind"].as_str().unwrap()))
    );
    let made = defaults(&objects);
    assert_eq!(made.len(), 2);
    let pool = object(&made, "EdgePool", "web");
    assert_eq!(
        pool["spec"]["upstream"],
        json!({"kind": "StreamOrigin", "name": "main"})
    );
    assert_eq!(pool["spec"]["autoscaling"]["minReplicas"], 2);
    assert_eq!(pool["spec"]["autoscaling"]["maxReplicas"], 5);
    assert_eq!(pool["spec"]["drainTimeoutSeconds"], 540);
    let by_hand = defaults(&render(
        false,
        json!({"pool": {"spec": {"autoscaling": null, "replicas": 3}}}),
    ));
    let pool = object(&by_hand, "EdgePool", "web");
    assert_eq!(
        (&pool["spec"]["autoscaling"], &pool["spec"]["replicas"]),
        (&Value::Null, &json!(3))
    );
}

#[test]
fn definitions_are_kept_and_else_as_committed() {
    if !helm_is_there("rendered") {
        return;
    }
    let objects = render(false, json!({}));
    for file in ["edgepools", "streamorigins"] {
        let text = std::fs::read_to_string(root().join(format!("crds/{file}.yaml"))).unwrap();
        let committed: Value = serde_saphyr::from_str(&text).unwrap();
        let made = object(&objects, "CustomResourceDefinition", &format!("{file}.headwater.dev"));
        assert_eq!(made["spec"], committed["spec"]);
        assert_eq!(made["metadata"]["annotations"]["helm.sh/resource-policy"], "keep");
    }
}

#[test]
fn rules_and_dashboards_are_what_the_chart_s_files_say() {
    if !helm_is_there("rendered") {
        return;
    }
    let monitoring = |kind: &str| json!({"monitoring": {kind: {"enabled": true}}});
    let shown = object(
        &render(false, monitoring("dashboards")),
        "ConfigMap",
        "headwater-dashboards",
    )
    .clone();
    assert_eq!(shown["metadata"]["labels"]["grafana_dashboard"], "1");
    let folder = helm::chart().join("files/dashboards");
    for entry in std::fs::read_dir(folder).into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|ending| ending == "json") {
            let name = path.file_name().unwrap().to_str().unwrap();
            assert_eq!(
                shown["data"][name].as_str().unwrap().trim(),
                std::fs::read_to_string(&path).unwrap().trim()
            );
        }
    }
    if let Ok(text) = std::fs::read_to_string(helm::chart().join("files/rules.yaml")) {
        let rules: Value = serde_saphyr::from_str(&text).unwrap();
        let made = render(false, monitoring("prometheusRule"));
        assert_eq!(object(&made, "PrometheusRule", "headwater")["spec"], rules);
    }
}
