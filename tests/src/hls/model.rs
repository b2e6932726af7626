//! A stream that keeps every rule, made of numbers alone: what the tests of the rules, the player and the load tool begin with.
//!
//! One segment a second of five parts; pictures of 40 ms with a stamp each, one group a segment.

use std::fmt::Write as _;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::wire::Stamp;

/// The stream.
#[derive(Clone, Debug)]
pub struct Model {
    /// Number of its first segment.
    pub first: u64,
    /// Date of its first part.
    pub begin: Timestamp,
    /// How long a part lasts.
    pub part: Duration,
    /// Parts in a segment.
    pub parts: u64,
    /// Segments in the playlist.
    pub window: u64,
    /// Target duration, seconds.
    pub target: u64,
    /// Timelines before this stream.
    pub timelines: u64,
    /// Segments, counted from 0, that begin a timeline, with another init segment.
    pub breaks: Vec<u64>,
    /// The last part: the stream ends behind it.
    pub end: Option<u64>,
}

impl Default for Model {
    fn default() -> Self {
        Self {
            first: 1_795_000_000,
            begin: Timestamp::constant(1_795_000_000, 0),
            part: Duration::from_millis(200),
            parts: 5,
            window: 20,
            target: 2,
            timelines: 0,
            breaks: Vec::new(),
            end: None,
        }
    }
}

/// Pictures in a part.
const PICTURES: u32 = 5;
/// Bytes of a picture and of the sound that goes with it, nearly.
const PICTURE: u64 = 820 + 300;

impl Model {
    fn segment(&self) -> Duration {
        self.part * self.parts as u32
    }

    /// Date of a segment, counted from 0.
    pub fn date(&self, segment: u64) -> Timestamp {
        let since = SignedDuration::try_from(self.segment() * segment as u32).unwrap_or_default();
        self.begin.saturating_add(since).unwrap_or(self.begin)
    }

    fn timeline(&self, segment: u64) -> u64 {
        self.timelines + self.breaks.iter().filter(|at| **at <= segment).count() as u64
    }

    /// How many parts there are at a moment.
    pub fn parts_at(&self, now: Timestamp) -> u64 {
        let parts = now.duration_since(self.begin).as_secs_f64() / self.part.as_secs_f64();
        (parts.max(0.0) as u64).min(self.end.unwrap_or(u64::MAX))
    }

    /// The multivariant playlist.
    pub fn multivariant(&self, prefix: &str) -> String {
        format!(
            "#EXTM3U\n#EXT-X-VERSION:6\n#EXT-X-INDEPENDENT-SEGMENTS\n\
             #EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID=\"audio\",NAME=\"Sound\",LANGUAGE=\"und\",DEFAULT=YES,AUTOSELECT=YES,\
             CHANNELS=\"2\",URI=\"{prefix}audio.m3u8\"\n\
             #EXT-X-STREAM-INF:BANDWIDTH=400000,AVERAGE-BANDWIDTH=300000,CODECS=\"avc1.64001e,mp4a.40.2\",\
             RESOLUTION=640x360,FRAME-RATE=25.000,AUDIO=\"audio\"\n{prefix}video.m3u8\n"
        )
    }

    /// The first segment listed when there are so many parts.
    fn oldest(&self, parts: u64) -> u64 {
        (parts / self.parts).saturating_sub(self.window)
    }

    /// A media playlist when there are so many parts; `skip` makes it a delta update.
    pub fn playlist(&self, kind: &str, parts: u64, skip: bool) -> String {
        let mut text = format!(
            "#EXTM3U\n#EXT-X-VERSION:{}\n#EXT-X-TARGETDURATION:{target}\n\
             #EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES,CAN-SKIP-UNTIL={}.0,HOLD-BACK={}.0,PART-HOLD-BACK=0.63\n\
             #EXT-X-PART-INF:PART-TARGET=0.21\n",
            if skip { 9 } else { 6 },
            self.target * 6,
            self.target * 3,
            target = self.target
        );
        let complete = parts / self.parts;
        let ended = self.end == Some(parts);
        let kept = (Duration::from_secs(self.target * 6).as_secs_f64() / self.segment().as_secs_f64()).ceil() as u64;
        let skipped = complete.saturating_sub(self.oldest(parts)).saturating_sub(kept) * u64::from(skip && !ended);
        self.head(&mut text, self.oldest(parts), skipped);
        let listed = |segment: u64| {
            let behind = self.part * (parts - segment * self.parts) as u32;
            behind <= Duration::from_secs(self.target * 3) + self.segment()
        };
        for segment in self.oldest(parts) + skipped..=complete {
            let here = (parts - segment * self.parts).min(self.parts);
            if here > 0 {
                self.tags(&mut text, kind, segment, skipped == 0 && segment == self.oldest(parts));
            }
            for part in (0..here).filter(|_| listed(segment)) {
                let independent = if part == 0 || kind == "audio" {
                    ",INDEPENDENT=YES"
                } else {
                    ""
                };
                let (number, seconds) = (self.first + segment, self.part.as_secs_f64());
                let _ = writeln!(
                    text,
                    "#EXT-X-PART:DURATION={seconds:.5},URI=\"{kind}-{number}.{part}.m4s\"{independent}"
                );
            }
            self.complete(&mut text, kind, segment, segment < complete);
        }
        if ended {
            text.push_str("#EXT-X-ENDLIST\n");
            return text;
        }
        let (number, part) = (self.first + complete, parts % self.parts);
        let other = if kind == "video" { "audio" } else { "video" };
        let last = parts.saturating_sub(1);
        let (last, at) = (self.first + last / self.parts, last % self.parts);
        let _ = write!(
            text,
            "#EXT-X-PRELOAD-HINT:TYPE=PART,URI=\"{kind}-{number}.{part}.m4s\"\n\
             #EXT-X-RENDITION-REPORT:URI=\"{other}.m3u8\",LAST-MSN={last},LAST-PART={at}\n"
        );
        text
    }

    /// The same for players that know no parts.
    pub fn plain(&self, kind: &str, parts: u64) -> String {
        let mut text = format!("#EXTM3U\n#EXT-X-VERSION:6\n#EXT-X-TARGETDURATION:{}\n", self.target);
        self.head(&mut text, self.oldest(parts), 0);
        for segment in self.oldest(parts)..parts / self.parts {
            self.tags(&mut text, kind, segment, segment == self.oldest(parts));
            self.complete(&mut text, kind, segment, true);
        }
        if self.end == Some(parts) {
            text.push_str("#EXT-X-ENDLIST\n");
        }
        text
    }

    fn head(&self, text: &mut String, oldest: u64, skipped: u64) {
        let timeline = self.timelines + self.breaks.iter().filter(|at| **at < oldest).count() as u64;
        let number = self.first + oldest;
        let _ = write!(
            text,
            "#EXT-X-MEDIA-SEQUENCE:{number}\n#EXT-X-DISCONTINUITY-SEQUENCE:{timeline}\n"
        );
        if skipped > 0 {
            let _ = writeln!(text, "#EXT-X-SKIP:SKIPPED-SEGMENTS={skipped}");
        }
    }

    /// Tags before a segment's parts; `first` in a whole playlist.
    fn tags(&self, text: &mut String, kind: &str, segment: u64, first: bool) {
        let breaks = self.breaks.contains(&segment);
        if breaks {
            text.push_str("#EXT-X-DISCONTINUITY\n");
        }
        if breaks || first {
            let _ = writeln!(
                text,
                "#EXT-X-MAP:URI=\"{kind}-init-{}-{}.mp4\"",
                self.first,
                self.timeline(segment)
            );
        }
        let _ = writeln!(text, "#EXT-X-PROGRAM-DATE-TIME:{:.3}", self.date(segment));
    }

    fn complete(&self, text: &mut String, kind: &str, segment: u64, complete: bool) {
        if complete {
            let (seconds, number) = (self.segment().as_secs_f64(), self.first + segment);
            let _ = write!(text, "#EXTINF:{seconds:.5},\n{kind}-{number}.m4s\n");
        }
    }

    /// Answers for a file of the folder when there are so many parts; none: it is not there yet, or no more.
    pub fn file(&self, name: &str, parts: u64) -> Option<Vec<u8>> {
        let (kind, rest) = name
            .split_once('-')
            .filter(|(kind, _)| matches!(*kind, "video" | "audio"))?;
        if rest.starts_with("init-") {
            return Some(self.init(kind));
        }
        let rest = rest.strip_suffix(".m4s")?;
        let (number, part) = rest
            .split_once('.')
            .map_or((rest, None), |(number, part)| (number, Some(part)));
        let segment = number.parse::<u64>().ok()?.checked_sub(self.first)?;
        let first = segment * self.parts;
        let wanted = match part {
            Some(part) => {
                let part: u64 = part.parse().ok()?;
                (part < self.parts).then(|| first + part..first + part + 1)?
            }
            None => first..first + self.parts,
        };
        (wanted.end <= parts).then(|| wanted.flat_map(|part| self.chunk(kind, part)).collect())
    }

    /// An init segment.
    pub fn init(&self, kind: &str) -> Vec<u8> {
        let video = kind == "video";
        let track = u32::from(!video) + 1;
        let entry = if video {
            let mut entry = vec![0; 78];
            entry[7] = 1;
            entry[24..28].copy_from_slice(&[2, 128, 1, 104]);
            entry.extend(boxed(b"avcC", &[&[1, 0x64, 0, 0x1e, 0xff, 0xe0, 0]]));
            boxed(b"avc1", &[&entry])
        } else {
            boxed(b"mp4a", &[&[0; 28]])
        };
        let handler: &[u8] = if video { b"vide" } else { b"soun" };
        let stsd = boxed(b"stsd", &[&words(&[0, 1]), &entry]);
        let minf = boxed(b"minf", &[&boxed(b"stbl", &[&stsd])]);
        let hdlr = boxed(b"hdlr", &[&words(&[0, 0]), handler, &[0; 13]]);
        let mdia = boxed(
            b"mdia",
            &[&boxed(b"mdhd", &[&words(&[0, 0, 0, 1000, 0, 0])]), &hdlr, &minf],
        );
        let trak = boxed(b"trak", &[&boxed(b"tkhd", &[&words(&[0, 0, 0, track, 0, 0])]), &mdia]);
        let mvex = boxed(b"mvex", &[&boxed(b"trex", &[&words(&[0, track, 1, 0, 0, 0])])]);
        [boxed(b"ftyp", &[b"cmfc\0\0\0\0cmfc"]), boxed(b"moov", &[&trak, &mvex])].concat()
    }

    /// A part, counted from 0.
    pub fn chunk(&self, kind: &str, part: u64) -> Vec<u8> {
        let video = kind == "video";
        let (count, lasts) = if video {
            (PICTURES, self.part / PICTURES)
        } else {
            (1, self.part)
        };
        let begin = self.begin.as_microsecond() as u64 + self.part.as_micros() as u64 * part;
        let mut payload = Vec::new();
        let mut samples = Vec::new();
        for index in 0..count {
            let key = !video || (index == 0 && part.is_multiple_of(self.parts));
            let before = payload.len();
            if video {
                let sequence = part * u64::from(count) + u64::from(index);
                let slice = [&[0, 0, 1, 0, if key { 0x65 } else { 0x41 }][..], &[0x88; 255]].concat();
                // The moment at which the picture is whole.
                let sent_us = begin + lasts.as_micros() as u64 * u64::from(index + 1);
                Stamp {
                    sent_us,
                    sequence,
                    bytes_before: sequence * PICTURE,
                }
                .insert(&slice, 500, &mut payload);
            } else {
                payload.resize(before + 1500, 0x21);
            }
            let flags = if key { 0x0200_0000 } else { 0x0101_0000 };
            samples.extend(words(&[
                lasts.as_millis() as u32,
                (payload.len() - before) as u32,
                flags,
            ]));
        }
        let time = (self.part.as_millis() as u64 * part).to_be_bytes();
        let moof = |offset: u32| {
            let tfhd = boxed(b"tfhd", &[&words(&[0x2_0000, u32::from(!video) + 1])]);
            let trun = boxed(b"trun", &[&words(&[0x701, count, offset]), &samples]);
            let traf = boxed(
                b"traf",
                &[&tfhd, &boxed(b"tfdt", &[&words(&[0x0100_0000]), &time]), &trun],
            );
            boxed(b"moof", &[&boxed(b"mfhd", &[&words(&[0, part as u32 + 1])]), &traf])
        };
        let length = moof(0).len() as u32;
        [moof(length + 8), boxed(b"mdat", &[&payload])].concat()
    }
}

fn words(values: &[u32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_be_bytes()).collect()
}

fn boxed(kind: &[u8; 4], bodies: &[&[u8]]) -> Vec<u8> {
    let body = bodies.concat();
    [&(body.len() as u32 + 8).to_be_bytes()[..], kind, &body].concat()
}
