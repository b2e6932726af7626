//! Opus: the identification header (RFC 7845 §5.1) and the length of a packet (RFC 6716 §3.1).

use bytes::Bytes;

use super::record::RecordError;
use super::track::{AudioCodec, AudioConfig};

/// Every Opus stream is decoded at this rate, Hertz.
pub const RATE: u32 = 48_000;

/// An `OpusHead`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// Output channels.
    pub channels: u8,
    /// Samples at 48 kHz to drop at the beginning.
    pub pre_skip: u16,
    /// Rate of the original, Hertz; for information.
    pub input_rate: u32,
    /// Output gain, 1/256 dB.
    pub gain: i16,
    /// How channels map to streams; 0 is mono or stereo.
    pub mapping_family: u8,
}

impl Head {
    /// What a stream without a header is taken for.
    pub const STEREO: Head = Head {
        channels: 2,
        pre_skip: 312,
        input_rate: RATE,
        gain: 0,
        mapping_family: 0,
    };

    /// Reads a header.
    pub fn parse(record: &[u8]) -> Result<Self, RecordError> {
        let fields = record
            .strip_prefix(b"OpusHead")
            .ok_or(RecordError::Malformed("OpusHead"))?;
        let &[
            version,
            channels,
            skip0,
            skip1,
            r0,
            r1,
            r2,
            r3,
            gain0,
            gain1,
            mapping_family,
            ..,
        ] = fields
        else {
            return Err(RecordError::Truncated);
        };
        if version >> 4 != 0 || channels == 0 {
            return Err(RecordError::Malformed("OpusHead"));
        }
        Ok(Self {
            channels,
            pre_skip: u16::from_le_bytes([skip0, skip1]),
            input_rate: u32::from_le_bytes([r0, r1, r2, r3]),
            gain: i16::from_le_bytes([gain0, gain1]),
            mapping_family,
        })
    }

    /// The header as bytes, for mapping family 0.
    pub fn record(&self) -> Bytes {
        let mut record = Vec::with_capacity(19);
        record.extend_from_slice(b"OpusHead\x01");
        record.push(self.channels);
        record.extend_from_slice(&self.pre_skip.to_le_bytes());
        record.extend_from_slice(&self.input_rate.to_le_bytes());
        record.extend_from_slice(&self.gain.to_le_bytes());
        record.push(0);
        record.into()
    }
}

/// The configuration that `record` describes, `tag` having carried it; 48 kHz stereo where the record is empty.
pub fn config(record: Bytes, tag: Bytes) -> Result<AudioConfig, RecordError> {
    let head = match record.is_empty() {
        true => Head::STEREO,
        false => Head::parse(&record)?,
    };
    Ok(AudioConfig {
        codec: AudioCodec::Opus,
        rfc6381: "opus".into(),
        sample_rate: RATE,
        channels: head.channels,
        record: if record.is_empty() { head.record() } else { record },
        tag,
    })
}

/// Samples at 48 kHz in a packet; none for an empty or impossible one (more than 120 ms).
pub fn samples(packet: &[u8]) -> Option<u32> {
    let toc = *packet.first()?;
    let frame = match toc >> 3 {
        config @ 0..=11 => [480, 960, 1_920, 2_880][usize::from(config & 3)],
        config @ 12..=15 => [480, 960][usize::from(config & 1)],
        config => [120, 240, 480, 960][usize::from(config & 3)],
    };
    let frames = match toc & 3 {
        0 => 1,
        1 | 2 => 2,
        _ => u32::from(*packet.get(1)? & 0x3f),
    };
    Some(frame * frames).filter(|samples| (1..=5_760).contains(samples))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_header_survives_writing_and_reading() {
        let head = Head {
            channels: 1,
            pre_skip: 156,
            input_rate: 16_000,
            gain: -3,
            mapping_family: 0,
        };
        assert_eq!(Head::parse(&head.record()), Ok(head));
    }

    #[test]
    fn packet_lengths_follow_the_first_byte() {
        assert_eq!(samples(&[0xfc, 0]), Some(960), "CELT, 20 ms, one frame");
        assert_eq!(samples(&[0xe0]), Some(120), "CELT, 2.5 ms");
        assert_eq!(samples(&[0x19, 0]), Some(5_760), "SILK, 60 ms, two frames");
        assert_eq!(samples(&[0xff, 3]), Some(2_880), "three frames of 20 ms");
        assert_eq!(samples(&[0xff, 0]), None, "no frame at all");
        assert_eq!(samples(&[]), None);
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes: Vec<u8>) {
            let _ = config(Bytes::from(bytes.clone()), Bytes::new());
            let _ = config(Bytes::from([b"OpusHead", &bytes[..]].concat()), Bytes::new());
            let _ = samples(&bytes);
        }
    }
}
