//! The WebSocket around a feed (RFC 6455): upgrade, text messages, pings and patience. Media come framed from the feed.

mod frames;

use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use headwater_contract::StreamEnd;
use sha1::{Digest, Sha1};

use super::Parting;
use super::outbox::Outbox;
use super::pump::Dialogue;
use crate::package::feed::FeedEnd;

use frames::{Fault, FrameReader, Heard, Opcode, frame};

const PING_EVERY: Duration = Duration::from_secs(20);
/// Pongs come every 20 s: nothing at all for this long is a dead peer.
const SILENCE: Duration = Duration::from_secs(60);

/// Close codes of RFC 6455 §7.4.1 and IANA's registry.
mod code {
    pub(super) const NORMAL: u16 = 1000;
    pub(super) const GOING_AWAY: u16 = 1001;
    pub(super) const PROTOCOL_ERROR: u16 = 1002;
    pub(super) const TOO_SLOW: u16 = 1008;
    pub(super) const TOO_LONG: u16 = 1009;
    pub(super) const RESTART: u16 = 1012;
}

/// `Sec-WebSocket-Accept` for a key (RFC 6455 §4.2.2).
pub fn accept(key: &str) -> String {
    let digest = Sha1::new()
        .chain_update(key)
        .chain_update("258EAFA5-E914-47DA-95CA-C5AB0DC85B11")
        .finalize();
    STANDARD.encode(digest)
}

/// The text message that a player gets first.
pub fn hello(node: &str, epoch: u64) -> Bytes {
    let text = serde_json::json!({"type": "hello", "node": node, "epoch": epoch}).to_string();
    frame(Opcode::Text, text.as_bytes())
}

/// The protocol's state for one player.
#[derive(Debug)]
pub struct WebSocket {
    reader: FrameReader,
    fault: Option<Fault>,
    heard_at: Instant,
    pinged_at: Instant,
}

impl WebSocket {
    /// Just upgraded.
    pub fn new(now: Instant) -> Self {
        Self {
            reader: FrameReader::default(),
            fault: None,
            heard_at: now,
            pinged_at: now,
        }
    }
}

impl Dialogue for WebSocket {
    fn heard(&mut self, mut bytes: &[u8], now: Instant, out: &mut Outbox) -> ControlFlow<Parting> {
        loop {
            match self.reader.next(&mut bytes) {
                Ok(None) => return ControlFlow::Continue(()),
                Ok(Some(Heard::Ping(payload))) => {
                    self.heard_at = now;
                    out.own(frame(Opcode::Pong, &payload)); // dropped for one that pings and does not read
                }
                Ok(Some(Heard::Pong | Heard::Data)) => self.heard_at = now,
                Ok(Some(Heard::Close)) => return ControlFlow::Break(Parting::Left),
                Err(fault) => {
                    self.fault = Some(fault);
                    return ControlFlow::Break(Parting::Malformed);
                }
            }
        }
    }

    fn tick(&mut self, now: Instant, out: &mut Outbox) -> ControlFlow<Parting> {
        if now.duration_since(self.heard_at) >= SILENCE {
            return ControlFlow::Break(Parting::Silent);
        }
        if now.duration_since(self.pinged_at) >= PING_EVERY {
            self.pinged_at = now;
            out.own(frame(Opcode::Ping, b""));
        }
        ControlFlow::Continue(())
    }

    fn ask_to_move(&mut self, out: &mut Outbox) {
        out.own(frame(Opcode::Text, br#"{"type":"move"}"#));
    }

    fn farewell(&mut self, parting: Parting, out: &mut Outbox) {
        let code = match parting {
            Parting::Ended(FeedEnd::Stream(StreamEnd::Shutdown)) | Parting::Cut => code::GOING_AWAY,
            Parting::Ended(FeedEnd::Stream(_)) => {
                out.own(frame(Opcode::Text, br#"{"type":"end"}"#));
                code::NORMAL
            }
            Parting::Ended(FeedEnd::Reconnect) => code::RESTART,
            Parting::Left => code::NORMAL,
            Parting::TooSlow => code::TOO_SLOW,
            Parting::Silent | Parting::Broken(_) => code::GOING_AWAY,
            Parting::Malformed => match self.fault {
                Some(Fault::TooLong) => code::TOO_LONG,
                _ => code::PROTOCOL_ERROR,
            },
        };
        out.own(frame(Opcode::Close, &code.to_be_bytes()));
    }
}

#[cfg(test)]
mod tests;
