//! The objects of an EdgePool: as many edges as the facts say, that drain when told to go, their address and their
//! guards.

use std::marker::PhantomData;
use std::net::IpAddr;

use k8s_openapi::api::apps::v1::{Deployment, DeploymentSpec, DeploymentStrategy, RollingUpdateDeployment};
use k8s_openapi::api::core::v1::TopologySpreadConstraint;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::{Decided, Objects, PoolFacts, Surroundings, guard, metadata, names, pods, resources, service};
use crate::fleet::ResourceId;
use crate::validate::ValidPool;

/// How long a draining edge takes newcomers yet: the media node's default of `--drain-accept`.
pub(super) const DRAIN_ACCEPT_SECONDS: i64 = 10;
/// What an edge may take beyond the deadline of its drain to end, before it is killed.
const SLACK_SECONDS: i64 = 20;
/// Labels of cluster nodes over whose values edges are spread.
const SPREAD_OVER: [&str; 2] = ["topology.kubernetes.io/zone", "kubernetes.io/hostname"];

/// The objects that an EdgePool should have.
pub fn edge_pool(pool: &ValidPool, facts: &PoolFacts, around: &Surroundings) -> Objects<Decided> {
    let id = ResourceId::pool(&pool.key.namespace, &pool.key.name);
    let PoolFacts {
        owner,
        replicas,
        desired,
        upstream,
        app,
    } = facts;
    let replicas = if pool.suspend { 0 } else { *replicas };
    // Edges without an upstream would serve nothing and be made anew once it is there.
    let deployment = (upstream.is_some() || pool.suspend).then(|| Deployment {
        metadata: metadata(&id, owner, names::object(&id)),
        spec: Some(DeploymentSpec {
            replicas: Some(i32::try_from(replicas).unwrap_or(i32::MAX)),
            revision_history_limit: Some(pods::REVISIONS_KEPT),
            selector: LabelSelector {
                match_labels: Some(names::selector(&id)),
                ..LabelSelector::default()
            },
            strategy: Some(one_more_at_a_time()),
            template: pods::template(pod(&id, pool, *upstream, app), around),
            ..DeploymentSpec::default()
        }),
        status: None,
    });
    Objects {
        deployment,
        service: service::service(&id, owner, &pool.service, pool.tls_secret.is_some()),
        network_policy: guard::network_policy(&id, owner, around),
        disruption_budget: (!pool.suspend).then(|| guard::disruption_budget(&id, owner, *desired)),
        phase: PhantomData,
    }
}

/// A rolling update never takes an edge away before another is ready; the one that goes drains meanwhile.
fn one_more_at_a_time() -> DeploymentStrategy {
    DeploymentStrategy {
        type_: Some("RollingUpdate".to_owned()),
        rolling_update: Some(RollingUpdateDeployment {
            max_surge: Some(IntOrString::Int(1)),
            max_unavailable: Some(IntOrString::Int(0)),
        }),
    }
}

fn pod<'a>(id: &'a ResourceId, pool: &'a ValidPool, upstream: Option<IpAddr>, app: &'a str) -> pods::Pod<'a> {
    let drain_seconds = pool.drain_timeout.as_secs();
    let mut flags: Vec<String> = upstream.map(upstream_flags).into_iter().flatten().collect();
    flags.push(format!("--drain-timeout={drain_seconds}s"));
    pods::Pod {
        scratch_gibibytes: None,
        id,
        app,
        flags,
        grace_seconds: i64::try_from(drain_seconds)
            .unwrap_or(i64::MAX)
            .saturating_add(DRAIN_ACCEPT_SECONDS + SLACK_SECONDS),
        resources: resources::EDGE,
        tolerations: Vec::new(),
        spread: over_zones_and_nodes(id),
        operators_annotations: &names::POD_ANNOTATIONS,
        tls_secret: pool.tls_secret.as_ref(),
        template: &pool.template,
    }
}

/// Where the pods of a Deployment pull from, and the app of their streams, as their flags say.
pub fn upstream_of(live: &Deployment) -> Option<(IpAddr, String)> {
    let pod = live.spec.as_ref()?.template.spec.as_ref()?;
    let flags = pod.containers.first()?.args.as_ref()?;
    let value = |flag: &str| flags.iter().find_map(|text| text.strip_prefix(flag));
    let (host, _) = value("--upstream=rtmp://")?.rsplit_once(':')?;
    let address = host.trim_start_matches('[').trim_end_matches(']').parse().ok()?;
    Some((address, value("--app=")?.to_owned()))
}

/// Streams from there, and what was packaged there before an edge came.
fn upstream_flags(address: IpAddr) -> [String; 2] {
    let host = match address {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => format!("[{address}]"),
    };
    [
        format!("--upstream=rtmp://{host}:{}", service::RTMP),
        format!("--upstream-http=http://{host}:{}", service::HTTP),
    ]
}

fn over_zones_and_nodes(id: &ResourceId) -> Vec<TopologySpreadConstraint> {
    let constraints = SPREAD_OVER.map(|topology_key| TopologySpreadConstraint {
        max_skew: 1,
        topology_key: topology_key.to_owned(),
        when_unsatisfiable: "ScheduleAnyway".to_owned(),
        label_selector: Some(LabelSelector {
            match_labels: Some(names::selector(id)),
            ..LabelSelector::default()
        }),
        // The pods of the old revision go: counted in, they would push the new ones to the wrong places.
        match_label_keys: Some(vec!["pod-template-hash".to_owned()]),
        ..TopologySpreadConstraint::default()
    });
    constraints.into()
}
