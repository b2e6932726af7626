//! A stream's items as the RTMP messages of a publisher, on whatever message stream the other server gave.

use bytes::Bytes;
use rtmp_rs::protocol::constants::{CMD_SET_DATA_FRAME, CSID_AUDIO, CSID_VIDEO, MSG_AUDIO, MSG_DATA_AMF0, MSG_VIDEO};

use crate::hub::{Item, Start, What};
use crate::media::amf;
use crate::media::unit::{TrackKind, Unit, UnitKind};
use crate::rtmp::{CHUNK_SIZE, mux};

/// Chunk stream of script data: none that control or commands use.
const CSID_DATA: u32 = 5;

/// State of one push.
#[derive(Debug)]
pub(super) struct PushMux {
    stream_id: u32,
    begun: bool,
}

impl PushMux {
    pub(super) fn new(stream_id: u32) -> Self {
        Self {
            stream_id,
            begun: false,
        }
    }

    /// What follows needs headers again.
    pub(super) fn restart(&mut self) {
        self.begun = false;
    }

    /// Appends what `item` becomes.
    pub(super) fn item(&mut self, item: &Item, out: &mut Vec<Bytes>) {
        if let Some(start) = &item.start
            && !self.begun
        {
            self.begun = true;
            self.headers(start, item, out);
        }
        match &item.what {
            What::Unit(unit) | What::Tracks(unit, _) if self.begun => self.unit(unit, out),
            What::Unit(_) | What::Tracks(..) | What::Clock(_) => {}
        }
    }

    fn headers(&self, start: &Start, item: &Item, out: &mut Vec<Bytes>) {
        let dts = match &item.what {
            What::Unit(unit) | What::Tracks(unit, _) => unit.dts,
            What::Clock(clock) => clock.media_time_ms,
        };
        let tracks = &start.tracks;
        if let Some(metadata) = &tracks.metadata {
            self.metadata(metadata, out);
        }
        if let Some(video) = tracks.video.as_ref().filter(|video| !video.tag.is_empty()) {
            self.message(CSID_VIDEO, MSG_VIDEO, dts, &video.tag, out);
        }
        if let Some(audio) = tracks.audio.as_ref().filter(|audio| !audio.tag.is_empty()) {
            self.message(CSID_AUDIO, MSG_AUDIO, dts, &audio.tag, out);
        }
    }

    fn unit(&self, unit: &Unit, out: &mut Vec<Bytes>) {
        match unit.track {
            TrackKind::Video => self.message(CSID_VIDEO, MSG_VIDEO, unit.dts, &unit.tag, out),
            TrackKind::Audio => self.message(CSID_AUDIO, MSG_AUDIO, unit.dts, &unit.tag, out),
            TrackKind::Script if unit.kind == UnitKind::Metadata => self.metadata(&unit.tag, out),
            TrackKind::Script => self.message(CSID_DATA, MSG_DATA_AMF0, unit.dts, &unit.tag, out),
        }
    }

    /// Servers keep metadata for newcomers only if it comes as `@setDataFrame`. Without a time: see the RTMP feed.
    fn metadata(&self, body: &Bytes, out: &mut Vec<Bytes>) {
        let mut framed = Vec::with_capacity(body.len() + 16);
        amf::put_string(&mut framed, CMD_SET_DATA_FRAME);
        if body.starts_with(&framed) {
            return self.message(CSID_DATA, MSG_DATA_AMF0, 0, body, out);
        }
        framed.extend_from_slice(body);
        self.message(CSID_DATA, MSG_DATA_AMF0, 0, &framed.into(), out);
    }

    fn message(&self, csid: u32, type_id: u8, dts: i64, body: &Bytes, out: &mut Vec<Bytes>) {
        let timestamp = dts as u32; // RTMP's timestamps wrap at 32 bits
        out.extend(mux::message(
            csid,
            type_id,
            self.stream_id,
            timestamp,
            body,
            CHUNK_SIZE as usize,
        ));
    }
}
