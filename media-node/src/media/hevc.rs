//! H.265: what an `hvcC` record (ISO/IEC 14496-15 §8.3.3.1) says.

use bytes::Bytes;
use shiguredo_mp4::bitstream::h265;
use shiguredo_mp4::boxes::HvccBox;

use super::record::{RecordError, decode_box};
use super::track::{VideoCodec, VideoConfig};

const NAL_SPS: u8 = 33;

/// The configuration that `record` describes; `tag` carried it.
pub fn config(record: Bytes, tag: Bytes) -> Result<VideoConfig, RecordError> {
    let hvcc: HvccBox = decode_box(*b"hvcC", &record, "hvcC")?;
    let sps = hvcc
        .nalu_arrays
        .iter()
        .filter(|array| array.nal_unit_type.get() == NAL_SPS)
        .find_map(|array| array.nalus.first())
        .ok_or(RecordError::Malformed("hvcC without SPS"))?;
    let sps = h265::parse_sps(sps).map_err(|_| RecordError::Malformed("SPS of H.265"))?;
    Ok(VideoConfig {
        codec: VideoCodec::H265,
        rfc6381: codec_string(&hvcc),
        width: sps.width.into(),
        height: sps.height.into(),
        record,
        tag,
    })
}

/// ISO/IEC 14496-15 §E.3.
fn codec_string(hvcc: &HvccBox) -> String {
    let space = ["", "A", "B", "C"][usize::from(hvcc.general_profile_space.get() & 3)];
    let profile = hvcc.general_profile_idc.get();
    let compatibility = hvcc.general_profile_compatibility_flags.reverse_bits();
    let tier = if hvcc.general_tier_flag.get() == 0 { 'L' } else { 'H' };
    let level = hvcc.general_level_idc;
    let mut text = format!("hvc1.{space}{profile}.{compatibility:X}.{tier}{level}");
    let constraints = &hvcc.general_constraint_indicator_flags.get().to_be_bytes()[2..];
    let used = constraints
        .iter()
        .rposition(|byte| *byte != 0)
        .map_or(0, |last| last + 1);
    for byte in &constraints[..used] {
        text.push_str(&format!(".{byte:X}"));
    }
    text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// x265, Main@2.1, 642×362: coded 648×368, cropped.
    const RECORD: &[u8] = &[
        0x01, 0x01, 0x60, 0x00, 0x00, 0x00, 0x90, 0x00, 0x00, 0x00, 0x00, 0x00, 0x3f, 0xf0, 0x00, 0xfc, 0xfd, 0xf8,
        0xf8, 0x00, 0x00, 0x0f, 0x03, 0x20, 0x00, 0x01, 0x00, 0x18, 0x40, 0x01, 0x0c, 0x01, 0xff, 0xff, 0x01, 0x60,
        0x00, 0x00, 0x03, 0x00, 0x90, 0x00, 0x00, 0x03, 0x00, 0x00, 0x03, 0x00, 0x3f, 0x95, 0x98, 0x09, 0x21, 0x00,
        0x01, 0x00, 0x2c, 0x42, 0x01, 0x01, 0x01, 0x60, 0x00, 0x00, 0x03, 0x00, 0x90, 0x00, 0x00, 0x03, 0x00, 0x00,
        0x03, 0x00, 0x3f, 0xa0, 0x05, 0x12, 0x01, 0x71, 0xc9, 0x26, 0x59, 0x59, 0xa4, 0x93, 0x2b, 0xc0, 0x5a, 0x02,
        0x00, 0x00, 0x03, 0x00, 0x02, 0x00, 0x00, 0x03, 0x00, 0x3c, 0x10, 0x22, 0x00, 0x01, 0x00, 0x07, 0x44, 0x01,
        0xc1, 0x72, 0xb4, 0x62, 0x40,
    ];

    #[test]
    fn a_record_tells_profile_and_cropped_size() {
        let config = config(Bytes::from_static(RECORD), Bytes::new()).unwrap();
        assert_eq!(config.rfc6381, "hvc1.1.6.L63.90");
        assert_eq!((config.width, config.height), (642, 362));
    }

    #[test]
    fn every_cut_through_the_record_is_refused() {
        for len in 0..RECORD.len() {
            assert!(
                config(Bytes::from_static(&RECORD[..len]), Bytes::new()).is_err(),
                "{len}"
            );
        }
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
