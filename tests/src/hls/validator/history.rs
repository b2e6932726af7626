//! One playlist's history: its order, what stays the same in it, and its pace.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{Limits, Observation};
use crate::hls::playlist::{Edge, Media, Segment};
use crate::hls::rule::{Finding, Rule};

/// Least time for which an answer counts as held back: then what it brings came with it.
const HELD: Duration = Duration::from_millis(50);
/// How many states are kept with their times.
const STATES: usize = 256;

/// All that is known of one address.
#[derive(Debug, Default)]
pub(super) struct History {
    pub(super) seen: usize,
    pub(super) deltas: usize,
    pub(super) hints_true: usize,
    pub(super) restarts: u32,
    /// The newest state, whole.
    pub(super) newest: Option<Media>,
    /// All segments ever listed, the one in progress among them, with all parts ever listed.
    pub(super) known: BTreeMap<u64, Segment>,
    /// When a state was first seen, newest last.
    pub(super) states: Vec<(Edge, Duration)>,
    /// Each server's newest state, and when it was there.
    servers: BTreeMap<String, (Edge, Duration)>,
    /// What was hinted at in which state.
    hints: BTreeMap<Edge, String>,
    ended_at: Option<Duration>,
    segment_at: Option<Duration>,
}

impl History {
    pub(super) fn see(&mut self, seen: &Observation<'_>, whole: &Media, limits: &Limits) -> Vec<Finding> {
        let mut found = Vec::new();
        let edge = whole.edge();
        let newer = self
            .newest
            .as_ref()
            .is_none_or(|newest| edge >= newest.edge() || jumps(newest, whole));
        if let Some(newest) = self.newest.take() {
            found.extend(constant(&newest, whole));
            let restart = jumps(&newest, whole);
            if restart && newer {
                found.extend(self.restart(&newest, whole, limits));
            } else {
                let (older, later) = if newer { (&newest, whole) } else { (whole, &newest) };
                found.extend(sequence(older, later, whole));
            }
            found.extend(self.progress(seen, whole, &newest, limits));
            found.extend(self.pace(seen, &newest, whole, limits));
            self.newest = Some(newest);
        }
        for (index, segment) in whole.all().enumerate() {
            found.extend(self.identity(segment, index == 0));
        }
        found.extend(self.hints(whole));
        if newer {
            self.reach(seen, whole);
        }
        found
    }

    /// Remembers a state that is the newest.
    fn reach(&mut self, seen: &Observation<'_>, whole: &Media) {
        let edge = whole.edge();
        if self.states.last().is_none_or(|(last, _)| *last < edge) {
            self.states.push((edge, seen.at));
            if self.states.len() > STATES {
                self.states.remove(0);
            }
        }
        if self.newest.as_ref().is_none_or(|newest| newest.edge().msn < edge.msn) {
            self.segment_at = Some(seen.at);
        }
        if whole.ended {
            self.ended_at.get_or_insert(seen.at);
        }
        if let Some(hint) = whole.hints.iter().find(|hint| hint.kind == "PART") {
            self.hints.entry(edge).or_insert_with(|| hint.uri.clone());
        }
        self.newest = Some(whole.clone());
    }

    /// Numbers jump ahead: only a restarted origin may do that, and only into another timeline.
    fn restart(&mut self, newest: &Media, whole: &Media, limits: &Limits) -> Option<Finding> {
        self.restarts += 1;
        self.hints.clear();
        let lines = [whole.lines.media_sequence];
        let first = whole.all().next();
        if self.restarts > limits.restarts {
            let why = format!("it jumps from {} to {}", newest.edge().msn, whole.media_sequence);
            return Some(Finding::new(Rule::MediaSequence, why, &lines));
        }
        let before = newest.tail.discontinuities;
        first.filter(|first| first.discontinuities <= before).map(|first| {
            let why = format!("a restart has {} where {before} was", first.discontinuities);
            Finding::new(Rule::DiscontinuitySequence, why, &lines)
        })
    }

    /// No server goes back, and none is farther behind the others than it may be.
    fn progress(&mut self, seen: &Observation<'_>, whole: &Media, newest: &Media, limits: &Limits) -> Vec<Finding> {
        let mut found = Vec::new();
        let edge = whole.edge();
        let line = [whole
            .tail
            .lines
            .1
            .max(whole.segments.last().map_or(1, |segment| segment.lines.1))];
        let server = self.servers.get(seen.server).copied();
        if let Some((last, at)) = server
            && !limits.balanced
            && seen.asked >= at
            && edge < last
        {
            let why = format!("the next part was {last}, and is {edge}");
            found.push(Finding::new(Rule::Progress, why, &line));
        } else if let Some((state, at)) = self.states.iter().find(|(state, _)| *state > edge) {
            let behind = seen.asked.saturating_sub(*at);
            if edge < newest.edge() && behind > limits.skew {
                let why = format!("{} still has {edge} {behind:?} after {state} was seen", seen.server);
                found.push(Finding::new(Rule::Progress, why, &line));
            }
        }
        if server.is_none_or(|(last, _)| last < edge) {
            self.servers.insert(seen.server.to_owned(), (edge, seen.at));
        }
        if let Some(ended) = self.ended_at
            && seen.asked.saturating_sub(ended) > limits.skew
            && (!whole.ended || edge != newest.edge() || whole.media_sequence != newest.media_sequence)
        {
            let why = format!("ended {:?} ago, and changed", seen.asked.saturating_sub(ended));
            found.push(Finding::new(Rule::EndlistFinal, why, &line));
        }
        found
    }

    /// A new part within a part target, a new segment within 1.5 target durations, as far as it can be known.
    fn pace(&self, seen: &Observation<'_>, newest: &Media, whole: &Media, limits: &Limits) -> Vec<Finding> {
        let mut found = Vec::new();
        if newest.ended || whole.ended {
            return found;
        }
        let (was, is) = (newest.edge(), whole.edge());
        let held = seen.directive("_HLS_msn").is_some() && seen.at.saturating_sub(seen.asked) >= HELD;
        // Until when it is known not to have been there.
        let missing = |grew: bool| {
            if grew && held {
                seen.at
            } else if grew {
                Duration::ZERO
            } else {
                seen.asked
            }
        };
        let mut late = |rule, what: &str, since: Option<Duration>, missing: Duration, due: Duration| {
            let waited = missing.saturating_sub(since.unwrap_or(missing));
            if waited > due + limits.lateness {
                let why = format!("no new {what} for {waited:?} behind {was}");
                found.push(Finding::new(rule, why, &[whole.lines.last]));
            }
        };
        let due = Duration::from_secs(whole.target).mul_f64(1.5);
        late(
            Rule::SegmentCadence,
            "segment",
            self.segment_at,
            missing(is.msn > was.msn),
            due,
        );
        if let Some(part_target) = whole.part_target {
            let since = self.states.last().map(|(_, at)| *at);
            late(Rule::PartCadence, "part", since, missing(is > was), part_target);
        }
        found
    }

    /// Holds a listed segment against all that was ever said of it, and remembers more.
    fn identity(&mut self, segment: &Segment, first: bool) -> Vec<Finding> {
        let number = segment.number;
        let Some(known) = self.known.get_mut(&number) else {
            self.known.insert(number, segment.clone());
            return Vec::new();
        };
        let mut found = Vec::new();
        let mut differ = |rule, what: &str, was: String, is: String| {
            if was != is {
                let why = format!("segment {number}: its {what} was {was}, and is {is}");
                found.push(Finding::new(rule, why, &segment.span()));
            }
        };
        let complete = !known.uri.is_empty() && !segment.uri.is_empty();
        if complete {
            differ(Rule::SegmentIdentity, "URI", known.uri.clone(), segment.uri.clone());
            let text = |duration: Duration| format!("{duration:?}");
            differ(
                Rule::SegmentIdentity,
                "duration",
                text(known.duration),
                text(segment.duration),
            );
        }
        let text = |value: Option<String>| value.unwrap_or_else(|| "none".to_owned());
        let date = |segment: &Segment| text(segment.date.map(|date| date.to_string()));
        differ(Rule::SegmentIdentity, "date", date(known), date(segment));
        differ(
            Rule::SegmentIdentity,
            "EXT-X-MAP",
            text(known.map.clone()),
            text(segment.map.clone()),
        );
        differ(
            Rule::SegmentIdentity,
            "gap",
            known.gap.to_string(),
            segment.gap.to_string(),
        );
        let sequence = |segment: &Segment| segment.discontinuities.to_string();
        differ(
            Rule::DiscontinuitySequence,
            "discontinuity sequence",
            sequence(known),
            sequence(segment),
        );
        if !first {
            let flag = |segment: &Segment| segment.discontinuity.to_string();
            differ(Rule::SegmentIdentity, "discontinuity", flag(known), flag(segment));
        }
        found.extend(parts(known, segment));
        if known.uri.is_empty() {
            let all = std::mem::take(&mut known.parts);
            let more = if segment.parts.len() >= all.len() {
                segment.parts.clone()
            } else {
                all
            };
            *known = Segment {
                parts: more,
                ..segment.clone()
            };
            if segment.uri.is_empty() {
                known.uri.clear();
            }
        } else if known.parts.is_empty() {
            known.parts.clone_from(&segment.parts);
        }
        found
    }

    /// The part at which a hint pointed has come: is it that one?
    fn hints(&mut self, whole: &Media) -> Vec<Finding> {
        let (mut found, edge) = (Vec::new(), whole.edge());
        let known = &self.known;
        let came = |at: Edge| {
            let segment = known.get(&at.msn);
            let here = segment.and_then(|segment| segment.parts.get(at.part as usize));
            let next = || known.get(&(at.msn + 1)).and_then(|segment| segment.parts.first());
            here.or_else(|| segment.filter(|segment| !segment.uri.is_empty()).and_then(|_| next()))
        };
        let mut right = 0;
        self.hints.retain(|at, hint| {
            if *at >= edge {
                return true;
            }
            let Some(part) = came(*at) else {
                return at.msn + 2 > edge.msn;
            };
            if part.uri == *hint {
                right += 1;
            } else {
                let why = format!("{hint} was hinted at behind {at}, {} came", part.uri);
                found.push(Finding::new(Rule::HintComesTrue, why, &[part.line]));
            }
            false
        });
        self.hints_true += right;
        found
    }

    /// How many parts lie between two states.
    pub(super) fn between(&self, from: Edge, to: Edge) -> u64 {
        if from >= to {
            return 0;
        }
        let parts = self.known.range(from.msn..=to.msn).map(|(number, segment)| {
            let all = segment.parts.len() as u64;
            let first = if *number == from.msn { from.part } else { 0 };
            let last = if *number == to.msn { to.part } else { all };
            last.min(all).saturating_sub(first)
        });
        parts.sum()
    }
}

/// True if nothing of the one is in the other, and there is a hole between.
fn jumps(newest: &Media, whole: &Media) -> bool {
    whole.media_sequence > newest.edge().msn.saturating_add(1)
}

fn constant(newest: &Media, whole: &Media) -> Option<Finding> {
    let lines = [whole.lines.target, whole.lines.control, whole.lines.part_target];
    let what = match () {
        () if newest.target != whole.target => "target duration",
        () if newest.part_target != whole.part_target => "part target",
        () if newest.control != whole.control => "server control",
        () if newest.independent_segments != whole.independent_segments => "EXT-X-INDEPENDENT-SEGMENTS",
        () => return None,
    };
    Some(Finding::new(
        Rule::ConstantHeader,
        format!("another {what} than before"),
        &lines,
    ))
}

/// The beginning of the window, of an older and a later state, one of which is `whole`.
fn sequence(older: &Media, later: &Media, whole: &Media) -> Vec<Finding> {
    let mut found = Vec::new();
    let lines = [whole.lines.media_sequence];
    let (was, is) = (older.media_sequence, later.media_sequence);
    if is < was || (older.edge() == later.edge() && is != was && !later.ended) {
        let why = format!("it was {was} at {}, and is {is} at {}", older.edge(), later.edge());
        found.push(Finding::new(Rule::MediaSequence, why, &lines));
    }
    let left = later.duration();
    if is > was && !later.ended && (left < Duration::from_secs(later.target * 3) || later.segments.len() < 6) {
        let why = format!("{} segments and {left:?} are left", later.segments.len());
        found.push(Finding::new(Rule::WindowMinimum, why, &lines));
    }
    found
}

/// Parts of one segment as they were known and as they are listed: the same, and gone from the front only.
fn parts(known: &Segment, segment: &Segment) -> Option<Finding> {
    let (Some(first), false) = (segment.parts.first(), known.parts.is_empty()) else {
        return None;
    };
    let number = segment.number;
    let skip = known.parts.iter().position(|part| part.uri == first.uri).unwrap_or(0);
    let known_parts = &known.parts[skip..];
    for (index, (was, is)) in known_parts.iter().zip(&segment.parts).enumerate() {
        let same = (&was.uri, was.duration, was.independent, was.gap) == (&is.uri, is.duration, is.independent, is.gap);
        if !same {
            let index = index + skip;
            let why = format!("part {number}.{index} was {was:?}, and is {is:?}");
            return Some(Finding::new(Rule::PartIdentity, why, &[is.line]));
        }
    }
    let (was, is) = (known_parts.len(), segment.parts.len());
    let lost = is < was && !segment.uri.is_empty();
    let grown = is > was && !known.uri.is_empty();
    (lost || grown).then(|| {
        let why = format!("segment {number} had {was} parts, and has {is}");
        Finding::new(Rule::PartIdentity, why, &segment.span())
    })
}
