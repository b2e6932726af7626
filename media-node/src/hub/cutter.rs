//! Cuts the origin's timeline into segments: a pure function of the units.

use super::unison::{Decided, Score};
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
        let may_cut = may_cut(unit, has_video);
        (may_cut && self.due(unit.dts, wall_ms) || self.overdue(unit)).then(|| self.cut(unit.dts))
    }

    /// As [`Cutter::before`], for a member of a group: at the key frames at which the others cut, with their numbers where that is
    /// possible. A number is taken over only as the first one of all or where it is the next one anyway, and the one whose it was had
    /// the time for it: what [`Cutter::in_time`] says holds for every member.
    pub(super) fn in_unison(&mut self, unit: &Unit, has_video: bool, wall_ms: u64, score: &mut Score) -> Option<Cut> {
        if self.broken {
            score.broke(self.next.discontinuity + 1);
        }
        let begun = self.begun_at.is_some();
        self.broken |= begun && score.discontinuity() > self.next.discontinuity;
        let may_cut = may_cut(unit, has_video);
        let key = may_cut && unit.track == TrackKind::Video;
        let decided = if key { score.decided(unit.dts) } else { Decided::Nothing };
        let cuts = may_cut
            && match decided {
                _ if !begun => true,
                Decided::Cut(cut) => cut.segment == self.next.segment || self.in_time(0, wall_ms),
                Decided::GoOn => self.broken && self.in_time(0, wall_ms),
                Decided::Nothing => self.due(unit.dts, wall_ms),
            };
        if !cuts && !self.overdue(unit) {
            if key {
                score.decide(unit.dts, None);
            }
            return None;
        }
        if !begun {
            let number = match decided {
                Decided::Cut(cut) => Some(cut.segment),
                _ => score.under_way(unit.dts, self.targets.longest_ms.into()),
            };
            self.next.segment = self.next.segment.max(number.unwrap_or(0));
        }
        self.next.discontinuity = match self.broken {
            true => score.discontinuity().saturating_sub(1), // one is added
            false => score.discontinuity(),
        };
        let cut = self.cut(unit.dts);
        if key {
            score.decide(unit.dts, Some(cut));
        }
        Some(cut)
    }

    fn due(&self, dts: i64, wall_ms: u64) -> bool {
        self.begun_at.is_none_or(|begun| {
            let long = dts - begun;
            // A break may be a little late, inside a segment whose times go on. Half of the longest segment is not waited
            // beyond: the next key frame might come too late.
            self.broken && self.in_time(0, wall_ms)
                || long >= i64::from(self.targets.segment_ms)
                    && (self.in_time(SPARE, wall_ms) || long >= i64::from(self.targets.longest_ms) / 2)
        })
    }

    fn overdue(&self, unit: &Unit) -> bool {
        let patience = match unit.track {
            TrackKind::Video => PATIENCE_MS[0],
            TrackKind::Audio => PATIENCE_MS[1],
            TrackKind::Script => return false,
        };
        let longest = i64::from(self.targets.longest_ms);
        self.begun_at
            .is_some_and(|begun| unit.dts - begun >= longest + patience)
    }

    fn cut(&mut self, dts: i64) -> Cut {
        let mut cut = self.next;
        if std::mem::take(&mut self.broken) {
            cut.discontinuity += 1;
        }
        self.begun_at = Some(dts);
        self.next = Cut {
            segment: cut.segment + 1,
            ..cut
        };
        cut
    }
}

/// True where a segment may begin: at key frames, and at any sound where there is nothing else.
fn may_cut(unit: &Unit, has_video: bool) -> bool {
    match unit.track {
        TrackKind::Video => unit.kind == UnitKind::Key,
        TrackKind::Audio => !has_video && unit.kind == UnitKind::Frame,
        TrackKind::Script => false,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use bytes::Bytes;

    use super::*;
    use crate::hub::unison::Births;

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

    /// Units of members by the time at which they come: who, which frame, when.
    fn arrivals(members: u64, frames: u64, begin: u64) -> Vec<(usize, i64, u64)> {
        let late = |member: u64, frame: u64| (frame * (7 + member) + member * 131) * 7_919 % 240;
        let at = |member, frame| {
            (
                member as usize,
                frame as i64 * 40,
                begin + frame * 40 + late(member, frame),
            )
        };
        let mut units: Vec<_> = (0..members)
            .flat_map(|member| (0..frames).map(move |frame| at(member, frame)))
            .collect();
        // Each member's own units stay in order.
        units.sort_by_key(|(_, dts, wall)| (*wall, *dts));
        let mut newest = vec![i64::MIN; members as usize];
        units.retain(|(member, dts, _)| {
            let newest = &mut newest[*member];
            let in_order = dts > newest;
            *newest = (*newest).max(*dts);
            in_order
        });
        units
    }

    #[test]
    fn members_cut_at_the_same_key_frames_with_the_same_numbers_whoever_comes_first() {
        let begin = 1_000_400;
        let unison = Births::default().join(&"show".parse().unwrap(), &"show_1".parse().unwrap(), begin);
        let mut cutters: Vec<_> = (0..3).map(|_| Cutter::new(Targets::default(), begin)).collect();
        let mut cuts: BTreeMap<i64, Vec<Cut>> = BTreeMap::new();
        for (member, dts, wall) in arrivals(3, 3_000, begin) {
            // Key frames at which some cut by their own clock, and others not.
            let kind = if dts % 1_000 == 0 {
                UnitKind::Key
            } else {
                UnitKind::Frame
            };
            let unit = unit(TrackKind::Video, kind, dts);
            let cut = cutters[member].in_unison(&unit, true, wall, &mut unison.lock());
            if let Some(cut) = cut {
                let anew = Cutter::new(Targets::default(), wall).next.segment;
                assert!(dts == 0 || cut.segment < anew, "{cut:?} at {wall}, {anew}");
                cuts.entry(dts).or_default().push(cut);
            }
        }
        assert!(cuts.len() > 50);
        let whole = cuts.values().filter(|cuts| cuts.len() == 3).count();
        assert!(whole + 2 >= cuts.len(), "{whole} of {}", cuts.len());
        for (dts, cuts) in &cuts {
            assert!(cuts.iter().all(|cut| cut == &cuts[0]), "{dts}: {cuts:?}");
        }
    }

    #[test]
    fn a_break_of_one_member_is_one_of_all_with_the_same_count() {
        let unison = Births::default().join(&"show".parse().unwrap(), &"show_1".parse().unwrap(), 0);
        let mut cutters = [(); 2].map(|()| Cutter::new(Targets::default(), 0));
        let mut score = unison.lock();
        let key = |dts| unit(TrackKind::Video, UnitKind::Key, dts);
        let mut cut = |cutters: &mut [Cutter; 2], member: usize, dts| {
            let cut = cutters[member].in_unison(&key(dts), true, LATER, &mut score);
            cut.map(|cut| (cut.segment, cut.discontinuity))
        };
        assert_eq!([0, 1].map(|member| cut(&mut cutters, member, 0)), [Some((3, 0)); 2]);
        cutters[0].discontinuity();
        // It is the first of all that comes there, and too early for a segment of its own accord.
        assert_eq!([0, 1].map(|member| cut(&mut cutters, member, 500)), [Some((4, 1)); 2]);
        // The other one breaks a moment later: that is a second break, of both.
        cutters[1].discontinuity();
        assert_eq!([1, 0].map(|member| cut(&mut cutters, member, 900)), [Some((5, 2)); 2]);
        // Both at once: one break.
        for cutter in &mut cutters {
            cutter.discontinuity();
        }
        assert_eq!([0, 1].map(|member| cut(&mut cutters, member, 1_500)), [Some((6, 3)); 2]);
    }

    #[test]
    fn a_member_that_comes_later_takes_the_number_that_is_under_way_and_key_frames_elsewhere_go_by_themselves() {
        let unison = Births::default().join(&"show".parse().unwrap(), &"show_1".parse().unwrap(), 0);
        let mut score = unison.lock();
        let [mut first, mut late] = [(); 2].map(|()| Cutter::new(Targets::default(), 0));
        let key = |dts| unit(TrackKind::Video, UnitKind::Key, dts);
        let segment = |cut: Option<Cut>| cut.map(|cut| cut.segment);
        for (dts, number) in [(0, 3), (1_000, 4), (2_000, 5)] {
            assert_eq!(
                segment(first.in_unison(&key(dts), true, LATER, &mut score)),
                Some(number)
            );
        }
        assert_eq!(segment(late.in_unison(&key(2_300), true, LATER, &mut score)), Some(5));
        assert_eq!(segment(first.in_unison(&key(3_000), true, LATER, &mut score)), Some(6));
        assert_eq!(
            segment(late.in_unison(&key(3_100), true, LATER, &mut score)),
            None,
            "shorter than a second"
        );
        assert_eq!(segment(late.in_unison(&key(3_400), true, LATER, &mut score)), Some(6));
    }

    #[test]
    fn audio_cuts_only_where_there_is_no_video() {
        let mut cutter = Cutter::new(Targets::default(), 0);
        let audio = unit(TrackKind::Audio, UnitKind::Frame, 0);
        assert_eq!(cutter.before(&audio, true, LATER), None);
        assert!(cutter.before(&audio, false, LATER).is_some());
    }
}
