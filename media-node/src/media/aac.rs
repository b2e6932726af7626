//! AAC: what an AudioSpecificConfig (ISO/IEC 14496-3 §1.6.2.1) says.

use bytes::Bytes;

use super::record::{Bits, RecordError};
use super::track::{AudioCodec, AudioConfig};

/// The fields that matter of an AudioSpecificConfig.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AudioSpecificConfig {
    /// Audio object type as first signalled: 2 AAC-LC, 5 with SBR, 29 with SBR and PS.
    pub object_type: u8,
    /// Rate of the core coder, Hertz.
    pub core_rate: u32,
    /// Rate that comes out, Hertz: that of SBR where it is signalled.
    pub rate: u32,
    /// Channels that come out.
    pub channels: u8,
    /// Samples in a frame of the core coder: 1024 or 960, 512 or 480 in the low-delay types.
    pub core_frame: u32,
}

const RATES: [u32; 13] = [
    96_000, 88_200, 64_000, 48_000, 44_100, 32_000, 24_000, 22_050, 16_000, 12_000, 11_025, 8_000, 7_350,
];
const SBR: u32 = 5;
const PS: u32 = 29;
const ER_BSAC: u32 = 22;
const ER_AAC_LD: u32 = 23;

impl AudioSpecificConfig {
    /// Reads one.
    pub fn parse(record: &[u8]) -> Result<Self, RecordError> {
        let mut bits = Bits::new(record);
        let signalled = object_type(&mut bits)?;
        let core_rate = rate(&mut bits)?;
        let configuration = bits.take(4)?;
        let (mut rate_out, mut parametric_stereo) = (core_rate, signalled == PS);
        let mut core = signalled;
        if matches!(signalled, SBR | PS) {
            rate_out = rate(&mut bits)?;
            core = object_type(&mut bits)?;
            if core == ER_BSAC {
                bits.skip(4)?;
            }
        }
        let mut channels = channels(configuration)?;
        let mut core_frame = 1_024;
        if matches!(core, 1..=4 | 6 | 7 | 17 | 19..=23) {
            let short = bits.flag()?;
            core_frame = match (core, short) {
                (ER_AAC_LD, false) => 512,
                (ER_AAC_LD, true) => 480,
                (_, false) => 1_024,
                (_, true) => 960,
            };
            if bits.flag()? {
                bits.skip(14)?; // delay of the core coder
            }
            let extended = bits.flag()?;
            if configuration == 0 {
                channels = program_channels(&mut bits)?;
            }
            if !extended && core == signalled {
                // what follows is optional, and often cut off or filled with zeros
                if let Some((rate, stereo)) = compatible_extension(bits) {
                    rate_out = rate;
                    parametric_stereo = stereo;
                }
            }
        }
        if channels == 0 {
            return Err(RecordError::Malformed("no channels"));
        }
        if parametric_stereo && channels == 1 {
            channels = 2;
        }
        Ok(Self {
            object_type: signalled as u8,
            core_rate,
            rate: rate_out,
            channels,
            core_frame,
        })
    }

    /// Samples of a frame at the rate that comes out.
    pub fn frame(&self) -> u32 {
        (u64::from(self.core_frame) * u64::from(self.rate) / u64::from(self.core_rate)) as u32
    }
}

/// The configuration that `record` describes; `tag` carried it.
pub fn config(record: Bytes, tag: Bytes) -> Result<AudioConfig, RecordError> {
    let parsed = AudioSpecificConfig::parse(&record)?;
    Ok(AudioConfig {
        codec: AudioCodec::Aac,
        rfc6381: format!("mp4a.40.{}", parsed.object_type),
        sample_rate: parsed.rate,
        channels: parsed.channels,
        record,
        tag,
    })
}

fn object_type(bits: &mut Bits<'_>) -> Result<u32, RecordError> {
    match bits.take(5)? {
        0 => Err(RecordError::Malformed("audio object type 0")),
        31 => Ok(32 + bits.take(6)?),
        other => Ok(other),
    }
}

fn rate(bits: &mut Bits<'_>) -> Result<u32, RecordError> {
    let rate = match bits.take(4)? {
        15 => bits.take(24)?,
        index => RATES.get(index as usize).copied().unwrap_or(0),
    };
    match rate {
        1_000..=384_000 => Ok(rate),
        _ => Err(RecordError::Malformed("sample rate")),
    }
}

/// Channels of a channel configuration (table 1.19); 0 where a program config element says it.
fn channels(configuration: u32) -> Result<u8, RecordError> {
    match configuration {
        0..=6 => Ok(configuration as u8),
        7 | 12 | 14 => Ok(8),
        11 => Ok(7),
        13 => Ok(24),
        _ => Err(RecordError::Malformed("channel configuration")),
    }
}

/// Channels of a program config element (§4.4.1.1).
fn program_channels(bits: &mut Bits<'_>) -> Result<u8, RecordError> {
    bits.skip(4 + 2 + 4)?;
    let (front, side, back) = (bits.take(4)?, bits.take(4)?, bits.take(4)?);
    let low_frequency = bits.take(2)?;
    let data = bits.take(3)?;
    let coupling = bits.take(4)?;
    for mixdown_bits in [4, 4, 3] {
        if bits.flag()? {
            bits.skip(mixdown_bits)?;
        }
    }
    let mut channels = low_frequency;
    for _ in 0..front + side + back {
        channels += if bits.flag()? { 2 } else { 1 };
        bits.skip(4)?;
    }
    bits.skip(4 * (low_frequency + data) as usize + 5 * coupling as usize)?;
    bits.align();
    let comment = bits.take(8)? as usize;
    bits.skip(8 * comment)?;
    Ok(channels as u8) // at most 3 + 3 × 15 × 2
}

/// SBR and PS that are signalled after the end, for decoders that know them not (§1.6.5.2).
fn compatible_extension(mut bits: Bits<'_>) -> Option<(u32, bool)> {
    if bits.left() < 16 || bits.take(11).ok()? != 0x2b7 || object_type(&mut bits).ok()? != SBR || !bits.flag().ok()? {
        return None;
    }
    let rate = rate(&mut bits).ok()?;
    let stereo = bits.take(11).is_ok_and(|sync| sync == 0x548) && bits.flag().unwrap_or(false);
    Some((rate, stereo))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(record: &[u8]) -> AudioSpecificConfig {
        AudioSpecificConfig::parse(record).unwrap()
    }

    #[test]
    fn plain_aac_lc() {
        let config = parse(&[0x12, 0x10]);
        assert_eq!((config.object_type, config.rate, config.channels), (2, 44_100, 2));
        assert_eq!(config.frame(), 1_024);
    }

    #[test]
    fn sbr_signalled_first_doubles_the_rate_and_the_frame() {
        let config = parse(&[0x2b, 0x11, 0x88, 0x00]);
        assert_eq!((config.object_type, config.core_rate, config.rate), (5, 24_000, 48_000));
        assert_eq!((config.channels, config.frame()), (2, 2_048));
    }

    #[test]
    fn parametric_stereo_of_one_channel_comes_out_as_two() {
        let config = parse(&[0xeb, 0x09, 0x88, 0x00]);
        assert_eq!((config.object_type, config.rate, config.channels), (29, 48_000, 2));
    }

    #[test]
    fn sbr_signalled_behind_keeps_object_type_2() {
        let config = parse(&[0x13, 0x10, 0x56, 0xe5, 0x98]);
        assert_eq!((config.object_type, config.core_rate, config.rate), (2, 24_000, 48_000));
    }

    #[test]
    fn the_extension_that_says_there_is_no_sbr_changes_nothing() {
        let config = parse(&[0x12, 0x10, 0x56, 0xe5, 0x00]);
        assert_eq!((config.rate, config.frame()), (44_100, 1_024));
    }

    #[test]
    fn a_rate_may_be_spelt_out() {
        // type 2, index 15, 24 bits of 37,800, channel configuration 1
        let bits: u64 = 2 << 59 | 15 << 55 | 37_800 << 31 | 1 << 27;
        let config = parse(&bits.to_be_bytes());
        assert_eq!((config.rate, config.channels), (37_800, 1));
    }

    #[test]
    fn a_program_config_element_is_counted() {
        // object type 2, 44.1 kHz, configuration 0; one front pair, one side pair, one low-frequency channel
        let text = "00010 0100 0000 0 0 0  0000 01 0100 0001 0001 0000 01 000 0000 0 0 0 1 0000 1 0001 0000 00000000";
        let config = parse(&pack(text));
        assert_eq!(config.channels, 5);
    }

    #[test]
    fn impossible_fields_are_refused() {
        for record in [&[][..], &[0x12], &[0x00, 0x10], &[0x16, 0x90], &[0x12, 0x48]] {
            assert!(AudioSpecificConfig::parse(record).is_err(), "{record:02x?}");
        }
    }

    fn pack(bits: &str) -> Vec<u8> {
        let bits: Vec<u8> = bits.bytes().filter(|bit| *bit != b' ').map(|bit| bit - b'0').collect();
        bits.chunks(8)
            .map(|byte| byte.iter().enumerate().fold(0, |sum, (at, bit)| sum | bit << (7 - at)))
            .collect()
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes: Vec<u8>) {
            if let Ok(config) = AudioSpecificConfig::parse(&bytes) {
                prop_assert!(config.channels > 0 && config.rate > 0);
            }
        }
    }
}
