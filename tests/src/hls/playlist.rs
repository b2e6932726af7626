//! Playlists as a strict client reads them: what a client must refuse is refused, with the rule and the line.
//!
//! Durations are exact decimals, dates are instants; the number of a segment is counted, never read from its name.

mod attributes;
mod media;
mod multivariant;

use std::time::Duration;

use jiff::Timestamp;

pub use multivariant::{Multivariant, Rendition, Variant};

use super::rule::{Finding, Rule};
use attributes::Attributes;

/// Either kind.
#[derive(Clone, Debug, PartialEq)]
pub enum Playlist {
    /// Segments.
    Media(Box<Media>),
    /// Variants and renditions.
    Multivariant(Multivariant),
}

/// A media playlist, or a delta update of one.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Media {
    /// EXT-X-VERSION, 1 if absent.
    pub version: u64,
    /// EXT-X-INDEPENDENT-SEGMENTS.
    pub independent_segments: bool,
    /// EXT-X-TARGETDURATION, seconds.
    pub target: u64,
    /// EXT-X-MEDIA-SEQUENCE.
    pub media_sequence: u64,
    /// EXT-X-DISCONTINUITY-SEQUENCE, if there.
    pub discontinuity_sequence: Option<u64>,
    /// EXT-X-SERVER-CONTROL.
    pub control: Option<Control>,
    /// PART-TARGET.
    pub part_target: Option<Duration>,
    /// EXT-X-SKIP: this is a delta update.
    pub skipped: Option<u64>,
    /// Segments that are complete, in order.
    pub segments: Vec<Segment>,
    /// What stands behind the last complete segment: parts of the one in progress.
    pub tail: Segment,
    /// EXT-X-PRELOAD-HINT.
    pub hints: Vec<Hint>,
    /// EXT-X-RENDITION-REPORT.
    pub reports: Vec<Report>,
    /// EXT-X-ENDLIST.
    pub ended: bool,
    /// Lines of the header's tags: version, target duration, server control, part target, skip.
    pub lines: HeaderLines,
}

/// Where the header's tags stand; 0 if absent.
#[derive(Clone, Copy, Debug, Default)]
pub struct HeaderLines {
    /// EXT-X-VERSION.
    pub version: usize,
    /// EXT-X-TARGETDURATION.
    pub target: usize,
    /// EXT-X-MEDIA-SEQUENCE.
    pub media_sequence: usize,
    /// EXT-X-SERVER-CONTROL.
    pub control: usize,
    /// EXT-X-PART-INF.
    pub part_target: usize,
    /// EXT-X-SKIP.
    pub skip: usize,
    /// The last line.
    pub last: usize,
}

impl PartialEq for HeaderLines {
    /// Two playlists may say the same at other lines.
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

/// EXT-X-SERVER-CONTROL.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Control {
    /// CAN-SKIP-UNTIL.
    pub skip_until: Option<Duration>,
    /// CAN-SKIP-DATERANGES.
    pub skip_dateranges: bool,
    /// HOLD-BACK.
    pub hold_back: Option<Duration>,
    /// PART-HOLD-BACK.
    pub part_hold_back: Option<Duration>,
    /// CAN-BLOCK-RELOAD.
    pub block_reload: bool,
}

/// A segment; in a playlist's tail, one in progress.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Segment {
    /// Media sequence number.
    pub number: u64,
    /// Discontinuity sequence number. In a delta update it does not count what is skipped.
    pub discontinuities: u64,
    /// Empty in the tail.
    pub uri: String,
    /// EXTINF; zero in the tail.
    pub duration: Duration,
    /// EXT-X-PROGRAM-DATE-TIME.
    pub date: Option<Timestamp>,
    /// EXT-X-DISCONTINUITY stands before it.
    pub discontinuity: bool,
    /// URI of the init segment that applies; absent in a delta update where the tag is skipped.
    pub map: Option<String>,
    /// EXT-X-GAP.
    pub gap: bool,
    /// Parts that are listed.
    pub parts: Vec<Part>,
    /// First and last line; 0 where there are none.
    pub lines: (usize, usize),
}

/// A part.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Part {
    /// URI.
    pub uri: String,
    /// DURATION.
    pub duration: Duration,
    /// INDEPENDENT=YES.
    pub independent: bool,
    /// GAP=YES.
    pub gap: bool,
    /// Its line.
    pub line: usize,
}

/// A preload hint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hint {
    /// PART or MAP.
    pub kind: String,
    /// URI.
    pub uri: String,
    /// Its line.
    pub line: usize,
}

/// A rendition report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// URI of the other playlist.
    pub uri: String,
    /// LAST-MSN.
    pub msn: u64,
    /// LAST-PART.
    pub part: Option<u64>,
    /// Its line.
    pub line: usize,
}

/// The number of the next part: the part in progress, or part 0 of the segment that follows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Edge {
    /// Media sequence number.
    pub msn: u64,
    /// Part index.
    pub part: u64,
}

impl std::fmt::Display for Edge {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.msn, self.part)
    }
}

/// Reads a playlist; the first thing that a client must refuse is the error.
pub fn parse(text: &str) -> Result<Playlist, Finding> {
    let tags = tags(text)?;
    let variants = |tag: &Line<'_>| multivariant::TAGS.contains(&tag.name());
    match tags.iter().find(|tag| variants(tag)) {
        Some(_) => multivariant::parse(&tags).map(Playlist::Multivariant),
        None => media::parse(&tags).map(|media| Playlist::Media(Box::new(media))),
    }
}

/// Reads a media playlist.
pub fn parse_media(text: &str) -> Result<Media, Finding> {
    match parse(text)? {
        Playlist::Media(media) => Ok(*media),
        Playlist::Multivariant(_) => Err(Finding::new(Rule::TagPlace, "a multivariant playlist", &[1])),
    }
}

/// One line that says something.
#[derive(Clone, Copy, Debug)]
enum Line<'a> {
    Tag {
        number: usize,
        name: &'a str,
        value: Option<&'a str>,
    },
    Uri {
        number: usize,
        uri: &'a str,
    },
}

impl<'a> Line<'a> {
    fn name(&self) -> &'a str {
        match self {
            Line::Tag { name, .. } => name,
            Line::Uri { .. } => "",
        }
    }
}

fn tags(text: &str) -> Result<Vec<Line<'_>>, Finding> {
    let bad = |number, why: &str| Finding::new(Rule::Syntax, why, &[number]);
    let mut found = Vec::new();
    for (index, line) in text.split('\n').enumerate() {
        let number = index + 1;
        let line = line.strip_suffix('\r').unwrap_or(line);
        if index == 0 && line != "#EXTM3U" {
            return Err(Finding::new(Rule::Header, "the first line is another", &[1]));
        }
        if line.chars().any(char::is_control) {
            return Err(bad(number, "a control character"));
        }
        if line.is_empty() || index == 0 {
            continue;
        }
        if line.starts_with(char::is_whitespace) || line.ends_with(char::is_whitespace) {
            return Err(bad(number, "white space around a line"));
        }
        let line = if let Some(tag) = line.strip_prefix("#EXT") {
            let (name, value) = tag
                .split_once(':')
                .map_or((tag, None), |(name, value)| (name, Some(value)));
            let name = name.strip_prefix("-X-").unwrap_or(name);
            Line::Tag { number, name, value }
        } else if line.starts_with('#') {
            continue;
        } else {
            Line::Uri { number, uri: line }
        };
        found.push(line);
    }
    if !text.ends_with('\n') {
        return Err(bad(text.lines().count(), "the last line has no end"));
    }
    Ok(found)
}

/// A decimal-integer, §4.2.
fn integer(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.len() <= 20 && text.bytes().all(|b| b.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten()
}

/// A decimal-floating-point number of seconds, §4.2, exact to the nanosecond. Many players refuse `.5` and `5.`: so do we.
fn seconds(text: &str) -> Option<Duration> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    if !digits(whole) || !digits(fraction) {
        return None;
    }
    let nanos = format!("{fraction:0<9}")[..9].parse().ok()?;
    Some(Duration::new(whole.parse().ok().filter(|s| *s < 1 << 40)?, nanos))
}

#[cfg(test)]
mod tests;
