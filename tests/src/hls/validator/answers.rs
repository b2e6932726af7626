//! What an answer must have by what was asked: delivery directives, §6.2.5.

use std::time::Duration;

use super::Observation;
use crate::hls::playlist::{Edge, Media, Segment};
use crate::hls::rule::{Finding, Rule};

/// `_HLS_skip`: of the playlist as it came.
pub(super) fn skip(seen: &Observation<'_>, raw: &Media) -> Vec<Finding> {
    let mut found = Vec::new();
    let asked = seen
        .directive("_HLS_skip")
        .is_some_and(|value| value == "YES" || value == "v2");
    let boundary = raw.control.as_ref().and_then(|control| control.skip_until);
    let complete: Duration = raw.segments.iter().map(Segment::length).sum();
    if let Some(skipped) = raw.skipped {
        let line = [raw.lines.skip];
        let wrong = match boundary {
            _ if !asked => Some("nothing was to be skipped"),
            None => Some("no CAN-SKIP-UNTIL"),
            _ if raw.ended => Some("a delta update with EXT-X-ENDLIST"),
            Some(_) => None,
        };
        found.extend(wrong.map(|why| Finding::new(Rule::SkipAsked, why, &line)));
        let kept = complete + raw.tail.length();
        if let Some(boundary) = boundary.filter(|boundary| skipped > 0 && kept < *boundary) {
            let why = format!("what is left lasts {kept:?}, the boundary is {boundary:?}");
            found.push(Finding::new(Rule::SkipExtent, why, &line));
        }
    }
    let first = raw.segments.first();
    if let (Some(boundary), Some(first), true, false) = (boundary, first, asked, raw.ended) {
        let end = complete - first.duration;
        if end > boundary && raw.skipped.is_some() {
            let why = format!(
                "segment {} ends {end:?} from the end, the boundary is {boundary:?}",
                first.number
            );
            found.push(Finding::new(Rule::SkipExtent, why, &[raw.lines.skip, first.lines.1]));
        } else if end > boundary {
            let why = format!("the whole playlist came, {end:?} behind its first segment");
            found.push(Finding::new(Rule::SkipAsked, why, &[first.lines.1]));
        }
    }
    found
}

/// `_HLS_msn` and `_HLS_part`.
pub(super) fn blocked(seen: &Observation<'_>, whole: &Media) -> Option<Finding> {
    let msn: u64 = seen.directive("_HLS_msn")?.parse().ok()?;
    let part: Option<u64> = seen.directive("_HLS_part").and_then(|part| part.parse().ok());
    let edge = whole.edge();
    let wanted = match (part, whole.segment(msn)) {
        (None, _) => Edge {
            msn: msn.saturating_add(1),
            part: 0,
        },
        // More than the segment came to have: the first part of the next one.
        (Some(part), Some(segment)) if !segment.uri.is_empty() && !segment.parts.is_empty() => {
            if part < segment.parts.len() as u64 {
                Edge {
                    msn: msn.saturating_add(1),
                    part: 0,
                }
            } else {
                Edge {
                    msn: msn.saturating_add(1),
                    part: 1,
                }
            }
        }
        (Some(part), _) => Edge {
            msn,
            part: part.saturating_add(1),
        },
    };
    (edge < wanted && !whole.ended).then(|| {
        let why = format!("{} came with {edge} as the next part", seen.target);
        Finding::new(Rule::BlockedAnswer, why, &[whole.lines.last])
    })
}
