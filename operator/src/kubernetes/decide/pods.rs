//! The pod of an origin or an edge: one container under the restricted Pod Security Standard, with what the template
//! says merged in.
//!
//! Listen addresses are never among the arguments, so that a pod can be run on any address by its environment.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    Capabilities, Container, ContainerPort, EmptyDirVolumeSource, EnvVar, EnvVarSource, HTTPGetAction, KeyToPath,
    LocalObjectReference, ObjectFieldSelector, PodSecurityContext, PodSpec, PodTemplateSpec, Probe, SeccompProfile,
    SecretVolumeSource, SecurityContext, Toleration, TopologySpreadConstraint, Volume, VolumeMount,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::names::{self, CONTAINER, HTTP_PORT, OPS_PORT, RTMP_PORT};
use super::resources::{self, Defaults};
use super::{Surroundings, token};
use crate::api::names::SecretName;
use crate::api::tls;
use crate::fleet::{ResourceId, ResourceKind};
use crate::validate::ValidTemplate;

/// Port on which a pod takes RTMP: the media node's default.
pub(super) const RTMP: u16 = 1935;
/// Port on which a pod delivers by HTTP: the media node's default.
pub(super) const HTTP: u16 = 8080;
/// Port of a pod's probes, metrics and control API: the media node's default.
pub(super) const OPS: u16 = 8081;

/// ReplicaSets that are kept beside the current one: the operator, not `kubectl rollout undo`, says what runs.
pub(super) const REVISIONS_KEPT: i32 = 2;

/// Folder of the control token in the container.
const TOKEN_FOLDER: &str = "/run/headwater/control";
const TOKEN_VOLUME: &str = "control-token";
/// Folder of the certificate in the container.
const TLS_FOLDER: &str = "/run/headwater/tls";
const TLS_VOLUME: &str = "tls";
/// Owner and group may read: the group is the pod's own.
const SECRET_MODE: i32 = 0o440;
/// Folder of what a node keeps on disk while it runs.
pub(super) const SCRATCH_FOLDER: &str = "/var/lib/headwater/dvr";
const SCRATCH_VOLUME: &str = "dvr";
/// User and group of the media node, those of distroless images' `nonroot`.
const USER: i64 = 65532;

/// What a pod is made from.
pub(super) struct Pod<'a> {
    /// Whose pod.
    pub(super) id: &'a ResourceId,
    /// App that it serves.
    pub(super) app: &'a str,
    /// Flags of its role.
    pub(super) flags: Vec<String>,
    /// Size of its folder on disk, which lives as long as the pod; none for no such folder.
    pub(super) scratch_gibibytes: Option<u32>,
    /// Time between SIGTERM and SIGKILL.
    pub(super) grace_seconds: i64,
    /// What it may use where the template says nothing.
    pub(super) resources: Defaults,
    /// Tolerations beside the template's.
    pub(super) tolerations: Vec<Toleration>,
    /// Spread where the template has none.
    pub(super) spread: Vec<TopologySpreadConstraint>,
    /// Annotations that the operator sets on single pods: a template's value would stand in for them on all.
    pub(super) operators_annotations: &'static [&'static str],
    /// Secret with the certificate of its delivery port.
    pub(super) tls_secret: Option<&'a SecretName>,
    /// What the resource says.
    pub(super) template: &'a ValidTemplate,
}

/// The pod template.
pub(super) fn template(pod: Pod<'_>, around: &Surroundings) -> PodTemplateSpec {
    let container = container(&pod, around);
    let Pod {
        id,
        grace_seconds,
        scratch_gibibytes,
        tolerations,
        spread,
        operators_annotations,
        tls_secret,
        template,
        ..
    } = pod;
    let mut labels = template.labels.clone();
    labels.extend(names::labels(id));
    let mut annotations = template.annotations.clone();
    annotations.retain(|key, _| !operators_annotations.contains(&key.as_str()));
    let tolerations: Vec<Toleration> = template.tolerations.iter().cloned().chain(tolerations).collect();
    PodTemplateSpec {
        metadata: Some(ObjectMeta {
            labels: Some(labels),
            annotations: filled(annotations),
            ..ObjectMeta::default()
        }),
        spec: Some(PodSpec {
            containers: vec![container],
            volumes: Some(
                std::iter::once(token_volume(id))
                    .chain(tls_secret.map(tls_volume))
                    .chain(scratch_gibibytes.map(scratch_volume))
                    .collect(),
            ),
            image_pull_secrets: pull_secrets(around),
            security_context: Some(pod_security()),
            // A node speaks to nobody's API server, and finds nothing by its environment.
            automount_service_account_token: Some(false),
            enable_service_links: Some(false),
            termination_grace_period_seconds: Some(grace_seconds),
            node_selector: filled(template.node_selector.clone()),
            tolerations: (!tolerations.is_empty()).then_some(tolerations),
            affinity: template.affinity.clone(),
            topology_spread_constraints: spread_of(template, spread, id),
            priority_class_name: template.priority_class_name.clone(),
            ..PodSpec::default()
        }),
    }
}

fn pull_secrets(around: &Surroundings) -> Option<Vec<LocalObjectReference>> {
    let names = around.pull_secrets.iter();
    let named: Vec<LocalObjectReference> = names.map(|name| LocalObjectReference { name: name.clone() }).collect();
    (!named.is_empty()).then_some(named)
}

fn container(pod: &Pod<'_>, around: &Surroundings) -> Container {
    let role = match pod.id.kind {
        ResourceKind::StreamOrigin => "origin",
        ResourceKind::EdgePool => "edge",
    };
    let mut args = vec![
        role.to_owned(),
        format!("--app={}", pod.app),
        format!("--control-token-file={TOKEN_FOLDER}/{}", token::KEY),
        "--log-format=json".to_owned(),
    ];
    args.extend(pod.flags.iter().cloned());
    let mut mounts = vec![mount(TOKEN_VOLUME, TOKEN_FOLDER)];
    if pod.tls_secret.is_some() {
        args.extend([
            format!("--tls-cert={TLS_FOLDER}/{}", tls::CERTIFICATE),
            format!("--tls-key={TLS_FOLDER}/{}", tls::KEY),
            // The volume is empty until there is such a Secret.
            "--tls-wait".to_owned(),
        ]);
        mounts.push(mount(TLS_VOLUME, TLS_FOLDER));
    }
    mounts.extend(pod.scratch_gibibytes.map(|_| VolumeMount {
        name: SCRATCH_VOLUME.to_owned(),
        mount_path: SCRATCH_FOLDER.to_owned(),
        ..VolumeMount::default()
    }));
    Container {
        name: CONTAINER.to_owned(),
        image: Some(around.image.clone()),
        image_pull_policy: around.pull_policy.clone(),
        args: Some(args),
        env: Some(vec![own_name()]),
        ports: Some(vec![port(RTMP_PORT, RTMP), port(HTTP_PORT, HTTP), port(OPS_PORT, OPS)]),
        volume_mounts: Some(mounts),
        // A draining edge leaves the Service at the next look.
        readiness_probe: Some(probe("/readyz", 2, 1, 2)),
        liveness_probe: Some(probe("/livez", 10, 3, 5)),
        resources: Some(resources::merged(pod.resources, pod.template.resources.as_ref())),
        security_context: Some(container_security()),
        // The last lines of a node that failed stand in `kubectl describe`.
        termination_message_policy: Some("FallbackToLogsOnError".to_owned()),
        ..Container::default()
    }
}

/// The pod's name is the node's name in the fleet.
fn own_name() -> EnvVar {
    EnvVar {
        name: "HEADWATER_NAME".to_owned(),
        value_from: Some(EnvVarSource {
            field_ref: Some(ObjectFieldSelector {
                api_version: Some("v1".to_owned()),
                field_path: "metadata.name".to_owned(),
            }),
            ..EnvVarSource::default()
        }),
        ..EnvVar::default()
    }
}

fn port(name: &str, number: u16) -> ContainerPort {
    ContainerPort {
        name: Some(name.to_owned()),
        container_port: i32::from(number),
        protocol: Some("TCP".to_owned()),
        ..ContainerPort::default()
    }
}

fn probe(path: &str, period_seconds: i32, failures: i32, timeout_seconds: i32) -> Probe {
    Probe {
        http_get: Some(HTTPGetAction {
            path: Some(path.to_owned()),
            port: IntOrString::String(OPS_PORT.to_owned()),
            ..HTTPGetAction::default()
        }),
        period_seconds: Some(period_seconds),
        failure_threshold: Some(failures),
        timeout_seconds: Some(timeout_seconds),
        ..Probe::default()
    }
}

fn mount(volume: &str, folder: &str) -> VolumeMount {
    VolumeMount {
        name: volume.to_owned(),
        mount_path: folder.to_owned(),
        read_only: Some(true),
        ..VolumeMount::default()
    }
}

fn token_volume(id: &ResourceId) -> Volume {
    secret_volume(TOKEN_VOLUME, names::control_secret(id), &[token::KEY], None)
}

/// Optional: a pod that waited for its certificate would serve nobody.
fn tls_volume(secret: &SecretName) -> Volume {
    let entries = [tls::CERTIFICATE, tls::KEY];
    secret_volume(TLS_VOLUME, secret.as_str().to_owned(), &entries, Some(true))
}

fn secret_volume(name: &str, secret: String, entries: &[&str], optional: Option<bool>) -> Volume {
    let items = entries.iter().map(|entry| KeyToPath {
        key: (*entry).to_owned(),
        path: (*entry).to_owned(),
        mode: None,
    });
    Volume {
        name: name.to_owned(),
        secret: Some(SecretVolumeSource {
            secret_name: Some(secret),
            default_mode: Some(SECRET_MODE),
            items: Some(items.collect()),
            optional,
        }),
        ..Volume::default()
    }
}

fn scratch_volume(gibibytes: u32) -> Volume {
    Volume {
        name: SCRATCH_VOLUME.to_owned(),
        empty_dir: Some(EmptyDirVolumeSource {
            medium: None,
            size_limit: Some(Quantity(format!("{gibibytes}Gi"))),
        }),
        ..Volume::default()
    }
}

fn pod_security() -> PodSecurityContext {
    PodSecurityContext {
        run_as_non_root: Some(true),
        run_as_user: Some(USER),
        run_as_group: Some(USER),
        fs_group: Some(USER),
        seccomp_profile: Some(SeccompProfile {
            type_: "RuntimeDefault".to_owned(),
            localhost_profile: None,
        }),
        ..PodSecurityContext::default()
    }
}

fn container_security() -> SecurityContext {
    SecurityContext {
        allow_privilege_escalation: Some(false),
        capabilities: Some(Capabilities {
            drop: Some(vec!["ALL".to_owned()]),
            add: None,
        }),
        read_only_root_filesystem: Some(true),
        ..SecurityContext::default()
    }
}

/// The template's spread, or the default. A constraint without a selector counts no pod at all, so that ours is put in.
fn spread_of(
    template: &ValidTemplate,
    default: Vec<TopologySpreadConstraint>,
    id: &ResourceId,
) -> Option<Vec<TopologySpreadConstraint>> {
    let given = template.topology_spread_constraints.iter().cloned();
    let given = given.map(|constraint| TopologySpreadConstraint {
        label_selector: constraint.label_selector.or_else(|| {
            Some(LabelSelector {
                match_labels: Some(names::selector(id)),
                ..LabelSelector::default()
            })
        }),
        ..constraint
    });
    let given: Vec<TopologySpreadConstraint> = given.collect();
    let spread = if given.is_empty() { default } else { given };
    (!spread.is_empty()).then_some(spread)
}

fn filled(map: BTreeMap<String, String>) -> Option<BTreeMap<String, String>> {
    (!map.is_empty()).then_some(map)
}
