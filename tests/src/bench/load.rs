//! Opens N viewers of a protocol, watches for a time, and reports what they were given.
//!
//! Every viewer walks its stream's headers (frames, timestamps, sizes); only some, the *probes*, read the stamps in the pictures.

mod connection;
mod hls;
mod report;
mod tally;
mod viewer;

use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde::Serialize;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

pub use report::{BitRates, Gaps, MoveCounts, Report};
use tally::Window;
use viewer::{Outcome, Viewer};

/// How viewers watch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// RTMP play.
    Rtmp,
    /// HTTP-FLV.
    Flv,
    /// fMP4 (or, by the address's ending, FLV) over WebSocket.
    Ws,
    /// fMP4 as a progressive HTTP body.
    Mp4,
    /// LL-HLS: blocking reload and hinted parts.
    Hls,
}

/// What to watch, and how.
#[derive(Clone, Debug)]
pub struct Options {
    /// `rtmp://…`, `http://….flv`, `http://….mp4`, `ws://….mp4`, `ws://….flv` or `http://….m3u8`; `{n}` stands for the stream's number, from 1.
    pub url: String,
    /// How many streams the viewers spread over, where the address has `{n}`.
    pub streams: u32,
    /// How many viewers.
    pub viewers: u32,
    /// How long to watch once all have come.
    pub duration: Duration,
    /// Time over which their arrivals are spread.
    pub ramp: Duration,
    /// Time after the last arrival before bytes are compared.
    pub settle: Duration,
    /// How many of the viewers read stamps.
    pub probes: u32,
    /// Threads of the tool.
    pub threads: u32,
    /// Connect again this long after having been cut or refused; none: the viewer stays away.
    pub reconnect: Option<Duration>,
    /// Obey `move`.
    pub follow_moves: bool,
}

impl Options {
    /// One second of ramp for 500 viewers, ten probes, one thread.
    pub fn new(url: impl Into<String>, viewers: u32, duration: Duration) -> Self {
        Self {
            url: url.into(),
            streams: 1,
            viewers,
            duration,
            ramp: Duration::from_millis(u64::from(viewers) * 2),
            settle: Duration::from_secs(1),
            probes: 10,
            threads: 1,
            reconnect: None,
            follow_moves: false,
        }
    }
}

/// The address of a protocol, an authority (`host:port`) and a stream (`live/cam1`), as a Headwater node has it.
pub fn url(protocol: Protocol, authority: &str, stream: &str) -> String {
    match protocol {
        Protocol::Rtmp => format!("rtmp://{authority}/{stream}"),
        Protocol::Flv => format!("http://{authority}/{stream}.flv"),
        Protocol::Mp4 => format!("http://{authority}/{stream}.mp4"),
        Protocol::Ws => format!("ws://{authority}/{stream}.mp4"),
        Protocol::Hls => format!("http://{authority}/{stream}.m3u8"),
    }
}

/// An address taken apart.
#[derive(Clone, Debug)]
struct Address {
    protocol: Protocol,
    authority: String,
    path: String,
    /// Index of the stream, from 0.
    stream: usize,
}

impl Address {
    fn parse(url: &str, stream: usize) -> Result<Self> {
        let url = url.replace("{n}", &(stream + 1).to_string());
        let (scheme, rest) = url
            .split_once("://")
            .with_context(|| format!("{url}: not an address"))?;
        let (authority, path) = rest.split_once('/').with_context(|| format!("{url}: no path"))?;
        let path_only = path.split('?').next().unwrap_or_default();
        let protocol = match (scheme, path_only.rsplit('.').next()) {
            ("rtmp", _) => Protocol::Rtmp,
            ("ws", _) => Protocol::Ws,
            ("http", Some("flv")) => Protocol::Flv,
            ("http", Some("mp4")) => Protocol::Mp4,
            ("http", Some("m3u8")) => Protocol::Hls,
            _ => bail!("{url}: expected rtmp://…, ws://…, http://….flv, http://….mp4 or http://….m3u8"),
        };
        let port = if protocol == Protocol::Rtmp { 1935 } else { 80 };
        let has_port = authority
            .rsplit_once(':')
            .is_some_and(|(_, port)| port.parse::<u16>().is_ok());
        let authority = if has_port {
            authority.to_owned()
        } else {
            format!("{authority}:{port}")
        };
        Ok(Self {
            protocol,
            authority,
            path: format!("/{path}"),
            stream,
        })
    }

    fn resolve(&self) -> Result<SocketAddr> {
        let mut found = self
            .authority
            .to_socket_addrs()
            .with_context(|| format!("failed to resolve {}", self.authority))?;
        found
            .next()
            .with_context(|| format!("{} has no address", self.authority))
    }
}

/// Counts that can be read while the load runs.
#[derive(Debug, Default)]
pub struct Counters {
    /// Times that a viewer came to see media.
    pub playing: AtomicU64,
    /// Times that a viewer was cut.
    pub cuts: AtomicU64,
    /// Connections that failed before any media.
    pub failures: AtomicU64,
    /// Bytes received.
    pub wire_bytes: AtomicU64,
}

/// A running load.
#[derive(Debug)]
pub struct Load {
    stop: CancellationToken,
    counters: Arc<Counters>,
    threads: Vec<std::thread::JoinHandle<Result<Vec<Outcome>>>>,
    options: Arc<Options>,
    window: Window,
}

/// Starts the viewers on threads of their own.
pub fn start(options: Options) -> Result<Load> {
    let addresses: Vec<Address> = (0..options.streams.max(1) as usize)
        .map(|stream| Address::parse(&options.url, stream))
        .collect::<Result<_>>()?;
    let peer = addresses.first().context("no stream")?.resolve()?;
    let begin = Instant::now();
    let from = begin + options.ramp + options.settle;
    let window = Window {
        from,
        until: from + options.duration,
    };
    let (options, counters, stop) = (
        Arc::new(options),
        Arc::new(Counters::default()),
        CancellationToken::new(),
    );
    let thread_count = options.threads.clamp(1, 64);
    let threads = (0..thread_count)
        .map(|thread| {
            let viewers: Vec<Viewer> = (thread..options.viewers)
                .step_by(thread_count as usize)
                .map(|index| Viewer {
                    address: addresses[index as usize % addresses.len()].clone(),
                    peer,
                    // Probes are spread over the run of arrivals, the first viewer among them.
                    probe: u64::from(index) * u64::from(options.probes) % u64::from(options.viewers)
                        < u64::from(options.probes),
                    options: options.clone(),
                    counters: counters.clone(),
                    begin: begin + options.ramp * index / options.viewers.max(1),
                    window,
                })
                .collect();
            let stop = stop.clone();
            let builder = std::thread::Builder::new().name(format!("load-{thread}"));
            builder
                .spawn(move || watch(viewers, stop))
                .context("failed to start a thread")
        })
        .collect::<Result<_>>()?;
    Ok(Load {
        stop,
        counters,
        threads,
        options,
        window,
    })
}

/// Runs a load to its end.
pub async fn run(options: Options) -> Result<Report> {
    start(options)?.report().await
}

fn watch(viewers: Vec<Viewer>, stop: CancellationToken) -> Result<Vec<Outcome>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut tasks = JoinSet::new();
        for viewer in viewers {
            tasks.spawn(viewer.run(stop.clone()));
        }
        Ok(tasks.join_all().await)
    })
}

impl Load {
    /// Counts so far.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Viewers that have been given media since the start, cut ones included.
    pub fn playing(&self) -> u64 {
        self.counters.playing.load(Ordering::Relaxed)
    }

    /// A token that ends the load early.
    pub fn stopper(&self) -> CancellationToken {
        self.stop.clone()
    }

    /// Ends the load now and reports.
    pub async fn stop(self) -> Result<Report> {
        self.stop.cancel();
        self.report().await
    }

    /// Waits for the end and reports.
    pub async fn report(self) -> Result<Report> {
        let Self {
            threads,
            options,
            mut window,
            ..
        } = self;
        let joined = tokio::task::spawn_blocking(move || -> Result<Vec<Vec<Outcome>>> {
            let join = |thread: std::thread::JoinHandle<_>| {
                thread
                    .join()
                    .map_err(|_| anyhow::anyhow!("a thread of the tool failed"))?
            };
            threads.into_iter().map(join).collect()
        });
        let outcomes = joined.await??;
        window.until = window.until.min(Instant::now());
        Ok(Report::new(&options, window, outcomes.into_iter().flatten().collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_names_its_protocol() {
        for (url, protocol, authority, path) in [
            ("rtmp://h/live/cam1", Protocol::Rtmp, "h:1935", "/live/cam1"),
            (
                "http://h:81/live/cam1.flv?x=1",
                Protocol::Flv,
                "h:81",
                "/live/cam1.flv?x=1",
            ),
            ("http://h/live/cam{n}.mp4", Protocol::Mp4, "h:80", "/live/cam3.mp4"),
            ("http://h/live/a.m3u8", Protocol::Hls, "h:80", "/live/a.m3u8"),
            ("ws://[::1]:8080/live/a.mp4", Protocol::Ws, "[::1]:8080", "/live/a.mp4"),
        ] {
            let address = Address::parse(url, 2).unwrap();
            assert_eq!(
                (address.protocol, address.authority.as_str(), address.path.as_str()),
                (protocol, authority, path)
            );
        }
        assert!(Address::parse("http://h/live/a.ts", 0).is_err());
    }
}
