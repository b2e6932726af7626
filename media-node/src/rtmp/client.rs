//! An RTMP client: connects, plays or publishes one stream. Every step has a deadline.

use std::io;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use headwater_contract::RELAY_PROPERTY;
use rtmp_rs::amf::AmfValue;
use rtmp_rs::protocol::RtmpMessage;
use rtmp_rs::protocol::constants::{
    MSG_AUDIO, MSG_COMMAND_AMF0, MSG_COMMAND_AMF3, MSG_DATA_AMF0, MSG_DATA_AMF3, MSG_USER_CONTROL, MSG_VIDEO,
};
use rtmp_rs::protocol::message::{Command, UserControlEvent};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};

use super::chunk_reader::Message;
use super::connection::{self, Connection, ConnectionError};
use super::url::RtmpUrl;
use super::{CHUNK_SIZE, command, handshake};

/// A source that can't be reached is given up after this, so that the next one is tried.
const CONNECT_DEADLINE: Duration = Duration::from_secs(2);
/// Handshake and each command together.
const COMMAND_DEADLINE: Duration = Duration::from_secs(5);
/// `play` may wait longer: a node asked on demand pulls the stream itself first, and answers within 5 s.
const PLAY_DEADLINE: Duration = Duration::from_secs(6);

/// Why a client failed. Holds no query of a URL.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// No TCP connection.
    #[error("failed to connect to {address}: {source}")]
    Connect {
        /// Host and port.
        address: String,
        /// Why.
        source: io::Error,
    },
    /// The server took too long.
    #[error("{step} took longer than {} s", after.as_secs())]
    Timeout {
        /// What was waited for.
        step: &'static str,
        /// The deadline.
        after: Duration,
    },
    /// The connection failed in a step.
    #[error("{step}: {source}")]
    Connection {
        /// Which.
        step: &'static str,
        /// Why.
        source: ConnectionError,
    },
    /// The server said no.
    #[error("{step} was refused: {code} {description}")]
    Refused {
        /// Which.
        step: &'static str,
        /// Status code.
        code: String,
        /// The server's words, cut to 200 characters.
        description: String,
    },
    /// The server doesn't have the stream.
    #[error("the server has no such stream")]
    NotFound,
}

/// What a playing client is sent.
#[derive(Debug)]
pub enum Incoming {
    /// Audio, video or script data.
    Media(Message),
    /// The server says that the stream has ended.
    Ended,
    /// The server refuses to go on.
    Refused(ClientError),
}

/// A connection on which `connect` and `createStream` have succeeded.
#[derive(Debug)]
pub struct Client {
    connection: Connection,
    stream_id: u32,
    transaction: f64,
}

impl Client {
    /// Connects to `url`'s server and app. `relay` asks for clock messages.
    pub async fn connect(url: &RtmpUrl, relay: bool) -> Result<Self, ClientError> {
        let address = format!("{}:{}", url.host, url.port);
        let io = timeout(CONNECT_DEADLINE, TcpStream::connect((url.host.as_str(), url.port)))
            .await
            .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
            .and_then(|io| connection::prepare(&io).map(|()| io))
            .map_err(|source| ClientError::Connect { address, source })?;
        Self::over(io, url, relay).await
    }

    async fn over(mut io: TcpStream, url: &RtmpUrl, relay: bool) -> Result<Self, ClientError> {
        let mut rest = BytesMut::new();
        handshake::connect(&mut io, &mut rest)
            .await
            .map_err(|e| failed("handshake", e.into()))?;
        let mut client = Self {
            connection: Connection::new(io, &rest),
            stream_id: 0,
            transaction: 0.0,
        };
        client.write("connect", &connection::opening()).await?;
        client.call("connect", connect_object(url, relay), vec![]).await?;
        let answer = client.call("createStream", AmfValue::Null, vec![]).await?;
        client.stream_id = answer.arguments.first().and_then(AmfValue::as_number).unwrap_or(1.0) as u32;
        Ok(client)
    }

    /// The message stream id that the server gave.
    pub fn stream_id(&self) -> u32 {
        self.stream_id
    }

    /// Bytes received so far.
    pub fn received(&self) -> u64 {
        self.connection.received()
    }

    /// Asks for a stream, and waits until the server says that it begins. `name` may carry a query.
    pub async fn play(&mut self, name: &str) -> Result<(), ClientError> {
        const STEP: &str = "play";
        let live = AmfValue::Number(-1_000.0); // `start`: live only (RTMP 1.0 §7.2.2.1)
        self.send_command("play", AmfValue::Null, vec![AmfValue::String(name.to_owned()), live])
            .await?;
        let buffer = UserControlEvent::SetBufferLength {
            stream_id: self.stream_id,
            buffer_ms: 1_000,
        };
        self.write(STEP, &command::event(buffer)).await?;
        self.connection.admit_media();
        self.await_status(STEP, PLAY_DEADLINE, "NetStream.Play.Start").await
    }

    /// Offers a stream, and waits until the server takes it. `name` may carry a query.
    pub async fn publish(&mut self, name: &str) -> Result<(), ClientError> {
        let text = AmfValue::String(name.to_owned());
        for courtesy in ["releaseStream", "FCPublish"] {
            self.send_command(courtesy, AmfValue::Null, vec![text.clone()]).await?;
        }
        let kind = AmfValue::String("live".to_owned());
        self.send_command("publish", AmfValue::Null, vec![text, kind]).await?;
        self.await_status("publish", COMMAND_DEADLINE, "NetStream.Publish.Start")
            .await
    }

    /// Takes a published stream back, and closes.
    pub async fn unpublish(mut self, name: &str) {
        let text = AmfValue::String(name.to_owned());
        let id = AmfValue::Number(f64::from(self.stream_id));
        if self
            .send_command("FCUnpublish", AmfValue::Null, vec![text])
            .await
            .is_ok()
            && self
                .send_command("deleteStream", AmfValue::Null, vec![id])
                .await
                .is_ok()
        {
            self.connection.finish().await;
        }
    }

    /// The next thing that matters to a player. Cancel-safe.
    pub async fn next(&mut self) -> Result<Incoming, ClientError> {
        loop {
            let message = self.connection.next().await.map_err(|e| failed("play", e))?;
            match message.type_id {
                MSG_AUDIO | MSG_VIDEO | MSG_DATA_AMF0 | MSG_DATA_AMF3 => return Ok(Incoming::Media(message)),
                // StreamEOF (RTMP 1.0 §7.1.7)
                MSG_USER_CONTROL if message.body.starts_with(&[0, 1]) => return Ok(Incoming::Ended),
                _ => {}
            }
            let Some(status) = Status::of(&message, self.transaction) else {
                continue;
            };
            match status.code.as_str() {
                "NetStream.Play.UnpublishNotify"
                | "NetStream.Play.Stop"
                | "NetStream.Play.Complete"
                | "NetStream.Play.StreamNotFound" => return Ok(Incoming::Ended),
                _ if status.level == "error" => return Ok(Incoming::Refused(status.refused("play"))),
                _ => {}
            }
        }
    }

    /// Writes media that was muxed for [`Client::stream_id`] in chunks of [`CHUNK_SIZE`].
    pub async fn send(&mut self, bytes: &[Bytes]) -> Result<(), ClientError> {
        let whole: BytesMut = bytes.iter().flatten().copied().collect();
        self.write("publish", &whole).await
    }

    /// Listens while publishing; returns only when the server says no or is gone. Cancel-safe.
    pub async fn refusal(&mut self) -> ClientError {
        loop {
            match self.connection.next().await {
                Ok(message) => match Status::of(&message, self.transaction) {
                    Some(status) if status.level == "error" => return status.refused("publish"),
                    _ => {}
                },
                Err(error) => return failed("publish", error),
            }
        }
    }

    /// Sends a command and waits for its result.
    async fn call(
        &mut self,
        name: &'static str,
        object: AmfValue,
        arguments: Vec<AmfValue>,
    ) -> Result<Command, ClientError> {
        let transaction = self.send_command(name, object, arguments).await?;
        let deadline = Instant::now() + COMMAND_DEADLINE;
        loop {
            let message = self.next_within(name, deadline, COMMAND_DEADLINE).await?;
            let Ok(Some(answer)) = command::decode(&message) else {
                continue;
            };
            if answer.transaction_id != transaction {
                continue;
            }
            match answer.name.as_str() {
                "_result" => return Ok(answer),
                "_error" => return Err(Status::from(&answer).refused(name)),
                _ => {}
            }
        }
    }

    async fn await_status(&mut self, step: &'static str, after: Duration, goal: &str) -> Result<(), ClientError> {
        let deadline = Instant::now() + after;
        loop {
            let message = self.next_within(step, deadline, after).await?;
            let Some(status) = Status::of(&message, self.transaction) else {
                continue;
            };
            match status.code.as_str() {
                code if code == goal => return Ok(()),
                "NetStream.Play.StreamNotFound" => return Err(ClientError::NotFound),
                _ if status.level == "error" => return Err(status.refused(step)),
                _ => {}
            }
        }
    }

    async fn next_within(
        &mut self,
        step: &'static str,
        deadline: Instant,
        after: Duration,
    ) -> Result<Message, ClientError> {
        timeout_at(deadline, self.connection.next())
            .await
            .map_err(|_| ClientError::Timeout { step, after })?
            .map_err(|source| failed(step, source))
    }

    async fn send_command(
        &mut self,
        name: &'static str,
        object: AmfValue,
        arguments: Vec<AmfValue>,
    ) -> Result<f64, ClientError> {
        self.transaction += 1.0;
        let command = Command {
            name: name.to_owned(),
            transaction_id: self.transaction,
            command_object: object,
            arguments,
            stream_id: if matches!(name, "play" | "publish") {
                self.stream_id
            } else {
                0
            },
        };
        let bytes = command::encode(&RtmpMessage::Command(command), CHUNK_SIZE);
        self.write(name, &bytes).await?;
        Ok(self.transaction)
    }

    async fn write(&mut self, step: &'static str, bytes: &[u8]) -> Result<(), ClientError> {
        self.connection.send(bytes).await.map_err(|e| failed(step, e))
    }
}

fn failed(step: &'static str, source: ConnectionError) -> ClientError {
    ClientError::Connection { step, source }
}

/// The command object of `connect` (RTMP 1.0 §7.2.1.1, Enhanced RTMP v2).
fn connect_object(url: &RtmpUrl, relay: bool) -> AmfValue {
    let text = |text: &str| AmfValue::String(text.to_owned());
    let mut object = command::object([
        ("app", text(&url.app)),
        ("flashVer", text("FMLE/3.0 (compatible; Headwater)")),
        ("tcUrl", AmfValue::String(url.tc_url())),
        ("type", text("nonprivate")),
        ("fpad", AmfValue::Boolean(false)),
        ("capabilities", AmfValue::Number(239.0)),
        ("audioCodecs", AmfValue::Number(4_071.0)),
        ("videoCodecs", AmfValue::Number(252.0)),
        ("videoFunction", AmfValue::Number(1.0)),
        ("objectEncoding", AmfValue::Number(0.0)),
        ("fourCcList", AmfValue::Array(vec![text("*")])),
    ]);
    if relay && let Some(fields) = object.as_object_mut() {
        fields.insert(RELAY_PROPERTY.to_owned(), AmfValue::Boolean(true));
    }
    object
}

/// What an `onStatus` or `_error` says.
struct Status {
    level: String,
    code: String,
    description: String,
}

impl Status {
    /// `transaction` is that of our last command: refusals of courtesies before it (FCPublish, …) mean nothing.
    fn of(message: &Message, transaction: f64) -> Option<Self> {
        if !matches!(message.type_id, MSG_COMMAND_AMF0 | MSG_COMMAND_AMF3) {
            return None;
        }
        let command = command::decode(message).ok()??;
        match command.name.as_str() {
            "onStatus" => Some(Self::from(&command)),
            "_error" if command.transaction_id == transaction => Some(Self {
                level: "error".to_owned(),
                ..Self::from(&command)
            }),
            _ => None,
        }
    }

    fn from(command: &Command) -> Self {
        let info = command.arguments.iter().find(|argument| argument.as_object().is_some());
        let text = |field| {
            let text = info.and_then(|info| info.get_string(field)).unwrap_or_default();
            text.chars().take(200).collect::<String>()
        };
        Self {
            level: text("level"),
            code: text("code"),
            description: text("description"),
        }
    }

    fn refused(self, step: &'static str) -> ClientError {
        ClientError::Refused {
            step,
            code: self.code,
            description: self.description,
        }
    }
}

#[cfg(test)]
mod tests;
