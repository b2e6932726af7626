//! WebSocket as a viewer speaks it: frames in, pongs out (RFC 6455 §5).

use super::Error;

/// Longest text message and control frame that is kept.
const TEXT_LIMIT: usize = 64 * 1024;

const CONTINUATION: u8 = 0;
const TEXT: u8 = 1;
const BINARY: u8 = 2;
const CLOSE: u8 = 8;
const PING: u8 = 9;

/// What a reader hands on.
pub enum Piece<'a> {
    /// Some bytes of a binary message.
    Binary(&'a [u8]),
    /// A whole text message.
    Text(&'a str),
}

/// Walks the frames of one server.
#[derive(Debug, Default)]
pub struct Reader {
    header: Vec<u8>,
    opcode: u8,
    message: u8,
    left: usize,
    kept: Vec<u8>,
}

impl Reader {
    /// Takes bytes as they come; a pong that is due is put into `out`.
    pub fn feed(
        &mut self,
        mut data: &[u8],
        out: &mut Vec<u8>,
        sink: &mut dyn FnMut(Piece<'_>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        while !data.is_empty() {
            if self.left == 0 {
                let wanted = self.header_length();
                let taken = data.len().min(wanted - self.header.len());
                self.header.extend_from_slice(&data[..taken]);
                data = &data[taken..];
                if self.header.len() == self.header_length() {
                    self.begin()?;
                    if self.left == 0 {
                        self.finish(out, sink)?;
                    }
                }
                continue;
            }
            let (part, rest) = data.split_at(data.len().min(self.left));
            data = rest;
            self.left -= part.len();
            if self.opcode == BINARY || (self.opcode == CONTINUATION && self.message == BINARY) {
                sink(Piece::Binary(part))?;
            } else if self.kept.len() + part.len() <= TEXT_LIMIT {
                self.kept.extend_from_slice(part);
            } else {
                return Err(Error::Malformed("WebSocket text: too long"));
            }
            if self.left == 0 {
                self.finish(out, sink)?;
            }
        }
        Ok(())
    }

    fn header_length(&self) -> usize {
        match self.header.get(1).map(|b| b & 127) {
            Some(126) => 4,
            Some(127) => 10,
            _ => 2,
        }
    }

    fn begin(&mut self) -> Result<(), Error> {
        let h = &self.header;
        if h[1] & 0x80 != 0 {
            return Err(Error::Malformed("WebSocket frame: a server must not mask"));
        }
        if h[0] & 0x70 != 0 {
            return Err(Error::Malformed("WebSocket frame: reserved bits"));
        }
        self.left = h[2..].iter().fold(0usize, |n, b| (n << 8) | usize::from(*b));
        if self.header_length() == 2 {
            self.left = usize::from(h[1]);
        }
        self.opcode = h[0] & 15;
        if matches!(self.opcode, TEXT | BINARY) {
            self.message = self.opcode;
        }
        Ok(())
    }

    fn finish(&mut self, out: &mut Vec<u8>, sink: &mut dyn FnMut(Piece<'_>) -> Result<(), Error>) -> Result<(), Error> {
        let last = self.header.first().is_some_and(|b| b & 0x80 != 0);
        self.header.clear();
        match self.opcode {
            CLOSE => return Err(Error::Ended),
            PING => {
                // A client's frames are masked; a zero mask leaves the payload as it is.
                out.extend_from_slice(&[0x8a, 0x80 | (self.kept.len() as u8 & 127), 0, 0, 0, 0]);
                out.extend_from_slice(&self.kept);
                self.kept.clear();
            }
            TEXT | CONTINUATION if last && self.message == TEXT => {
                let text = String::from_utf8(std::mem::take(&mut self.kept))
                    .map_err(|_| Error::Malformed("WebSocket text"))?;
                sink(Piece::Text(&text))?;
            }
            _ => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_come_out_whole_however_they_are_cut() {
        let long = vec![7u8; 70_000];
        let mut wire = vec![0x82, 3, 1, 2, 3, 0x81, 2, b'h', b'i', 0x89, 1, b'p', 0x82, 127];
        wire.extend_from_slice(&70_000u64.to_be_bytes());
        wire.extend_from_slice(&long);
        wire.extend_from_slice(&[0x82, 126, 0, 4, 9, 9, 9, 9]);
        for step in [1, 2, 3, 5, 64, 100_000] {
            let (mut reader, mut out) = (Reader::default(), Vec::new());
            let (mut binary, mut text) = (Vec::new(), Vec::new());
            for piece in wire.chunks(step) {
                reader
                    .feed(piece, &mut out, &mut |piece| {
                        match piece {
                            Piece::Binary(bytes) => binary.extend_from_slice(bytes),
                            Piece::Text(t) => text.push(t.to_owned()),
                        }
                        Ok(())
                    })
                    .unwrap();
            }
            assert_eq!(binary.len(), 3 + 70_000 + 4);
            assert_eq!(text, ["hi"]);
            assert_eq!(out, [0x8a, 0x81, 0, 0, 0, 0, b'p']);
        }
    }

    #[test]
    fn a_close_ends_it() {
        assert_eq!(
            Reader::default().feed(&[0x88, 0], &mut Vec::new(), &mut |_| Ok(())),
            Err(Error::Ended)
        );
    }
}
