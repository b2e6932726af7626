//! Protocol control of one connection: window acknowledgements both ways, pings, and a socket that obeys them.

use std::io;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use rtmp_rs::protocol::RtmpMessage;
use rtmp_rs::protocol::constants::{
    MSG_ACKNOWLEDGEMENT, MSG_SET_PEER_BANDWIDTH, MSG_USER_CONTROL, MSG_WINDOW_ACK_SIZE, UC_PING_REQUEST,
};
use rtmp_rs::protocol::message::UserControlEvent;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::CHUNK_SIZE;
use super::chunk_reader::{ChunkError, ChunkReader, Limits, Message};
use super::command;
use super::handshake::HandshakeError;

/// Window that we announce: a peer that waits for acknowledgements is never held up by a round trip.
pub const WINDOW: u32 = 8 << 20;
/// A write that takes longer than this ends the connection.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);
/// Bytes asked for at once before a peer was admitted, and after it.
const SMALL_READ: usize = 4 << 10;
const BIG_READ: usize = 64 << 10;

/// Why a connection ended before its time.
#[derive(Debug, thiserror::Error)]
pub enum ConnectionError {
    /// It failed before there were messages.
    #[error(transparent)]
    Handshake(#[from] HandshakeError),
    /// What came is not RTMP.
    #[error("not RTMP: {0}")]
    Chunk(#[from] ChunkError),
    /// The socket failed.
    #[error("the connection broke: {0}")]
    Io(#[from] io::Error),
    /// The peer doesn't read.
    #[error("the peer took nothing for {} s", WRITE_TIMEOUT.as_secs())]
    WriteTimeout,
    /// The peer closed.
    #[error("the peer closed the connection")]
    Closed,
}

/// Accounts and answers that every connection owes. No I/O.
#[derive(Debug, Default)]
pub struct Control {
    /// 64 bits: the sum passes 2^32 on any long connection.
    received: u64,
    acknowledged: u64,
    window: Option<u32>,
}

impl Control {
    /// Counts received bytes (RTMP 1.0 §5.4.3, §5.4.4). Returns the acknowledgement, if one is due: each half window, so
    /// that no sender ever waits.
    pub fn received(&mut self, bytes: usize) -> Option<Bytes> {
        self.received += bytes as u64;
        let window = u64::from(self.window?);
        if self.received - self.acknowledged < window.div_ceil(2) {
            return None;
        }
        self.acknowledged = self.received;
        let sequence = self.received as u32; // wraps: the field has 32 bits
        Some(command::encode(&RtmpMessage::Acknowledgement { sequence }, CHUNK_SIZE))
    }

    /// Takes a message that concerns the connection alone, with what is to be sent in answer. Gives other messages back.
    pub fn take(&mut self, message: Message) -> Taken {
        match (message.type_id, message.body.as_ref()) {
            (MSG_WINDOW_ACK_SIZE, [a, b, c, d, ..]) => {
                self.window = Some(u32::from_be_bytes([*a, *b, *c, *d]).max(1_024));
                Taken::Done(None)
            }
            (MSG_SET_PEER_BANDWIDTH, [a, b, c, d, ..]) => {
                // It asks for acknowledgements of this window too (RTMP 1.0 §5.4.5); we limit nothing.
                self.window
                    .get_or_insert(u32::from_be_bytes([*a, *b, *c, *d]).max(1_024));
                Taken::Done(None)
            }
            (MSG_USER_CONTROL, [0, kind, a, b, c, d, ..]) if u16::from(*kind) == UC_PING_REQUEST => {
                let stamp = u32::from_be_bytes([*a, *b, *c, *d]);
                Taken::Done(Some(command::event(UserControlEvent::PingResponse(stamp))))
            }
            (MSG_ACKNOWLEDGEMENT | MSG_WINDOW_ACK_SIZE | MSG_SET_PEER_BANDWIDTH, _) => Taken::Done(None),
            _ => Taken::Other(message),
        }
    }
}

/// What [`Control::take`] made of a message.
#[derive(Debug)]
pub enum Taken {
    /// It is dealt with; this is to be sent.
    Done(Option<Bytes>),
    /// It is for the session.
    Other(Message),
}

/// A socket, its reader and its control: what servers and clients read messages from.
#[derive(Debug)]
pub struct Connection {
    io: TcpStream,
    reader: ChunkReader,
    control: Control,
    read_size: usize,
}

impl Connection {
    /// A connection after its handshake; `rest` is what came after it.
    pub fn new(io: TcpStream, rest: &[u8]) -> Self {
        let mut reader = ChunkReader::new(Limits::COMMANDS);
        reader.input().extend_from_slice(rest);
        let mut control = Control::default();
        control.received(rest.len());
        Self {
            io,
            reader,
            control,
            read_size: SMALL_READ,
        }
    }

    /// The peer may send media from here on: long messages and big reads.
    pub fn admit_media(&mut self) {
        self.reader.set_limits(Limits::MEDIA);
        self.read_size = BIG_READ;
    }

    /// The next message that is not protocol control. Cancel-safe but for answers that are being written, which are a
    /// few bytes. An end of the stream is [`ConnectionError::Closed`].
    pub async fn next(&mut self) -> Result<Message, ConnectionError> {
        loop {
            while let Some(message) = self.reader.next()? {
                match self.control.take(message) {
                    Taken::Other(message) => return Ok(message),
                    Taken::Done(Some(answer)) => self.send(&answer).await?,
                    Taken::Done(None) => {}
                }
            }
            let input = self.reader.input();
            input.reserve(self.read_size);
            let read = self.io.read_buf(input).await?;
            if read == 0 {
                return Err(ConnectionError::Closed);
            }
            if let Some(acknowledgement) = self.control.received(read) {
                self.send(&acknowledgement).await?;
            }
        }
    }

    /// Bytes received so far, the handshake left out.
    pub fn received(&self) -> u64 {
        self.control.received
    }

    /// Writes all of `bytes`.
    pub async fn send(&mut self, bytes: &[u8]) -> Result<(), ConnectionError> {
        match tokio::time::timeout(WRITE_TIMEOUT, self.io.write_all(bytes)).await {
            Ok(written) => Ok(written?),
            Err(_) => Err(ConnectionError::WriteTimeout),
        }
    }

    /// Says that no more will be sent, so that what was sent arrives before the end.
    pub async fn finish(mut self) {
        let _ = tokio::time::timeout(Duration::from_secs(1), self.io.shutdown()).await; // it is over either way
    }

    /// The socket, and the other half of the conversation.
    pub fn into_parts(self) -> (TcpStream, PlaySession) {
        let session = PlaySession {
            reader: self.reader,
            control: self.control,
        };
        (self.io, session)
    }
}

/// Sets what every RTMP socket needs: no delay of small writes, and keepalive below the idle timeouts of load balancers
/// (4 minutes at Azure's).
pub fn prepare(io: &TcpStream) -> io::Result<()> {
    io.set_nodelay(true)?;
    let keepalive = socket2::TcpKeepalive::new()
        .with_time(Duration::from_secs(60))
        .with_interval(Duration::from_secs(15));
    socket2::SockRef::from(io).set_tcp_keepalive(&keepalive)
}

/// The receiving side of a connection that only sends media from here on. No I/O: read into [`PlaySession::input`], then
/// call [`PlaySession::step`].
#[derive(Debug)]
pub struct PlaySession {
    reader: ChunkReader,
    control: Control,
}

/// What a peer wants of a session that sends media.
#[derive(Debug, PartialEq, Eq)]
pub enum Heard {
    /// Nothing, or these bytes in answer, to be written between two media messages; empty if there are none.
    Answer(Bytes),
    /// To stop: `closeStream` or `deleteStream`.
    Close,
}

impl PlaySession {
    /// Where to read into. Reserve little: a viewer says little.
    pub fn input(&mut self) -> &mut BytesMut {
        self.reader.input()
    }

    /// Looks at `read` more bytes of input.
    pub fn step(&mut self, read: usize) -> Result<Heard, ChunkError> {
        let mut answers = BytesMut::new();
        answers.extend(self.control.received(read));
        while let Some(message) = self.reader.next()? {
            match self.control.take(message) {
                Taken::Done(answer) => answers.extend(answer),
                Taken::Other(message) => match command::decode(&message) {
                    Ok(Some(command)) if matches!(command.name.as_str(), "closeStream" | "deleteStream" | "close") => {
                        return Ok(Heard::Close);
                    }
                    // Pause, seek and the like mean nothing to a live stream; what can't be read is no harm here.
                    Ok(_) | Err(_) => {}
                },
            }
        }
        // An idle viewer holds no buffer.
        if self.reader.input().is_empty() {
            *self.reader.input() = BytesMut::new();
        }
        Ok(Heard::Answer(answers.freeze()))
    }
}

/// Our side's first messages: window, bandwidth, chunk size. What follows may use [`CHUNK_SIZE`].
pub fn opening() -> Bytes {
    let default = rtmp_rs::protocol::constants::DEFAULT_CHUNK_SIZE;
    let mut out = BytesMut::new();
    out.put(command::encode(&RtmpMessage::WindowAckSize(WINDOW), default));
    let bandwidth = RtmpMessage::SetPeerBandwidth {
        size: WINDOW,
        limit_type: rtmp_rs::protocol::constants::BANDWIDTH_LIMIT_DYNAMIC,
    };
    out.put(command::encode(&bandwidth, default));
    out.put(command::encode(&RtmpMessage::SetChunkSize(CHUNK_SIZE), default));
    out.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn control(message: RtmpMessage) -> Message {
        let (type_id, body) = message.encode();
        Message {
            csid: 2,
            type_id,
            stream_id: 0,
            timestamp: 0,
            body,
        }
    }

    fn sequence(bytes: &Bytes) -> u32 {
        u32::from_be_bytes(bytes[bytes.len() - 4..].try_into().unwrap())
    }

    /// The session of rtmp-rs counted in 32 bits and panicked in a debug build.
    #[test]
    fn fault_13_acknowledgements_go_on_past_4_gib() {
        let mut taking = Control::default();
        assert!(matches!(
            taking.take(control(RtmpMessage::WindowAckSize(2_500_000))),
            Taken::Done(None)
        ));
        let mut total = 0_u64;
        let mut last = None;
        while total < (1 << 32) + 10_000_000 {
            total += 1_000_000;
            if let Some(bytes) = taking.received(1_000_000) {
                assert_eq!(sequence(&bytes), total as u32);
                last = Some(total);
            }
        }
        assert!(last.is_some_and(|at| at > 1 << 32), "acknowledged after the wrap");
    }

    #[test]
    fn a_peer_that_names_no_window_is_sent_no_acknowledgements() {
        assert_eq!(Control::default().received(100_000_000), None);
    }

    #[test]
    fn a_ping_is_answered_with_its_stamp() {
        let ping = control(RtmpMessage::UserControl(UserControlEvent::PingRequest(77)));
        let Taken::Done(Some(pong)) = Control::default().take(ping) else {
            panic!("no answer")
        };
        assert_eq!(sequence(&pong), 77);
    }

    #[test]
    fn a_player_is_heard_between_media() {
        let mut session = PlaySession {
            reader: ChunkReader::new(Limits::COMMANDS),
            control: Control::default(),
        };
        let ping = command::encode(&RtmpMessage::UserControl(UserControlEvent::PingRequest(5)), 128);
        session.input().extend_from_slice(&ping[..7]);
        assert_eq!(session.step(7), Ok(Heard::Answer(Bytes::new())));
        session.input().extend_from_slice(&ping[7..]);
        assert!(matches!(session.step(ping.len() - 7), Ok(Heard::Answer(pong)) if !pong.is_empty()));
    }
}
