//! Timelines of publishers that behave, jump, wrap and return.

use proptest::prelude::*;

use super::*;
use Step::{Continuous, Discontinuity};

/// A publisher that sends in real time.
struct Session {
    timeline: Timeline,
    now: Instant,
}

impl Session {
    fn new(timeline: Timeline) -> Self {
        Self {
            timeline,
            now: Instant::now(),
        }
    }

    /// A publisher that returns after `away`.
    fn resumed(last_dts: i64, away_ms: u64) -> Self {
        let last_media = Instant::now();
        let mut session = Self::new(Timeline::resume(last_dts, last_media));
        session.now = last_media + Duration::from_millis(away_ms);
        session
    }

    fn after(&mut self, ms: u64) -> &mut Self {
        self.now += Duration::from_millis(ms);
        self
    }

    fn video(&mut self, timestamp: u32) -> (i64, Step) {
        let placed = self
            .timeline
            .place(TrackKind::Video, UnitKind::Frame, timestamp, self.now);
        (placed.dts, placed.step)
    }

    fn audio(&mut self, timestamp: u32) -> (i64, Step) {
        let placed = self
            .timeline
            .place(TrackKind::Audio, UnitKind::Frame, timestamp, self.now);
        (placed.dts, placed.step)
    }
}

#[test]
fn the_first_media_is_at_zero_wherever_the_publisher_begins() {
    let mut session = Session::new(Timeline::new());
    assert_eq!(session.video(123_456), (0, Continuous));
    assert_eq!(session.audio(123_470), (14, Continuous));
    assert_eq!(session.video(123_496), (40, Continuous));
}

#[test]
fn time_goes_on_over_the_wrap_of_32_bits() {
    let mut session = Session::new(Timeline::new());
    session.video(u32::MAX - 39);
    assert_eq!(session.after(40).video(0), (40, Continuous));
    assert_eq!(session.audio(u32::MAX - 9), (30, Continuous));
    assert_eq!(session.after(40).video(40), (80, Continuous));
}

#[test]
fn jitter_between_tracks_keeps_each_track_from_going_back() {
    let mut session = Session::new(Timeline::new());
    session.video(1_000);
    assert_eq!(
        session.audio(970),
        (0, Continuous),
        "what would be before the beginning is at it"
    );
    assert_eq!(session.video(1_200), (200, Continuous));
    assert_eq!(
        session.audio(1_050),
        (50, Continuous),
        "behind the other track, ahead on its own"
    );
    assert_eq!(session.video(1_150), (200, Continuous));
    assert_eq!(session.video(1_240), (240, Continuous));
}

#[test]
fn a_jump_forward_goes_on_one_frame_later() {
    let mut session = Session::new(Timeline::new());
    session.video(0);
    session.after(40).video(40);
    assert_eq!(session.after(40).video(1_000_000), (80, Discontinuity));
    assert_eq!(
        session.audio(1_000_010),
        (90, Continuous),
        "the other track comes along"
    );
    assert_eq!(session.after(40).video(1_000_040), (120, Continuous));
}

#[test]
fn a_jump_back_goes_on_one_frame_later() {
    let mut session = Session::new(Timeline::new());
    session.video(500_000);
    session.after(40).video(500_040);
    assert_eq!(session.after(40).video(0), (80, Discontinuity));
    assert_eq!(session.after(40).video(40), (120, Continuous));
}

#[test]
fn a_straggler_from_before_a_jump_is_no_second_jump() {
    let mut session = Session::new(Timeline::new());
    session.audio(500_000);
    session.video(500_000);
    session.after(40).video(500_040);
    session.after(40).video(0);
    assert_eq!(session.audio(500_060), (60, Continuous));
    assert_eq!(session.video(40), (120, Continuous));
    assert_eq!(session.audio(10), (90, Continuous));
}

#[test]
fn tracks_with_clocks_of_their_own_are_brought_together_once() {
    let mut session = Session::new(Timeline::new());
    session.video(0);
    assert_eq!(session.audio(7_000_000), (33, Discontinuity));
    for n in 1..100 {
        session.after(40);
        assert_eq!(session.video(n * 40), (i64::from(n) * 40, Continuous));
        assert_eq!(session.audio(7_000_000 + n * 40), (33 + i64::from(n) * 40, Continuous));
    }
}

#[test]
fn a_pause_that_the_wall_clock_saw_too_is_no_jump() {
    let mut session = Session::new(Timeline::new());
    session.video(0);
    assert_eq!(session.after(60_000).video(60_000), (60_000, Continuous));
    assert_eq!(
        session.video(62_900),
        (62_900, Continuous),
        "faster than real time is fine in small steps"
    );
    assert_eq!(session.video(66_000), (62_933, Discontinuity));
}

#[test]
fn a_returning_publisher_goes_on_after_the_gap() {
    let mut session = Session::resumed(100_000, 4_000);
    assert_eq!(session.video(0), (104_000, Discontinuity));
    assert_eq!(session.audio(5), (104_005, Continuous));
    let mut session = Session::resumed(100_000, 0);
    assert_eq!(session.audio(0), (100_001, Discontinuity), "never the same time twice");
}

#[test]
fn a_publisher_that_connects_long_before_its_first_media_is_away_until_then() {
    let mut session = Session::resumed(100_000, 500);
    session
        .timeline
        .place(TrackKind::Video, UnitKind::Config, 0, session.now);
    assert_eq!(session.after(3_500).video(0), (104_000, Discontinuity));
}

#[test]
fn configurations_and_script_data_do_not_move_the_timeline() {
    let mut session = Session::resumed(100_000, 4_000);
    let pass = |session: &mut Session, timestamp| {
        session
            .timeline
            .place(TrackKind::Video, UnitKind::Config, timestamp, session.now)
            .dts
    };
    assert_eq!(pass(&mut session, 0), 100_000);
    session.video(9_000_000);
    session.after(40).video(9_000_040);
    assert_eq!(
        pass(&mut session, 0),
        104_040,
        "a header with timestamp 0 is no jump back"
    );
    assert_eq!(pass(&mut session, 9_000_080), 104_080);
    assert_eq!(session.after(40).video(9_000_080), (104_080, Continuous));
}

#[test]
fn a_timestamp_is_unwrapped_to_the_nearest_time() {
    assert_eq!(unwrap_near(5, 0), 5);
    assert_eq!(unwrap_near(u32::MAX, 0), -1);
    let day_50 = 50 * 86_400_000_i64;
    assert_eq!(unwrap_near((day_50 + 40) as u32, day_50), day_50 + 40);
    assert_eq!(unwrap_near((day_50 - 40) as u32, day_50), day_50 - 40);
}

proptest! {
    #[test]
    fn no_track_ever_goes_back(
        messages in prop::collection::vec((any::<bool>(), any::<u32>(), 0u64..5_000, 0u8..4), 1..200),
        resume in prop::option::of((0i64..1 << 40, 0u64..20_000)),
    ) {
        let mut session = resume.map_or_else(|| Session::new(Timeline::new()), |(dts, away)| Session::resumed(dts, away));
        let (mut video, mut audio) = (0, 0);
        let mut near = 0u32;
        for (is_video, timestamp, wait, far) in messages {
            near = if far == 0 { timestamp } else { near.wrapping_add(timestamp % 100) };
            session.after(wait);
            let last = if is_video { &mut video } else { &mut audio };
            let (dts, _) = if is_video { session.video(near) } else { session.audio(near) };
            prop_assert!(dts >= *last, "{dts} after {last}");
            *last = dts;
        }
    }

    #[test]
    fn audio_and_video_stay_together_through_a_continuous_run(
        first: u32, gaps in prop::collection::vec((1u32..100, 0u32..100), 1..300),
    ) {
        let mut session = Session::new(Timeline::new());
        let mut timestamp = first;
        session.video(timestamp);
        for (gap, skew) in gaps {
            timestamp = timestamp.wrapping_add(gap);
            session.after(gap.into());
            let (video, step) = session.video(timestamp);
            prop_assert_eq!((video, step), (i64::from(timestamp.wrapping_sub(first)), Continuous));
            let (audio, _) = session.audio(timestamp.wrapping_add(skew));
            prop_assert!(audio - video >= i64::from(skew), "only ever held back from going back");
            prop_assert!(audio - video <= 200);
        }
    }

    #[test]
    fn times_never_outrun_what_came_in(jumps in prop::collection::vec(any::<u32>(), 1..100)) {
        let mut session = Session::new(Timeline::new());
        let mut newest = 0;
        for timestamp in jumps {
            let (dts, _) = session.after(40).video(timestamp);
            prop_assert!(dts - newest <= MAX_AHEAD + 40);
            newest = dts;
        }
    }
}

/// Members of a group come by connections of their own: what one adds to the encoder's time, the others are to add.
/// What others are told of a member that gave `dts` at `at`.
fn hint(of: &Timeline, dts: i64, at: Instant) -> [Hint; 1] {
    let offset = of.offset().unwrap();
    [Hint { offset, dts, at }]
}

#[test]
fn an_offset_of_another_member_is_taken_where_it_fits() {
    let now = Instant::now();
    let mut first = Timeline::with_room();
    assert_eq!(first.place(TrackKind::Video, UnitKind::Key, 5_040, now).dts, 1_000);
    let hints = hint(&first, 1_000, now);
    let mut second = Timeline::with_room();
    let mut place = |track, kind, timestamp| second.place_among(track, kind, timestamp, now, &hints).dts;
    assert_eq!(place(TrackKind::Audio, UnitKind::Frame, 5_000), 960);
    assert_eq!(place(TrackKind::Video, UnitKind::Key, 5_040), 1_000);
    // It begins when the encoder has been at it for a while.
    let later = now + Duration::from_millis(2_700);
    let mut late = Timeline::with_room();
    assert_eq!(
        late.place_among(TrackKind::Video, UnitKind::Key, 7_540, later, &hints)
            .dts,
        3_500
    );
    // Another encoder's clock.
    let mut other = Timeline::with_room();
    assert_eq!(
        other
            .place_among(TrackKind::Video, UnitKind::Key, 90_000, now, &hints)
            .dts,
        1_000
    );
}

/// Encoders that are started one after the other begin at the same timestamps, with what is there then.
#[test]
fn what_is_taken_in_later_is_not_put_where_another_encoder_began() {
    let now = Instant::now();
    let mut first = Timeline::with_room();
    first.place(TrackKind::Video, UnitKind::Key, 0, now);
    let hints = hint(&first, 1_000, now);
    for (after_ms, offset) in [(400, 1_000), (2_500, 1_000)] {
        let mut other = Timeline::with_room();
        let at = now + Duration::from_millis(after_ms);
        let placed = other.place_among(TrackKind::Video, UnitKind::Key, 480, at, &hints);
        let expected = if after_ms == 400 { 480 + offset } else { 1_000 };
        assert_eq!(placed.dts, expected, "after {after_ms} ms");
    }
}

#[test]
fn an_offset_of_another_member_is_taken_after_a_return_if_time_does_not_go_back() {
    let now = Instant::now();
    let mut first = Timeline::resume(10_000, now);
    let later = now + Duration::from_millis(2_000);
    assert_eq!(first.place(TrackKind::Video, UnitKind::Key, 0, later).dts, 12_000);
    let hints = hint(&first, 12_000, later);
    let mut second = Timeline::resume(10_040, now);
    let at = later + Duration::from_millis(300);
    let placed = second.place_among(TrackKind::Video, UnitKind::Key, 40, at, &hints);
    assert_eq!((placed.dts, placed.step), (12_040, Step::Discontinuity));
    let mut ahead = Timeline::resume(12_500, later);
    let placed = ahead.place_among(TrackKind::Video, UnitKind::Key, 0, at, &hints);
    assert_eq!(placed.dts, 12_800, "12,000 has passed");
}
