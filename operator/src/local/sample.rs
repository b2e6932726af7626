//! `--sample`: publishes the bundled clip in a loop, as a person's encoder would.
//!
//! ```text
//! clip (FLV bytes ─▶ tags) ─▶ pace (which tag is due when, time going on over the loop) ─▶ publisher (RTMP) ─▶ origin
//! ```

mod clip;
mod publisher;

use std::net::SocketAddr;
use std::time::Duration;

use headwater_contract::PublishKey;
use thiserror::Error;
use tokio::time::{Instant, sleep, sleep_until};
use tracing::{debug, info, warn};

pub use clip::{Clip, Tag};
use publisher::Publisher;

/// The bundled clip; `tests/media/make-sample.sh` holds the command that made it.
const CLIP: &[u8] = include_bytes!("sample.flv");
/// Name that the sample is published as.
pub const STREAM: &str = "sample";
const LONGEST_WAIT: Duration = Duration::from_secs(2);

/// Why the sample is not being published.
#[derive(Debug, Error)]
pub enum Error {
    /// The clip is not what it should be.
    #[error("failed to read the sample clip: {0}")]
    Clip(&'static str),
    /// The connection could not be made or broke.
    #[error("failed to {step}: {source}")]
    Io {
        /// What was being done.
        step: &'static str,
        /// The system's word.
        source: std::io::Error,
    },
    /// The origin did not answer.
    #[error("the origin did not answer {0} in time")]
    Timeout(&'static str),
    /// The origin said no.
    #[error("the origin refused {step}: {answer}")]
    Refused {
        /// What was asked for.
        step: &'static str,
        /// Its answer.
        answer: String,
    },
    /// What came is no RTMP.
    #[error("the origin sent something that is not RTMP: {0}")]
    Protocol(String),
}

/// Where the sample goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Destination {
    /// The origin's RTMP address.
    pub origin: SocketAddr,
    /// Its app.
    pub app: String,
    /// The publish key, if the origin wants one.
    pub key: Option<PublishKey>,
}

/// Publishes until it is dropped, connecting again with back-off whenever the connection ends.
pub async fn publish(destination: Destination) {
    let clip = match Clip::parse(CLIP) {
        Ok(clip) => clip,
        Err(error) => return warn!(%error, "there is no sample stream"),
    };
    let mut wait = Duration::from_millis(100);
    let mut told = false;
    loop {
        let begun = Instant::now();
        let Err(error) = session(&clip, &destination).await;
        debug!(%error, "the sample stream's connection ended");
        if begun.elapsed() > Duration::from_secs(10) {
            wait = Duration::from_millis(100);
            told = false;
        } else if wait == LONGEST_WAIT && !told {
            told = true;
            warn!(%error, "the sample stream is not being published; it is tried again every 2 s");
        }
        sleep(wait).await;
        wait = (wait * 2).min(LONGEST_WAIT);
    }
}

/// One connection: it ends by an error only.
async fn session(clip: &Clip, destination: &Destination) -> Result<std::convert::Infallible, Error> {
    let mut publisher = Publisher::connect(destination).await?;
    info!(
        app = destination.app,
        stream = STREAM,
        "the sample stream is being published"
    );
    for tag in &clip.headers {
        publisher.send(tag, 0).await?;
    }
    let begun = Instant::now();
    let mut round = 0;
    loop {
        for tag in &clip.media {
            let time = due(clip, round, tag);
            publisher.listen_until(sleep_until(begun + time)).await?;
            publisher.send(tag, wire_time(time)).await?;
        }
        round += 1;
    }
}

/// When a tag of this round is due, from the start: the second round goes on where the first one ended.
fn due(clip: &Clip, round: u64, tag: &Tag) -> Duration {
    Duration::from_millis(round.saturating_mul(clip.duration_ms) + u64::from(tag.time_ms))
}

/// RTMP's time stamp: 32 bits of milliseconds, which wrap after 49 days.
fn wire_time(time: Duration) -> u32 {
    (time.as_millis() & u128::from(u32::MAX)) as u32
}

#[cfg(test)]
mod tests;
