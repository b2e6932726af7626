//! HTTP/1.1 response as a viewer reads it: status, headers, and a body that is chunked, has its length, or goes on to the
//! end (RFC 9112 §6 and §7).

use super::Error;

/// Longest response head.
const HEAD_LIMIT: usize = 16 * 1024;

/// Walks one response.
#[derive(Debug)]
pub struct Response {
    wanted: u16,
    /// The connection is used again: the body's end must be known.
    kept: bool,
    line: Vec<u8>,
    state: State,
}

#[derive(Debug)]
enum State {
    /// Up to the empty line.
    Head,
    /// All that comes is body.
    Plain,
    /// So much of the body is to come.
    Sized { left: usize },
    /// The line with a chunk's size.
    ChunkSize,
    /// Body of a chunk and its line end.
    Chunk { left: usize },
    /// The line end behind a chunk.
    ChunkEnd { left: usize },
    /// Lines behind the last chunk, up to an empty one; so long is the one at hand.
    Trailer { length: usize },
    /// All has come.
    Done,
}

impl Response {
    /// A response that must have the status `wanted` (200, 101).
    pub fn new(wanted: u16) -> Self {
        Self {
            wanted,
            kept: false,
            line: Vec::new(),
            state: State::Head,
        }
    }

    /// A response with status 200 on a connection that is used again.
    pub fn kept() -> Self {
        Self {
            kept: true,
            ..Self::new(200)
        }
    }

    /// True once all of a kept response has come.
    pub fn done(&self) -> bool {
        matches!(self.state, State::Done)
    }

    /// Takes bytes as they come and passes on those of the body.
    pub fn feed(&mut self, mut data: &[u8], body: &mut dyn FnMut(&[u8]) -> Result<(), Error>) -> Result<(), Error> {
        while !data.is_empty() {
            match &mut self.state {
                State::Head => {
                    data = self.head(data)?;
                }
                State::Plain => return body(data),
                State::Sized { left } => {
                    let taken = data.len().min(*left);
                    *left -= taken;
                    let (part, rest) = data.split_at(taken);
                    if *left == 0 {
                        self.state = State::Done;
                    }
                    body(part)?;
                    data = rest;
                }
                State::Trailer { length } => {
                    let end = data.iter().position(|b| *b == b'\n');
                    *length += end.unwrap_or(data.len());
                    let Some(end) = end else { return Ok(()) };
                    data = &data[end + 1..];
                    // An empty line has its carriage return alone.
                    self.state = if *length <= 1 {
                        State::Done
                    } else {
                        State::Trailer { length: 0 }
                    };
                }
                State::Done => return Err(Error::Malformed("response: bytes behind its end")),
                State::ChunkSize => {
                    let end = data.iter().position(|b| *b == b'\n');
                    self.line.extend_from_slice(&data[..end.unwrap_or(data.len())]);
                    if self.line.len() > 64 {
                        return Err(Error::Malformed("chunk size"));
                    }
                    let Some(end) = end else { return Ok(()) };
                    data = &data[end + 1..];
                    let text = String::from_utf8_lossy(&self.line).into_owned();
                    let digits = text.split(';').next().unwrap_or_default().trim();
                    let left = usize::from_str_radix(digits, 16).map_err(|_| Error::Malformed("chunk size"))?;
                    self.line.clear();
                    self.state = match left {
                        0 if self.kept => State::Trailer { length: 0 },
                        0 => return Err(Error::Ended),
                        left => State::Chunk { left },
                    };
                }
                State::Chunk { left } => {
                    let taken = data.len().min(*left);
                    *left -= taken;
                    let (part, rest) = data.split_at(taken);
                    if *left == 0 {
                        self.state = State::ChunkEnd { left: 2 };
                    }
                    body(part)?;
                    data = rest;
                }
                State::ChunkEnd { left } => {
                    let taken = data.len().min(*left);
                    *left -= taken;
                    data = &data[taken..];
                    if *left == 0 {
                        self.state = State::ChunkSize;
                    }
                }
            }
        }
        Ok(())
    }

    fn head<'a>(&mut self, data: &'a [u8]) -> Result<&'a [u8], Error> {
        let before = self.line.len();
        self.line.extend_from_slice(&data[..data.len().min(HEAD_LIMIT)]);
        let Some(end) = self.line.windows(4).position(|w| w == b"\r\n\r\n").map(|at| at + 4) else {
            if self.line.len() >= HEAD_LIMIT {
                return Err(Error::Malformed("response head"));
            }
            return Ok(&[]);
        };
        let head = String::from_utf8_lossy(&self.line[..end]).to_ascii_lowercase();
        let status = head.split_whitespace().nth(1).and_then(|s| s.parse::<u16>().ok());
        match status {
            Some(status) if status == self.wanted => {}
            Some(status) => return Err(Error::Refused(format!("HTTP status {status}"))),
            None => return Err(Error::Malformed("response head")),
        }
        let chunked = head
            .lines()
            .any(|l| l.starts_with("transfer-encoding:") && l.contains("chunked"));
        let length = head.lines().find_map(|l| l.strip_prefix("content-length:"));
        let length = length.and_then(|length| length.trim().parse::<usize>().ok());
        self.state = match length {
            _ if chunked => State::ChunkSize,
            _ if !self.kept => State::Plain,
            Some(0) => State::Done,
            Some(left) => State::Sized { left },
            None => return Err(Error::Malformed("response without a length on a kept connection")),
        };
        self.line.clear();
        Ok(&data[end - before..])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body_of(wire: &[u8], step: usize) -> (Vec<u8>, Result<(), Error>) {
        let mut got = Vec::new();
        let mut response = Response::new(200);
        for piece in wire.chunks(step) {
            let result = response.feed(piece, &mut |body| {
                got.extend_from_slice(body);
                Ok(())
            });
            if result.is_err() {
                return (got, result);
            }
        }
        (got, Ok(()))
    }

    #[test]
    fn chunked_and_plain_bodies_come_out_whole_however_they_are_cut() {
        let chunked =
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n6;x=y\r\n world\r\n0\r\n\r\n";
        let plain = b"HTTP/1.1 200 OK\r\nContent-Type: video/mp4\r\n\r\nhello world";
        for step in 1..chunked.len() {
            assert_eq!(
                body_of(chunked, step),
                (b"hello world".to_vec(), Err(Error::Ended)),
                "{step}"
            );
            assert_eq!(body_of(plain, step), (b"hello world".to_vec(), Ok(())), "{step}");
        }
    }

    #[test]
    fn a_kept_response_ends_where_its_length_or_its_last_chunk_says() {
        let sized = b"HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\nhello world";
        let chunked =
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n6\r\n world\r\n0\r\nx: y\r\n\r\n";
        for wire in [&sized[..], &chunked[..]] {
            for step in 1..wire.len() {
                let (mut got, mut response) = (Vec::new(), Response::kept());
                for (index, piece) in wire.chunks(step).enumerate() {
                    assert!(!response.done(), "{step} {index}");
                    response
                        .feed(piece, &mut |body| {
                            got.extend_from_slice(body);
                            Ok(())
                        })
                        .unwrap();
                }
                assert!(response.done() && got == b"hello world", "{step}");
            }
        }
        let unknown = b"HTTP/1.1 200 OK\r\n\r\nhello";
        assert!(Response::kept().feed(unknown, &mut |_| Ok(())).is_err());
    }

    #[test]
    fn another_status_is_a_refusal() {
        assert_eq!(
            body_of(b"HTTP/1.1 404 Not Found\r\n\r\n", 100).1,
            Err(Error::Refused("HTTP status 404".into()))
        );
    }
}
