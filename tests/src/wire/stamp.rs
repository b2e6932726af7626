//! The send time that a bench publisher writes into each H.264 access unit, as SEI user_data_unregistered
//! (ITU-T H.264 D.1.7), so that it passes through any server and any of its output formats.

use std::time::{SystemTime, UNIX_EPOCH};

/// Marks the message as ours.
const UUID: [u8; 16] = *b"headwater\x8abench1";
const NAL_SEI: u8 = 6;
const NAL_AUD: u8 = 9;
const NAL_FILLER: u8 = 12;
const SEI_USER_DATA_UNREGISTERED: u8 = 5;
/// UUID, send time, sequence number, bytes so far.
const PAYLOAD: usize = 16 + 8 + 8 + 8;
/// A filler NAL unit that carries nothing: length, type, stop bit.
const EMPTY_FILLER: usize = 4 + 2;

/// What the publisher knew when it sent an access unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// Wall clock, Unix microseconds.
    pub sent_us: u64,
    /// Number of this access unit in its stream, from 0, going on over loops and reconnects.
    pub sequence: u64,
    /// Bytes of audio and video sent before this access unit, counted as [`super::Frame::size`] is.
    pub bytes_before: u64,
}

/// The wall clock in Unix microseconds.
pub fn now_us() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_micros() as u64)
}

impl Stamp {
    /// Writes `access_unit` (AVCC: NAL units behind 4-byte lengths) to `out` with this stamp before everything but an
    /// access unit delimiter (H.264 7.4.1.2.3: SEI goes before the first slice), and with a filler NAL unit of about `padding` bytes
    /// behind the slices (a filler may not go before them).
    pub fn insert(&self, access_unit: &[u8], padding: usize, out: &mut Vec<u8>) {
        let delimiter = match access_unit {
            [0, 0, 0, length, header, ..]
                if header & 31 == NAL_AUD && access_unit.len() >= 4 + usize::from(*length) =>
            {
                4 + usize::from(*length)
            }
            _ => 0,
        };
        out.extend_from_slice(&access_unit[..delimiter]);
        let at = out.len();
        out.extend_from_slice(&[0, 0, 0, 0, NAL_SEI, SEI_USER_DATA_UNREGISTERED, PAYLOAD as u8]);
        out.extend_from_slice(&UUID);
        let mut zeros = 0;
        for byte in [self.sent_us, self.sequence, self.bytes_before]
            .into_iter()
            .flat_map(u64::to_be_bytes)
        {
            // Emulation prevention, H.264 7.4.1.1.
            if zeros >= 2 && byte <= 3 {
                out.push(3);
                zeros = 0;
            }
            zeros = if byte == 0 { zeros + 1 } else { 0 };
            out.push(byte);
        }
        out.push(0x80);
        let length = (out.len() - at - 4) as u32;
        out[at..at + 4].copy_from_slice(&length.to_be_bytes());
        out.extend_from_slice(&access_unit[delimiter..]);
        if padding > EMPTY_FILLER {
            let body = padding - EMPTY_FILLER;
            out.extend_from_slice(&(body as u32 + 2).to_be_bytes());
            out.push(NAL_FILLER);
            out.resize(out.len() + body, 0xff);
            out.push(0x80);
        }
    }

    /// Finds the stamp in the first bytes of an access unit (AVCC, 4-byte lengths).
    pub fn find(mut head: &[u8]) -> Option<Stamp> {
        while let [a, b, c, d, rest @ ..] = head {
            let length = u32::from_be_bytes([*a, *b, *c, *d]) as usize;
            let nal = &rest[..length.min(rest.len())];
            match nal.first()? & 31 {
                NAL_SEI => {
                    if let Some(stamp) = Stamp::parse(nal) {
                        return Some(stamp);
                    }
                }
                // A slice: no SEI of this access unit comes after it.
                1..=5 => return None,
                _ => {}
            }
            head = rest.get(length..)?;
        }
        None
    }

    fn parse(nal: &[u8]) -> Option<Stamp> {
        let body = nal
            .strip_prefix(&[NAL_SEI, SEI_USER_DATA_UNREGISTERED, PAYLOAD as u8])?
            .strip_prefix(&UUID)?;
        let mut fields = [0u8; 24];
        let (mut filled, mut zeros) = (0, 0);
        for &byte in body {
            if filled == fields.len() {
                break;
            }
            if zeros >= 2 && byte == 3 {
                zeros = 0;
                continue;
            }
            zeros = if byte == 0 { zeros + 1 } else { 0 };
            fields[filled] = byte;
            filled += 1;
        }
        let field = |at: usize| fields.get(at..at + 8)?.try_into().ok().map(u64::from_be_bytes);
        (filled == fields.len()).then_some(Stamp {
            sent_us: field(0)?,
            sequence: field(8)?,
            bytes_before: field(16)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nal(bytes: &[u8]) -> Vec<u8> {
        [&(bytes.len() as u32).to_be_bytes()[..], bytes].concat()
    }

    #[test]
    fn a_stamp_is_read_back_whatever_its_numbers() {
        for numbers in [
            [0, 0, 0],
            [1, 2, 3],
            [0x0006_5000_0000_0301, 0x0000_0300_0001, u64::MAX],
            [now_us(), 256, 1 << 40],
        ] {
            let stamp = Stamp {
                sent_us: numbers[0],
                sequence: numbers[1],
                bytes_before: numbers[2],
            };
            let mut out = Vec::new();
            stamp.insert(&nal(&[0x65, 1, 2, 3]), 0, &mut out);
            assert_eq!(Stamp::find(&out), Some(stamp), "{numbers:?}");
            let nal = &out[4..out.len() - 8];
            assert!(
                !nal.windows(3).any(|w| w[0] == 0 && w[1] == 0 && w[2] <= 2),
                "start code emulated: {nal:x?}"
            );
        }
    }

    #[test]
    fn it_stands_behind_the_delimiter_and_before_the_rest() {
        let unit = [nal(&[0x09, 0xf0]), nal(&[0x67, 1]), nal(&[0x65, 9, 9])].concat();
        let mut out = Vec::new();
        Stamp {
            sent_us: 5,
            sequence: 6,
            bytes_before: 7,
        }
        .insert(&unit, 100, &mut out);
        let mut types = Vec::new();
        let mut rest = &out[..];
        while !rest.is_empty() {
            let length = u32::from_be_bytes(rest[..4].try_into().unwrap()) as usize;
            types.push(rest[4] & 31);
            rest = &rest[4 + length..];
        }
        assert_eq!(types, [9, 6, 7, 5, 12]);
    }

    #[test]
    fn padding_makes_the_unit_larger_by_that_much() {
        let unit = nal(&[0x65, 9, 9]);
        let stamp = Stamp {
            sent_us: 5,
            sequence: 6,
            bytes_before: 7,
        };
        let (mut bare, mut padded) = (Vec::new(), Vec::new());
        stamp.insert(&unit, 0, &mut bare);
        stamp.insert(&unit, 1000, &mut padded);
        assert_eq!(padded.len() - bare.len(), 1000);
    }

    #[test]
    fn an_access_unit_without_a_stamp_has_none() {
        assert_eq!(Stamp::find(&nal(&[0x65, 1, 2, 3])), None);
        assert_eq!(Stamp::find(&[0, 0, 0, 200, 6, 5]), None);
        assert_eq!(Stamp::find(&[]), None);
    }
}
