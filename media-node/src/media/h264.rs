//! H.264: what an `avcC` record (ISO/IEC 14496-15 §5.3.3.1) says.

use bytes::Bytes;
use shiguredo_mp4::bitstream::h264;
use shiguredo_mp4::boxes::AvccBox;

use super::record::{RecordError, decode_box};
use super::track::{VideoCodec, VideoConfig};

/// The configuration that `record` describes; `tag` carried it.
pub fn config(record: Bytes, tag: Bytes) -> Result<VideoConfig, RecordError> {
    let avcc: AvccBox = decode_box(*b"avcC", &record, "avcC")?;
    let sps = avcc
        .sps_list
        .first()
        .ok_or(RecordError::Malformed("avcC without SPS"))?;
    if avcc.pps_list.is_empty() {
        return Err(RecordError::Malformed("avcC without PPS"));
    }
    let sps = h264::parse_sps(sps).map_err(|_| RecordError::Malformed("SPS of H.264"))?;
    Ok(VideoConfig {
        codec: VideoCodec::H264,
        rfc6381: format!(
            "avc1.{:02x}{:02x}{:02x}",
            avcc.avc_profile_indication, avcc.profile_compatibility, avcc.avc_level_indication
        ),
        width: sps.width.into(),
        height: sps.height.into(),
        record,
        tag,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// x264, High@4.0, 1920×1080: coded height 1088, cropped.
    const RECORD: &[u8] = &[
        0x01, 0x64, 0x00, 0x28, 0xff, 0xe1, 0x00, 0x19, 0x67, 0x64, 0x00, 0x28, 0xac, 0xec, 0x07, 0x80, 0x22, 0x7e,
        0x5c, 0x04, 0x40, 0x00, 0x00, 0x03, 0x00, 0x40, 0x00, 0x00, 0x0c, 0x83, 0xc6, 0x0c, 0x4e, 0x01, 0x00, 0x04,
        0x68, 0xef, 0x8f, 0xcb, 0xfd, 0xf8, 0xf8, 0x00,
    ];

    #[test]
    fn a_record_tells_profile_and_cropped_size() {
        let config = config(Bytes::from_static(RECORD), Bytes::new()).unwrap();
        assert_eq!(config.rfc6381, "avc1.640028");
        assert_eq!((config.width, config.height), (1920, 1080));
    }

    #[test]
    fn every_cut_through_the_parameter_sets_is_refused() {
        let parameter_sets = RECORD.len() - 4; // what follows is optional in practice
        for len in 0..parameter_sets {
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
