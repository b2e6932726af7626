//! The clip, its loop and the wire.

use bytes::BytesMut;
use rtmp_rs::protocol::{ChunkDecoder, RtmpMessage};

use super::*;

#[test]
fn the_bundled_clip_has_both_tracks_and_loops_in_whole_frames() {
    let clip = Clip::parse(CLIP).unwrap();
    assert!(clip.headers.iter().any(|tag| tag.kind == 8) && clip.headers.iter().any(|tag| tag.kind == 9));
    assert!(clip.headers.iter().any(|tag| tag.kind == 18));
    let first = clip.media.iter().find(|tag| tag.kind == 9).unwrap();
    assert_eq!(
        (first.time_ms, first.body[0] >> 4),
        (0, 1),
        "the loop begins with a key frame"
    );
    assert_eq!(clip.duration_ms, 8_000);
}

#[test]
fn time_goes_on_over_the_loop_without_a_step() {
    let clip = Clip::parse(CLIP).unwrap();
    for kind in [8, 9] {
        let frames = clip.media.iter().filter(|tag| tag.kind == kind);
        let times: Vec<_> = (0..3)
            .flat_map(|round| frames.clone().map(move |tag| (round, tag)))
            .map(|(round, tag)| due(&clip, round, tag).as_millis())
            .collect();
        let steps: Vec<_> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
        let allowed = if kind == 9 { 40..=40 } else { 20..=23 };
        assert!(steps.iter().all(|step| allowed.contains(step)), "{kind}: {steps:?}");
    }
}

#[test]
fn time_stamps_wrap_after_49_days() {
    assert_eq!(wire_time(Duration::from_millis(u64::from(u32::MAX) + 3)), 2);
}

#[test]
fn bytes_that_are_no_clip_are_refused() {
    for bytes in [&b""[..], b"FLV", &CLIP[..13], &CLIP[..CLIP.len() / 2]] {
        assert!(Clip::parse(Box::leak(bytes.to_vec().into_boxed_slice())).is_err());
    }
}

#[test]
fn messages_read_back_whole_below_and_above_the_extended_time_stamp() {
    for time in [0, 40, 0xFF_FFFE, 0xFF_FFFF, 0x0100_0000, u32::MAX] {
        let body: Vec<u8> = (0..1000_u32).map(|at| at as u8).collect();
        let mut wire = BytesMut::new();
        publisher::write_message(&mut wire, 128, 6, 9, 1, time, &body);
        let chunk = publisher::next_message(&mut ChunkDecoder::new(), &mut wire)
            .unwrap()
            .unwrap();
        assert_eq!((chunk.timestamp, chunk.stream_id), (time, 1));
        let RtmpMessage::Video { data, .. } = RtmpMessage::from_chunk(&chunk).unwrap() else {
            unreachable!("type 9 is video");
        };
        assert_eq!(data, body);
        assert!(wire.is_empty());
    }
}
