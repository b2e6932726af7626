//! Decoder configuration records: what can be wrong with one, and reading them bit by bit.

use bytes::Bytes;
use shiguredo_mp4::Decode;
use thiserror::Error;

/// Why a configuration record is refused.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum RecordError {
    /// It ends before its last field.
    #[error("configuration record is cut short")]
    Truncated,
    /// A field has a value that the standard does not allow, or that is of no use.
    #[error("configuration record is malformed: {0}")]
    Malformed(&'static str),
}

/// Decodes the body of a box (ISO/IEC 14496-12 §4.2) of type `kind`.
pub(super) fn decode_box<T: Decode>(kind: [u8; 4], body: &Bytes, what: &'static str) -> Result<T, RecordError> {
    let size = u32::try_from(body.len() + 8).map_err(|_| RecordError::Malformed(what))?;
    let mut boxed = Vec::with_capacity(body.len() + 8);
    boxed.extend_from_slice(&size.to_be_bytes());
    boxed.extend_from_slice(&kind);
    boxed.extend_from_slice(body);
    T::decode(&boxed)
        .map(|(decoded, _)| decoded)
        .map_err(|_| RecordError::Malformed(what))
}

/// Reads bits, most significant first.
#[derive(Clone, Debug)]
pub(super) struct Bits<'a> {
    data: &'a [u8],
    at: usize,
}

impl<'a> Bits<'a> {
    pub(super) fn new(data: &'a [u8]) -> Self {
        Self { data, at: 0 }
    }

    /// The next `count` bits, at most 32.
    pub(super) fn take(&mut self, count: usize) -> Result<u32, RecordError> {
        let mut value = 0;
        for _ in 0..count {
            let byte = self.data.get(self.at / 8).ok_or(RecordError::Truncated)?;
            value = value << 1 | u32::from(byte >> (7 - self.at % 8) & 1);
            self.at += 1;
        }
        Ok(value)
    }

    pub(super) fn flag(&mut self) -> Result<bool, RecordError> {
        Ok(self.take(1)? == 1)
    }

    pub(super) fn skip(&mut self, count: usize) -> Result<(), RecordError> {
        self.at += count;
        match self.at <= self.data.len() * 8 {
            true => Ok(()),
            false => Err(RecordError::Truncated),
        }
    }

    pub(super) fn align(&mut self) {
        self.at = self.at.next_multiple_of(8);
    }

    pub(super) fn left(&self) -> usize {
        (self.data.len() * 8).saturating_sub(self.at)
    }
}
