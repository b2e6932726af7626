//! One viewer: connects, watches, reconnects where told to, and follows the server's request to move.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::Result;
use tokio_util::sync::CancellationToken;

use super::connection::Connection;
use super::tally::{Tally, Window, is_move};
use super::{Address, Counters, Options, Protocol, hls};
use crate::wire::{Frame, PLAIN_HEAD, PROBE_HEAD, Sink, Track, stamp};

/// How long a move may take before it counts as failed; then the old connection is kept.
const MOVE_LIMIT: Duration = Duration::from_secs(15);
/// How long the other track of the old connection may lag behind at the switch.
const SETTLE: Duration = Duration::from_secs(1);
/// Most frames of the new connection that wait for the old one to come up to the switch.
const WAITING: usize = 4096;

/// Two nodes' times of one audio frame differ by less: the stream's are whole milliseconds, each node counts samples from there.
const SAME_AUDIO_US: i64 = 2_000;

/// Task of one viewer.
pub(super) struct Viewer {
    pub(super) address: Address,
    pub(super) peer: SocketAddr,
    pub(super) probe: bool,
    pub(super) options: Arc<Options>,
    pub(super) counters: Arc<Counters>,
    pub(super) begin: Instant,
    pub(super) window: Window,
}

/// How it went.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) stream: usize,
    pub(super) probe: bool,
    pub(super) tally: Tally,
    pub(super) cuts: u64,
    pub(super) failures: u64,
    pub(super) reconnects: u64,
    pub(super) moves: Moves,
    /// Requests of a protocol that has many.
    pub(super) requests: u64,
    pub(super) errors: Vec<String>,
}

/// Moves of one viewer.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Moves {
    pub(super) asked: u64,
    pub(super) done: u64,
    pub(super) failed: u64,
}

impl Viewer {
    pub(super) async fn run(self, stop: CancellationToken) -> Outcome {
        let mut outcome = Outcome {
            stream: self.address.stream,
            probe: self.probe,
            tally: Tally::new(self.window),
            cuts: 0,
            failures: 0,
            reconnects: 0,
            moves: Moves::default(),
            requests: 0,
            errors: Vec::new(),
        };
        tokio::time::sleep_until(self.begin.into()).await;
        loop {
            let watched = tokio::select! {
                watched = self.watch(&mut outcome) => watched,
                () = stop.cancelled() => break,
                () = tokio::time::sleep_until(self.window.until.into()) => break,
            };
            if let Err(error) = watched {
                if outcome.tally.playing {
                    outcome.cuts += 1;
                    self.counters.cuts.fetch_add(1, Ordering::Relaxed);
                } else {
                    outcome.failures += 1;
                    self.counters.failures.fetch_add(1, Ordering::Relaxed);
                }
                if outcome.errors.len() < 5 {
                    outcome.errors.push(format!("{error:#}"));
                }
            }
            let Some(pause) = self.options.reconnect else { break };
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = stop.cancelled() => break,
                () = tokio::time::sleep_until(self.window.until.into()) => break,
            }
            outcome.reconnects += 1;
            outcome.tally.reconnecting();
        }
        outcome
    }

    async fn open(&self) -> Result<Connection> {
        let head_limit = if self.probe { PROBE_HEAD } else { PLAIN_HEAD };
        Connection::open(&self.address, self.peer, head_limit).await
    }

    /// Watches until something breaks.
    async fn watch(&self, outcome: &mut Outcome) -> Result<()> {
        outcome.tally.opening();
        if self.address.protocol == Protocol::Hls {
            return hls::watch(self, outcome).await;
        }
        let mut connection = self.open().await?;
        loop {
            let playing = outcome.tally.playing;
            self.read(&mut connection, &mut outcome.tally).await?;
            if !playing && outcome.tally.playing {
                self.counters.playing.fetch_add(1, Ordering::Relaxed);
            }
            if std::mem::take(&mut outcome.tally.move_asked) {
                outcome.moves.asked += 1;
                if self.options.follow_moves {
                    match self.relocate(&mut connection, outcome).await {
                        Ok(()) => outcome.moves.done += 1,
                        Err(error) => {
                            outcome.moves.failed += 1;
                            outcome.errors.push(format!("move: {error:#}"));
                        }
                    }
                }
            }
        }
    }

    async fn read(&self, connection: &mut Connection, sink: &mut Tally) -> Result<()> {
        let count = connection.read(sink).await?;
        sink.wire_bytes += count as u64;
        self.counters.wire_bytes.fetch_add(count as u64, Ordering::Relaxed);
        Ok(())
    }

    /// Opens a connection beside the old one and goes over at a key frame: all before it is taken from the old one, all
    /// from it on from the new one, so that a decoder sees one stream.
    async fn relocate(&self, connection: &mut Connection, outcome: &mut Outcome) -> Result<()> {
        let deadline = tokio::time::Instant::now() + MOVE_LIMIT;
        let late = || anyhow::anyhow!("no key frame to switch at within {} s", MOVE_LIMIT.as_secs());
        let mut arriving = Arriving {
            reached: outcome.tally.last_dts_us(Track::Video),
            ..Arriving::default()
        };
        // The old connection is read on while the new one is being opened.
        let mut opening = std::pin::pin!(self.open());
        let mut fresh = loop {
            tokio::select! {
                opened = &mut opening => break opened?,
                read = self.read(connection, &mut outcome.tally) => read?,
                () = tokio::time::sleep_until(deadline) => return Err(late()),
            }
        };
        let mut settled_by = None;
        loop {
            let mut leaving = Leaving {
                tally: &mut outcome.tally,
                switch: arriving.switch_us,
                past: [false; 2],
            };
            tokio::select! {
                read = connection.read(&mut leaving) => {
                    let past = leaving.past;
                    match read {
                        Ok(count) => outcome.tally.wire_bytes += count as u64,
                        // Gone before the switch: what is missing shows as a gap.
                        Err(_) => break,
                    }
                    if past[1] && past[0] {
                        break;
                    }
                    if past[0] {
                        settled_by.get_or_insert(tokio::time::Instant::now() + SETTLE);
                    }
                }
                read = fresh.read(&mut arriving) => outcome.tally.wire_bytes += read? as u64,
                () = tokio::time::sleep_until(settled_by.unwrap_or(deadline)) => {
                    if settled_by.is_none() {
                        return Err(late());
                    }
                    break;
                }
            }
        }
        for (frame, at, at_us) in arriving.frames.drain(..) {
            let last = outcome.tally.last_dts_us(frame.track);
            let same = if frame.track == Track::Audio { SAME_AUDIO_US } else { 0 };
            if last.is_none_or(|last| frame.dts_us > last + same) {
                outcome.tally.count(frame, at, at_us);
            }
        }
        // The old node may ask again until it is left: what the new one asks counts.
        outcome.tally.move_asked = arriving.move_asked;
        *connection = fresh;
        Ok(())
    }
}

/// The old connection during a move: what lies before the switch counts.
struct Leaving<'a> {
    tally: &'a mut Tally,
    switch: Option<i64>,
    /// Video and audio have come past the switch.
    past: [bool; 2],
}

impl Sink for Leaving<'_> {
    fn frame(&mut self, frame: Frame) {
        if self.switch.is_none_or(|switch| frame.dts_us < switch) {
            self.tally.frame(frame);
        } else {
            self.past[usize::from(frame.track == Track::Audio)] = true;
        }
    }

    fn text(&mut self, text: &str) {
        self.tally.text(text);
    }
}

/// The new connection during a move: frames from the switch on wait here.
#[derive(Default)]
struct Arriving {
    /// Decoding time up to which the old connection had come when the move began.
    reached: Option<i64>,
    /// Decoding time of the key frame to switch at: the first one after the move began. Both connections deliver it at about the
    /// same moment: what the old one has delivered from it on is left out here.
    switch_us: Option<i64>,
    frames: Vec<(Frame, Instant, u64)>,
    /// The new node drains already: a move that is not noted here is never asked for again, and the viewer is cut.
    move_asked: bool,
}

impl Sink for Arriving {
    fn frame(&mut self, frame: Frame) {
        if self.switch_us.is_none() && frame.key && self.reached.is_none_or(|reached| frame.dts_us > reached) {
            self.switch_us = Some(frame.dts_us);
        }
        // Audio that is due after the switch may come a little before the key frame.
        let ahead = frame.track == Track::Audio && self.switch_us.is_none();
        if ahead && self.frames.len() >= 32 {
            self.frames.remove(0);
        }
        // Nodes may place an audio frame differently by a rounding, on either side of the switch: which are new shows at the end.
        let due = frame.track == Track::Audio || self.switch_us.is_none_or(|switch| frame.dts_us >= switch);
        if (ahead || self.switch_us.is_some()) && due && self.frames.len() < WAITING {
            self.frames.push((frame, Instant::now(), stamp::now_us()));
        }
    }

    fn text(&mut self, text: &str) {
        self.move_asked |= is_move(text);
    }
}
