//! Server-sent events (HTML Living Standard §9.2.6) from bytes: only `data` matters here, since every event is one JSON
//! document that names its own type. Memory is bounded by [`LONGEST`] per event.

use thiserror::Error;

/// Longest event that is taken: a hello with 10,000 streams fits.
const LONGEST: usize = 8 * 1024 * 1024;

/// An event, or a line of it, was longer than allowed.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("an event is longer than {LONGEST} bytes")]
pub(super) struct TooLong;

/// Most memory that is kept from one event to the next, bytes: thousands of links wait at a time.
const KEPT: usize = 1024;

/// Bytes in, `data` texts out.
#[derive(Debug, Default)]
pub(super) struct Decoder {
    buffer: Vec<u8>,
    /// Bytes of `buffer` that have been read.
    read: usize,
    /// Bytes of `buffer` that are known to hold no line end but those that were read.
    searched: usize,
    data: Option<String>,
}

impl Decoder {
    /// Takes bytes as they came.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole event's data, or none until more bytes came.
    pub(super) fn event(&mut self) -> Result<Option<String>, TooLong> {
        while let Some(end) = self.line_end() {
            let line = &self.buffer[self.read..end];
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            if line.is_empty() {
                self.pass(end);
                if let Some(data) = self.data.take() {
                    return Ok(Some(data));
                }
                continue;
            }
            if let Some(value) = line.strip_prefix(b"data:") {
                let value = String::from_utf8_lossy(value.strip_prefix(b" ").unwrap_or(value));
                match &mut self.data {
                    Some(data) if data.len() + value.len() > LONGEST => return Err(TooLong),
                    None if value.len() > LONGEST => return Err(TooLong),
                    Some(data) => {
                        data.push('\n');
                        data.push_str(&value);
                    }
                    None => self.data = Some(value.into_owned()),
                }
            }
            self.pass(end);
        }
        self.buffer.drain(..self.read);
        self.searched -= self.read;
        self.read = 0;
        if self.buffer.len() > LONGEST {
            return Err(TooLong);
        }
        if self.buffer.len() <= KEPT {
            self.buffer.shrink_to(KEPT);
        }
        Ok(None)
    }

    /// Where the next whole line ends, its `\n` not counted.
    fn line_end(&mut self) -> Option<usize> {
        let end = self.buffer[self.searched..].iter().position(|&byte| byte == b'\n');
        match end {
            Some(end) => Some(self.searched + end),
            None => {
                self.searched = self.buffer.len();
                None
            }
        }
    }

    /// The line that ends here has been read.
    fn pass(&mut self, end: usize) {
        self.read = end + 1;
        self.searched = self.read;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(decoder: &mut Decoder) -> Vec<String> {
        std::iter::from_fn(|| decoder.event().unwrap()).collect()
    }

    #[test]
    fn events_come_out_whole_however_the_bytes_are_cut() {
        let text = ": hi\n\nevent: figures\r\ndata: {\"a\":1}\r\n\r\ndata:x\ndata: y\n\n";
        for size in 1..text.len() {
            let mut decoder = Decoder::default();
            let mut events = Vec::new();
            for piece in text.as_bytes().chunks(size) {
                decoder.push(piece);
                events.extend(all(&mut decoder));
            }
            assert_eq!(events, ["{\"a\":1}", "x\ny"], "pieces of {size}");
        }
    }

    #[test]
    fn a_line_without_end_is_refused() {
        let mut decoder = Decoder::default();
        decoder.push(&vec![b'x'; LONGEST + 1]);
        assert_eq!(decoder.event(), Err(TooLong));
    }

    #[test]
    fn an_event_without_end_is_refused() {
        let mut decoder = Decoder::default();
        let line = format!("data: {}\n", "x".repeat(LONGEST / 4));
        let mut refused = false;
        for _ in 0..5 {
            decoder.push(line.as_bytes());
            refused |= decoder.event().is_err();
        }
        assert!(refused);
    }
}
