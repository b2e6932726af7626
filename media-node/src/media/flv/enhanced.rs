//! The part of an Enhanced RTMP header that video and audio share: extensions before it (ModEx), multitrack, FourCC.

use super::ParseError;

pub(super) const SEQUENCE_START: u8 = 0;
pub(super) const CODED_FRAMES: u8 = 1;
pub(super) const SEQUENCE_END: u8 = 2;
/// Of video only: coded frames without a composition offset.
pub(super) const CODED_FRAMES_X: u8 = 3;

/// What the header leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Packet {
    /// Packet type, neither ModEx nor multitrack.
    pub(super) kind: u8,
    pub(super) four_cc: [u8; 4],
    /// Where its body begins.
    pub(super) offset: usize,
}

/// Of video; none for a command frame, which has no body.
pub(super) fn video(body: &[u8], command: bool) -> Result<Option<Packet>, ParseError> {
    const METADATA: u8 = 4;
    let (kind, offset) = skip_extensions(body, 7)?;
    if command && kind != METADATA {
        return Ok(None);
    }
    packet(body, kind, offset, 6).map(Some)
}

/// Of audio.
pub(super) fn audio(body: &[u8]) -> Result<Packet, ParseError> {
    let (kind, offset) = skip_extensions(body, 7)?;
    packet(body, kind, offset, 5)
}

/// Skips ModEx prefixes (timestamp offsets in nanoseconds, which no output could carry).
fn skip_extensions(body: &[u8], mod_ex: u8) -> Result<(u8, usize), ParseError> {
    let byte = |at: usize| body.get(at).copied().ok_or(ParseError::Truncated);
    let mut kind = byte(0)? & 0x0f;
    let mut offset = 1;
    while kind == mod_ex {
        let mut size = usize::from(byte(offset)?) + 1;
        offset += 1;
        if size == 256 {
            size = (usize::from(byte(offset)?) << 8 | usize::from(byte(offset + 1)?)) + 1;
            offset += 2;
        }
        offset += size;
        kind = byte(offset)? & 0x0f;
        offset += 1;
    }
    Ok((kind, offset))
}

fn packet(body: &[u8], kind: u8, offset: usize, multitrack: u8) -> Result<Packet, ParseError> {
    if kind != multitrack {
        return Ok(Packet {
            kind,
            four_cc: four_cc(body, offset)?,
            offset: offset + 4,
        });
    }
    let first = *body.get(offset).ok_or(ParseError::Truncated)?;
    match first >> 4 {
        0 => {}
        1 | 2 => return Err(ParseError::ExtraTrack), // several tracks in one message
        _ => return Err(ParseError::Unknown("multitrack type")),
    }
    let four_cc = four_cc(body, offset + 1)?;
    match body.get(offset + 5) {
        None => Err(ParseError::Truncated),
        Some(0) => Ok(Packet {
            kind: first & 0x0f,
            four_cc,
            offset: offset + 6,
        }),
        Some(_) => Err(ParseError::ExtraTrack),
    }
}

fn four_cc(body: &[u8], at: usize) -> Result<[u8; 4], ParseError> {
    body.get(at..at + 4)
        .and_then(|bytes| bytes.try_into().ok())
        .ok_or(ParseError::Truncated)
}
