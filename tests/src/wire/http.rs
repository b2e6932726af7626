//! HTTP/1.1 response as a viewer reads it: status, headers, and a body that is chunked or goes on to the end
//! (RFC 9112 §6 and §7).

use super::Error;

/// Longest response head.
const HEAD_LIMIT: usize = 16 * 1024;

/// Walks one response.
#[derive(Debug)]
pub struct Response {
    wanted: u16,
    line: Vec<u8>,
    state: State,
}

#[derive(Debug)]
enum State {
    /// Up to the empty line.
    Head,
    /// All that comes is body.
    Plain,
    /// The line with a chunk's size.
    ChunkSize,
    /// Body of a chunk and its line end.
    Chunk { left: usize },
    /// The line end behind a chunk.
    ChunkEnd { left: usize },
}

impl Response {
    /// A response that must have the status `wanted` (200, 101).
    pub fn new(wanted: u16) -> Self {
        Self {
            wanted,
            line: Vec::new(),
            state: State::Head,
        }
    }

    /// Takes bytes as they come and passes on those of the body.
    pub fn feed(&mut self, mut data: &[u8], body: &mut dyn FnMut(&[u8]) -> Result<(), Error>) -> Result<(), Error> {
        while !data.is_empty() {
            match &mut self.state {
                State::Head => {
                    data = self.head(data)?;
                }
                State::Plain => return body(data),
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
                    if left == 0 {
                        return Err(Error::Ended);
                    }
                    self.state = State::Chunk { left };
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
        self.state = if chunked { State::ChunkSize } else { State::Plain };
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
    fn another_status_is_a_refusal() {
        assert_eq!(
            body_of(b"HTTP/1.1 404 Not Found\r\n\r\n", 100).1,
            Err(Error::Refused("HTTP status 404".into()))
        );
    }
}
