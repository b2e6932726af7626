//! What came against what was sent, by `-f framemd5`: codecs, sizes, times, and a hash of each frame's payload.

use anyhow::{Context, Result, bail, ensure};

/// One line of framemd5.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Decoding time in the track's time base.
    pub dts: i64,
    /// Presentation time in the track's time base.
    pub pts: i64,
    /// Size in bytes.
    pub size: u64,
    /// MD5 of the payload, in hexadecimal.
    pub hash: String,
}

/// One track.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Track {
    /// `video` or `audio`.
    pub media: String,
    /// ffmpeg's name of the codec.
    pub codec: String,
    /// `640x360`, or empty.
    pub dimensions: String,
    /// Time base, numerator and denominator.
    pub time_base: (i64, i64),
    /// Frames in order of arrival.
    pub frames: Vec<Frame>,
}

/// All tracks of a stream or file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Frames {
    /// Tracks by index.
    pub tracks: Vec<Track>,
}

impl Frames {
    /// Reads the text that `-f framemd5` writes.
    pub fn parse(text: &str) -> Result<Self> {
        let mut tracks: Vec<Track> = Vec::new();
        for line in text.lines() {
            if let Some(header) = line.strip_prefix('#') {
                let Some((key, value)) = header.split_once(": ") else {
                    continue;
                };
                let mut words = key.split_whitespace();
                let (Some(name), Some(index)) = (words.next(), words.next()) else {
                    continue;
                };
                let Ok(index) = index.parse::<usize>() else { continue };
                ensure!(index < 16, "more than 16 tracks");
                if tracks.len() <= index {
                    tracks.resize(index + 1, Track::default());
                }
                let track = &mut tracks[index];
                match name {
                    "media_type" => track.media = value.to_owned(),
                    "codec_id" => track.codec = value.to_owned(),
                    "dimensions" => track.dimensions = value.to_owned(),
                    "tb" => {
                        let (n, d) = value.split_once('/').context("time base")?;
                        track.time_base = (n.parse()?, d.parse()?);
                    }
                    _ => {}
                }
                continue;
            }
            let fields: Vec<&str> = line.split(',').map(str::trim).collect();
            if let [index, dts, pts, _duration, size, hash, ..] = fields[..] {
                let index: usize = index.parse()?;
                let track = tracks
                    .get_mut(index)
                    .with_context(|| format!("track {index} has no header"))?;
                let hash = hash.to_owned();
                track.frames.push(Frame {
                    dts: dts.parse()?,
                    pts: pts.parse()?,
                    size: size.parse()?,
                    hash,
                });
            }
        }
        Ok(Self { tracks })
    }

    /// The track of a media type.
    pub fn track(&self, media: &str) -> Option<&Track> {
        self.tracks.iter().find(|track| track.media == media)
    }

    /// Fails if decoding times go back. GStreamer sends several frames of sound with one time: more can't be asked there.
    pub fn times_never_go_back(&self) -> Result<()> {
        for track in &self.tracks {
            let back = track.frames.windows(2).find(|pair| pair[0].dts > pair[1].dts);
            if let Some([before, after]) = back {
                bail!("{}: dts {} then {}", track.media, before.dts, after.dts);
            }
        }
        Ok(())
    }

    /// Fails unless decoding times rise from frame to frame, and no frame is shown before it is decoded.
    pub fn times_rise(&self) -> Result<()> {
        for track in &self.tracks {
            for (at, pair) in track.frames.windows(2).enumerate() {
                ensure!(
                    pair[0].dts < pair[1].dts,
                    "{}: dts {} then {} at frame {at}",
                    track.media,
                    pair[0].dts,
                    pair[1].dts
                );
            }
            for frame in &track.frames {
                ensure!(
                    frame.pts >= frame.dts,
                    "{}: shown at {} before decoded at {}",
                    track.media,
                    frame.pts,
                    frame.dts
                );
            }
        }
        Ok(())
    }

    /// Fails unless each track's frames are one contiguous run of the source's, byte for byte and with the same composition
    /// times, that ends where the source ends. Returns for each track of the source how many of its first frames are not there.
    pub fn are_the_end_of(&self, source: &Frames) -> Result<Vec<usize>> {
        source
            .tracks
            .iter()
            .map(|sent| {
                let came = self
                    .track(&sent.media)
                    .with_context(|| format!("{} did not come", sent.media))?;
                ensure!(came.codec == sent.codec, "{} came as {}", sent.codec, came.codec);
                let missing = position(&sent.frames, &came.frames).with_context(|| mismatch(sent, came))?;
                ensure!(
                    missing + came.frames.len() == sent.frames.len(),
                    "{}: {} of {} frames came, from frame {missing} on: the end is cut",
                    sent.media,
                    came.frames.len(),
                    sent.frames.len()
                );
                for (sent_frame, frame) in sent.frames[missing..].iter().zip(&came.frames) {
                    let offset = |f: &Frame, t: &Track| {
                        (f.pts - f.dts) as f64 * t.time_base.0 as f64 / t.time_base.1.max(1) as f64
                    };
                    let (a, b) = (offset(sent_frame, sent), offset(frame, came));
                    ensure!(
                        (a - b).abs() < 0.0011,
                        "{}: composition time {a} came as {b}",
                        sent.media
                    );
                }
                Ok(missing)
            })
            .collect()
    }
}

/// Where `run` lies in `all`, compared by size and hash.
pub fn position(all: &[Frame], run: &[Frame]) -> Option<usize> {
    let same = |a: &Frame, b: &Frame| a.size == b.size && a.hash == b.hash;
    if run.is_empty() || run.len() > all.len() {
        return None;
    }
    all.windows(run.len())
        .position(|window| window.iter().zip(run).all(|(a, b)| same(a, b)))
}

/// Says where a delivery first differs from its source.
fn mismatch(sent: &Track, came: &Track) -> String {
    let first = came.frames.first();
    let start = first.and_then(|f| sent.frames.iter().position(|s| s.hash == f.hash));
    let Some(start) = start else {
        return format!(
            "{}: {} frames came, the first is not of the source",
            sent.media,
            came.frames.len()
        );
    };
    let run = sent.frames[start..]
        .iter()
        .zip(&came.frames)
        .take_while(|(a, b)| a.hash == b.hash)
        .count();
    format!(
        "{}: {} frames came, from frame {start} of the source on, {run} are right, then it differs",
        sent.media,
        came.frames.len()
    )
}

/// Fails with what is wrong unless a list of names is what is expected.
pub fn expect_codecs(frames: &Frames, wanted: &[(&str, &str, &str)]) -> Result<()> {
    let mut came: Vec<_> = frames
        .tracks
        .iter()
        .map(|t| (t.media.as_str(), t.codec.as_str(), t.dimensions.as_str()))
        .collect();
    // Sound has no dimensions; some versions of ffmpeg write 0x0.
    came.iter_mut().filter(|t| t.0 == "audio").for_each(|t| t.2 = "");
    came.sort_by_key(|t| std::cmp::Reverse(t.0));
    if came != wanted {
        bail!("expected {wanted:?}, came {came:?}");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "#format: frame checksums\n#tb 0: 1/1000\n#media_type 0: video\n#codec_id 0: h264\n#dimensions 0: 640x360\n\
        #stream#, dts,        pts, duration,     size, hash\n\
        0,          0,         80,       40,      100, aa\n0,         40,         40,       40,      200, bb\n\
        0,         80,        120,       40,      300, cc\n";

    #[test]
    fn the_text_is_read() {
        let frames = Frames::parse(TEXT).unwrap();
        expect_codecs(&frames, &[("video", "h264", "640x360")]).unwrap();
        assert_eq!(frames.tracks[0].frames.len(), 3);
        assert_eq!(frames.tracks[0].time_base, (1, 1000));
        frames.times_rise().unwrap();
    }

    #[test]
    fn only_the_unbroken_end_of_a_source_is_taken() {
        let source = Frames::parse(TEXT).unwrap();
        let mut came = source.clone();
        came.tracks[0].frames.remove(0);
        assert_eq!(came.are_the_end_of(&source).unwrap(), [1]);
        let mut hole = source.clone();
        hole.tracks[0].frames.remove(1);
        assert!(hole.are_the_end_of(&source).is_err());
        let mut cut = source.clone();
        cut.tracks[0].frames.pop();
        assert!(cut.are_the_end_of(&source).is_err());
        let mut shifted = source.clone();
        shifted.tracks[0].frames[1].pts += 40;
        assert!(shifted.are_the_end_of(&source).is_err());
    }

    #[test]
    fn time_that_stands_still_is_a_fault() {
        let mut frames = Frames::parse(TEXT).unwrap();
        frames.tracks[0].frames[2].dts = 40;
        assert!(frames.times_rise().is_err());
    }
}
