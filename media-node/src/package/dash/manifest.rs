//! Text of a manifest (MPD, ISO/IEC 23009-1 §5.3): a total function of outlines.

use std::fmt::Write;

use jiff::Timestamp;

use super::Form;
use super::outline::{Line, Outline, Span, Stretch};
use crate::media::clock::Run;
use crate::package::hls::playlist::{init_name, segment_name};
use crate::package::hls::window::{InitTrack, Rendition};

/// Seconds after which a player looks for what is new, at least: what a player knows is good for a segment.
const UPDATE_S: u32 = 1;
/// A player that asks for what is being made stays this many parts behind, and [`NETWORK_MS`].
const PARTS_BEHIND: u64 = 3;
/// What the way to a player, and its own work, may take, milliseconds.
const NETWORK_MS: u64 = 1_000;
/// One that asks for what is complete stays this many of the longest segments behind, as of HLS.
const SEGMENTS_BEHIND: u64 = 3;
/// A player may play this much faster or slower to keep its distance.
const RATES: &str = "min=\"0.96\" max=\"1.04\"";

/// A Period: the lead's stretch, with what the other streams have of that time.
struct Period<'a> {
    id: &'a str,
    start_ms: i64,
    /// Where the next one begins, or the stream ended.
    end_ms: Option<i64>,
    /// The last one, which goes on.
    open: bool,
    /// How long parts are at most, milliseconds.
    part_ms: u32,
    /// Of each stream that has something of it: folder, line between media time and wall clock, renditions.
    shares: Vec<Share<'a>>,
}

struct Share<'a> {
    folder: &'a str,
    run: Run,
    lines: [Option<Line>; 2],
}

/// The manifest of these streams, the best one first: its stretches are the Periods, and in each the streams are
/// Representations to choose from, all with the audio of the first one that has any. None where nothing is complete so far.
/// `clock` is where the node says what time it is, from where the manifest is.
pub fn render(streams: &[Outline], form: Form, clock: &str) -> Option<String> {
    let lead = streams.first()?;
    let periods = periods(streams, form);
    let (first, last) = (periods.first()?, periods.last()?);
    let mut text = String::with_capacity(4_096);
    let low = form == Form::Low && !lead.ended;
    text.push_str("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<MPD xmlns=\"urn:mpeg:dash:schema:mpd:2011\" profiles=\"urn:mpeg:dash:profile:isoff-live:2011");
    let targets = lead.targets;
    let longest = seconds(targets.segment_ms.into());
    let end_ms = lead.stretches.last()?.end_ms;
    let _ = match lead.ended {
        // What was live keeps its times, so that who has watched it goes on to the end.
        true => write!(
            text,
            "\" type=\"static\" mediaPresentationDuration=\"{}\" minBufferTime=\"PT1S\" maxSegmentDuration=\"{longest}\"",
            seconds(last.end_ms.unwrap_or(first.start_ms))
        ),
        false => write!(
            text,
            "\" type=\"dynamic\" availabilityStartTime=\"1970-01-01T00:00:00Z\" publishTime=\"{}\" minimumUpdatePeriod=\"PT{UPDATE_S}S\" \
             timeShiftBufferDepth=\"{}\" suggestedPresentationDelay=\"{}\" minBufferTime=\"PT1S\" maxSegmentDuration=\"{longest}\"",
            date(end_ms),
            seconds(lead.depth_ms as i64),
            seconds(delay_ms(lead, form) as i64),
        ),
    };
    text.push_str(">\n");
    if low {
        let delay = delay_ms(lead, form);
        let _ = writeln!(
            text,
            "<ServiceDescription id=\"0\"><Latency target=\"{delay}\" min=\"{}\" max=\"{}\"/><PlaybackRate {RATES}/></ServiceDescription>",
            delay / 2,
            delay * 4,
        );
    }
    for period in &periods {
        push_period(&mut text, period);
    }
    if !lead.ended {
        let _ = writeln!(
            text,
            "<UTCTiming schemeIdUri=\"urn:mpeg:dash:utc:http-iso:2014\" value=\"{clock}\"/>"
        );
    }
    text.push_str("</MPD>\n");
    Some(text)
}

/// How far behind a player stays, milliseconds.
fn delay_ms(lead: &Outline, form: Form) -> u64 {
    match form {
        Form::Low => NETWORK_MS + PARTS_BEHIND * u64::from(lead.targets.part_ms),
        Form::Plain => SEGMENTS_BEHIND * u64::from(lead.targets.segment_ms),
    }
}

fn periods(streams: &[Outline], form: Form) -> Vec<Period<'_>> {
    let Some((lead, others)) = streams.split_first() else {
        return Vec::new();
    };
    let mut periods = Vec::with_capacity(lead.stretches.len());
    for (index, stretch) in lead.stretches.iter().enumerate() {
        let next = lead.stretches.get(index + 1);
        let to = next.map_or(i64::MAX, |next| next.run.program_ms as i64);
        let mut shares = vec![Share {
            folder: &lead.folder,
            run: stretch.run,
            lines: stretch.lines.clone(),
        }];
        shares.extend(
            others
                .iter()
                .filter_map(|other| share(other, stretch.run.program_ms as i64, to)),
        );
        // A Period begins when all of its streams have: their times are not negative then.
        let start_ms = shares
            .iter()
            .map(|share| share.run.program_ms as i64)
            .max()
            .unwrap_or(0);
        let ended = (next.is_none() && lead.ended).then_some(stretch.end_ms);
        periods.push(Period {
            id: &stretch.id,
            start_ms,
            end_ms: next.map(|next| next.run.program_ms as i64).or(ended),
            part_ms: lead.targets.part_ms,
            open: next.is_none() && lead.goes_on && form == Form::Low,
            shares,
        });
    }
    periods
}

/// What another stream has of a Period: of its stretches the one that has most of it.
fn share(other: &Outline, from: i64, to: i64) -> Option<Share<'_>> {
    let overlap = |stretch: &&Stretch| stretch.end_ms.min(to) - (stretch.run.program_ms as i64).max(from);
    let stretch = other
        .stretches
        .iter()
        .max_by_key(overlap)
        .filter(|best| overlap(best) > 0)?;
    // One that had begun before is cut off; one that the Period does not go on from is not gone on with.
    let lines = [0, 1].map(|index| stretch.lines[index].as_ref()?.within(stretch.run, i64::MIN, to));
    lines.iter().any(Option::is_some).then_some(Share {
        folder: &other.folder,
        run: stretch.run,
        lines,
    })
}

fn push_period(text: &mut String, period: &Period) {
    let _ = write!(
        text,
        "<Period id=\"{}\" start=\"{}\"",
        period.id,
        seconds(period.start_ms)
    );
    if let Some(end) = period.end_ms {
        let _ = write!(text, " duration=\"{}\"", seconds((end - period.start_ms).max(0)));
    }
    text.push_str(">\n");
    for rendition in Rendition::ALL {
        let mut shares = period
            .shares
            .iter()
            .filter_map(|share| Some((share, share.lines[rendition.index()].as_ref()?)));
        let shares: Vec<_> = match rendition {
            Rendition::Video => shares.collect(),
            Rendition::Audio => shares.next().into_iter().collect(),
        };
        if shares.is_empty() {
            continue;
        }
        let name = rendition.name();
        let sap = match shares.iter().all(|(_, line)| line.independent) {
            true => " startWithSAP=\"1\"",
            false => "",
        };
        let _ = writeln!(
            text,
            "<AdaptationSet id=\"{}\" contentType=\"{name}\" mimeType=\"{name}/mp4\" segmentAlignment=\"true\"{sap}>",
            rendition.index() + 1
        );
        for (share, line) in shares {
            push_representation(text, period, share, rendition, line);
        }
        text.push_str("</AdaptationSet>\n");
    }
    text.push_str("</Period>\n");
}

fn push_representation(text: &mut String, period: &Period, share: &Share, rendition: Rendition, line: &Line) {
    let init = &line.init;
    let _ = write!(
        text,
        "<Representation id=\"{}{}\" bandwidth=\"{}\" codecs=\"{}\"",
        share.folder,
        rendition.name(),
        line.peak_bps.max(1),
        init.codec
    );
    match rendition {
        Rendition::Video => {
            if init.width > 0 && init.height > 0 {
                let _ = write!(text, " width=\"{}\" height=\"{}\"", init.width, init.height);
            }
            if line.frames_per_1000s > 0 {
                let _ = write!(text, " frameRate=\"{}\"", ratio(line.frames_per_1000s));
            }
            text.push_str(">\n");
        }
        Rendition::Audio => {
            let _ = writeln!(
                text,
                " audioSamplingRate=\"{}\">\n<AudioChannelConfiguration schemeIdUri=\"urn:mpeg:dash:23003:3:audio_channel_configuration:2011\" value=\"{}\"/>",
                init.timescale,
                channel_configuration(init)
            );
        }
    }
    push_template(text, period, share, rendition, line);
    text.push_str("</Representation>\n");
}

/// Which speakers (ISO/IEC 23001-8 §8): AAC's eight are five in front, others' are three. 0 says nothing.
fn channel_configuration(init: &InitTrack) -> u32 {
    match init.channels {
        few @ 0..=6 => few.into(),
        7 => 11,
        8 if init.codec.starts_with("mp4a") => 7,
        8 => 12,
        _ => 0,
    }
}

fn push_template(text: &mut String, period: &Period, share: &Share, rendition: Rendition, line: &Line) {
    let timescale = u64::from(line.init.timescale.max(1));
    // Where the Period begins, in media time.
    let begin_ms = share.run.media_time_ms + (period.start_ms - share.run.program_ms as i64);
    let offset = u64::try_from(begin_ms).unwrap_or(0) * timescale / 1_000;
    let folder = share.folder;
    let media = segment_name(rendition, 0).replace("-0.", "-$Number$.");
    let _ = write!(
        text,
        "<SegmentTemplate timescale=\"{timescale}\" presentationTimeOffset=\"{offset}\" startNumber=\"{}\" initialization=\"{folder}{}\" media=\"{folder}{media}\"",
        line.first,
        init_name(rendition, line.init_id),
    );
    let growing = line.end().filter(|_| period.open && line.expected > 0);
    if growing.is_some() {
        let early = line.ms(line.expected) - i64::from(period.part_ms);
        let _ = write!(
            text,
            " availabilityTimeOffset=\"{}\" availabilityTimeComplete=\"false\"",
            decimal(early.max(0))
        );
    }
    text.push_str(">\n");
    if line.spans.iter().any(|span| span.lost) {
        text.push_str("<FailoverContent valid=\"false\">\n");
        for span in line.spans.iter().filter(|span| span.lost) {
            let _ = writeln!(text, "<FCS t=\"{}\" d=\"{}\"/>", span.at, span.ticks);
        }
        text.push_str("</FailoverContent>\n");
    }
    text.push_str("<SegmentTimeline>\n");
    push_timeline(text, &line.spans);
    // What comes is expected to be so long, until the next update (§5.3.9.6).
    if let Some(at) = growing {
        let _ = writeln!(text, "<S t=\"{at}\" d=\"{}\" r=\"-1\"/>", line.expected);
    }
    text.push_str("</SegmentTimeline>\n");
    text.push_str("</SegmentTemplate>\n");
}

fn push_timeline(text: &mut String, spans: &[Span]) {
    let mut expected = None;
    for same in spans.chunk_by(|a, b| a.ticks == b.ticks && a.at + a.ticks == b.at) {
        let Span { at, ticks, .. } = same[0];
        text.push_str("<S");
        if expected != Some(at) {
            let _ = write!(text, " t=\"{at}\"");
        }
        let _ = write!(text, " d=\"{ticks}\"");
        if same.len() > 1 {
            let _ = write!(text, " r=\"{}\"", same.len() - 1);
        }
        text.push_str("/>\n");
        expected = Some(at + ticks * same.len() as u64);
    }
}

/// Milliseconds as a duration (XML Schema).
fn seconds(ms: i64) -> String {
    format!("PT{}S", decimal(ms))
}

/// Milliseconds as decimal seconds.
fn decimal(ms: i64) -> String {
    format!("{}.{:03}", ms / 1_000, ms % 1_000)
}

fn date(ms: i64) -> String {
    let date = Timestamp::from_millisecond(ms).unwrap_or_default();
    format!("{date:.3}")
}

/// A frame rate as DASH writes it: whole, or by 1,001 where that is meant, or by 1,000.
fn ratio(frames_per_1000s: u64) -> String {
    let whole = frames_per_1000s.div_ceil(1_000);
    match frames_per_1000s {
        rate if rate % 1_000 == 0 => whole.to_string(),
        rate if (whole * 1_000_000 / 1_001).abs_diff(rate) <= 1 => format!("{}/1001", whole * 1_000),
        rate => format!("{rate}/1000"),
    }
}
