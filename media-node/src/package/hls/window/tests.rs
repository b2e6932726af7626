//! Windows of made-up segments.

use std::time::Duration;

use bytes::Bytes;

use super::*;

const TARGETS: Targets = Targets {
    part_ms: 200,
    segment_ms: 4_000,
    window_ms: 5_000,
};

fn init(epoch: u64) -> InitId {
    InitId { epoch, version: 1 }
}

fn inits() -> Inits {
    let video = InitTrack {
        codec: "avc1.64001f".into(),
        width: 640,
        height: 360,
        channels: 0,
        timescale: 1_000,
        bytes: Some(Bytes::from_static(b"init")),
    };
    [Some(video), None]
}

pub(super) fn part(ticks: u64) -> Part {
    Part {
        ticks,
        size: 4,
        samples: 5,
        independent: true,
        bytes: Some(Bytes::from_static(b"part")),
    }
}

fn segment(number: u64) -> Segment {
    Segment {
        number,
        media_time_ms: (number as i64 - 100) * 1_000,
        program_ms: 1_700_000_000_000 + (number - 100) * 1_000,
        progress: Progress::Open,
        ..Segment::hole(number, init(1))
    }
}

fn add(window: &mut Window, number: u64, whole: bool) {
    let now = Instant::now();
    window.restart(1, now);
    assert!(window.open(segment(number), inits(), TARGETS, now));
    for _ in 0..5 {
        window.push(Rendition::Video, 1_000, (number - 100) * 1_000, part(200));
    }
    window.close(Some(1_000), whole, now);
    window.settle();
}

/// As another node describes it.
fn described(number: u64) -> Segment {
    let track = Track::new(
        1_000,
        (number - 100) * 1_000,
        vec![Part {
            bytes: None,
            ..part(1_000)
        }],
    );
    Segment {
        progress: Progress::Whole,
        duration_ms: 1_000,
        tracks: [Some(track), None],
        ..segment(number)
    }
}

fn shown(window: &Window) -> Vec<u64> {
    window.shown().map(|segment| segment.number).collect()
}

#[test]
fn a_segment_leaves_once_the_newer_ones_fill_the_window_and_can_still_be_fetched() {
    let mut window = Window::new();
    (100..110).for_each(|number| add(&mut window, number, true));
    assert_eq!(shown(&window), [105, 106, 107, 108, 109]);
    assert!(window.segment(104).is_some(), "a player may just have read of it");
    assert!(window.segment(99).is_none());
}

#[test]
fn nothing_behind_a_hole_is_shown_until_it_is_filled() {
    let mut window = Window::new();
    add(&mut window, 100, true);
    add(&mut window, 101, false);
    add(&mut window, 102, true);
    assert_eq!((shown(&window), window.first_hole()), (vec![100], Some(101)));
    assert!(window.describe(described(101), Some(inits())));
    assert_eq!((shown(&window), window.first_hole()), (vec![100, 101, 102], None));
    assert!(!window.describe(described(101), None), "what is here is known better");
}

#[test]
fn what_came_before_goes_in_front_only_before_anything_was_shown() {
    let mut late = Window::new();
    let now = Instant::now();
    late.restart(1, now);
    late.open(segment(105), inits(), TARGETS, now);
    for number in (100..104).rev() {
        assert!(late.describe(described(number), Some(inits())));
    }
    assert_eq!(shown(&late), [0u64; 0], "nothing before it is settled");
    late.settle();
    assert_eq!((shown(&late), late.first_hole()), (vec![100, 101, 102, 103], Some(104)));
    assert!(!late.describe(
        Segment {
            number: 99,
            ..described(100)
        },
        None
    ));
}

#[test]
fn fetched_bytes_must_be_as_long_as_the_parts_say() {
    let mut window = Window::new();
    assert!(window.describe(described(100), Some(inits())));
    assert!(!window.fill(Rendition::Video, 100, &Bytes::from_static(b"par")));
    assert!(window.fill(Rendition::Video, 100, &Bytes::from_static(b"part")));
    let track = window.segment(100).unwrap().track(Rendition::Video).unwrap();
    assert_eq!(track.bytes().unwrap(), &Bytes::from_static(b"part"));
}

#[test]
fn another_epoch_begins_an_empty_window_and_leaves_the_old_segments_to_be_fetched() {
    let mut window = Window::new();
    add(&mut window, 100, true);
    let now = Instant::now();
    window.restart(5_000, now);
    assert_eq!(shown(&window), [0u64; 0]);
    assert!(window.segment(100).is_some());
    let stay = Duration::from_millis(TARGETS.window_ms + 1);
    window.retire(0, now + stay);
    assert!(window.segment(100).is_none(), "for the window's time");
}

/// An edge that knew no upstream showed a gap of 1970.
#[test]
fn a_window_never_begins_with_a_gap() {
    let mut window = Window::new();
    add(&mut window, 100, false);
    add(&mut window, 101, true);
    assert_eq!(shown(&window), [0u64; 0]);
    window.give_up(100);
    assert_eq!(shown(&window), [101]);
}

#[test]
fn a_complete_segment_may_lack_what_its_stream_has() {
    let mut window = Window::new();
    add(&mut window, 100, true);
    add(&mut window, 101, false);
    add(&mut window, 102, true);
    assert!(!window.lacks(101, Rendition::Video), "the upstream may have it");
    window.give_up(101);
    let lacking = [100, 101, 102, 103].map(|number| window.lacks(number, Rendition::Video));
    assert_eq!(lacking, [false, true, false, false]);
    assert!(!window.lacks(101, Rendition::Audio), "there is no sound at all");
}

#[test]
fn a_segment_that_is_not_newer_is_refused() {
    let mut window = Window::new();
    add(&mut window, 100, true);
    assert!(!window.open(segment(100), inits(), TARGETS, Instant::now()));
    assert!(window.open(segment(100 + MOST_HOLES + 5), inits(), TARGETS, Instant::now()));
    assert_eq!(
        window.first_number(),
        Some(100 + MOST_HOLES + 5),
        "too many holes: it begins anew"
    );
}

/// Targets under which everything but the newest eight seconds is old.
const LONG: Targets = Targets {
    part_ms: 200,
    segment_ms: 1_000,
    window_ms: 20_000,
};

fn add_long(window: &mut Window, number: u64) {
    let now = Instant::now();
    window.restart(1, now);
    assert!(window.open(segment(number), inits(), LONG, now));
    for _ in 0..5 {
        window.push(Rendition::Video, 1_000, (number - 100) * 1_000, part(200));
    }
    window.close(Some(1_000), true, now);
    window.settle();
}

fn long(numbers: std::ops::Range<u64>) -> Window {
    let mut window = Window::new();
    numbers.for_each(|number| add_long(&mut window, number));
    window
}

fn old(window: &Window) -> Vec<u64> {
    window.old().map(|segment| segment.number).collect()
}

#[test]
fn what_eight_target_durations_have_followed_is_one_piece() {
    let window = long(100..115);
    assert_eq!(old(&window), (100..107).collect::<Vec<_>>());
    let track = window.segment(106).unwrap().track(Rendition::Video).unwrap();
    assert_eq!((track.parts.len(), track.sum().unwrap().ticks), (0, 1_000));
    assert_eq!((track.size(), track.samples(), track.independent()), (20, 25, true));
    assert_eq!(track.bytes().unwrap(), &Bytes::from_static(b"partpartpartpartpart"));
    let young = window.segment(107).unwrap().track(Rendition::Video).unwrap();
    assert_eq!((young.parts.len(), young.sum()), (5, None));
    let only = Holdings {
        only: 7 * 20,
        ..Holdings::default()
    };
    assert_eq!(window.holdings(), only);
}

#[test]
fn an_edge_lets_go_of_old_bytes_and_has_them_again_when_somebody_asks() {
    let mut window = Window::new();
    window.can_have_again(true);
    (100..115).for_each(|number| add_long(&mut window, number));
    assert_eq!(window.holdings(), Holdings::default());
    assert!(window.fill(Rendition::Video, 103, &Bytes::from(vec![7; 20])));
    window.touch(Rendition::Video, 103, 5);
    let spare = Spare {
        used: 5,
        number: 103,
        rendition: Rendition::Video,
        bytes: 20,
    };
    assert_eq!(window.spare().collect::<Vec<_>>(), [spare]);
    window.forget(Rendition::Video, 103);
    assert_eq!(window.holdings(), Holdings::default());
    assert_eq!(shown(&window).len(), 15, "all of it is listed all the same");
}

#[test]
fn a_window_that_shrinks_begins_later_and_never_loses_what_is_young() {
    let mut window = long(100..115);
    window.shrink(3, Instant::now());
    assert_eq!(window.shown().next().unwrap().number, 103);
    assert!(window.segment(100).is_some(), "a player may just have read of it");
    assert_eq!((window.holdings().only, window.holdings().past), (4 * 20, 3 * 20));
    window.forget_past(2);
    assert!(window.segment(101).is_none() && window.segment(102).is_some());
    window.shrink(100, Instant::now());
    assert_eq!(shown(&window), (107..115).collect::<Vec<_>>());
}

#[test]
fn what_leaves_a_long_window_stays_for_a_minute_only() {
    let mut window = long(100..101);
    let hour = Targets {
        window_ms: 3_600_000,
        ..LONG
    };
    assert!(window.open(segment(101), inits(), hour, Instant::now()));
    window.restart(2, Instant::now());
    assert!(window.segment(100).is_some());
    window.retire(0, Instant::now() + Duration::from_secs(61));
    assert!(window.segment(100).is_none());
}

#[test]
fn a_window_begins_where_its_upstreams_does_and_never_goes_back() {
    let mut window = long(100..115);
    let now = Instant::now();
    assert!(window.show_from(104, now));
    assert!(!window.show_from(102, now));
    assert_eq!(window.shown().next().unwrap().number, 104);
    window.show_from(1_000, now);
    assert_eq!(window.last_number(), Some(114), "the newest stays, to go on from");
}

#[test]
fn an_old_hole_that_is_filled_is_one_piece_like_the_others() {
    let mut window = Window::new();
    for number in 100..115 {
        let now = Instant::now();
        window.restart(1, now);
        window.open(segment(number), inits(), LONG, now);
        window.push(Rendition::Video, 1_000, (number - 100) * 1_000, part(1_000));
        window.close(Some(1_000), number != 101, now);
        window.settle();
    }
    assert_eq!((old(&window), window.first_hole()), (vec![100], Some(101)));
    assert!(window.describe(described(101), None));
    assert_eq!(old(&window).len(), 7, "{:?}", old(&window));
    assert!(
        window
            .segment(101)
            .unwrap()
            .track(Rendition::Video)
            .unwrap()
            .sum()
            .is_some()
    );
}

#[test]
fn old_segments_are_handed_out_to_be_stored_oldest_first() {
    let window = long(100..115);
    let first = window.unstored(0).unwrap();
    assert_eq!((first.len(), first[0].number, first[0].bytes.len()), (1, 100, 20));
    assert_eq!(window.unstored(104).unwrap()[0].number, 104);
    assert!(window.unstored(107).is_none(), "young ones are not");
}
