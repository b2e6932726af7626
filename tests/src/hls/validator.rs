//! Holds the history of a live stream's playlists against the rules, whichever servers they came from.
//!
//! ```text
//! see(playlist) ─▶ parse ─▶ answers (what was asked) ─▶ merge ─▶ single ─▶ history (order, identity, pace) ─▶ across (renditions)
//! init, segment ─▶ variants (codecs, bandwidths), at the end
//! ```
//!
//! It keeps each segment that was ever listed (about a kilobyte each) for as long as the test runs.

mod across;
mod answers;
mod history;
mod single;
mod variants;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use anyhow::{Result, bail};

use super::playlist::{Media, Multivariant, Playlist, parse};
use super::rule::{Fault, Finding, Rule};
use history::History;

/// Most faults that are kept: by then it is clear.
const KEPT: usize = 100;
/// Most faults that an error shows.
const SHOWN: usize = 12;

/// How exactly the rules are taken. The default is for one server with a regular source.
#[derive(Clone, Debug)]
pub struct Limits {
    /// What a segment's duration may differ from its parts' sum, for each part.
    pub part_sum: Duration,
    /// What a date may differ from the one before plus the duration.
    pub dates: Duration,
    /// What the dates of two renditions' segments of one number may differ.
    pub renditions_apart: Duration,
    /// How much later than another a server may list the same; zero for one server.
    pub skew: Duration,
    /// One address is several servers: what holds between servers holds for it alone too.
    pub balanced: bool,
    /// How much later than due a part or segment may be seen.
    pub lateness: Duration,
    /// Restarts of the origin that are expected: each may jump ahead in numbers.
    pub restarts: u32,
    /// Measured peak over BANDWIDTH; Apple 1.29 for live streams.
    pub peak: f64,
    /// Measured average over AVERAGE-BANDWIDTH; Apple 1.28 for live streams.
    pub average: f64,
    /// Rules that this test does not hold its stream to; say why where it is set.
    pub waived: Vec<Rule>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            part_sum: Duration::from_millis(1),
            dates: Duration::from_millis(10),
            renditions_apart: Duration::from_millis(100),
            skew: Duration::ZERO,
            balanced: false,
            lateness: Duration::from_secs(1),
            restarts: 0,
            peak: 1.25,
            average: 1.1,
            waived: Vec::new(),
        }
    }
}

impl Limits {
    /// For several servers that may be `skew` apart.
    pub fn servers(skew: Duration) -> Self {
        Self {
            skew,
            ..Self::default()
        }
    }

    /// The same without some rules.
    pub fn without(mut self, rules: &[Rule]) -> Self {
        self.waived.extend(rules);
        self
    }
}

/// A playlist as it came.
#[derive(Clone, Copy, Debug)]
pub struct Observation<'a> {
    /// Who answered: any name.
    pub server: &'a str,
    /// Path and query of the request.
    pub target: &'a str,
    /// When the request was sent, from any beginning.
    pub asked: Duration,
    /// When the answer was there.
    pub at: Duration,
    /// The playlist.
    pub text: &'a str,
}

impl<'a> Observation<'a> {
    /// Path without the query.
    pub fn path(&self) -> &'a str {
        self.target.split('?').next().unwrap_or_default()
    }

    /// A delivery directive.
    fn directive(&self, name: &str) -> Option<&'a str> {
        let (_, query) = self.target.split_once('?')?;
        query.split('&').find_map(|pair| {
            pair.split_once('=')
                .filter(|(key, _)| *key == name)
                .map(|(_, value)| value)
        })
    }
}

/// What an init segment says, for the multivariant playlist to be held against.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Format {
    /// Sample entry, with profile and level where it is H.264: `avc1.64001f`, `mp4a`.
    pub codec: String,
    /// Width and height of a picture.
    pub size: Option<(u64, u64)>,
}

/// The record of one stream.
#[derive(Debug, Default)]
pub struct Validator {
    limits: Limits,
    histories: BTreeMap<String, History>,
    /// Which playlist listed a segment of this path first, and under which number.
    segments: HashMap<String, (String, u64)>,
    variants: Option<Variants>,
    formats: BTreeMap<String, Format>,
    bytes: HashMap<String, u64>,
    reports: Vec<across::Claim>,
    faults: Vec<Fault>,
    told: BTreeSet<(Rule, String, String)>,
}

#[derive(Debug)]
struct Variants {
    path: String,
    server: String,
    text: String,
    playlist: Multivariant,
    seen: usize,
}

/// What a validator has seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Media playlists.
    pub playlists: usize,
    /// Of these, delta updates.
    pub deltas: usize,
    /// Segments that were listed complete, of all playlists.
    pub segments: usize,
    /// Parts.
    pub parts: usize,
    /// Hints that came true.
    pub hints: usize,
    /// Restarts.
    pub restarts: u32,
}

impl Validator {
    /// A record with its limits.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            ..Self::default()
        }
    }

    /// Takes a playlist and returns the whole media playlist, if it is one that a client can use.
    pub fn see(&mut self, seen: Observation<'_>) -> Option<Media> {
        match parse(seen.text) {
            Ok(Playlist::Media(media)) => self.see_media(seen, *media),
            Ok(Playlist::Multivariant(playlist)) => {
                self.see_variants(seen, playlist);
                None
            }
            Err(finding) => {
                self.note(seen, 0, vec![finding]);
                None
            }
        }
    }

    fn see_media(&mut self, seen: Observation<'_>, raw: Media) -> Option<Media> {
        let path = seen.path().to_owned();
        let mut history = self.histories.remove(&path).unwrap_or_default();
        history.seen += 1;
        let mut found = single::version(&raw);
        let before = history.newest.as_ref();
        found.extend(answers::skip(&seen, &raw));
        let whole = match (raw.skipped, before) {
            (None, _) => Ok(raw.clone()),
            (Some(_), Some(before)) => raw.merge(before),
            (Some(_), None) => {
                let why = "a delta update of a playlist that was never seen";
                Err(Finding::new(Rule::SkipArithmetic, why, &[raw.lines.skip]))
            }
        };
        let whole = match whole {
            Ok(whole) => whole,
            Err(finding) => {
                found.push(finding);
                self.note(seen, history.seen, found);
                self.histories.insert(path, history);
                return None;
            }
        };
        history.deltas += usize::from(raw.skipped.is_some());
        let independent = self
            .variants
            .as_ref()
            .is_some_and(|variants| variants.playlist.independent_segments);
        found.extend(single::check(
            &whole,
            &path,
            independent || whole.independent_segments,
            &self.limits,
        ));
        found.extend(answers::blocked(&seen, &whole));
        found.extend(history.see(&seen, &whole, &self.limits));
        found.extend(self.same_segments(&path, &whole));
        let number = history.seen;
        self.histories.insert(path.clone(), history);
        found.extend(self.across(&seen, &whole));
        self.note(seen, number, found);
        Some(whole)
    }

    fn note(&mut self, seen: Observation<'_>, number: usize, found: Vec<Finding>) {
        for finding in found {
            self.add(finding.at(seen.path(), number, seen.server, seen.text));
        }
    }

    /// Adds a fault found elsewhere, such as by [`super::fragments`].
    pub fn add(&mut self, fault: Fault) {
        let key = (fault.rule, fault.playlist.clone(), fault.why.clone());
        let waived = self.limits.waived.contains(&fault.rule);
        if !waived && self.faults.len() < KEPT && self.told.insert(key) {
            self.faults.push(fault);
        }
    }

    /// The limits.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// What was found so far.
    pub fn faults(&self) -> &[Fault] {
        &self.faults
    }

    /// The multivariant playlist that was seen last.
    pub fn multivariant(&self) -> Option<&Multivariant> {
        self.variants.as_ref().map(|variants| &variants.playlist)
    }

    /// What was seen so far.
    pub fn summary(&self) -> Summary {
        let mut summary = Summary::default();
        for history in self.histories.values() {
            summary.playlists += history.seen;
            summary.deltas += history.deltas;
            summary.segments += history.known.values().filter(|segment| !segment.uri.is_empty()).count();
            summary.parts += history.known.values().map(|segment| segment.parts.len()).sum::<usize>();
            summary.hints += history.hints_true;
            summary.restarts = summary.restarts.max(history.restarts);
        }
        summary
    }

    /// Checks what can be known at the end only; fails with what was found.
    pub fn finish(&mut self) -> Result<Summary> {
        self.finish_variants();
        let summary = self.summary();
        if self.faults.is_empty() {
            return Ok(summary);
        }
        let shown: Vec<String> = self.faults.iter().take(SHOWN).map(Fault::to_string).collect();
        bail!("{} faults in {summary:?}:\n{}", self.faults.len(), shown.join("\n"))
    }
}

/// The path that a URI of a playlist stands for.
pub fn resolve(playlist: &str, uri: &str) -> String {
    if let Some((_, rest)) = uri.split_once("://") {
        return rest
            .find('/')
            .map_or_else(|| "/".to_owned(), |at| rest[at..].to_owned());
    }
    if uri.starts_with('/') {
        return uri.to_owned();
    }
    let mut parts: Vec<&str> = playlist.split('/').collect();
    parts.pop();
    for part in uri.split('/') {
        match part {
            "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.join("/")
}

#[cfg(test)]
mod tests;
