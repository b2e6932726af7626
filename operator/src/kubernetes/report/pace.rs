//! When a status is written: what people wait for at once, figures seldom. Pure.
//!
//! Conditions and counts are written at once; how many streams each edge carries at most every [`TOGETHER`], since edges take them
//! one by one; figures (viewers, bandwidth, lag, bit rates) and new words of a condition at most every [`FIGURES`], and only when
//! one has moved by more than [`PERCENT`].

use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use crate::api::edge_pool::{EdgePoolStatus, EdgeStatus};
use crate::api::stream_origin::{StreamOriginStatus, StreamStatus};

/// Time between two writes for figures' sake.
pub const FIGURES: Duration = Duration::from_secs(10);
/// Time between two writes for the sake of how many streams edges carry.
pub const TOGETHER: Duration = Duration::from_secs(1);
/// A figure that has moved by no more than this is left as it stands.
const PERCENT: i64 = 5;
/// Lags below this are noise, in milliseconds.
const LAG_NOISE_MS: i64 = 250;

/// Whether to write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    /// What stands is right.
    No,
    /// Now.
    Now,
    /// An edge carries more streams or fewer: when [`TOGETHER`] has passed since the last write.
    WithOthers,
    /// A figure has moved: when [`FIGURES`] have passed since the last write.
    WithFigures,
}

/// Whether a pool's status is to be written.
pub fn pool(standing: Option<&EdgePoolStatus>, new: &EdgePoolStatus) -> Due {
    let Some(standing) = standing else { return Due::Now };
    if without_figures(standing) != without_figures(new) {
        return Due::Now;
    }
    let carried = |status: &EdgePoolStatus| status.edges.iter().map(|edge| edge.streams).collect::<Vec<_>>();
    if carried(standing) != carried(new) {
        return Due::WithOthers;
    }
    let sums = moved(standing.viewers, new.viewers) || moved(standing.outbound_mbps, new.outbound_mbps);
    let edges = standing.edges.iter().zip(&new.edges).any(|(standing, new)| {
        moved(standing.viewers, new.viewers)
            || moved(standing.outbound_mbps, new.outbound_mbps)
            || lag_moved(standing.lag_ms, new.lag_ms)
    });
    let load = moved(
        standing.utilization_percent.unwrap_or(0).into(),
        new.utilization_percent.unwrap_or(0).into(),
    );
    figures(sums || edges || load || standing.conditions != new.conditions)
}

/// Whether an origin's status is to be written.
pub fn origin(standing: Option<&StreamOriginStatus>, new: &StreamOriginStatus) -> Due {
    let Some(standing) = standing else { return Due::Now };
    let bare = |status: &StreamOriginStatus| StreamOriginStatus {
        streams: status.streams.iter().map(bare_stream).collect(),
        conditions: without_messages(&status.conditions),
        ..status.clone()
    };
    if bare(standing) != bare(new) {
        return Due::Now;
    }
    let rates = standing
        .streams
        .iter()
        .zip(&new.streams)
        .any(|(standing, new)| moved(standing.bitrate.unwrap_or(0), new.bitrate.unwrap_or(0)));
    figures(rates || standing.conditions != new.conditions)
}

fn figures(moved: bool) -> Due {
    match moved {
        true => Due::WithFigures,
        false => Due::No,
    }
}

fn without_figures(status: &EdgePoolStatus) -> EdgePoolStatus {
    EdgePoolStatus {
        viewers: 0,
        outbound_mbps: 0,
        utilization_percent: status.utilization_percent.map(|_| 0),
        conditions: without_messages(&status.conditions),
        edges: status.edges.iter().map(bare_edge).collect(),
        ..status.clone()
    }
}

/// A reason that stays may have its words change again and again, as those of a pull that fails here and there.
fn without_messages(conditions: &[Condition]) -> Vec<Condition> {
    let bare = |condition: &Condition| Condition {
        message: String::new(),
        ..condition.clone()
    };
    conditions.iter().map(bare).collect()
}

fn bare_edge(edge: &EdgeStatus) -> EdgeStatus {
    EdgeStatus {
        streams: 0,
        viewers: 0,
        outbound_mbps: 0,
        lag_ms: None,
        ..edge.clone()
    }
}

fn bare_stream(stream: &StreamStatus) -> StreamStatus {
    StreamStatus {
        bitrate: None,
        ..stream.clone()
    }
}

fn moved(standing: i64, new: i64) -> bool {
    let (difference, larger) = (standing.abs_diff(new), standing.max(new).unsigned_abs());
    u128::from(difference) * 100 > u128::from(larger) * PERCENT.unsigned_abs() as u128
}

fn lag_moved(standing: Option<i64>, new: Option<i64>) -> bool {
    let shown = |lag: Option<i64>| lag.unwrap_or(0).max(LAG_NOISE_MS);
    moved(shown(standing), shown(new))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(viewers: i64, ready: i32) -> EdgePoolStatus {
        EdgePoolStatus {
            viewers,
            ready_replicas: ready,
            edges: vec![EdgeStatus {
                name: "a".into(),
                viewers,
                lag_ms: Some(80),
                ..EdgeStatus::default()
            }],
            ..EdgePoolStatus::default()
        }
    }

    #[test]
    fn counts_are_written_at_once_and_figures_later() {
        let standing = status(100, 2);
        assert_eq!(pool(None, &standing), Due::Now);
        assert_eq!(pool(Some(&standing), &standing), Due::No);
        assert_eq!(pool(Some(&standing), &status(100, 1)), Due::Now);
        assert_eq!(pool(Some(&standing), &status(200, 2)), Due::WithFigures);
    }

    #[test]
    fn small_moves_are_not_written() {
        let standing = status(100, 2);
        assert_eq!(pool(Some(&standing), &status(105, 2)), Due::No);
        assert_eq!(pool(Some(&standing), &status(106, 2)), Due::WithFigures);
        assert_eq!(pool(Some(&status(0, 2)), &status(1, 2)), Due::WithFigures);
        let mut slower = standing.clone();
        slower.edges[0].lag_ms = Some(240);
        assert_eq!(pool(Some(&standing), &slower), Due::No, "noise");
        slower.edges[0].lag_ms = Some(900);
        assert_eq!(pool(Some(&standing), &slower), Due::WithFigures);
    }

    #[test]
    fn new_words_of_a_condition_wait_and_a_new_reason_does_not() {
        let with = |reason: &str, message: &str| EdgePoolStatus {
            conditions: vec![Condition {
                type_: "Replicating".into(),
                status: "False".into(),
                reason: reason.into(),
                message: message.into(),
                last_transition_time: k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(jiff::Timestamp::UNIX_EPOCH),
                observed_generation: None,
            }],
            ..EdgePoolStatus::default()
        };
        let standing = with("PullFailed", "a on web-1");
        assert_eq!(
            pool(Some(&standing), &with("PullFailed", "b on web-2")),
            Due::WithFigures
        );
        assert_eq!(pool(Some(&standing), &with("InStep", "a on web-1")), Due::Now);
    }

    #[test]
    fn an_edge_that_comes_is_written_at_once() {
        let standing = status(100, 2);
        let mut more = standing.clone();
        more.edges.push(EdgeStatus::default());
        assert_eq!(pool(Some(&standing), &more), Due::Now);
    }

    #[test]
    fn streams_that_an_edge_takes_one_by_one_are_written_together() {
        let standing = status(100, 2);
        let mut more = standing.clone();
        more.edges[0].streams += 1;
        assert_eq!(pool(Some(&standing), &more), Due::WithOthers);
        more.ready_replicas = 1;
        assert_eq!(pool(Some(&standing), &more), Due::Now);
    }

    #[test]
    fn a_streams_bit_rate_is_a_figure_and_its_coming_is_not() {
        let stream = |bitrate| StreamStatus {
            name: "cam1".into(),
            bitrate: Some(bitrate),
            ..StreamStatus::default()
        };
        let standing = StreamOriginStatus {
            streams: vec![stream(1_000_000)],
            stream_count: 1,
            ..StreamOriginStatus::default()
        };
        let mut new = standing.clone();
        assert_eq!(origin(Some(&standing), &new), Due::No);
        new.streams = vec![stream(2_000_000)];
        assert_eq!(origin(Some(&standing), &new), Due::WithFigures);
        new.stream_count = 2;
        assert_eq!(origin(Some(&standing), &new), Due::Now);
    }
}
