//! What the command line means, checked: programs that exist, addresses that can be used.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use thiserror::Error;

use crate::args::{LocalArgs, OPS_LISTEN};

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
    fn the_ops_port_is_exact_only_where_it_was_given() {
        let program = ["--media-node", "/bin/sh"];
        let default = local(&program).unwrap();
        assert!(matches!(default.ops, OpsListen::Default(_)));
        assert_eq!(default.term, 7);
        let given = local(&[program[0], program[1], "--ops-listen", "127.0.0.1:0"]).unwrap();
        assert!(matches!(given.ops, OpsListen::Exactly(_)));
    }
}
