//! Fragments as a player reads them.

use std::sync::Arc;

use proptest::prelude::*;
use shiguredo_mp4::boxes::{FtypBox, MoofBox, MoovBox, SampleEntry};
use shiguredo_mp4::{Decode, Encode};

use super::super::{Format, make_mux, testing};
use super::*;
use crate::media::flv::Parser;
use crate::media::track::{AudioCodec, AudioConfig};

/// What the clip becomes: headers of the first start, then what follows, with the units that were fed.
fn mux_clip() -> (Vec<Draft>, Vec<(Unit, Draft)>) {
    let (mut parser, mut mux) = (Parser::default(), Fmp4Mux::default());
    let mut tracks = Tracks::default();
    let mut headers = Vec::new();
    let mut frames = Vec::new();
    for tag in testing::clip() {
        let parsed = parser.parse(tag.track, tag.dts, tag.body).unwrap();
        if let Some(next) = parsed.learned.and_then(|learned| tracks.with(learned)) {
            tracks = next;
        }
        if !parsed.unit.is_media() {
            continue;
        }
        if headers.is_empty() {
            headers = mux.headers(&testing::start(tracks.clone(), 0));
        }
        let mut out = Vec::new();
        mux.item(&testing::item(What::Unit(parsed.unit.clone())), &mut out);
        assert_eq!(out.len(), 1, "one fragment for each frame, at once");
        frames.push((parsed.unit, out.remove(0)));
    }
    (headers, frames)
}

fn text_of(draft: &Draft) -> serde_json::Value {
    assert_eq!((draft.audience, draft.ws_header[0]), (Audience::Informed, 0x81));
    serde_json::from_slice(&draft.parts[0]).unwrap()
}

fn moof_of(draft: &Draft) -> MoofBox {
    MoofBox::decode(&draft.parts[0]).unwrap().0
}

fn with_video(tracks: &Tracks, record: &'static [u8]) -> Tracks {
    let mut next = tracks.clone();
    if let Some(video) = &mut next.video {
        Arc::make_mut(video).record = Bytes::from_static(record);
    }
    next
}

#[test]
fn headers_are_the_type_the_init_segment_and_the_clock() {
    let (headers, _) = mux_clip();
    let [init, segment, clock] = &headers[..] else {
        panic!("{headers:?}")
    };
    let init = text_of(init);
    assert_eq!(init["type"], "init");
    let mime = init["mime"].as_str().unwrap();
    assert!(
        mime.starts_with("video/mp4; codecs=\"avc1.") && mime.ends_with(",mp4a.40.2\""),
        "{mime}"
    );
    assert_eq!(
        (segment.kind, segment.audience, segment.ws_header[0]),
        (EntryKind::Init, Audience::All, 0x82)
    );
    let clock = text_of(clock);
    assert_eq!((&clock["type"], &clock["mediaTimeMs"]), (&"clock".into(), &0.into()));
}

#[test]
fn the_init_segment_describes_both_tracks_with_their_records_as_they_came() {
    let (headers, frames) = mux_clip();
    assert!(!frames.is_empty());
    let segment = &headers[1].parts[0];
    let (_, ftyp) = FtypBox::decode(segment).unwrap();
    let (moov, size) = MoovBox::decode(&segment[ftyp..]).unwrap();
    assert_eq!(ftyp + size, segment.len());
    let [video, audio] = &moov.trak_boxes[..] else { panic!() };
    let entry = &video.mdia_box.minf_box.stbl_box.stsd_box.entries[0];
    let SampleEntry::Avc1(avc1) = entry else {
        panic!("{entry:?}")
    };
    assert_eq!(
        (video.tkhd_box.track_id, video.mdia_box.mdhd_box.timescale.get()),
        (1, 1_000)
    );
    let config = testing::clip()
        .into_iter()
        .find(|tag| tag.body.starts_with(&[0x17, 0]))
        .unwrap();
    assert_eq!(&avc1.avcc_box.encode_to_vec().unwrap()[8..], &config.body[5..]);
    assert_eq!(avc1.visual.width, video.tkhd_box.width.integer as u16);
    let SampleEntry::Mp4a(mp4a) = &audio.mdia_box.minf_box.stbl_box.stsd_box.entries[0] else {
        panic!()
    };
    assert_eq!(
        audio.mdia_box.mdhd_box.timescale.get(),
        u32::from(mp4a.audio.samplerate.integer)
    );
    assert_eq!(moov.mvex_box.unwrap().trex_boxes.len(), 2);
}

#[test]
fn fragments_carry_each_frame_untouched_with_its_times() {
    let (_, frames) = mux_clip();
    let mut keys = 0;
    for (index, (unit, draft)) in frames.iter().enumerate() {
        let moof = moof_of(draft);
        assert_eq!(
            moof.mfhd_box.sequence_number as usize,
            500 + index,
            "numbered by the origin's count of units"
        );
        let traf = &moof.traf_boxes[0];
        let (trun, tfdt) = (&traf.trun_boxes[0], traf.tfdt_box.as_ref().unwrap());
        let sample = &trun.samples[0];
        assert_eq!(trun.data_offset, Some(draft.parts[0].len() as i32));
        assert_eq!(sample.size, Some(draft.parts[1].len() as u32));
        assert_eq!(draft.parts[1], unit.data());
        assert_eq!(draft.parts[1].as_ptr(), unit.data().as_ptr(), "shared, not copied");
        let mdat = &draft.parts[0][draft.parts[0].len() - 8..];
        assert_eq!(mdat[..4], (draft.parts[1].len() as u32 + 8).to_be_bytes());
        match unit.track {
            TrackKind::Video => {
                assert_eq!(
                    (traf.tfhd_box.track_id, tfdt.base_media_decode_time),
                    (1, unit.dts as u64)
                );
                assert_eq!(sample.composition_time_offset, Some(unit.cts.into()));
                let sync = sample.flags.unwrap().get() & 0x1_0000 == 0;
                assert_eq!((sync, draft.kind == EntryKind::Key), (unit.kind == UnitKind::Key, sync));
                keys += u32::from(sync);
            }
            _ => assert_eq!((traf.tfhd_box.track_id, draft.kind), (2, EntryKind::Frame)),
        }
    }
    assert!(keys > 1);
}

#[test]
fn composition_offsets_are_signed_and_times_have_64_bits() {
    let mut mux = Fmp4Mux::default();
    mux.headers(&testing::start(testing::tracks(), 0));
    let mut unit = testing::unit(TrackKind::Video, UnitKind::Frame, 1 << 40, b"\x27\x01\xff\xff\xd8data");
    unit.cts = -40;
    let mut out = Vec::new();
    mux.item(&testing::item(What::Unit(unit)), &mut out);
    let traf = &moof_of(&out[0]).traf_boxes[0];
    assert_eq!(traf.trun_boxes[0].samples[0].composition_time_offset, Some(-40));
    assert_eq!(traf.tfdt_box.as_ref().unwrap().base_media_decode_time, 1 << 40);
}

#[test]
fn a_new_configuration_is_announced_in_line_and_metadata_is_not() {
    let mut mux = Fmp4Mux::default();
    let tracks = testing::tracks();
    mux.headers(&testing::start(tracks.clone(), 0));
    let config = testing::unit(TrackKind::Video, UnitKind::Config, 80, b"\x17\0\0\0\0new");
    let mut out = Vec::new();
    let mut metadata = tracks.clone();
    metadata.metadata = Some(Bytes::from_static(b"other"));
    mux.item(
        &testing::item(What::Tracks(config.clone(), Arc::new(metadata))),
        &mut out,
    );
    assert!(out.is_empty());
    let changed = with_video(&tracks, b"\x01\x64\x00\x1f");
    mux.item(
        &testing::item(What::Tracks(config, Arc::new(changed.clone()))),
        &mut out,
    );
    assert_eq!(out.len(), 2);
    assert_eq!(
        (text_of(&out[0])["type"].as_str(), out[1].kind),
        (Some("init"), EntryKind::Init)
    );
    mux.headers(&testing::start(changed, 80));
    let mut after = Vec::new();
    let key = testing::unit(TrackKind::Video, UnitKind::Key, 80, b"\x17\x01\0\0\0data");
    mux.item(&testing::item(What::Unit(key)), &mut after);
    assert_eq!(
        after.len(),
        1,
        "the start with the same tracks needs no second announcement"
    );
}

/// Tracks that a frame taught (Opus without a header) change at a start, with no item of their own.
#[test]
fn tracks_that_changed_silently_are_announced_to_those_who_are_here() {
    let mut mux = Fmp4Mux::default();
    let tracks = testing::tracks();
    mux.headers(&testing::start(tracks.clone(), 0));
    mux.headers(&testing::start(with_video(&tracks, b"\x01\x64\x00\x1f"), 1_000));
    let mut out = Vec::new();
    let key = testing::unit(TrackKind::Video, UnitKind::Key, 1_000, b"\x17\x01\0\0\0data");
    mux.item(&testing::item(What::Unit(key)), &mut out);
    let kinds: Vec<_> = out.iter().map(|draft| draft.kind).collect();
    assert_eq!(kinds, [EntryKind::Data, EntryKind::Init, EntryKind::Key]);
}

#[test]
fn tracks_that_mp4_cannot_carry_are_left_out() {
    let mut mux = Fmp4Mux::default();
    let mut tracks = testing::tracks();
    tracks.audio = Some(Arc::new(AudioConfig {
        codec: AudioCodec::Other,
        rfc6381: String::new(),
        sample_rate: 44_100,
        channels: 2,
        record: Bytes::new(),
        tag: Bytes::new(),
    }));
    let headers = mux.headers(&testing::start(tracks.clone(), 0));
    assert_eq!(text_of(&headers[0])["mime"], "video/mp4; codecs=\"avc1.64001e\"");
    let mut out = Vec::new();
    let audio = testing::unit(TrackKind::Audio, UnitKind::Frame, 0, b"\x2fdata");
    mux.item(&testing::item(What::Unit(audio)), &mut out);
    assert!(out.is_empty());
    tracks.video = None;
    let headers = Fmp4Mux::default().headers(&testing::start(tracks, 0));
    assert_eq!(headers.len(), 1, "a clock, and nothing to play");
}

#[test]
fn audio_alone_is_announced_as_audio() {
    let mut mux = Fmp4Mux::default();
    let tracks = Tracks {
        video: None,
        ..testing::tracks()
    };
    let headers = mux.headers(&testing::start(tracks, 0));
    assert_eq!(text_of(&headers[0])["mime"], "audio/mp4; codecs=\"mp4a.40.2\"");
}

#[test]
fn a_restart_goes_on_with_new_headers_for_everybody() {
    let mut mux = Fmp4Mux::default();
    mux.headers(&testing::start(testing::tracks(), 0));
    assert_eq!(mux.restart(), Changed::No);
    assert_eq!(
        mux.headers(&testing::start(with_video(&testing::tracks(), b"\x01\x4d\x00\x1f"), 0))
            .len(),
        3
    );
    let mut out = Vec::new();
    let key = testing::unit(TrackKind::Video, UnitKind::Key, 0, b"\x17\x01\0\0\0data");
    mux.item(&testing::item(What::Unit(key)), &mut out);
    assert_eq!(out.len(), 1, "which they get as newcomers, not in line");
}

proptest! {
    #[test]
    fn whatever_time_a_unit_has_nothing_panics(times in prop::collection::vec((any::<i64>(), any::<i32>(), any::<bool>()), 1..50)) {
        for format in [Format::Fmp4, Format::Flv, Format::Rtmp] {
            let mut mux = make_mux(format);
            mux.headers(&testing::start(testing::tracks(), 0));
            for (dts, cts, video) in &times {
                let (track, tag): (_, &[u8]) = match video {
                    true => (TrackKind::Video, b"\x27\x01\0\0\0data"),
                    false => (TrackKind::Audio, b"\xaf\x01data"),
                };
                let mut unit = testing::unit(track, UnitKind::Frame, *dts, tag);
                unit.cts = *cts;
                let mut out = Vec::new();
                mux.item(&testing::item(What::Unit(unit)), &mut out);
                prop_assert_eq!(out.len(), 1);
            }
        }
    }
}
