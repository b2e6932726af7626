//! What the node says of itself: functions of what it holds.

use headwater_contract::{NodeFigures, NodeHello, StreamFigures, StreamState};

use super::Ops;
use crate::hub::{Snapshot, Stream};
use crate::meters::{Drop as Dropped, Meters, Protocol};

/// Failing pulls that are named in figures.
const FAILING: usize = 20;

/// Rates over the last second, bits per second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rates {
    /// To viewers and relays.
    pub sent_bps: u64,
    /// From publishers and pulls.
    pub received_bps: u64,
}

/// The counts that rates are differences of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    sent: u64,
    received: u64,
}

impl Totals {
    /// The counts now. What is pushed elsewhere is no viewer's or relay's.
    pub fn of(meters: &Meters) -> Self {
        let served = Protocol::ALL.iter().filter(|protocol| **protocol != Protocol::Push);
        Self {
            sent: served.map(|protocol| meters.sent_bytes(*protocol)).sum(),
            received: meters.received_bytes(),
        }
    }

    /// Rates since `before`, `elapsed` ago.
    pub fn since(self, before: Totals, elapsed: std::time::Duration) -> Rates {
        let millis = (elapsed.as_millis() as u64).max(1);
        let rate = |now: u64, before: u64| now.saturating_sub(before).saturating_mul(8_000) / millis;
        Rates {
            sent_bps: rate(self.sent, before.sent),
            received_bps: rate(self.received, before.received),
        }
    }
}

/// Who this is and all that it carries, with the figures last told.
pub fn hello(ops: &Ops) -> NodeHello {
    let mut figures = ops.events.latest();
    refresh(ops, &mut figures);
    let mut streams: Vec<StreamState> = ops.hub.streams().iter().map(stream_state).collect();
    streams.sort_by(|a, b| a.name.cmp(&b.name));
    NodeHello {
        name: ops.identity.name.clone(),
        role: ops.identity.role,
        boot_id: ops.identity.boot_id.clone(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        app: ops.identity.app.clone(),
        rtmp_port: ops.identity.rtmp_port,
        http_port: ops.identity.http_port,
        term: ops.terms.highest(),
        streams,
        figures,
    }
}

/// Sets what must never be a second old.
pub fn refresh(ops: &Ops, figures: &mut NodeFigures) {
    let phase = ops.lifecycle.phase();
    figures.ready = phase.ready();
    figures.drain = phase.drain.map(|drain| drain.state);
}

/// A stream as it is told.
pub fn stream_state(stream: &Stream) -> StreamState {
    let Snapshot {
        name,
        epoch,
        source,
        playable,
        tracks,
        since,
        ..
    } = stream.snapshot();
    let codec = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    StreamState {
        name: name.to_string(),
        epoch,
        source,
        playable,
        video: tracks.video.as_ref().and_then(|video| codec(&video.rfc6381)),
        audio: tracks.audio.as_ref().and_then(|audio| codec(&audio.rfc6381)),
        width: tracks.video.as_ref().map_or(0, |video| video.width),
        height: tracks.video.as_ref().map_or(0, |video| video.height),
        since,
    }
}

/// All figures, streams by name.
pub fn figures(ops: &Ops, rates: Rates) -> NodeFigures {
    let mut snapshots: Vec<Snapshot> = ops.hub.streams().iter().map(Stream::snapshot).collect();
    snapshots.sort_by(|a, b| a.name.cmp(&b.name));
    let demand = |stream: &Snapshot| (stream.viewers + stream.relays).saturating_mul(stream.bitrate_bps);
    let mut figures = NodeFigures {
        viewers: ops.meters.viewers(),
        movable_viewers: ops.movers.count() as u64,
        relays: ops.meters.served(Protocol::Relay),
        sent_bps: rates.sent_bps,
        demand_bps: snapshots.iter().map(demand).sum(),
        received_bps: rates.received_bps,
        dropped_frames: ops.meters.dropped_frames(Dropped::SlowViewer),
        failing_pulls: ops.pulls.failing(FAILING),
        streams: snapshots.iter().map(stream_figures).collect(),
        ..NodeFigures::default()
    };
    refresh(ops, &mut figures);
    figures
}

fn stream_figures(stream: &Snapshot) -> StreamFigures {
    StreamFigures {
        name: stream.name.to_string(),
        viewers: stream.viewers,
        bitrate_bps: stream.bitrate_bps,
        lag_ms: stream.lag_ms,
        lost_units: stream.lost_units,
    }
}

/// Those of `now` (by name) that differ from `before` (by name).
pub fn changed(before: &[StreamFigures], now: &[StreamFigures]) -> Vec<StreamFigures> {
    let same = |stream: &StreamFigures| {
        let known = before.binary_search_by(|other| other.name.cmp(&stream.name));
        known.is_ok_and(|index| before.get(index) == Some(stream))
    };
    now.iter().filter(|stream| !same(stream)).cloned().collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn rates_are_bits_over_the_time_that_passed() {
        let meters = Meters::default();
        let before = Totals::of(&meters);
        meters.sent(Protocol::Ws, 1_000);
        meters.sent(Protocol::Relay, 500);
        meters.sent(Protocol::Push, 99);
        meters.received(250);
        let rates = Totals::of(&meters).since(before, Duration::from_millis(2_000));
        assert_eq!((rates.sent_bps, rates.received_bps), (6_000, 1_000));
    }

    #[test]
    fn only_streams_that_changed_are_told_again() {
        let stream = |name: &str, viewers| StreamFigures {
            name: name.into(),
            viewers,
            ..StreamFigures::default()
        };
        let before = [stream("a", 1), stream("b", 1), stream("gone", 1)];
        let now = [stream("a", 1), stream("b", 2), stream("new", 0)];
        assert_eq!(changed(&before, &now), [stream("b", 2), stream("new", 0)]);
    }
}
