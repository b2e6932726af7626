//! A manifest of MPEG-DASH as these tests read it: as far as our own go, and no further.

use anyhow::{Context as _, Result, ensure};

/// A manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// `dynamic` or `static`.
    pub kind: String,
    /// In order.
    pub periods: Vec<Period>,
}

/// A Period.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Period {
    /// Its name.
    pub id: String,
    /// When it begins, seconds as they stand there.
    pub start: String,
    /// Of all sets.
    pub representations: Vec<Representation>,
}

/// A Representation with a template and a timeline.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Representation {
    /// Its name.
    pub id: String,
    /// URL of the headers, from the manifest's.
    pub init: String,
    /// URL of a segment, with `$Number$`.
    pub media: String,
    /// Ticks per second.
    pub timescale: u64,
    /// Media time at which the Period begins.
    pub offset: u64,
    /// Number of the first segment.
    pub first: u64,
    /// When each segment begins, and how long it is, ticks.
    pub spans: Vec<(u64, u64)>,
    /// What is to come is expected then, and to be that long.
    pub expected: Option<(u64, u64)>,
}

impl Representation {
    /// Numbers of the segments that are there.
    pub fn numbers(&self) -> std::ops::Range<u64> {
        self.first..self.first + self.spans.len() as u64
    }

    /// URL of a segment, from the manifest's.
    pub fn url(&self, number: u64) -> String {
        self.media.replace("$Number$", &number.to_string())
    }
}

/// Elements in order, each with its attributes as they stand there.
fn elements(text: &str) -> impl Iterator<Item = (&str, &str)> {
    text.split('<').skip(1).map(|rest| {
        let inner = rest.split('>').next().unwrap_or(rest);
        inner.split_once(' ').unwrap_or((inner, ""))
    })
}

fn attribute<'a>(attributes: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = format!(" {attributes}")
        .find(&format!(" {name}=\""))
        .map(|at| attributes.split_at(at + name.len() + 2))?;
    rest.split('"').next()
}

/// Reads a manifest.
pub fn parse(text: &str) -> Result<Manifest> {
    let mut manifest = Manifest {
        kind: String::new(),
        periods: Vec::new(),
    };
    for (name, attributes) in elements(text) {
        let get = |key: &str| attribute(attributes, key).with_context(|| format!("<{name}> without {key}:\n{text}"));
        let number = |key: &str| -> Result<u64> { Ok(get(key)?.parse()?) };
        match name {
            "MPD" => manifest.kind = get("type")?.to_owned(),
            "Period" => manifest.periods.push(Period {
                id: get("id")?.to_owned(),
                start: get("start")?.trim_matches(|c: char| c.is_ascii_alphabetic()).to_owned(),
                representations: Vec::new(),
            }),
            "Representation" => {
                let period = manifest.periods.last_mut().context("no Period")?;
                period.representations.push(Representation {
                    id: get("id")?.to_owned(),
                    init: String::new(),
                    media: String::new(),
                    timescale: 0,
                    offset: 0,
                    first: 0,
                    spans: Vec::new(),
                    expected: None,
                });
            }
            "SegmentTemplate" | "S" => {
                let period = manifest.periods.last_mut().context("no Period")?;
                let representation = period.representations.last_mut().context("no Representation")?;
                if name == "SegmentTemplate" {
                    representation.init = get("initialization")?.to_owned();
                    representation.media = get("media")?.to_owned();
                    representation.timescale = number("timescale")?;
                    representation.offset = number("presentationTimeOffset")?;
                    representation.first = number("startNumber")?;
                    continue;
                }
                let next = representation.spans.last().map_or(0, |(at, ticks)| at + ticks);
                let at = attribute(attributes, "t").map_or(Ok(next), str::parse)?;
                let ticks = number("d")?;
                ensure!(at >= next, "a segment begins before the one before it ends:\n{text}");
                ensure!(
                    representation.expected.is_none(),
                    "an entry after what is expected:\n{text}"
                );
                match attribute(attributes, "r").map_or(Ok(0), str::parse::<i64>)? {
                    repeat if repeat < 0 => representation.expected = Some((at, ticks)),
                    repeat => {
                        let spans = (0..=repeat as u64).map(|index| (at + index * ticks, ticks));
                        representation.spans.extend(spans);
                    }
                }
            }
            _ => {}
        }
    }
    ensure!(!manifest.kind.is_empty(), "no MPD:\n{text}");
    Ok(manifest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timeline_is_read_with_its_repeats_and_what_is_expected() {
        let text = "<MPD type=\"dynamic\"><Period id=\"a\" start=\"PT7.5S\"><Representation id=\"cam/video\" bandwidth=\"1\">\
                    <SegmentTemplate timescale=\"1000\" presentationTimeOffset=\"3\" startNumber=\"7\" initialization=\"cam/i.mp4\" \
                    media=\"cam/v-$Number$.m4s\"><SegmentTimeline><S t=\"3\" d=\"10\" r=\"1\"/><S d=\"5\"/><S t=\"30\" d=\"11\" r=\"-1\"/>";
        let manifest = parse(text).unwrap();
        let video = &manifest.periods[0].representations[0];
        assert_eq!(
            (manifest.kind.as_str(), manifest.periods[0].start.as_str()),
            ("dynamic", "7.5")
        );
        assert_eq!(video.spans, [(3, 10), (13, 10), (23, 5)]);
        assert_eq!((video.expected, video.numbers()), (Some((30, 11)), 7..10));
        assert_eq!(video.url(8), "cam/v-8.m4s");
        assert!(parse("<html>").is_err());
    }
}
