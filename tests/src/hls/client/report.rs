//! What a client has recorded.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use anyhow::{Result, ensure};

use super::Ledger;
use super::buffer::{Buffer, Stall};
use crate::bench::histogram::{Histogram, Quantiles};
use crate::hls::rule::Fault;
use crate::hls::validator::{Summary, Validator};

/// Most failures, stalls and differences that are kept, each.
const KEPT: usize = 200;
/// Most of each that are shown.
const SHOWN: usize = 10;

/// A request that was not answered with 200.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// When, from the client's start.
    pub at: Duration,
    /// What was asked for.
    pub url: String,
    /// The status; none where there was no answer.
    pub status: Option<u16>,
    /// Body or error.
    pub why: String,
}

/// The record while it is made.
#[derive(Debug)]
pub(super) struct Record {
    pub(super) validator: Validator,
    pub(super) ledger: Ledger,
    pub(super) buffers: BTreeMap<String, Buffer>,
    pub(super) finished: BTreeMap<String, bool>,
    pub(super) latency: Histogram,
    pub(super) delivery: Histogram,
    pub(super) compressed: u64,
    pub(super) audited: u64,
    pub(super) parts: u64,
    pub(super) segments: u64,
    pub(super) resyncs: u64,
    pub(super) gaps: u64,
    pub(super) begun: Option<Duration>,
    stalls: Vec<Stall>,
    failures: Vec<Failure>,
    statuses: BTreeMap<u16, u64>,
    errors: u64,
    servers: BTreeMap<String, u64>,
    bytes: u64,
    differences: Vec<String>,
}

impl Record {
    pub(super) fn new(validator: Validator, ledger: Ledger) -> Self {
        Self {
            validator,
            ledger,
            buffers: BTreeMap::new(),
            finished: BTreeMap::new(),
            latency: Histogram::default(),
            delivery: Histogram::default(),
            compressed: 0,
            audited: 0,
            parts: 0,
            segments: 0,
            resyncs: 0,
            gaps: 0,
            begun: None,
            stalls: Vec::new(),
            failures: Vec::new(),
            statuses: BTreeMap::new(),
            errors: 0,
            servers: BTreeMap::new(),
            bytes: 0,
            differences: Vec::new(),
        }
    }

    pub(super) fn begin(&mut self, rendition: &str) {
        self.buffers.insert(rendition.to_owned(), Buffer::default());
        self.finished.insert(rendition.to_owned(), false);
    }

    pub(super) fn playing(&self) -> bool {
        !self.buffers.is_empty() && self.buffers.values().all(Buffer::playing)
    }

    pub(super) fn ended(&self) -> bool {
        !self.finished.is_empty() && self.finished.values().all(|finished| *finished)
    }

    pub(super) fn requested(&mut self, base: &str, bytes: u64, failure: Option<Failure>) {
        *self.servers.entry(base.to_owned()).or_default() += 1;
        self.bytes += bytes;
        let Some(failure) = failure else { return };
        match failure.status {
            Some(status) => *self.statuses.entry(status).or_default() += 1,
            None => self.errors += 1,
        }
        if self.failures.len() < KEPT {
            self.failures.push(failure);
        }
    }

    pub(super) fn stalled(&mut self, rendition: &str, (at, length): (Duration, Duration)) {
        if self.stalls.len() < KEPT {
            let rendition = rendition.to_owned();
            self.stalls.push(Stall { rendition, at, length });
        }
    }

    pub(super) fn difference(&mut self, difference: String) {
        if self.differences.len() < KEPT {
            self.differences.push(difference);
        }
    }

    /// Checks what can be known at the end only.
    pub(super) fn finish(&mut self) {
        // What was found stands among the faults.
        drop(self.validator.finish());
    }

    pub(super) fn report(&self, now: Duration) -> Report {
        let mut stalls = self.stalls.clone();
        for (rendition, buffer) in self
            .buffers
            .iter()
            .filter(|(path, _)| !self.finished.get(*path).unwrap_or(&false))
        {
            let open = buffer.empty(now).map(|(at, length)| Stall {
                rendition: rendition.clone(),
                at,
                length,
            });
            stalls.extend(open);
        }
        let mut differences = self.differences.clone();
        differences.extend(self.ledger.differences());
        Report {
            seconds: now,
            requests: self.servers.values().sum(),
            servers: self.servers.clone(),
            bytes: self.bytes,
            compressed: self.compressed,
            parts: self.parts,
            segments: self.segments,
            statuses: self.statuses.clone(),
            errors: self.errors,
            failures: self.failures.clone(),
            stalls,
            resyncs: self.resyncs,
            gaps: self.gaps,
            begun: self.begun,
            latency: self.latency.quantiles(),
            delivery: self.delivery.quantiles(),
            faults: self.validator.faults().to_vec(),
            rules: self.validator.summary(),
            differences,
            compared: self.ledger.compared(),
            audited: self.audited,
            ended: self.ended(),
        }
    }
}

/// How a client fared.
#[derive(Clone, Debug)]
pub struct Report {
    /// How long it has run.
    pub seconds: Duration,
    /// Requests sent.
    pub requests: u64,
    /// Requests by server.
    pub servers: BTreeMap<String, u64>,
    /// Bytes of bodies, after decompression.
    pub bytes: u64,
    /// Playlists that came compressed.
    pub compressed: u64,
    /// Parts received.
    pub parts: u64,
    /// Whole segments received instead of parts.
    pub segments: u64,
    /// Answers other than 200.
    pub statuses: BTreeMap<u16, u64>,
    /// Requests without an answer.
    pub errors: u64,
    /// Each of both, the first 200.
    pub failures: Vec<Failure>,
    /// Times without media to play, one that lasts among them.
    pub stalls: Vec<Stall>,
    /// Times that it began anew, since what came next was no longer listed.
    pub resyncs: u64,
    /// Segments that were listed as EXT-X-GAP, and played as nothing.
    pub gaps: u64,
    /// From its start until the first rendition played.
    pub begun: Option<Duration>,
    /// Age of what is played, at each arrival, milliseconds.
    pub latency: Quantiles,
    /// Age of a part's end (a segment's, in plain playlists) when it has arrived, milliseconds.
    pub delivery: Quantiles,
    /// Rules that were broken.
    pub faults: Vec<Fault>,
    /// What the validator has seen.
    pub rules: Summary,
    /// URLs whose bytes differed, segments that are not their parts.
    pub differences: Vec<String>,
    /// How often the bytes of a URL were compared, by all that share the ledger.
    pub compared: u64,
    /// Segments fetched from a server to compare them.
    pub audited: u64,
    /// The stream has ended and all of it was received.
    pub ended: bool,
}

impl Report {
    /// Fails unless every request was answered with 200, nothing stalled or was missing, no rule was broken and no bytes differed.
    pub fn clean(&self) -> Result<()> {
        let failed = self.errors + self.statuses.values().sum::<u64>();
        let faults =
            failed + self.resyncs + self.gaps + (self.stalls.len() + self.faults.len() + self.differences.len()) as u64;
        ensure!(faults == 0, "{self}");
        ensure!(self.parts + self.segments > 0, "nothing was played: {self}");
        Ok(())
    }

    /// The longest stall.
    pub fn longest_stall(&self) -> Duration {
        self.stalls.iter().map(|stall| stall.length).max().unwrap_or_default()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Quantiles { p50, p99, max, .. } = self.latency;
        writeln!(
            f,
            "{:.1} s: {} requests {:?}, {} bytes, {} parts, {} segments, {} playlists compressed",
            self.seconds.as_secs_f64(),
            self.requests,
            self.servers,
            self.bytes,
            self.parts,
            self.segments,
            self.compressed
        )?;
        writeln!(
            f,
            "  begun after {:?}; latency p50 {p50:.0}, p99 {p99:.0}, max {max:.0} ms",
            self.begun
        )?;
        let Quantiles { p50, p99, max, .. } = self.delivery;
        writeln!(
            f,
            "  parts are there p50 {p50:.0}, p99 {p99:.0}, max {max:.0} ms after their end"
        )?;
        writeln!(
            f,
            "  {:?}; {} URLs compared, {} segments audited",
            self.rules, self.compared, self.audited
        )?;
        writeln!(
            f,
            "  statuses {:?}, {} errors, {} resyncs, {} gaps, ended: {}",
            self.statuses, self.errors, self.resyncs, self.gaps, self.ended
        )?;
        for Failure { at, url, status, why } in self.failures.iter().take(SHOWN) {
            writeln!(f, "  failure at {:.3} s: {url}: {status:?} {why}", at.as_secs_f64())?;
        }
        for Stall { rendition, at, length } in self.stalls.iter().take(SHOWN) {
            writeln!(f, "  stall at {:.3} s: {rendition} for {length:?}", at.as_secs_f64())?;
        }
        self.differences
            .iter()
            .take(SHOWN)
            .try_for_each(|difference| writeln!(f, "  bytes: {difference}"))?;
        self.faults
            .iter()
            .take(SHOWN)
            .try_for_each(|fault| writeln!(f, "  rule: {fault}"))
    }
}
