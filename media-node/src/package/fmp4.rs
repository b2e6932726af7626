//! The fMP4 feed (ISO/IEC 14496-12 §8.8): an init segment, then one `moof` and `mdat` for each frame, for WebSocket and HTTP.
//!
//! Players by WebSocket are also sent text messages: `init` with the MIME type before each init segment, and `clock`.

pub(super) mod fragment;
mod init;
pub(super) mod program;

use bytes::Bytes;
use serde::Serialize;

use self::fragment::{Chunk, Sample};
use self::program::Program;
use super::feed::{Audience, Draft, EntryKind};
use super::packager::{Changed, Mux};
use super::websocket_frame::{BINARY, TEXT, ws_header};
use crate::hub::{Item, Start, What};
use crate::media::clock::Clock;
use crate::media::pace::{AudioPace, VideoPace};
use crate::media::track::Tracks;
use crate::media::unit::{TrackKind, Unit, UnitKind};

/// Muxes frames into fragments. Tracks of codecs that MP4 players do not know are left out.
#[derive(Debug, Default)]
pub struct Fmp4Mux {
    /// What the newest init segment describes; none before the first start, or if there is nothing to describe.
    program: Option<Program>,
    /// Viewers have been given headers already.
    begun: bool,
    /// The tracks changed without an item of their own: viewers who are here need an init segment before what follows.
    init_due: bool,
    /// Number of the next fragment: the origin's count of units, so that it is the same on every node.
    sequence: u64,
    newest_dts: i64,
    video: VideoPace,
    audio: AudioPace,
}

/// Text messages, as JSON.
#[derive(Serialize)]
#[serde(tag = "type", rename_all = "lowercase")]
enum Text<'a> {
    Init { mime: &'a str },
    Clock(&'a Clock),
}

impl Mux for Fmp4Mux {
    fn headers(&mut self, start: &Start) -> Vec<Draft> {
        self.init_due |= self.adopt(&start.tracks) && self.begun;
        if !std::mem::replace(&mut self.begun, true) {
            self.sequence = start.clock.as_ref().map_or(0, |clock| clock.units);
        }
        let dts = start
            .clock
            .as_ref()
            .map_or(self.newest_dts, |clock| clock.media_time_ms);
        let mut drafts = self.init(dts);
        drafts.extend(start.clock.as_ref().map(|clock| text(&Text::Clock(clock), dts)));
        drafts
    }

    fn item(&mut self, item: &Item, out: &mut Vec<Draft>) -> Changed {
        match &item.what {
            What::Unit(unit) => {
                if std::mem::take(&mut self.init_due) {
                    out.extend(self.init(unit.dts));
                }
                let opens = item.start.is_some();
                out.extend(self.unit(unit, opens));
            }
            What::Tracks(unit, tracks) => {
                if self.adopt(tracks) {
                    self.init_due = false;
                    out.extend(self.init(unit.dts));
                }
            }
            What::Clock(clock) => {
                self.sequence = clock.units;
                if let Some(next) = clock.audio_next {
                    self.audio.anchor(next);
                }
                out.push(text(&Text::Clock(clock), clock.media_time_ms));
            }
        }
        Changed::No
    }

    /// A new epoch is a new start with new headers.
    fn restart(&mut self) -> Changed {
        *self = Self::default();
        Changed::No
    }
}

impl Fmp4Mux {
    /// Makes `tracks` those in force. True if that asks for another init segment.
    fn adopt(&mut self, tracks: &Tracks) -> bool {
        if self.program.as_ref().is_some_and(|program| program.is_of(tracks)) {
            return false;
        }
        let program = Program::of(tracks);
        if program.is_none() && self.program.is_none() {
            return false;
        }
        let audio = program.as_ref().and_then(Program::audio);
        if self.program.as_ref().and_then(Program::audio) != audio {
            self.audio = AudioPace::of(audio);
        }
        self.program = program;
        true
    }

    /// The init segment and the text message before it.
    fn init(&self, dts: i64) -> Vec<Draft> {
        let Some(program) = &self.program else {
            return Vec::new();
        };
        let parts = vec![program.init.clone()];
        vec![
            text(&Text::Init { mime: &program.mime }, dts),
            binary(EntryKind::Init, dts, parts),
        ]
    }

    fn unit(&mut self, unit: &Unit, opens: bool) -> Option<Draft> {
        if !unit.is_media() {
            return None;
        }
        let sequence = self.sequence;
        self.sequence += 1;
        self.newest_dts = self.newest_dts.max(unit.dts);
        let program = self.program.as_ref()?;
        let data = unit.data();
        let (track_id, time) = match unit.track {
            TrackKind::Video => {
                program.video()?;
                (program::VIDEO_TRACK, self.video.place(unit.dts))
            }
            TrackKind::Audio => {
                program.audio()?;
                (program::AUDIO_TRACK, self.audio.place(unit.dts, &data))
            }
            TrackKind::Script => return None,
        };
        let sync = unit.track == TrackKind::Audio || unit.kind == UnitKind::Key;
        let sample = Sample {
            duration: time.duration,
            composition_offset: if unit.track == TrackKind::Video { unit.cts } else { 0 },
            sync,
            size: u32::try_from(data.len()).ok()?,
        };
        let head = fragment::head(Chunk {
            sequence: sequence as u32,
            track_id,
            decode_time: time.at,
            samples: &[sample],
        });
        let kind = match opens || unit.kind == UnitKind::Key {
            true => EntryKind::Key,
            false => EntryKind::Frame,
        };
        Some(binary(kind, unit.dts, vec![head, data]))
    }
}

fn binary(kind: EntryKind, dts: i64, parts: Vec<Bytes>) -> Draft {
    Draft {
        kind,
        audience: Audience::All,
        dts,
        ws_header: ws_header(BINARY, parts.iter().map(Bytes::len).sum()),
        parts,
    }
}

fn text(message: &Text<'_>, dts: i64) -> Draft {
    let json = serde_json::to_vec(message).unwrap_or_default(); // strings and numbers: can't fail
    Draft {
        kind: match message {
            Text::Init { .. } => EntryKind::Data,
            Text::Clock(_) => EntryKind::Clock,
        },
        audience: Audience::Informed,
        dts,
        ws_header: ws_header(TEXT, json.len()),
        parts: vec![json.into()],
    }
}

#[cfg(test)]
mod tests;
