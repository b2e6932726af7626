//! What a manifest says of one stream: its window in stretches, each of which has one line between media time and wall clock
//! and one set of headers.

use crate::media::clock::Run;
use crate::package::hls::multivariant;
use crate::package::hls::window::{InitId, InitTrack, Progress, Rendition, Segment, Targets, Track, Window};

/// What a manifest says of one stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outline {
    /// Where its files are, with a slash at the end: `cam1/`.
    pub folder: String,
    /// What the origin announces.
    pub targets: Targets,
    /// How much is listed at most, milliseconds.
    pub depth_ms: u64,
    /// No more will come.
    pub ended: bool,
    /// The segment that is being made, or the next one, goes on with the last stretch.
    pub goes_on: bool,
    /// Oldest first; none without a complete segment.
    pub stretches: Vec<Stretch>,
}

/// Segments between which nothing changes: a Period of the stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stretch {
    /// What tells it from others, for as long as any of it is shown.
    pub id: String,
    /// Where it begins, also where that is not shown any more.
    pub run: Run,
    /// Where its last segment ends, Unix milliseconds.
    pub end_ms: i64,
    /// Video and audio.
    pub lines: [Option<Line>; 2],
}

/// One rendition of a stretch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Headers.
    pub init: InitTrack,
    /// Which.
    pub init_id: InitId,
    /// Number of the first segment; the others follow.
    pub first: u64,
    /// Segments, oldest first.
    pub spans: Vec<Span>,
    /// How long the segment that is being made will be, as far as that can be told.
    pub expected: u64,
    /// Highest bit rate of a segment.
    pub peak_bps: u64,
    /// Frames per 1,000 s.
    pub frames_per_1000s: u64,
    /// Every segment begins with a frame at which decoding can begin.
    pub independent: bool,
}

/// When a segment is, in its timescale.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// Media time.
    pub at: u64,
    /// Duration.
    pub ticks: u64,
    /// It is lost for good: its number stays.
    pub lost: bool,
}

/// What decides the text of a stream's manifest, next to the folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Version {
    epoch: u64,
    first: u64,
    last: u64,
    goes_on: bool,
    ended: bool,
}

/// Players read the whole manifest every second: of a live stream with a long past it lists no more than this, milliseconds.
pub const MOST_MS: u64 = 300_000;

/// What changes where a stretch ends.
fn kin(segment: &Segment) -> (InitId, u64, Run) {
    (segment.init, segment.discontinuity, segment.run)
}

fn goes_on(window: &Window) -> bool {
    let newest = window.shown().next_back();
    let last = window.whole().next_back();
    match (newest, last) {
        (Some(newest), Some(last)) => !window.ended() && last.progress == Progress::Whole && kin(newest) == kin(last),
        _ => false,
    }
}

impl Version {
    /// Of this state of a window.
    pub fn of(window: &Window) -> Self {
        let number = |segment: Option<&Segment>| segment.map_or(0, |segment| segment.number);
        Self {
            epoch: window.epoch(),
            first: number(window.shown().next()),
            last: number(window.whole().next_back()),
            goes_on: goes_on(window),
            ended: window.ended(),
        }
    }
}

impl Outline {
    /// Of its picture, pixels; 0 for sound alone.
    pub fn height(&self) -> u32 {
        let newest = self.stretches.last().and_then(|stretch| stretch.lines[0].as_ref());
        newest.map_or(0, |line| line.init.height)
    }

    /// Takes it from a window.
    pub fn of(window: &Window, folder: String) -> Self {
        let depth_ms = match window.ended() {
            true => u64::MAX,
            false => window.targets().window_ms.min(MOST_MS),
        };
        let mut newer = 0;
        let listed = window.whole().rev().take_while(|segment| {
            let within = newer < depth_ms;
            newer += segment.duration_ms;
            within
        });
        let mut whole: Vec<&Segment> = listed.collect();
        whole.reverse();
        let stretches = whole
            .chunk_by(|a, b| kin(a) == kin(b))
            .filter_map(|segments| Stretch::of(window, segments))
            .collect();
        let stretches = rising(stretches);
        Self {
            folder,
            targets: window.targets(),
            depth_ms,
            ended: window.ended(),
            goes_on: goes_on(window),
            stretches,
        }
    }
}

/// Without those that a later one has overtaken, as where the origin's clock was set back: Periods begin one after the other.
fn rising(mut stretches: Vec<Stretch>) -> Vec<Stretch> {
    let mut next = u64::MAX;
    stretches.reverse();
    stretches.retain(|stretch| {
        let before = stretch.run.program_ms < next;
        next = next.min(stretch.run.program_ms);
        before
    });
    stretches.reverse();
    stretches
}

impl Stretch {
    /// None if nothing of it is there, as of a lost segment where something changes.
    fn of(window: &Window, segments: &[&Segment]) -> Option<Self> {
        let (first, last) = (segments.first()?, segments.last()?);
        let run = match first.run.program_ms {
            0 => Run {
                media_time_ms: first.media_time_ms,
                program_ms: first.program_ms,
            },
            _ => first.run,
        };
        let inits = window.inits(first.init)?;
        let lines = Rendition::ALL.map(|rendition| {
            let init = inits[rendition.index()].as_ref()?;
            Line::of(init, first.init, rendition, segments)
        });
        if lines.iter().all(Option::is_none) {
            return None;
        }
        let (epoch, version) = (first.init.epoch, first.init.version);
        Some(Self {
            // Not of what is shown of it, which moves.
            id: format!("{epoch}-{}-{version}-{}", first.discontinuity, first.run.media_time_ms),
            run,
            end_ms: run.date_ms(last.media_time_ms.saturating_add_unsigned(last.duration_ms)),
            lines,
        })
    }
}

/// As long as the shortest of the last segments, or, where few tell, as the shortest that there are; and one frame longer, as those
/// of sound differ by one. A player that expects too little asks for the same segment twice, one that expects too much leaves one
/// out, which is worse.
fn expected(segments: &[&Segment], rendition: Rendition) -> u64 {
    let tracks = segments.iter().rev().filter_map(|segment| segment.track(rendition));
    let last: Vec<&Track> = tracks.take(LAST_SEGMENTS).collect();
    let Some(shortest) = last.iter().min_by_key(|track| track.ticks()) else {
        return 0;
    };
    let least = u64::from(shortest.timescale) * LEAST_MS / 1_000;
    let ticks = match last.len() {
        0..FEW_SEGMENTS => shortest.ticks().min(least),
        _ => shortest.ticks(),
    };
    ticks + shortest.ticks().div_ceil(shortest.samples().max(1))
}

/// How many segments tell how long the next one will be, at most, and where they are few.
const LAST_SEGMENTS: usize = 8;
const FEW_SEGMENTS: usize = 4;
/// The shortest segment that an origin cuts, milliseconds, but for what ends early: numbers must not overtake the clock.
const LEAST_MS: u64 = 1_000;

impl Line {
    fn of(init: &InitTrack, init_id: InitId, rendition: Rendition, segments: &[&Segment]) -> Option<Self> {
        let has = |segment: &&Segment| segment.progress == Progress::Whole && segment.track(rendition).is_some();
        let begin = segments.iter().position(has)?;
        let end = segments.iter().rposition(has)? + 1;
        let segments = &segments[begin..end];
        let tracks = || segments.iter().filter_map(|segment| segment.track(rendition));
        let mut spans: Vec<Span> = Vec::with_capacity(segments.len());
        for segment in segments {
            match segment.track(rendition) {
                Some(track) => {
                    // What is lost lasts until something is there again.
                    if let Some(before) = spans.last_mut().filter(|before| before.lost) {
                        before.ticks = track.begin.saturating_sub(before.at);
                    }
                    spans.push(Span {
                        at: track.begin,
                        ticks: track.ticks(),
                        lost: false,
                    });
                }
                None => {
                    let ticks = segment.duration_ms * u64::from(init.timescale) / 1_000;
                    let at = spans.last().map_or(0, |before| before.at + before.ticks);
                    spans.push(Span { at, ticks, lost: true });
                }
            }
        }
        let rate = |track: &Track| track.size().saturating_mul(8_000) / track.ms().max(1);
        let (frames, ms) = tracks().fold((0, 0), |(frames, ms), track| {
            (frames + track.samples(), ms + track.ms())
        });
        Some(Self {
            init: init.clone(),
            init_id,
            first: segments[0].number,
            spans,
            expected: expected(segments, rendition),
            peak_bps: tracks().map(rate).max().unwrap_or(0),
            frames_per_1000s: multivariant::usual(frames * 1_000_000 / ms.max(1)),
            independent: tracks().all(Track::independent),
        })
    }

    /// Where what is being made begins; none if that can't be told.
    pub fn end(&self) -> Option<u64> {
        let last = self.spans.last().filter(|last| !last.lost)?;
        Some(last.at + last.ticks)
    }

    /// A media time in milliseconds, rounded down.
    pub fn ms(&self, ticks: u64) -> i64 {
        (u128::from(ticks) * 1_000 / u128::from(self.init.timescale.max(1))) as i64
    }

    /// Without the segments that begin outside of these dates; none if none is left.
    pub fn within(&self, run: Run, from_ms: i64, to_ms: i64) -> Option<Self> {
        let inside = |span: &Span| {
            let date = run.date_ms(self.ms(span.at));
            date >= from_ms && date < to_ms
        };
        let begin = self.spans.iter().position(|span| inside(span) && !span.lost)?;
        let end = self.spans.iter().rposition(inside)? + 1;
        Some(Self {
            first: self.first + begin as u64,
            spans: self.spans[begin..end].to_vec(),
            ..self.clone()
        })
    }
}
