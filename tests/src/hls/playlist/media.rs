//! Media playlists, §4.4.3 to §4.4.5, and the merge of a delta update, §6.3.7.

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::Timestamp;

use super::{Attributes, Control, Edge, Hint, Line, Media, Part, Report, Segment, integer, seconds};
use crate::hls::rule::{Finding, Rule};

/// Tags that stand once in a playlist.
const ONCE: [&str; 12] = [
    "VERSION",
    "INDEPENDENT-SEGMENTS",
    "START",
    "TARGETDURATION",
    "MEDIA-SEQUENCE",
    "DISCONTINUITY-SEQUENCE",
    "ENDLIST",
    "PLAYLIST-TYPE",
    "I-FRAMES-ONLY",
    "PART-INF",
    "SERVER-CONTROL",
    "SKIP",
];

pub(super) fn parse(lines: &[Line<'_>]) -> Result<Media, Finding> {
    let mut reader = Reader::default();
    reader.media.version = 1;
    for line in lines {
        match *line {
            Line::Tag { number, name, value } => reader.tag(number, name, value)?,
            Line::Uri { number, uri } => reader.uri(number, uri)?,
        }
    }
    reader.finish()
}

#[derive(Default)]
struct Reader<'a> {
    media: Media,
    seen: BTreeSet<&'a str>,
    /// The segment whose tags are being read.
    next: Segment,
    extinf: Option<usize>,
    map: Option<String>,
    last: usize,
}

impl<'a> Reader<'a> {
    fn tag(&mut self, number: usize, name: &'a str, value: Option<&'a str>) -> Result<(), Finding> {
        self.last = number;
        let bad = |why: &str| Finding::new(Rule::Syntax, why, &[number]);
        if ONCE.contains(&name) && !self.seen.insert(name) {
            return Err(Finding::new(Rule::RepeatedTag, format!("{name} twice"), &[number]));
        }
        let whole = || value.and_then(integer).ok_or_else(|| bad("no decimal-integer"));
        let media = &mut self.media;
        match name {
            "VERSION" => (media.version, media.lines.version) = (whole()?, number),
            "INDEPENDENT-SEGMENTS" => media.independent_segments = true,
            "TARGETDURATION" => (media.target, media.lines.target) = (whole()?, number),
            "MEDIA-SEQUENCE" => {
                (media.media_sequence, media.lines.media_sequence) = (whole()?, number);
                self.before_segments(number)?;
            }
            "DISCONTINUITY-SEQUENCE" => {
                media.discontinuity_sequence = Some(whole()?);
                self.before_segments(number)?;
            }
            "ENDLIST" => media.ended = true,
            "PART-INF" => {
                let tag = Attributes::parse(number, value)?;
                media.part_target = Some(tag.required("PART-TARGET", tag.seconds("PART-TARGET")?)?);
                media.lines.part_target = number;
            }
            "SERVER-CONTROL" => {
                media.control = Some(control(&Attributes::parse(number, value)?)?);
                media.lines.control = number;
            }
            "SKIP" => {
                let tag = Attributes::parse(number, value)?;
                media.skipped = Some(tag.required("SKIPPED-SEGMENTS", tag.integer("SKIPPED-SEGMENTS")?)?);
                media.lines.skip = number;
                self.before_segments(number)?;
            }
            "PRELOAD-HINT" => {
                let tag = Attributes::parse(number, value)?;
                let kind = tag.required("TYPE", tag.word("TYPE")?)?.to_owned();
                let uri = tag.required("URI", tag.quoted("URI")?)?.to_owned();
                media.hints.push(Hint {
                    kind,
                    uri,
                    line: number,
                });
            }
            "RENDITION-REPORT" => {
                let tag = Attributes::parse(number, value)?;
                let uri = tag.required("URI", tag.quoted("URI")?)?.to_owned();
                let msn = tag.required("LAST-MSN", tag.integer("LAST-MSN")?)?;
                media.reports.push(Report {
                    uri,
                    msn,
                    part: tag.integer("LAST-PART")?,
                    line: number,
                });
            }
            "PLAYLIST-TYPE" | "I-FRAMES-ONLY" => {
                return Err(Finding::new(
                    Rule::TagPlace,
                    format!("{name} in a live playlist"),
                    &[number],
                ));
            }
            "START" | "DEFINE" | "DATERANGE" => {}
            _ => self.segment_tag(number, name, value)?,
        }
        Ok(())
    }

    /// Tags of the segment that follows.
    fn segment_tag(&mut self, number: usize, name: &str, value: Option<&str>) -> Result<(), Finding> {
        let bad = |why: &str| Finding::new(Rule::Syntax, why, &[number]);
        let next = &mut self.next;
        if next.lines.0 == 0 {
            next.lines.0 = number;
        }
        let early = matches!(name, "DISCONTINUITY" | "MAP" | "PROGRAM-DATE-TIME" | "KEY");
        if early && let Some(part) = next.parts.first() {
            let why = format!("{name} behind a part of its segment");
            return Err(Finding::new(Rule::TagPlace, why, &[part.line, number]));
        }
        match name {
            "INF" => {
                let (duration, _) = value.and_then(|v| v.split_once(',')).ok_or_else(|| bad("no comma"))?;
                next.duration = seconds(duration).ok_or_else(|| bad("no duration"))?;
                if self.extinf.replace(number).is_some() {
                    return Err(Finding::new(
                        Rule::RequiredTag,
                        "EXTINF without its URI line",
                        &[number],
                    ));
                }
            }
            "DISCONTINUITY" => next.discontinuity = true,
            "GAP" => next.gap = true,
            "MAP" => {
                let tag = Attributes::parse(number, value)?;
                self.map = Some(tag.required("URI", tag.quoted("URI")?)?.to_owned());
            }
            "PROGRAM-DATE-TIME" => {
                let date = value.and_then(|v| v.parse::<Timestamp>().ok());
                let date = date.ok_or_else(|| bad("no date, time and zone"))?;
                if next.date.replace(date).is_some() {
                    return Err(Finding::new(
                        Rule::TagPlace,
                        "a second date for the same segment",
                        &[number],
                    ));
                }
            }
            "BITRATE" => drop(value.and_then(integer).ok_or_else(|| bad("no decimal-integer"))?),
            "PART" => {
                let tag = Attributes::parse(number, value)?;
                if self.extinf.is_some() {
                    return Err(Finding::new(
                        Rule::TagPlace,
                        "a part behind its segment's EXTINF",
                        &[number],
                    ));
                }
                next.parts.push(Part {
                    uri: tag.required("URI", tag.quoted("URI")?)?.to_owned(),
                    duration: tag.required("DURATION", tag.seconds("DURATION")?)?,
                    independent: tag.yes("INDEPENDENT", false)?,
                    gap: tag.yes("GAP", false)?,
                    line: number,
                });
            }
            _ => return Err(bad("an unknown tag")),
        }
        Ok(())
    }

    fn before_segments(&self, number: usize) -> Result<(), Finding> {
        if self.media.segments.is_empty() && self.next.lines.0 == 0 {
            return Ok(());
        }
        Err(Finding::new(Rule::TagPlace, "behind a segment or its tags", &[number]))
    }

    fn uri(&mut self, number: usize, uri: &str) -> Result<(), Finding> {
        self.last = number;
        if self.extinf.take().is_none() {
            return Err(Finding::new(Rule::RequiredTag, "a segment without EXTINF", &[number]));
        }
        let mut segment = std::mem::take(&mut self.next);
        segment.uri = uri.to_owned();
        segment.map = self.map.clone();
        segment.lines.1 = number;
        self.media.segments.push(segment);
        Ok(())
    }

    fn finish(mut self) -> Result<Media, Finding> {
        if let Some(line) = self.extinf {
            return Err(Finding::new(Rule::RequiredTag, "EXTINF without its URI line", &[line]));
        }
        if !self.seen.contains("TARGETDURATION") {
            return Err(Finding::new(Rule::RequiredTag, "no EXT-X-TARGETDURATION", &[1]));
        }
        self.media.tail = self.next;
        self.media.tail.map = self.map;
        self.media.tail.lines.1 = self
            .media
            .tail
            .parts
            .last()
            .map_or(self.media.tail.lines.0, |part| part.line);
        self.media.lines.last = self.last;
        self.media.count();
        Ok(self.media)
    }
}

fn control(tag: &Attributes<'_>) -> Result<Control, Finding> {
    Ok(Control {
        skip_until: tag.seconds("CAN-SKIP-UNTIL")?,
        skip_dateranges: tag.yes("CAN-SKIP-DATERANGES", false)?,
        hold_back: tag.seconds("HOLD-BACK")?,
        part_hold_back: tag.seconds("PART-HOLD-BACK")?,
        block_reload: tag.yes("CAN-BLOCK-RELOAD", false)?,
    })
}

impl Media {
    /// Gives every segment its numbers.
    fn count(&mut self) {
        let first = self.media_sequence.saturating_add(self.skipped.unwrap_or(0));
        let mut discontinuities = self.discontinuity_sequence.unwrap_or(0);
        for (index, segment) in self.segments.iter_mut().chain([&mut self.tail]).enumerate() {
            discontinuities = discontinuities.saturating_add(u64::from(segment.discontinuity));
            (segment.number, segment.discontinuities) = (first.saturating_add(index as u64), discontinuities);
        }
    }

    /// The number of the next part.
    pub fn edge(&self) -> Edge {
        Edge {
            msn: self.tail.number,
            part: self.tail.parts.len() as u64,
        }
    }

    /// All segments with the one in progress, if it has begun.
    pub fn all(&self) -> impl DoubleEndedIterator<Item = &Segment> {
        self.segments
            .iter()
            .chain(Some(&self.tail).filter(|tail| !tail.parts.is_empty()))
    }

    /// A segment by its number, the one in progress among them.
    pub fn segment(&self, number: u64) -> Option<&Segment> {
        let index = number.checked_sub(self.segments.first().unwrap_or(&self.tail).number)?;
        self.segments
            .get(usize::try_from(index).ok()?)
            .or(Some(&self.tail))
            .filter(|s| s.number == number)
    }

    /// How long the listed media is, the segment in progress included.
    pub fn duration(&self) -> Duration {
        self.all().map(Segment::length).sum()
    }

    /// The whole playlist of which this is a delta update.
    pub fn merge(&self, before: &Media) -> Result<Media, Finding> {
        let Some(skipped) = self.skipped else {
            return Ok(self.clone());
        };
        let end = self.media_sequence.saturating_add(skipped);
        let known = before
            .segments
            .first()
            .map_or(before.tail.number, |segment| segment.number);
        if skipped > 0 && (known > self.media_sequence || end > before.tail.number) {
            let why = format!(
                "{skipped} segments from {} on are skipped; {known} to {} are known",
                self.media_sequence,
                before.tail.number.saturating_sub(1)
            );
            return Err(Finding::new(Rule::SkipArithmetic, why, &[self.lines.skip]));
        }
        let skipped = before
            .segments
            .iter()
            .filter(|s| (self.media_sequence..end).contains(&s.number));
        let mut segments: Vec<Segment> = skipped.map(Segment::elsewhere).collect();
        let mut merged = Media {
            skipped: None,
            segments: Vec::new(),
            ..self.clone()
        };
        let mut map = segments.last().and_then(|segment| segment.map.clone());
        for segment in self.segments.iter().chain([&self.tail]) {
            let mut segment = segment.clone();
            map = segment.map.take().or(map);
            segment.map = map.clone();
            segments.push(segment);
        }
        merged.tail = segments.pop().unwrap_or_default();
        merged.segments = segments;
        merged.count();
        Ok(merged)
    }
}

impl Segment {
    /// Its duration; in progress, that of its parts.
    pub fn length(&self) -> Duration {
        if self.uri.is_empty() {
            self.parts.iter().map(|part| part.duration).sum()
        } else {
            self.duration
        }
    }

    /// The same without its lines: they are another playlist's.
    fn elsewhere(&self) -> Self {
        let parts = self.parts.iter().map(|part| Part {
            line: 0,
            ..part.clone()
        });
        Self {
            lines: (0, 0),
            parts: parts.collect(),
            ..self.clone()
        }
    }

    /// First and last line.
    pub fn span(&self) -> Vec<usize> {
        let (first, last) = self.lines;
        if first == last { vec![first] } else { vec![first, last] }
    }
}
