//! The command line of the kubectl plugin. Its flags are kubectl's own, so they have no variables.

use std::path::PathBuf;

use clap::{Args as ClapArgs, Parser, Subcommand, ValueEnum};

/// File name under which kubectl finds the plugin.
pub const PLUGIN: &str = "kubectl-headwater";
/// File name under which kubectl finds the plugin's completion.
pub const COMPLETER: &str = "kubectl_complete-headwater";

/// Looks at Headwater in a cluster, and takes edges out of it in order
#[derive(Debug, Parser)]
#[command(name = PLUGIN, bin_name = "kubectl headwater", version, after_help = HELP)]
pub struct PluginLine {
    /// What to do.
    #[command(flatten)]
    pub plugin: PluginArgs,
}

pub(super) const HELP: &str = "As a plugin of kubectl: put this program on PATH under the name kubectl-headwater (a link does), then \
    `kubectl headwater status`. It asks the API server alone, with the rights of your kubeconfig.";

/// Flags of the plugin.
#[derive(Debug, ClapArgs)]
pub struct PluginArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: PluginCommand,
    /// Where to look.
    #[command(flatten)]
    pub target: Target,
}

/// Which cluster, and which namespaces of it.
#[derive(Clone, Debug, ClapArgs)]
pub struct Target {
    /// Namespace to look at [default: that of the context]
    #[arg(short = 'n', long, global = true, value_name = "NAMESPACE")]
    pub namespace: Option<String>,
    /// Looks at all namespaces
    #[arg(short = 'A', long, global = true, conflicts_with = "namespace")]
    pub all_namespaces: bool,
    /// Context of the kubeconfig [default: the current one]
    #[arg(long, global = true, value_name = "NAME")]
    pub context: Option<String>,
}

/// What the plugin does.
#[derive(Debug, Subcommand)]
pub enum PluginCommand {
    /// Shows origins, the pools below them and their edges, and every condition that is not as usual
    Status(Shown),
    /// Lists the live streams
    Streams(Shown),
    /// Shows pools and edges by what they send, again and again; once where the output is no terminal
    Top(TopArgs),
    /// Takes an edge out: evicts its pod, which moves its viewers to others before it ends; another edge takes its place
    Drain(DrainArgs),
    /// Lists the addresses to publish to and to play from
    Urls(Shown),
    /// Writes a zip for a bug report: resources, what was made of them, pods, Events and logs; Secrets and keys are left out
    Report(ReportArgs),
    /// Writes a completion script of a shell to standard output
    Completion(CompletionArgs),
}

/// How something is shown.
#[derive(Clone, Copy, Debug, ClapArgs)]
pub struct Shown {
    /// How it is shown [default: a table]
    #[arg(short = 'o', long, value_enum, value_name = "FORMAT")]
    pub output: Option<Output>,
}

/// How something is shown, where not as a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// A table with more columns.
    Wide,
    /// JSON.
    Json,
    /// YAML.
    Yaml,
}

/// Flags of `top`.
#[derive(Clone, Copy, Debug, ClapArgs)]
pub struct TopArgs {
    /// Seconds between two looks; the figures themselves are written at most every 10 s
    #[arg(long, default_value_t = 2, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub interval: u64,
}

/// Flags of `drain`.
#[derive(Clone, Debug, ClapArgs)]
pub struct DrainArgs {
    /// Name of the edge, which is that of its pod
    #[arg(value_name = "EDGE")]
    pub edge: String,
    /// Waits until the edge is gone, and shows its viewers meanwhile
    #[arg(long)]
    pub wait: bool,
}

/// Flags of `report`.
#[derive(Clone, Debug, ClapArgs)]
pub struct ReportArgs {
    /// File to write [default: headwater-report-TIME.zip here]
    #[arg(short = 'f', long, value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// Namespace of the operator, for its logs
    #[arg(long, default_value = "headwater-system", value_name = "NAMESPACE")]
    pub operator_namespace: String,
}

/// Flags of `completion`.
#[derive(Clone, Copy, Debug, ClapArgs)]
pub struct CompletionArgs {
    /// The shell
    #[arg(value_enum)]
    pub shell: clap_complete::Shell,
}
