//! The control plane's metrics, as DESIGN section 5 names them: base units, no ids and no addresses as labels.

use prometheus::{
    CounterVec, Encoder, Gauge, GaugeVec, Histogram, HistogramOpts, IntCounter, Opts, Registry, TextEncoder,
};

/// Values of the label `state`.
pub const STATES: [&str; 4] = ["desired", "ready", "draining", "behind"];

/// All metrics of this process. Cheap to clone.
#[derive(Clone)]
pub struct Metrics {
    registry: Registry,
    /// What is known of each pool.
    pub pools: PoolGauges,
    /// Changes of a pool's number of edges by `direction` and `reason`.
    pub scale_events: CounterVec,
    /// How long one round of the control loop takes.
    pub reconcile_seconds: Histogram,
    /// What failed and is tried again, by `reason`.
    pub reconcile_errors: CounterVec,
    /// From a stream's being seen on its origin to its being playable on the last ready edge.
    pub replication_seconds: Histogram,
    /// Nodes lost to a newer control plane.
    pub superseded: IntCounter,
    /// 1 while this process leads.
    pub leader: Gauge,
}

/// Gauges by `namespace` and `pool`.
#[derive(Clone)]
pub struct PoolGauges {
    /// Edges by `state`: desired, ready, draining, and ready ones that do not carry every stream yet.
    pub replicas: GaugeVec,
    /// Bits per second that all edges send.
    pub outbound: GaugeVec,
    /// Load against capacity.
    pub utilization: GaugeVec,
    /// Viewers.
    pub viewers: GaugeVec,
    /// 0 while edges lack streams, or their origin is not heard.
    pub replicating: GaugeVec,
    /// Edges at least; only with autoscaling, as what follows.
    pub min_replicas: GaugeVec,
    /// Edges at most.
    pub max_replicas: GaugeVec,
    /// What one edge may send, bits per second.
    pub edge_capacity: GaugeVec,
    /// Edges are added above this utilisation.
    pub scale_out_ratio: GaugeVec,
}

impl PoolGauges {
    fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let labelled = |name: &str, help: &str, labels: &[&str]| -> Result<GaugeVec, prometheus::Error> {
            let gauge = GaugeVec::new(Opts::new(name, help), labels)?;
            registry.register(Box::new(gauge.clone()))?;
            Ok(gauge)
        };
        let gauge = |name: &str, help: &str| labelled(name, help, &["namespace", "pool"]);
        Ok(Self {
            replicas: labelled(
                "headwater_edgepool_replicas",
                "Edges by state; behind: ready, and not carrying every stream yet",
                &["namespace", "pool", "state"],
            )?,
            outbound: gauge(
                "headwater_edgepool_outbound_bits_per_second",
                "Bits per second sent by all edges of the pool",
            )?,
            utilization: gauge(
                "headwater_edgepool_utilization_ratio",
                "Load of the pool against the capacity of the edges that do not drain",
            )?,
            viewers: gauge("headwater_edgepool_viewers", "Viewers of the pool")?,
            replicating: gauge(
                "headwater_edgepool_replicating",
                "0 while ready edges lack streams, or the origin above the pool is not heard; else 1",
            )?,
            min_replicas: gauge(
                "headwater_edgepool_min_replicas",
                "Edges at least; only with autoscaling",
            )?,
            max_replicas: gauge(
                "headwater_edgepool_max_replicas",
                "Edges at most; only with autoscaling",
            )?,
            edge_capacity: gauge(
                "headwater_edgepool_edge_capacity_bits_per_second",
                "What one edge may send; only with autoscaling",
            )?,
            scale_out_ratio: gauge(
                "headwater_edgepool_scale_out_ratio",
                "Edges are added above this utilization; only with autoscaling",
            )?,
        })
    }

    /// Drops the gauges of a pool that is gone.
    pub fn forget(&self, namespace: &str, pool: &str) {
        // An error says that there is no such gauge, which is what is wanted.
        for gauge in [&self.outbound, &self.utilization, &self.viewers, &self.replicating] {
            let _ = gauge.remove_label_values(&[namespace, pool]);
        }
        for state in STATES {
            let _ = self.replicas.remove_label_values(&[namespace, pool, state]);
        }
        self.forget_scaling(namespace, pool);
    }

    /// Drops the gauges of autoscaling.
    pub fn forget_scaling(&self, namespace: &str, pool: &str) {
        let scaling = [
            &self.min_replicas,
            &self.max_replicas,
            &self.edge_capacity,
            &self.scale_out_ratio,
        ];
        for gauge in scaling {
            let _ = gauge.remove_label_values(&[namespace, pool]); // as above
        }
    }
}

impl Metrics {
    /// Registers all of them.
    ///
    /// # Errors
    /// The library's, for two metrics of one name.
    pub fn new() -> Result<Self, prometheus::Error> {
        let registry = Registry::new();
        let counter = |name: &str, help: &str, labels: &[&str]| -> Result<CounterVec, prometheus::Error> {
            let counter = CounterVec::new(Opts::new(name, help), labels)?;
            registry.register(Box::new(counter.clone()))?;
            Ok(counter)
        };
        let histogram = |name: &str, help: &str, first: f64| -> Result<Histogram, prometheus::Error> {
            let buckets = prometheus::exponential_buckets(first, 2.0, 14)?;
            let histogram = Histogram::with_opts(HistogramOpts::new(name, help).buckets(buckets))?;
            registry.register(Box::new(histogram.clone()))?;
            Ok(histogram)
        };
        let superseded = IntCounter::new(
            "headwater_superseded_total",
            "Nodes that refused this control plane's commands because a newer one has taken over",
        )?;
        registry.register(Box::new(superseded.clone()))?;
        let leader = Gauge::new(
            "headwater_leader",
            "1 while this process decides and writes, 0 while it stands by",
        )?;
        registry.register(Box::new(leader.clone()))?;
        let reconcile_errors = counter(
            "headwater_reconcile_errors_total",
            "Failures that are tried again",
            &["reason"],
        )?;
        // There from the first scrape on, so that a rate begins at 0 and an alert has something to look at.
        reconcile_errors.with_label_values(&["command"]);
        Ok(Self {
            pools: PoolGauges::new(&registry)?,
            scale_events: counter(
                "headwater_scale_events_total",
                "Changes of the number of edges",
                &["direction", "reason"],
            )?,
            reconcile_seconds: histogram(
                "headwater_reconcile_seconds",
                "Duration of one round of the control loop",
                0.000_05,
            )?,
            reconcile_errors,
            replication_seconds: histogram(
                "headwater_replication_seconds",
                "From a stream's being seen on its origin to its being playable on the last ready edge",
                0.005,
            )?,
            superseded,
            leader,
            registry,
        })
    }

    /// Everything in Prometheus' text format.
    ///
    /// # Errors
    /// The library's.
    pub fn text(&self) -> Result<String, prometheus::Error> {
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut text)?;
        Ok(String::from_utf8_lossy(&text).into_owned())
    }
}
