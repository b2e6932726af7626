//! FLV bodies of every form that encoders send, and of forms that none should.

use std::collections::HashMap;

use proptest::prelude::*;
use rtmp_rs::amf::{AmfValue, amf0};

use super::*;
use crate::media::track::{AudioCodec, VideoCodec};

const AVC_RECORD: &[u8] = &[
    0x01, 0x64, 0x00, 0x28, 0xff, 0xe1, 0x00, 0x19, 0x67, 0x64, 0x00, 0x28, 0xac, 0xec, 0x07, 0x80, 0x22, 0x7e, 0x5c,
    0x04, 0x40, 0x00, 0x00, 0x03, 0x00, 0x40, 0x00, 0x00, 0x0c, 0x83, 0xc6, 0x0c, 0x4e, 0x01, 0x00, 0x04, 0x68, 0xef,
    0x8f, 0xcb, 0xfd, 0xf8, 0xf8, 0x00,
];

fn parse(parser: &mut Parser, track: TrackKind, parts: &[&[u8]]) -> Result<Parsed, ParseError> {
    parser.parse(track, 7, Bytes::from(parts.concat()))
}

fn video(parts: &[&[u8]]) -> Result<Parsed, ParseError> {
    parse(&mut Parser::default(), TrackKind::Video, parts)
}

fn audio(parts: &[&[u8]]) -> Result<Parsed, ParseError> {
    parse(&mut Parser::default(), TrackKind::Audio, parts)
}

#[test]
fn legacy_h264_frames_have_signed_composition_offsets() {
    let parsed = video(&[&[0x17, 1, 0xff, 0xff, 0xd8], b"data"]).unwrap();
    assert_eq!(
        (parsed.unit.kind, parsed.unit.cts, parsed.unit.dts),
        (UnitKind::Key, -40, 7)
    );
    assert_eq!(&parsed.unit.data()[..], b"data");
    let parsed = video(&[&[0x27, 1, 0, 0, 80], b"data"]).unwrap();
    assert_eq!((parsed.unit.kind, parsed.unit.cts), (UnitKind::Frame, 80));
}

#[test]
fn a_legacy_h264_configuration_is_learned() {
    let parsed = video(&[&[0x17, 0, 0, 0, 0], AVC_RECORD]).unwrap();
    assert_eq!(parsed.unit.kind, UnitKind::Config);
    let Some(Learned::Video(config)) = parsed.learned else {
        panic!()
    };
    assert_eq!((config.codec, config.width), (VideoCodec::H264, 1920));
    assert_eq!(&config.record[..], AVC_RECORD);
    assert_eq!(config.tag, parsed.unit.tag);
}

#[test]
fn the_end_of_a_sequence_is_passed_on() {
    assert_eq!(video(&[&[0x17, 2, 0, 0, 0]]).unwrap().unit.kind, UnitKind::Other);
    assert_eq!(video(&[&[0x92], b"hvc1"]).unwrap().unit.kind, UnitKind::Other);
}

#[test]
fn enhanced_h264_is_h264() {
    let parsed = video(&[&[0x90], b"avc1", AVC_RECORD]).unwrap();
    let Some(Learned::Video(config)) = parsed.learned else {
        panic!()
    };
    assert_eq!(
        (config.codec, config.rfc6381.as_str()),
        (VideoCodec::H264, "avc1.640028")
    );
}

/// rtmp-rs fault 10: only H.264 key frames were seen as such.
#[test]
fn key_frames_of_every_codec_are_key_frames() {
    for (four_cc, cts) in [(b"hvc1", 40), (b"avc1", 40), (b"av01", 0), (b"vp09", 0)] {
        let offset: &[u8] = if cts == 0 { &[] } else { &[0, 0, 40] };
        let key = video(&[&[0x91], four_cc, offset, b"data"]).unwrap().unit;
        assert_eq!((key.kind, key.cts, &key.data()[..]), (UnitKind::Key, cts, &b"data"[..]));
        let frame = video(&[&[0xa1], four_cc, offset, b"data"]).unwrap().unit;
        assert_eq!(frame.kind, UnitKind::Frame);
        let without = video(&[&[0x93], four_cc, b"data"]).unwrap().unit;
        assert_eq!((without.cts, &without.data()[..]), (0, &b"data"[..]));
    }
}

#[test]
fn extensions_before_the_header_are_skipped() {
    // timestamp offset of 3 bytes, then coded frames without composition offset
    let parsed = video(&[&[0x97, 2, 0, 0, 9, 0x03], b"hvc1", b"data"]).unwrap();
    assert_eq!(
        (parsed.unit.kind, &parsed.unit.data()[..]),
        (UnitKind::Key, &b"data"[..])
    );
    let long = [&[0x97, 255, 0, 99][..], &[0; 100], &[0x01], b"av01data"].concat();
    assert_eq!(&video(&[&long]).unwrap().unit.data()[..], b"data");
    assert_eq!(video(&[&[0x97, 200, 0]]), Err(ParseError::Truncated));
}

#[test]
fn of_several_tracks_the_first_is_taken() {
    let first = video(&[&[0x96, 0x01], b"hvc1", &[0], &[0, 0, 40], b"data"])
        .unwrap()
        .unit;
    assert_eq!(
        (first.kind, first.cts, &first.data()[..]),
        (UnitKind::Key, 40, &b"data"[..])
    );
    assert_eq!(
        video(&[&[0x96, 0x01], b"hvc1", &[1], b"data"]),
        Err(ParseError::ExtraTrack)
    );
    assert_eq!(
        video(&[&[0x96, 0x11], b"hvc1", &[0], b"data"]),
        Err(ParseError::ExtraTrack)
    );
    let first = audio(&[&[0x95, 0x01], b"mp4a", &[0], b"data"]).unwrap().unit;
    assert_eq!(&first.data()[..], b"data");
    assert_eq!(
        audio(&[&[0x95, 0x01], b"mp4a", &[7], b"data"]),
        Err(ParseError::ExtraTrack)
    );
}

#[test]
fn enhanced_metadata_is_passed_on_and_commands_are_not() {
    assert_eq!(video(&[&[0x94], b"hvc1", b"amf"]).unwrap().unit.kind, UnitKind::Other);
    assert_eq!(video(&[&[0xd1], b"hvc1", b"data"]), Err(ParseError::CommandFrame));
    assert_eq!(video(&[&[0x57, 0]]), Err(ParseError::CommandFrame));
}

#[test]
fn aac_is_learned_from_its_configuration() {
    for head in [&[0xaf, 0x00][..], &[0x90, b'm', b'p', b'4', b'a']] {
        let parsed = audio(&[head, &[0x12, 0x10]]).unwrap();
        assert_eq!(parsed.unit.kind, UnitKind::Config);
        let Some(Learned::Audio(config)) = parsed.learned else {
            panic!()
        };
        assert_eq!(
            (config.rfc6381.as_str(), config.sample_rate, config.channels),
            ("mp4a.40.2", 44_100, 2)
        );
    }
    let frame = audio(&[&[0xaf, 1], b"data"]).unwrap();
    assert_eq!(
        (frame.unit.kind, &frame.unit.data()[..]),
        (UnitKind::Frame, &b"data"[..])
    );
    assert_eq!(frame.learned, None);
}

#[test]
fn codecs_without_configuration_are_learned_once() {
    let mut parser = Parser::default();
    let first = parse(&mut parser, TrackKind::Audio, &[&[0x91], b"Opus", b"data"]).unwrap();
    let Some(Learned::Audio(config)) = first.learned else {
        panic!()
    };
    assert_eq!((config.codec, config.channels), (AudioCodec::Opus, 2));
    let second = parse(&mut parser, TrackKind::Audio, &[&[0x91], b"Opus", b"data"]).unwrap();
    assert_eq!(second.learned, None);
    let mp3 = parse(&mut parser, TrackKind::Audio, &[&[0x2f], b"data"]).unwrap();
    let Some(Learned::Audio(config)) = mp3.learned else {
        panic!()
    };
    assert_eq!(
        (config.codec, config.sample_rate, config.channels),
        (AudioCodec::Other, 44_100, 2)
    );
    let sorenson = parse(&mut parser, TrackKind::Video, &[&[0x12], b"data"]).unwrap();
    assert!(matches!(sorenson.learned, Some(Learned::Video(_))));
}

#[test]
fn empty_bodies_are_benign() {
    for error in [
        video(&[]).unwrap_err(),
        video(&[&[0x17, 1, 0, 0, 0]]).unwrap_err(),
        audio(&[]).unwrap_err(),
        audio(&[&[0xaf, 1]]).unwrap_err(),
    ] {
        assert_eq!(error, ParseError::Empty);
        assert!(error.is_benign());
    }
}

#[test]
fn malformed_configurations_are_refused() {
    assert!(matches!(video(&[&[0x17, 0, 0, 0, 0]]), Err(ParseError::Record(_))));
    assert!(matches!(
        video(&[&[0x17, 0, 0, 0, 0], b"junk"]),
        Err(ParseError::Record(_))
    ));
    assert!(matches!(audio(&[&[0xaf, 0]]), Err(ParseError::Record(_))));
    assert_eq!(
        video(&[&[0x17, 3, 0, 0, 0]]),
        Err(ParseError::Unknown("AVC packet type"))
    );
}

#[test]
fn metadata_is_stripped_and_says_what_to_expect() {
    let body = amf0::encode_all(&[
        AmfValue::String("@setDataFrame".into()),
        AmfValue::String("onMetaData".into()),
        AmfValue::EcmaArray(HashMap::from([
            ("width".into(), AmfValue::Number(1280.0)),
            ("audiocodecid".into(), AmfValue::Number(0.0)),
        ])),
    ]);
    let parsed = Parser::default().parse(TrackKind::Script, 7, body.clone()).unwrap();
    assert_eq!(parsed.unit.kind, UnitKind::Metadata);
    let learned = Learned::Metadata {
        body: body.slice(16..),
        expects_video: true,
        expects_audio: false,
    };
    assert_eq!(parsed.learned, Some(learned));
    assert_eq!(parsed.unit.tag, body.slice(16..));

    let cue = amf0::encode_all(&[AmfValue::String("onCuePoint".into()), AmfValue::Null]);
    let parsed = Parser::default().parse(TrackKind::Script, 7, cue).unwrap();
    assert_eq!((parsed.unit.kind, parsed.learned), (UnitKind::Other, None));
    let bomb = Bytes::from_static(&[0x02, 0, 1, b'x', 0x07, 0, 0]);
    assert_eq!(
        Parser::default().parse(TrackKind::Script, 7, bomb),
        Err(ParseError::Unsafe)
    );
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(mut body: Vec<u8>, first in 0x80..=0xffu8, legacy: u8) {
        let mut parser = Parser::default();
        for track in [TrackKind::Video, TrackKind::Audio, TrackKind::Script] {
            for lead in [None, Some(first), Some(legacy), Some(0x90 | legacy & 15), Some(0xa0 | legacy & 15)] {
                if let (Some(lead), Some(byte)) = (lead, body.first_mut()) {
                    *byte = lead;
                }
                if let Ok(parsed) = parser.parse(track, 0, Bytes::from(body.clone())) {
                    prop_assert!(usize::from(parsed.unit.data_offset) <= parsed.unit.tag.len());
                }
            }
        }
    }

    #[test]
    fn arbitrary_bytes_behind_a_four_cc_never_panic(kind in 0u8..8, cc in 0usize..6, rest: Vec<u8>) {
        let cc = [b"avc1", b"hvc1", b"av01", b"vp09", b"mp4a", b"Opus"][cc];
        let body = [&[0x90 | kind], &cc[..], &rest].concat();
        let _ = Parser::default().parse(TrackKind::Video, 0, Bytes::from(body.clone()));
        let _ = Parser::default().parse(TrackKind::Audio, 0, Bytes::from(body));
    }
}
