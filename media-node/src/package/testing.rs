//! Streams for the tests of the muxes: a real clip, and small made-up ones.

use std::sync::Arc;

use bytes::Bytes;

use crate::hub::{Item, Start, What};
use crate::media::clock::Clock;
use crate::media::track::{AudioCodec, AudioConfig, Tracks, VideoCodec, VideoConfig};
use crate::media::unit::{TrackKind, Unit, UnitKind};

/// 8 s of H.264 and AAC, encoded by ffmpeg.
pub(super) const CLIP: &[u8] = include_bytes!("../../../operator/src/local/sample.flv");

pub(super) struct Tag {
    pub(super) track: TrackKind,
    pub(super) dts: i64,
    pub(super) body: Bytes,
}

/// The tags of [`CLIP`].
pub(super) fn clip() -> Vec<Tag> {
    let mut left = Bytes::from_static(&CLIP[13..]);
    let mut tags = Vec::new();
    while left.len() >= 15 {
        let header = left.split_to(11);
        let number =
            |range: std::ops::Range<usize>| header[range].iter().fold(0, |sum, byte| sum << 8 | i64::from(*byte));
        let body = left.split_to(number(1..4) as usize);
        let track = match header[0] {
            8 => TrackKind::Audio,
            9 => TrackKind::Video,
            _ => TrackKind::Script,
        };
        let dts = number(4..7) | i64::from(header[7]) << 24;
        tags.push(Tag { track, dts, body });
        let _size = left.split_to(4);
    }
    tags
}

pub(super) fn unit(track: TrackKind, kind: UnitKind, dts: i64, tag: &'static [u8]) -> Unit {
    Unit {
        track,
        kind,
        dts,
        cts: 0,
        tag: Bytes::from_static(tag),
        data_offset: if track == TrackKind::Video { 5 } else { 2 },
    }
}

pub(super) fn item(what: What) -> Item {
    Item { start: None, what }
}

/// Begins at `media_time_ms`.
pub(super) fn start(tracks: Tracks, media_time_ms: i64) -> Start {
    Start {
        seq: 0,
        epoch: 1,
        tracks: Arc::new(tracks),
        clock: Some(Arc::new(clock(media_time_ms))),
    }
}

pub(super) fn clock(media_time_ms: i64) -> Clock {
    Clock {
        version: 1,
        epoch: 1,
        segment: 3,
        discontinuity: 0,
        media_time_ms,
        wall_ms: 1_700_000_000_000,
        part_target_ms: 200,
        segment_target_ms: 4_000,
        init_version: 2,
        bandwidth_bps: 0,
        units: 500,
        program_ms: 1_700_000_000_000,
        window_ms: 30_000,
        audio_next: None,
        run: Default::default(),
        group: None,
    }
}

/// Metadata, H.264 640×360 and AAC 44.1 kHz stereo.
pub(super) fn tracks() -> Tracks {
    Tracks {
        video: Some(Arc::new(VideoConfig {
            codec: VideoCodec::H264,
            rfc6381: "avc1.64001e".into(),
            width: 640,
            height: 360,
            record: Bytes::from_static(b"\x01\x64\x00\x1e"),
            tag: Bytes::from_static(b"\x17\0\0\0\0\x01\x64\x00\x1e"),
        })),
        audio: Some(Arc::new(AudioConfig {
            codec: AudioCodec::Aac,
            rfc6381: "mp4a.40.2".into(),
            sample_rate: 44_100,
            channels: 2,
            record: Bytes::from_static(&[0x12, 0x10]),
            tag: Bytes::from_static(&[0xaf, 0, 0x12, 0x10]),
        })),
        metadata: Some(Bytes::from_static(b"\x02\x00\x0aonMetaData\x05")),
        expects_video: true,
        expects_audio: true,
        version: 2,
    }
}
