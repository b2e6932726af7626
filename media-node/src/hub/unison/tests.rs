//! What members of a group have in common, who has it, and for how long.

use std::time::Duration;

use super::*;

fn name(text: &str) -> StreamName {
    text.parse().unwrap()
}

/// Those who began, of whom none has ended.
#[derive(Default)]
struct Alive(Births, Vec<Unison>);

impl Alive {
    fn join(&mut self, group: &str, member: &str, now_ms: u64) -> (u64, u64) {
        let unison = self.0.join(&name(group), &name(member), now_ms);
        self.1.push(unison.clone());
        (unison.epoch(), unison.first())
    }
}

#[test]
fn members_that_begin_together_have_one_epoch_and_others_their_own() {
    let mut births = Alive::default();
    assert_eq!(births.join("show", "show_1080", 10_000), (10_000, 13));
    assert_eq!(births.join("show", "show_480", 13_000), (10_000, 13));
    assert_eq!(births.join("news", "news_480", 13_000), (13_000, 16));
    assert_eq!(births.join("show", "show_240", 13_001), (13_001, 16), "too late");
    assert_eq!(births.join("show", "show_720", 13_100), (13_001, 16));
    assert_eq!(
        births.join("show", "show_720p", 12_000).0,
        12_000,
        "the clock went back"
    );
}

/// Its numbers begin at the epoch: a name that has used some of them can't.
#[test]
fn a_name_that_has_used_a_number_begins_above_it_and_stands_in_nobodys_way() {
    let mut births = Alive::default();
    births.0.ended(&name("show_480"), 12);
    assert_eq!(births.join("show", "show_1080", 10_000), (10_000, 13));
    assert_eq!(
        births.join("show", "show_480", 10_500),
        (10_000, 13),
        "all of theirs are above"
    );
    births.0.ended(&name("show_480"), 13);
    assert_eq!(births.join("show", "show_480", 10_600), (10_600, 14));
    assert_eq!(
        births.join("show", "show_720", 10_700),
        (10_000, 13),
        "with the first ones"
    );
    births.0.ended(&name("show_480"), 14);
    assert_eq!(
        births.join("show", "show_480", 10_900),
        (10_900, 15),
        "within one second"
    );
}

/// An encoder is started anew within the second in which it ended.
#[test]
fn members_that_all_return_at_once_begin_together_again() {
    let mut births = Births::default();
    let one = births.join(&name("show"), &name("show_1080"), 10_000);
    let other = births.join(&name("show"), &name("show_480"), 10_000);
    drop((one, other));
    for member in ["show_1080", "show_480"] {
        births.ended(&name(member), 13);
    }
    let first = births.join(&name("show"), &name("show_1080"), 10_800);
    let second = births.join(&name("show"), &name("show_480"), 10_900);
    assert_eq!((first.epoch(), second.epoch()), (10_800, 10_800));
    assert_eq!(second.first(), 14);
    drop((first, second));
    let third = births.join(&name("show"), &name("show_240"), 11_000);
    assert_eq!(third.epoch(), 11_000, "the others are gone");
}

#[test]
fn what_is_forgotten_counts_as_used() {
    let mut births = Alive::default();
    births.0.ended(&name("show_480"), 40);
    for at in 0..REMEMBERED as u64 {
        births.0.ended(&name("other"), at.min(23));
    }
    assert_eq!(births.0.used(&name("show_480")), Some(40));
    assert_eq!(births.join("show", "show_1080", 20_500).1, 41);
}

#[test]
fn a_late_members_dates_are_those_of_the_first() {
    let unison = Unison::new(&name("show"), 0, 3);
    let mut score = unison.lock();
    let cut = Cut {
        segment: 3,
        discontinuity: 0,
    };
    score.decide(1_000, Some(cut));
    assert_eq!(score.date(1_000, |_, _| None, || 50_000), 50_000);
    score.decide(2_000, Some(cut));
    assert_eq!(
        score.date(2_000, |at, date| Some(date + 2_000 - at as u64 + 5), || 0),
        51_005
    );
    assert_eq!(score.date(1_000, |_, _| None, || 0), 50_000, "as it was said first");
    assert_eq!(score.date(1_500, |_, _| None, || 0), 50_505, "by the media");
    assert_eq!(score.date(3_000, |_, _| None, || 77_000), 77_000, "too far off");
    assert_eq!(
        score.date(2_500, |_, date| Some(date + 500), || 0),
        51_505,
        "which moves nobody else"
    );
}

/// The wall clock was set, or all members lost time.
#[test]
fn dates_that_are_too_far_off_for_all_are_replaced_for_all() {
    let unison = Unison::new(&name("show"), 0, 3);
    let mut score = unison.lock();
    assert_eq!(score.date(0, |_, _| None, || 50_000), 50_000);
    let near = |wall: u64| move |at: i64, date: u64| (date + 1_000 == wall && at == 4_000).then_some(wall);
    for (dts, wall) in [(1_000, 71_000), (2_000, 72_000), (3_000, 73_000), (4_000, 74_000)] {
        assert_eq!(score.date(dts, near(0), || wall), wall);
    }
    assert_eq!(
        score.date(4_000 - 500, near(0), || 0),
        73_500,
        "another one, by the media"
    );
    assert_eq!(score.date(5_000, near(75_000), || 0), 75_000);
}

/// A message of a picture with this timestamp, `ms` after `begin`.
fn place(score: &mut Score, timeline: &mut Timeline, timestamp: u32, at: Instant) -> (i64, bool) {
    let (placed, together) = score.place(timeline, (TrackKind::Video, UnitKind::Key), timestamp, at);
    (placed.dts, together)
}

#[test]
fn a_member_that_lost_its_connection_comes_back_to_the_times_of_the_others() {
    let unison = Unison::new(&name("show"), 0, 3);
    let (score, begin) = (&mut unison.lock(), Instant::now());
    let at = |ms| begin + Duration::from_millis(ms);
    let mut one = Timeline::with_room();
    assert_eq!(place(score, &mut one, 0, begin), (1_000, true));
    assert_eq!(place(score, &mut Timeline::with_room(), 40, at(90)), (1_040, true));
    // Much later, and by a path that takes a little longer.
    let mut back = Timeline::resume(600_000, at(600_000));
    assert_eq!(place(score, &mut back, 607_000, at(608_100)), (608_000, true));
    // The encoder starts anew: nothing that was found before fits.
    let mut anew = Timeline::resume(610_000, at(610_000));
    assert_eq!(place(score, &mut anew, 80, at(612_000)), (612_000, true));
    let mut other = Timeline::resume(609_900, at(610_000));
    assert_eq!(place(score, &mut other, 120, at(612_900)), (612_040, true));
}

#[test]
fn one_of_another_encoder_has_nothing_in_common() {
    let unison = Unison::new(&name("show"), 0, 3);
    let (score, begin) = (&mut unison.lock(), Instant::now());
    assert_eq!(place(score, &mut Timeline::with_room(), 0, begin), (1_000, true));
    let at = begin + Duration::from_millis(2_500);
    assert_eq!(place(score, &mut Timeline::with_room(), 0, at), (1_000, false));
}
