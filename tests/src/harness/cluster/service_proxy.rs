//! What kube-proxy does: each Service address leads each connection to a ready pod chosen at random.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Pod, Service, ServicePort};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::task::AbortOnDropHandle;

use super::kubelet::port;
use super::stores::Stores;

/// Longest time between two looks at the Services.
const LOOK: Duration = Duration::from_secs(1);

/// The running proxy; it ends when dropped, and with it every connection.
#[derive(Debug)]
pub struct ServiceProxy {
    _task: AbortOnDropHandle<()>,
}

impl ServiceProxy {
    /// Starts it.
    pub fn start(stores: Arc<Stores>) -> Self {
        Self {
            _task: AbortOnDropHandle::new(tokio::spawn(watch(stores))),
        }
    }
}

/// A port of a Service.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Front {
    address: SocketAddr,
    uid: String,
}

async fn watch(stores: Arc<Stores>) {
    let mut changes = stores.changes();
    let mut listeners: HashMap<Front, AbortOnDropHandle<()>> = HashMap::new();
    loop {
        let services = stores.services.state();
        let wanted: Vec<Front> = services.iter().flat_map(|service| fronts(service)).collect();
        listeners.retain(|front, task| wanted.contains(front) && !task.is_finished());
        for front in wanted {
            if !listeners.contains_key(&front)
                && let Ok(listener) = TcpListener::bind(front.address).await
            {
                let task = tokio::spawn(serve(listener, front.clone(), stores.clone()));
                listeners.insert(front, AbortOnDropHandle::new(task));
            }
        }
        if tokio::time::timeout(LOOK, changes.changed())
            .await
            .is_ok_and(|told| told.is_err())
        {
            return;
        }
    }
}

/// Addresses of a Service that choose pods; those in IPv6 are left out: loopback has one only.
fn fronts(service: &Service) -> Vec<Front> {
    let Some(spec) = &service.spec else { return Vec::new() };
    if spec.selector.as_ref().is_none_or(|selector| selector.is_empty()) {
        return Vec::new();
    }
    let uid = service.metadata.uid.clone().unwrap_or_default();
    let addresses = spec
        .cluster_ips
        .iter()
        .flatten()
        .filter_map(|text| text.parse::<IpAddr>().ok());
    let addresses: Vec<IpAddr> = addresses.filter(IpAddr::is_ipv4).collect();
    let ports = spec
        .ports
        .iter()
        .flatten()
        .filter_map(|port| u16::try_from(port.port).ok());
    let pairs = ports.flat_map(|port| addresses.iter().map(move |ip| SocketAddr::new(*ip, port)));
    pairs
        .map(|address| Front {
            address,
            uid: uid.clone(),
        })
        .collect()
}

async fn serve(listener: TcpListener, front: Front, stores: Arc<Stores>) {
    let mut links = tokio::task::JoinSet::new();
    while let Ok((mut down, _)) = listener.accept().await {
        while links.try_join_next().is_some() {}
        let uid = Some(front.uid.as_str());
        let service = stores.services.find(|service| service.metadata.uid.as_deref() == uid);
        let backends = service.map(|service| backends(&service, front.address.port(), &stores.pods.state()));
        let backends = backends.unwrap_or_default();
        if backends.is_empty() {
            // A Service without pods refuses: dropped at once is the nearest to it.
            continue;
        }
        let chosen = backends[rand::random_range(0..backends.len())];
        links.spawn(async move {
            if let Ok(mut up) = TcpStream::connect(chosen).await {
                // Both ends of a link come and go as they like: nothing to tell.
                let _ = (down.set_nodelay(true), up.set_nodelay(true));
                let _ = copy_bidirectional(&mut down, &mut up).await;
            }
        });
    }
}

/// Pods behind a port of a Service: the ready ones; where there is none, those that are ready and about to end.
pub fn backends(service: &Service, front: u16, pods: &[Arc<Pod>]) -> Vec<SocketAddr> {
    let Some(spec) = &service.spec else { return Vec::new() };
    let mut ports = spec.ports.iter().flatten();
    let Some(front) = ports.find(|port| port.port == i32::from(front)) else {
        return Vec::new();
    };
    let all = spec.publish_not_ready_addresses == Some(true);
    let chosen = pods.iter().filter(|pod| {
        let labels = pod.metadata.labels.as_ref();
        let label = |(key, value): (&String, &String)| labels.and_then(|labels| labels.get(key)) == Some(value);
        let same_namespace = pod.metadata.namespace == service.metadata.namespace;
        same_namespace && spec.selector.iter().flatten().all(label) && (all || ready(pod))
    });
    let (ending, staying): (Vec<_>, Vec<_>) = chosen.partition(|pod| pod.metadata.deletion_timestamp.is_some());
    let of = |pods: Vec<&Arc<Pod>>| {
        pods.into_iter()
            .filter_map(|pod| backend(pod, front))
            .collect::<Vec<_>>()
    };
    let staying = of(staying);
    if staying.is_empty() { of(ending) } else { staying }
}

fn backend(pod: &Pod, front: &ServicePort) -> Option<SocketAddr> {
    let address: IpAddr = pod.status.as_ref()?.pod_ip.as_ref()?.parse().ok()?;
    let same = IntOrString::Int(front.port);
    let target = front.target_port.as_ref().unwrap_or(&same);
    let container = pod.spec.as_ref()?.containers.first()?;
    Some(SocketAddr::new(address, port(container, target)?))
}

/// True if a pod says that it is ready.
pub fn ready(pod: &Pod) -> bool {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_ref());
    let mut conditions = conditions.into_iter().flatten();
    conditions.any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn pod(name: &str, ready: bool, change: Value) -> Arc<Pod> {
        let mut pod = json!({
            "metadata": {"name": name, "namespace": "n", "labels": {"app": "x"}},
            "spec": {"containers": [{"name": "c", "ports": [{"name": "http", "containerPort": 8080}]}]},
            "status": {
                "podIP": format!("10.0.0.{name}"),
                "conditions": [{"type": "Ready", "status": if ready { "True" } else { "False" }}],
            },
        });
        for (key, value) in change.as_object().unwrap() {
            pod["metadata"][key] = value.clone();
        }
        Arc::new(serde_json::from_value(pod).unwrap())
    }

    fn service() -> Service {
        let service = json!({
            "metadata": {"name": "s", "namespace": "n", "uid": "u"},
            "spec": {
                "selector": {"app": "x"},
                "clusterIPs": ["127.9.128.4", "fd00::4"],
                "ports": [{"port": 80, "targetPort": "http"}, {"port": 1935}],
            },
        });
        serde_json::from_value(service).unwrap()
    }

    #[test]
    fn ready_pods_of_the_selector_are_behind_a_service() {
        let pods = [
            pod("1", true, json!({})),
            pod("2", false, json!({})),
            pod("3", true, json!({"namespace": "other"})),
            pod("4", true, json!({"labels": {"app": "y"}})),
            pod("5", true, json!({"deletionTimestamp": "2026-01-01T00:00:00Z"})),
        ];
        let addresses = |front, pods: &[Arc<Pod>]| {
            let backends = backends(&service(), front, pods);
            backends.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert_eq!(addresses(80, &pods), ["10.0.0.1:8080"]);
        assert_eq!(addresses(1935, &pods), ["10.0.0.1:1935"]);
        assert_eq!(addresses(80, &pods[1..]), ["10.0.0.5:8080"], "the last resort");
        assert!(addresses(81, &pods).is_empty());
    }

    #[test]
    fn a_service_has_one_listener_a_port() {
        let fronts = fronts(&service());
        let addresses: Vec<String> = fronts.iter().map(|front| front.address.to_string()).collect();
        assert_eq!(addresses, ["127.9.128.4:80", "127.9.128.4:1935"]);
    }
}
