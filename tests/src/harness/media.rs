//! ffmpeg and ffprobe as publishers and viewers.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use super::frames::Frames;
use super::process::{Process, Signal};
use super::root;

/// Which ffmpeg.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ffmpeg {
    /// Debian's.
    System,
    /// The newer one with Enhanced RTMP that `tests/setup.sh` fetches.
    Enhanced,
}

impl Ffmpeg {
    /// Its path.
    pub fn path(self) -> Result<PathBuf> {
        match self {
            Ffmpeg::System => Ok(PathBuf::from("ffmpeg")),
            Ffmpeg::Enhanced => {
                let path = root().join(".cache/bin/ffmpeg-enhanced");
                if !path.exists() {
                    bail!("{} is not there: run make setup", path.display());
                }
                Ok(path)
            }
        }
    }

    /// Starts it with these arguments behind the usual ones.
    pub fn start(self, args: &[&str]) -> Result<Process> {
        let mut all = vec!["-hide_banner", "-nostdin", "-loglevel", "warning"];
        all.extend(args);
        let all: Vec<String> = all.into_iter().map(str::to_owned).collect();
        Process::start("ffmpeg", &self.path()?, &all)
    }

    /// Publishes a file in real time, as it is, once (`loops` 0) or again and again (-1).
    pub fn publish(self, file: &Path, url: &str, loops: i32) -> Result<Process> {
        let file = file.to_str().context("path")?;
        self.start(&[
            "-re",
            "-stream_loop",
            &loops.to_string(),
            "-i",
            file,
            "-c",
            "copy",
            "-f",
            "flv",
            url,
        ])
    }

    /// Reads a file, or a stream to its end, and hashes each frame's payload as it is.
    pub async fn frames(self, source: &str, within: Duration) -> Result<Frames> {
        self.start_frames(source)?.frames(within).await
    }

    /// Starts to read a stream as [`Ffmpeg::frames`] does.
    pub fn start_frames(self, source: &str) -> Result<Reading> {
        let args = [
            "-hide_banner",
            "-nostdin",
            "-loglevel",
            "warning",
            "-i",
            source,
            "-map",
            "0:v?",
            "-map",
            "0:a?",
            "-c",
            "copy",
        ];
        let mut args: Vec<String> = args.into_iter().map(str::to_owned).collect();
        // Times as they came: nothing moved to zero, nothing made to rise.
        args.extend(["-copyts", "-flush_packets", "1", "-f", "framemd5", "-"].map(str::to_owned));
        Ok(Reading(Process::start_for_output(
            "ffmpeg framemd5",
            &self.path()?,
            &args,
        )?))
    }
}

/// Reads a stream as [`Ffmpeg::start_frames`] does, again from the start as long as the server does not have it, and
/// returns once frames come.
pub async fn reading(ffmpeg: Ffmpeg, source: &str, within: Duration) -> Result<Reading> {
    let deadline = tokio::time::Instant::now() + within;
    let mut reading = ffmpeg.start_frames(source)?;
    while reading.count() == 0 {
        ensure!(
            tokio::time::Instant::now() < deadline,
            "no frame of {source}:\n{}",
            reading.0.log_tail()
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
        if reading.ended() && reading.count() == 0 {
            reading = ffmpeg.start_frames(source)?;
        }
    }
    Ok(reading)
}

/// A stream being read to its end.
#[derive(Debug)]
pub struct Reading(Process);

impl Reading {
    /// Waits for the end.
    pub async fn frames(mut self, within: Duration) -> Result<Frames> {
        let status = self.0.wait(within).await?;
        ensure!(status.success(), "ffmpeg failed:\n{}", self.0.log_tail());
        Frames::parse(&self.0.output())
    }

    /// Ends the reading and returns what has come so far.
    pub async fn stop(mut self) -> Result<Frames> {
        // Each line is flushed, so nothing is lost; ffmpeg does not heed a softer signal while it waits for a server.
        self.0.signal(Signal::Kill).await?;
        self.0.wait(Duration::from_secs(5)).await?;
        Frames::parse(&self.0.output())
    }

    /// True once it has ended, of itself or for want of the stream.
    pub fn ended(&mut self) -> bool {
        self.0.ended().is_some()
    }

    /// How many frames have come so far, by lines of output.
    pub fn count(&self) -> usize {
        self.0.output().lines().filter(|line| !line.starts_with('#')).count()
    }
}

/// `ffprobe` of a file or a stream, which is read to its end: streams and the count of their packets.
pub async fn ffprobe(source: &str, within: Duration) -> Result<Value> {
    start_ffprobe(source)?.value(within).await
}

/// The stream of a type (`video`, `audio`) in what [`ffprobe`] says; null if there is none.
pub fn stream_of(probed: &Value, kind: &str) -> Value {
    let streams = probed["streams"].as_array().into_iter().flatten();
    streams
        .into_iter()
        .find(|stream| stream["codec_type"] == kind)
        .cloned()
        .unwrap_or(Value::Null)
}

/// A running `ffprobe`.
#[derive(Debug)]
pub struct Probing(Process);

/// Starts `ffprobe` on a stream.
pub fn start_ffprobe(source: &str) -> Result<Probing> {
    let args = [
        "-v",
        "error",
        "-of",
        "json",
        "-show_streams",
        "-count_packets",
        "-show_entries",
        "packet=codec_type,pts,dts,flags",
        "-i",
        source,
    ];
    Ok(Probing(Process::start_for_output(
        "ffprobe",
        Path::new("ffprobe"),
        &args.map(str::to_owned),
    )?))
}

impl Probing {
    /// Waits for the end.
    pub async fn value(mut self, within: Duration) -> Result<Value> {
        let status = self.0.wait(within).await?;
        ensure!(status.success(), "ffprobe failed:\n{}", self.0.log_tail());
        serde_json::from_str(&self.0.output()).with_context(|| format!("ffprobe wrote no JSON:\n{}", self.0.log_tail()))
    }
}
