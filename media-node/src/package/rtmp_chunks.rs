//! The RTMP feed: one chunk stream with absolute timestamps, the same bytes for every viewer.

use bytes::Bytes;

use super::feed::{Audience, Draft, EntryKind};
use super::packager::{Changed, Mux};
use crate::hub::{Item, Start, What};
use crate::media::amf;
use crate::media::clock::Clock;
use crate::media::unit::{TrackKind, Unit, UnitKind};
use crate::rtmp::mux::message;

/// Chunk size of everything that the feed holds; a viewer must be told before its first entry.
pub const OUT_CHUNK_SIZE: usize = 65_536;
/// The message stream that `createStream` always answers.
pub const STREAM_ID: u32 = 1;
/// Chunk stream of audio messages.
pub const AUDIO_CSID: u32 = 4;
/// Chunk stream of `onMetaData` and other script messages.
pub const DATA_CSID: u32 = 5;
/// Chunk stream of video messages.
pub const VIDEO_CSID: u32 = 6;
/// Chunk stream of clock messages: its own, since other viewers never see them.
pub const CLOCK_CSID: u32 = 7;

const AUDIO: u8 = 8;
const VIDEO: u8 = 9;
const DATA: u8 = 18;

/// Muxes units as they came into RTMP chunks.
#[derive(Debug, Default)]
pub struct RtmpMux {
    newest_dts: i64,
}

impl Mux for RtmpMux {
    fn headers(&mut self, start: &Start) -> Vec<Draft> {
        let dts = start
            .clock
            .as_ref()
            .map_or(self.newest_dts, |clock| clock.media_time_ms);
        let tracks = &start.tracks;
        let tags = tracks
            .headers()
            .map(|(track, tag)| draft(track, EntryKind::Init, dts, tag));
        // The clock first: to a relay a new epoch in it is the end of all that came before, configurations included.
        start
            .clock
            .as_ref()
            .map(|clock| clock_draft(clock))
            .into_iter()
            .chain(tags)
            .collect()
    }

    fn item(&mut self, item: &Item, out: &mut Vec<Draft>) -> Changed {
        match &item.what {
            What::Unit(unit) => out.push(self.unit(unit, EntryKind::of(unit))),
            What::Tracks(unit, _) => out.push(self.unit(unit, EntryKind::Init)),
            What::Clock(clock) => out.push(clock_draft(clock)),
        }
        Changed::No
    }

    /// Players take a new time line for an error, and their buffers are full of the old one.
    fn restart(&mut self) -> Changed {
        Changed::Reconnect
    }
}

impl RtmpMux {
    fn unit(&mut self, unit: &Unit, kind: EntryKind) -> Draft {
        self.newest_dts = self.newest_dts.max(unit.dts);
        draft(unit.track, kind, unit.dts, &unit.tag)
    }
}

impl EntryKind {
    /// What a unit becomes that is no configuration.
    pub(super) fn of(unit: &Unit) -> Self {
        match unit.kind {
            UnitKind::Key => EntryKind::Key,
            UnitKind::Frame => EntryKind::Frame,
            UnitKind::Config | UnitKind::Metadata => EntryKind::Init,
            UnitKind::Other => EntryKind::Data,
        }
    }
}

/// The timestamp of a message, 32 bits. Metadata has 0 wherever it comes: ffmpeg takes script data with any other time
/// for a subtitle track.
pub(super) fn timestamp(track: TrackKind, kind: EntryKind, dts: i64) -> u32 {
    match (track, kind) {
        (TrackKind::Script, EntryKind::Init) => 0,
        _ => dts as u32,
    }
}

fn draft(track: TrackKind, kind: EntryKind, dts: i64, body: &Bytes) -> Draft {
    let time = timestamp(track, kind, dts);
    let (csid, type_id) = match track {
        TrackKind::Audio => (AUDIO_CSID, AUDIO),
        TrackKind::Video => (VIDEO_CSID, VIDEO),
        TrackKind::Script => (DATA_CSID, DATA),
    };
    Draft {
        kind,
        audience: Audience::All,
        dts,
        ws_header: Bytes::new(),
        parts: message(csid, type_id, STREAM_ID, time, body, OUT_CHUNK_SIZE),
    }
}

/// An AMF0 data message: the name, then the clock as JSON in a string.
fn clock_draft(clock: &Clock) -> Draft {
    let dts = clock.media_time_ms;
    let mut body = Vec::with_capacity(320);
    amf::put_string(&mut body, Clock::MESSAGE);
    amf::put_string(&mut body, &serde_json::to_string(clock).unwrap_or_default()); // numbers only: can't fail
    Draft {
        kind: EntryKind::Clock,
        audience: Audience::Informed,
        dts,
        ws_header: Bytes::new(),
        parts: message(CLOCK_CSID, DATA, STREAM_ID, dts as u32, &body.into(), OUT_CHUNK_SIZE),
    }
}

/// The clock in the body of an AMF0 data message; none if the message is another one, or not to be understood.
pub fn decode_clock(body: &Bytes) -> Option<Clock> {
    let (name, rest) = amf::string(body)?;
    if name != Clock::MESSAGE.as_bytes() {
        return None;
    }
    let (json, _) = amf::string(&rest)?;
    serde_json::from_slice(&json).ok()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::super::testing;
    use super::*;

    /// A relay whose source was started anew lost the configurations that came before the clock with the new epoch.
    #[test]
    fn headers_are_the_clock_metadata_and_configurations() {
        let start = testing::start(testing::tracks(), 7_000);
        let headers = RtmpMux::default().headers(&start);
        let types: Vec<_> = headers.iter().map(|draft| draft.parts[0][7]).collect();
        assert_eq!(types, [DATA, DATA, VIDEO, AUDIO]);
        assert!(headers.iter().all(|draft| draft.dts == 7_000));
        assert_eq!(headers[2].parts[1], start.tracks.video.as_ref().unwrap().tag);
        assert_eq!(headers[0].audience, Audience::Informed);
    }

    #[test]
    fn metadata_has_no_time_in_mid_stream() {
        let start = testing::start(testing::tracks(), 7_000);
        let headers = RtmpMux::default().headers(&start);
        assert_eq!(headers[1].parts[0][1..4], [0, 0, 0]);
        assert_eq!(headers[2].parts[0][1..4], [0, 0x1b, 0x58]);
    }

    #[test]
    fn a_clock_reads_back_from_its_message() {
        let clock = testing::clock(5_000);
        let draft = clock_draft(&clock);
        assert_eq!(decode_clock(&draft.parts[1]), Some(clock));
        assert_eq!(decode_clock(&Bytes::from_static(b"\x02\x00\x0aonMetaData\x05")), None);
        assert_eq!(decode_clock(&Bytes::new()), None);
    }

    #[test]
    fn bodies_pass_as_they_came() {
        let unit = testing::unit(TrackKind::Video, UnitKind::Key, 1 << 33, b"\x17\x01\x00\x00\x28data");
        let mut out = Vec::new();
        let item = testing::item(What::Unit(unit.clone()));
        assert_eq!(RtmpMux::default().item(&item, &mut out), Changed::No);
        assert_eq!((out[0].kind, &out[0].parts[1]), (EntryKind::Key, &unit.tag));
        assert_eq!(&out[0].parts[0][1..4], [0, 0, 0], "2^33 ms wraps to 0");
    }

    #[test]
    fn changed_tracks_are_new_headers() {
        let unit = testing::unit(TrackKind::Audio, UnitKind::Config, 40, b"\xaf\x00\x12\x10");
        let mut out = Vec::new();
        let item = testing::item(What::Tracks(unit, Arc::new(testing::tracks())));
        RtmpMux::default().item(&item, &mut out);
        assert_eq!(out[0].kind, EntryKind::Init);
    }

    proptest! {
        #[test]
        fn any_other_message_is_no_clock(json in prop::collection::vec(any::<u8>(), 0..200)) {
            let mut body = Vec::new();
            amf::put_string(&mut body, Clock::MESSAGE);
            prop_assert_eq!(decode_clock(&Bytes::from(body.clone())), None);
            body.extend([0x02, 0, json.len() as u8]);
            body.extend(json);
            let _ = decode_clock(&Bytes::from(body));
        }
    }
}
