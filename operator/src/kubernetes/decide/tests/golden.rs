//! Each case against its file in `golden/`.

use std::path::PathBuf;

use serde::Serialize;

use super::*;

/// The objects as one YAML text, in the order in which they are applied.
fn yaml(objects: Objects<Decided>) -> String {
    fn document(object: &impl Serialize) -> String {
        format!("---\n{}", serde_saphyr::to_string(object).unwrap())
    }
    let Objects {
        deployment,
        service,
        network_policy,
        disruption_budget,
        phase: _,
    } = objects;
    let documents = [
        deployment.as_ref().map(document),
        Some(document(&service)),
        Some(document(&network_policy)),
        disruption_budget.as_ref().map(document),
    ];
    documents.into_iter().flatten().collect()
}

/// Lines that are in one text alone, in their order: the longest common subsequence is what is left out.
fn difference(old: &str, new: &str) -> String {
    let (old, new): (Vec<&str>, Vec<&str>) = (old.lines().collect(), new.lines().collect());
    let mut common = vec![vec![0_usize; new.len() + 1]; old.len() + 1];
    for i in (0..old.len()).rev() {
        for j in (0..new.len()).rev() {
            common[i][j] = match old[i] == new[j] {
                true => common[i + 1][j + 1] + 1,
                false => common[i + 1][j].max(common[i][j + 1]),
            };
        }
    }
    let (mut i, mut j, mut lines) = (0, 0, Vec::new());
    while i < old.len() || j < new.len() {
        if i < old.len() && j < new.len() && old[i] == new[j] {
            (i, j) = (i + 1, j + 1);
        } else if j == new.len() || i < old.len() && common[i + 1][j] >= common[i][j + 1] {
            lines.push(format!("{:4} - {}", i + 1, old[i]));
            i += 1;
        } else {
            lines.push(format!("{:4} + {}", j + 1, new[j]));
            j += 1;
        }
    }
    lines.join("\n")
}

#[track_caller]
fn golden(name: &str, manifest: &str, objects: Objects<Decided>) {
    let head: String = manifest.lines().map(|line| format!("# {line}\n")).collect();
    let made = format!("{head}{}", yaml(objects));
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src/kubernetes/decide/golden");
    let file = folder.join(format!("{name}.yaml"));
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&file, &made).unwrap();
    }
    let committed = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(
        committed == made,
        "{name}.yaml is not what is decided now (UPDATE_GOLDEN=1 writes it anew):\n{}",
        difference(&committed, &made)
    );
}

fn golden_origin(name: &str, spec: &str) {
    golden(name, &origin_text(spec), origin_of(spec));
}

fn golden_pool(name: &str, spec: &str, facts: &PoolFacts) {
    golden(name, &pool_text(spec), pool_of(spec, facts));
}

const FULL_TEMPLATE: &str = "  template:
    resources:
      requests: {cpu: 2, memory: 4Gi}
      limits: {cpu: 4, ephemeral-storage: 1Gi}
    nodeSelector: {agentpool: media}
    tolerations:
    - {key: kubernetes.azure.com/scalesetpriority, operator: Equal, value: spot, effect: NoSchedule}
    - {key: node.kubernetes.io/unreachable, operator: Exists, effect: NoExecute, tolerationSeconds: 60}
    affinity:
      nodeAffinity:
        requiredDuringSchedulingIgnoredDuringExecution:
          nodeSelectorTerms:
          - matchExpressions: [{key: kubernetes.io/arch, operator: In, values: [amd64]}]
    topologySpreadConstraints:
    - {maxSkew: 2, topologyKey: topology.kubernetes.io/zone, whenUnsatisfiable: DoNotSchedule}
    - maxSkew: 1
      topologyKey: rack
      whenUnsatisfiable: ScheduleAnyway
      labelSelector: {matchLabels: {tier: media}}
    labels: {tier: media, team: broadcast}
    annotations:
      example.com/note: kept
      controller.kubernetes.io/pod-deletion-cost: '100'
    priorityClassName: broadcast
";

#[test]
fn a_plain_origin() {
    golden_origin("origin-plain", "  app: live\n");
}

#[test]
fn a_plain_pool() {
    golden_pool("pool-plain", "  replicas: 2\n", &two_edges());
}

#[test]
fn an_origin_and_a_pool_of_a_private_registry() {
    let spec = "  app: live\n";
    golden(
        "origin-private-registry",
        &origin_text(spec),
        origin_in(spec, &private()),
    );
    let spec = "  replicas: 2\n";
    golden(
        "pool-private-registry",
        &pool_text(spec),
        pool_in(spec, &two_edges(), &private()),
    );
}

#[test]
fn a_suspended_origin_keeps_its_address() {
    golden_origin("origin-suspended", "  suspend: true\n");
}

#[test]
fn a_suspended_pool_keeps_its_address_and_needs_no_upstream() {
    let facts = PoolFacts {
        upstream: None,
        ..two_edges()
    };
    golden_pool("pool-suspended", "  suspend: true\n", &facts);
}

#[test]
fn an_origin_with_everything_said_about_its_pod() {
    golden_origin("origin-full-template", FULL_TEMPLATE);
}

#[test]
fn a_pool_with_everything_said_about_its_pods() {
    golden_pool("pool-full-template", FULL_TEMPLATE, &two_edges());
}

#[test]
fn a_pool_behind_an_internal_load_balancer_of_aks() {
    let spec = "  service:
    type: LoadBalancer
    externalTrafficPolicy: Local
    loadBalancerClass: service.k8s.azure/internal
    annotations:
      service.beta.kubernetes.io/azure-load-balancer-internal: 'true'
      service.beta.kubernetes.io/azure-load-balancer-tcp-idle-timeout: '30'
      service.beta.kubernetes.io/port_1935_health-probe_protocol: http
      service.beta.kubernetes.io/port_1935_health-probe_port: '80'
      service.beta.kubernetes.io/port_1935_health-probe_request-path: /readyz
";
    golden_pool("pool-aks-internal", spec, &two_edges());
}

#[test]
fn an_origin_on_a_port_of_every_node() {
    let spec = "  service: {type: NodePort, externalTrafficPolicy: Cluster}\n";
    golden_origin("origin-node-port", spec);
}

#[test]
fn an_origin_whose_past_is_on_disk() {
    let spec = "  dvr: {minutes: 120, memoryMebibytes: 256, diskGibibytes: 20}\n";
    golden_origin("origin-dvr", spec);
}

#[test]
fn a_pool_inside_the_cluster_alone() {
    golden_pool("pool-cluster-ip", "  service: {type: ClusterIP}\n", &two_edges());
}

#[test]
fn a_pool_whose_upstream_has_an_ipv6_address() {
    let facts = PoolFacts {
        upstream: "fd00:10::1234".parse().ok(),
        ..two_edges()
    };
    golden_pool("pool-ipv6-upstream", "  drainTimeoutSeconds: 60\n", &facts);
}

#[test]
fn a_pool_whose_upstream_is_not_there_yet() {
    let facts = PoolFacts {
        upstream: None,
        ..two_edges()
    };
    golden_pool("pool-no-upstream-yet", "  replicas: 2\n", &facts);
}

#[test]
fn an_autoscaled_pool_with_edges_that_drain() {
    let spec = "  autoscaling: {minReplicas: 2, maxReplicas: 10, capacityMbps: 1000}\n";
    let facts = PoolFacts {
        replicas: 7,
        desired: 4,
        app: "studio".to_owned(),
        ..two_edges()
    };
    golden_pool("pool-autoscaled", spec, &facts);
}

#[test]
fn an_origin_with_a_certificate() {
    golden_origin("origin-tls", "  tls: {secretName: main-tls}\n");
}

#[test]
fn a_pool_with_a_certificate() {
    golden_pool("pool-tls", "  tls: {secretName: web-tls}\n", &two_edges());
}

#[test]
fn a_difference_shows_what_went_and_what_came() {
    assert_eq!(difference("a\nb\nc", "a\nx\nc\nd"), "   2 - b\n   2 + x\n   4 + d");
    assert_eq!(difference("a", "a"), "");
}
