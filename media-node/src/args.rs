//! The command line, and the only place where defaults stand.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args as ClapArgs, Parser, Subcommand};
use headwater_contract::Role;

use crate::hub::{Dvr, GroupPattern, Limits, Targets};
use crate::names::AppName;
use crate::settings::{DvrSettings, Settings};
use crate::telemetry::LogFormat;
use crate::tls;

/// Headwater's media node: takes live streams in by RTMP and sends them to any number of viewers.
#[derive(Debug, Parser)]
#[command(name = "media-node", version, after_help = AFTER_HELP)]
pub struct Args {
    /// What the node is.
    #[command(subcommand)]
    pub role: RoleArgs,
}

const AFTER_HELP: &str = "Every flag can be given as an environment variable. \
    Playback: http://HOST:8080/ is the player page; /live/NAME.flv, .mp4, .m3u8 and rtmp://HOST:1935/live/NAME the streams.";

/// One subcommand a role.
#[derive(Debug, Subcommand)]
pub enum RoleArgs {
    /// Takes publishers in and serves their streams
    Origin(OriginArgs),
    /// Serves streams that it pulls from an origin or another edge
    Edge(EdgeArgs),
}

/// Flags of an origin.
#[derive(Debug, ClapArgs)]
pub struct OriginArgs {
    /// Refuse publishers until the control plane has said who may publish: without it, anyone may until then
    #[arg(long, env = "HEADWATER_REQUIRE_PUBLISHING_RULES")]
    pub require_publishing_rules: bool,
    /// HLS: duration of a part, 100ms to 1s
    #[arg(long, env = "HEADWATER_HLS_PART", default_value = "200ms", value_parser = part, value_name = "TIME")]
    pub hls_part: Duration,
    /// HLS: shortest segment, 1s or more; one ends at the first key frame after it
    #[arg(long, env = "HEADWATER_HLS_SEGMENT", default_value = "1s", value_parser = segment, value_name = "TIME")]
    pub hls_segment: Duration,
    /// HLS: longest segment in whole seconds, the playlists' target duration; one without a key frame by then ends without
    #[arg(long, env = "HEADWATER_HLS_LONGEST", default_value = "4s", value_parser = longest, value_name = "TIME")]
    pub hls_longest: Duration,
    /// HLS: how much can be played back; at least three of the longest segments are kept
    #[arg(long, env = "HEADWATER_HLS_WINDOW", default_value = "30s", value_parser = duration, value_name = "TIME")]
    pub hls_window: Duration,
    /// HLS: how much of every stream can be played back and sought in, 0s to 12h, if that is more than --hls-window; the
    /// control plane may say otherwise
    #[arg(long, env = "HEADWATER_DVR", default_value = "0s", value_parser = dvr, value_name = "TIME")]
    pub dvr: Duration,
    /// HLS: folder in which segments are kept once they are old; without, they are kept in memory. What an earlier node has
    /// left there is deleted
    #[arg(long, env = "HEADWATER_DVR_DIR", value_name = "FOLDER")]
    pub dvr_dir: Option<PathBuf>,
    /// HLS: most bytes in --dvr-dir, of all streams together; beyond, less can be played back of the longest ones
    #[arg(long, env = "HEADWATER_DVR_DISK", default_value = "10GiB", value_parser = bytes, value_name = "BYTES")]
    pub dvr_disk: u64,
    /// Streams whose names are built so are the qualities of one: {group}_{variant} makes show_1080 and show_480 those of show; may
    /// be repeated; the control plane may say otherwise
    #[arg(long, env = "HEADWATER_GROUP", value_delimiter = ',', value_name = "PATTERN")]
    pub group: Vec<GroupPattern>,
    /// Flags of every role.
    #[command(flatten)]
    pub node: NodeArgs,
}

/// Flags of an edge.
#[derive(Debug, ClapArgs)]
pub struct EdgeArgs {
    /// Base URL to pull streams from that viewers ask for, rtmp://HOST[:PORT][/APP]; may be repeated, tried in turn
    #[arg(long, env = "HEADWATER_UPSTREAM", value_delimiter = ',', value_name = "URL")]
    pub upstream: Vec<String>,
    /// Delivery port of each --upstream in turn, http://HOST:PORT: HLS that was packaged before this node came is fetched there
    #[arg(long, env = "HEADWATER_UPSTREAM_HTTP", value_delimiter = ',', value_name = "URL")]
    pub upstream_http: Vec<String>,
    /// Flags of every role.
    #[command(flatten)]
    pub node: NodeArgs,
}

/// Flags of every role.
#[derive(Debug, ClapArgs)]
pub struct NodeArgs {
    /// Name by which the node is known in the fleet
    #[arg(long, env = "HEADWATER_NAME", default_value = "media-node")]
    pub name: String,
    /// App that publishers and viewers name in their URLs
    #[arg(long, env = "HEADWATER_APP", default_value = "live")]
    pub app: AppName,
    /// RTMP: publishers, RTMP viewers, pulls of other nodes
    #[arg(
        long,
        env = "HEADWATER_RTMP_LISTEN",
        default_value = "[::]:1935",
        value_name = "ADDR"
    )]
    pub rtmp_listen: SocketAddr,
    /// HTTP delivery: player page, fMP4, FLV, WebSocket
    #[arg(
        long,
        env = "HEADWATER_HTTP_LISTEN",
        default_value = "[::]:8080",
        value_name = "ADDR"
    )]
    pub http_listen: SocketAddr,
    /// TLS beside plain HTTP on the delivery port: file with the certificate chain in PEM; read again when it changes
    #[arg(long, env = "HEADWATER_TLS_CERT", value_name = "FILE", requires = "tls_key")]
    pub tls_cert: Option<PathBuf>,
    /// File with the certificate's private key in PEM; read again when it changes
    #[arg(long, env = "HEADWATER_TLS_KEY", value_name = "FILE", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,
    /// Start without TLS while its files are missing or can't be used, and take them up when they come
    #[arg(long, env = "HEADWATER_TLS_WAIT", requires = "tls_cert")]
    pub tls_wait: bool,
    /// Ops: /livez, /readyz, /metrics and the control API
    #[arg(long, env = "HEADWATER_OPS_LISTEN", default_value = "[::]:8081", value_name = "ADDR")]
    pub ops_listen: SocketAddr,
    /// File with the bearer token of the control API, one a line, newest first; read again when it changes
    #[arg(long, env = "HEADWATER_CONTROL_TOKEN_FILE", value_name = "FILE")]
    pub control_token_file: PathBuf,
    /// Longest time that readiness waits for the first pulls
    #[arg(long, env = "HEADWATER_READY_WAIT", default_value = "10s", value_parser = duration, value_name = "TIME")]
    pub ready_wait: Duration,
    /// How long a draining node still takes newcomers, so that load balancers catch up
    #[arg(long, env = "HEADWATER_DRAIN_ACCEPT", default_value = "10s", value_parser = duration, value_name = "TIME")]
    pub drain_accept: Duration,
    /// How long SIGTERM waits for viewers to leave where the control plane has set no deadline
    #[arg(long, env = "HEADWATER_DRAIN_TIMEOUT", default_value = "30m", value_parser = duration, value_name = "TIME")]
    pub drain_timeout: Duration,
    /// How long a stream stays when its publisher vanishes
    #[arg(long, env = "HEADWATER_PUBLISH_GRACE", default_value = "10s", value_parser = duration, value_name = "TIME")]
    pub publish_grace: Duration,
    /// How long a stream that was pulled for a viewer stays when nobody watches
    #[arg(long, env = "HEADWATER_IDLE_TIMEOUT", default_value = "60s", value_parser = duration, value_name = "TIME")]
    pub idle_timeout: Duration,
    /// HLS: most bytes of old segments in memory, of all streams together; beyond, those that were asked for longest ago go,
    /// and where they can't be had again, less can be played back of the longest streams
    #[arg(long, env = "HEADWATER_DVR_MEMORY", default_value = "512MiB", value_parser = bytes, value_name = "BYTES")]
    pub dvr_memory: u64,
    /// Connections at once on the RTMP and on the delivery listener, each; further ones are refused
    #[arg(long, env = "HEADWATER_MAX_CONNECTIONS", default_value_t = 20_000, value_name = "N")]
    pub max_connections: usize,
    /// Streams at once; further ones are refused
    #[arg(long, env = "HEADWATER_MAX_STREAMS", default_value_t = 1_000, value_name = "N")]
    pub max_streams: usize,
    /// End when standard input ends: for a parent process that must leave nothing behind
    #[arg(long, env = "HEADWATER_END_WITH_STDIN")]
    pub end_with_stdin: bool,
    /// Form of the log
    #[arg(long, env = "HEADWATER_LOG_FORMAT", default_value = "text", value_enum)]
    pub log_format: LogFormat,
    /// Filter of the log, as in `info,media_node=debug`
    #[arg(long, env = "HEADWATER_LOG", default_value = "info", value_name = "FILTER")]
    pub log: String,
}

impl OriginArgs {
    /// What the origin's clock announces to every node.
    fn targets(&self) -> Targets {
        let longest = self.hls_longest.max(self.hls_segment);
        Targets {
            part_ms: self.hls_part.as_millis() as u32,
            segment_ms: self.hls_segment.as_millis() as u32,
            longest_ms: longest.as_secs().max(1) as u32 * 1_000,
            window_ms: self.hls_window.max(longest * 3).as_millis() as u64,
        }
    }
}

impl Args {
    /// Flags of every role.
    pub fn node(&self) -> &NodeArgs {
        match &self.role {
            RoleArgs::Origin(origin) => &origin.node,
            RoleArgs::Edge(edge) => &edge.node,
        }
    }
}

impl From<Args> for Settings {
    fn from(args: Args) -> Self {
        let mut dvr = DvrSettings {
            memory: args.node().dvr_memory,
            ..DvrSettings::default()
        };
        let mut groups = Vec::new();
        let (role, upstreams, upstream_http, targets, rules, node) = match args.role {
            RoleArgs::Origin(origin) => {
                let (rules, targets) = (origin.require_publishing_rules, origin.targets());
                (dvr.time, dvr.folder, dvr.disk) = (origin.dvr, origin.dvr_dir, origin.dvr_disk);
                groups = origin.group;
                (Role::Origin, Vec::new(), Vec::new(), targets, rules, origin.node)
            }
            RoleArgs::Edge(edge) => {
                let targets = Targets::default();
                (Role::Edge, edge.upstream, edge.upstream_http, targets, false, edge.node)
            }
        };
        Settings {
            role,
            name: node.name,
            app: node.app,
            rtmp_listen: node.rtmp_listen,
            http_listen: node.http_listen,
            ops_listen: node.ops_listen,
            tls: node.tls_cert.zip(node.tls_key).map(|(certificate, key)| tls::Files {
                certificate,
                key,
                wait: node.tls_wait,
            }),
            control_token_file: node.control_token_file,
            upstreams,
            upstream_http,
            require_publishing_rules: rules,
            ready_wait: node.ready_wait,
            drain_accept: node.drain_accept,
            drain_timeout: node.drain_timeout,
            publish_grace: node.publish_grace,
            idle_timeout: node.idle_timeout,
            max_connections: node.max_connections,
            hub: Limits {
                streams: node.max_streams,
                targets,
                ..Limits::default()
            },
            dvr,
            groups,
            feeds: Default::default(),
            end_with_stdin: node.end_with_stdin,
        }
    }
}

/// `500ms`, `10s`, `30m`, `2h`, or a bare number of seconds.
fn duration(text: &str) -> Result<Duration, String> {
    let split = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let number: u64 = number
        .parse()
        .map_err(|_| format!("{text:?} is no time; write 500ms, 10s, 30m or 2h"))?;
    let millis = match unit {
        "ms" => 1,
        "" | "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return Err(format!("{unit:?} is no unit of time; ms, s, m and h are")),
    };
    Ok(Duration::from_millis(number.saturating_mul(millis)))
}

fn dvr(text: &str) -> Result<Duration, String> {
    within(text, Duration::ZERO, Dvr::LONGEST)
}

/// `64MiB`, `10GiB`, or a bare number of bytes.
fn bytes(text: &str) -> Result<u64, String> {
    let split = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let number: u64 = number
        .parse()
        .map_err(|_| format!("{text:?} is no number of bytes; write 1000000, 512MiB or 10GiB"))?;
    let factor = match unit {
        "" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return Err(format!("{unit:?} is no unit of bytes; KiB, MiB and GiB are")),
    };
    Ok(number.saturating_mul(factor))
}

fn part(text: &str) -> Result<Duration, String> {
    within(text, Duration::from_millis(100), Duration::from_secs(1))
}

fn segment(text: &str) -> Result<Duration, String> {
    within(text, Duration::from_secs(1), Duration::from_secs(60))
}

fn longest(text: &str) -> Result<Duration, String> {
    let longest = within(text, Duration::from_secs(1), Duration::from_secs(60))?;
    match longest.subsec_nanos() {
        0 => Ok(longest),
        _ => Err(format!(
            "{text:?} is not in whole seconds, which the target duration of playlists is"
        )),
    }
}

fn within(text: &str, least: Duration, most: Duration) -> Result<Duration, String> {
    let given = duration(text)?;
    match (least..=most).contains(&given) {
        true => Ok(given),
        false => Err(format!("{text:?} is not between {least:?} and {most:?}")),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_well_formed_and_every_flag_has_a_variable_and_a_help_line() {
        let mut command = Args::command();
        command.build();
        for role in command.get_subcommands().filter(|role| role.get_name() != "help") {
            for arg in role
                .get_arguments()
                .filter(|arg| arg.get_id() != "help" && arg.get_id() != "version")
            {
                assert!(
                    arg.get_env().is_some(),
                    "{} of {} has no variable",
                    arg.get_id(),
                    role.get_name()
                );
                assert!(
                    arg.get_help().is_some(),
                    "{} of {} has no help",
                    arg.get_id(),
                    role.get_name()
                );
            }
        }
        command.debug_assert();
    }

    #[test]
    fn a_certificate_and_its_key_are_given_together() {
        let parse = |flags: &[&str]| {
            let base = ["media-node", "edge", "--control-token-file=token"];
            Args::try_parse_from(base.iter().chain(flags)).map(Settings::from)
        };
        let both = ["--tls-cert=crt", "--tls-key=key"];
        assert!(parse(&both).unwrap().tls.is_some());
        assert!(parse(&[]).unwrap().tls.is_none());
        for (alone, missing) in [
            ("--tls-cert=crt", "--tls-key"),
            ("--tls-key=key", "--tls-cert"),
            ("--tls-wait", "--tls-cert"),
        ] {
            let error = parse(&[alone]).unwrap_err().to_string();
            assert!(error.contains(missing), "{error}");
        }
    }

    #[test]
    fn times_take_a_unit() {
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(duration("10s"), Ok(Duration::from_secs(10)));
        assert_eq!(duration("0s"), Ok(Duration::ZERO));
        assert_eq!(duration("30m"), Ok(Duration::from_secs(1_800)));
        assert!(duration("10 parsecs").unwrap_err().contains("ms, s, m and h"));
        assert!(duration("soon").is_err());
        assert_eq!(dvr("12h"), Ok(Duration::from_secs(43_200)));
        assert!(dvr("13h").unwrap_err().contains("is not between"));
    }

    #[test]
    fn bytes_take_a_unit() {
        assert_eq!(bytes("1000"), Ok(1_000));
        assert_eq!(bytes("512MiB"), Ok(512 << 20));
        assert_eq!(bytes("10GiB"), Ok(10 << 30));
        assert!(bytes("10GB").unwrap_err().contains("KiB, MiB and GiB"));
        assert!(bytes("much").unwrap_err().contains("512MiB"));
    }
}
