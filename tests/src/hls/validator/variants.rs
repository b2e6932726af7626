//! The multivariant playlist: by itself, and against the media that came.

use std::time::Duration;

use super::{Format, Observation, Validator, Variants, resolve};
use crate::hls::playlist::{Multivariant, Rendition, Variant};
use crate::hls::rule::{Finding, Rule};

impl Multivariant {
    /// URIs of all media playlists.
    pub fn uris(&self) -> impl Iterator<Item = &str> {
        let variants = self.variants.iter().map(|variant| variant.uri.as_str());
        variants.chain(self.renditions.iter().filter_map(|rendition| rendition.uri.as_deref()))
    }

    /// The members of a variant's audio group.
    pub fn audio(&self, variant: &Variant) -> impl Iterator<Item = &Rendition> {
        let group = variant.audio.clone();
        self.renditions
            .iter()
            .filter(move |r| r.kind == "AUDIO" && Some(&r.group) == group.as_ref())
    }
}

impl Validator {
    pub(super) fn see_variants(&mut self, seen: Observation<'_>, playlist: Multivariant) {
        let mut found: Vec<Finding> = playlist.variants.iter().flat_map(attributes).collect();
        found.extend(groups(&playlist));
        if playlist.variants.is_empty() {
            found.push(Finding::new(Rule::RequiredTag, "no variant", &[1]));
        }
        let number = self.variants.as_ref().map_or(1, |variants| variants.seen + 1);
        self.note(seen, number, found);
        self.variants = Some(Variants {
            path: seen.path().to_owned(),
            server: seen.server.to_owned(),
            text: seen.text.to_owned(),
            playlist,
            seen: number,
        });
    }

    /// Takes what an init segment says; `playlist` is the path of the media playlist that names it.
    pub fn format(&mut self, playlist: &str, format: Format) {
        self.formats.insert(playlist.to_owned(), format);
    }

    /// Takes the size of a whole segment, by its path.
    pub fn segment(&mut self, path: &str, bytes: u64) {
        self.bytes.insert(path.to_owned(), bytes);
    }

    pub(super) fn finish_variants(&mut self) {
        let Some(variants) = self.variants.take() else { return };
        let mut found = Vec::new();
        for variant in &variants.playlist.variants {
            let video = resolve(&variants.path, &variant.uri);
            let audio = variants
                .playlist
                .audio(variant)
                .filter_map(|rendition| rendition.uri.as_ref());
            let audio: Vec<String> = audio.map(|uri| resolve(&variants.path, uri)).collect();
            for path in std::iter::once(&video)
                .chain(&audio)
                .filter(|path| !self.histories.contains_key(*path))
            {
                let why = format!("{path} was never seen");
                found.push(Finding::new(Rule::VariantExists, why, &[variant.line]));
            }
            for path in std::iter::once(&video).chain(&audio) {
                found.extend(self.formats.get(path).and_then(|format| codecs(variant, path, format)));
                found.extend(self.independence(&variants.playlist, path));
            }
            found.extend(self.bandwidth(variant, &video, &audio));
        }
        for finding in found {
            self.add(finding.at(&variants.path, variants.seen, &variants.server, &variants.text));
        }
        self.variants = Some(variants);
    }

    /// Segments that begin with an independent part each: then one of the playlists says it for all.
    fn independence(&self, playlist: &Multivariant, path: &str) -> Option<Finding> {
        let newest = self.histories.get(path)?.newest.as_ref()?;
        let told = playlist.independent_segments || newest.independent_segments;
        let mut first = newest
            .segments
            .iter()
            .filter_map(|segment| segment.parts.first())
            .peekable();
        let all = first.peek().is_some() && first.all(|part| part.independent);
        (all && !told).then(|| {
            Finding::new(
                Rule::IndependentSegments,
                format!("{path}: neither playlist has EXT-X-INDEPENDENT-SEGMENTS"),
                &[],
            )
        })
    }

    fn bandwidth(&self, variant: &Variant, video: &str, audio: &[String]) -> Vec<Finding> {
        let Some((mut peak, mut average)) = self.measure(video) else {
            return Vec::new();
        };
        // The heaviest of the group: any of them may be played.
        let measured = audio.iter().filter_map(|path| self.measure(path));
        let (loud, long) = measured.fold((0.0, 0.0), |(a, b), (c, d)| (f64::max(a, c), f64::max(b, d)));
        peak += loud;
        average += long;
        let mut found = Vec::new();
        let mut bound = |name: &str, measured: f64, declared: Option<u64>, factor: f64| {
            if let Some(declared) = declared.filter(|declared| measured > *declared as f64 * factor) {
                let why = format!("{name} is {declared}, measured were {measured:.0} bits a second");
                found.push(Finding::new(Rule::Bandwidth, why, &[variant.line]));
            }
        };
        bound("BANDWIDTH", peak, variant.bandwidth, self.limits.peak);
        bound(
            "AVERAGE-BANDWIDTH",
            average,
            variant.average_bandwidth,
            self.limits.average,
        );
        found
    }

    /// Peak and average segment bit rate of a playlist: the peak is that of any run of segments that lasts 0.5 to 1.5 target
    /// durations, §4.1 (peak segment bit rate). A segment of unknown size ends a run.
    fn measure(&self, path: &str) -> Option<(f64, f64)> {
        let history = self.histories.get(path)?;
        let target = Duration::from_secs(history.newest.as_ref()?.target);
        let sizes: Vec<(u64, Option<u64>, Duration)> = history
            .known
            .values()
            .filter(|segment| !segment.uri.is_empty())
            .map(|segment| {
                (
                    segment.number,
                    self.bytes.get(&resolve(path, &segment.uri)).copied(),
                    segment.duration,
                )
            })
            .collect();
        let (mut peak, mut all, mut lasts) = (0.0, 0, Duration::ZERO);
        for first in 0..sizes.len() {
            let (mut bytes, mut length) = (0, Duration::ZERO);
            for (offset, (number, size, duration)) in sizes[first..].iter().enumerate() {
                let (Some(size), true) = (size, *number == sizes[first].0 + offset as u64) else {
                    break;
                };
                (bytes, length) = (bytes + size, length + *duration);
                if length > target.mul_f64(1.5) {
                    break;
                }
                if length >= target.mul_f64(0.5) {
                    peak = f64::max(peak, bytes as f64 * 8.0 / length.as_secs_f64());
                }
            }
            if let (_, Some(size), duration) = sizes[first] {
                (all, lasts) = (all + size, lasts + duration);
            }
        }
        (lasts >= target).then(|| (peak, all as f64 * 8.0 / lasts.as_secs_f64()))
    }
}

fn attributes(variant: &Variant) -> Vec<Finding> {
    let video = variant.resolution.is_some() || variant.codecs.iter().any(|codec| is_video(codec));
    let missing = [
        ("BANDWIDTH", variant.bandwidth.is_none()),
        ("AVERAGE-BANDWIDTH", variant.average_bandwidth.is_none()),
        ("CODECS", variant.codecs.is_empty()),
        ("RESOLUTION", video && variant.resolution.is_none()),
        ("FRAME-RATE", video && variant.frame_rate.is_none()),
    ];
    let missing = missing.iter().filter(|(_, missing)| *missing);
    let mut found: Vec<Finding> = missing
        .map(|(name, _)| Finding::new(Rule::VariantAttributes, format!("no {name}"), &[variant.line]))
        .collect();
    let decimals = variant
        .frame_rate
        .as_ref()
        .and_then(|rate| rate.split_once('.'))
        .map_or(3, |(_, d)| d.len());
    if decimals != 3 {
        found.push(Finding::new(
            Rule::VariantAttributes,
            "FRAME-RATE has not three decimals",
            &[variant.line],
        ));
    }
    if variant.average_bandwidth > variant.bandwidth {
        found.push(Finding::new(
            Rule::VariantAttributes,
            "the average is above the peak",
            &[variant.line],
        ));
    }
    found
}

fn is_video(codec: &str) -> bool {
    ["avc1", "avc3", "hvc1", "hev1", "av01", "vp09"]
        .iter()
        .any(|kind| codec.starts_with(kind))
}

fn groups(playlist: &Multivariant) -> Vec<Finding> {
    let mut found = Vec::new();
    for variant in playlist.variants.iter().filter(|variant| variant.audio.is_some()) {
        if playlist.audio(variant).next().is_none() {
            found.push(Finding::new(
                Rule::Renditions,
                "no member of its AUDIO group",
                &[variant.line],
            ));
        }
    }
    for (index, rendition) in playlist.renditions.iter().enumerate() {
        let mut bad = |why: &str| found.push(Finding::new(Rule::Renditions, why, &[rendition.line]));
        let group = |other: &&Rendition| other.kind == rendition.kind && other.group == rendition.group;
        let before: Vec<&Rendition> = playlist.renditions[..index].iter().filter(group).collect();
        if before.iter().any(|other| other.name == rendition.name) {
            bad("its NAME is there already");
        }
        if rendition.default && before.iter().any(|other| other.default) {
            bad("a second DEFAULT");
        }
        if rendition.default && !rendition.autoselect {
            bad("DEFAULT without AUTOSELECT");
        }
        if rendition.kind == "AUDIO" && rendition.language.is_none() {
            bad("no LANGUAGE");
        }
        if rendition.kind == "AUDIO" && rendition.channels.is_none() {
            bad("no CHANNELS");
        }
    }
    found
}

fn codecs(variant: &Variant, path: &str, format: &Format) -> Option<Finding> {
    let wanted = format.codec.to_ascii_lowercase();
    let named = variant.codecs.iter().map(|codec| codec.to_ascii_lowercase());
    let named = named
        .into_iter()
        .any(|codec| codec == wanted || codec.split('.').next() == Some(wanted.as_str()));
    let why = match (format.size, variant.resolution) {
        _ if !named => format!("{path} has {}, CODECS is {:?}", format.codec, variant.codecs),
        (Some(size), Some(resolution)) if size != resolution => {
            format!("{path} has pictures of {size:?}, RESOLUTION is {resolution:?}")
        }
        _ => return None,
    };
    Some(Finding::new(Rule::Codecs, why, &[variant.line]))
}
