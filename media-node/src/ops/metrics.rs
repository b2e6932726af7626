//! `/metrics`: computed at each scrape from what the node holds, so that nothing is kept twice.

use std::collections::BTreeMap;

use headwater_contract::StreamSource;
use prometheus::core::Collector;
use prometheus::{Gauge, GaugeVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry, TextEncoder};

use super::Ops;
use crate::hub::{Snapshot, Stream};
use crate::meters::{Drop as Dropped, Protocol, Refusal, TlsLoad, Where};

/// Streams that get labels of their own; the rest is `other`.
const LABELLED: usize = 200;

/// The text of `/metrics` (Prometheus text format 0.0.4).
pub fn text(ops: &Ops) -> Result<String, prometheus::Error> {
    let page = Page(Registry::new());
    traffic(ops, &page)?;
    node(ops, &page)?;
    streams(ops, &page)?;
    TextEncoder::new().encode_to_string(&page.0.gather())
}

/// One number of a stream.
type Figure = fn(&Snapshot) -> u64;

struct Page(Registry);

impl Page {
    fn put(&self, metric: impl Collector + 'static) -> Result<(), prometheus::Error> {
        self.0.register(Box::new(metric))
    }

    fn counter(&self, name: &str, help: &str, value: u64) -> Result<(), prometheus::Error> {
        let counter = IntCounter::new(name, help)?;
        counter.inc_by(value);
        self.put(counter)
    }

    fn gauge(&self, name: &str, help: &str, value: u64) -> Result<(), prometheus::Error> {
        let gauge = IntGauge::new(name, help)?;
        gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
        self.put(gauge)
    }

    /// Counters by one label; all values are there from the first scrape on, so that rates begin at 0.
    fn counters<'a>(
        &self,
        name: &str,
        help: &str,
        label: &str,
        values: impl Iterator<Item = (&'a str, u64)>,
    ) -> Result<(), prometheus::Error> {
        let counters = IntCounterVec::new(Opts::new(name, help), &[label])?;
        for (text, value) in values {
            counters.with_label_values(&[text]).inc_by(value);
        }
        self.put(counters)
    }
}

fn traffic(ops: &Ops, page: &Page) -> Result<(), prometheus::Error> {
    let meters = &ops.meters;
    page.counters(
        "headwater_node_sent_bytes_total",
        "Bytes of media sent",
        "protocol",
        Protocol::ALL.iter().map(|it| (it.label(), meters.sent_bytes(*it))),
    )?;
    page.counter(
        "headwater_node_received_bytes_total",
        "Bytes of media received from publishers and pulls",
        meters.received_bytes(),
    )?;
    page.counters(
        "headwater_node_dropped_frames_total",
        "Frames not sent on",
        "reason",
        Dropped::ALL.iter().map(|it| (it.label(), meters.dropped_frames(*it))),
    )?;
    page.counters(
        "headwater_node_refused_total",
        "Connections, requests and commands refused",
        "reason",
        Refusal::ALL.iter().map(|it| (it.label(), meters.refusals(*it))),
    )?;
    page.counters(
        "headwater_node_tls_loads_total",
        "Certificates read for the delivery port",
        "result",
        TlsLoad::ALL.iter().map(|it| (it.label(), meters.tls_loads(*it))),
    )?;
    page.counter(
        "headwater_pull_reconnects_total",
        "Pulls that had to connect again",
        meters.pull_reconnects(),
    )?;
    let viewers = IntGaugeVec::new(Opts::new("headwater_node_viewers", "Viewers served now"), &["protocol"])?;
    let relayed = [Protocol::Relay, Protocol::Push];
    for protocol in Protocol::ALL.iter().filter(|it| !relayed.contains(it)) {
        viewers
            .with_label_values(&[protocol.label()])
            .set(meters.served(*protocol) as i64);
    }
    page.put(viewers)
}

fn node(ops: &Ops, page: &Page) -> Result<(), prometheus::Error> {
    let phase = ops.lifecycle.phase();
    page.gauge(
        "headwater_node_ready",
        "1 while /readyz says so",
        u64::from(phase.ready()),
    )?;
    let draining = u64::from(phase.drain.is_some());
    page.gauge("headwater_node_draining", "1 while the node drains", draining)?;
    let relays = ops.meters.served(Protocol::Relay);
    page.gauge("headwater_node_relays", "Other nodes' pulls served now", relays)?;
    let streams = ops.hub.streams().len() as u64;
    page.gauge("headwater_node_streams", "Streams held", streams)?;
    past(ops, page)
}

fn past(ops: &Ops, page: &Page) -> Result<(), prometheus::Error> {
    let help = "Bytes of old segments held for playback";
    let bytes = IntGaugeVec::new(Opts::new("headwater_node_dvr_bytes", help), &["where"])?;
    for place in Where::ALL {
        bytes
            .with_label_values(&[place.label()])
            .set(i64::try_from(ops.meters.dvr_bytes(*place)).unwrap_or(i64::MAX));
    }
    page.put(bytes)?;
    page.counter(
        "headwater_node_dvr_shed_segments_total",
        "Segments that can't be played back any more before their time, for want of memory or disk",
        ops.meters.dvr_shed_segments(),
    )?;
    page.counter(
        "headwater_node_dvr_write_failures_total",
        "Segments that could not be written to disk",
        ops.meters.dvr_write_failures(),
    )
}

fn streams(ops: &Ops, page: &Page) -> Result<(), prometheus::Error> {
    let mut pulls = ops.pulls.status();
    pulls.sort_by(|a, b| a.stream.cmp(&b.stream));
    let up = pulls
        .iter()
        .map(|pull| (pull.stream.to_string(), f64::from(u8::from(pull.up))));
    let help = "1 while a pull brings media; of the other streams the worst";
    labelled(ops, page, "headwater_pull_up", help, up, f64::min)?;
    let mut held: Vec<_> = ops.hub.streams().iter().map(Stream::snapshot).collect();
    held.sort_by(|a, b| a.name.cmp(&b.name));
    let published = held.iter().filter(|stream| stream.source == StreamSource::Publish);
    let published = published.map(|stream| (stream.name.to_string(), f64::from(u8::from(stream.attended))));
    let missing = ops.hub.missing().into_iter().map(|name| (name.to_string(), 0.0));
    let help = "1 while a publisher feeds the stream, 0 while it is waited for and for an hour after it was lost; of the \
        other streams the worst";
    labelled(
        ops,
        page,
        "headwater_stream_publisher",
        help,
        published.chain(missing),
        f64::min,
    )?;
    let lag = held
        .iter()
        .filter_map(|stream| Some((stream.name.to_string(), stream.lag_ms? as f64 / 1_000.0)));
    let help = "Age of a stream's newest frame by the origin's clock; of the other streams the worst";
    labelled(ops, page, "headwater_edge_lag_seconds", help, lag, f64::max)?;
    let sums: [(&str, &str, Figure); 4] = [
        ("headwater_stream_viewers", "Viewers of a stream", |stream| {
            stream.viewers
        }),
        (
            "headwater_stream_relays",
            "Other nodes that pull a stream from here",
            |stream| stream.relays,
        ),
        (
            "headwater_stream_bits_per_second",
            "Measured bit rate of a stream",
            |stream| stream.bitrate_bps,
        ),
        (
            "headwater_stream_lost_frames",
            "Frames of a stream lost on the way here since it came up",
            |stream| stream.lost_units,
        ),
    ];
    for (name, help, figure) in sums {
        let values = held
            .iter()
            .map(|stream| (stream.name.to_string(), figure(stream) as f64));
        labelled(ops, page, name, help, values, std::ops::Add::add)?;
    }
    Ok(())
}

/// A gauge by stream; those beyond [`LABELLED`] share one, into which `fold` puts them together.
fn labelled(
    ops: &Ops,
    page: &Page,
    name: &str,
    help: &str,
    values: impl Iterator<Item = (String, f64)>,
    fold: fn(f64, f64) -> f64,
) -> Result<(), prometheus::Error> {
    let gauges = GaugeVec::new(Opts::new(name, help), &["app", "stream"])?;
    for (stream, value) in bounded(values, fold) {
        let gauge: Gauge = gauges.with_label_values(&[ops.identity.app.as_str(), &stream]);
        gauge.set(value);
    }
    page.put(gauges)
}

fn bounded(values: impl Iterator<Item = (String, f64)>, fold: fn(f64, f64) -> f64) -> BTreeMap<String, f64> {
    let mut bounded = BTreeMap::new();
    for (index, (stream, value)) in values.enumerate() {
        let label = if index < LABELLED { stream } else { "other".to_owned() };
        bounded
            .entry(label)
            .and_modify(|held| *held = fold(*held, value))
            .or_insert(value);
    }
    bounded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_bounded_and_the_rest_shows_its_worst() {
        let values = (0..1_000).map(|number| (format!("cam{number:04}"), f64::from(number)));
        let bounded = bounded(values, f64::max);
        assert_eq!(bounded.len(), LABELLED + 1);
        assert_eq!(bounded["cam0199"], 199.0);
        assert_eq!(bounded["other"], 999.0);
    }

    #[test]
    fn the_figures_of_the_rest_are_summed() {
        let values = (0..LABELLED + 3).map(|number| (format!("cam{number:04}"), 2.0));
        assert_eq!(super::bounded(values, std::ops::Add::add)["other"], 6.0);
    }
}
