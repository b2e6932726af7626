//! Frames of RFC 6455 §5.2: the small ones that we write, and a reader of what a client sends that keeps at most one
//! control frame's payload, whatever lengths are declared.

use bytes::Bytes;

/// Longest message that a client may send.
pub(super) const LONGEST: u64 = 4 << 10;
/// Frames that one message may be cut into.
const FRAGMENTS: u32 = 64;
/// Longest payload of a control frame (§5.5).
const CONTROL: usize = 125;

/// Opcodes that we send (§11.8).
#[derive(Clone, Copy, Debug)]
pub(super) enum Opcode {
    /// A text message.
    Text = 1,
    /// The end.
    Close = 8,
    /// Are you there?
    Ping = 9,
    /// Yes.
    Pong = 10,
}

/// A whole unmasked frame. `payload` is at most 65,535 bytes; what is beyond is cut off.
pub(super) fn frame(opcode: Opcode, payload: &[u8]) -> Bytes {
    let payload = &payload[..payload.len().min(usize::from(u16::MAX))];
    let mut bytes = Vec::with_capacity(payload.len() + 4);
    bytes.push(0x80 | opcode as u8);
    match payload.len() {
        short @ 0..=125 => bytes.push(short as u8),
        long => {
            bytes.push(126);
            bytes.extend_from_slice(&(long as u16).to_be_bytes());
        }
    }
    bytes.extend_from_slice(payload);
    bytes.into()
}

/// A whole frame of the client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Heard {
    /// To be answered with its payload.
    Ping(Vec<u8>),
    /// A sign of life.
    Pong,
    /// A text or binary frame; nothing is expected of players, so that it is not kept.
    Data,
    /// The client leaves.
    Close,
}

/// Why a client is not listened to any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// Against the protocol.
    Malformed,
    /// Longer than is taken here.
    TooLong,
}

/// Reads a client's frames from bytes cut anywhere.
#[derive(Debug, Default)]
pub(super) struct FrameReader {
    head: Vec<u8>,
    /// Payload still to come of the frame whose head is in.
    left: Option<u64>,
    /// Kept of a control frame, still masked.
    control: Vec<u8>,
    /// Bytes and frames so far of a fragmented message.
    message: Option<(u64, u32)>,
}

impl FrameReader {
    /// The next whole frame; what it does not need of `bytes` stays there. None once they are used up.
    pub(super) fn next(&mut self, bytes: &mut &[u8]) -> Result<Option<Heard>, Fault> {
        if self.left.is_none() {
            let Some(length) = self.read_head(bytes)? else {
                return Ok(None);
            };
            self.admit(length)?;
            self.left = Some(length);
        }
        let Some(left) = &mut self.left else { return Ok(None) };
        let taken = bytes.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
        let (payload, rest) = bytes.split_at(taken);
        *bytes = rest;
        *left -= taken as u64;
        let done = *left == 0;
        if self.is_control() {
            self.control.extend_from_slice(payload);
        }
        Ok(done.then(|| self.finish()))
    }

    /// The payload's length, once the head is whole and well-formed.
    fn read_head(&mut self, bytes: &mut &[u8]) -> Result<Option<u64>, Fault> {
        loop {
            let extended = match self.head.get(1).map(|byte| byte & 0x7F) {
                Some(126) => 2,
                Some(127) => 8,
                _ => 0,
            };
            if self.head.len() >= 2 {
                self.check_head()?;
            }
            if self.head.len() == 2 + extended + 4 {
                let length = match extended {
                    0 => u64::from(self.head[1] & 0x7F),
                    _ => self.head[2..2 + extended]
                        .iter()
                        .fold(0, |length, byte| (length << 8) | u64::from(*byte)),
                };
                return Ok(Some(length));
            }
            let Some((first, rest)) = bytes.split_first() else {
                return Ok(None);
            };
            self.head.push(*first);
            *bytes = rest;
        }
    }

    /// No extension was agreed on, so that reserved bits are 0 (§5.2); clients mask (§5.1); control frames are whole and
    /// short (§5.5); continuations continue something (§5.4).
    fn check_head(&self) -> Result<(), Fault> {
        let (first, second) = (self.head[0], self.head[1]);
        let (last, opcode) = (first & 0x80 != 0, first & 0x0F);
        let legal = match opcode {
            0 => self.message.is_some(),
            1 | 2 => self.message.is_none(),
            8..=10 => last && second & 0x7F <= CONTROL as u8,
            _ => false,
        };
        match legal && first & 0x70 == 0 && second & 0x80 != 0 {
            true => Ok(()),
            false => Err(Fault::Malformed),
        }
    }

    fn is_control(&self) -> bool {
        self.head.first().is_some_and(|first| first & 0x08 != 0)
    }

    fn admit(&mut self, length: u64) -> Result<(), Fault> {
        if self.is_control() {
            return Ok(());
        }
        let (bytes, frames) = self.message.unwrap_or_default();
        let (bytes, frames) = (bytes.saturating_add(length), frames + 1);
        if bytes > LONGEST || frames > FRAGMENTS {
            return Err(Fault::TooLong);
        }
        let last = self.head.first().is_some_and(|first| first & 0x80 != 0);
        self.message = (!last).then_some((bytes, frames));
        Ok(())
    }

    fn finish(&mut self) -> Heard {
        let opcode = self.head.first().map_or(0, |first| first & 0x0F);
        let mask_at = self.head.len().saturating_sub(4);
        let heard = match opcode {
            8 => Heard::Close,
            9 => {
                let mask = self.head[mask_at..].iter().cycle();
                Heard::Ping(self.control.iter().zip(mask).map(|(byte, mask)| byte ^ mask).collect())
            }
            10 => Heard::Pong,
            _ => Heard::Data,
        };
        self.head.clear();
        self.control.clear();
        self.left = None;
        heard
    }
}
