//! Texts of playlists, whole.

use std::time::Instant;

use super::super::window::{InitTrack, Part, Targets};
use super::*;

/// Without anything that was rendered before.
fn render(window: &Window, rendition: Rendition, form: Form) -> String {
    super::render(window, rendition, form, &mut OldText::default())
}

fn window(segments: u64, open_parts: u64) -> Window {
    let targets = Targets {
        part_ms: 200,
        segment_ms: 4_000,
        window_ms: 60_000,
    };
    let track = |codec: &str, timescale| InitTrack {
        codec: codec.into(),
        width: 0,
        height: 0,
        channels: 0,
        timescale,
        bytes: None,
    };
    let inits = [Some(track("avc1.64001f", 1_000)), Some(track("mp4a.40.2", 48_000))];
    let part = |ticks, independent| Part {
        ticks,
        size: 100,
        samples: 5,
        independent,
        bytes: None,
    };
    let now = Instant::now();
    let mut window = Window::new();
    window.restart(1_700_000_000_123, now);
    for index in 0..=segments {
        let segment = Segment {
            number: 1_700_000_000 + index,
            discontinuity: u64::from(index >= 2),
            media_time_ms: index as i64 * 1_000,
            program_ms: 1_700_000_000_123 + index * 1_000,
            run: Default::default(),
            duration_ms: 0,
            init: InitId {
                epoch: 1_700_000_000_123,
                version: 2,
            },
            tracks: [None, None],
            progress: Progress::Open,
        };
        window.open(segment, inits.clone(), targets, now);
        let parts = if index == segments { open_parts } else { 5 };
        for number in 0..parts {
            window.push(
                Rendition::Video,
                1_000,
                index * 1_000 + number * 200,
                part(200, number == 0),
            );
            window.push(
                Rendition::Audio,
                48_000,
                index * 48_000 + number * 9_216,
                part(9_216, true),
            );
        }
        if index < segments {
            window.close(Some(1_000), true, now);
        }
    }
    window.settle();
    window
}

#[test]
fn a_low_latency_playlist_has_parts_hints_and_reports() {
    let text = render(&window(2, 2), Rendition::Video, Form::Low);
    let expected = "\
#EXTM3U
#EXT-X-VERSION:9
#EXT-X-TARGETDURATION:4
#EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES,CAN-SKIP-UNTIL=24,HOLD-BACK=12,PART-HOLD-BACK=0.630
#EXT-X-PART-INF:PART-TARGET=0.210
#EXT-X-INDEPENDENT-SEGMENTS
#EXT-X-MEDIA-SEQUENCE:1700000000
#EXT-X-DISCONTINUITY-SEQUENCE:28928
#EXT-X-MAP:URI=\"video-init-1700000000123-2.mp4\"
#EXT-X-PROGRAM-DATE-TIME:2023-11-14T22:13:20.123Z
#EXT-X-PART:DURATION=0.20000,URI=\"video-1700000000.0.m4s\",INDEPENDENT=YES
#EXT-X-PART:DURATION=0.20000,URI=\"video-1700000000.1.m4s\"
#EXT-X-PART:DURATION=0.20000,URI=\"video-1700000000.2.m4s\"
#EXT-X-PART:DURATION=0.20000,URI=\"video-1700000000.3.m4s\"
#EXT-X-PART:DURATION=0.20000,URI=\"video-1700000000.4.m4s\"
#EXTINF:1.00000,
video-1700000000.m4s
#EXT-X-PROGRAM-DATE-TIME:2023-11-14T22:13:21.123Z
#EXT-X-PART:DURATION=0.20000,URI=\"video-1700000001.0.m4s\",INDEPENDENT=YES
#EXT-X-PART:DURATION=0.20000,URI=\"video-1700000001.1.m4s\"
#EXT-X-PART:DURATION=0.20000,URI=\"video-1700000001.2.m4s\"
#EXT-X-PART:DURATION=0.20000,URI=\"video-1700000001.3.m4s\"
#EXT-X-PART:DURATION=0.20000,URI=\"video-1700000001.4.m4s\"
#EXTINF:1.00000,
video-1700000001.m4s
#EXT-X-DISCONTINUITY
#EXT-X-PROGRAM-DATE-TIME:2023-11-14T22:13:22.123Z
#EXT-X-PART:DURATION=0.20000,URI=\"video-1700000002.0.m4s\",INDEPENDENT=YES
#EXT-X-PART:DURATION=0.20000,URI=\"video-1700000002.1.m4s\"
#EXT-X-PRELOAD-HINT:TYPE=PART,URI=\"video-1700000002.2.m4s\"
#EXT-X-RENDITION-REPORT:URI=\"audio.m3u8\",LAST-MSN=1700000002,LAST-PART=1
";
    assert_eq!(text, expected);
}

#[test]
fn a_plain_playlist_has_whole_segments_only() {
    let text = render(&window(2, 2), Rendition::Audio, Form::Plain);
    for tag in [
        "EXT-X-PART",
        "EXT-X-SERVER-CONTROL",
        "EXT-X-PRELOAD-HINT",
        "EXT-X-RENDITION-REPORT",
    ] {
        assert!(!text.contains(tag), "{tag}");
    }
    assert_eq!(text.matches("#EXTINF:0.96000,\naudio-").count(), 2);
    assert!(!text.contains("1700000002"), "{text}");
}

#[test]
fn a_delta_update_leaves_out_what_is_older_than_six_target_durations() {
    let (full, delta) = (
        render(&window(40, 1), Rendition::Video, Form::Low),
        render(&window(40, 1), Rendition::Video, Form::Delta),
    );
    assert!(delta.contains("#EXT-X-MEDIA-SEQUENCE:1700000000\n"));
    assert!(delta.contains("#EXT-X-SKIP:SKIPPED-SEGMENTS=16\n"), "{delta}");
    let rest = &delta[delta.find("SKIPPED-SEGMENTS=16\n").unwrap() + "SKIPPED-SEGMENTS=16\n".len()..];
    assert!(full.ends_with(rest));
    assert_eq!(rest.matches("#EXTINF").count(), 24);
}

#[test]
fn an_ended_playlist_says_so_and_promises_nothing() {
    let mut window = window(2, 0);
    window.close(None, true, Instant::now());
    window.end();
    let text = render(&window, Rendition::Video, Form::Low);
    assert!(text.ends_with("video-1700000002.m4s\n#EXT-X-ENDLIST\n"), "{text}");
    assert!(!text.contains("PRELOAD-HINT"));
}

#[test]
fn decimals_are_exact_enough() {
    assert_eq!(exact(1_024, 44_100), "0.02322");
    assert_eq!(exact(999, 1_000), "0.99900");
    assert_eq!(seconds(12_005), "12.005");
}
