//! Publishes a clip in real time, in a loop, to any number of streams, and writes its send time into each H.264 access unit.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde::Serialize;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::histogram::{Histogram, Quantiles};
use crate::wire::flv::{self, Tag};
use crate::wire::rtmp::{self, Client, Goal, Target};
use crate::wire::{Nothing, Stamp, stamp};

/// How long a server may take to accept a publisher, and to take one message.
const PATIENCE: Duration = Duration::from_secs(10);

/// What to publish, and where.
#[derive(Clone, Debug)]
pub struct Options {
    /// `rtmp://host[:port]/app/stream[?key=…]`; `{n}` stands for the stream's number, from 1.
    pub url: String,
    /// An FLV file.
    pub clip: PathBuf,
    /// How many streams.
    pub streams: u32,
    /// How long, measured from the first message; none: until stopped.
    pub duration: Option<Duration>,
    /// Bits per second to reach by filler; none: the clip's own.
    pub bit_rate: Option<u64>,
    /// Time between the starts of two streams, so that their key frames do not coincide.
    pub stagger: Duration,
    /// How many times to play the clip; none: again and again.
    pub rounds: Option<u64>,
    /// Write the send time into each H.264 access unit; without it every payload is sent as it is.
    pub stamp: bool,
    /// Connect again this long after a failure; none: end.
    pub reconnect: Option<Duration>,
}

impl Options {
    /// One stream of a clip, stamped, until stopped.
    pub fn new(url: impl Into<String>, clip: impl Into<PathBuf>) -> Self {
        Self {
            url: url.into(),
            clip: clip.into(),
            streams: 1,
            duration: None,
            bit_rate: None,
            stagger: Duration::ZERO,
            rounds: None,
            stamp: true,
            reconnect: None,
        }
    }
}

/// How a publication went.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// Streams that were accepted at least once.
    pub streams: u32,
    /// Frames of audio and video sent.
    pub frames: u64,
    /// Bytes of audio and video sent, without headers.
    pub media_bytes: u64,
    /// Bits of audio and video a second and stream.
    pub bit_rate: u64,
    /// Time from a frame's due time to its send time.
    pub late_ms: Quantiles,
    /// Connections made after a failure.
    pub reconnects: u64,
    /// Errors, at most 20.
    pub errors: Vec<String>,
}

/// A running publication.
#[derive(Debug)]
pub struct Publication {
    stop: CancellationToken,
    first_key_us: Arc<AtomicU64>,
    streams: JoinSet<Outcome>,
    started: Instant,
}

#[derive(Debug, Default)]
struct Outcome {
    accepted: bool,
    frames: u64,
    media_bytes: u64,
    late: Histogram,
    reconnects: u64,
    errors: Vec<String>,
}

/// Reads the clip and starts to publish.
pub fn start(options: Options) -> Result<Publication> {
    let file = std::fs::read(&options.clip).with_context(|| format!("failed to read {}", options.clip.display()))?;
    let clip = Arc::new(Clip::new(flv::read(&file)?)?);
    let stop = CancellationToken::new();
    let first_key_us = Arc::new(AtomicU64::new(0));
    let mut streams = JoinSet::new();
    let started = Instant::now();
    for index in 0..options.streams {
        let target: Target = options.url.replace("{n}", &(index + 1).to_string()).parse()?;
        let publisher = Publisher {
            clip: clip.clone(),
            target,
            begin: started + options.stagger * index,
            options: options.clone(),
            first_key_us: first_key_us.clone(),
            outcome: Outcome::default(),
            sequence: 0,
        };
        let stop = stop.clone();
        streams.spawn(async move { publisher.run(stop).await });
    }
    Ok(Publication {
        stop,
        first_key_us,
        streams,
        started,
    })
}

impl Publication {
    /// Wall clock (Unix microseconds) at which the first key frame of any stream was sent.
    pub fn first_key_us(&self) -> Option<u64> {
        Some(self.first_key_us.load(Ordering::Acquire)).filter(|us| *us > 0)
    }

    /// A token that ends the publication in order, as [`Publication::stop`] does.
    pub fn stopper(&self) -> CancellationToken {
        self.stop.clone()
    }

    /// Unpublishes and reports.
    pub async fn stop(self) -> Report {
        self.stop.cancel();
        self.report().await
    }

    /// Cuts the connections without a word.
    pub async fn abort(mut self) {
        self.streams.shutdown().await;
    }

    /// Waits for the end and reports.
    pub async fn report(mut self) -> Report {
        let mut report = Report::default();
        let mut late = Histogram::default();
        while let Some(outcome) = self.streams.join_next().await {
            let Ok(outcome) = outcome else { continue };
            report.streams += u32::from(outcome.accepted);
            report.frames += outcome.frames;
            report.media_bytes += outcome.media_bytes;
            report.reconnects += outcome.reconnects;
            late.merge(&outcome.late);
            let room = 20usize.saturating_sub(report.errors.len());
            report.errors.extend(outcome.errors.into_iter().take(room));
        }
        let seconds = self.started.elapsed().as_secs_f64() * f64::from(report.streams.max(1));
        report.bit_rate = (report.media_bytes as f64 * 8.0 / seconds.max(0.001)) as u64;
        report.late_ms = late.quantiles();
        report
    }
}

/// A clip in memory and the time that one round takes.
#[derive(Debug)]
struct Clip {
    tags: Vec<Tag>,
    round_ms: u64,
    /// Codec parameters change within the clip: they are sent in every round.
    changes: bool,
}

impl Clip {
    fn new(mut tags: Vec<Tag>) -> Result<Self> {
        tags.retain(|tag| tag.kind != flv::DATA || tag.dts_ms == 0);
        let round = |kind: u8| {
            let times: Vec<u64> = tags
                .iter()
                .filter(|t| t.kind == kind && t.shape().media)
                .map(|t| u64::from(t.dts_ms))
                .collect();
            let (first, last, count) = (*times.first()?, *times.last()?, times.len() as u64);
            // The last frame lasts as long as the others do on average.
            (count > 1).then(|| last + (last - first + (count - 1) / 2) / (count - 1))
        };
        let Some(round_ms) = round(flv::VIDEO).max(round(flv::AUDIO)) else {
            bail!("the clip has no media");
        };
        // A track whose frames do not fit whole milliseconds is a fraction longer by rounding: the pictures decide.
        let round_ms = round(flv::VIDEO)
            .filter(|video| round_ms - video <= 5)
            .unwrap_or(round_ms);
        let configs = tags.iter().filter(|t| t.kind == flv::VIDEO && t.shape().config).count();
        Ok(Self {
            tags,
            round_ms,
            changes: configs > 1,
        })
    }
}

struct Publisher {
    clip: Arc<Clip>,
    target: Target,
    begin: Instant,
    options: Options,
    first_key_us: Arc<AtomicU64>,
    outcome: Outcome,
    sequence: u64,
}

/// A connection that the server has accepted.
struct Link {
    socket: TcpStream,
    client: Client,
    out: Vec<u8>,
    buffer: Vec<u8>,
}

impl Publisher {
    async fn run(mut self, stop: CancellationToken) -> Outcome {
        sleep_until(self.begin).await;
        let end = self.options.duration.map(|d| Instant::now() + d);
        loop {
            let Err(error) = self.session(&stop, end).await else {
                break;
            };
            if self.outcome.errors.len() < 20 {
                self.outcome.errors.push(format!("{}: {error:#}", self.target.app));
            }
            let Some(pause) = self.options.reconnect else { break };
            tokio::select! {
                () = stop.cancelled() => break,
                () = tokio::time::sleep(pause) => self.outcome.reconnects += 1,
            }
        }
        self.outcome
    }

    async fn session(&mut self, stop: &CancellationToken, end: Option<Instant>) -> Result<()> {
        let mut link = Link::open(&self.target).await?;
        self.outcome.accepted = true;
        let start = Instant::now();
        let clip = self.clip.clone();
        for round in 0..self.options.rounds.unwrap_or(u64::MAX) {
            for tag in &clip.tags {
                let setup = !tag.shape().media;
                if setup && round > 0 && !clip.changes {
                    continue;
                }
                let dts_ms = round * clip.round_ms + u64::from(tag.dts_ms);
                let due = start + Duration::from_millis(dts_ms);
                if !link.rest(due, stop).await? || end.is_some_and(|end| due >= end) {
                    return link.close().await;
                }
                if !setup {
                    self.outcome.late.add(due.elapsed());
                }
                self.send(&mut link, tag, dts_ms).await?;
            }
        }
        link.close().await
    }

    async fn send(&mut self, link: &mut Link, tag: &Tag, dts_ms: u64) -> Result<()> {
        let shape = tag.shape();
        let mut body = Vec::new();
        let stamped = shape.avc && shape.media && self.options.stamp;
        if stamped {
            let stamp = Stamp {
                sent_us: stamp::now_us(),
                sequence: self.sequence,
                bytes_before: self.outcome.media_bytes,
            };
            self.sequence += 1;
            body.extend_from_slice(&tag.body[..shape.header]);
            stamp.insert(
                &tag.body[shape.header..],
                self.padding(dts_ms, tag.body.len()),
                &mut body,
            );
        }
        if shape.key && self.first_key_us.load(Ordering::Relaxed) == 0 {
            self.first_key_us.store(stamp::now_us(), Ordering::Release);
        }
        let body = if stamped { &body[..] } else { &tag.body[..] };
        if shape.media {
            self.outcome.frames += 1;
            self.outcome.media_bytes += (body.len() - shape.header) as u64;
        }
        // RTMP time is 32 bits and wraps, RTMP 1.0 §5.3.1.
        link.client.send(tag.kind, dts_ms as u32, body, &mut link.out);
        link.flush().await
    }

    /// Bytes of filler that bring the stream to its bit rate, counted from its first message.
    fn padding(&self, dts_ms: u64, size: usize) -> usize {
        let Some(bit_rate) = self.options.bit_rate else {
            return 0;
        };
        let wanted = (dts_ms + 40) * bit_rate / 8000;
        let wanted = wanted.saturating_sub(self.outcome.media_bytes + size as u64);
        // One access unit carries at most a second's worth, so that a late start does not end in one huge picture.
        usize::try_from(wanted.min(bit_rate / 8)).unwrap_or(0)
    }
}

impl Link {
    async fn open(target: &Target) -> Result<Self> {
        let connect = timeout(PATIENCE, TcpStream::connect(&target.authority)).await;
        let socket = connect
            .context("connecting took too long")?
            .context("failed to connect")?;
        socket.set_nodelay(true)?;
        let mut link = Self {
            socket,
            client: Client::new(Goal::Publish, target.clone(), 0, &mut Vec::new()),
            out: rtmp::hello(),
            buffer: vec![0; 16_384],
        };
        timeout(PATIENCE, link.accept(target))
            .await
            .context("the server did not accept in time")??;
        Ok(link)
    }

    async fn accept(&mut self, target: &Target) -> Result<()> {
        self.flush().await?;
        let mut answer = vec![0u8; 1 + 2 * rtmp::HANDSHAKE];
        self.socket
            .read_exact(&mut answer)
            .await
            .context("failed to read the handshake")?;
        self.out.extend_from_slice(&answer[1..1 + rtmp::HANDSHAKE]);
        self.client = Client::new(Goal::Publish, target.clone(), 0, &mut self.out);
        while !self.client.running() {
            self.flush().await?;
            self.read().await?;
        }
        Ok(())
    }

    async fn flush(&mut self) -> Result<()> {
        if !self.out.is_empty() {
            let written = timeout(PATIENCE, self.socket.write_all(&self.out)).await;
            written
                .context("the server took nothing for 10 s")?
                .context("failed to send")?;
            self.out.clear();
        }
        Ok(())
    }

    async fn read(&mut self) -> Result<()> {
        let count = self.socket.read(&mut self.buffer).await.context("failed to receive")?;
        if count == 0 {
            bail!("the server closed the connection");
        }
        self.client.feed(&self.buffer[..count], &mut self.out, &mut Nothing)?;
        Ok(())
    }

    /// Waits until a message is due and meanwhile answers the server; false if told to stop.
    async fn rest(&mut self, due: Instant, stop: &CancellationToken) -> Result<bool> {
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => return Ok(false),
                () = sleep_until(due) => return Ok(true),
                read = self.read() => read?,
            }
            self.flush().await?;
        }
    }

    async fn close(mut self) -> Result<()> {
        self.client.unpublish(&mut self.out);
        self.flush().await?;
        self.socket.shutdown().await?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sample_clip_loops_without_a_seam() {
        let file = include_bytes!("../../../operator/src/local/sample.flv");
        let clip = Clip::new(flv::read(file).unwrap()).unwrap();
        assert_eq!(clip.round_ms, 8000);
        let count = |kind| clip.tags.iter().filter(|t| t.kind == kind && t.shape().media).count();
        assert_eq!((count(flv::VIDEO), count(flv::AUDIO)), (200, 375));
        let keys: Vec<u32> = clip.tags.iter().filter(|t| t.shape().key).map(|t| t.dts_ms).collect();
        assert_eq!(keys, [0, 1000, 2000, 3000, 4000, 5000, 6000, 7000]);
        assert!(file.len() < 1_000_000);
    }
}
