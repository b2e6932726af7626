//! Units into parts and segments: a pure function of the stream's own units and the origin's clock messages, never of when a
//! node began. Whatever node cuts a segment that it has seen whole makes the same bytes.

mod audio;
mod video;

use std::sync::Arc;
use std::time::Instant;

use bytes::{Bytes, BytesMut};

use self::audio::AudioCutter;
use self::video::VideoCutter;
use super::window::{InitId, InitTrack, Inits, Part, Progress, Rendition, Segment, Targets, Window};
use crate::hub::{Item, What};
use crate::media::clock::Clock;
use crate::media::pace::VIDEO_TIMESCALE;
use crate::media::track::Tracks;
use crate::media::unit::{TrackKind, Unit, UnitKind};
use crate::package::fmp4::fragment::{self, Chunk, Sample};
use crate::package::fmp4::program::{self, Program};

/// By how much a part may be longer than its target, milliseconds: times are whole milliseconds, and frame rates are not.
pub const PART_SLACK_MS: u32 = 5;

/// State of the cutting.
#[derive(Debug, Default)]
pub struct Segmenter {
    tracks: Arc<Tracks>,
    /// The newest clock, until the segment's first unit shows whether it is here from its beginning.
    due: Option<Arc<Clock>>,
    open: Option<Open>,
}

/// The segment that is being cut.
#[derive(Debug)]
struct Open {
    clock: Arc<Clock>,
    /// Media units so far.
    units: u64,
    video: Option<VideoCutter>,
    audio: Option<AudioCutter>,
}

/// Frames that make a part, of one track.
#[derive(Debug)]
struct Cut {
    begin: u64,
    /// The unit count of its first frame.
    sequence: u64,
    samples: Vec<Sample>,
    data: Vec<Bytes>,
}

impl Segmenter {
    /// Takes an item of the stream into the window. True if it changed.
    pub fn item(&mut self, item: &Item, window: &mut Window, now: Instant) -> bool {
        if let Some(start) = &item.start
            && self.open.is_none()
            && self.due.is_none()
        {
            self.tracks = Arc::clone(&start.tracks);
            self.due.clone_from(&start.clock);
        }
        match &item.what {
            What::Tracks(_, tracks) => {
                self.tracks = Arc::clone(tracks);
                false
            }
            What::Clock(clock) => {
                let changed = self.close(Some(clock), window, now);
                self.due = Some(Arc::clone(clock));
                changed
            }
            What::Unit(unit) if unit.is_media() => {
                if let (Some(start), true) = (&item.start, self.due.is_some()) {
                    self.tracks = Arc::clone(&start.tracks);
                }
                let opened = self.due.take().is_some_and(|clock| self.open(clock, unit, window, now));
                self.unit(unit, window) || opened
            }
            What::Unit(_) => false,
        }
    }

    /// Items were lost between the last one and the next: the open segment is not whole any more.
    pub fn skipped(&mut self, window: &mut Window, now: Instant) {
        self.due = None;
        if self.open.take().is_some() {
            window.close(None, false, now);
        }
    }

    /// The stream has ended, and everything of it has come.
    pub fn finish(&mut self, window: &mut Window, now: Instant) {
        self.close(None, window, now);
        *self = Self::default();
    }

    /// The stream broke off: other nodes may have more of it, or less. What is open stays as it is, and is never whole.
    pub fn abandon(&mut self) {
        *self = Self::default();
    }

    /// Begins the segment of `clock` if `first` is its first unit; else it isn't here from its beginning, and is left out.
    fn open(&mut self, clock: Arc<Clock>, first: &Unit, window: &mut Window, now: Instant) -> bool {
        if first.dts != clock.media_time_ms || clock.program_ms == 0 {
            return false;
        }
        let id = InitId {
            epoch: clock.epoch,
            version: clock.init_version,
        };
        window.restart(clock.epoch, now);
        let (inits, video, audio) = self.cutters(&clock);
        let segment = Segment {
            number: clock.segment,
            discontinuity: clock.discontinuity,
            media_time_ms: clock.media_time_ms,
            program_ms: clock.program_ms,
            run: clock.run,
            duration_ms: 0,
            init: id,
            tracks: [None, None],
            progress: Progress::Open,
        };
        let targets = Targets {
            part_ms: clock.part_target_ms,
            segment_ms: clock.segment_target_ms,
            window_ms: clock.window_ms,
        };
        let opened = window.open(segment, inits, targets, now);
        if opened {
            self.open = Some(Open {
                clock,
                units: 0,
                video,
                audio,
            });
        }
        opened
    }

    fn cutters(&self, clock: &Clock) -> (Inits, Option<VideoCutter>, Option<AudioCutter>) {
        let only = |kind| {
            let tracks = Tracks {
                video: self.tracks.video.clone().filter(|_| kind == Rendition::Video),
                audio: self.tracks.audio.clone().filter(|_| kind == Rendition::Audio),
                ..Tracks::default()
            };
            Program::of(&tracks)
        };
        let longest = clock.part_target_ms + PART_SLACK_MS;
        let video = only(Rendition::Video);
        let video = video.as_ref().and_then(|program| Some((program, program.video()?)));
        let audio = only(Rendition::Audio);
        let audio = audio.as_ref().and_then(|program| Some((program, program.audio()?)));
        let inits = [
            video.map(|(program, config)| InitTrack {
                codec: config.rfc6381.clone(),
                width: config.width,
                height: config.height,
                channels: 0,
                timescale: VIDEO_TIMESCALE,
                bytes: Some(program.init.clone()),
            }),
            audio.map(|(program, config)| InitTrack {
                codec: config.rfc6381.clone(),
                width: 0,
                height: 0,
                channels: config.channels,
                timescale: config.sample_rate,
                bytes: Some(program.init.clone()),
            }),
        ];
        let video = video.map(|_| VideoCutter::new(longest));
        let audio = audio.map(|(_, config)| AudioCutter::new(config, clock.audio_next, longest));
        (inits, video, audio)
    }

    fn unit(&mut self, unit: &Unit, window: &mut Window) -> bool {
        let Some(open) = &mut self.open else { return false };
        let sequence = open.clock.units + open.units;
        open.units += 1;
        let mut cuts = Vec::new();
        let (rendition, timescale) = match unit.track {
            TrackKind::Video => {
                let Some(video) = &mut open.video else { return false };
                video.frame(unit, sequence, &mut cuts);
                (Rendition::Video, VIDEO_TIMESCALE)
            }
            TrackKind::Audio => {
                let Some(audio) = &mut open.audio else { return false };
                audio.frame(unit, sequence, &mut cuts);
                (Rendition::Audio, audio.timescale())
            }
            TrackKind::Script => return false,
        };
        publish(cuts, rendition, timescale, window)
    }

    /// Ends the open segment, before the one of `next` or for good.
    fn close(&mut self, next: Option<&Clock>, window: &mut Window, now: Instant) -> bool {
        self.due = None;
        let Some(open) = self.open.take() else { return false };
        let whole = next.is_none_or(|next| {
            next.epoch == open.clock.epoch
                && next.segment == open.clock.segment + 1
                && next.units == open.clock.units + open.units
        });
        // Across a discontinuity the distance is a silence, or not even that.
        let next = next.filter(|next| next.discontinuity == open.clock.discontinuity && next.epoch == open.clock.epoch);
        let end = next.map(|next| next.media_time_ms);
        let mut cuts = Vec::new();
        if let Some(video) = open.video {
            video.end(end, &mut cuts);
            publish(std::mem::take(&mut cuts), Rendition::Video, VIDEO_TIMESCALE, window);
        }
        if let Some(audio) = open.audio {
            let timescale = audio.timescale();
            audio.end(&mut cuts);
            publish(cuts, Rendition::Audio, timescale, window);
        }
        let duration = end.and_then(|end| u64::try_from(end - open.clock.media_time_ms).ok());
        window.close(duration, whole, now);
        true
    }
}

fn publish(cuts: Vec<Cut>, rendition: Rendition, timescale: u32, window: &mut Window) -> bool {
    let changed = !cuts.is_empty();
    for cut in cuts {
        let begin = cut.begin;
        window.push(rendition, timescale, begin, cut.part(rendition));
    }
    changed
}

impl Cut {
    fn new(begin: u64, sequence: u64) -> Self {
        Self {
            begin,
            sequence,
            samples: Vec::new(),
            data: Vec::new(),
        }
    }

    fn ticks(&self) -> u64 {
        self.samples.iter().map(|sample| u64::from(sample.duration)).sum()
    }

    fn part(self, rendition: Rendition) -> Part {
        let track_id = match rendition {
            Rendition::Video => program::VIDEO_TRACK,
            Rendition::Audio => program::AUDIO_TRACK,
        };
        let head = fragment::head(Chunk {
            sequence: (self.sequence as u32).wrapping_add(1), // 0 is no sequence number
            track_id,
            decode_time: self.begin,
            samples: &self.samples,
        });
        let size = head.len() + self.data.iter().map(Bytes::len).sum::<usize>();
        let mut bytes = BytesMut::with_capacity(size);
        bytes.extend_from_slice(&head);
        for data in &self.data {
            bytes.extend_from_slice(data);
        }
        Part {
            ticks: self.ticks(),
            size: size as u64,
            samples: self.samples.len() as u32,
            independent: self.samples.iter().any(|sample| sample.sync),
            bytes: Some(bytes.freeze()),
        }
    }
}

/// What a frame is, but for its duration.
fn sample(unit: &Unit, data: &Bytes, duration: u32) -> Sample {
    let video = unit.track == TrackKind::Video;
    Sample {
        duration,
        composition_offset: if video { unit.cts } else { 0 },
        sync: !video || unit.kind == UnitKind::Key,
        size: u32::try_from(data.len()).unwrap_or(u32::MAX), // messages are at most 16 MiB
    }
}

#[cfg(test)]
mod tests;
