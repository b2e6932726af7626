//! What an Azure load balancer is told, word for word: a letter wrong in an annotation and it is silently ignored.

use serde_json::{Value, json};

use crate::{defaults, helm_is_there, object, render};

/// Annotations of both Services; keys below `service.beta.kubernetes.io/`.
const BOTH: [(&str, &str); 7] = [
    ("azure-load-balancer-resource-group", "headwater"),
    ("azure-load-balancer-tcp-idle-timeout", "30"),
    ("port_80_health-probe_protocol", "http"),
    ("port_80_health-probe_request-path", "/readyz"),
    ("port_1935_health-probe_protocol", "http"),
    ("port_1935_health-probe_port", "80"),
    ("port_1935_health-probe_request-path", "/readyz"),
];
const ORIGIN: [(&str, &str); 3] = [
    ("azure-pip-name", "headwater-origin"),
    ("azure-dns-label-name", "headwater-origin"),
    ("azure-allowed-ip-ranges", "0.0.0.0/0"),
];
const POOL: [(&str, &str); 2] = [
    ("azure-pip-name", "headwater-web"),
    ("azure-dns-label-name", "headwater-web"),
];

fn expected(own: &[(&str, &str)]) -> Value {
    let all = BOTH.iter().chain(own);
    let key = |key: &str| format!("service.beta.kubernetes.io/{key}");
    all.map(|(name, value)| (key(name), json!(value)))
        .collect::<serde_json::Map<_, _>>()
        .into()
}

#[test]
fn the_values_for_aks_give_each_service_its_annotations() {
    if !helm_is_there("annotations") {
        return;
    }
    let made = defaults(&render(true, json!({})));
    let (origin, pool) = (object(&made, "StreamOrigin", "main"), object(&made, "EdgePool", "web"));
    assert_eq!(origin["spec"]["service"]["annotations"], expected(&ORIGIN));
    assert_eq!(pool["spec"]["service"]["annotations"], expected(&POOL));
    for made in [origin, pool] {
        assert_eq!(made["spec"]["service"]["type"], "LoadBalancer");
        assert_eq!(made["spec"]["service"]["externalTrafficPolicy"], "Cluster");
    }
    let spec = &pool["spec"];
    assert_eq!(
        spec["drainTimeoutSeconds"], 540,
        "below the cluster autoscaler's 10 minutes"
    );
    assert_eq!(spec["template"]["tolerations"][0]["value"], "spot");
    assert_eq!(
        spec["template"]["tolerations"][0]["key"],
        "kubernetes.azure.com/scalesetpriority"
    );
}

#[test]
fn an_internal_load_balancer_s_annotations_are_passed_through() {
    if !helm_is_there("annotations") {
        return;
    }
    let internal = json!({
        "service.beta.kubernetes.io/azure-load-balancer-internal": "true",
        "service.beta.kubernetes.io/azure-load-balancer-internal-subnet": "streams",
    });
    let made = defaults(&render(
        false,
        json!({"origin": {"spec": {"service": {"annotations": internal}}}}),
    ));
    assert_eq!(
        object(&made, "StreamOrigin", "main")["spec"]["service"]["annotations"],
        internal
    );
}

#[test]
fn every_annotation_is_in_the_guide() {
    let guide = std::fs::read_to_string(e2e::harness::root().join("docs/aks.md")).unwrap();
    for (key, _) in BOTH.iter().chain(&ORIGIN).chain(&POOL) {
        assert!(guide.contains(key), "docs/aks.md does not speak of {key}");
    }
}
