//! Reads RTMP chunks (RTMP 1.0 §5.3) and puts messages together. No I/O: bytes in, messages out.
//!
//! Memory grows with what was received, never with a declared length, and everything has a bound.

use std::collections::{HashMap, VecDeque};

use bytes::{Buf, Bytes, BytesMut};
use rtmp_rs::protocol::constants::{DEFAULT_CHUNK_SIZE, MSG_ABORT, MSG_AGGREGATE, MSG_SET_CHUNK_SIZE};

/// One whole message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Chunk stream that it came on.
    pub csid: u32,
    /// Message type (RTMP 1.0 §5.4, §7.1).
    pub type_id: u8,
    /// Message stream.
    pub stream_id: u32,
    /// Absolute, milliseconds, wrapping at 32 bits.
    pub timestamp: u32,
    /// Payload.
    pub body: Bytes,
}

/// Bounds of a reader.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Chunk streams that a peer may use; one more is an error.
    pub chunk_streams: usize,
    /// Longest message, bytes; also the most that unfinished messages hold together. A longer one is an error.
    pub message: usize,
}

impl Limits {
    /// Before a peer was admitted: commands only.
    pub const COMMANDS: Limits = Limits {
        chunk_streams: 64,
        message: 64 << 10,
    };
    /// Once it may send media.
    pub const MEDIA: Limits = Limits {
        chunk_streams: 64,
        message: 16 << 20,
    };
}

/// What a peer sent that is not RTMP, or too much of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChunkError {
    /// More chunk streams than allowed.
    #[error("more than {allowed} chunk streams")]
    TooManyChunkStreams {
        /// The bound.
        allowed: usize,
    },
    /// A message is too long, or unfinished ones hold too much.
    #[error("a message of {length} bytes, {allowed} are allowed")]
    TooLong {
        /// As declared, or held.
        length: usize,
        /// The bound.
        allowed: usize,
    },
    /// A short header without a full one before it.
    #[error("chunk stream {csid} begins with a header of type {fmt}")]
    NoHeader {
        /// Chunk stream.
        csid: u32,
        /// Header type.
        fmt: u8,
    },
    /// A new message began before the last one of the chunk stream ended.
    #[error("chunk stream {csid}: a new message begins within another")]
    Interrupted {
        /// Chunk stream.
        csid: u32,
    },
    /// A control message with a wrong length or value.
    #[error("malformed {what}")]
    Control {
        /// Which.
        what: &'static str,
    },
}

impl ChunkError {
    /// True if a bound was passed, false if the bytes make no sense.
    pub fn is_limit(self) -> bool {
        matches!(
            self,
            ChunkError::TooManyChunkStreams { .. } | ChunkError::TooLong { .. }
        )
    }
}

/// Assembles messages. Fill [`ChunkReader::input`], then call [`ChunkReader::next`] until it has none.
#[derive(Debug)]
pub struct ChunkReader {
    limits: Limits,
    chunk_size: usize,
    input: BytesMut,
    streams: HashMap<u32, ChunkStream>,
    /// The chunk whose payload is being read: chunk stream and bytes left.
    current: Option<(u32, usize)>,
    /// Bytes of all unfinished messages.
    held: usize,
    /// Parts of an aggregate message.
    split: VecDeque<Message>,
}

#[derive(Debug, Default)]
struct ChunkStream {
    timestamp: u32,
    /// The timestamp field of the last header, extended or not: the delta of what follows with a type 3 header.
    field: u32,
    extended: bool,
    length: usize,
    type_id: u8,
    stream_id: u32,
    /// What has come of the message so far; none between messages.
    partial: Option<Vec<u8>>,
}

/// A header as it stands on the wire.
struct Header {
    csid: u32,
    fmt: u8,
    size: usize,
    field: u32,
    extended: bool,
    length: usize,
    type_id: u8,
    stream_id: u32,
}

impl ChunkReader {
    /// A reader of a new connection, from after the handshake on.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            chunk_size: DEFAULT_CHUNK_SIZE as usize,
            input: BytesMut::new(),
            streams: HashMap::new(),
            current: None,
            held: 0,
            split: VecDeque::new(),
        }
    }

    /// Other bounds from here on.
    pub fn set_limits(&mut self, limits: Limits) {
        self.limits = limits;
    }

    /// Where received bytes are to be appended.
    pub fn input(&mut self) -> &mut BytesMut {
        &mut self.input
    }

    /// The next whole message, or none until there is more input. An error is final. Chunk sizes and aborts are obeyed
    /// and not handed out; aggregate messages come as their parts.
    #[allow(clippy::should_implement_trait)] // an iterator's None would be the end, here it is a pause
    pub fn next(&mut self) -> Result<Option<Message>, ChunkError> {
        loop {
            if let Some(message) = self.split.pop_front() {
                return Ok(Some(message));
            }
            let (csid, left) = match self.current {
                Some(current) => current,
                None => match self.begin_chunk()? {
                    Some(current) => current,
                    None => return Ok(None),
                },
            };
            let Some(message) = self.take_payload(csid, left)? else {
                if self.current.is_some() {
                    return Ok(None);
                }
                continue;
            };
            match message.type_id {
                MSG_SET_CHUNK_SIZE => self.chunk_size = chunk_size(&message.body)?,
                MSG_ABORT => self.abort(&message.body)?,
                MSG_AGGREGATE => split_aggregate(message, &mut self.split),
                _ => return Ok(Some(message)),
            }
        }
    }

    /// Reads a header, if it is whole, and makes its chunk the current one.
    fn begin_chunk(&mut self) -> Result<Option<(u32, usize)>, ChunkError> {
        let Some(header) = parse_header(&self.input, &self.streams)? else {
            return Ok(None);
        };
        let known = self.streams.len();
        let stream = match self.streams.entry(header.csid) {
            std::collections::hash_map::Entry::Occupied(entry) => entry.into_mut(),
            std::collections::hash_map::Entry::Vacant(_) if known >= self.limits.chunk_streams => {
                return Err(ChunkError::TooManyChunkStreams {
                    allowed: self.limits.chunk_streams,
                });
            }
            std::collections::hash_map::Entry::Vacant(entry) => entry.insert(ChunkStream::default()),
        };
        if stream.partial.is_none() {
            stream.begin(&header);
            if header.length > self.limits.message {
                return Err(ChunkError::TooLong {
                    length: header.length,
                    allowed: self.limits.message,
                });
            }
            stream.partial = Some(Vec::new());
        } else if header.fmt != 3 {
            return Err(ChunkError::Interrupted { csid: header.csid });
        }
        let have = stream.partial.as_ref().map_or(0, Vec::len);
        let left = (stream.length - have).min(self.chunk_size);
        self.input.advance(header.size);
        self.current = Some((header.csid, left));
        Ok(self.current)
    }

    /// Takes what has come of the current chunk's payload. Returns the message if that was its end.
    fn take_payload(&mut self, csid: u32, left: usize) -> Result<Option<Message>, ChunkError> {
        let here = left.min(self.input.len());
        if self.held + here > self.limits.message {
            return Err(ChunkError::TooLong {
                length: self.held + here,
                allowed: self.limits.message,
            });
        }
        let Some(stream) = self.streams.get_mut(&csid) else {
            return Ok(None);
        };
        let partial = stream.partial.get_or_insert_default();
        let need = partial.len() + here;
        if partial.capacity() < need {
            // Doubles as any Vec does, but never beyond the message's end: what is kept wastes nothing.
            let goal = (2 * partial.len()).max(need).min(stream.length);
            partial.reserve_exact(goal - partial.len());
        }
        partial.extend_from_slice(&self.input[..here]);
        self.input.advance(here);
        self.held += here;
        let whole = partial.len() == stream.length;
        self.current = (here < left).then_some((csid, left - here));
        if !whole {
            return Ok(None);
        }
        let body = stream.partial.take().unwrap_or_default();
        self.held -= body.len();
        Ok(Some(Message {
            csid,
            type_id: stream.type_id,
            stream_id: stream.stream_id,
            timestamp: stream.timestamp,
            body: Bytes::from(body),
        }))
    }

    /// Abort Message (RTMP 1.0 §5.4.2): what has come of a message is dropped.
    fn abort(&mut self, body: &[u8]) -> Result<(), ChunkError> {
        let csid = control_word(body, "abort")?;
        if let Some(partial) = self.streams.get_mut(&csid).and_then(|stream| stream.partial.take()) {
            self.held -= partial.len();
        }
        Ok(())
    }
}

impl ChunkStream {
    /// The first chunk of a message: RTMP 1.0 §5.3.1.2.
    fn begin(&mut self, header: &Header) {
        self.timestamp = match header.fmt {
            0 => header.field,
            _ => self.timestamp.wrapping_add(header.field),
        };
        self.field = header.field;
        self.extended = header.extended;
        self.length = header.length;
        self.type_id = header.type_id;
        self.stream_id = header.stream_id;
    }
}

/// The header at the front of `input`, or none if it is not whole.
fn parse_header(input: &[u8], streams: &HashMap<u32, ChunkStream>) -> Result<Option<Header>, ChunkError> {
    let Some(&first) = input.first() else { return Ok(None) };
    let fmt = first >> 6;
    let (csid, basic) = match (first & 0x3f, input.get(1), input.get(2)) {
        (0, Some(&a), _) => (64 + u32::from(a), 2),
        (1, Some(&a), Some(&b)) => (64 + u32::from(a) + 256 * u32::from(b), 3),
        (0 | 1, ..) => return Ok(None),
        (id, ..) => (u32::from(id), 1),
    };
    let last = streams.get(&csid);
    // librtmp pings with a type 1 header on a chunk stream that was never used.
    if last.is_none() && fmt > 1 {
        return Err(ChunkError::NoHeader { csid, fmt });
    }
    let fixed = [11, 7, 3, 0][usize::from(fmt)];
    let Some(h) = input.get(basic..basic + fixed) else {
        return Ok(None);
    };
    let short = |at: usize| u32::from_be_bytes([0, h[at], h[at + 1], h[at + 2]]);
    let mut header = Header {
        csid,
        fmt,
        size: basic + fixed,
        field: if fmt < 3 { short(0) } else { last.map_or(0, |l| l.field) },
        extended: if fmt < 3 {
            short(0) == 0xff_ffff
        } else {
            last.is_some_and(|l| l.extended)
        },
        length: if fmt < 2 {
            short(3) as usize
        } else {
            last.map_or(0, |l| l.length)
        },
        type_id: if fmt < 2 { h[6] } else { last.map_or(0, |l| l.type_id) },
        stream_id: match fmt {
            0 => u32::from_le_bytes([h[7], h[8], h[9], h[10]]),
            _ => last.map_or(0, |l| l.stream_id),
        },
    };
    if header.extended {
        let rest = &input[header.size..];
        let rest = &rest[..rest.len().min(4)];
        let expected = header.field.to_be_bytes();
        // Some encoders leave the extended timestamp out of type 3 chunks: it is there if it is the last one's.
        if fmt == 3 && !expected.starts_with(rest) {
            return Ok(Some(header));
        }
        let Ok(field) = <[u8; 4]>::try_from(rest) else {
            return Ok(None);
        };
        header.field = u32::from_be_bytes(field);
        header.size += 4;
    }
    Ok(Some(header))
}

fn control_word(body: &[u8], what: &'static str) -> Result<u32, ChunkError> {
    match body.first_chunk::<4>() {
        Some(word) => Ok(u32::from_be_bytes(*word)),
        None => Err(ChunkError::Control { what }),
    }
}

/// Set Chunk Size (RTMP 1.0 §5.4.1): 1 to 2^31 - 1.
fn chunk_size(body: &[u8]) -> Result<usize, ChunkError> {
    match control_word(body, "chunk size")? {
        size @ 1..=0x7fff_ffff => Ok(size as usize),
        _ => Err(ChunkError::Control { what: "chunk size" }),
    }
}

/// Aggregate Message (RTMP 1.0 §7.1.6): FLV tags, their times relative to the first. A torn end is left out.
fn split_aggregate(message: Message, out: &mut VecDeque<Message>) {
    let mut body = message.body;
    let mut first = None;
    while body.len() >= 11 {
        let length = u32::from_be_bytes([0, body[1], body[2], body[3]]) as usize;
        let time = u32::from_be_bytes([body[7], body[4], body[5], body[6]]);
        let type_id = body[0] & 0x1f;
        body.advance(11);
        if body.len() < length {
            return;
        }
        let part = body.split_to(length);
        body.advance(body.len().min(4));
        if type_id == MSG_AGGREGATE {
            continue;
        }
        out.push_back(Message {
            csid: message.csid,
            type_id,
            stream_id: message.stream_id,
            timestamp: message
                .timestamp
                .wrapping_add(time.wrapping_sub(*first.get_or_insert(time))),
            body: part,
        });
    }
}

#[cfg(test)]
mod tests;
