//! Server-sent events (HTML Living Standard §9.2.6) from bytes: only `data` matters here, since every event is one JSON
//! document that names its own type. Memory is bounded by [`LONGEST`] per event.

use thiserror::Error;

/// Longest event that is taken: a hello with 10,000 streams fits.
const LONGEST: usize = 8 * 1024 * 1024;

/// An event, or a line of it, was longer than allowed.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("an event is longer than {LONGEST} bytes")]
pub(super) struct TooLong;

/// Bytes in, `data` texts out.
#[derive(Debug, Default)]
pub(super) struct Decoder {
    buffer: Vec<u8>,
    /// Bytes of `buffer` that are known to hold no line end.
    searched: usize,
    data: String,
    has_data: bool,
}

impl Decoder {
    /// Takes bytes as they came.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole event's data, or none until more bytes came.
    pub(super) fn event(&mut self) -> Result<Option<String>, TooLong> {
        loop {
            let Some(line) = self.line() else {
                return if self.buffer.len() > LONGEST {
                    Err(TooLong)
                } else {
                    Ok(None)
                };
            };
            if line.is_empty() {
                if std::mem::take(&mut self.has_data) {
                    return Ok(Some(std::mem::take(&mut self.data)));
                }
            } else if let Some(value) = line.strip_prefix("data:") {
                let value = value.strip_prefix(' ').unwrap_or(value);
                if self.data.len() + value.len() > LONGEST {
                    return Err(TooLong);
                }
                if self.has_data {
                    self.data.push('\n');
                }
                self.has_data = true;
                self.data.push_str(value);
            }
        }
    }

    /// The next whole line without its end (`\n` or `\r\n`).
    fn line(&mut self) -> Option<String> {
        let end = self.buffer[self.searched..].iter().position(|&byte| byte == b'\n');
        let Some(end) = end.map(|at| at + self.searched) else {
            self.searched = self.buffer.len();
            return None;
        };
        let cut = if end > 0 && self.buffer[end - 1] == b'\r' {
            end - 1
        } else {
            end
        };
        let line = String::from_utf8_lossy(&self.buffer[..cut]).into_owned();
        self.buffer.drain(..=end);
        self.searched = 0;
        Some(line)
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
