//! Video bodies: H.264 by codec id, and everything that has a FourCC.

use bytes::Bytes;

use super::enhanced::{self, Packet};
use super::{CodecId, Header, ParseError, Parser, signed_24};
use crate::media::record::RecordError;
use crate::media::track::{Learned, VideoCodec, VideoConfig};
use crate::media::unit::UnitKind;
use crate::media::{av1, h264, hevc};

const FRAME_COMMAND: u8 = 5;
const CODEC_H264: u8 = 7;

impl Parser {
    pub(super) fn video(&mut self, body: &Bytes) -> Result<Header, ParseError> {
        let first = *body.first().ok_or(ParseError::Empty)?;
        if first & 0x80 != 0 {
            return self.enhanced_video(body);
        }
        let kind = frame_kind(first >> 4)?;
        let codec = CodecId::Legacy(first & 0x0f);
        if codec == CodecId::Legacy(CODEC_H264) {
            return self.h264(body, kind);
        }
        if body.len() < 2 {
            return Err(ParseError::Empty);
        }
        Ok(Header {
            kind,
            cts: 0,
            data_offset: 1,
            learned: self.unconfigured_video(codec),
        })
    }

    /// AVCVIDEOPACKET, FLV 10.1 §E.4.3.2.
    fn h264(&mut self, body: &Bytes, kind: UnitKind) -> Result<Header, ParseError> {
        match body.get(1) {
            None => Err(ParseError::Truncated),
            Some(0) => {
                let record = body.get(5..).ok_or(ParseError::Truncated)?;
                self.video_config(CodecId::Legacy(CODEC_H264), body, body.len() - record.len())
            }
            Some(1) => Ok(Header {
                kind,
                cts: signed_24(body, 2)?,
                data_offset: 5,
                learned: None,
            }),
            Some(2) => Ok(Header::other(body)),
            Some(_) => Err(ParseError::Unknown("AVC packet type")),
        }
    }

    /// ExVideoTagHeader and ExVideoTagBody of Enhanced RTMP.
    fn enhanced_video(&mut self, body: &Bytes) -> Result<Header, ParseError> {
        const METADATA: u8 = 4;
        let frame_type = body[0] >> 4 & 0x07;
        let Packet { kind, four_cc, offset } = match enhanced::video(body, frame_type == FRAME_COMMAND)? {
            Some(packet) => packet,
            None => return Err(ParseError::CommandFrame),
        };
        let codec = CodecId::FourCc(four_cc);
        match kind {
            enhanced::SEQUENCE_START => self.video_config(codec, body, offset),
            enhanced::CODED_FRAMES | enhanced::CODED_FRAMES_X => {
                let has_offset = kind == enhanced::CODED_FRAMES && matches!(&four_cc, b"avc1" | b"hvc1" | b"vvc1");
                let (cts, data_offset) = match has_offset {
                    true => (signed_24(body, offset)?, offset + 3),
                    false => (0, offset),
                };
                Ok(Header {
                    kind: frame_kind(frame_type)?,
                    cts,
                    data_offset,
                    learned: self.unconfigured_video(codec),
                })
            }
            enhanced::SEQUENCE_END | METADATA | 5 => Ok(Header::other(body)),
            _ => Err(ParseError::Unknown("video packet type")),
        }
    }

    fn video_config(&mut self, codec: CodecId, body: &Bytes, offset: usize) -> Result<Header, ParseError> {
        let (record, tag) = (body.slice(offset.min(body.len())..), body.clone());
        if record.is_empty() {
            return Err(RecordError::Truncated.into());
        }
        let config = match &codec {
            CodecId::Legacy(CODEC_H264) | CodecId::FourCc([b'a', b'v', b'c', b'1']) => h264::config(record, tag)?,
            CodecId::FourCc([b'h', b'v', b'c', b'1']) => hevc::config(record, tag)?,
            CodecId::FourCc([b'a', b'v', b'0', b'1']) => av1::config(record, tag)?,
            _ => VideoConfig {
                record,
                tag,
                ..unknown()
            },
        };
        self.video = Some(codec);
        Ok(Header {
            kind: UnitKind::Config,
            cts: 0,
            data_offset: offset,
            learned: Some(Learned::Video(config)),
        })
    }

    /// What a frame teaches whose codec needs no configuration, the first time.
    fn unconfigured_video(&mut self, codec: CodecId) -> Option<Learned> {
        let needs_record = matches!(&codec, CodecId::FourCc(b) if matches!(b, b"avc1" | b"hvc1" | b"av01"));
        if needs_record || self.video == Some(codec) {
            return None;
        }
        self.video = Some(codec);
        Some(Learned::Video(unknown()))
    }
}

fn unknown() -> VideoConfig {
    VideoConfig {
        codec: VideoCodec::Other,
        rfc6381: String::new(),
        width: 0,
        height: 0,
        record: Bytes::new(),
        tag: Bytes::new(),
    }
}

/// By the frame type alone, for every codec alike.
fn frame_kind(frame_type: u8) -> Result<UnitKind, ParseError> {
    match frame_type {
        1 | 4 => Ok(UnitKind::Key),
        2 | 3 => Ok(UnitKind::Frame),
        FRAME_COMMAND => Err(ParseError::CommandFrame),
        _ => Err(ParseError::Unknown("frame type")),
    }
}
