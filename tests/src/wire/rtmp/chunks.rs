//! Chunks (Adobe RTMP 1.0 §5.3): walked on the way in, written on the way out.

use crate::wire::{Error, Head, Sink, flv};

/// Longest command that is read.
const COMMAND_LIMIT: usize = 64 * 1024;
/// Most chunk streams that a server may use.
const CHUNK_STREAMS: usize = 64;

/// Message type, §5.4.1.
pub(super) const SET_CHUNK_SIZE: u8 = 1;
const ABORT: u8 = 2;

/// Writes a message as chunks: fmt 0, then fmt 3, each with the extended timestamp where there is one (§5.3.1.3).
pub fn write(out: &mut Vec<u8>, csid: u8, kind: u8, time_ms: u32, stream_id: u32, body: &[u8], chunk: usize) {
    let extended = time_ms >= 0xff_ffff;
    out.push(csid);
    out.extend_from_slice(&time_ms.min(0xff_ffff).to_be_bytes()[1..]);
    out.extend_from_slice(&(body.len() as u32).to_be_bytes()[1..]);
    out.push(kind);
    out.extend_from_slice(&stream_id.to_le_bytes());
    for (index, part) in body.chunks(chunk).enumerate() {
        if index > 0 {
            out.push(0xc0 | csid);
        }
        if extended {
            out.extend_from_slice(&time_ms.to_be_bytes());
        }
        out.extend_from_slice(part);
    }
}

/// Takes whole messages that are not media: type and body.
type Control<'a> = dyn FnMut(u8, &[u8]) -> Result<(), Error> + 'a;

/// Walks a server's chunks.
#[derive(Debug)]
pub struct Chunks {
    head_limit: usize,
    chunk_size: usize,
    header: Vec<u8>,
    streams: Vec<ChunkStream>,
    /// Index into `streams` and bytes left of the chunk at hand.
    current: Option<(usize, usize)>,
}

#[derive(Debug, Default)]
struct ChunkStream {
    id: u32,
    time: u32,
    delta: u32,
    extended: bool,
    length: usize,
    kind: u8,
    left: usize,
    head: Head,
}

impl Chunks {
    /// A walker that keeps `head_limit` bytes of each media message.
    pub fn new(head_limit: usize) -> Self {
        Self {
            head_limit,
            chunk_size: 128,
            header: Vec::new(),
            streams: Vec::new(),
            current: None,
        }
    }

    /// Takes bytes as they come: frames go to `sink`, whole messages of other kinds to `control`.
    pub fn feed(&mut self, mut data: &[u8], sink: &mut dyn Sink, control: &mut Control<'_>) -> Result<(), Error> {
        while !data.is_empty() {
            if let Some((index, left)) = &mut self.current {
                let (index, taken) = (*index, data.len().min(*left));
                let stream = &mut self.streams[index];
                stream.head.pass(&data[..taken]);
                stream.left -= taken;
                *left -= taken;
                data = &data[taken..];
                if *left == 0 {
                    self.current = None;
                }
                if stream.left == 0 {
                    self.message(index, sink, control)?;
                }
                continue;
            }
            let wanted = self.header_length();
            let taken = data.len().min(wanted - self.header.len());
            self.header.extend_from_slice(&data[..taken]);
            data = &data[taken..];
            if self.header.len() == wanted && self.header_length() == wanted {
                let index = self.begin()?;
                if self.current.is_none() {
                    self.message(index, sink, control)?;
                }
            }
        }
        Ok(())
    }

    /// Length of the basic header and of the message header behind it, as far as it can be told.
    fn header_length(&self) -> usize {
        let Some(first) = self.header.first() else { return 1 };
        let basic = self.basic_length();
        if self.header.len() < basic {
            return basic;
        }
        let plain = basic + [11, 7, 3, 0][usize::from(first >> 6)];
        if self.header.len() < plain {
            return plain;
        }
        let extended = match first >> 6 {
            3 => self.stream_index().is_some_and(|index| self.streams[index].extended),
            _ => self.header[basic..basic + 3] == [0xff; 3],
        };
        plain + if extended { 4 } else { 0 }
    }

    fn basic_length(&self) -> usize {
        match self.header.first().map(|b| b & 63) {
            Some(0) => 2,
            Some(1) => 3,
            _ => 1,
        }
    }

    fn id(&self) -> u32 {
        let h = &self.header;
        match h[0] & 63 {
            0 => 64 + u32::from(h[1]),
            1 => 64 + u32::from(h[1]) + 256 * u32::from(h[2]),
            id => u32::from(id),
        }
    }

    fn stream_index(&self) -> Option<usize> {
        self.streams.iter().position(|s| s.id == self.id())
    }

    fn begin(&mut self) -> Result<usize, Error> {
        let format = self.header[0] >> 6;
        let index = match self.stream_index() {
            Some(index) => index,
            None if format == 3 || self.streams.len() == CHUNK_STREAMS => return Err(Error::Malformed("chunk stream")),
            None => {
                self.streams.push(ChunkStream {
                    id: self.id(),
                    ..Default::default()
                });
                self.streams.len() - 1
            }
        };
        let header = std::mem::take(&mut self.header);
        let h = &header[if header[0] & 63 < 2 {
            usize::from(header[0] & 63) + 2
        } else {
            1
        }..];
        let stream = &mut self.streams[index];
        let fresh = stream.left == 0;
        if format < 3 {
            stream.extended = h[..3] == [0xff; 3];
            let time = match h.len().checked_sub(4) {
                Some(at) if stream.extended => u32::from_be_bytes([h[at], h[at + 1], h[at + 2], h[at + 3]]),
                _ => u32::from_be_bytes([0, h[0], h[1], h[2]]),
            };
            stream.delta = time;
            if format < 2 {
                stream.length = u32::from_be_bytes([0, h[3], h[4], h[5]]) as usize;
                stream.kind = h[6];
            }
            stream.time = if format == 0 {
                time
            } else {
                stream.time.wrapping_add(time)
            };
            stream.left = 0;
        } else if fresh {
            stream.time = stream.time.wrapping_add(stream.delta);
        }
        if format < 3 || fresh {
            stream.left = stream.length;
            let media = matches!(stream.kind, flv::AUDIO | flv::VIDEO);
            stream.head.restart(if media { self.head_limit } else { COMMAND_LIMIT });
        }
        let left = stream.left.min(self.chunk_size);
        self.current = (left > 0).then_some((index, left));
        self.header = header;
        self.header.clear();
        Ok(index)
    }

    fn message(&mut self, index: usize, sink: &mut dyn Sink, control: &mut Control<'_>) -> Result<(), Error> {
        let stream = &self.streams[index];
        let body = stream.head.bytes();
        match stream.kind {
            flv::AUDIO | flv::VIDEO => flv::emit(stream.kind, stream.time, stream.length, body, sink),
            SET_CHUNK_SIZE => {
                let size = body
                    .get(..4)
                    .and_then(|b| b.try_into().ok())
                    .map_or(0, u32::from_be_bytes);
                if size == 0 || size > 0x7fff_ffff {
                    return Err(Error::Malformed("chunk size"));
                }
                self.chunk_size = size as usize;
            }
            ABORT => {
                let id = body
                    .get(..4)
                    .and_then(|b| b.try_into().ok())
                    .map_or(0, u32::from_be_bytes);
                self.streams.iter_mut().filter(|s| s.id == id).for_each(|s| s.left = 0);
            }
            kind => control(kind, body)?,
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Frame;

    #[derive(Default)]
    struct Kept(Vec<Frame>);

    impl Sink for Kept {
        fn frame(&mut self, frame: Frame) {
            self.0.push(frame);
        }
    }

    #[test]
    fn messages_come_out_however_they_are_cut() {
        let mut wire = Vec::new();
        let mut picture = vec![0x17, 1, 0, 0, 0];
        picture.resize(1000, 9);
        write(&mut wire, 6, flv::VIDEO, 40, 1, &picture, 128);
        write(&mut wire, 2, SET_CHUNK_SIZE, 0, 0, &300u32.to_be_bytes(), 128);
        write(&mut wire, 6, flv::VIDEO, 0x0100_0000, 1, &picture, 300);
        write(&mut wire, 4, flv::AUDIO, 50, 1, &[0xaf, 1, 5, 5, 5], 300);
        for step in [1, 2, 7, 100, 5000] {
            let (mut chunks, mut kept) = (Chunks::new(32), Kept::default());
            for piece in wire.chunks(step) {
                chunks.feed(piece, &mut kept, &mut |_, _| Ok(())).unwrap();
            }
            let seen: Vec<_> = kept.0.iter().map(|f| (f.dts_us / 1000, f.key, f.size)).collect();
            assert_eq!(
                seen,
                [(40, true, 995), (0x0100_0000, true, 995), (50, false, 3)],
                "{step}"
            );
        }
    }
}
