//! What a container is started with: arguments and environment of the pod, with its mounts led to real folders.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use k8s_openapi::api::core::v1::{Container, EnvVar, EnvVarSource, Pod};

use crate::harness::cluster::stores::Stores;
use crate::harness::program;

/// Where each mount of the container really is, by its path in the container.
pub(super) type Mounts = BTreeMap<String, PathBuf>;

/// The ports that a media node listens on unless told otherwise, by the variable that tells it.
const NODE_PORTS: [(&str, u16); 3] = [
    ("HEADWATER_RTMP_LISTEN", 1935),
    ("HEADWATER_HTTP_LISTEN", 8080),
    ("HEADWATER_OPS_LISTEN", 8081),
];
/// The operator's.
const OPERATOR_PORTS: [(&str, u16); 1] = [("HEADWATER_OPS_LISTEN", 9090)];

/// The containers of a pod that run beside its last, which is the one that counts.
///
/// # Errors
/// Pods that the test kubelet can't run.
pub(super) fn containers(pod: &Pod) -> Result<Vec<&Container>> {
    let spec = pod.spec.as_ref().context("a pod without spec")?;
    let beside: Vec<&Container> = spec.init_containers.iter().flatten().collect();
    if beside.iter().any(|one| one.restart_policy.as_deref() != Some("Always")) {
        bail!("the test kubelet runs init containers only beside the others");
    }
    let [container] = spec.containers.as_slice() else {
        bail!("the test kubelet runs pods of one container");
    };
    Ok([beside, vec![container]].concat())
}

/// What is run in place of a container's image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Program<'a> {
    MediaNode,
    Operator,
    /// A program of this machine that the container names as its command.
    Named(&'a str),
}

impl<'a> Program<'a> {
    fn of(container: &'a Container) -> Result<Self> {
        match (container.name.as_str(), container.command.as_deref()) {
            ("media-node", None) => Ok(Self::MediaNode),
            ("headwater", None) => Ok(Self::Operator),
            (_, Some([name])) if !name.contains('/') => Ok(Self::Named(name)),
            _ => bail!("the test kubelet has no program for the image of {}", container.name),
        }
    }

    fn path(self) -> Result<PathBuf> {
        match self {
            Self::MediaNode => program("media-node"),
            Self::Operator => program("headwater"),
            Self::Named(name) => Ok(PathBuf::from(name)),
        }
    }

    fn ports(self) -> &'static [(&'static str, u16)] {
        match self {
            Self::MediaNode => &NODE_PORTS,
            Self::Operator => &OPERATOR_PORTS,
            Self::Named(_) => &[],
        }
    }
}

/// True if the container speaks to the API server, for which it is given a file in place of its account's token.
pub(super) fn has_account(container: &Container) -> bool {
    Program::of(container).is_ok_and(|program| program == Program::Operator)
}

/// A container's start.
#[derive(Debug)]
pub(super) struct Launch {
    pub(super) program: PathBuf,
    pub(super) args: Vec<String>,
    pub(super) env: Vec<(String, String)>,
}

impl Launch {
    /// `account` is the file with which it reaches the API server, if it does.
    pub(super) fn new(
        pod: &Pod,
        container: &Container,
        address: Ipv4Addr,
        mounts: &Mounts,
        stores: &Stores,
        account: Option<&Path>,
    ) -> Result<Self> {
        let program = Program::of(container)?;
        let mut env: BTreeMap<String, String> = BTreeMap::new();
        for variable in container.env.iter().flatten() {
            if let Some(value) = value(variable, pod, address, stores)? {
                let value = expand(&value, &env);
                env.insert(variable.name.clone(), value);
            }
        }
        let services = |name: &str, namespace: &str| cluster_ip(stores, name, namespace);
        let local = |text: &str| resolve(&relocate(text, mounts), services);
        let args = container.args.iter().flatten().map(|arg| expand(arg, &env));
        let args = args.map(|arg| local(&arg)).collect();
        let mut env: BTreeMap<String, String> = env.into_iter().map(|(name, value)| (name, local(&value))).collect();
        for (name, port) in program.ports() {
            if let Some(given) = env.insert((*name).to_owned(), format!("{address}:{port}")) {
                bail!("{name} is {given} in the pod: the test kubelet chooses the address");
            }
        }
        if program == Program::MediaNode {
            env.insert("HEADWATER_END_WITH_STDIN".to_owned(), "true".to_owned());
        }
        if let Some(account) = account {
            env.insert("KUBECONFIG".to_owned(), account.display().to_string());
        }
        Ok(Self {
            program: program.path()?,
            args,
            env: env.into_iter().collect(),
        })
    }
}

/// Address of a Service; none where it is not there or has none.
fn cluster_ip(stores: &Stores, name: &str, namespace: &str) -> Option<String> {
    let service = stores.services.find(|service| {
        service.metadata.name.as_deref() == Some(name) && service.metadata.namespace.as_deref() == Some(namespace)
    })?;
    let address = service.spec.as_ref()?.cluster_ip.clone()?;
    (address != "None").then_some(address)
}

/// Puts the address of a Service in the place of each `NAME.NAMESPACE.svc`: this machine's resolver knows none of them.
fn resolve(text: &str, address: impl Fn(&str, &str) -> Option<String>) -> String {
    let mut resolved = String::new();
    let mut rest = text;
    while let Some(at) = rest.find(".svc") {
        let head = &rest[..at];
        let before = head.trim_end_matches(|letter: char| letter.is_ascii_alphanumeric() || "-.".contains(letter));
        let host = &head[before.len()..];
        match host
            .split_once('.')
            .and_then(|(name, namespace)| address(name, namespace))
        {
            Some(found) => {
                resolved += before;
                resolved += &found;
            }
            None => resolved += &rest[..at + ".svc".len()],
        }
        rest = &rest[at + ".svc".len()..];
    }
    resolved + rest
}

/// Value of a variable; nothing where an optional source has none.
fn value(variable: &EnvVar, pod: &Pod, address: Ipv4Addr, stores: &Stores) -> Result<Option<String>> {
    let Some(source) = &variable.value_from else {
        return Ok(Some(variable.value.clone().unwrap_or_default()));
    };
    let namespace = pod.metadata.namespace.as_deref();
    let EnvVarSource {
        field_ref,
        secret_key_ref,
        config_map_key_ref,
        ..
    } = source;
    if let Some(field) = field_ref {
        return pod_field(&field.field_path, pod, address).map(Some);
    }
    let (found, optional, what) = if let Some(wanted) = secret_key_ref {
        let same = |name: Option<&str>, of: Option<&str>| name == Some(wanted.name.as_str()) && of == namespace;
        let secret = stores
            .secrets
            .find(|secret| same(secret.metadata.name.as_deref(), secret.metadata.namespace.as_deref()));
        let value = secret.and_then(|secret| secret.data.as_ref()?.get(&wanted.key).map(|value| value.0.clone()));
        let value = value.map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        (
            value,
            wanted.optional,
            format!("key {} of Secret {}", wanted.key, wanted.name),
        )
    } else if let Some(wanted) = config_map_key_ref {
        let map = stores.config_maps.find(|map| {
            map.metadata.name.as_deref() == Some(wanted.name.as_str()) && map.metadata.namespace.as_deref() == namespace
        });
        let value = map.and_then(|map| map.data.as_ref()?.get(&wanted.key).cloned());
        (
            value,
            wanted.optional,
            format!("key {} of ConfigMap {}", wanted.key, wanted.name),
        )
    } else {
        bail!("the test kubelet knows no such source of {}", variable.name);
    };
    match found {
        None if optional != Some(true) => bail!("CreateContainerConfigError: there is no {what}"),
        found => Ok(found),
    }
}

fn pod_field(path: &str, pod: &Pod, address: Ipv4Addr) -> Result<String> {
    let (meta, spec) = (&pod.metadata, pod.spec.as_ref());
    let quoted = |head: &str| {
        Some(
            path.strip_prefix(head)?
                .strip_prefix("['")?
                .strip_suffix("']")?
                .to_owned(),
        )
    };
    let listed = |map: &Option<BTreeMap<String, String>>, key: &str| {
        map.as_ref().and_then(|map| map.get(key).cloned()).unwrap_or_default()
    };
    if let Some(key) = quoted("metadata.annotations") {
        return Ok(listed(&meta.annotations, &key));
    }
    if let Some(key) = quoted("metadata.labels") {
        return Ok(listed(&meta.labels, &key));
    }
    let found = match path {
        "metadata.name" => meta.name.clone(),
        "metadata.namespace" => meta.namespace.clone(),
        "metadata.uid" => meta.uid.clone(),
        "spec.nodeName" => spec.and_then(|spec| spec.node_name.clone()),
        "spec.serviceAccountName" => spec.and_then(|spec| spec.service_account_name.clone()),
        "status.podIP" | "status.podIPs" | "status.hostIP" => Some(address.to_string()),
        _ => bail!("the test kubelet knows no field {path}"),
    };
    Ok(found.unwrap_or_default())
}

/// `$(NAME)` as Kubernetes replaces it: unknown names stay, `$$` is a dollar sign.
fn expand(text: &str, env: &BTreeMap<String, String>) -> String {
    let mut expanded = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        expanded.push_str(&rest[..at]);
        rest = &rest[at..];
        let name = rest
            .strip_prefix("$(")
            .and_then(|inner| inner.split_once(')'))
            .map(|(name, _)| name);
        let found = name.and_then(|name| Some((name, env.get(name)?)));
        if let Some((name, value)) = found {
            expanded.push_str(value);
            rest = &rest[name.len() + 3..];
        } else {
            expanded.push('$');
            rest = rest.strip_prefix("$$").unwrap_or(&rest[1..]);
        }
    }
    expanded + rest
}

/// Leads paths below a mount to the folder that it really is.
fn relocate(text: &str, mounts: &Mounts) -> String {
    let mut text = text.to_owned();
    for (inside, outside) in mounts.iter().rev() {
        let whole = text.ends_with(inside.as_str());
        if whole || text.contains(&format!("{inside}/")) {
            text = text.replace(inside.as_str(), &outside.display().to_string());
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_in_arguments_are_replaced_as_kubernetes_does() {
        let env = BTreeMap::from([("NAME".to_owned(), "web".to_owned())]);
        assert_eq!(expand("--name=$(NAME)-1", &env), "--name=web-1");
        assert_eq!(expand("$(OTHER) $$(NAME) 5$", &env), "$(OTHER) $(NAME) 5$");
    }

    #[test]
    fn a_path_below_a_mount_leads_to_its_folder() {
        let mounts = Mounts::from([("/run/control".to_owned(), PathBuf::from("/tmp/x"))]);
        assert_eq!(relocate("--file=/run/control/token", &mounts), "--file=/tmp/x/token");
        assert_eq!(relocate("/run/control", &mounts), "/tmp/x");
        assert_eq!(relocate("/run/controls", &mounts), "/run/controls");
    }
    #[test]
    fn a_service_s_name_gives_way_to_its_address() {
        let address =
            |name: &str, namespace: &str| (name == "main-origin" && namespace == "n").then(|| "192.0.2.7".to_owned());
        for (text, resolved) in [
            (
                "rtmp://main-origin.n.svc:1935/live/a?key=x",
                "rtmp://192.0.2.7:1935/live/a?key=x",
            ),
            ("http://main-origin.n.svc/", "http://192.0.2.7/"),
            (
                "a.main-origin.n.svc main-origin.m.svc",
                "a.main-origin.n.svc main-origin.m.svc",
            ),
            ("main-origin.n.svc,main-origin.n.svc", "192.0.2.7,192.0.2.7"),
            ("no.svc.here", "no.svc.here"),
        ] {
            assert_eq!(resolve(text, address), resolved, "{text}");
        }
    }

    #[test]
    fn a_container_runs_as_the_program_that_it_stands_for() {
        let of = |container: serde_json::Value| {
            let container: Container = serde_json::from_value(container).unwrap();
            Program::of(&container)
                .map(|program| program.path().map(|_| format!("{program:?}")))
                .ok()
        };
        let named = of(serde_json::json!({"name": "play", "command": ["ffmpeg"]}))
            .unwrap()
            .unwrap();
        assert_eq!(named, "Named(\"ffmpeg\")");
        assert!(
            of(serde_json::json!({"name": "play"})).is_none(),
            "an image without a command is unknown here"
        );
        assert!(of(serde_json::json!({"name": "play", "command": ["/bin/sh"]})).is_none());
    }
}
