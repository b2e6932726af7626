//! What one playlist must be, whatever came before it.

use std::time::Duration;

use super::Limits;
use crate::hls::playlist::{Control, Media, Segment};
use crate::hls::rule::{Finding, Rule};

/// Part of the part target that a part must have, §4.4.4.9.
const LEAST: f64 = 0.85;

/// EXT-X-VERSION, §8: of the playlist as it came.
pub(super) fn version(raw: &Media) -> Vec<Finding> {
    let map = raw.all().any(|segment| segment.map.is_some());
    let needed = match () {
        () if raw.skipped.is_some() => 9,
        () if map => 6,
        () => 3,
    };
    let lines = [raw.lines.version, raw.lines.skip];
    // A playlist that offers delta updates may have the version of these.
    let offers = raw.control.as_ref().is_some_and(|control| control.skip_until.is_some());
    // EXT-X-GAP came with version 8.
    let gap = raw.all().any(|segment| segment.gap);
    let most = needed.max(match () {
        () if offers => 9,
        () if gap => 8,
        () => 6,
    });
    let why = |text: &str, limit: u64| format!("version {} where {text} {limit} is needed", raw.version);
    if raw.version < needed {
        vec![Finding::new(Rule::VersionEnough, why("at least", needed), &lines)]
    } else if raw.version > most {
        vec![Finding::new(Rule::VersionNotHigher, why("no more than", most), &lines)]
    } else {
        Vec::new()
    }
}

/// All that is true of a whole playlist by itself.
pub(super) fn check(whole: &Media, path: &str, independent: bool, limits: &Limits) -> Vec<Finding> {
    let mut found = header(whole);
    for segment in whole.all() {
        found.extend(duration(whole, segment));
        found.extend(parts(whole, segment, limits));
        if let Some(first) = segment.parts.first().filter(|first| independent && !first.independent) {
            let why = format!("part {}.0 is not INDEPENDENT", segment.number);
            found.push(Finding::new(Rule::PartIndependent, why, &[first.line]));
        }
    }
    found.extend(dates(whole, limits));
    found.extend(hint(whole));
    if path.rsplit('/').next().is_some_and(|name| name.starts_with("plain")) {
        found.extend(plain(whole));
    } else if whole.part_target.is_some() {
        found.extend(parts_kept(whole));
    }
    found
}

fn header(whole: &Media) -> Vec<Finding> {
    let lines = &whole.lines;
    let mut found = Vec::new();
    let mut least = |rule, name: &str, value: Option<Duration>, least: Duration| {
        if let Some(value) = value.filter(|value| *value < least) {
            let why = format!("{name} is {value:?} where {least:?} is the least");
            found.push(Finding::new(
                rule,
                why,
                &[lines.control, lines.target, lines.part_target],
            ));
        }
    };
    let target = Duration::from_secs(whole.target);
    least(
        Rule::TargetDuration,
        "EXT-X-TARGETDURATION",
        Some(target),
        Duration::from_secs(1),
    );
    let none = Control::default();
    let control = whole.control.as_ref().unwrap_or(&none);
    least(Rule::HoldBack, "HOLD-BACK", control.hold_back, target * 3);
    least(Rule::SkipBoundary, "CAN-SKIP-UNTIL", control.skip_until, target * 6);
    if let Some(part_target) = whole.part_target {
        least(
            Rule::PartHoldBack,
            "PART-HOLD-BACK",
            control.part_hold_back,
            part_target * 3,
        );
        if control.part_hold_back.is_none() {
            found.push(Finding::new(Rule::RequiredTag, "no PART-HOLD-BACK", &[lines.control]));
        }
        if !control.block_reload {
            found.push(Finding::new(
                Rule::BlockReload,
                "no CAN-BLOCK-RELOAD=YES",
                &[lines.control],
            ));
        }
    } else if let Some(part) = whole.all().find_map(|segment| segment.parts.first()) {
        found.push(Finding::new(
            Rule::RequiredTag,
            "parts without EXT-X-PART-INF",
            &[part.line],
        ));
    }
    if lines.media_sequence == 0 {
        found.push(Finding::new(Rule::RequiredTag, "no EXT-X-MEDIA-SEQUENCE", &[1]));
    }
    if whole.discontinuity_sequence.is_none() {
        found.push(Finding::new(Rule::RequiredTag, "no EXT-X-DISCONTINUITY-SEQUENCE", &[1]));
    }
    found
}

fn duration(whole: &Media, segment: &Segment) -> Option<Finding> {
    if segment.map.is_none() {
        let why = format!("segment {} has no EXT-X-MAP", segment.number);
        return Some(Finding::new(Rule::RequiredTag, why, &segment.span()));
    }
    let rounded = segment.duration.as_secs() + u64::from(segment.duration.subsec_nanos() >= 500_000_000);
    (rounded > whole.target).then(|| {
        let why = format!(
            "segment {} lasts {:?}, the target is {} s",
            segment.number, segment.duration, whole.target
        );
        Finding::new(Rule::TargetDuration, why, &[whole.lines.target, segment.lines.1])
    })
}

fn parts(whole: &Media, segment: &Segment, limits: &Limits) -> Vec<Finding> {
    let Some(target) = whole.part_target else {
        return Vec::new();
    };
    let (mut found, number) = (Vec::new(), segment.number);
    let complete = !segment.uri.is_empty();
    for (index, part) in segment.parts.iter().enumerate() {
        let name = format!(
            "part {number}.{index} lasts {:?}, the part target is {target:?}",
            part.duration
        );
        let next = segment.parts.get(index + 1);
        // The last of a segment in progress may become the last of the segment.
        let exempt = part.independent || part.gap || next.is_none_or(|next| next.gap);
        if part.duration > target {
            found.push(Finding::new(
                Rule::PartMaximum,
                name,
                &[whole.lines.part_target, part.line],
            ));
        } else if !exempt && part.duration < target.mul_f64(LEAST) {
            found.push(Finding::new(
                Rule::PartMinimum,
                name,
                &[whole.lines.part_target, part.line],
            ));
        }
    }
    let (Some(first), Some(last)) = (segment.parts.first(), segment.parts.last()) else {
        return found;
    };
    let sum: Duration = segment.parts.iter().map(|part| part.duration).sum();
    let tolerance = limits.part_sum * segment.parts.len() as u32;
    if complete && sum.abs_diff(segment.duration) > tolerance {
        let why = format!(
            "segment {number}: {} parts last {sum:?}, EXTINF says {:?}",
            segment.parts.len(),
            segment.duration
        );
        found.push(Finding::new(
            Rule::PartSum,
            why,
            &[first.line, last.line, segment.lines.1],
        ));
    }
    found
}

/// Dates follow from durations; another init segment comes with a discontinuity.
fn dates(whole: &Media, limits: &Limits) -> Vec<Finding> {
    let mut found = Vec::new();
    let mut before: Option<&Segment> = None;
    for segment in whole.all() {
        let number = segment.number;
        let Some(date) = segment.date else {
            let why = format!("segment {number} has no EXT-X-PROGRAM-DATE-TIME");
            found.push(Finding::new(Rule::DateTime, why, &segment.span()));
            continue;
        };
        if let Some(before) = before.replace(segment) {
            let lines = [before.lines.0, segment.lines.0];
            let due = before
                .date
                .map(|date| date.as_nanosecond() + before.duration.as_nanos() as i128);
            let off = due.map_or(0, |due| date.as_nanosecond() - due);
            let (off_ms, limit) = (off as f64 / 1e6, limits.dates.as_nanos() as i128);
            // Across a discontinuity time may pass; it never goes back by more than a drift.
            if off < -limit || (off > limit && !segment.discontinuity) {
                let why = format!(
                    "segment {number}: its date is {off_ms:.3} ms off the end of {}",
                    before.number
                );
                found.push(Finding::new(Rule::DateTime, why, &lines));
            }
            if before.map != segment.map && !segment.discontinuity {
                let why = format!("segment {number} has another EXT-X-MAP and no EXT-X-DISCONTINUITY");
                found.push(Finding::new(Rule::MapChange, why, &lines));
            }
        }
    }
    found
}

fn hint(whole: &Media) -> Vec<Finding> {
    let mut found = Vec::new();
    let parts: Vec<_> = whole.hints.iter().filter(|hint| hint.kind == "PART").collect();
    let lines: Vec<usize> = parts.iter().map(|hint| hint.line).collect();
    if whole.ended {
        if let Some(hint) = whole.hints.first() {
            found.push(Finding::new(
                Rule::TagPlace,
                "a hint in a playlist with EXT-X-ENDLIST",
                &[hint.line],
            ));
        }
        return found;
    }
    match (parts.len(), whole.part_target) {
        (0, Some(_)) => found.push(Finding::new(Rule::Hint, "no hint", &[whole.lines.last])),
        (0, None) | (1, _) => {}
        (count, _) => found.push(Finding::new(Rule::Hint, format!("{count} hints"), &lines)),
    }
    for hint in parts {
        if let Some(part) = whole
            .all()
            .flat_map(|segment| &segment.parts)
            .find(|part| part.uri == hint.uri)
        {
            let why = format!("{} is listed already", hint.uri);
            found.push(Finding::new(Rule::Hint, why, &[part.line, hint.line]));
        }
    }
    found
}

fn plain(whole: &Media) -> Option<Finding> {
    let part = whole
        .all()
        .find_map(|segment| segment.parts.first())
        .map(|part| part.line);
    let control = whole
        .control
        .as_ref()
        .is_some_and(|c| c.part_hold_back.is_some() || c.block_reload);
    let line = part
        .or(whole.part_target.map(|_| whole.lines.part_target))
        .or(whole.hints.first().map(|hint| hint.line))
        .or(whole.reports.first().map(|report| report.line))
        .or(control.then_some(whole.lines.control))?;
    Some(Finding::new(Rule::PlainTags, "a tag for low latency", &[line]))
}

/// Which segments have their parts listed, by their distance from the end.
fn parts_kept(whole: &Media) -> Vec<Finding> {
    let (mut found, mut behind) = (Vec::new(), Duration::ZERO);
    let target = Duration::from_secs(whole.target);
    for segment in whole.all().rev() {
        let begins = behind + segment.length();
        if segment.parts.is_empty() && !segment.gap && begins <= target * 3 {
            let why = format!(
                "segment {} begins {begins:?} from the end and has no parts",
                segment.number
            );
            found.push(Finding::new(Rule::PartsKept, why, &segment.span()));
        }
        // One target duration of grace: RFC 8216bis says SHOULD and names no moment.
        if !segment.parts.is_empty() && behind > target * 4 {
            let why = format!("segment {} ends {behind:?} from the end and has parts", segment.number);
            found.push(Finding::new(Rule::PartsDropped, why, &segment.span()));
        }
        behind = begins;
    }
    found
}
