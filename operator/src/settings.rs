//! What the command line means, checked: programs that exist, addresses that can be used.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use thiserror::Error;

use crate::args::{LocalArgs, OPS_LISTEN, OperatorArgs};
use crate::kubernetes::decide::Surroundings;

/// Settings of local mode.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Local {
    /// Manifest files and folders.
    pub files: Vec<PathBuf>,
    /// Whether the bundled clip is published.
    pub sample: bool,
    /// When to end by itself.
    pub exit_after: Option<Duration>,
    /// File that names nodes to adopt.
    pub attach: Option<PathBuf>,
    /// Ops address.
    pub ops: OpsListen,
    /// The `media-node` program.
    pub media_node: PathBuf,
    /// Goes with every command: the start time in milliseconds, so that a later start outranks this one.
    pub term: u64,
}

/// Settings of the operator in a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operator {
    /// The only namespace that is looked after; none for all.
    pub namespace: Option<String>,
    /// Ops address.
    pub ops_listen: SocketAddr,
    /// What objects are decided by, beside the resources.
    pub surroundings: Surroundings,
    /// Namespace of the Lease.
    pub lease_namespace: String,
    /// Its name.
    pub lease: String,
    /// File or folder of resources that are applied.
    pub default_resources: Option<PathBuf>,
    /// This process in the election.
    pub identity: String,
}

impl Operator {
    /// Settings from the command line.
    pub fn from_args(args: OperatorArgs) -> Self {
        let identity = args.identity.unwrap_or_else(|| {
            let host = rustix::system::uname();
            let number: u32 = rand::random();
            format!("{}-{number:08x}", host.nodename().to_string_lossy())
        });
        Self {
            namespace: args.namespace,
            default_resources: args.default_resources,
            ops_listen: args.ops_listen,
            lease_namespace: args.lease_namespace.unwrap_or_else(|| args.pod_namespace.clone()),
            lease: args.lease,
            identity,
            surroundings: Surroundings {
                image: args.media_node_image,
                pull_policy: args.media_node_pull_policy,
                pull_secrets: args.media_node_pull_secrets,
                operator_namespace: args.pod_namespace,
                metrics_from: args.metrics_from,
            },
        }
    }
}

/// Where the ops port is to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpsListen {
    /// The default, or the next free port.
    Default(SocketAddr),
    /// Exactly this one.
    Exactly(SocketAddr),
}

/// The `media-node` program is not there.
#[derive(Debug, Error)]
#[error("no media-node program at {0}; build it (`cargo build -p media-node`) or say where it is with --media-node")]
pub struct NoMediaNode(PathBuf);

impl Local {
    /// Settings from the command line.
    ///
    /// # Errors
    /// [`NoMediaNode`].
    pub fn from_args(args: LocalArgs, now: Timestamp) -> Result<Self, NoMediaNode> {
        let media_node = args
            .media_node
            .unwrap_or_else(|| beside(std::env::current_exe().ok().as_deref()));
        // With attached nodes there may be nothing to start.
        if !media_node.is_file() && args.attach.is_none() {
            return Err(NoMediaNode(media_node));
        }
        let is_default = OPS_LISTEN.parse() == Ok(args.ops_listen);
        Ok(Self {
            files: args.files,
            sample: args.sample,
            exit_after: args.exit_after.map(Duration::from_secs),
            attach: args.attach,
            ops: match is_default {
                true => OpsListen::Default(args.ops_listen),
                false => OpsListen::Exactly(args.ops_listen),
            },
            media_node,
            term: u64::try_from(now.as_millisecond()).unwrap_or_default(),
        })
    }
}

/// The `media-node` program in the folder of this one.
fn beside(program: Option<&Path>) -> PathBuf {
    let folder = program.and_then(Path::parent).unwrap_or(Path::new("."));
    folder.join("media-node")
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::args::{Args, Command};

    fn local(flags: &[&str]) -> Result<Local, NoMediaNode> {
        let line = ["headwater", "local", "-f", "a.yaml"].iter().chain(flags);
        let Command::Local(args) = Args::try_parse_from(line).unwrap().command else {
            unreachable!("it says local");
        };
        Local::from_args(args, Timestamp::from_millisecond(7).unwrap())
    }

    #[test]
    fn a_missing_media_node_is_told_with_its_path() {
        let error = local(&["--media-node", "/nonexistent/media-node"])
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("/nonexistent/media-node") && error.contains("--media-node"),
            "{error}"
        );
        assert_eq!(beside(Some(Path::new("/opt/headwater"))), Path::new("/opt/media-node"));
    }

    #[test]
    fn two_operators_without_a_name_are_told_apart() {
        let operator = || {
            let line = ["headwater", "operator", "--pod-namespace", "here"];
            let Command::Operator(args) = Args::try_parse_from(line).unwrap().command else {
                unreachable!("it says operator");
            };
            Operator::from_args(args)
        };
        let (one, other) = (operator(), operator());
        assert_ne!(one.identity, other.identity);
        assert_eq!((one.lease_namespace.as_str(), one.namespace), ("here", None));
    }

    #[test]
    fn the_ops_port_is_exact_only_where_it_was_given() {
        let program = ["--media-node", "/bin/sh"];
        let default = local(&program).unwrap();
        assert!(matches!(default.ops, OpsListen::Default(_)));
        assert_eq!(default.term, 7);
        let given = local(&[program[0], program[1], "--ops-listen", "127.0.0.1:0"]).unwrap();
        assert!(matches!(given.ops, OpsListen::Exactly(_)));
    }
}
