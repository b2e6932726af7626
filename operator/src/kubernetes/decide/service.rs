//! The Service of a resource: RTMP and HTTP of its ready pods. The ops port is on none.

use k8s_openapi::api::core::v1::{Service, ServicePort, ServiceSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::{Owner, metadata, names};
use crate::api::service::ExternalTrafficPolicy;
use crate::fleet::ResourceId;
use crate::validate::{Exposure, ValidService};

/// RTMP port of every Service.
pub(super) const RTMP: u16 = 1935;
/// HTTP port of every Service.
pub(super) const HTTP: u16 = 80;
/// HTTPS port of a Service whose pods have a certificate.
pub(super) const HTTPS: u16 = 443;

/// The Service. Fields that its type does not allow are left out, or the API server would refuse it.
pub(super) fn service(id: &ResourceId, owner: &Owner, given: &ValidService, tls: bool) -> Service {
    let ValidService { annotations, exposure } = given;
    let (type_, class, policy) = match exposure {
        Exposure::ClusterIp => ("ClusterIP", None, None),
        Exposure::NodePort { policy } => ("NodePort", None, *policy),
        Exposure::LoadBalancer { class, policy } => ("LoadBalancer", class.clone(), *policy),
    };
    let mut ports = vec![
        // No appProtocol: none is registered for RTMP, and load balancers refuse names that they don't know.
        port(names::RTMP_PORT, RTMP, names::RTMP_PORT, None),
        port(names::HTTP_PORT, HTTP, names::HTTP_PORT, Some("http")),
    ];
    if tls {
        // Pods tell TLS and plain HTTP apart by the first byte.
        ports.push(port(names::HTTPS_PORT, HTTPS, names::HTTP_PORT, Some("https")));
    }
    Service {
        metadata: ObjectMeta {
            annotations: (!annotations.is_empty()).then(|| annotations.clone()),
            ..metadata(id, owner, names::object(id))
        },
        spec: Some(ServiceSpec {
            type_: Some(type_.to_owned()),
            selector: Some(names::selector(id)),
            // The first is IPv4's or IPv6's as the cluster has it; a cluster of one family gives one address.
            ip_family_policy: Some("PreferDualStack".to_owned()),
            load_balancer_class: class,
            external_traffic_policy: policy.map(|policy| policy_name(policy).to_owned()),
            ports: Some(ports),
            ..ServiceSpec::default()
        }),
        status: None,
    }
}

fn port(name: &str, port: u16, target: &str, app_protocol: Option<&str>) -> ServicePort {
    ServicePort {
        name: Some(name.to_owned()),
        port: i32::from(port),
        // Part of the key under which server-side apply merges ports.
        protocol: Some("TCP".to_owned()),
        target_port: Some(IntOrString::String(target.to_owned())),
        app_protocol: app_protocol.map(str::to_owned),
        node_port: None,
    }
}

fn policy_name(policy: ExternalTrafficPolicy) -> &'static str {
    match policy {
        ExternalTrafficPolicy::Cluster => "Cluster",
        ExternalTrafficPolicy::Local => "Local",
    }
}
