//! AV1: what an `av1C` record (AV1 in ISOBMFF §2.3.3) says.

use bytes::Bytes;
use shiguredo_mp4::bitstream::av1::{Av1ObuParseContext, Av1ObuType, parse_obus, parse_sequence_header};
use shiguredo_mp4::boxes::Av1cBox;

use super::record::{RecordError, decode_box};
use super::track::{VideoCodec, VideoConfig};

/// The configuration that `record` describes; `tag` carried it. The size is 0 where the record has no sequence header.
pub fn config(record: Bytes, tag: Bytes) -> Result<VideoConfig, RecordError> {
    let av1c: Av1cBox = decode_box(*b"av1C", &record, "av1C")?;
    let obus = parse_obus(&av1c.config_obus, Av1ObuParseContext::ConfigObus)
        .map_err(|_| RecordError::Malformed("configuration OBUs of AV1"))?;
    let header = obus
        .iter()
        .find(|obu| obu.obu_type == Av1ObuType::SequenceHeader)
        .map(|obu| parse_sequence_header(obu.payload))
        .transpose()
        .map_err(|_| RecordError::Malformed("sequence header of AV1"))?;
    Ok(VideoConfig {
        codec: VideoCodec::Av1,
        rfc6381: codec_string(&av1c),
        width: header.map_or(0, |header| header.max_frame_width),
        height: header.map_or(0, |header| header.max_frame_height),
        record,
        tag,
    })
}

/// AV1 in ISOBMFF §5, the mandatory fields.
fn codec_string(av1c: &Av1cBox) -> String {
    let profile = av1c.seq_profile.get();
    let level = av1c.seq_level_idx_0.get();
    let tier = if av1c.seq_tier_0.get() == 0 { 'M' } else { 'H' };
    let depth = match (av1c.high_bitdepth.get(), av1c.twelve_bit.get()) {
        (0, _) => 8,
        (_, 1) if profile == 2 => 12,
        _ => 10,
    };
    format!("av01.{profile}.{level:02}{tier}.{depth:02}")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// SVT-AV1, main profile, level 2.1, 640×360.
    const RECORD: &[u8] = &[
        0x81, 0x01, 0x0c, 0x00, 0x0a, 0x0c, 0x02, 0x00, 0x00, 0x0d, 0x26, 0x27, 0xfb, 0x38, 0x05, 0xf0, 0x00, 0x80,
    ];

    #[test]
    fn a_record_tells_profile_and_size() {
        let config = config(Bytes::from_static(RECORD), Bytes::new()).unwrap();
        assert_eq!(config.rfc6381, "av01.0.01M.08");
        assert_eq!((config.width, config.height), (640, 360));
    }

    #[test]
    fn without_a_sequence_header_the_size_is_unknown() {
        let config = config(Bytes::from_static(&RECORD[..4]), Bytes::new()).unwrap();
        assert_eq!((config.width, config.height), (0, 0));
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes: Vec<u8>, at in 0..RECORD.len(), with: u8) {
            let _ = config(Bytes::from(bytes), Bytes::new());
            let mut record = RECORD.to_vec();
            record[at] = with;
            let _ = config(Bytes::from(record), Bytes::new());
        }
    }
}
