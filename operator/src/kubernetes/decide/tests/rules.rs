//! What holds of the objects whatever the manifest says.

use k8s_openapi::api::core::v1::{PodSpec, PodTemplateSpec, Toleration};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::*;

fn pod_template(objects: &Objects<Decided>) -> &PodTemplateSpec {
    let deployment = objects.deployment.as_ref().unwrap();
    &deployment.spec.as_ref().unwrap().template
}

fn pod(objects: &Objects<Decided>) -> &PodSpec {
    pod_template(objects).spec.as_ref().unwrap()
}

fn args(objects: &Objects<Decided>) -> &[String] {
    pod(objects).containers[0].args.as_deref().unwrap()
}

/// Specs that both kinds take and that touch every part of the objects.
const SPECS: [&str; 5] = [
    "  suspend: false\n",
    "  suspend: true\n",
    "  service: {type: ClusterIP, annotations: {a: b}}\n",
    "  service: {type: NodePort}\n",
    "  template: {labels: {a: b}, resources: {limits: {cpu: 1}}}\n",
];

fn each(check: impl Fn(&Objects<Decided>)) {
    for spec in SPECS {
        check(&origin_of(spec));
        check(&pool_of(spec, &two_edges()));
    }
}

/// A change of any of them would restart the origin and cut its publishers off.
#[test]
fn publishing_rules_pulls_and_pushes_change_nothing_at_all() {
    let plain = origin_of("  app: live\n");
    for spec in [
        "  publish: {keysSecret: main-keys, onConflict: TakeOver}\n",
        "  pulls: [{stream: cam1, url: 'rtmp://cam.example/live/cam1?key=hunter2'}]\n",
        "  pushes: [{stream: '*', url: 'rtmp://cdn.example/live/{stream}?key=hunter2'}]\n",
        "  dvr: {minutes: 120}\n",
        "  groups: ['{group}_{variant}']\n",
    ] {
        assert_eq!(origin_of(spec), plain, "{spec}");
    }
}

#[test]
fn scaling_and_replication_change_nothing_of_the_pods() {
    let plain = pool_of("  replicas: 2\n", &two_edges());
    for spec in [
        "  replicas: 9\n",
        "  autoscaling: {minReplicas: 3, maxReplicas: 9, capacityMbps: 50}\n",
        "  replication: {mode: OnDemand, streams: [cam1]}\n",
        "  service: {type: ClusterIP}\n",
    ] {
        let facts = PoolFacts {
            replicas: 9,
            desired: 5,
            ..two_edges()
        };
        assert_eq!(pod_template(&pool_of(spec, &facts)), pod_template(&plain), "{spec}");
    }
}

/// Pods that waited for a Secret, or died without it, would serve nobody.
#[test]
fn a_certificate_is_waited_for_by_the_node_and_not_by_the_pod() {
    let tls = "  tls: {secretName: some-tls}\n";
    for objects in [origin_of(tls), pool_of(tls, &two_edges())] {
        let volumes = pod(&objects).volumes.as_ref().unwrap();
        let secret = volumes[1].secret.as_ref().unwrap();
        assert_eq!(secret.secret_name.as_deref(), Some("some-tls"));
        assert_eq!(secret.optional, Some(true));
        assert_eq!(volumes[0].secret.as_ref().unwrap().optional, None);
        let mounts = pod(&objects).containers[0].volume_mounts.as_ref().unwrap();
        let mount = mounts.iter().find(|mount| mount.name == volumes[1].name).unwrap();
        assert_eq!(mount.read_only, Some(true));
        for flag in [
            "--tls-cert=/run/headwater/tls/tls.crt",
            "--tls-key=/run/headwater/tls/tls.key",
            "--tls-wait",
        ] {
            assert!(args(&objects).contains(&flag.to_owned()), "{flag}");
        }
        let ports = objects.service.spec.as_ref().unwrap().ports.as_ref().unwrap();
        let port = |name: &str| ports.iter().find(|port| port.name.as_deref() == Some(name)).unwrap();
        assert_eq!(port("https").port, 443);
        assert_eq!(port("https").target_port, port("http").target_port);
    }
}

#[test]
fn the_ops_port_is_on_no_service() {
    each(|objects| {
        let spec = objects.service.spec.as_ref().unwrap();
        let ports = spec.ports.as_ref().unwrap();
        assert_eq!(ports.len(), 2);
        for port in ports {
            assert_ne!(port.port, i32::from(pods::OPS));
            let target = port.target_port.as_ref().unwrap();
            assert!(
                [names::RTMP_PORT, names::HTTP_PORT]
                    .map(|name| IntOrString::String(name.to_owned()))
                    .contains(target),
                "{target:?}"
            );
        }
        assert_eq!(spec.publish_not_ready_addresses, None, "only ready pods take traffic");
    });
}

/// Every field of the restricted Pod Security Standard, and what goes beyond it.
#[test]
fn pods_meet_the_restricted_standard() {
    each(|objects| {
        let pod = pod(objects);
        let security = pod.security_context.as_ref().unwrap();
        assert_eq!(security.run_as_non_root, Some(true));
        assert_eq!(security.run_as_user, Some(65532));
        assert_eq!(security.run_as_group, Some(65532));
        assert_eq!(security.seccomp_profile.as_ref().unwrap().type_, "RuntimeDefault");
        assert_eq!((&security.sysctls, &security.supplemental_groups), (&None, &None));
        assert_eq!((pod.host_network, pod.host_pid, pod.host_ipc), (None, None, None));
        for volume in pod.volumes.as_ref().unwrap() {
            assert!(volume.secret.is_some() && volume.host_path.is_none());
        }
        let [container] = pod.containers.as_slice() else {
            panic!("{} containers", pod.containers.len());
        };
        let security = container.security_context.as_ref().unwrap();
        assert_eq!(security.allow_privilege_escalation, Some(false));
        assert_eq!(security.privileged, None);
        let capabilities = security.capabilities.as_ref().unwrap();
        assert_eq!(capabilities.drop.as_deref(), Some(&["ALL".to_owned()][..]));
        assert_eq!(capabilities.add, None);
        assert!(container.ports.iter().flatten().all(|port| port.host_port.is_none()));
        assert_eq!(security.read_only_root_filesystem, Some(true));
        assert_eq!(pod.automount_service_account_token, Some(false));
        assert_eq!(pod.enable_service_links, Some(false));
        assert_eq!(container.lifecycle, None, "the image has no shell");
    });
}

#[test]
fn grace_is_longer_than_the_drain() {
    for seconds in [0_i64, 1, 1800, 86_400] {
        let objects = pool_of(&format!("  drainTimeoutSeconds: {seconds}\n"), &two_edges());
        let grace = pod(&objects).termination_grace_period_seconds.unwrap();
        assert!(grace > seconds + edge_pool::DRAIN_ACCEPT_SECONDS, "{seconds} {grace}");
        assert!(args(&objects).contains(&format!("--drain-timeout={seconds}s")));
    }
    assert_eq!(
        pod(&origin_of("  app: live\n")).termination_grace_period_seconds,
        Some(15)
    );
}

#[test]
fn every_object_is_owned_labelled_and_found_again() {
    each(|objects| {
        let kind =
            match objects.disruption_budget.is_some() || objects.service.metadata.name.as_deref() == Some("web-edge") {
                true => ResourceId::pool("video", "web"),
                false => ResourceId::origin("video", "main"),
            };
        let budget = objects.disruption_budget.as_ref().map(|budget| &budget.metadata);
        let all = [
            Some(&objects.deployment.as_ref().unwrap().metadata),
            Some(&objects.service.metadata),
            Some(&objects.network_policy.metadata),
            budget,
        ];
        for metadata in all.into_iter().flatten() {
            assert_eq!(names::resource_of(metadata), Some(kind.clone()));
            assert_eq!(metadata.name, Some(names::object(&kind)));
            let [owner] = metadata.owner_references.as_deref().unwrap() else {
                panic!("{metadata:?}");
            };
            assert_eq!((owner.controller, owner.block_owner_deletion), (Some(true), Some(true)));
            assert_eq!(
                (owner.kind.as_str(), owner.name.as_str()),
                (kind.kind.as_str(), kind.name.as_str())
            );
        }
        let pod_labels = pod_template(objects)
            .metadata
            .as_ref()
            .unwrap()
            .labels
            .as_ref()
            .unwrap();
        let has = |(key, value): (&String, &String)| pod_labels.get(key) == Some(value);
        assert!(names::labels(&kind).iter().all(has));
        let selectors = [
            objects
                .deployment
                .as_ref()
                .unwrap()
                .spec
                .as_ref()
                .unwrap()
                .selector
                .match_labels
                .as_ref(),
            objects.service.spec.as_ref().unwrap().selector.as_ref(),
            objects
                .network_policy
                .spec
                .as_ref()
                .unwrap()
                .pod_selector
                .as_ref()
                .unwrap()
                .match_labels
                .as_ref(),
        ];
        for selector in selectors {
            assert_eq!(selector, Some(&names::selector(&kind)));
        }
    });
}

/// The whole of a lost node's pod is the origin: a toleration of the cluster's default of 300 s would keep it away for
/// as long.
#[test]
fn an_origin_leaves_a_lost_node_after_ten_seconds_unless_the_template_says_otherwise() {
    let seconds = |spec: &str, taint: &str| {
        let objects = origin_of(spec);
        let tolerations = pod(&objects).tolerations.clone().unwrap();
        let of = |toleration: &&Toleration| toleration.key.as_deref() == Some(taint);
        let found: Vec<_> = tolerations.iter().filter(of).map(|t| t.toleration_seconds).collect();
        found
    };
    let (not_ready, unreachable) = ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable");
    let plain = "  app: live\n";
    assert_eq!(seconds(plain, not_ready), [Some(10)]);
    assert_eq!(seconds(plain, unreachable), [Some(10)]);
    let longer =
        "  template: {tolerations: [{key: node.kubernetes.io/unreachable, operator: Exists, tolerationSeconds: 90}]}\n";
    assert_eq!(seconds(longer, not_ready), [Some(10)]);
    assert_eq!(seconds(longer, unreachable), [Some(90)]);
    let other_effect =
        "  template: {tolerations: [{key: node.kubernetes.io/not-ready, operator: Exists, effect: NoSchedule}]}\n";
    assert_eq!(seconds(other_effect, not_ready), [None, Some(10)]);
}

#[test]
fn a_budget_lets_one_wanted_edge_go_and_never_blocks_a_node() {
    for (desired, stay) in [(0, 0), (1, 0), (2, 1), (5, 4)] {
        let facts = PoolFacts {
            replicas: desired + 3,
            desired,
            ..two_edges()
        };
        let objects = pool_of("  replicas: 2\n", &facts);
        let spec = objects.disruption_budget.unwrap().spec.unwrap();
        assert_eq!(spec.min_available, Some(IntOrString::Int(stay)));
        assert_eq!(spec.unhealthy_pod_eviction_policy.as_deref(), Some("AlwaysAllow"));
    }
}

#[test]
fn a_pool_without_an_upstream_keeps_its_budget_and_leaves_its_deployment_alone() {
    let facts = PoolFacts {
        upstream: None,
        ..two_edges()
    };
    let objects = pool_of("  replicas: 2\n", &facts);
    assert_eq!(objects.deployment, None);
    assert!(objects.disruption_budget.is_some());
}

#[test]
fn metrics_may_be_read_from_the_named_namespaces_alone() {
    let peers = |metrics_from: &[&str]| {
        let around = Surroundings {
            metrics_from: metrics_from.iter().map(|name| (*name).to_owned()).collect(),
            ..around()
        };
        let manifests = manifests(&origin_text("  app: live\n"));
        let objects = origin(&manifests.origins[0], &OriginFacts { owner: owner() }, &around);
        let rules = objects.network_policy.spec.unwrap().ingress.unwrap();
        let [media, ops] = rules.as_slice() else {
            panic!("{rules:?}");
        };
        assert_eq!(media.from, None);
        let media_ports: Vec<_> = media.ports.iter().flatten().map(|port| port.port.clone()).collect();
        assert!(!media_ports.contains(&Some(IntOrString::Int(i32::from(pods::OPS)))));
        ops.from.clone().unwrap()
    };
    // An empty list would mean anybody; the operator is always in it.
    assert_eq!(peers(&[]).len(), 1);
    assert!(peers(&[])[0].pod_selector.is_some());
    assert_eq!(peers(&["b", "a", "b"]).len(), 3);
    assert_eq!(peers(&["b", "a"]), peers(&["a", "b", "a"]));
}

#[test]
fn equal_input_gives_equal_objects() {
    for spec in SPECS {
        assert_eq!(origin_of(spec), origin_of(spec));
        assert_eq!(pool_of(spec, &two_edges()), pool_of(spec, &two_edges()));
    }
}

/// The media node's source is the contract: a flag renamed there would leave every pod in a crash loop.
#[test]
fn every_flag_is_one_that_the_media_node_has() {
    let source = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../media-node/src/args.rs");
    let source = std::fs::read_to_string(source).unwrap();
    each(|objects| {
        let args = args(objects);
        assert!(["origin", "edge"].contains(&args[0].as_str()), "{args:?}");
        for arg in &args[1..] {
            let flag = arg.strip_prefix("--").unwrap();
            let (name, valued) = flag.split_once('=').map_or((flag, false), |(name, _)| (name, true));
            let field = format!("pub {}: ", name.replace('-', "_"));
            let rest = source
                .split(&field)
                .nth(1)
                .unwrap_or_else(|| panic!("--{name} is no flag"));
            assert_eq!(rest.starts_with("bool"), !valued, "--{name}");
            assert!(!name.ends_with("-listen"), "{arg}");
        }
    });
    let default = |variable: &str| {
        let line = source
            .lines()
            .position(|line| line.contains(&format!("env = \"{variable}\"")))
            .unwrap();
        source.lines().skip(line).take(3).collect::<String>()
    };
    assert!(default("HEADWATER_DRAIN_ACCEPT").contains(&format!("\"{}s\"", edge_pool::DRAIN_ACCEPT_SECONDS)));
    for (variable, port) in [
        ("HEADWATER_RTMP_LISTEN", pods::RTMP),
        ("HEADWATER_HTTP_LISTEN", pods::HTTP),
        ("HEADWATER_OPS_LISTEN", pods::OPS),
    ] {
        assert!(default(variable).contains(&format!("[::]:{port}\"")), "{variable}");
    }
    assert!(source.contains("env = \"HEADWATER_NAME\""));
}
