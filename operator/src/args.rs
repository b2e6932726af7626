//! The command line, and the only place where its defaults stand.

pub mod plugin;

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use clap::{Args as ClapArgs, Parser, Subcommand};

use crate::telemetry::LogFormat;

/// Default address of the ops port.
pub const OPS_LISTEN: &str = "127.0.0.1:9090";

/// Headwater's control plane: live streams from one ingest point to any number of browsers, on edges that scale by bandwidth
#[derive(Debug, Parser)]
#[command(
    name = "headwater",
    version,
    after_help = "Every flag but those of `kubectl` can be given as an environment variable."
)]
pub struct Args {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
    /// What is logged: a level, or a list of target=level as in info,headwater=debug
    #[arg(
        long,
        env = "HEADWATER_LOG",
        default_value = "info",
        global = true,
        value_name = "FILTER"
    )]
    pub log: String,
    /// How log lines look
    #[arg(long, env = "HEADWATER_LOG_FORMAT", value_enum, default_value_t, global = true)]
    pub log_format: LogFormat,
}

/// What the program does.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Runs origins and edge pools on this machine, without a cluster
    #[command(after_help = LOCAL_HELP)]
    Local(LocalArgs),
    /// Writes the CustomResourceDefinitions as YAML
    Crds(CrdsArgs),
    /// Runs the controllers in a Kubernetes cluster
    #[command(after_help = OPERATOR_HELP)]
    Operator(OperatorArgs),
    /// Looks at Headwater in a cluster, and takes edges out of it in order: the plugin of kubectl
    #[command(after_help = plugin::HELP)]
    Kubectl(plugin::PluginArgs),
}

impl Args {
    /// Reads a command line. Under the plugin's file name the program is the plugin.
    ///
    /// # Errors
    /// A line that can't be read, or that asks for help.
    pub fn from_line(line: impl IntoIterator<Item = OsString>) -> Result<Self, clap::Error> {
        let line: Vec<OsString> = line.into_iter().collect();
        match program(&line).as_deref() {
            Some(plugin::PLUGIN) => Ok(Self {
                command: Command::Kubectl(plugin::PluginLine::try_parse_from(line)?.plugin),
                log: "warn".to_owned(),
                log_format: LogFormat::default(),
            }),
            _ => Self::try_parse_from(line),
        }
    }
}

/// The name under which the program was called, without `.exe`.
pub fn program(line: &[OsString]) -> Option<String> {
    let name = Path::new(line.first()?).file_name()?.to_string_lossy();
    Some(name.trim_end_matches(".exe").to_owned())
}

const OPERATOR_HELP: &str = "The API server is found by the pod's service account, else by KUBECONFIG or ~/.kube/config. Of several \
    operators one leads; the others stand by, ready and idle, and take over when it ends or falls silent.\n\n\
    Install: kubectl apply -f crds -f examples/operator.yaml";

const LOCAL_HELP: &str = "Addresses: the first origin takes RTMP on 127.0.0.1:1935, the first pool serves the player page on \
    127.0.0.1:8080 and RTMP on 127.0.0.1:1936; further ones take the next free ports. All of them stand in /api/v1/fleet on \
    the ops port. Manifests that change on disk take effect at once; a mistake in them changes nothing and is explained.\n\n\
    Example: headwater local -f examples/local.yaml --sample";

/// Flags of `headwater local`.
#[derive(Debug, ClapArgs)]
pub struct LocalArgs {
    /// Manifests (StreamOrigin, EdgePool, Secret), or a folder of them; may be repeated
    #[arg(
        short = 'f',
        long = "file",
        env = "HEADWATER_FILE",
        value_delimiter = ',',
        num_args = 1..,
        required = true,
        value_name = "FILE"
    )]
    pub files: Vec<PathBuf>,
    /// Publishes a bundled clip in a loop, as the stream `sample` of the first origin
    #[arg(long, env = "HEADWATER_SAMPLE", value_parser = clap::builder::FalseyValueParser::new())]
    pub sample: bool,
    /// Ends in order after this many seconds
    #[arg(long, env = "HEADWATER_EXIT_AFTER", value_name = "SECONDS")]
    pub exit_after: Option<u64>,
    /// Takes in nodes that run already: a JSON list of {role, resource, ops, rtmp, http, tokenFile}; they are never ended
    #[arg(long, env = "HEADWATER_ATTACH", value_name = "FILE")]
    pub attach: Option<PathBuf>,
    /// The console, health, metrics, /api/v1/fleet, /api/v1/events and /api/v1/targets
    #[arg(long, env = "HEADWATER_OPS_LISTEN", default_value = OPS_LISTEN, value_name = "ADDR")]
    pub ops_listen: SocketAddr,
    /// The media-node program [default: the one beside this program]
    #[arg(long, env = "HEADWATER_MEDIA_NODE", value_name = "PATH")]
    pub media_node: Option<PathBuf>,
}

/// Flags of `headwater operator`.
#[derive(Debug, ClapArgs)]
pub struct OperatorArgs {
    /// Looks after the resources of this namespace only [default: all namespaces]
    #[arg(long, env = "HEADWATER_NAMESPACE", value_name = "NAMESPACE")]
    pub namespace: Option<String>,
    /// The console, health, metrics, /api/v1/fleet, /api/v1/events and /api/v1/targets
    #[arg(long, env = "HEADWATER_OPS_LISTEN", default_value = "[::]:9090", value_name = "ADDR")]
    pub ops_listen: SocketAddr,
    /// Image of the media nodes
    #[arg(
        long,
        env = "HEADWATER_MEDIA_NODE_IMAGE",
        default_value = concat!("headwater/media-node:", env!("CARGO_PKG_VERSION")),
        value_name = "IMAGE"
    )]
    pub media_node_image: String,
    /// When that image is pulled [default: as the cluster does]
    #[arg(long, env = "HEADWATER_MEDIA_NODE_PULL_POLICY", value_name = "POLICY",
        value_parser = ["Always", "IfNotPresent", "Never"])]
    pub media_node_pull_policy: Option<String>,
    /// Secrets that it is pulled with, in the namespace of each resource; may be repeated [default: those of that namespace's
    /// `default` ServiceAccount]
    #[arg(
        long = "media-node-pull-secret",
        env = "HEADWATER_MEDIA_NODE_PULL_SECRETS",
        value_delimiter = ',',
        value_name = "NAME"
    )]
    pub media_node_pull_secrets: Vec<String>,
    /// Namespaces whose pods may read the media nodes' metrics; may be repeated
    #[arg(
        long,
        env = "HEADWATER_METRICS_FROM",
        value_delimiter = ',',
        value_name = "NAMESPACE"
    )]
    pub metrics_from: Vec<String>,
    /// Namespace of this operator's pod, from which the media nodes take commands
    #[arg(
        long,
        env = "HEADWATER_POD_NAMESPACE",
        default_value = "headwater-system",
        value_name = "NAMESPACE"
    )]
    pub pod_namespace: String,
    /// Namespace of the Lease by which the leader is elected [default: that of the pod]
    #[arg(long, env = "HEADWATER_LEASE_NAMESPACE", value_name = "NAMESPACE")]
    pub lease_namespace: Option<String>,
    /// Name of that Lease
    #[arg(long, env = "HEADWATER_LEASE", default_value = "headwater", value_name = "NAME")]
    pub lease: String,
    /// StreamOrigins and EdgePools, a file or a folder, that are applied at the start and whenever they change there; a person's
    /// edits of them win, and what is taken out stays in the cluster
    #[arg(long, env = "HEADWATER_DEFAULT_RESOURCES", value_name = "PATH")]
    pub default_resources: Option<PathBuf>,
    /// Name of this process in the election, unlike any other [default: the host's name and a random number]
    #[arg(long, env = "HEADWATER_IDENTITY", value_name = "NAME")]
    pub identity: Option<String>,
}

/// Flags of `headwater crds`.
#[derive(Debug, ClapArgs)]
pub struct CrdsArgs {
    /// Folder to write the files into [default: all of them to standard output]
    #[arg(long, env = "HEADWATER_CRDS_OUT", value_name = "DIR")]
    pub out: Option<PathBuf>,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent_and_every_flag_has_a_variable_and_a_help_line() {
        Args::command().debug_assert();
        // The plugin's flags are kubectl's own, which have no variables.
        for (argument, of_plugin) in arguments(&Args::command(), false) {
            let id = argument.get_id();
            assert!(argument.get_help().is_some(), "{id} has no help");
            assert!(
                matches!(id.as_str(), "help" | "version") || argument.get_env().is_some() || of_plugin,
                "{id} has no variable"
            );
        }
    }

    /// The arguments of a command and of those below it, and whether they are the plugin's.
    fn arguments(command: &clap::Command, of_plugin: bool) -> Vec<(clap::Arg, bool)> {
        let own = command.get_arguments().map(|argument| (argument.clone(), of_plugin));
        let below = command.get_subcommands();
        let below = below.flat_map(|below| arguments(below, of_plugin || below.get_name() == "kubectl"));
        own.chain(below).collect()
    }

    #[test]
    fn the_plugin_is_reached_by_its_file_name_and_as_a_subcommand() {
        plugin::PluginLine::command().debug_assert();
        for line in [
            ["/usr/bin/kubectl-headwater", "status", "-n", "video", "-o", "json"].as_slice(),
            &["kubectl-headwater.exe", "-n", "video", "status", "-ojson"],
            &["headwater", "kubectl", "status", "-n", "video", "-o", "json"],
        ] {
            let args = Args::from_line(line.iter().map(OsString::from)).unwrap();
            let Command::Kubectl(plugin) = args.command else {
                unreachable!("it is the plugin");
            };
            assert_eq!(plugin.target.namespace.as_deref(), Some("video"));
            assert!(matches!(
                plugin.command,
                plugin::PluginCommand::Status(plugin::Shown {
                    output: Some(plugin::Output::Json)
                })
            ));
        }
        let both = ["kubectl-headwater", "status", "-A", "-n", "video"];
        assert!(Args::from_line(both.iter().map(OsString::from)).is_err());
    }

    #[test]
    fn several_manifests_are_taken() {
        let args = Args::try_parse_from(["headwater", "local", "-f", "a", "b", "-f", "c", "--sample"]).unwrap();
        let Command::Local(local) = args.command else {
            unreachable!("it says local");
        };
        assert_eq!(local.files, ["a", "b", "c"].map(PathBuf::from));
        assert!(local.sample);
        assert!(Args::try_parse_from(["headwater", "local"]).is_err());
    }
}
