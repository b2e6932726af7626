//! `bench publish` and `bench load`: what they do stands in `e2e::bench`; here are their flags.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::{Args, Parser, Subcommand};
use e2e::bench::{bit_rate, duration, load, publish, raise_file_limit};

/// Load and latency tools for RTMP, HTTP-FLV, fMP4 and LL-HLS servers.
#[derive(Parser)]
#[command(name = "bench", version)]
struct Cli {
    #[command(subcommand)]
    tool: Tool,
}

#[derive(Subcommand)]
enum Tool {
    /// Publish a clip in real time, in a loop, with the send time in each H.264 picture.
    Publish(Publish),
    /// Watch with many viewers and report what they were given.
    Load(Box<Load>),
}

#[derive(Args)]
struct Publish {
    /// rtmp://host[:port]/app/stream; {n} stands for the stream's number, from 1.
    url: String,
    /// FLV file to publish.
    #[arg(long, default_value = "operator/src/local/sample.flv")]
    clip: PathBuf,
    /// How many streams.
    #[arg(long, default_value_t = 1)]
    streams: u32,
    /// How long; until Ctrl-C if absent.
    #[arg(long = "for", value_parser = duration)]
    duration: Option<Duration>,
    /// Pad each picture with filler so that the stream has this many bits a second (800k, 5M).
    #[arg(long, value_parser = bit_rate)]
    bit_rate: Option<u64>,
    /// Time between the starts of two streams.
    #[arg(long, value_parser = duration, default_value = "37ms")]
    stagger: Duration,
    /// After a failure connect again this much later.
    #[arg(long, value_parser = duration)]
    reconnect: Option<Duration>,
    /// Write the report as JSON to this file.
    #[arg(long)]
    json: Option<PathBuf>,
}

#[derive(Args)]
struct Load {
    /// What to watch: a whole address (rtmp://…, ws://….mp4, ws://….flv, http://….flv, http://….mp4, http://….m3u8) of any server, or with
    /// --protocol host:port/app/stream of a Headwater node or pool; {n} stands for the stream's number, from 1.
    target: String,
    /// Protocol, where the target is no whole address.
    #[arg(long, value_enum)]
    protocol: Option<load::Protocol>,
    /// How many streams the viewers spread over, where the address has {n}.
    #[arg(long, default_value_t = 1)]
    streams: u32,
    /// How many viewers.
    #[arg(long, default_value_t = 100)]
    viewers: u32,
    /// How long to watch once all have come: 500ms, 30s, 2m or a number of seconds.
    #[arg(long = "for", visible_alias = "seconds", value_parser = duration, default_value = "30s")]
    duration: Duration,
    /// Time over which their arrivals are spread; 2 ms for each if absent.
    #[arg(long, value_parser = duration)]
    ramp: Option<Duration>,
    /// How many viewers read the stamps in the pictures.
    #[arg(long, default_value_t = 10)]
    probe: u32,
    /// Threads of this tool.
    #[arg(long, default_value_t = 1)]
    threads: u32,
    /// After having been cut or refused connect again this much later.
    #[arg(long, value_parser = duration)]
    reconnect: Option<Duration>,
    /// Obey the server's request to move (WebSocket).
    #[arg(long)]
    follow_moves: bool,
    /// Write the report as JSON to this file.
    #[arg(long)]
    json: Option<PathBuf>,
    /// Exit with an error unless every viewer was served, none cut and none starved.
    #[arg(long)]
    strict: bool,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let tool = Cli::parse().tool;
    raise_file_limit();
    match tool {
        Tool::Publish(args) => publish(args).await,
        Tool::Load(args) => load(*args).await,
    }
}

async fn publish(args: Publish) -> Result<()> {
    let json = args.json;
    let publication = publish::start(publish::Options {
        url: args.url,
        clip: args.clip,
        streams: args.streams,
        duration: args.duration,
        bit_rate: args.bit_rate,
        stagger: args.stagger,
        rounds: None,
        stamp: true,
        reconnect: args.reconnect,
    })?;
    stop_on_interrupt(publication.stopper());
    let report = publication.report().await;
    println!("{}", serde_json::to_string_pretty(&report)?);
    write_json(json, &report)?;
    if report.streams < args.streams {
        bail!("{} of {} streams were published", report.streams, args.streams);
    }
    Ok(())
}

async fn load(args: Load) -> Result<()> {
    let url = match args.protocol {
        _ if args.target.contains("://") => args.target,
        Some(protocol) => match args.target.split_once('/') {
            Some((authority, stream)) => load::url(protocol, authority, stream),
            None => bail!("{}: expected host:port/app/stream", args.target),
        },
        None => bail!("{} is no whole address: --protocol is needed", args.target),
    };
    let defaults = load::Options::new(url, args.viewers, args.duration);
    let load = load::start(load::Options {
        streams: args.streams,
        ramp: args.ramp.unwrap_or(defaults.ramp),
        probes: args.probe,
        threads: args.threads,
        reconnect: args.reconnect,
        follow_moves: args.follow_moves,
        ..defaults
    })?;
    stop_on_interrupt(load.stopper());
    let report = load.report().await?;
    print!("{report}");
    write_json(args.json, &report)?;
    if args.strict && !report.clean() {
        bail!("not every viewer was served in full");
    }
    Ok(())
}

fn stop_on_interrupt(stop: tokio_util::sync::CancellationToken) {
    tokio::spawn(async move {
        if tokio::signal::ctrl_c().await.is_ok() {
            stop.cancel();
        }
    });
}

fn write_json(path: Option<PathBuf>, report: &impl serde::Serialize) -> Result<()> {
    let Some(path) = path else { return Ok(()) };
    let text = serde_json::to_string_pretty(report)?;
    std::fs::write(&path, text + "\n").with_context(|| format!("failed to write {}", path.display()))
}
