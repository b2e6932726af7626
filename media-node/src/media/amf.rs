//! AMF0 (Action Message Format 0) from strangers: a scan that must pass before anything is decoded, and a little reading.

use bytes::Bytes;

/// Deepest nesting that is decoded.
const MAX_DEPTH: usize = 16;
/// Most values and properties in one message.
const MAX_VALUES: usize = 16_384;

const OBJECT: u8 = 0x03;
const ECMA_ARRAY: u8 = 0x08;
const STRICT_ARRAY: u8 = 0x0a;
const TYPED_OBJECT: u8 = 0x10;

/// What the scan is inside of.
enum Level {
    /// Pairs of key and value up to an end marker.
    Properties,
    /// So many more values.
    Elements(u32),
}

/// True if decoding `message`, a sequence of AMF0 values, costs time and memory in proportion to its length.
///
/// References (marker 0x07) are refused: 460 bytes of them decode to gigabytes. So are switches to AMF3 (0x11), which
/// has references of its own. A message that is cut short or garbled passes: it decodes to an error, cheaply.
pub fn safe(message: &[u8]) -> bool {
    let mut scan = Scan { left: message };
    let mut levels: Vec<Level> = Vec::new();
    for _ in 0..MAX_VALUES {
        match levels.last_mut() {
            Some(Level::Elements(0)) => {
                levels.pop();
                continue;
            }
            Some(Level::Elements(more)) => *more -= 1,
            Some(Level::Properties) => match scan.string(2) {
                None => return true,
                Some([]) => {
                    if scan.byte().is_none() {
                        return true;
                    }
                    levels.pop();
                    continue;
                }
                Some(_) => {}
            },
            None => {}
        }
        let Some(marker) = scan.byte() else { return true };
        let inside = match marker {
            0x07 | 0x11 => return false,
            OBJECT => Some(Level::Properties),
            TYPED_OBJECT => scan.string(2).map(|_| Level::Properties),
            ECMA_ARRAY => scan.skip(4).map(|()| Level::Properties),
            STRICT_ARRAY => scan.u32().map(Level::Elements),
            _ => match scan.scalar(marker) {
                Some(()) => continue,
                None => return true,
            },
        };
        match inside {
            None => return true,
            Some(_) if levels.len() == MAX_DEPTH => return false,
            Some(level) => levels.push(level),
        }
    }
    false
}

/// The AMF0 string at the beginning of `message`, and what follows it.
pub fn string(message: &Bytes) -> Option<(Bytes, Bytes)> {
    let mut scan = Scan { left: message };
    let text = match scan.byte()? {
        0x02 => scan.string(2)?,
        0x0c => scan.string(4)?,
        _ => return None,
    };
    let end = message.len() - scan.left.len();
    Some((message.slice(end - text.len()..end), message.slice(end..)))
}

/// Appends an AMF0 string; a long one beyond 65,535 bytes.
pub fn put_string(out: &mut Vec<u8>, text: &str) {
    match u16::try_from(text.len()) {
        Ok(len) => {
            out.push(0x02);
            out.extend_from_slice(&len.to_be_bytes());
        }
        Err(_) => {
            out.push(0x0c);
            out.extend_from_slice(&(text.len() as u32).to_be_bytes());
        }
    }
    out.extend_from_slice(text.as_bytes());
}

struct Scan<'a> {
    left: &'a [u8],
}

impl<'a> Scan<'a> {
    fn byte(&mut self) -> Option<u8> {
        let (first, left) = self.left.split_first()?;
        self.left = left;
        Some(*first)
    }

    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, left) = self.left.split_at_checked(count)?;
        self.left = left;
        Some(taken)
    }

    fn skip(&mut self, count: usize) -> Option<()> {
        self.take(count).map(|_| ())
    }

    fn u32(&mut self) -> Option<u32> {
        let bytes = self.take(4)?;
        Some(bytes.iter().fold(0, |sum, byte| sum << 8 | u32::from(*byte)))
    }

    /// Text behind a length of so many bytes.
    fn string(&mut self, length_bytes: usize) -> Option<&'a [u8]> {
        let length = self.take(length_bytes)?;
        self.take(length.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte)))
    }

    fn scalar(&mut self, marker: u8) -> Option<()> {
        match marker {
            0x00 => self.skip(8),
            0x01 => self.skip(1),
            0x02 => self.string(2).map(|_| ()),
            0x0b => self.skip(10),
            0x0c | 0x0f => self.string(4).map(|_| ()),
            _ => Some(()), // null, undefined, unsupported; a lenient decoder reads on behind an unknown marker too
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;
    use rtmp_rs::amf::{AmfValue, amf0};

    use super::*;

    #[test]
    fn a_connect_command_is_safe() {
        let command = amf0::encode_all(&[
            AmfValue::String("connect".into()),
            AmfValue::Number(1.0),
            AmfValue::Object(HashMap::from([
                ("app".into(), AmfValue::String("live".into())),
                (
                    "list".into(),
                    AmfValue::Array(vec![AmfValue::Null, AmfValue::Boolean(true)]),
                ),
            ])),
        ]);
        assert!(safe(&command));
    }

    /// rtmp-rs fault 5: each reference clones all that came before, so that a few hundred bytes doubled 24 times over.
    #[test]
    fn references_are_refused_wherever_they_hide() {
        assert!(!safe(&[0x07, 0, 0]));
        assert!(!safe(&[0x02, 0, 1, b'x', 0x03, 0, 1, b'k', 0x07, 0, 0]));
        assert!(!safe(&[0x0a, 0, 0, 0, 2, 0x05, 0x07, 0, 0]));
        assert!(!safe(&[0x08, 0, 0, 0, 1, 0, 1, b'k', 0x0a, 0, 0, 0, 1, 0x07, 0, 0]));
        assert!(!safe(&[0x11, 0x0a]));
    }

    #[test]
    fn an_unknown_marker_hides_no_reference() {
        assert!(!safe(&[0x0e, 0x09, 0x55, 0x07, 0, 0]));
    }

    #[test]
    fn seven_inside_of_text_and_numbers_is_no_reference() {
        assert!(safe(&[0x02, 0, 1, 0x07, 0x00, 7, 7, 7, 7, 7, 7, 7, 7, 0x01, 7]));
    }

    #[test]
    fn depth_and_count_are_bounded() {
        let nested = [0x03, 0, 1, b'k'].repeat(17);
        assert!(!safe(&nested));
        assert!(safe(&nested[..16 * 4]));
        assert!(!safe(&[0x05].repeat(MAX_VALUES + 1)));
        assert!(
            safe(&[0x0a, 0xff, 0xff, 0xff, 0xff, 0x05]),
            "a count beyond the message costs nothing"
        );
    }

    #[test]
    fn a_string_is_cut_off_the_front() {
        let mut message = Vec::new();
        put_string(&mut message, "onMetaData");
        message.push(0x05);
        let (text, rest) = string(&Bytes::from(message)).unwrap();
        assert_eq!((&text[..], &rest[..]), (&b"onMetaData"[..], &[0x05][..]));
        assert_eq!(string(&Bytes::from_static(&[0x02, 0, 9, b'x'])), None);
    }

    proptest! {
        #[test]
        fn what_is_safe_decodes_without_blowing_up(bytes: Vec<u8>) {
            if safe(&bytes) {
                let _ = amf0::decode_all(&bytes);
            }
            let _ = string(&Bytes::from(bytes));
        }
    }
}
