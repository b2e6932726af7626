//! Multivariant playlists, §4.4.6.

use super::{Attributes, Line, integer};
use crate::hls::rule::{Finding, Rule};

/// Tags that only these have; of them we read the first two.
pub(super) const TAGS: [&str; 6] = [
    "STREAM-INF",
    "MEDIA",
    "I-FRAME-STREAM-INF",
    "SESSION-DATA",
    "SESSION-KEY",
    "CONTENT-STEERING",
];

/// What can be played.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Multivariant {
    /// EXT-X-VERSION, 1 if absent.
    pub version: u64,
    /// EXT-X-INDEPENDENT-SEGMENTS.
    pub independent_segments: bool,
    /// EXT-X-STREAM-INF.
    pub variants: Vec<Variant>,
    /// EXT-X-MEDIA.
    pub renditions: Vec<Rendition>,
}

/// EXT-X-STREAM-INF.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Variant {
    /// URI of its media playlist.
    pub uri: String,
    /// BANDWIDTH.
    pub bandwidth: Option<u64>,
    /// AVERAGE-BANDWIDTH.
    pub average_bandwidth: Option<u64>,
    /// CODECS, taken apart.
    pub codecs: Vec<String>,
    /// RESOLUTION.
    pub resolution: Option<(u64, u64)>,
    /// FRAME-RATE as it stands.
    pub frame_rate: Option<String>,
    /// AUDIO.
    pub audio: Option<String>,
    /// Its line.
    pub line: usize,
}

/// EXT-X-MEDIA.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rendition {
    /// TYPE.
    pub kind: String,
    /// GROUP-ID.
    pub group: String,
    /// NAME.
    pub name: String,
    /// LANGUAGE.
    pub language: Option<String>,
    /// CHANNELS.
    pub channels: Option<String>,
    /// DEFAULT=YES.
    pub default: bool,
    /// AUTOSELECT=YES.
    pub autoselect: bool,
    /// URI of its media playlist, if it is not in the variant's.
    pub uri: Option<String>,
    /// Its line.
    pub line: usize,
}

pub(super) fn parse(lines: &[Line<'_>]) -> Result<Multivariant, Finding> {
    let mut playlist = Multivariant {
        version: 1,
        ..Multivariant::default()
    };
    let (mut open, mut versions) = (None, 0);
    for line in lines {
        match (*line, open.take()) {
            (Line::Uri { uri, .. }, Some(variant)) => playlist.variants.push(Variant {
                uri: uri.to_owned(),
                ..variant
            }),
            (Line::Uri { number, .. }, None) => {
                return Err(Finding::new(
                    Rule::RequiredTag,
                    "no EXT-X-STREAM-INF before it",
                    &[number],
                ));
            }
            (Line::Tag { number, .. }, Some(variant)) => {
                let why = "EXT-X-STREAM-INF without its URI line";
                return Err(Finding::new(Rule::RequiredTag, why, &[variant.line, number]));
            }
            (Line::Tag { number, name, value }, None) => match name {
                "VERSION" => {
                    versions += 1;
                    let read = value.and_then(integer);
                    playlist.version = read.ok_or_else(|| Finding::new(Rule::Syntax, "no number", &[number]))?;
                }
                "INDEPENDENT-SEGMENTS" if playlist.independent_segments => {
                    return Err(Finding::new(Rule::RepeatedTag, "a second one", &[number]));
                }
                "INDEPENDENT-SEGMENTS" => playlist.independent_segments = true,
                "STREAM-INF" => open = Some(variant(&Attributes::parse(number, value)?)?),
                "MEDIA" => playlist.renditions.push(rendition(&Attributes::parse(number, value)?)?),
                "START" | "DEFINE" | "I-FRAME-STREAM-INF" | "SESSION-DATA" | "SESSION-KEY" | "CONTENT-STEERING" => {}
                _ => {
                    let why = format!("{name} in a multivariant playlist");
                    return Err(Finding::new(Rule::TagPlace, why, &[number]));
                }
            },
        }
        if versions > 1 {
            return Err(Finding::new(Rule::RepeatedTag, "EXT-X-VERSION twice", &[]));
        }
    }
    match open {
        Some(variant) => Err(Finding::new(
            Rule::RequiredTag,
            "EXT-X-STREAM-INF without its URI line",
            &[variant.line],
        )),
        None => Ok(playlist),
    }
}

fn variant(tag: &Attributes<'_>) -> Result<Variant, Finding> {
    let resolution = match tag.word("RESOLUTION")? {
        Some(text) => {
            let sides = text.split_once('x').and_then(|(w, h)| Some((integer(w)?, integer(h)?)));
            Some(sides.ok_or_else(|| Finding::new(Rule::Syntax, "RESOLUTION is no decimal-resolution", &[tag.line]))?)
        }
        None => None,
    };
    tag.seconds("FRAME-RATE")?;
    Ok(Variant {
        uri: String::new(),
        bandwidth: tag.integer("BANDWIDTH")?,
        average_bandwidth: tag.integer("AVERAGE-BANDWIDTH")?,
        codecs: tag
            .quoted("CODECS")?
            .map(|text| text.split(',').map(str::to_owned).collect())
            .unwrap_or_default(),
        resolution,
        frame_rate: tag.word("FRAME-RATE")?.map(str::to_owned),
        audio: tag.quoted("AUDIO")?.map(str::to_owned),
        line: tag.line,
    })
}

fn rendition(tag: &Attributes<'_>) -> Result<Rendition, Finding> {
    Ok(Rendition {
        kind: tag.required("TYPE", tag.word("TYPE")?)?.to_owned(),
        group: tag.required("GROUP-ID", tag.quoted("GROUP-ID")?)?.to_owned(),
        name: tag.required("NAME", tag.quoted("NAME")?)?.to_owned(),
        language: tag.quoted("LANGUAGE")?.map(str::to_owned),
        channels: tag.quoted("CHANNELS")?.map(str::to_owned),
        default: tag.yes("DEFAULT", true)?,
        autoselect: tag.yes("AUTOSELECT", true)?,
        uri: tag.quoted("URI")?.map(str::to_owned),
        line: tag.line,
    })
}
