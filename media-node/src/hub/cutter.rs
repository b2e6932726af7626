//! Cuts the origin's timeline into segments: a pure function of the units.

use crate::media::unit::{TrackKind, Unit, UnitKind};

/// Target durations that the origin announces in its clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Targets {
    /// Part duration, milliseconds.
    pub part_ms: u32,
    /// Shortest segment, milliseconds; a segment ends at the first key frame after it. At least 1000.
    pub segment_ms: u32,
    /// Longest segment, milliseconds: one without a key frame by then ends where it is. A multiple of 1000.
    pub longest_ms: u32,
    /// How much can be played back, milliseconds of media.
    pub window_ms: u64,
}

/// How much longer than `longest_ms` a segment waits for its key frame, by the track that comes then: playlists round
/// durations to whole seconds (RFC 8216bis §4.4.3.1), and audio is often interleaved ahead of the key frame that is due.
const PATIENCE_MS: [i64; 2] = [250, 400];

impl Default for Targets {
    fn default() -> Self {
        Self {
            part_ms: 200,
            segment_ms: 1_000,
            longest_ms: 4_000,
            window_ms: 30_000,
        }
    }
}

/// By how many seconds the first number of an epoch is ahead of the wall clock.
const LEAD: u64 = 3;
/// Numbers that segments of a running stream leave for breaks.
const SPARE: u64 = 1;

/// What the next clock message says of the cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cut {
    pub(super) segment: u64,
    pub(super) discontinuity: u64,
}

/// State of the cutting of one epoch.
#[derive(Debug)]
pub(super) struct Cutter {
    targets: Targets,
    next: Cut,
    begun_at: Option<i64>,
    broken: bool,
}

impl Cutter {
    /// Numbers begin at the wall clock in seconds, with nothing stored: see [`Cutter::in_time`] for why a restarted origin never
    /// goes back.
    pub(super) fn new(targets: Targets, epoch_ms: u64) -> Self {
        Self {
            targets,
            next: Cut {
                segment: epoch_ms / 1_000 + LEAD,
                discontinuity: 0,
            },
            begun_at: None,
            broken: false,
        }
    }

    pub(super) fn targets(&self) -> Targets {
        self.targets
    }

    /// The timeline broke (a publisher came back, timestamps jumped): the next place to cut is a discontinuity.
    pub(super) fn discontinuity(&mut self) {
        self.broken = self.begun_at.is_some();
    }

    /// True if the next number, and `spare` more, are below the one that an origin would begin with which was started anew at this
    /// moment: no number may be used again. Publishers that return or send faster than time passes would otherwise use them up.
    fn in_time(&self, spare: u64, wall_ms: u64) -> bool {
        self.next.segment + spare < wall_ms / 1_000 + LEAD
    }

    /// The cut before `unit`, which came at `wall_ms` (Unix milliseconds), if one is due. `has_video` says whether key frames
    /// rule the cutting.
    pub(super) fn before(&mut self, unit: &Unit, has_video: bool, wall_ms: u64) -> Option<Cut> {
        let (may_cut, patience) = match unit.track {
            TrackKind::Video => (unit.kind == UnitKind::Key, PATIENCE_MS[0]),
            TrackKind::Audio => (!has_video && unit.kind == UnitKind::Frame, PATIENCE_MS[1]),
            TrackKind::Script => return None,
        };
        let longest = i64::from(self.targets.longest_ms);
        let due = self.begun_at.is_none_or(|begun| {
            let long = unit.dts - begun;
            // A break may be a little late, inside a segment whose times go on. Half of the longest segment is not waited
            // beyond: the next key frame might come too late.
            self.broken && self.in_time(0, wall_ms)
                || long >= i64::from(self.targets.segment_ms) && (self.in_time(SPARE, wall_ms) || long >= longest / 2)
        });
        let overdue = self
            .begun_at
            .is_some_and(|begun| unit.dts - begun >= longest + patience);
        if !(may_cut && due || overdue) {
            return None;
        }
        let mut cut = self.next;
        if std::mem::take(&mut self.broken) {
            cut.discontinuity += 1;
        }
        self.begun_at = Some(unit.dts);
        self.next = Cut {
            segment: cut.segment + 1,
            ..cut
        };
        Some(cut)
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    /// A wall clock that holds nothing up.
    const LATER: u64 = 1 << 40;

    fn unit(track: TrackKind, kind: UnitKind, dts: i64) -> Unit {
        Unit {
            track,
            kind,
            dts,
            cts: 0,
            tag: Bytes::new(),
            data_offset: 0,
        }
    }

    #[test]
    fn segments_begin_at_key_frames_and_last_at_least_the_target() {
        let mut cutter = Cutter::new(Targets::default(), 1_000_000);
        let cuts: Vec<_> = (0..100)
            .filter_map(|n| {
                let kind = if n % 10 == 0 { UnitKind::Key } else { UnitKind::Frame };
                cutter
                    .before(&unit(TrackKind::Video, kind, n * 40), true, 1_009_000)
                    .map(|cut| (n, cut.segment))
            })
            .collect();
        assert_eq!(cuts, [(0, 1_003), (30, 1_004), (60, 1_005), (90, 1_006)]);
    }

    #[test]
    fn a_break_cuts_at_the_next_key_frame_with_a_new_discontinuity() {
        let mut cutter = Cutter::new(Targets::default(), 0);
        let key = |dts| unit(TrackKind::Video, UnitKind::Key, dts);
        assert_eq!(
            cutter.before(&key(0), true, LATER),
            Some(Cut {
                segment: 3,
                discontinuity: 0
            })
        );
        cutter.discontinuity();
        assert_eq!(
            cutter.before(&unit(TrackKind::Video, UnitKind::Frame, 40), true, LATER),
            None
        );
        assert_eq!(
            cutter.before(&key(80), true, LATER),
            Some(Cut {
                segment: 4,
                discontinuity: 1
            })
        );
        assert_eq!(
            cutter.before(&key(1_080), true, LATER),
            Some(Cut {
                segment: 5,
                discontinuity: 1
            })
        );
    }

    /// A playlist's target duration can't change, and no segment may be longer: a stream with few key frames is cut without.
    #[test]
    fn a_segment_without_a_key_frame_ends_all_the_same() {
        let mut cutter = Cutter::new(Targets::default(), 0);
        let mut at = |track, kind, dts| cutter.before(&unit(track, kind, dts), true, LATER).is_some();
        assert!(at(TrackKind::Video, UnitKind::Key, 0));
        assert!(
            !at(TrackKind::Audio, UnitKind::Frame, 4_390),
            "the key frame may come yet"
        );
        assert!(!at(TrackKind::Video, UnitKind::Frame, 4_240));
        assert!(at(TrackKind::Video, UnitKind::Frame, 4_280));
        assert!(
            at(TrackKind::Audio, UnitKind::Frame, 4_280 + 4_400),
            "video may have stopped"
        );
    }

    /// An origin that was killed right after a publisher's return began with a number that was used already.
    #[test]
    fn an_origin_that_is_started_anew_at_any_moment_begins_above_all_numbers() {
        let begin = 1_000_400;
        let mut cutter = Cutter::new(Targets::default(), begin);
        let mut dts = 0;
        for step in 0..2_000u64 {
            let wall = begin + step * 40;
            if step % 60 == 7 {
                cutter.discontinuity();
            }
            let kind = if step % 25 == 0 { UnitKind::Key } else { UnitKind::Frame };
            if let Some(cut) = cutter.before(&unit(TrackKind::Video, kind, dts), true, wall) {
                let anew = Cutter::new(Targets::default(), wall).next.segment;
                assert!(step == 0 || cut.segment < anew, "{} at {wall}, {anew}", cut.segment);
            }
            dts += 40;
        }
    }

    #[test]
    fn audio_cuts_only_where_there_is_no_video() {
        let mut cutter = Cutter::new(Targets::default(), 0);
        let audio = unit(TrackKind::Audio, UnitKind::Frame, 0);
        assert_eq!(cutter.before(&audio, true, LATER), None);
        assert!(cutter.before(&audio, false, LATER).is_some());
    }
}
