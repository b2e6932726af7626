//! Playlists of long windows: the same text as without anything kept, at the cost of short ones.

use std::time::{Duration, Instant};

use super::super::{Form, render};
use super::*;
use crate::package::hls::document;
use crate::package::hls::window::{InitId, InitTrack, Part, Progress, Targets};

/// A window of `hours` of a stream with video and audio, in segments of 1 s.
struct Long {
    window: Window,
    next: u64,
    now: Instant,
}

impl Long {
    fn new(window_ms: u64) -> (Self, Targets) {
        let targets = Targets {
            part_ms: 200,
            segment_ms: 2_000,
            window_ms,
        };
        let now = Instant::now();
        let mut window = Window::new();
        window.restart(1_700_000_000_123, now);
        window.settle();
        (Self { window, next: 0, now }, targets)
    }

    /// A segment: every hundredth begins a discontinuity, every thousandth has other headers, some can't be begun with.
    fn add(&mut self, targets: Targets) {
        let track = |codec: &str, timescale| InitTrack {
            codec: codec.into(),
            width: 0,
            height: 0,
            channels: 0,
            timescale,
            bytes: None,
        };
        let inits = [Some(track("avc1.64001f", 1_000)), Some(track("mp4a.40.2", 48_000))];
        let index = self.next;
        self.next += 1;
        let segment = Segment {
            number: 1_700_000_000 + index,
            discontinuity: index / 100,
            media_time_ms: index as i64 * 1_000,
            program_ms: 1_700_000_000_123 + index * 1_000,
            run: Default::default(),
            duration_ms: 0,
            init: InitId {
                epoch: 1_700_000_000_123,
                version: 1 + (index / 1_000) as u32,
            },
            tracks: [None, None],
            progress: Progress::Open,
        };
        self.window.open(segment, inits, targets, self.now);
        for number in 0..5 {
            let part = |ticks, independent| Part {
                ticks,
                size: 100,
                samples: 5,
                independent,
                bytes: None,
            };
            let video = part(200, number == 0 && index % 70 != 69);
            self.window
                .push(Rendition::Video, 1_000, index * 1_000 + number * 200, video);
            let audio = part(9_600, true);
            self.window
                .push(Rendition::Audio, 48_000, index * 48_000 + number * 9_600, audio);
        }
        self.window.close(Some(1_000), true, self.now);
    }
}

fn fresh(window: &Window, rendition: Rendition, form: Form) -> String {
    render(window, rendition, form, &mut OldText::default())
}

#[test]
fn the_text_is_the_same_as_if_all_of_it_were_rendered_anew() {
    let (mut long, targets) = Long::new(150_000);
    let mut kept = [OldText::default(), OldText::default()];
    for step in 0..450 {
        long.add(targets);
        if step == 300 {
            long.window.shrink(40, long.now);
        }
        if step == 350 {
            long.window.shrink(1_000, long.now);
        }
        for rendition in Rendition::ALL {
            for form in [Form::Low, Form::Delta, Form::Plain] {
                let old = &mut kept[rendition.index()];
                let text = render(&long.window, rendition, form, old);
                assert_eq!(text, fresh(&long.window, rendition, form), "{form:?} at {step}");
                let first = long.window.shown().next().map_or(0, |segment| segment.number);
                assert!(text.contains(&format!("#EXT-X-MEDIA-SEQUENCE:{first}\n")));
            }
        }
    }
    assert_eq!(
        kept[0].len(),
        99,
        "what was young when the window was made short, and what has come since"
    );
}

#[test]
fn another_epoch_begins_with_no_text() {
    let (mut long, targets) = Long::new(150_000);
    (0..60).for_each(|_| long.add(targets));
    let mut kept = OldText::default();
    render(&long.window, Rendition::Video, Form::Low, &mut kept);
    assert!(kept.len() > 0);
    long.window.restart(1_800_000_000_000, long.now);
    let text = render(&long.window, Rendition::Video, Form::Low, &mut kept);
    assert_eq!((kept.len(), text.matches("#EXTINF").count()), (0, 0));
}

fn time(mut work: impl FnMut()) -> Duration {
    let runs = 20;
    let begun = Instant::now();
    (0..runs).for_each(|_| work());
    begun.elapsed() / runs
}

/// Two hours are 7,200 segments. What a new part costs is the delta update; the whole text is for newcomers.
#[test]
fn a_new_part_costs_no_more_in_a_window_of_two_hours_than_in_one_of_a_minute() {
    let (mut short, short_targets) = Long::new(60_000);
    let (mut long, targets) = Long::new(7_200_000);
    (0..80).for_each(|_| short.add(short_targets));
    (0..7_300).for_each(|_| long.add(targets));
    assert_eq!(long.window.shown().len(), 7_200);
    let mut kept = [OldText::default(), OldText::default()];
    for (long, kept) in [&short, &long].into_iter().zip(&mut kept) {
        render(&long.window, Rendition::Video, Form::Low, kept);
    }
    let mut cost = |long: &Long, index: usize, form| {
        let old: &mut OldText = &mut kept[index];
        time(|| drop(render(&long.window, Rendition::Video, form, old)))
    };
    let (delta_short, delta_long) = (cost(&short, 0, Form::Delta), cost(&long, 1, Form::Delta));
    let whole = cost(&long, 1, Form::Low);
    let anew = time(|| drop(fresh(&long.window, Rendition::Video, Form::Low)));
    let text = fresh(&long.window, Rendition::Video, Form::Low).len();
    let delta = fresh(&long.window, Rendition::Video, Form::Delta).len();
    println!("a delta update of a minute {delta_short:?}, of two hours {delta_long:?} ({delta} bytes)");
    println!("all of two hours {whole:?} ({text} bytes), rendered anew {anew:?}");
    assert!(delta_long < delta_short * 4, "{delta_long:?} against {delta_short:?}");
    assert!(whole * 4 < anew, "{whole:?} against {anew:?}");
}

#[test]
fn a_node_that_comes_late_lists_two_hours_by_one_description() {
    let (mut long, targets) = Long::new(7_200_000);
    (0..7_300).for_each(|_| long.add(targets));
    let described = document::describe(&long.window, 0);
    let json = serde_json::to_vec(&described).unwrap();
    println!("two hours are described in {} bytes", json.len());
    assert!(
        json.len() * 6 < document::MOST_BYTES,
        "twelve hours fit: {}",
        json.len()
    );

    let mut late = Window::new();
    assert!(document::take(&serde_json::from_slice(&json).unwrap(), &mut late));
    late.settle();
    let numbers = |window: &Window| window.shown().map(|segment| segment.number).collect::<Vec<_>>();
    assert_eq!(numbers(&late), numbers(&long.window));
    let poll = document::describe(&long.window, late.last_number().unwrap());
    assert_eq!(poll.segments.len(), 1, "what is known is not described again");
    // Once both have the next segment, both have the same text.
    let next = long.window.last_number().unwrap() + 1;
    for window in [&mut long.window, &mut late] {
        let segment = Segment {
            number: next,
            discontinuity: 73,
            media_time_ms: 7_300_000,
            program_ms: 1_700_007_300_123,
            run: Default::default(),
            duration_ms: 0,
            init: InitId {
                epoch: 1_700_000_000_123,
                version: 8,
            },
            tracks: [None, None],
            progress: Progress::Open,
        };
        let inits = window.newest_inits().unwrap().clone();
        assert!(window.open(segment, inits, targets, long.now));
        window.close(Some(1_000), true, long.now);
    }
    assert_eq!(
        fresh(&late, Rendition::Video, Form::Plain),
        fresh(&long.window, Rendition::Video, Form::Plain)
    );
}
