//! The FLV feed (Adobe FLV 10.1 annex E), for HTTP and WebSocket.

use bytes::{BufMut, Bytes, BytesMut};

use super::feed::{Audience, Draft, EntryKind};
use super::packager::{Changed, Mux};
use super::rtmp_chunks::timestamp;
use super::websocket_frame::{BINARY, ws_header};
use crate::hub::{Item, Start, What};
use crate::media::track::Tracks;
use crate::media::unit::{TrackKind, Unit};

/// Longest body that a tag can declare.
const MAX_BODY: usize = 0xff_ffff;
const TAG_HEADER: usize = 11;

/// Muxes units as they came into FLV tags.
#[derive(Debug, Default)]
pub struct FlvMux {
    newest_dts: i64,
}

impl Mux for FlvMux {
    fn headers(&mut self, start: &Start) -> Vec<Draft> {
        let dts = start
            .clock
            .as_ref()
            .map_or(self.newest_dts, |clock| clock.media_time_ms);
        let tracks = &start.tracks;
        let tags = tracks
            .headers()
            .map(|(track, tag)| tag_draft(track, EntryKind::Init, dts, tag));
        std::iter::once(file_header(tracks, dts)).chain(tags).collect()
    }

    fn item(&mut self, item: &Item, out: &mut Vec<Draft>) -> Changed {
        match &item.what {
            What::Unit(unit) => out.push(self.unit(unit, EntryKind::of(unit))),
            What::Tracks(unit, _) => out.push(self.unit(unit, EntryKind::Init)),
            What::Clock(_) => {}
        }
        Changed::No
    }

    /// An FLV file has one time line.
    fn restart(&mut self) -> Changed {
        Changed::Reconnect
    }
}

impl FlvMux {
    fn unit(&mut self, unit: &Unit, kind: EntryKind) -> Draft {
        self.newest_dts = self.newest_dts.max(unit.dts);
        tag_draft(unit.track, kind, unit.dts, &unit.tag)
    }
}

/// The file header and the tag size of nothing (§E.2, §E.3). Promised tracks count: players wait for what is announced.
fn file_header(tracks: &Tracks, dts: i64) -> Draft {
    let audio = u8::from(tracks.audio.is_some() || tracks.expects_audio) << 2;
    let video = u8::from(tracks.video.is_some() || tracks.expects_video);
    let bytes = vec![b'F', b'L', b'V', 1, audio | video, 0, 0, 0, 9, 0, 0, 0, 0];
    draft(EntryKind::Preamble, dts, vec![bytes.into()])
}

/// One tag (§E.4.1) and its size behind it. A body beyond 16,777,215 bytes is cut there, as no header could declare it.
fn tag_draft(track: TrackKind, kind: EntryKind, dts: i64, body: &Bytes) -> Draft {
    let body = body.slice(..body.len().min(MAX_BODY));
    let timestamp = timestamp(track, kind, dts);
    let mut frame = BytesMut::with_capacity(TAG_HEADER + 4);
    frame.put_u8(match track {
        TrackKind::Audio => 8,
        TrackKind::Video => 9,
        TrackKind::Script => 18,
    });
    frame.put_uint(body.len() as u64, 3);
    frame.put_uint(u64::from(timestamp & 0xff_ffff), 3);
    frame.put_u8((timestamp >> 24) as u8);
    frame.put_uint(0, 3);
    frame.put_u32((TAG_HEADER + body.len()) as u32);
    let frame = frame.freeze();
    let (header, size) = (frame.slice(..TAG_HEADER), frame.slice(TAG_HEADER..));
    draft(kind, dts, vec![header, body, size])
}

fn draft(kind: EntryKind, dts: i64, parts: Vec<Bytes>) -> Draft {
    Draft {
        kind,
        audience: Audience::All,
        dts,
        ws_header: ws_header(BINARY, parts.iter().map(Bytes::len).sum()),
        parts,
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing;
    use super::*;
    use crate::media::flv::Parser;
    use crate::media::unit::UnitKind;

    #[test]
    fn the_file_header_says_which_tracks_there_are() {
        let headers = FlvMux::default().headers(&testing::start(testing::tracks(), 7_000));
        assert_eq!(&headers[0].parts[0][..], b"FLV\x01\x05\0\0\0\x09\0\0\0\0");
        assert_eq!(headers[0].kind, EntryKind::Preamble);
        let types: Vec<_> = headers[1..].iter().map(|draft| draft.parts[0][0]).collect();
        assert_eq!(types, [18, 9, 8]);
        let audio_only = Tracks {
            video: None,
            expects_video: false,
            ..testing::tracks()
        };
        assert_eq!(
            FlvMux::default().headers(&testing::start(audio_only, 0))[0].parts[0][4],
            4
        );
    }

    #[test]
    fn timestamps_have_32_bits() {
        let unit = testing::unit(TrackKind::Video, UnitKind::Key, 0x1_89ab_cdef, b"\x17\x01\0\0\0data");
        let mut out = Vec::new();
        FlvMux::default().item(&testing::item(What::Unit(unit)), &mut out);
        assert_eq!(&out[0].parts[0][..], [9, 0, 0, 9, 0xab, 0xcd, 0xef, 0x89, 0, 0, 0]);
        assert_eq!(&out[0].parts[2][..], [0, 0, 0, 20]);
        assert_eq!(&out[0].ws_header[..], [0x82, 24]);
    }

    #[test]
    fn relays_and_players_of_flv_see_no_clock() {
        let mut out = Vec::new();
        FlvMux::default().item(&testing::item(What::Clock(testing::clock(0).into())), &mut out);
        assert!(out.is_empty());
    }

    #[test]
    fn a_real_clip_comes_out_tag_by_tag_as_it_went_in() {
        let mut parser = Parser::default();
        let mut mux = FlvMux::default();
        let mut wire = Vec::new();
        for tag in testing::clip() {
            let parsed = parser.parse(tag.track, tag.dts, tag.body).unwrap();
            let mut out = Vec::new();
            mux.item(&testing::item(What::Unit(parsed.unit)), &mut out);
            wire.extend(out.iter().flat_map(|draft| draft.parts.concat()));
        }
        let source = &testing::CLIP[13..];
        assert_eq!(wire.len(), source.len());
        assert!(wire == source);
    }
}
