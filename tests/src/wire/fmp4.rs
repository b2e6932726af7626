//! Fragmented MP4 as a viewer reads it: `moov` and `moof` are read, `mdat` is walked sample by sample
//! (ISO/IEC 14496-12 §8.8).

use super::{Error, Frame, Head, PLAIN_HEAD, Sink, Stamp, Track};

/// Largest `moov` or `moof` that is kept.
const BOX_LIMIT: usize = 1024 * 1024;
/// `sample_is_non_sync_sample`, §8.8.3.1.
pub(crate) const NON_SYNC: u32 = 0x0001_0000;

/// Walks a stream of boxes.
#[derive(Debug)]
pub struct Reader {
    head_limit: usize,
    state: State,
    kept: Vec<u8>,
    /// Position in the stream.
    position: u64,
    moof_at: u64,
    tracks: Vec<TrackInfo>,
    /// Of the last `moof`, in order of position, latest first.
    samples: Vec<Sample>,
    current: Option<Sample>,
    head: Head,
}

#[derive(Debug)]
enum State {
    /// 8 bytes, or 16 where the size needs 64 bits.
    Header,
    /// A `moov` or `moof`, kept whole.
    Keep { kind: [u8; 4], left: usize },
    /// `mdat`.
    Media { left: u64 },
    /// Anything else.
    Skip { left: u64 },
}

#[derive(Clone, Copy, Debug)]
struct TrackInfo {
    id: u32,
    track: Track,
    avc: bool,
    timescale: i64,
    default_flags: u32,
}

#[derive(Clone, Copy, Debug)]
struct Sample {
    at: u64,
    left: usize,
    frame: Frame,
    avc: bool,
}

impl Reader {
    /// A reader that keeps `head_limit` bytes of each sample.
    pub fn new(head_limit: usize) -> Self {
        Self {
            head_limit,
            state: State::Header,
            kept: Vec::new(),
            position: 0,
            moof_at: 0,
            tracks: Vec::new(),
            samples: Vec::new(),
            current: None,
            head: Head::default(),
        }
    }

    /// Takes bytes as they come.
    pub fn feed(&mut self, mut data: &[u8], sink: &mut dyn Sink) -> Result<(), Error> {
        while !data.is_empty() {
            let taken = match &mut self.state {
                State::Header => {
                    let wanted = if self.kept.starts_with(&[0, 0, 0, 1]) { 16 } else { 8 };
                    let taken = data.len().min(wanted - self.kept.len());
                    self.kept.extend_from_slice(&data[..taken]);
                    taken
                }
                State::Keep { left, .. } => {
                    let taken = data.len().min(*left);
                    *left -= taken;
                    self.kept.extend_from_slice(&data[..taken]);
                    taken
                }
                State::Media { left } | State::Skip { left } => {
                    let taken = data.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
                    *left -= taken as u64;
                    taken
                }
            };
            if matches!(self.state, State::Media { .. }) {
                self.media(&data[..taken], sink);
            }
            self.position += taken as u64;
            data = &data[taken..];
            self.step(sink)?;
        }
        Ok(())
    }

    fn step(&mut self, sink: &mut dyn Sink) -> Result<(), Error> {
        match self.state {
            State::Header => {
                let small = self.kept.starts_with(&[0, 0, 0, 1]);
                if self.kept.len() == if small { 16 } else { 8 } {
                    self.begin()?;
                }
            }
            State::Keep { kind, left: 0 } => {
                let body = std::mem::take(&mut self.kept);
                if &kind == b"moov" {
                    self.tracks = tracks(&body);
                    sink.config();
                } else {
                    self.samples = samples(&body, self.moof_at, &self.tracks);
                    self.samples.sort_by_key(|s| std::cmp::Reverse(s.at));
                }
                self.kept = body;
                self.kept.clear();
                self.state = State::Header;
            }
            State::Media { left: 0 } | State::Skip { left: 0 } => self.state = State::Header,
            _ => {}
        }
        Ok(())
    }

    fn begin(&mut self) -> Result<(), Error> {
        let header = self.kept.len() as u64;
        let size = if header == 16 {
            long(&self.kept, 8)
        } else {
            word(&self.kept, 0).map(u64::from)
        };
        let mut kind = [0; 4];
        kind.copy_from_slice(&self.kept[4..8]);
        let left = size
            .and_then(|s| s.checked_sub(header))
            .ok_or(Error::Malformed("box size"))?;
        if !kind.iter().all(|b| b.is_ascii_graphic() || *b == b' ') {
            return Err(Error::Malformed("box type"));
        }
        self.kept.clear();
        self.state = match &kind {
            b"moov" | b"moof" => {
                self.moof_at = self.position - header;
                let left = usize::try_from(left).ok().filter(|l| *l <= BOX_LIMIT);
                State::Keep {
                    kind,
                    left: left.ok_or(Error::Malformed("box: moov or moof too large"))?,
                }
            }
            b"mdat" => State::Media { left },
            _ => State::Skip { left },
        };
        Ok(())
    }

    /// `data` starts at `self.position`.
    fn media(&mut self, mut data: &[u8], sink: &mut dyn Sink) {
        let mut at = self.position;
        while !data.is_empty() {
            if self.current.is_none() {
                let Some(next) = self.samples.last().copied() else {
                    return;
                };
                if next.at > at {
                    let gap = usize::try_from(next.at - at).unwrap_or(usize::MAX);
                    if gap >= data.len() {
                        return;
                    }
                    data = &data[gap..];
                    at = next.at;
                }
                self.samples.pop();
                self.head.restart(self.head_limit);
                self.current = Some(next);
            }
            let Some(sample) = &mut self.current else { return };
            let taken = data.len().min(sample.left);
            self.head.pass(&data[..taken]);
            sample.left -= taken;
            at += taken as u64;
            data = &data[taken..];
            if sample.left == 0 {
                let stamp = (sample.avc && self.head_limit > PLAIN_HEAD).then(|| Stamp::find(self.head.bytes()));
                sink.frame(Frame {
                    stamp: stamp.flatten(),
                    ..sample.frame
                });
                self.current = None;
            }
        }
    }
}

pub(crate) fn word(data: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(data.get(at..at + 4)?.try_into().ok()?))
}

pub(crate) fn long(data: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_be_bytes(data.get(at..at + 8)?.try_into().ok()?))
}

/// The boxes inside `data`, as type and body.
pub(crate) fn boxes(mut data: &[u8]) -> impl Iterator<Item = ([u8; 4], &[u8])> {
    std::iter::from_fn(move || {
        let size = word(data, 0)? as usize;
        let body = data.get(8..size)?;
        let kind = data.get(4..8)?.try_into().ok()?;
        data = &data[size..];
        Some((kind, body))
    })
}

pub(crate) fn find<'a>(data: &'a [u8], path: &[&[u8; 4]]) -> Option<&'a [u8]> {
    path.iter().try_fold(data, |data, wanted| {
        boxes(data).find(|(kind, _)| kind == *wanted).map(|(_, body)| body)
    })
}

fn tracks(moov: &[u8]) -> Vec<TrackInfo> {
    let defaults = |id: u32| {
        let mvex = find(moov, &[b"mvex"])?;
        let mut trex = boxes(mvex).filter(|(kind, _)| kind == b"trex");
        trex.find(|(_, body)| word(body, 4) == Some(id))
            .and_then(|(_, body)| word(body, 20))
    };
    let read = |trak: &[u8]| {
        let tkhd = find(trak, &[b"tkhd"])?;
        let id = word(tkhd, if tkhd.first()? == &1 { 20 } else { 12 })?;
        let mdhd = find(trak, &[b"mdia", b"mdhd"])?;
        let timescale = word(mdhd, if mdhd.first()? == &1 { 20 } else { 12 })?;
        let track = match find(trak, &[b"mdia", b"hdlr"])?.get(8..12)? {
            b"vide" => Track::Video,
            b"soun" => Track::Audio,
            _ => return None,
        };
        let entry = find(trak, &[b"mdia", b"minf", b"stbl", b"stsd"])?.get(12..16)?;
        Some(TrackInfo {
            id,
            track,
            avc: matches!(entry, b"avc1" | b"avc3"),
            timescale: i64::from(timescale.max(1)),
            default_flags: defaults(id).unwrap_or(0),
        })
    };
    boxes(moov)
        .filter(|(kind, _)| kind == b"trak")
        .filter_map(|(_, trak)| read(trak))
        .collect()
}

fn samples(moof: &[u8], moof_at: u64, tracks: &[TrackInfo]) -> Vec<Sample> {
    let mut all = Vec::new();
    for (_, traf) in boxes(moof).filter(|(kind, _)| kind == b"traf") {
        // A broken fragment has the samples read so far; the report shows the rest as missing.
        let _ = fragment(traf, moof_at, tracks, &mut all);
    }
    all
}

fn fragment(traf: &[u8], moof_at: u64, tracks: &[TrackInfo], all: &mut Vec<Sample>) -> Option<()> {
    let tfhd = find(traf, &[b"tfhd"])?;
    let flags = word(tfhd, 0)?;
    let info = tracks.iter().find(|t| Some(t.id) == word(tfhd, 4))?;
    let mut at = 8;
    let mut optional = |bit: u32, size: usize| {
        (flags & bit != 0).then(|| {
            at += size;
            at - size
        })
    };
    let base = optional(1, 8).and_then(|at| long(tfhd, at)).unwrap_or(moof_at);
    optional(2, 4);
    let duration = optional(8, 4).and_then(|at| word(tfhd, at)).unwrap_or(0);
    let size = optional(0x10, 4).and_then(|at| word(tfhd, at)).unwrap_or(0);
    let sample_flags = optional(0x20, 4)
        .and_then(|at| word(tfhd, at))
        .unwrap_or(info.default_flags);
    let tfdt = find(traf, &[b"tfdt"])?;
    let mut dts = if tfdt.first()? == &1 {
        long(tfdt, 4)? as i64
    } else {
        i64::from(word(tfdt, 4)?)
    };
    let mut position = base;
    for (_, trun) in boxes(traf).filter(|(kind, _)| kind == b"trun") {
        let flags = word(trun, 0)?;
        let count = word(trun, 4)?;
        let mut at = 8;
        let mut next = |bit: u32| {
            if flags & bit == 0 {
                return None;
            }
            at += 4;
            word(trun, at - 4)
        };
        if let Some(offset) = next(1) {
            position = base.wrapping_add_signed(i64::from(offset as i32));
        }
        let first_flags = next(4);
        for index in 0..count {
            let duration = next(0x100).unwrap_or(duration);
            let size = next(0x200).unwrap_or(size) as usize;
            let own_flags = next(0x400);
            next(0x800);
            let first_flags = first_flags.filter(|_| index == 0);
            let sample_flags = own_flags.or(first_flags).unwrap_or(sample_flags);
            all.push(Sample {
                at: position,
                left: size,
                avc: info.avc,
                frame: Frame {
                    track: info.track,
                    dts_us: (i128::from(dts) * 1_000_000 / i128::from(info.timescale)) as i64,
                    key: info.track == Track::Video && sample_flags & NON_SYNC == 0,
                    size,
                    stamp: None,
                },
            });
            position += size as u64;
            dts += i64::from(duration);
            if all.len() > 100_000 {
                return None;
            }
        }
    }
    Some(())
}
