//! Where segments begin, alone and in unison with other members of a group.

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
    let mut cutter = Cutter::new(Targets::default(), first_number(1_000_000, None));
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
    let mut cutter = Cutter::new(Targets::default(), first_number(0, None));
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
    let mut cutter = Cutter::new(Targets::default(), first_number(0, None));
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
    let mut cutter = Cutter::new(Targets::default(), first_number(begin, None));
    let mut dts = 0;
    for step in 0..2_000u64 {
        let wall = begin + step * 40;
        if step % 60 == 7 {
            cutter.discontinuity();
        }
        let kind = if step % 25 == 0 { UnitKind::Key } else { UnitKind::Frame };
        if let Some(cut) = cutter.before(&unit(TrackKind::Video, kind, dts), true, wall) {
            let anew = Cutter::new(Targets::default(), first_number(wall, None)).next.segment;
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
    let mut cutters: Vec<_> = (0..3)
        .map(|_| Cutter::new(Targets::default(), first_number(begin, None)))
        .collect();
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
            let anew = Cutter::new(Targets::default(), first_number(wall, None)).next.segment;
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
    let mut cutters = [(); 2].map(|()| Cutter::new(Targets::default(), first_number(0, None)));
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
fn a_member_that_broke_alone_comes_back_to_the_numbers_of_the_others() {
    let unison = Births::default().join(&"show".parse().unwrap(), &"show_1".parse().unwrap(), 0);
    let mut score = unison.lock();
    let mut cutters = [(); 2].map(|()| Cutter::new(Targets::default(), first_number(0, None)));
    let mut cut = |cutters: &mut [Cutter; 2], dts| {
        let key = unit(TrackKind::Video, UnitKind::Key, dts);
        [0, 1].map(|member| {
            let cut = cutters[member].in_unison(&key, true, LATER, &mut score);
            cut.map(|cut| (cut.segment, cut.discontinuity))
        })
    };
    assert_eq!(cut(&mut cutters, 0), [Some((3, 0)); 2]);
    cutters[1].discontinuity();
    // The first one went on here before the second one came with its break.
    assert_eq!(cut(&mut cutters, 500), [None, Some((4, 1))]);
    assert_eq!(cut(&mut cutters, 1_000), [Some((4, 1)), None]);
    assert_eq!(cut(&mut cutters, 2_000), [Some((5, 1)); 2]);
}

#[test]
fn a_member_that_comes_later_takes_the_number_that_is_under_way_and_key_frames_elsewhere_go_by_themselves() {
    let unison = Births::default().join(&"show".parse().unwrap(), &"show_1".parse().unwrap(), 0);
    let mut score = unison.lock();
    let [mut first, mut late] = [(); 2].map(|()| Cutter::new(Targets::default(), first_number(0, None)));
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

/// One member has key frames that the others lack, and cuts there: at the common ones it goes on.
#[test]
fn a_member_is_cut_at_key_frames_at_which_another_with_more_of_them_goes_on() {
    for distance in [2_000, 3_000] {
        let unison = Births::default().join(&"show".parse().unwrap(), &"show_1".parse().unwrap(), 0);
        let mut score = unison.lock();
        let [mut more, mut other] = [(); 2].map(|()| Cutter::new(Targets::default(), first_number(0, None)));
        for dts in (0..40_000).step_by(40) {
            let common = dts % distance == 0;
            let scene = dts % distance == distance - 400;
            let kind = |key| if key { UnitKind::Key } else { UnitKind::Frame };
            more.in_unison(
                &unit(TrackKind::Video, kind(common || scene), dts),
                true,
                LATER,
                &mut score,
            );
            let cut = other.in_unison(&unit(TrackKind::Video, kind(common), dts), true, LATER, &mut score);
            assert_eq!(cut.is_some(), common, "at {dts}, key frames each {distance}");
        }
    }
}

#[test]
fn a_member_breaks_where_the_others_did_though_it_comes_later_to_the_key_frame_before() {
    let unison = Births::default().join(&"show".parse().unwrap(), &"show_1".parse().unwrap(), 0);
    let mut score = unison.lock();
    let mut cutters = [(); 2].map(|()| Cutter::new(Targets::default(), first_number(0, None)));
    let mut cut = |cutters: &mut [Cutter; 2], member: usize, dts| {
        let key = unit(TrackKind::Video, UnitKind::Key, dts);
        let cut = cutters[member].in_unison(&key, true, LATER, &mut score);
        cut.map(|cut| (cut.segment, cut.discontinuity))
    };
    assert_eq!([0, 1].map(|member| cut(&mut cutters, member, 0)), [Some((3, 0)); 2]);
    assert_eq!(cut(&mut cutters, 0, 1_000), Some((4, 0)));
    cutters[0].discontinuity();
    assert_eq!(cut(&mut cutters, 0, 1_500), Some((5, 1)));
    assert_eq!(
        [1_000, 1_500].map(|dts| cut(&mut cutters, 1, dts)),
        [Some((4, 0)), Some((5, 1))]
    );
}

#[test]
fn audio_cuts_only_where_there_is_no_video() {
    let mut cutter = Cutter::new(Targets::default(), first_number(0, None));
    let audio = unit(TrackKind::Audio, UnitKind::Frame, 0);
    assert_eq!(cutter.before(&audio, true, LATER), None);
    assert!(cutter.before(&audio, false, LATER).is_some());
}
