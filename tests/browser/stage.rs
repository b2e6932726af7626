//! An origin, an edge and a browser, and what is measured with them.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Result, ensure};
use e2e::browser::{Browser, Player};
use e2e::harness::media::Ffmpeg;
use e2e::harness::{Node, Process, fixture};
use tokio::sync::{Mutex, MutexGuard};
use tokio::time::{Instant, sleep};

/// Bound of every wait that says nothing else.
pub(crate) const SOON: Duration = Duration::from_secs(20);
/// Margin, the average of what is buffered beyond it, and what the way through two nodes takes.
const CAUGHT_UP: &str =
    "headwater.state === 'playing' && !headwater.video.seeking && headwater.rate === 1 && headwater.latencyMs < 500";

/// One browser at a time, also where tests are told to run at the same time.
static TURN: Mutex<()> = Mutex::const_new(());

/// An origin, an edge that pulls from it on demand, and a browser.
pub(crate) struct Stage {
    pub(crate) browser: Browser,
    pub(crate) edge: Node,
    pub(crate) origin: Node,
    _turn: MutexGuard<'static, ()>,
}

impl Stage {
    pub(crate) async fn set() -> Result<Self> {
        let turn = TURN.lock().await;
        let origin = Node::origin().await?;
        let edge = Node::edge(&origin).await?;
        let browser = Browser::start().await?;
        Ok(Self {
            browser,
            edge,
            origin,
            _turn: turn,
        })
    }

    /// Publishes a fixture in a loop as `live/cam`.
    pub(crate) fn publish(&self, file: &str) -> Result<Process> {
        Ffmpeg::System.publish(&fixture(file)?, &self.origin.rtmp_url("cam"), -1)
    }

    /// Publishes as [`Stage::publish`] does, opens the page at the edge and waits until it has caught up.
    pub(crate) async fn show(&self, file: &str) -> Result<(Process, Player)> {
        let publisher = self.publish(file)?;
        self.origin.playable("cam", SOON).await?;
        self.open(self.edge.http).await?;
        Ok((publisher, self.converged().await?))
    }

    pub(crate) async fn open(&self, server: SocketAddr) -> Result<()> {
        self.browser.open(&format!("http://{server}/play/live/cam")).await
    }

    pub(crate) async fn until(&self, expression: &str) -> Result<()> {
        self.browser.wait_until(expression, SOON).await.map(drop)
    }

    pub(crate) async fn playing(&self) -> Result<Player> {
        self.until("headwater.state === 'playing' && headwater.bufferMs > 0")
            .await?;
        self.browser.player().await
    }

    pub(crate) async fn converged(&self) -> Result<Player> {
        converged(&self.browser).await
    }
}

/// Waits until the page has caught up and plays at exactly the source's speed.
pub(crate) async fn converged(browser: &Browser) -> Result<Player> {
    browser.wait_until(CAUGHT_UP, SOON).await?;
    browser.player().await
}

/// Samples of the player, four a second.
pub(crate) async fn samples(browser: &Browser, length: Duration) -> Result<Vec<Player>> {
    let end = Instant::now() + length;
    let mut samples = vec![browser.player().await?];
    while Instant::now() < end {
        sleep(Duration::from_millis(250)).await;
        samples.push(browser.player().await?);
    }
    Ok(samples)
}

/// The middle one; not a number if there is none.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// Watches a page that has caught up: its speed is 1 ± 2 %, it never stalls or jumps, its median lag is under 500 ms.
pub(crate) async fn plays_steadily(browser: &Browser, length: Duration) -> Result<()> {
    browser.watch_for_freezes().await?;
    let seen = samples(browser, length).await?;
    let freeze = browser.longest_freeze().await?;
    let (first, last) = (&seen[0], &seen[seen.len() - 1]);
    let speed = (last.position - first.position) / ((last.now_ms - first.now_ms) / 1000.0);
    let lags: Vec<f64> = seen.iter().filter_map(|player| player.latency_ms).collect();
    let worst = lags.iter().copied().fold(0.0, f64::max);
    let lag = median(lags);
    println!(
        "{length:?}: speed {speed:.4}, lag median {lag:.0} ms, max {worst:.0} ms, longest standstill {freeze:?}, dropped {}",
        last.dropped_frames
    );
    ensure!((0.98..=1.02).contains(&speed), "speed {speed}");
    ensure!(last.stalls == first.stalls, "{} stalls", last.stalls - first.stalls);
    ensure!(last.seeks == first.seeks, "{} jumps", last.seeks - first.seeks);
    ensure!(lag < 500.0, "median lag {lag} ms");
    ensure!(lag > 0.0, "a lag of {lag} ms can't be");
    Ok(())
}
