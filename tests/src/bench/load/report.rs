//! The report of a load, as text and as JSON.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use super::Options;
use super::tally::Window;
use super::viewer::Outcome;
use crate::bench::histogram::{Histogram, Quantiles};

/// A viewer that got less than this part of its stream's bytes is starved.
const STARVED: f64 = 0.95;
/// Most kinds of errors that are listed.
const ERRORS: usize = 20;

/// How a load went.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// What was watched.
    pub url: String,
    /// Viewers asked for.
    pub viewers: u64,
    /// Of these, viewers that read stamps: delays and missing frames are theirs.
    pub probes: u64,
    /// Viewers that were given media.
    pub served: u64,
    /// Connections that failed before any media.
    pub connect_failures: u64,
    /// Connections that ended while media came.
    pub cut: u64,
    /// Connections made after that.
    pub reconnects: u64,
    /// Served viewers that got under 95 % of their stream's bytes within the window, those never served not counted.
    pub starved: u64,
    /// Length of the window in which bytes are compared, seconds: all viewers have come.
    pub window_seconds: f64,
    /// Requests, where a protocol has more than one for each connection.
    pub requests: u64,
    /// Bytes received, all told.
    pub wire_bytes: u64,
    /// Of these, bytes of audio and video.
    pub media_bytes: u64,
    /// Frames received.
    pub frames: u64,
    /// Bits of audio and video a second.
    pub bit_rate: BitRates,
    /// From opening the connection to the first key frame, milliseconds.
    pub first_key_ms: Quantiles,
    /// From the publisher's send to the arrival of the whole frame, milliseconds; no frame from before the viewer came.
    pub added_delay_ms: Quantiles,
    /// Gaps in timestamps.
    pub gaps: Gaps,
    /// Moves that servers asked for.
    pub moves: MoveCounts,
    /// Errors and how often each came.
    pub errors: BTreeMap<String, u64>,
}

/// Bits of audio and video a second, by viewer.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BitRates {
    /// The viewer that got least.
    pub min: u64,
    /// The viewer in the middle.
    pub median: u64,
    /// The viewer that got most.
    pub max: u64,
    /// What the stream has: mean over the streams watched.
    pub stream: u64,
    /// Where that comes from: `publisher` (its stamps) or `best viewer`.
    pub stream_from: &'static str,
}

/// Gaps in what viewers were given, all viewers added up.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Gaps {
    /// Viewers with a gap or a step back.
    pub viewers: u64,
    /// Steps between decoding times that are longer than usual.
    pub gaps: u64,
    /// Steps back.
    pub backward: u64,
    /// The longest step of any viewer, milliseconds.
    pub largest_ms: f64,
    /// Pictures that probes were not given, by the publisher's numbers.
    pub missing_pictures: u64,
    /// Pictures that probes were given twice.
    pub repeated_pictures: u64,
    /// The longest time without a frame, milliseconds: the longest of any viewer.
    pub longest_silence_ms: f64,
}

/// Moves that servers asked for.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct MoveCounts {
    /// Requests.
    pub asked: u64,
    /// Viewers that went over at a key frame.
    pub done: u64,
    /// Moves that did not come about; the viewer stayed.
    pub failed: u64,
}

impl Report {
    pub(super) fn new(options: &Options, window: Window, outcomes: Vec<Outcome>) -> Self {
        let seconds = window.until.saturating_duration_since(window.from).as_secs_f64();
        let rate = |outcome: &Outcome| {
            if seconds > 0.0 {
                outcome.tally.window_bytes as f64 * 8.0 / seconds
            } else {
                0.0
            }
        };
        let (streams, stream_from) = stream_rates(&outcomes, options.streams.max(1) as usize, rate);
        let mut report = Self {
            url: options.url.clone(),
            viewers: u64::from(options.viewers),
            probes: outcomes.iter().filter(|o| o.probe).count() as u64,
            window_seconds: seconds,
            served: 0,
            connect_failures: 0,
            cut: 0,
            reconnects: 0,
            starved: 0,
            requests: 0,
            wire_bytes: 0,
            media_bytes: 0,
            frames: 0,
            bit_rate: BitRates::default(),
            first_key_ms: Quantiles::default(),
            added_delay_ms: Quantiles::default(),
            gaps: Gaps::default(),
            moves: MoveCounts::default(),
            errors: BTreeMap::new(),
        };
        let (mut first_key, mut delay, mut rates) = (Histogram::default(), Histogram::default(), Vec::new());
        for outcome in &outcomes {
            if outcome.tally.frames > 0 {
                report.served += 1;
                rates.push(rate(outcome));
                report.starved += u64::from(rate(outcome) < STARVED * streams[outcome.stream]);
            }
            if let Some(time) = outcome.tally.first_key {
                first_key.add(time);
            }
            delay.merge(&outcome.tally.delay);
            report.add(outcome);
        }
        rates.sort_by(f64::total_cmp);
        report.bit_rate = BitRates {
            min: rates.first().copied().unwrap_or(0.0) as u64,
            median: rates.get(rates.len() / 2).copied().unwrap_or(0.0) as u64,
            max: rates.last().copied().unwrap_or(0.0) as u64,
            stream: (streams.iter().sum::<f64>() / streams.len().max(1) as f64) as u64,
            stream_from,
        };
        report.first_key_ms = first_key.quantiles();
        report.added_delay_ms = delay.quantiles();
        report
    }

    fn add(&mut self, outcome: &Outcome) {
        let Outcome {
            tally,
            cuts,
            failures,
            reconnects,
            moves,
            requests,
            errors,
            ..
        } = outcome;
        self.requests += requests;
        self.connect_failures += failures;
        self.cut += cuts;
        self.reconnects += reconnects;
        self.wire_bytes += tally.wire_bytes;
        self.media_bytes += tally.media_bytes;
        self.frames += tally.frames;
        let gaps = tally.gaps();
        self.gaps.viewers += u64::from(gaps.gaps + gaps.backward > 0);
        self.gaps.gaps += gaps.gaps;
        self.gaps.backward += gaps.backward;
        self.gaps.largest_ms = self.gaps.largest_ms.max(gaps.largest_us as f64 / 1000.0);
        self.gaps.missing_pictures += tally.stamps.missing;
        self.gaps.repeated_pictures += tally.stamps.repeated;
        self.gaps.longest_silence_ms = self.gaps.longest_silence_ms.max(tally.silence.as_secs_f64() * 1000.0);
        self.moves.asked += moves.asked;
        self.moves.done += moves.done;
        self.moves.failed += moves.failed;
        for error in errors {
            if self.errors.len() < ERRORS || self.errors.contains_key(error) {
                *self.errors.entry(error.clone()).or_default() += 1;
            }
        }
    }

    /// True if every viewer was served, none cut, none starved.
    pub fn clean(&self) -> bool {
        self.served == self.viewers && self.cut == 0 && self.starved == 0 && self.connect_failures == 0
    }
}

/// Bits per second of each stream: by its publisher's stamps where a probe saw them, else the best viewer's.
fn stream_rates(outcomes: &[Outcome], streams: usize, rate: impl Fn(&Outcome) -> f64) -> (Vec<f64>, &'static str) {
    let mut from = "publisher";
    let rates = (0..streams)
        .map(|stream| {
            let here = || outcomes.iter().filter(move |o| o.stream == stream);
            let published = here()
                .filter_map(|o| o.tally.stamps.published_bps())
                .fold(None, |best: Option<f64>, bps| {
                    Some(best.map_or(bps, |best| best.max(bps)))
                });
            published.unwrap_or_else(|| {
                from = "best viewer";
                here().map(&rate).fold(0.0, f64::max)
            })
        })
        .collect();
    (rates, from)
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mega = |bits: u64| bits as f64 / 1e6;
        writeln!(f, "{}", self.url)?;
        writeln!(
            f,
            "  viewers       {} of {} served, {} starved, {} cut, {} failed to connect, {} reconnects",
            self.served, self.viewers, self.starved, self.cut, self.connect_failures, self.reconnects
        )?;
        writeln!(
            f,
            "  bit rate      min {:.3}, median {:.3}, max {:.3} Mbit/s over {:.1} s; the stream has {:.3} ({})",
            mega(self.bit_rate.min),
            mega(self.bit_rate.median),
            mega(self.bit_rate.max),
            self.window_seconds,
            mega(self.bit_rate.stream),
            self.bit_rate.stream_from
        )?;
        writeln!(
            f,
            "  received      {:.1} MB, of which media {:.1} MB, {} frames",
            self.wire_bytes as f64 / 1e6,
            self.media_bytes as f64 / 1e6,
            self.frames
        )?;
        if self.requests > 0 {
            writeln!(f, "  requests      {}", self.requests)?;
        }
        let Quantiles { p50, p99, max, samples } = self.first_key_ms;
        writeln!(
            f,
            "  first key     p50 {p50:.1}, p99 {p99:.1}, max {max:.1} ms of {samples} viewers"
        )?;
        let Quantiles { p50, p99, max, samples } = self.added_delay_ms;
        writeln!(
            f,
            "  added delay   p50 {p50:.2}, p99 {p99:.2}, max {max:.2} ms of {samples} frames at {} probes",
            self.probes
        )?;
        let Gaps {
            viewers,
            gaps,
            backward,
            largest_ms,
            missing_pictures,
            repeated_pictures,
            longest_silence_ms,
        } = self.gaps;
        writeln!(
            f,
            "  timestamps    {gaps} gaps and {backward} steps back at {viewers} viewers, largest step {largest_ms:.1} ms, longest silence \
             {longest_silence_ms:.1} ms; probes miss {missing_pictures} pictures, got {repeated_pictures} twice"
        )?;
        if self.moves.asked > 0 {
            writeln!(
                f,
                "  moves         {} asked, {} done, {} failed",
                self.moves.asked, self.moves.done, self.moves.failed
            )?;
        }
        for (error, count) in &self.errors {
            writeln!(f, "  error         {count} x {error}")?;
        }
        Ok(())
    }
}
