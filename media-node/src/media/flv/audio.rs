//! Audio bodies: AAC by sound format, and everything that has a FourCC.

use bytes::Bytes;

use super::enhanced::{self, Packet};
use super::{CodecId, Header, ParseError, Parser};
use crate::media::record::RecordError;
use crate::media::track::{AudioCodec, AudioConfig, Learned};
use crate::media::unit::UnitKind;
use crate::media::{aac, opus};

const FORMAT_ENHANCED: u8 = 9;
const FORMAT_AAC: u8 = 10;

impl Parser {
    pub(super) fn audio(&mut self, body: &Bytes) -> Result<Header, ParseError> {
        let first = *body.first().ok_or(ParseError::Empty)?;
        match first >> 4 {
            FORMAT_ENHANCED => self.enhanced_audio(body),
            FORMAT_AAC => match body.get(1) {
                None => Err(ParseError::Empty),
                Some(0) => self.audio_config(CodecId::Legacy(FORMAT_AAC), body, 2),
                Some(1) => Ok(frame(2, None)),
                Some(_) => Err(ParseError::Unknown("AAC packet type")),
            },
            format => {
                if body.len() < 2 {
                    return Err(ParseError::Empty);
                }
                let rate = [5_512, 11_025, 22_050, 44_100][usize::from(first >> 2 & 3)];
                let learned = self.unconfigured_audio(CodecId::Legacy(format), rate, (first & 1) + 1)?;
                Ok(frame(1, learned))
            }
        }
    }

    /// ExAudioTagHeader and ExAudioTagBody of Enhanced RTMP.
    fn enhanced_audio(&mut self, body: &Bytes) -> Result<Header, ParseError> {
        const MULTICHANNEL_CONFIG: u8 = 4;
        let Packet { kind, four_cc, offset } = enhanced::audio(body)?;
        let codec = CodecId::FourCc(four_cc);
        match kind {
            enhanced::SEQUENCE_START => self.audio_config(codec, body, offset),
            enhanced::CODED_FRAMES => {
                let learned = self.unconfigured_audio(codec, 0, 0)?;
                Ok(frame(offset, learned))
            }
            enhanced::SEQUENCE_END | MULTICHANNEL_CONFIG => Ok(Header::other(body)),
            _ => Err(ParseError::Unknown("audio packet type")),
        }
    }

    fn audio_config(&mut self, codec: CodecId, body: &Bytes, offset: usize) -> Result<Header, ParseError> {
        let (record, tag) = (body.slice(offset.min(body.len())..), body.clone());
        let config = match &codec {
            CodecId::Legacy(FORMAT_AAC) | CodecId::FourCc([b'm', b'p', b'4', b'a']) => match record.is_empty() {
                true => return Err(RecordError::Truncated.into()),
                false => aac::config(record, tag)?,
            },
            CodecId::FourCc([b'O', b'p', b'u', b's']) => opus::config(record, tag)?,
            _ => AudioConfig {
                record,
                tag,
                ..unknown(0, 0)
            },
        };
        self.audio = Some(codec);
        Ok(Header {
            kind: UnitKind::Config,
            cts: 0,
            data_offset: offset,
            learned: Some(Learned::Audio(config)),
        })
    }

    /// What a frame teaches whose codec needs no configuration, the first time.
    fn unconfigured_audio(&mut self, codec: CodecId, rate: u32, channels: u8) -> Result<Option<Learned>, ParseError> {
        let needs_record = matches!(&codec, CodecId::FourCc(b) if b == b"mp4a");
        if needs_record || self.audio == Some(codec) {
            return Ok(None);
        }
        let config = match &codec {
            CodecId::FourCc([b'O', b'p', b'u', b's']) => opus::config(Bytes::new(), Bytes::new())?,
            _ => unknown(rate, channels),
        };
        self.audio = Some(codec);
        Ok(Some(Learned::Audio(config)))
    }
}

fn frame(data_offset: usize, learned: Option<Learned>) -> Header {
    Header {
        kind: UnitKind::Frame,
        cts: 0,
        data_offset,
        learned,
    }
}

fn unknown(sample_rate: u32, channels: u8) -> AudioConfig {
    AudioConfig {
        codec: AudioCodec::Other,
        rfc6381: String::new(),
        sample_rate,
        channels,
        record: Bytes::new(),
        tag: Bytes::new(),
    }
}
