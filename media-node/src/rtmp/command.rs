//! Commands and control messages as bytes, and back. AMF is looked over before anything decodes it.

use bytes::{BufMut, Bytes, BytesMut};
use rtmp_rs::amf::AmfValue;
use rtmp_rs::protocol::RtmpMessage;
use rtmp_rs::protocol::chunk::RtmpChunk;
use rtmp_rs::protocol::constants::{CSID_COMMAND, CSID_PROTOCOL_CONTROL, MSG_COMMAND_AMF0, MSG_COMMAND_AMF3};
use rtmp_rs::protocol::message::{Command, UserControlEvent};

use super::chunk_reader::Message;
use super::{CHUNK_SIZE, MEDIA_STREAM};
use crate::media::amf;

/// A command that can't be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// AMF that refers to itself, nests too deep or is torn: it isn't decoded at all.
    #[error("a command with malformed or unsafe AMF")]
    Unsafe,
    /// AMF that says nothing.
    #[error("a malformed command: {0}")]
    Malformed(String),
}

/// The command in a message of type 20 or 17; none for other messages.
pub fn decode(message: &Message) -> Result<Option<Command>, CommandError> {
    let body = match message.type_id {
        MSG_COMMAND_AMF0 => message.body.clone(),
        // AMF3 commands begin with a format byte, and all that is sent in practice is AMF0 after it.
        MSG_COMMAND_AMF3 if message.body.first() == Some(&0) => message.body.slice(1..),
        MSG_COMMAND_AMF3 => message.body.clone(),
        _ => return Ok(None),
    };
    if !amf::safe(&body) {
        return Err(CommandError::Unsafe);
    }
    let chunk = RtmpChunk {
        csid: message.csid,
        timestamp: message.timestamp,
        message_type: MSG_COMMAND_AMF0,
        stream_id: message.stream_id,
        payload: body,
    };
    match RtmpMessage::from_chunk(&chunk) {
        Ok(RtmpMessage::Command(command)) => Ok(Some(command)),
        Ok(_) => Ok(None),
        Err(error) => Err(CommandError::Malformed(error.to_string())),
    }
}

/// A message of ours on a chunk stream of its own, `chunk_size` being what we last announced.
pub fn encode(message: &RtmpMessage, chunk_size: u32) -> Bytes {
    let (type_id, body) = message.encode();
    let (csid, stream_id) = match message {
        RtmpMessage::Command(command) => (CSID_COMMAND, command.stream_id),
        RtmpMessage::Data(data) => (CSID_COMMAND, data.stream_id),
        _ => (CSID_PROTOCOL_CONTROL, 0),
    };
    chunks(csid as u8, type_id, stream_id, &body, chunk_size)
}

/// A command of ours, once [`CHUNK_SIZE`] is announced.
pub fn encode_command(command: Command) -> Bytes {
    encode(&RtmpMessage::Command(command), CHUNK_SIZE)
}

/// `onStatus`, once [`CHUNK_SIZE`] is announced.
pub fn status(stream_id: u32, level: &str, code: &str, description: &str) -> Bytes {
    encode_command(Command::on_status(stream_id, level, code, description))
}

/// User control event (RTMP 1.0 §7.1.7).
pub fn event(event: UserControlEvent) -> Bytes {
    encode(&RtmpMessage::UserControl(event), CHUNK_SIZE)
}

/// An AMF object.
pub fn object<const N: usize>(fields: [(&str, AmfValue); N]) -> AmfValue {
    AmfValue::Object(fields.into_iter().map(|(k, v)| (k.to_owned(), v)).collect())
}

/// What a player is told before media: the stream begins.
pub fn play_started() -> Bytes {
    let mut out = BytesMut::new();
    out.put(event(UserControlEvent::StreamBegin(MEDIA_STREAM)));
    out.put(status(
        MEDIA_STREAM,
        "status",
        "NetStream.Play.Reset",
        "playing and resetting",
    ));
    out.put(status(
        MEDIA_STREAM,
        "status",
        "NetStream.Play.Start",
        "started playing",
    ));
    out.freeze()
}

/// What a player is told when a stream has ended for good, so that relays end it too. Not for a node that merely stops.
pub fn play_ended() -> Bytes {
    let mut out = BytesMut::new();
    let text = "the stream has ended";
    out.put(status(MEDIA_STREAM, "status", "NetStream.Play.UnpublishNotify", text));
    out.put(status(MEDIA_STREAM, "status", "NetStream.Play.Stop", text));
    out.put(event(UserControlEvent::StreamEof(MEDIA_STREAM)));
    out.freeze()
}

/// What a player of an unknown stream is told.
pub fn play_not_found() -> Bytes {
    status(MEDIA_STREAM, "error", "NetStream.Play.StreamNotFound", "no such stream")
}

/// What a player is told when it can't be served now.
pub fn play_failed(description: &str) -> Bytes {
    status(MEDIA_STREAM, "error", "NetStream.Play.Failed", description)
}

/// Type 0 and type 3 chunks with timestamp 0 (RTMP 1.0 §5.3.1).
fn chunks(csid: u8, type_id: u8, stream_id: u32, body: &[u8], chunk_size: u32) -> Bytes {
    let mut out = BytesMut::with_capacity(body.len() + 32);
    out.put_u8(csid);
    out.put_uint(0, 3);
    out.put_uint(body.len() as u64, 3);
    out.put_u8(type_id);
    out.put_u32_le(stream_id);
    for (n, part) in body.chunks(chunk_size.max(1) as usize).enumerate() {
        if n > 0 {
            out.put_u8(0xc0 | csid);
        }
        out.put_slice(part);
    }
    out.freeze()
}
