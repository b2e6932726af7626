//! FLV: tags out of a file, tags out of a byte stream, and what the first bytes of a tag body say
//! (Adobe FLV 10.1 annex E; Enhanced RTMP v2 for the codecs that have a FourCC).

use anyhow::{Context, Result, bail};
use bytes::Bytes;

use super::{Error, Frame, Head, PLAIN_HEAD, Sink, Stamp, Track};

/// Tag and RTMP message type of sound.
pub const AUDIO: u8 = 8;
/// Tag and RTMP message type of pictures.
pub const VIDEO: u8 = 9;
/// Tag and RTMP message type of metadata.
pub const DATA: u8 = 18;

/// One tag of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tag {
    /// [`AUDIO`], [`VIDEO`] or [`DATA`].
    pub kind: u8,
    /// Decoding time in milliseconds.
    pub dts_ms: u32,
    /// Tag body, as it goes into an RTMP message.
    pub body: Bytes,
}

impl Tag {
    /// What the body is.
    pub fn shape(&self) -> Shape {
        Shape::of(self.kind, &self.body)
    }
}

/// Reads a whole file.
pub fn read(file: &[u8]) -> Result<Vec<Tag>> {
    if file.get(..3) != Some(b"FLV") {
        bail!("not an FLV file");
    }
    let word = |at: usize| Some(u32::from_be_bytes(file.get(at..at + 4)?.try_into().ok()?));
    let mut at = word(5).context("FLV header is cut")? as usize + 4;
    let mut tags = Vec::new();
    while at + 11 <= file.len() {
        let head = &file[at..at + 11];
        let size = u32::from_be_bytes([0, head[1], head[2], head[3]]) as usize;
        let Some(body) = file.get(at + 11..at + 11 + size) else {
            break;
        };
        tags.push(Tag {
            kind: head[0] & 31,
            dts_ms: u32::from_be_bytes([head[7], head[4], head[5], head[6]]),
            body: Bytes::copy_from_slice(body),
        });
        at += 11 + size + 4;
    }
    Ok(tags)
}

/// Writes a file.
pub fn write(tags: &[Tag]) -> Vec<u8> {
    let mut out = b"FLV\x01\x05\0\0\0\x09\0\0\0\0".to_vec();
    for tag in tags {
        let start = out.len();
        let time = tag.dts_ms.to_be_bytes();
        out.push(tag.kind);
        out.extend_from_slice(&(tag.body.len() as u32).to_be_bytes()[1..]);
        out.extend_from_slice(&[time[1], time[2], time[3], time[0], 0, 0, 0]);
        out.extend_from_slice(&tag.body);
        let size = (out.len() - start) as u32;
        out.extend_from_slice(&size.to_be_bytes());
    }
    out
}

/// Puts one clip behind another, `after_ms` later.
pub fn join(first: &[Tag], second: &[Tag], after_ms: u32) -> Vec<Tag> {
    let moved = second.iter().map(|tag| Tag {
        dts_ms: tag.dts_ms + after_ms,
        ..tag.clone()
    });
    first.iter().cloned().chain(moved).collect()
}

/// What the first bytes of a tag body say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Codec configuration: `avcC`, AudioSpecificConfig and the like.
    pub config: bool,
    /// Frame of media, as against configuration, end of sequence or metadata.
    pub media: bool,
    /// A picture that a decoder can start at.
    pub key: bool,
    /// H.264 NAL units behind lengths.
    pub avc: bool,
    /// Bytes before the codec's own payload.
    pub header: usize,
}

impl Shape {
    /// Reads the shape of a tag body, or of its first [`PLAIN_HEAD`] bytes.
    pub fn of(kind: u8, body: &[u8]) -> Shape {
        let nothing = Shape {
            config: false,
            media: false,
            key: false,
            avc: false,
            header: body.len(),
        };
        let (Some(&first), second) = (body.first(), body.get(1).copied()) else {
            return nothing;
        };
        match kind {
            VIDEO if first & 0x80 != 0 => {
                let packet = first & 15;
                // CodedFrames of AVC, HEVC and VVC carry a composition time; the others do not.
                let times = packet == 1 && matches!(body.get(1..5), Some(b"avc1" | b"hvc1" | b"vvc1"));
                Shape {
                    config: packet == 0,
                    media: matches!(packet, 1 | 3),
                    key: (first >> 4) & 7 == 1 && matches!(packet, 1 | 3),
                    avc: body.get(1..5) == Some(b"avc1"),
                    header: if times { 8 } else { 5 },
                }
            }
            VIDEO if first & 15 == 7 => Shape {
                config: second == Some(0),
                media: second == Some(1),
                key: first >> 4 == 1 && second == Some(1),
                avc: true,
                header: 5,
            },
            VIDEO => Shape {
                media: true,
                key: first >> 4 == 1,
                header: 1,
                ..nothing
            },
            AUDIO if first >> 4 == 9 => Shape {
                config: first & 15 == 0,
                media: first & 15 == 1,
                header: 5,
                ..nothing
            },
            AUDIO if first >> 4 == 10 => Shape {
                config: second == Some(0),
                media: second == Some(1),
                header: 2,
                ..nothing
            },
            AUDIO => Shape {
                media: true,
                header: 1,
                ..nothing
            },
            _ => nothing,
        }
    }
}

/// Tells a sink about a message or tag of which `head` are the first bytes.
pub(crate) fn emit(kind: u8, dts_ms: u32, size: usize, head: &[u8], sink: &mut dyn Sink) {
    let shape = Shape::of(kind, head);
    if shape.config {
        sink.config();
    } else if shape.media {
        let payload = head.get(shape.header..).unwrap_or_default();
        sink.frame(Frame {
            track: if kind == VIDEO { Track::Video } else { Track::Audio },
            dts_us: i64::from(dts_ms) * 1000,
            key: shape.key,
            size: size.saturating_sub(shape.header),
            stamp: (shape.avc && head.len() > PLAIN_HEAD)
                .then(|| Stamp::find(payload))
                .flatten(),
        });
    }
}

/// Walks a stream of tags.
#[derive(Debug)]
pub struct Reader {
    head_limit: usize,
    fixed: Vec<u8>,
    wanted: usize,
    state: State,
    body: Head,
}

#[derive(Debug)]
enum State {
    /// `FLV`, version, flags, offset, and the zero "previous tag size".
    FileHeader,
    /// 11 bytes.
    TagHeader,
    /// The body and the 4 bytes of its size behind it.
    Body {
        kind: u8,
        dts_ms: u32,
        size: usize,
        left: usize,
    },
    /// 4 bytes.
    Trailer,
}

impl Reader {
    /// A reader that keeps `head_limit` bytes of each body.
    pub fn new(head_limit: usize) -> Self {
        Self {
            head_limit,
            fixed: Vec::with_capacity(16),
            wanted: 13,
            state: State::FileHeader,
            body: Head::default(),
        }
    }

    /// Takes bytes as they come.
    pub fn feed(&mut self, mut data: &[u8], sink: &mut dyn Sink) -> Result<(), Error> {
        while !data.is_empty() {
            if let State::Body {
                kind,
                dts_ms,
                size,
                left,
            } = &mut self.state
            {
                let taken = data.len().min(*left);
                self.body.pass(&data[..taken]);
                data = &data[taken..];
                *left -= taken;
                if *left == 0 {
                    emit(*kind, *dts_ms, *size, self.body.bytes(), sink);
                    self.expect(4, State::Trailer);
                }
                continue;
            }
            let taken = data.len().min(self.wanted - self.fixed.len());
            self.fixed.extend_from_slice(&data[..taken]);
            data = &data[taken..];
            if self.fixed.len() == self.wanted {
                self.step()?;
            }
        }
        Ok(())
    }

    fn expect(&mut self, bytes: usize, state: State) {
        self.fixed.clear();
        self.wanted = bytes;
        self.state = state;
    }

    fn step(&mut self) -> Result<(), Error> {
        match self.state {
            State::FileHeader if !self.fixed.starts_with(b"FLV\x01") => return Err(Error::Malformed("FLV header")),
            State::FileHeader | State::Trailer => self.expect(11, State::TagHeader),
            State::TagHeader => {
                let h = &self.fixed;
                let size = u32::from_be_bytes([0, h[1], h[2], h[3]]) as usize;
                let (kind, dts_ms) = (h[0], u32::from_be_bytes([h[7], h[4], h[5], h[6]]));
                if !matches!(kind, AUDIO | VIDEO | DATA) {
                    return Err(Error::Malformed("FLV tag type"));
                }
                self.body.restart(self.head_limit);
                if size == 0 {
                    self.expect(4, State::Trailer);
                } else {
                    self.state = State::Body {
                        kind,
                        dts_ms,
                        size,
                        left: size,
                    };
                    self.fixed.clear();
                }
            }
            State::Body { .. } => {}
        }
        Ok(())
    }
}
