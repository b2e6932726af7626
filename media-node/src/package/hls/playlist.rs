//! Text of a rendition's media playlist (RFC 8216bis §4.4): a total function of the window,
//! and of the text of its old segments, which is kept.

mod old;

use std::collections::vec_deque;
use std::fmt::Write;

use jiff::Timestamp;

pub use old::OldText;

use super::segmenter::PART_SLACK_MS;
use super::window::{InitId, Progress, Rendition, Segment, Window};

/// Which form of a playlist.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Form {
    /// With parts, for low latency.
    Low,
    /// As [`Form::Low`], without the segments that the player knows already: a delta update (§6.2.5.1).
    Delta,
    /// Segments only, for players that know no parts.
    Plain,
}

/// Name of the file that holds headers.
pub fn init_name(rendition: Rendition, id: InitId) -> String {
    format!("{}-init-{}-{}.mp4", rendition.name(), id.epoch, id.version)
}

/// Name of a segment.
pub fn segment_name(rendition: Rendition, number: u64) -> String {
    format!("{}-{number}.m4s", rendition.name())
}

/// Name of a part.
pub fn part_name(rendition: Rendition, number: u64, part: usize) -> String {
    format!("{}-{number}.{part}.m4s", rendition.name())
}

/// Name of a media playlist.
pub fn playlist_name(rendition: Rendition, plain: bool) -> String {
    let prefix = if plain { "plain-" } else { "" };
    format!("{prefix}{}.m3u8", rendition.name())
}

/// The target duration in seconds.
pub fn target_seconds(window: &Window) -> u64 {
    u64::from(window.targets().segment_ms).div_ceil(1_000).max(1)
}

/// The playlist. `old` keeps the text of segments of which nothing changes any more, so that the next one costs only what is new.
pub fn render(window: &Window, rendition: Rendition, form: Form, old: &mut OldText) -> String {
    let target = target_seconds(window);
    let shown = window.shown();
    old.follow(window, rendition);
    let skipped = match form {
        Form::Delta => first_within(shown.clone(), rendition, target, SKIP_TARGETS),
        Form::Low | Form::Plain => 0,
    };
    let kept = old.text_from(skipped);
    let mut text = String::with_capacity(512 + kept.len() + 320 * (shown.len() - skipped.max(old.len())));
    header(&mut text, window, rendition, form, old);
    if skipped > 0 {
        let _ = writeln!(text, "#EXT-X-SKIP:SKIPPED-SEGMENTS={skipped}");
    }
    let complete = form == Form::Plain || window.ended();
    let parts_from = match form {
        Form::Plain => shown.len(),
        // RFC 8216bis §6.2.2
        Form::Low | Form::Delta => first_within(shown.clone(), rendition, target, PART_TARGETS),
    };
    text.push_str(kept);
    let mut before = skipped
        .max(old.len())
        .checked_sub(1)
        .and_then(|index| shown.clone().nth(index));
    for (index, segment) in shown.clone().enumerate().skip(skipped.max(old.len())) {
        if segment.progress != Progress::Open || !complete {
            push_segment(&mut text, rendition, segment, before, index >= parts_from);
        }
        before = Some(segment);
    }
    if window.ended() {
        text.push_str("#EXT-X-ENDLIST\n");
    } else if form != Form::Plain {
        tail(&mut text, window, rendition, shown.clone().next_back());
    }
    text
}

fn header(text: &mut String, window: &Window, rendition: Rendition, form: Form, old: &OldText) {
    let target = target_seconds(window);
    let young = window.shown().skip(old.len());
    let mut whole = young.clone().filter(|segment| segment.progress != Progress::Open);
    let gaps = old.gaps() || whole.any(|segment| segment.track(rendition).is_none());
    // RFC 8216bis §8: EXT-X-SKIP, EXT-X-GAP, EXT-X-MAP.
    let version = match form {
        Form::Low | Form::Delta => 9,
        Form::Plain if gaps => 8,
        Form::Plain => 6,
    };
    let _ = writeln!(
        text,
        "#EXTM3U\n#EXT-X-VERSION:{version}\n#EXT-X-TARGETDURATION:{target}"
    );
    if form != Form::Plain {
        let part = part_target_ms(window, young.clone());
        let _ = writeln!(
            text,
            "#EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES,CAN-SKIP-UNTIL={},HOLD-BACK={},PART-HOLD-BACK={}\n\
             #EXT-X-PART-INF:PART-TARGET={}",
            target * SKIP_TARGETS,
            target * 3,
            seconds(part * 3),
            seconds(part),
        );
    }
    if old.independent() && young.clone().all(|segment| independent(segment, rendition)) {
        text.push_str("#EXT-X-INDEPENDENT-SEGMENTS\n");
    }
    let first = window.shown().next();
    let sequence = first.map_or(0, |segment| segment.number);
    let discontinuity = first.map_or(0, discontinuity);
    let _ = writeln!(
        text,
        "#EXT-X-MEDIA-SEQUENCE:{sequence}\n#EXT-X-DISCONTINUITY-SEQUENCE:{discontinuity}"
    );
}

/// Decoding can begin with it, as far as it has begun.
fn independent(segment: &Segment, rendition: Rendition) -> bool {
    let track = segment.track(rendition);
    track.is_none_or(|track| track.size() == 0 || track.independent())
}

/// Segments older than this many target durations from the end are left out of delta updates (§4.4.3.8: at least six).
const SKIP_TARGETS: u64 = 6;
/// Parts are listed of segments that are at most this many target durations from the end.
const PART_TARGETS: u64 = 3;
/// Durations are written to this part of a second.
const UNITS: u64 = 100_000;

/// Seconds after which the discontinuity sequence numbers of epochs begin anew: 9 hours.
const DISCONTINUITY_CYCLE_S: u64 = 1 << 15;

/// Its discontinuity sequence number. Another epoch has another one, with nothing stored, and a higher one unless the cycle ends
/// between both (1 of 3,000 restarts that take 10 s), where RFC 8216bis §6.2.2 asks for never. It must stay small: hls.js walks an
/// array of that length at each playlist, and seconds since 1970 hung it for minutes; ExoPlayer takes no more than 31 bits.
pub fn discontinuity(segment: &Segment) -> u64 {
    segment.init.epoch / 1_000 % DISCONTINUITY_CYCLE_S + segment.discontinuity
}

/// The part target that is announced: it covers every part shown with some room, so that it does not change with rounding.
fn part_target_ms<'a>(window: &Window, young: impl Iterator<Item = &'a Segment>) -> u64 {
    let tracks = young.flat_map(|segment| segment.tracks.iter().flatten());
    let longest = tracks
        .flat_map(|track| {
            track
                .parts
                .iter()
                .map(|part| (part.ticks * 1_000).div_ceil(u64::from(track.timescale.max(1))))
        })
        .max();
    let announced = u64::from(window.targets().part_ms);
    (longest.unwrap_or(announced) + u64::from(PART_SLACK_MS)).next_multiple_of(10)
}

/// The first segment that is at most `targets` target durations from the end of the playlist, as its own durations say it.
fn first_within(shown: vec_deque::Iter<'_, Segment>, rendition: Rendition, target: u64, targets: u64) -> usize {
    let mut left = target * targets * UNITS;
    for (index, segment) in shown.enumerate().rev() {
        let duration = match segment.track(rendition) {
            Some(track) => units(track.ticks(), track.timescale),
            None => segment.duration_ms * UNITS / 1_000,
        };
        match left.checked_sub(duration) {
            Some(rest) => left = rest,
            None => return index,
        }
    }
    0
}

fn push_segment(
    text: &mut String,
    rendition: Rendition,
    segment: &Segment,
    before: Option<&Segment>,
    with_parts: bool,
) {
    let track = segment.track(rendition);
    if segment.progress == Progress::Open && track.is_none_or(|track| track.parts.is_empty()) {
        return;
    }
    if before.is_some_and(|before| discontinuity(before) != discontinuity(segment)) {
        text.push_str("#EXT-X-DISCONTINUITY\n");
    }
    if before.is_none_or(|before| before.init != segment.init) {
        let _ = writeln!(text, "#EXT-X-MAP:URI=\"{}\"", init_name(rendition, segment.init));
    }
    let offset = track.map_or(0, |track| track.begin_ms() - segment.media_time_ms);
    let date = Timestamp::from_millisecond(segment.program_ms as i64 + offset).unwrap_or_default();
    let _ = writeln!(text, "#EXT-X-PROGRAM-DATE-TIME:{date:.3}");
    if let Some(track) = track.filter(|_| with_parts) {
        for (index, part) in track.parts.iter().enumerate() {
            let independent = if part.independent { ",INDEPENDENT=YES" } else { "" };
            let _ = writeln!(
                text,
                "#EXT-X-PART:DURATION={},URI=\"{}\"{independent}",
                exact(part.ticks, track.timescale),
                part_name(rendition, segment.number, index),
            );
        }
    }
    if segment.progress == Progress::Open {
        return;
    }
    let duration = match track {
        Some(track) => exact(track.ticks(), track.timescale),
        None => seconds(segment.duration_ms),
    };
    if track.is_none() {
        text.push_str("#EXT-X-GAP\n");
    }
    let _ = writeln!(text, "#EXTINF:{duration},\n{}", segment_name(rendition, segment.number));
}

/// What comes next, and how far the other rendition is.
fn tail(text: &mut String, window: &Window, rendition: Rendition, last: Option<&Segment>) {
    if let Some(last) = last {
        let (number, part) = match last.progress {
            Progress::Open => (last.number, last.track(rendition).map_or(0, |track| track.parts.len())),
            _ => (last.number + 1, 0),
        };
        let _ = writeln!(
            text,
            "#EXT-X-PRELOAD-HINT:TYPE=PART,URI=\"{}\"",
            part_name(rendition, number, part)
        );
    }
    for other in Rendition::ALL.into_iter().filter(|other| *other != rendition) {
        report(text, window, other, "");
    }
}

/// How far the playlist of a rendition is, for another one that stands in the same multivariant playlist (RFC 8216bis §4.4.5.4);
/// `folder` is the way to it.
pub fn report(text: &mut String, window: &Window, rendition: Rendition, folder: &str) {
    let has = window
        .newest_inits()
        .is_some_and(|inits| inits[rendition.index()].is_some());
    let Some(newest) = window.newest(rendition).filter(|_| has) else {
        return;
    };
    let parts = newest.track(rendition).map_or(0, |track| track.parts.len());
    let _ = write!(
        text,
        "#EXT-X-RENDITION-REPORT:URI=\"{folder}{}\",LAST-MSN={}",
        playlist_name(rendition, false),
        newest.number
    );
    if parts > 0 {
        let _ = write!(text, ",LAST-PART={}", parts - 1);
    }
    text.push('\n');
}

/// Milliseconds as decimal seconds.
fn seconds(ms: u64) -> String {
    format!("{}.{:03}", ms / 1_000, ms % 1_000)
}

/// Ticks as decimal seconds.
fn exact(ticks: u64, timescale: u32) -> String {
    let units = units(ticks, timescale);
    format!("{}.{:05}", units / UNITS, units % UNITS)
}

/// Ticks in [`UNITS`], rounded to the nearest.
fn units(ticks: u64, timescale: u32) -> u64 {
    let scale = u64::from(timescale.max(1));
    (ticks * UNITS + scale / 2) / scale
}

#[cfg(test)]
mod tests;
