//! The server's side of an RTMP conversation, up to the point at which media flows: one state, one step. No I/O.

use bytes::{BufMut, Bytes, BytesMut};
use headwater_contract::{PublishKey, RELAY_PROPERTY, Role};
use rtmp_rs::amf::AmfValue;
use rtmp_rs::protocol::constants::{MSG_AUDIO, MSG_DATA_AMF0, MSG_DATA_AMF3, MSG_VIDEO};
use rtmp_rs::protocol::message::{Command, UserControlEvent};
use rtmp_rs::protocol::{ConnectParams, ConnectResponseBuilder, EnhancedCapabilities};

use super::admit::{Publish, Refused};
use crate::meters::Refusal;
use crate::names::{AppName, NameError, StreamName};
use crate::rtmp::chunk_reader::Message;
use crate::rtmp::{MEDIA_STREAM, command, connection};

/// A conversation.
#[derive(Debug)]
pub(super) struct Session {
    role: Role,
    app: AppName,
    state: State,
}

#[derive(Debug)]
enum State {
    /// After the handshake: only `connect` is taken.
    Fresh,
    /// `connect` has succeeded.
    Connected(Peer),
    /// `createStream` was answered: `publish` or `play` may come.
    Open(Peer),
    /// `publish` was handed out: media may come.
    Publishing,
    /// Nothing more is taken.
    Over,
}

/// What `connect` told about the peer.
#[derive(Clone, Debug, Default)]
struct Peer {
    relay: bool,
    /// Stream name given with the app, as by encoders that have one field for the whole URL.
    stream: Option<String>,
    key: Option<PublishKey>,
}

/// What a step leads to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// To the next message.
    Go,
    /// The peer wants to publish: to be answered with [`publish_started`] or [`publish_refused`].
    Publish(Publish),
    /// The peer wants to play.
    Play {
        name: StreamName,
        /// It asked for clock messages.
        relay: bool,
    },
    /// Media of a publisher.
    Media(Message),
    /// The publisher is done.
    Unpublish,
    /// The peer is told why and closed.
    Refuse(Refusal),
    /// The peer is done.
    Close,
}

/// Result of a step: `replies` first.
#[derive(Debug)]
pub(super) struct Step {
    pub(super) replies: Bytes,
    pub(super) next: Next,
}

impl Step {
    fn go(replies: Bytes) -> Self {
        Self {
            replies,
            next: Next::Go,
        }
    }

    fn silent(next: Next) -> Self {
        Self {
            replies: Bytes::new(),
            next,
        }
    }

    fn refuse(replies: Bytes, reason: Refusal) -> Self {
        Self {
            replies,
            next: Next::Refuse(reason),
        }
    }
}

impl Session {
    /// After the handshake, on a node of that role that serves `app`.
    pub(super) fn new(role: Role, app: AppName) -> Self {
        Self {
            role,
            app,
            state: State::Fresh,
        }
    }

    /// True once `connect` has succeeded.
    pub(super) fn connected(&self) -> bool {
        !matches!(self.state, State::Fresh)
    }

    /// Takes a message.
    pub(super) fn step(&mut self, message: Message) -> Step {
        if matches!(message.type_id, MSG_AUDIO | MSG_VIDEO | MSG_DATA_AMF0 | MSG_DATA_AMF3) {
            // Media before `publish` was admitted is nobody's.
            return Step::silent(match self.state {
                State::Publishing => Next::Media(message),
                _ => Next::Go,
            });
        }
        let command = match command::decode(&message) {
            Ok(Some(command)) => command,
            Ok(None) => return Step::silent(Next::Go),
            Err(error) => {
                self.state = State::Over;
                let text = error.to_string();
                let status = command::status(0, "error", "NetConnection.Call.BadVersion", &text);
                return Step::refuse(status, Refusal::Malformed);
            }
        };
        match std::mem::replace(&mut self.state, State::Over) {
            State::Fresh => self.fresh(&command),
            State::Connected(peer) => self.connected_command(peer, &command),
            State::Open(peer) => self.open(peer, &command),
            State::Publishing => self.publishing(&command),
            State::Over => Step::silent(Next::Close),
        }
    }

    fn fresh(&mut self, command: &Command) -> Step {
        if command.name != "connect" {
            let text = "connect comes first";
            let status = command::status(0, "error", "NetConnection.Call.Failed", text);
            return Step::refuse(status, Refusal::NotAllowed);
        }
        let params = ConnectParams::from_amf(&command.command_object);
        let Some(peer) = self.peer(&params) else {
            let text = format!(
                "this server's app is {0:?}: use rtmp://HOST/{0}/STREAM",
                self.app.as_str()
            );
            let mut replies = BytesMut::from(&connection::opening()[..]);
            replies.put(connect_error(command.transaction_id, "InvalidApp", &text));
            return Step::refuse(replies.freeze(), Refusal::NotAllowed);
        };
        self.state = State::Connected(peer);
        let mut replies = BytesMut::from(&connection::opening()[..]);
        replies.put(connect_result(command.transaction_id));
        Step::go(replies.freeze())
    }

    /// The peer, if its app is ours: `app`, `app/stream`, either with `?key=`.
    fn peer(&self, params: &ConnectParams) -> Option<Peer> {
        let (path, query) = split_query(&params.app);
        let rest = path.trim_matches('/').strip_prefix(self.app.as_str())?;
        let stream = match rest.strip_prefix('/') {
            Some(stream) if !stream.is_empty() => Some(stream.to_owned()),
            Some(_) => None,
            None if rest.is_empty() => None,
            None => return None,
        };
        let relay = params.extra.get(RELAY_PROPERTY).and_then(AmfValue::as_bool);
        Some(Peer {
            relay: relay.unwrap_or(false),
            stream,
            key: query.and_then(key_of),
        })
    }

    fn connected_command(&mut self, peer: Peer, command: &Command) -> Step {
        match command.name.as_str() {
            "createStream" => {
                self.state = State::Open(peer);
                let id = AmfValue::Number(f64::from(MEDIA_STREAM));
                Step::go(result(command.transaction_id, id))
            }
            "publish" | "play" => {
                let status = command::status(0, "error", "NetConnection.Call.Failed", "createStream comes first");
                Step::refuse(status, Refusal::NotAllowed)
            }
            _ => {
                self.state = State::Connected(peer);
                self.courtesy(command)
            }
        }
    }

    fn open(&mut self, peer: Peer, command: &Command) -> Step {
        match command.name.as_str() {
            "createStream" => {
                self.state = State::Open(peer);
                let text = "one stream a connection: delete the first one, or connect again";
                Step::go(call_error(command.transaction_id, text))
            }
            "deleteStream" | "closeStream" => {
                self.state = State::Connected(peer);
                Step::silent(Next::Go)
            }
            "publish" => self.publish(&peer, command),
            "play" => match target(&peer, command) {
                Ok((name, _)) => Step::silent(Next::Play {
                    name,
                    relay: peer.relay,
                }),
                Err(error) => {
                    let text = error.to_string();
                    let status = command::status(MEDIA_STREAM, "error", "NetStream.Play.StreamNotFound", &text);
                    Step::refuse(status, Refusal::NotFound)
                }
            },
            _ => {
                self.state = State::Open(peer);
                self.courtesy(command)
            }
        }
    }

    fn publish(&mut self, peer: &Peer, command: &Command) -> Step {
        let refuse = |code, text: &str| {
            let status = command::status(MEDIA_STREAM, "error", code, text);
            Step::refuse(status, Refusal::NotAllowed)
        };
        if self.role == Role::Edge {
            let text = format!("publishing is for origins: rtmp://ORIGIN/{}/STREAM", self.app);
            return refuse("NetStream.Publish.Denied", &text);
        }
        match target(peer, command) {
            Ok((name, key)) => {
                self.state = State::Publishing;
                Step::silent(Next::Publish(Publish { name, key }))
            }
            Err(error) => refuse("NetStream.Publish.BadName", &error.to_string()),
        }
    }

    fn publishing(&mut self, command: &Command) -> Step {
        match command.name.as_str() {
            "FCUnpublish" | "deleteStream" | "closeStream" => {
                let text = "the stream has ended";
                Step {
                    replies: command::status(MEDIA_STREAM, "status", "NetStream.Unpublish.Success", text),
                    next: Next::Unpublish,
                }
            }
            "createStream" | "publish" | "play" => {
                self.state = State::Publishing;
                let text = "this connection publishes a stream already";
                Step::go(call_error(command.transaction_id, text))
            }
            _ => {
                self.state = State::Publishing;
                self.courtesy(command)
            }
        }
    }

    /// Commands that change nothing here and that clients want answered.
    fn courtesy(&mut self, command: &Command) -> Step {
        let id = command.transaction_id;
        match command.name.as_str() {
            "connect" => Step::go(call_error(id, "connected already")),
            "releaseStream" | "FCPublish" | "FCSubscribe" | "_checkbw" => Step::go(result(id, AmfValue::Null)),
            "getStreamLength" => Step::go(result(id, AmfValue::Number(0.0))),
            "close" => {
                self.state = State::Over;
                Step::silent(Next::Close)
            }
            _ => Step::silent(Next::Go),
        }
    }
}

/// Tells a publisher to go ahead.
pub(super) fn publish_started() -> Bytes {
    let mut out = BytesMut::new();
    out.put(command::event(UserControlEvent::StreamBegin(MEDIA_STREAM)));
    out.put(command::status(
        MEDIA_STREAM,
        "status",
        "NetStream.Publish.Start",
        "publishing",
    ));
    out.freeze()
}

/// Tells a publisher why not, or no longer.
pub(super) fn publish_refused(refused: Refused) -> Bytes {
    command::status(MEDIA_STREAM, "error", refused.code(), &refused.to_string())
}

/// Tells a peer that a stopping node takes nobody: it is to connect again, elsewhere or later.
pub(super) fn stopping() -> Bytes {
    command::status(
        0,
        "error",
        "NetConnection.Connect.Closed",
        "this server is stopping; connect again",
    )
}

/// Stream and key of a `publish` or `play`, from its first argument or from the app.
fn target(peer: &Peer, command: &Command) -> Result<(StreamName, Option<PublishKey>), NameError> {
    let text = command.arguments.first().and_then(AmfValue::as_str).unwrap_or_default();
    let (name, query) = split_query(text);
    let name = match (&peer.stream, name.trim_matches('/')) {
        (Some(stream), "") => stream.parse()?,
        (Some(stream), name) if stream != name => format!("{stream}/{name}").parse()?,
        (_, name) => name.parse()?,
    };
    Ok((name, query.and_then(key_of).or_else(|| peer.key.clone())))
}

fn split_query(text: &str) -> (&str, Option<&str>) {
    match text.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (text, None),
    }
}

/// The first `key=` of a query, percent-decoded; a plus sign stands for itself.
fn key_of(query: &str) -> Option<PublishKey> {
    let raw = query.split('&').find_map(|pair| pair.strip_prefix("key="))?;
    let mut key = Vec::with_capacity(raw.len());
    let mut rest = raw.as_bytes();
    while let [first, tail @ ..] = rest {
        let hex = tail.get(..2).and_then(|hex| std::str::from_utf8(hex).ok());
        match hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) if *first == b'%' => {
                key.push(byte);
                rest = &tail[2..];
            }
            _ => {
                key.push(*first);
                rest = tail;
            }
        }
    }
    Some(PublishKey::new(String::from_utf8_lossy(&key)))
}

/// The answer to `connect`, with what Enhanced RTMP v2 asks of a server that forwards everything.
fn connect_result(transaction: f64) -> Bytes {
    let mut answer = ConnectResponseBuilder::new()
        .enhanced_capabilities(&EnhancedCapabilities::with_defaults())
        .build(transaction);
    if let Some(properties) = answer.command_object.as_object_mut() {
        let codecs = ["avc1", "hvc1", "av01", "vp09", "mp4a", "Opus"];
        let list = codecs.map(|code| AmfValue::String(code.to_owned())).to_vec();
        properties.insert("fourCcList".to_owned(), AmfValue::Array(list));
    }
    command::encode_command(answer)
}

fn connect_error(transaction: f64, code: &str, description: &str) -> Bytes {
    error(transaction, &format!("NetConnection.Connect.{code}"), description)
}

fn call_error(transaction: f64, description: &str) -> Bytes {
    error(transaction, "NetConnection.Call.Failed", description)
}

fn error(transaction: f64, code: &str, description: &str) -> Bytes {
    let text = |text: &str| AmfValue::String(text.to_owned());
    let info = command::object([
        ("level", text("error")),
        ("code", text(code)),
        ("description", text(description)),
    ]);
    command::encode_command(Command::error(transaction, AmfValue::Null, info))
}

fn result(transaction: f64, info: AmfValue) -> Bytes {
    command::encode_command(Command::result(transaction, AmfValue::Null, info))
}

#[cfg(test)]
mod tests;
