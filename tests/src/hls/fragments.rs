//! Init segments and parts, box by box: what the playlist says of them is so, and one follows from the other
//! (ISO/IEC 14496-12 §8, ISO/IEC 23000-19 §7.3).

use std::time::Duration;

use jiff::Timestamp;

use super::rule::{Finding, Rule};
use super::validator::Format;
use crate::wire::fmp4::{NON_SYNC, boxes, find, long, word};

/// What an init segment says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Init {
    /// Track id.
    pub track: u32,
    /// Pictures, not sound.
    pub video: bool,
    /// Ticks a second.
    pub timescale: u64,
    /// Codec and size.
    pub format: Format,
    /// Duration, size and flags of a sample where a fragment says nothing.
    defaults: [u32; 3],
}

/// One `moof` and `mdat`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Chunk {
    /// `mfhd` sequence number.
    pub sequence: u32,
    /// `tfdt`, ticks.
    pub decode_time: u64,
    /// Sum of the samples' durations, ticks.
    pub duration: u64,
    /// Of each sample: it is a sync sample.
    pub sync: Vec<bool>,
}

fn bad(why: impl Into<String>) -> Finding {
    Finding::new(Rule::Boxes, why, &[])
}

/// Reads an init segment of one track.
pub fn init(bytes: &[u8]) -> Result<Init, Finding> {
    let kinds: Vec<[u8; 4]> = boxes(bytes).map(|(kind, _)| kind).collect();
    let length: usize = boxes(bytes).map(|(_, body)| body.len() + 8).sum();
    if kinds.first() != Some(b"ftyp") || !kinds.contains(b"moov") || length != bytes.len() {
        let kinds: Vec<_> = kinds.iter().map(|kind| String::from_utf8_lossy(kind)).collect();
        return Err(bad(format!(
            "an init segment of {kinds:?}, {length} of {} bytes",
            bytes.len()
        )));
    }
    let moov = find(bytes, &[b"moov"]).unwrap_or_default();
    let traks: Vec<&[u8]> = boxes(moov)
        .filter(|(kind, _)| kind == b"trak")
        .map(|(_, body)| body)
        .collect();
    let [trak] = traks[..] else {
        return Err(bad(format!("{} tracks in an init segment", traks.len())));
    };
    read(moov, trak).ok_or_else(|| bad("an init segment without tkhd, mdhd, hdlr, stsd or trex"))
}

fn read(moov: &[u8], trak: &[u8]) -> Option<Init> {
    let tkhd = find(trak, &[b"tkhd"])?;
    let track = word(tkhd, if tkhd.first()? == &1 { 20 } else { 12 })?;
    let mdhd = find(trak, &[b"mdia", b"mdhd"])?;
    let timescale = u64::from(word(mdhd, if mdhd.first()? == &1 { 20 } else { 12 })?);
    let video = find(trak, &[b"mdia", b"hdlr"])?.get(8..12)? == b"vide";
    let stsd = find(trak, &[b"mdia", b"minf", b"stbl", b"stsd"])?.get(8..)?;
    let (kind, entry) = boxes(stsd).next()?;
    let trex = boxes(find(moov, &[b"mvex"])?)
        .find(|(kind, body)| kind == b"trex" && word(body, 4) == Some(track))?
        .1;
    let side = |at: usize| Some(u64::from(u16::from_be_bytes(entry.get(at..at + 2)?.try_into().ok()?)));
    let mut codec = String::from_utf8_lossy(&kind).into_owned();
    // VisualSampleEntry is 78 bytes long, §12.1.3; its boxes follow.
    if let Some(avc) = entry
        .get(78..)
        .and_then(|rest| find(rest, &[b"avcC"]))
        .and_then(|avc| avc.get(1..4))
    {
        codec = format!("{codec}.{:02x}{:02x}{:02x}", avc[0], avc[1], avc[2]);
    }
    let size = if video { Some((side(24)?, side(26)?)) } else { None };
    let defaults = [word(trex, 12)?, word(trex, 16)?, word(trex, 20)?];
    (timescale > 0).then_some(Init {
        track,
        video,
        timescale,
        format: Format { codec, size },
        defaults,
    })
}

/// Reads one part: one `moof` and one `mdat`, and all of the `mdat` is samples.
pub fn chunk(bytes: &[u8], init: &Init) -> Result<Chunk, Finding> {
    let parts: Vec<([u8; 4], &[u8])> = boxes(bytes).collect();
    let [(first, moof), (second, mdat)] = parts[..] else {
        return Err(bad(format!("{} boxes, not moof and mdat", parts.len())));
    };
    if &first != b"moof" || &second != b"mdat" || moof.len() + mdat.len() + 16 != bytes.len() {
        return Err(bad("not one moof and one mdat"));
    }
    let trafs = boxes(moof).filter(|(kind, _)| kind == b"traf").count();
    if trafs != 1 {
        return Err(bad(format!("{trafs} track fragments")));
    }
    let (chunk, offset, size) = fragment(moof, init).ok_or_else(|| bad("no mfhd, tfhd, tfdt or trun"))??;
    if offset != moof.len() as u64 + 16 || size != mdat.len() as u64 {
        let (at, length) = (moof.len() + 16, mdat.len());
        return Err(bad(format!(
            "samples at {offset} of {size} bytes, mdat has {length} at {at}"
        )));
    }
    Ok(chunk)
}

/// The chunk, where its samples begin in the part, and their bytes.
fn fragment(moof: &[u8], init: &Init) -> Option<Result<(Chunk, u64, u64), Finding>> {
    let mut chunk = Chunk {
        sequence: word(find(moof, &[b"mfhd"])?, 4)?,
        ..Chunk::default()
    };
    let traf = find(moof, &[b"traf"])?;
    let tfhd = find(traf, &[b"tfhd"])?;
    let flags = word(tfhd, 0)?;
    if word(tfhd, 4)? != init.track {
        return Some(Err(bad("another track id than in the init segment")));
    }
    // default-base-is-moof and no base-data-offset, ISO/IEC 23000-19 §7.5.16.
    if flags & 0x2_0001 != 0x2_0000 {
        return Some(Err(bad(format!("tfhd flags {flags:#x}: the base is not the moof"))));
    }
    let mut at = if flags & 2 != 0 { 12 } else { 8 };
    let mut defaults = init.defaults;
    for (bit, value) in [8, 0x10, 0x20].into_iter().zip(&mut defaults) {
        if flags & bit != 0 {
            *value = word(tfhd, at)?;
            at += 4;
        }
    }
    let tfdt = find(traf, &[b"tfdt"])?;
    chunk.decode_time = if tfdt.first()? == &1 {
        long(tfdt, 4)?
    } else {
        u64::from(word(tfdt, 4)?)
    };
    let trun = find(traf, &[b"trun"])?;
    let (flags, count) = (word(trun, 0)?, word(trun, 4)?);
    let mut at = 8;
    let mut next = |bit: u32, default: u32| {
        if flags & bit == 0 {
            return Some(default);
        }
        at += 4;
        word(trun, at - 4)
    };
    let offset = u64::from(next(1, 0)?);
    let first_flags = next(4, defaults[2])?;
    let mut size = 0;
    for index in 0..count.min(10_000) {
        chunk.duration += u64::from(next(0x100, defaults[0])?);
        size += u64::from(next(0x200, defaults[1])?);
        let own = next(0x400, if index == 0 { first_flags } else { defaults[2] })?;
        next(0x800, 0)?;
        chunk.sync.push(own & NON_SYNC == 0);
    }
    Some(if count == 0 {
        Err(bad("no sample"))
    } else {
        Ok((chunk, offset, size))
    })
}

impl Init {
    /// Ticks as time.
    pub fn time(&self, ticks: u64) -> Duration {
        Duration::from_nanos((u128::from(ticks) * 1_000_000_000 / u128::from(self.timescale)) as u64)
    }
}

/// Where the first chunk of several ends: behind its `mdat`.
pub fn chunk_length(bytes: &[u8]) -> Option<usize> {
    let mut end = 0;
    for (kind, body) in boxes(bytes) {
        end += body.len() + 8;
        if &kind == b"mdat" {
            return Some(end);
        }
    }
    None
}

/// Samples last as long as the playlist says.
pub fn lasts(samples: Duration, said: Duration) -> Option<Finding> {
    (samples.abs_diff(said) > Duration::from_millis(1)).then(|| {
        let why = format!("its samples last {samples:?}, the playlist says {said:?}");
        Finding::new(Rule::SampleTimes, why, &[])
    })
}

/// What the playlist says of a part.
#[derive(Clone, Copy, Debug)]
pub struct Said {
    /// DURATION.
    pub duration: Duration,
    /// INDEPENDENT=YES.
    pub independent: bool,
    /// Discontinuity sequence number of its segment.
    pub timeline: u64,
    /// Date of its segment, for a segment's first part.
    pub date: Option<Timestamp>,
}

/// Follows the parts of one rendition, in order.
#[derive(Debug, Default)]
pub struct Track {
    timeline: u64,
    last: Option<(u32, u64)>,
    /// Nanoseconds from decode time zero of this timeline to the Unix epoch.
    origin: Option<i128>,
}

impl Track {
    /// Parts have been left out: nothing follows from the one before.
    pub fn skip(&mut self) {
        self.last = None;
    }

    /// Takes the next part. `dates` is what a date may be off.
    pub fn part(&mut self, bytes: &[u8], init: &Init, said: Said, dates: Duration) -> Vec<Finding> {
        let chunk = match chunk(bytes, init) {
            Ok(chunk) => chunk,
            Err(finding) => {
                self.skip();
                return vec![finding];
            }
        };
        if said.timeline != self.timeline {
            *self = Self {
                timeline: said.timeline,
                ..Self::default()
            };
        }
        let mut found = Vec::new();
        if let Some((sequence, end)) = self.last {
            if chunk.decode_time != end {
                let off = chunk.decode_time as i128 - i128::from(end);
                let why = format!(
                    "it begins {off} ticks of {} behind the end of the one before",
                    init.timescale
                );
                found.push(Finding::new(Rule::DecodeTime, why, &[]));
            }
            if chunk.sequence <= sequence {
                let why = format!("mfhd {} follows {sequence}", chunk.sequence);
                found.push(Finding::new(Rule::Boxes, why, &[]));
            }
        }
        self.last = Some((chunk.sequence, chunk.decode_time + chunk.duration));
        found.extend(lasts(init.time(chunk.duration), said.duration));
        let first = chunk.sync.first() == Some(&true);
        if said.independent && !first {
            found.push(Finding::new(
                Rule::SyncSample,
                "INDEPENDENT, and its first sample is none",
                &[],
            ));
        } else if !said.independent && chunk.sync.contains(&true) {
            found.push(Finding::new(
                Rule::SyncSample,
                "not INDEPENDENT, and has a sync sample",
                &[],
            ));
        }
        found.extend(self.date(&chunk, init, said.date, dates));
        found
    }

    /// Dates map to media times the same way all through a timeline.
    fn date(&mut self, chunk: &Chunk, init: &Init, date: Option<Timestamp>, limit: Duration) -> Option<Finding> {
        let media = i128::from(chunk.decode_time) * 1_000_000_000 / i128::from(init.timescale);
        let origin = date?.as_nanosecond() - media;
        let off = origin - *self.origin.get_or_insert(origin);
        (off.unsigned_abs() > limit.as_nanos()).then(|| {
            let why = format!("its date is {:.3} ms off its decode time", off as f64 / 1e6);
            Finding::new(Rule::DateTime, why, &[])
        })
    }

    /// Unix time of decode time zero, if known, to compare renditions.
    pub fn origin(&self) -> Option<(u64, i128)> {
        Some((self.timeline, self.origin?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hls::model::Model;

    fn said(model: &Model, kind: &str, part: u64) -> Said {
        let date = part.is_multiple_of(model.parts).then(|| model.date(part / model.parts));
        let independent = kind == "audio" || date.is_some();
        Said {
            duration: model.part,
            independent,
            timeline: 0,
            date,
        }
    }

    #[test]
    fn parts_that_follow_from_one_another_have_no_fault() {
        let model = Model::default();
        for kind in ["video", "audio"] {
            let init = init(&model.init(kind)).unwrap();
            assert_eq!(init.format.codec, if kind == "video" { "avc1.64001e" } else { "mp4a" });
            let mut track = Track::default();
            for part in 0..20 {
                let found = track.part(
                    &model.chunk(kind, part),
                    &init,
                    said(&model, kind, part),
                    Duration::ZERO,
                );
                assert_eq!(found, [], "{kind} {part}");
            }
        }
    }

    /// The rules that are broken by the third part.
    fn broken(change: impl Fn(&Model, &mut Vec<u8>, &mut Said)) -> Vec<Rule> {
        let model = Model::default();
        let (init, mut track) = (init(&model.init("video")).unwrap(), Track::default());
        for part in 0..2 {
            let said = said(&model, "video", part);
            assert_eq!(track.part(&model.chunk("video", part), &init, said, Duration::ZERO), []);
        }
        let (mut bytes, mut said) = (model.chunk("video", 2), said(&model, "video", 2));
        change(&model, &mut bytes, &mut said);
        let found = track.part(&bytes, &init, said, Duration::ZERO);
        found.iter().map(|finding| finding.rule).collect()
    }

    #[test]
    fn each_rule_of_parts_can_be_broken() {
        assert_eq!(broken(|_, _, _| {}), []);
        assert_eq!(
            broken(|model, bytes, _| *bytes = model.chunk("video", 3)),
            [Rule::DecodeTime]
        );
        assert_eq!(
            broken(|model, bytes, _| *bytes = model.chunk("video", 1)),
            [Rule::DecodeTime, Rule::Boxes]
        );
        assert_eq!(
            broken(|_, _, said| said.duration += Duration::from_millis(2)),
            [Rule::SampleTimes]
        );
        assert_eq!(broken(|_, _, said| said.independent = true), [Rule::SyncSample]);
        assert_eq!(
            broken(|model, _, said| said.date = Some(model.date(0))),
            [Rule::DateTime]
        );
        assert_eq!(
            broken(|model, bytes, _| bytes.extend(model.chunk("video", 3))),
            [Rule::Boxes]
        );
        assert_eq!(broken(|_, bytes, _| bytes.truncate(bytes.len() - 1)), [Rule::Boxes]);
        assert_eq!(
            broken(|_, bytes, _| bytes[4..8].copy_from_slice(b"styp")),
            [Rule::Boxes]
        );
        assert_eq!(
            broken(|model, bytes, _| *bytes = model.chunk("audio", 2)),
            [Rule::Boxes]
        );
        // A key frame in a part that does not say so.
        assert_eq!(
            broken(|model, bytes, _| *bytes = model.chunk("video", 5)),
            [Rule::DecodeTime, Rule::SyncSample]
        );
    }

    #[test]
    fn an_init_segment_has_one_track_and_nothing_else() {
        let bytes = Model::default().init("video");
        assert!(init(&bytes).is_ok());
        assert_eq!(init(&bytes[1..]).unwrap_err().rule, Rule::Boxes);
        assert_eq!(
            init(&[bytes.clone(), vec![0, 0, 0, 9, 1, 2]].concat())
                .unwrap_err()
                .rule,
            Rule::Boxes
        );
        assert_eq!(
            init(&[bytes[..].to_vec(), b"\0\0\0\x08free".to_vec()].concat()),
            init(&bytes)
        );
    }
}
