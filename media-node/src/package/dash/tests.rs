//! Manifests of windows as the segmenter makes them.

use std::time::Instant;

use super::manifest::render;
use super::outline::{Outline, Version};
use super::*;
use crate::media::clock::Run;
use crate::package::hls::window::{InitId, InitTrack, Part, Progress, Rendition, Segment, Targets, Window};

const EPOCH: u64 = 1_700_000_000_123;

fn track(codec: &str, height: u32, timescale: u32) -> InitTrack {
    InitTrack {
        codec: codec.into(),
        width: height * 16 / 9,
        height,
        channels: if height > 0 { 0 } else { 2 },
        timescale,
        bytes: None,
    }
}

/// What is to be pushed into a window.
#[derive(Clone, Copy)]
struct Next {
    number: u64,
    media_ms: i64,
    run: Run,
    discontinuity: u64,
    version: u32,
    parts: u64,
    window_ms: u64,
}

fn next(index: u64, run: Run, discontinuity: u64) -> Next {
    Next {
        number: 1_700_000_000 + index,
        media_ms: index as i64 * 1_000,
        run,
        discontinuity,
        version: 1,
        parts: 5,
        window_ms: 30_000,
    }
}

fn open(window: &mut Window, next: Next, height: u32) {
    let now = Instant::now();
    window.restart(EPOCH, now);
    let targets = Targets {
        part_ms: 200,
        segment_ms: 4_000,
        window_ms: next.window_ms,
    };
    let inits = [
        Some(track("avc1.64001f", height, 1_000)),
        Some(track("mp4a.40.2", 0, 48_000)),
    ];
    let segment = Segment {
        number: next.number,
        discontinuity: next.discontinuity,
        media_time_ms: next.media_ms,
        program_ms: next.run.date_ms(next.media_ms) as u64,
        run: next.run,
        duration_ms: 0,
        init: InitId {
            epoch: EPOCH,
            version: next.version,
        },
        tracks: [None, None],
        progress: Progress::Open,
    };
    assert!(window.open(segment, inits, targets, now));
    let part = |ticks, independent| Part {
        ticks,
        size: 5_000,
        samples: 5,
        independent,
        bytes: None,
    };
    let begin = next.media_ms as u64;
    for number in 0..next.parts {
        window.push(Rendition::Video, 1_000, begin + number * 200, part(200, number == 0));
        window.push(Rendition::Audio, 48_000, begin * 48 + number * 9_600, part(9_600, true));
    }
}

fn add(window: &mut Window, next: Next, height: u32) {
    open(window, next, height);
    window.close(Some(next.parts * 200), true, Instant::now());
    window.settle();
}

const RUN: Run = Run {
    media_time_ms: 0,
    program_ms: EPOCH,
};

/// Segments of 1 s from the first on, and one that is being made.
fn window(segments: u64) -> Window {
    let mut window = Window::new();
    (0..segments).for_each(|index| add(&mut window, next(index, RUN, 0), 720));
    open(
        &mut window,
        Next {
            parts: 2,
            ..next(segments, RUN, 0)
        },
        720,
    );
    window
}

fn text(window: &Window, form: Form) -> String {
    render(&[Outline::of(window, "cam1/".into())], form, "../api/time").unwrap()
}

#[test]
fn a_live_stream_is_one_period_with_what_is_expected_at_its_end() {
    assert_eq!(
        text(&window(3), Form::Low),
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
         <MPD xmlns=\"urn:mpeg:dash:schema:mpd:2011\" profiles=\"urn:mpeg:dash:profile:isoff-live:2011\" type=\"dynamic\" availabilityStartTime=\"1970-01-01T00:00:00Z\" \
         publishTime=\"2023-11-14T22:13:23.123Z\" minimumUpdatePeriod=\"PT1S\" timeShiftBufferDepth=\"PT30.000S\" \
         suggestedPresentationDelay=\"PT1.600S\" minBufferTime=\"PT1S\" maxSegmentDuration=\"PT4.000S\">\n\
         <ServiceDescription id=\"0\"><Latency target=\"1600\" min=\"800\" max=\"6400\"/><PlaybackRate min=\"0.96\" max=\"1.04\"/></ServiceDescription>\n\
         <Period id=\"1700000000123-0-1-0\" start=\"PT1700000000.123S\">\n\
         <AdaptationSet id=\"1\" contentType=\"video\" mimeType=\"video/mp4\" segmentAlignment=\"true\" startWithSAP=\"1\">\n\
         <Representation id=\"cam1/video\" bandwidth=\"200000\" codecs=\"avc1.64001f\" width=\"1280\" height=\"720\" frameRate=\"25\">\n\
         <SegmentTemplate timescale=\"1000\" presentationTimeOffset=\"0\" startNumber=\"1700000000\" \
         initialization=\"cam1/video-init-1700000000123-1.mp4\" media=\"cam1/video-$Number$.m4s\" \
         availabilityTimeOffset=\"0.840\" availabilityTimeComplete=\"false\">\n\
         <SegmentTimeline>\n<S t=\"0\" d=\"1000\" r=\"2\"/>\n<S t=\"3000\" d=\"1040\" r=\"-1\"/>\n</SegmentTimeline>\n\
         </SegmentTemplate>\n</Representation>\n</AdaptationSet>\n\
         <AdaptationSet id=\"2\" contentType=\"audio\" mimeType=\"audio/mp4\" segmentAlignment=\"true\" startWithSAP=\"1\">\n\
         <Representation id=\"cam1/audio\" bandwidth=\"200000\" codecs=\"mp4a.40.2\" audioSamplingRate=\"48000\">\n\
         <AudioChannelConfiguration schemeIdUri=\"urn:mpeg:dash:23003:3:audio_channel_configuration:2011\" value=\"2\"/>\n\
         <SegmentTemplate timescale=\"48000\" presentationTimeOffset=\"0\" startNumber=\"1700000000\" \
         initialization=\"cam1/audio-init-1700000000123-1.mp4\" media=\"cam1/audio-$Number$.m4s\" \
         availabilityTimeOffset=\"0.840\" availabilityTimeComplete=\"false\">\n\
         <SegmentTimeline>\n<S t=\"0\" d=\"48000\" r=\"2\"/>\n<S t=\"144000\" d=\"49920\" r=\"-1\"/>\n</SegmentTimeline>\n\
         </SegmentTemplate>\n</Representation>\n</AdaptationSet>\n</Period>\n\
         <UTCTiming schemeIdUri=\"urn:mpeg:dash:utc:http-iso:2014\" value=\"../api/time\"/>\n</MPD>\n"
    );
}

/// Expecting too much makes players leave a segment out.
#[test]
fn what_is_expected_is_rather_too_short_than_too_long() {
    let mut window = Window::new();
    let mut at = 0;
    for (index, parts) in [10, 10, 10, 10, 15, 10].into_iter().enumerate() {
        let segment = Next {
            media_ms: at,
            parts,
            ..next(index as u64, RUN, 0)
        };
        add(&mut window, segment, 720);
        at += parts as i64 * 200;
        let text = text(&window, Form::Low);
        let expected = if index < 3 { 1_040 } else { 2_040 };
        assert!(
            text.contains(&format!("<S t=\"{at}\" d=\"{expected}\" r=\"-1\"/>")),
            "{text}"
        );
    }
}

#[test]
fn the_plain_form_lists_what_is_complete_and_nothing_else() {
    let text = text(&window(3), Form::Plain);
    assert!(
        text.contains("<S t=\"0\" d=\"1000\" r=\"2\"/>\n</SegmentTimeline>"),
        "{text}"
    );
    for absent in ["r=\"-1\"", "availabilityTimeOffset", "Latency"] {
        assert!(!text.contains(absent), "{absent} in {text}");
    }
    assert!(text.contains("suggestedPresentationDelay=\"PT12.000S\""), "{text}");
}

#[test]
fn a_window_that_moves_keeps_its_period_and_counts_on() {
    let text = text(&window(60), Form::Low);
    let period = "<Period id=\"1700000000123-0-1-0\" start=\"PT1700000000.123S\">";
    assert!(text.contains(period), "as it was when it began: {text}");
    assert!(
        text.contains("presentationTimeOffset=\"0\" startNumber=\"1700000030\""),
        "{text}"
    );
    assert!(text.contains("<S t=\"30000\" d=\"1000\" r=\"29\"/>"), "{text}");
}

#[test]
fn a_long_past_is_listed_as_far_as_it_can_be_read_each_second() {
    let mut window = Window::new();
    for index in 0..400 {
        let long = Next {
            window_ms: 3_600_000,
            ..next(index, RUN, 0)
        };
        add(&mut window, long, 720);
    }
    let live = text(&window, Form::Low);
    assert!(live.contains("timeShiftBufferDepth=\"PT300.000S\""), "{live}");
    assert!(
        live.contains("startNumber=\"1700000100\"") && live.contains("<S t=\"100000\" d=\"1000\" r=\"299\"/>"),
        "{live}"
    );
    window.end();
    let ended = text(&window, Form::Low);
    assert!(ended.contains("<S t=\"0\" d=\"1000\" r=\"399\"/>"), "{ended}");
}

#[test]
fn a_return_after_a_silence_is_a_new_period_at_its_own_time() {
    let mut window = Window::new();
    let mut window_with = |next| add(&mut window, next, 720);
    window_with(next(0, RUN, 0));
    window_with(next(1, RUN, 0));
    let back = Run {
        media_time_ms: 7_000,
        program_ms: EPOCH + 7_200,
    };
    let returned = Next {
        media_ms: 7_000,
        ..next(2, back, 1)
    };
    window_with(returned);
    let text = text(&window, Form::Low);
    assert!(
        text.contains("<Period id=\"1700000000123-0-1-0\" start=\"PT1700000000.123S\" duration=\"PT7.200S\">"),
        "{text}"
    );
    assert!(
        text.contains("<Period id=\"1700000000123-1-1-7000\" start=\"PT1700000007.323S\">"),
        "{text}"
    );
    assert!(
        text.contains("presentationTimeOffset=\"7000\" startNumber=\"1700000002\""),
        "{text}"
    );
    assert!(
        text.contains("presentationTimeOffset=\"336000\" startNumber=\"1700000002\""),
        "{text}"
    );
    assert_eq!(text.matches("r=\"-1\"").count(), 2, "only the last one goes on: {text}");
}

#[test]
fn nothing_is_expected_of_a_period_that_does_not_go_on() {
    let mut window = window(3);
    window.close(Some(400), true, Instant::now());
    let back = Run {
        media_time_ms: 9_000,
        program_ms: EPOCH + 9_000,
    };
    let version = Version::of(&window);
    open(
        &mut window,
        Next {
            media_ms: 9_000,
            ..next(4, back, 1)
        },
        720,
    );
    assert_ne!(Version::of(&window), version);
    let text = text(&window, Form::Low);
    assert_eq!(text.matches("<Period").count(), 1);
    assert!(!text.contains("r=\"-1\""), "{text}");
}

#[test]
fn an_ended_stream_is_static_with_the_times_that_it_had() {
    let mut window = window(3);
    window.close(Some(400), true, Instant::now());
    window.end();
    let text = text(&window, Form::Low);
    assert!(
        text.contains(" type=\"static\" mediaPresentationDuration=\"PT1700000003.523S\""),
        "{text}"
    );
    assert!(
        text.contains("start=\"PT1700000000.123S\" duration=\"PT3.400S\">"),
        "{text}"
    );
    assert!(
        text.contains("<S t=\"0\" d=\"1000\" r=\"2\"/>\n<S d=\"400\"/>\n</SegmentTimeline>"),
        "{text}"
    );
    for absent in ["minimumUpdatePeriod", "UTCTiming", "r=\"-1\"", "availabilityTimeOffset"] {
        assert!(!text.contains(absent), "{absent} in {text}");
    }
}

#[test]
fn a_lost_segment_keeps_its_number_and_is_said_to_be_missing() {
    let mut window = Window::new();
    add(&mut window, next(0, RUN, 0), 720);
    open(&mut window, next(1, RUN, 0), 720);
    window.close(Some(1_000), false, Instant::now());
    add(&mut window, next(2, RUN, 0), 720);
    window.give_up(1_700_000_001);
    let text = text(&window, Form::Plain);
    assert!(text.contains("startNumber=\"1700000000\""), "{text}");
    assert!(text.contains("<S t=\"0\" d=\"1000\" r=\"2\"/>"), "{text}");
    assert!(
        text.contains("<FailoverContent valid=\"false\">\n<FCS t=\"1000\" d=\"1000\"/>\n</FailoverContent>"),
        "{text}"
    );
}

/// It is of neither the one nor the other: it must not become a Period of its own, which would leave nothing of the one before.
#[test]
fn a_lost_segment_where_the_publisher_returned_leaves_both_periods_as_they_are() {
    let back = Run {
        media_time_ms: 7_000,
        program_ms: EPOCH + 7_200,
    };
    let returned = |index| Next {
        media_ms: 5_000 + index as i64 * 1_000,
        ..next(index, back, 1)
    };
    let mut window = Window::new();
    add(&mut window, next(0, RUN, 0), 720);
    add(&mut window, next(1, RUN, 0), 720);
    open(&mut window, returned(2), 720);
    window.close(Some(1_000), false, Instant::now());
    window.give_up(1_700_000_002);
    let waits = Outline::of(&window, String::new());
    assert_eq!((waits.stretches.len(), waits.goes_on), (1, false), "{waits:#?}");
    open(&mut window, returned(3), 720);
    assert!(!Outline::of(&window, String::new()).goes_on, "the old one has ended");
    window.close(Some(1_000), true, Instant::now());
    let text = text(&window, Form::Low);
    assert_eq!(text.matches("<Period").count(), 2, "{text}");
    assert_eq!(text.matches("<AdaptationSet").count(), 4, "{text}");
    assert!(
        text.contains("start=\"PT1700000000.123S\" duration=\"PT7.200S\">"),
        "{text}"
    );
    assert!(
        text.contains("<Period id=\"1700000000123-1-1-7000\" start=\"PT1700000007.323S\">"),
        "{text}"
    );
}

#[test]
fn periods_begin_one_after_the_other_also_where_the_clock_was_set_back() {
    let back = Run {
        media_time_ms: 7_000,
        program_ms: EPOCH - 5_000,
    };
    let mut window = Window::new();
    add(&mut window, next(0, RUN, 0), 720);
    add(
        &mut window,
        Next {
            media_ms: 7_000,
            ..next(1, back, 1)
        },
        720,
    );
    let text = text(&window, Form::Low);
    assert_eq!(text.matches("<Period").count(), 1, "{text}");
    assert!(
        text.contains("<Period id=\"1700000000123-1-1-7000\" start=\"PT1699999995.123S\">"),
        "{text}"
    );
}

/// An origin of an earlier version does not say where a run begins.
#[test]
fn a_period_keeps_its_name_where_only_segments_say_when_they_are() {
    let id = |window: &Window| Outline::of(window, String::new()).stretches[0].id.clone();
    let mut window = Window::new();
    let mut names = Vec::new();
    for index in 0..40 {
        let mut next = next(index, Run::default(), 0);
        next.window_ms = 10_000;
        add(&mut window, next, 720);
        names.push(id(&window));
    }
    names.dedup();
    assert_eq!(names.len(), 1, "{names:?}");
}

#[test]
fn channels_are_said_by_the_number_of_their_configuration() {
    let of = |codec: &str, channels| {
        let mut outline = Outline::of(&window(2), String::new());
        let line = outline.stretches[0].lines[1].as_mut().unwrap();
        (line.init.codec, line.init.channels) = (codec.into(), channels);
        let text = render(&[outline], Form::Plain, "").unwrap();
        let value = text.split("configuration:2011\" value=\"").nth(1).unwrap();
        value.split('"').next().unwrap().to_owned()
    };
    assert_eq!(of("mp4a.40.2", 6), "6");
    assert_eq!(of("mp4a.40.2", 8), "7");
    assert_eq!(of("opus", 8), "12");
    assert_eq!(of("opus", 7), "11");
}

#[test]
fn several_streams_are_representations_of_one_set_each_with_its_own_numbers() {
    let mut small = Window::new();
    let run = Run {
        media_time_ms: 40,
        program_ms: EPOCH + 300,
    };
    for index in 0..3 {
        let shifted = next(index, run, 0);
        add(
            &mut small,
            Next {
                number: 1_800_000_000 + index,
                media_ms: shifted.media_ms + 40,
                ..shifted
            },
            360,
        );
    }
    let outlines = [
        Outline::of(&window(3), "show_720/".into()),
        Outline::of(&small, "show_360/".into()),
    ];
    let text = render(&outlines, Form::Low, "../api/time").unwrap();
    assert_eq!(text.matches("<AdaptationSet").count(), 2, "{text}");
    assert_eq!(text.matches("<Representation").count(), 3, "one voice for all: {text}");
    assert!(
        text.contains("start=\"PT1700000000.423S\""),
        "when both have begun: {text}"
    );
    assert!(
        text.contains("presentationTimeOffset=\"300\" startNumber=\"1700000000\""),
        "{text}"
    );
    assert!(
        text.contains("presentationTimeOffset=\"40\" startNumber=\"1800000000\""),
        "{text}"
    );
    assert!(text.contains("media=\"show_360/video-$Number$.m4s\""), "{text}");
}

#[test]
fn without_a_complete_segment_there_is_no_manifest() {
    let mut window = window(0);
    window.settle();
    assert_eq!(render(&[Outline::of(&window, String::new())], Form::Low, ""), None);
    assert_eq!(render(&[], Form::Low, ""), None);
}
