//! The origin's clock: what it says before the first unit of each segment, so that every number on every node derives
//! from one place.

use serde::{Deserialize, Deserializer, Serialize};

use crate::names::StreamName;

/// A clock message. As JSON it is sent to WebSocket players (`type: clock`) and, in an AMF0 data message named
/// [`Clock::MESSAGE`], to relays.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Clock {
    /// Version of this message, 1.
    pub version: u8,
    /// Incarnation of the stream: Unix milliseconds at which the origin first took it in.
    pub epoch: u64,
    /// Number of the segment that begins here; the first one of an epoch is the wall clock in seconds.
    pub segment: u64,
    /// Count of discontinuities of the timeline within the epoch.
    pub discontinuity: u64,
    /// Decoding time of the segment's first unit, milliseconds, unwrapped.
    pub media_time_ms: i64,
    /// When the origin took that unit in, Unix milliseconds.
    pub wall_ms: u64,
    /// Target duration of a part, milliseconds.
    pub part_target_ms: u32,
    /// Longest duration of a segment, milliseconds: the target duration of playlists.
    pub segment_target_ms: u32,
    /// Which decoder configuration is in force ([`super::track::Tracks::version`]).
    pub init_version: u32,
    /// Measured bit rate, bits per second, 0 until measured.
    pub bandwidth_bps: u64,
    /// Count of media units of the epoch before this message: a difference at a relay is a loss.
    pub units: u64,
    /// When the segment's first unit was taken in, Unix milliseconds, at the pace of the media: the jitter of arrivals, which
    /// `wall_ms` has, is left out, so that dates in playlists agree with durations.
    #[serde(default)]
    pub program_ms: u64,
    /// How much of the stream can be played back, milliseconds of media.
    #[serde(default)]
    pub window_ms: u64,
    /// Where the next audio frame begins, in samples, if it follows the one before without a gap; none before the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audio_next: Option<u64>,
    /// Of which run the segment is.
    #[serde(default)]
    pub run: Run,
    /// The group that the stream is a quality of: members of one are listed together. None for a stream that is by itself.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "name_or_none")]
    pub group: Option<StreamName>,
}

/// What is no name is left out, rather than the whole message.
fn name_or_none<'de, D: Deserializer<'de>>(from: D) -> Result<Option<StreamName>, D::Error> {
    let text: Option<String> = Option::deserialize(from)?;
    Ok(text.and_then(|text| text.parse().ok()))
}

/// Where a run of segments begins: one after the other without a discontinuity, and with dates that go with the media. What needs
/// one line between media time and wall clock for all of them takes this one: the periods of MPEG-DASH.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Run {
    /// Decoding time of its first unit, milliseconds.
    pub media_time_ms: i64,
    /// When that was taken in, Unix milliseconds; 0 where the origin does not say.
    pub program_ms: u64,
}

impl Run {
    /// Dates come nearer to the wall clock where the publisher's clock drifts: by this much within a run, milliseconds.
    const DRIFT_MS: i64 = 500;

    /// The run of a segment that begins at `media_time_ms` with the date `program_ms`, where `before` is the run of the segment
    /// that it goes on from.
    pub fn of(before: Option<Self>, media_time_ms: i64, program_ms: u64) -> Self {
        let begins = Self {
            media_time_ms,
            program_ms,
        };
        before
            .filter(|run| {
                run.program_ms != 0 && (program_ms as i64 - run.date_ms(media_time_ms)).abs() <= Self::DRIFT_MS
            })
            .unwrap_or(begins)
    }

    /// The date of a media time within the run, Unix milliseconds.
    pub fn date_ms(self, media_time_ms: i64) -> i64 {
        (self.program_ms as i64).saturating_add(media_time_ms.saturating_sub(self.media_time_ms))
    }
}

impl Clock {
    /// Name of the AMF0 data message that carries a clock to relays.
    pub const MESSAGE: &str = "onHeadwaterClock";

    /// Age of a unit with decoding time `dts` at wall time `now_ms`, by the origin's clock; 0 if it is ahead.
    pub fn lag_ms(&self, dts: i64, now_ms: u64) -> u64 {
        let taken_in = self.wall_ms as i64 + (dts - self.media_time_ms);
        (now_ms as i64).saturating_sub(taken_in).max(0) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lag_is_the_age_by_the_origins_clock() {
        let clock = Clock {
            version: 1,
            epoch: 1,
            segment: 1,
            discontinuity: 0,
            media_time_ms: 5_000,
            wall_ms: 1_000_000,
            part_target_ms: 200,
            segment_target_ms: 1_000,
            init_version: 0,
            bandwidth_bps: 0,
            units: 0,
            program_ms: 0,
            window_ms: 0,
            audio_next: None,
            run: Run::default(),
            group: None,
        };
        assert_eq!(clock.lag_ms(5_400, 1_000_450), 50);
        assert_eq!(clock.lag_ms(5_400, 1_000_000), 0, "a unit from the future has no age");
    }

    #[test]
    fn a_run_goes_on_while_dates_go_with_the_media() {
        let run = Run::of(None, 5_000, 1_000_000);
        assert_eq!(
            run,
            Run {
                media_time_ms: 5_000,
                program_ms: 1_000_000
            }
        );
        assert_eq!(Run::of(Some(run), 9_000, 1_004_000), run);
        assert_eq!(Run::of(Some(run), 9_000, 1_004_400), run, "a little off");
        let jumped = Run::of(Some(run), 9_000, 1_007_000);
        assert_eq!(
            jumped,
            Run {
                media_time_ms: 9_000,
                program_ms: 1_007_000
            }
        );
        assert_eq!(
            Run::of(Some(Run::default()), 9_000, 1_004_000).program_ms,
            1_004_000,
            "of an origin that says none"
        );
    }
}
