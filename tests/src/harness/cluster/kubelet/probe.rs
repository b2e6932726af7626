//! The probes of a pod's container. Readiness is asked more often than its period says: tests do not wait for a kubelet.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::{Container, Pod, Probe as Settings};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use crate::harness::http;

/// Time between two questions.
const PERIOD: Duration = Duration::from_millis(200);
/// Longest wait for an answer: a refusal counts at once, silence only when it is longer than a busy machine's.
const PATIENCE: Duration = Duration::from_secs(2);

/// Asks, and remembers the last answer for a while.
pub(super) struct Probe {
    address: Ipv4Addr,
    last: Option<(Instant, bool)>,
    /// When liveness was asked last, and failures in a row.
    life: Option<(Instant, i32)>,
}

impl Probe {
    pub(super) fn new(address: Ipv4Addr) -> Self {
        Self {
            address,
            last: None,
            life: None,
        }
    }

    /// The container is another one now.
    pub(super) fn forget(&mut self) {
        self.last = None;
        self.life = None;
    }

    /// True if the container says that it is ready; without a probe it always is.
    pub(super) async fn ready(&mut self, pod: &Pod) -> bool {
        if let Some((at, ready)) = self.last
            && at.elapsed() < PERIOD
        {
            return ready;
        }
        let ready = match url(pod, self.address, |container| container.readiness_probe.as_ref()) {
            None => true,
            Some(url) => answers(&url).await,
        };
        self.last = Some((Instant::now(), ready));
        ready
    }

    /// False once the container has failed its liveness probe as often in a row, at its period, as it may.
    pub(super) async fn alive(&mut self, pod: &Pod) -> bool {
        let settings = |container: &Container| container.liveness_probe.clone();
        let container = pod.spec.as_ref().and_then(|spec| spec.containers.first());
        let Some((settings, url)) = container
            .and_then(settings)
            .zip(url(pod, self.address, |container| container.liveness_probe.as_ref()))
        else {
            return true;
        };
        let period = u64::try_from(settings.period_seconds.unwrap_or(10)).unwrap_or(10);
        let (asked, failures) = *self.life.get_or_insert_with(|| (Instant::now(), 0));
        if asked.elapsed() < Duration::from_secs(period) {
            return true;
        }
        let failures = if answers(&url).await { 0 } else { failures + 1 };
        self.life = Some((Instant::now(), failures));
        failures < settings.failure_threshold.unwrap_or(3)
    }
}

async fn answers(url: &str) -> bool {
    let answer = tokio::time::timeout(PATIENCE, http::get(url)).await;
    answer.is_ok_and(|answer| answer.is_ok_and(|answer| answer.status.is_success()))
}

/// What a probe asks, if the container has one.
fn url(pod: &Pod, address: Ipv4Addr, of: impl Fn(&Container) -> Option<&Settings>) -> Option<String> {
    let container = pod.spec.as_ref()?.containers.first()?;
    let get = of(container)?.http_get.as_ref()?;
    let port = port(container, &get.port)?;
    let path = get.path.as_deref().unwrap_or("/");
    Some(format!("http://{address}:{port}{path}"))
}

/// Number of a port that is given by number or by name.
pub(in crate::harness::cluster) fn port(container: &Container, port: &IntOrString) -> Option<u16> {
    let number = match port {
        IntOrString::Int(number) => *number,
        IntOrString::String(name) => {
            let ports = container.ports.as_ref()?;
            let named = ports.iter().find(|port| port.name.as_deref() == Some(name.as_str()));
            named?.container_port
        }
    };
    u16::try_from(number).ok()
}
