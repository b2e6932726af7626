//! Keeps a channel's window like its upstream's: what was there before this node began, and what it has lost.

use std::time::Duration;

use tokio::time::Instant;

use super::Channel;
use crate::package::hls::document::{self, Document};

/// The upstream is asked this often, so that its own window lives on, and what differs heals.
const EVERY: Duration = Duration::from_secs(5);
/// A failed fetch is tried again after this long, while a hole waits.
const AGAIN: Duration = Duration::from_millis(100);
/// What comes up is asked for after this long, so that what comes with it is asked for too.
const SOON: Duration = Duration::from_millis(5);
/// Nothing is shown before the upstream has said where its window begins, or for this long.
const FIRST: Duration = Duration::from_secs(2);
/// A hole that the upstream has not described in this long is a gap.
const PATIENCE: Duration = Duration::from_secs(3);

/// Asks until the channel stops.
pub(super) async fn run(channel: Channel) {
    let stop = channel.0.stop.clone();
    let _ = stop.run_until_cancelled(follow(&channel)).await; // stopped
}

async fn follow(channel: &Channel) {
    let mut version = channel.0.version.subscribe();
    let mut unsettled_since = Instant::now();
    let mut hole: Option<(u64, Instant)> = None;
    let mut next = Instant::now();
    loop {
        hole = first_hole(channel, hole);
        if channel.with(|window| window.settled()) {
            unsettled_since = Instant::now();
        }
        if next <= Instant::now() {
            let fetched = fetch(channel, hole.map(|(number, _)| number)).await;
            settle(channel, fetched.is_some() || unsettled_since.elapsed() >= FIRST);
            let missing = channel.with(|window| !window.settled() || window.first_hole().is_some());
            next = Instant::now() + if missing { AGAIN } else { EVERY };
        }
        if let Some((number, since)) = hole
            && since.elapsed() >= PATIENCE
        {
            tracing::warn!(stream = %channel.0.stream.name(), segment = number, "a segment is lost: the upstream does not have it");
            channel.change(|window| {
                window.give_up(number);
                true
            });
        }
        let was = hole.map(|(number, _)| number);
        let wake = hole.map_or(next, |(_, since)| next.min(since + PATIENCE));
        tokio::select! {
            () = tokio::time::sleep_until(wake) => {}
            Ok(()) = version.changed() => {
                let (is, settled) = channel.with(|window| (window.first_hole(), window.settled()));
                if !settled || is.is_some() && is != was {
                    next = next.min(Instant::now() + SOON);
                }
            }
        }
    }
}

fn settle(channel: &Channel, may: bool) {
    if may && !channel.with(|window| window.settled()) {
        channel.change(|window| {
            window.settle();
            true
        });
    }
}

/// The first hole and since when it is the first one.
fn first_hole(channel: &Channel, before: Option<(u64, Instant)>) -> Option<(u64, Instant)> {
    let number = channel.with(|window| window.first_hole())?;
    Some(
        before
            .filter(|(held, _)| *held == number)
            .unwrap_or((number, Instant::now())),
    )
}

/// Takes the upstream's description, waiting there for the segment `hole` to be complete. A stream of our own has no upstream,
/// and needs none. None if it failed.
async fn fetch(channel: &Channel, hole: Option<u64>) -> Option<()> {
    let Some(base) = channel.0.stream.upstream() else {
        return Some(());
    };
    let settled = channel.with(|window| window.settled());
    let name = match (hole, settled) {
        (Some(number), true) => format!("window.json?from={number}&wait={number}"),
        (None, true) => format!(
            "window.json?from={}",
            channel.with(|window| window.last_number()).unwrap_or(0)
        ),
        (_, false) => "window.json".to_owned(),
    };
    let fetched = channel.0.upstream.fetch(&base, &name, document::MOST_BYTES).await;
    let document: Document = match fetched.map(|body| serde_json::from_slice(&body)) {
        Ok(Ok(document)) => document,
        Ok(Err(error)) => {
            tracing::debug!(stream = %channel.0.stream.name(), %error, "the upstream's window can't be read");
            return None;
        }
        Err(error) => {
            tracing::debug!(stream = %channel.0.stream.name(), %error, "failed to fetch the upstream's window");
            return None;
        }
    };
    channel.change(|window| {
        let changed = document::take(&document, window);
        let follows = window.epoch() == document.epoch;
        follows && window.show_from(document.first, std::time::Instant::now()) || changed
    });
    Some(())
}
