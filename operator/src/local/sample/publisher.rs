//! A publisher's side of one RTMP connection (RTMP 1.0 §5, §7.2), as little of it as a publisher to our own origin needs.

use std::collections::HashMap;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use rtmp_rs::amf::AmfValue;
use rtmp_rs::protocol::chunk::RtmpChunk;
use rtmp_rs::protocol::message::{Command, DataMessage, UserControlEvent};
use rtmp_rs::protocol::{ChunkDecoder, Handshake, HandshakeRole, RtmpMessage, constants};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::{Destination, Error, STREAM, Tag};

const PATIENCE: Duration = Duration::from_secs(5);
const CHUNK: u32 = 60_000;
const CONTROL: u8 = constants::CSID_PROTOCOL_CONTROL as u8;
const COMMANDS: u8 = constants::CSID_COMMAND as u8;
const MEDIA: u8 = constants::CSID_VIDEO as u8;
/// More than this unread means that the other side is no origin of ours.
const MOST_UNREAD: usize = 1024 * 1024;

/// A connection on which publishing has begun.
pub(super) struct Publisher {
    socket: TcpStream,
    decoder: ChunkDecoder,
    received: BytesMut,
    chunk: u32,
    stream: u32,
}

impl Publisher {
    /// Connects, shakes hands and asks to publish.
    pub(super) async fn connect(destination: &Destination) -> Result<Self, Error> {
        let socket = timeout(PATIENCE, TcpStream::connect(destination.origin))
            .await
            .map_err(|_| Error::Timeout("the connection"))?
            .map_err(io("connect"))?;
        let _ = socket.set_nodelay(true);
        let mut publisher = Self {
            socket,
            decoder: ChunkDecoder::new(),
            received: BytesMut::new(),
            chunk: constants::DEFAULT_CHUNK_SIZE,
            stream: 0,
        };
        timeout(PATIENCE, publisher.handshake())
            .await
            .map_err(|_| Error::Timeout("the handshake"))??;
        publisher.begin(destination).await?;
        Ok(publisher)
    }

    async fn handshake(&mut self) -> Result<(), Error> {
        let mut handshake = Handshake::new(HandshakeRole::Client);
        let hello = handshake.generate_initial().unwrap_or_default();
        self.write(&hello).await?;
        let mut answer = vec![0; 1 + 2 * constants::HANDSHAKE_SIZE];
        self.socket.read_exact(&mut answer).await.map_err(io("shake hands"))?;
        let reply = handshake.process(&mut Bytes::from(answer)).map_err(protocol)?;
        self.write(&reply.unwrap_or_default()).await
    }

    async fn begin(&mut self, destination: &Destination) -> Result<(), Error> {
        self.message(CONTROL, 0, 0, &RtmpMessage::SetChunkSize(CHUNK).encode())
            .await?;
        self.chunk = CHUNK;
        let properties = HashMap::from([
            ("app".to_owned(), destination.app.as_str().into()),
            ("type".to_owned(), "nonprivate".into()),
            ("flashVer".to_owned(), "FMLE/3.0 (compatible; Headwater sample)".into()),
            (
                "tcUrl".to_owned(),
                format!("rtmp://{}/{}", destination.origin, destination.app).into(),
            ),
        ]);
        self.command("connect", 1.0, AmfValue::Object(properties), Vec::new())
            .await?;
        self.answer("connect", 1.0).await?;
        self.command("createStream", 2.0, AmfValue::Null, Vec::new()).await?;
        let created = self.answer("createStream", 2.0).await?;
        self.stream = created.first().and_then(AmfValue::as_number).unwrap_or(1.0) as u32;
        let name = match &destination.key {
            Some(key) => format!("{STREAM}?key={}", key.expose()),
            None => STREAM.to_owned(),
        };
        let arguments = vec![name.into(), "live".into()];
        self.command("publish", 3.0, AmfValue::Null, arguments).await?;
        self.answer("publish", 3.0).await.map(drop)
    }

    /// Sends one tag. Script data goes as publishers send it, wrapped in `@setDataFrame`.
    pub(super) async fn send(&mut self, tag: &Tag, time: u32) -> Result<(), Error> {
        let body = if tag.kind == constants::MSG_DATA_AMF0 {
            let wrapper = RtmpMessage::Data(DataMessage {
                name: constants::CMD_SET_DATA_FRAME.to_owned(),
                values: Vec::new(),
                stream_id: self.stream,
            });
            [wrapper.encode().1, tag.body.clone()].concat().into()
        } else {
            tag.body.clone()
        };
        self.message(MEDIA, self.stream, time, &(tag.kind, body)).await
    }

    /// Reads and answers what the origin says until `due`, which keeps its acknowledgements from filling the socket.
    pub(super) async fn listen_until(&mut self, due: impl Future<Output = ()>) -> Result<(), Error> {
        tokio::pin!(due);
        loop {
            tokio::select! {
                biased;
                () = &mut due => return Ok(()),
                heard = self.hear() => {
                    if let Some(refusal) = refusal(&heard?) {
                        return Err(Error::Refused { step: "the stream", answer: refusal });
                    }
                }
            }
        }
    }

    /// Waits for the answer to a command: `_result`, or `onStatus` for `publish`.
    async fn answer(&mut self, step: &'static str, transaction: f64) -> Result<Vec<AmfValue>, Error> {
        let waiting = async {
            loop {
                let RtmpMessage::Command(command) = self.hear().await? else {
                    continue;
                };
                if let Some(answer) = refusal(&RtmpMessage::Command(command.clone())) {
                    return Err(Error::Refused { step, answer });
                }
                let result = command.name == constants::CMD_RESULT && command.transaction_id == transaction;
                if result || (step == "publish" && command.name == constants::CMD_ON_STATUS) {
                    return Ok(command.arguments);
                }
            }
        };
        timeout(PATIENCE, waiting).await.map_err(|_| Error::Timeout(step))?
    }

    /// The next message. Cancelling it loses nothing: what was read is kept.
    async fn hear(&mut self) -> Result<RtmpMessage, Error> {
        loop {
            while let Some(chunk) = next_message(&mut self.decoder, &mut self.received)? {
                let message = RtmpMessage::from_chunk(&chunk).map_err(protocol)?;
                match message {
                    RtmpMessage::SetChunkSize(size) => self.decoder.set_chunk_size(size),
                    RtmpMessage::UserControl(UserControlEvent::PingRequest(time)) => {
                        let pong = RtmpMessage::UserControl(UserControlEvent::PingResponse(time));
                        self.message(CONTROL, 0, 0, &pong.encode()).await?;
                    }
                    message => return Ok(message),
                }
            }
            if self.received.len() > MOST_UNREAD {
                return Err(Error::Protocol("a message that is far too long".to_owned()));
            }
            if self.socket.read_buf(&mut self.received).await.map_err(io("read"))? == 0 {
                return Err(Error::Io {
                    step: "read",
                    source: std::io::ErrorKind::UnexpectedEof.into(),
                });
            }
        }
    }

    async fn command(&mut self, name: &str, id: f64, object: AmfValue, arguments: Vec<AmfValue>) -> Result<(), Error> {
        let command = RtmpMessage::Command(Command {
            name: name.to_owned(),
            transaction_id: id,
            command_object: object,
            arguments,
            stream_id: self.stream,
        });
        self.message(COMMANDS, self.stream, 0, &command.encode()).await
    }

    async fn message(&mut self, csid: u8, stream: u32, time: u32, (kind, body): &(u8, Bytes)) -> Result<(), Error> {
        let mut wire = BytesMut::with_capacity(body.len() + 64);
        write_message(&mut wire, self.chunk, csid, *kind, stream, time, body);
        self.write(&wire).await
    }

    async fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        timeout(PATIENCE, self.socket.write_all(bytes))
            .await
            .map_err(|_| Error::Timeout("a write"))?
            .map_err(io("write"))
    }
}

/// One message as a type 0 chunk and type 3 chunks (RTMP 1.0 §5.3.1), the extended time stamp on every one of them.
pub(super) fn write_message(wire: &mut BytesMut, size: u32, csid: u8, kind: u8, stream: u32, time: u32, body: &[u8]) {
    const EXTENDED: u32 = constants::EXTENDED_TIMESTAMP_THRESHOLD;
    for (index, piece) in body.chunks(size as usize).enumerate() {
        if index == 0 {
            wire.put_u8(csid);
            wire.put_uint(u64::from(time.min(EXTENDED)), 3);
            wire.put_uint(body.len() as u64, 3);
            wire.put_u8(kind);
            wire.put_u32_le(stream);
        } else {
            wire.put_u8(0xC0 | csid);
        }
        if time >= EXTENDED {
            wire.put_u32(time);
        }
        wire.put_slice(piece);
    }
}

/// The next whole message in `received`. The decoder takes one chunk a call and says nothing of whether there are more.
pub(super) fn next_message(decoder: &mut ChunkDecoder, received: &mut BytesMut) -> Result<Option<RtmpChunk>, Error> {
    loop {
        let before = received.len();
        let message = decoder.decode(received).map_err(protocol)?;
        if message.is_some() || received.len() == before {
            return Ok(message);
        }
    }
}

/// What the origin said, if it said no.
fn refusal(message: &RtmpMessage) -> Option<String> {
    let RtmpMessage::Command(command) = message else {
        return None;
    };
    let info = command.arguments.first();
    let said = |key| info.and_then(|info| info.get_string(key)).unwrap_or_default();
    let refused =
        command.name == constants::CMD_ERROR || (command.name == constants::CMD_ON_STATUS && said("level") == "error");
    refused.then(|| format!("{} {}", said("code"), said("description")))
}

fn io(step: &'static str) -> impl FnOnce(std::io::Error) -> Error {
    move |source| Error::Io { step, source }
}

fn protocol(error: rtmp_rs::Error) -> Error {
    Error::Protocol(error.to_string())
}
