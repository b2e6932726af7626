//! Renditions against one another: reports, targets, dates; and plain playlists against those with parts.

use std::time::Duration;

use super::{Observation, Validator, resolve};
use crate::hls::playlist::{Edge, Media, Report, Segment};
use crate::hls::rule::{Finding, Rule};

/// Most claims that wait; a rendition that is never asked for again leaves its claims unheard.
const WAITING: usize = 256;

/// What one rendition said of another, to be held against what that one shows next.
#[derive(Clone, Debug)]
pub(super) struct Claim {
    by: String,
    of: String,
    edge: Edge,
    at: Duration,
}

impl Validator {
    pub(super) fn across(&mut self, seen: &Observation<'_>, whole: &Media) -> Vec<Finding> {
        let path = seen.path();
        let mut found = self.claims(seen, whole);
        let others = self.others(path);
        for other in &others {
            found.extend(self.same(other, whole));
        }
        let reported: Vec<String> = whole.reports.iter().map(|report| resolve(path, &report.uri)).collect();
        if whole.part_target.is_some() && !whole.ended {
            for other in others.iter().filter(|other| !reported.contains(other)) {
                found.push(Finding::new(
                    Rule::Report,
                    format!("none on {other}"),
                    &[whole.lines.last],
                ));
            }
        }
        for (report, other) in whole.reports.iter().zip(reported) {
            found.extend(self.report(seen, whole, report, other));
        }
        found
    }

    /// The other media playlists of the same multivariant playlist.
    fn others(&self, path: &str) -> Vec<String> {
        let Some(variants) = &self.variants else {
            return Vec::new();
        };
        let uris = variants.playlist.uris().map(|uri| resolve(&variants.path, uri));
        let mut all: Vec<String> = uris.collect();
        all.sort();
        all.dedup();
        if all.iter().any(|uri| uri == path) {
            all.retain(|uri| uri != path);
            all
        } else {
            Vec::new()
        }
    }

    fn same(&self, other: &str, whole: &Media) -> Vec<Finding> {
        let Some(newest) = self.histories.get(other).and_then(|history| history.newest.as_ref()) else {
            return Vec::new();
        };
        let mut found = Vec::new();
        if (whole.target, &whole.control) != (newest.target, &newest.control) {
            let why = format!("{other} has another target duration or server control");
            found.push(Finding::new(
                Rule::SameTarget,
                why,
                &[whole.lines.target, whole.lines.control],
            ));
        }
        for segment in whole.all() {
            let Some(twin) = self
                .histories
                .get(other)
                .and_then(|history| history.known.get(&segment.number))
            else {
                continue;
            };
            let apart = match (segment.date, twin.date) {
                (Some(a), Some(b)) => a.as_nanosecond().abs_diff(b.as_nanosecond()),
                _ => 0,
            };
            if segment.discontinuities != twin.discontinuities || apart > self.limits.renditions_apart.as_nanos() {
                let why = format!(
                    "segment {}: discontinuity sequence {} and date {:?}, in {other} {} and {:?}",
                    segment.number, segment.discontinuities, segment.date, twin.discontinuities, twin.date
                );
                found.push(Finding::new(Rule::SameDates, why, &segment.span()));
            }
        }
        found
    }

    /// What this rendition said of itself elsewhere is so, if it was asked after that.
    fn claims(&mut self, seen: &Observation<'_>, whole: &Media) -> Vec<Finding> {
        let slack = self.slack(whole);
        let mut found = Vec::new();
        let edge = whole.edge();
        self.reports.retain(|claim| {
            let Claim { by, of, .. } = claim;
            if of != seen.path() || seen.asked < claim.at {
                return true;
            }
            let ahead = match claim.edge.msn.saturating_sub(edge.msn) {
                0 => claim.edge.part.saturating_sub(edge.part),
                1 => claim.edge.part,
                _ => u64::MAX,
            };
            if claim.edge > edge && ahead > slack && !whole.ended {
                let why = format!("{by} had {} as the next part of {of}, which is {edge}", claim.edge);
                found.push(Finding::new(Rule::Report, why, &[whole.lines.last]));
            }
            false
        });
        found
    }

    /// How many parts a report may be off.
    fn slack(&self, whole: &Media) -> u64 {
        let part = whole.part_target.filter(|target| !target.is_zero());
        1 + part.map_or(0, |target| {
            (self.limits.skew.as_secs_f64() / target.as_secs_f64()).ceil() as u64
        })
    }

    fn report(&mut self, seen: &Observation<'_>, whole: &Media, report: &Report, other: String) -> Option<Finding> {
        let bad = |why: String| Some(Finding::new(Rule::Report, why, &[report.line]));
        if report.uri.contains("://") || report.uri.starts_with('/') {
            return bad(format!("{} is not relative", report.uri));
        }
        let Some(part) = report.part else {
            return whole.part_target.and_then(|_| bad(format!("no LAST-PART on {other}")));
        };
        let edge = Edge {
            msn: report.msn,
            part: part.saturating_add(1),
        };
        let by = seen.path().to_owned();
        if self.reports.len() < WAITING {
            let of = other.clone();
            self.reports.push(Claim {
                by,
                of,
                edge,
                at: seen.at,
            })
        }
        let slack = self.slack(whole);
        let history = self.histories.get(&other)?;
        // What that rendition was known to have when this one was asked for.
        let (least, _) = history.states.iter().rev().find(|(_, at)| *at <= seen.asked)?;
        let behind = history.between(edge, *least);
        if edge < *least && behind > slack {
            return bad(format!(
                "{other} had {least} as the next part before, {behind} parts more"
            ));
        }
        None
    }

    /// The same segment in two playlists: its number, duration, date, init segment and timeline.
    pub(super) fn same_segments(&mut self, path: &str, whole: &Media) -> Vec<Finding> {
        let mut found = Vec::new();
        for segment in &whole.segments {
            let uri = resolve(path, &segment.uri);
            let (first, number) = self
                .segments
                .entry(uri)
                .or_insert_with(|| (path.to_owned(), segment.number));
            let known = self
                .histories
                .get(first.as_str())
                .and_then(|history| history.known.get(number));
            let Some(known) = known.filter(|_| first != path) else {
                continue;
            };
            let facts = |s: &Segment| (s.number, s.duration, s.date, s.discontinuities, s.gap);
            if facts(known) != facts(segment) || known.map != segment.map {
                let why = format!(
                    "{} is {:?} here and {:?} in {first}",
                    segment.uri,
                    facts(segment),
                    facts(known)
                );
                found.push(Finding::new(Rule::SegmentIdentity, why, &segment.span()));
            }
        }
        found
    }
}
