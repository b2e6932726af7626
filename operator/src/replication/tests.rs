//! Tests of who pulls what from whom.

use std::time::Duration;

use headwater_contract::{DrainState, Event, NodeFigures, NodeHello, Role, StreamDown, StreamEnd, StreamState};

use super::*;

mod renewal;
mod tiers;

struct Fleet {
    map: FleetMap,
    resources: Resources,
    now: Instant,
}

fn origin() -> ResourceId {
    ResourceId::origin("default", "main")
}

fn pool(name: &str) -> ResourceId {
    ResourceId::pool("default", name)
}

fn stable(name: &str) -> Addresses {
    Addresses {
        rtmp: format!("{name}.svc:1935"),
        http: format!("{name}.svc:8080"),
        ops: String::new(),
    }
}

impl Fleet {
    /// An origin `main` with one ready node `main-0`.
    fn new() -> Self {
        let mut fleet = Self {
            map: FleetMap::default(),
            resources: Resources::default(),
            now: Instant::now(),
        };
        let facts = Origin {
            suspended: false,
            app: "live".into(),
            stable: stable("main"),
        };
        fleet.resources.origins.insert(origin(), facts);
        fleet.node(&origin(), "main-0", true);
        fleet
    }

    /// A pool with ready edges `{name}-0` and so on.
    fn pool(mut self, name: &str, upstream: ResourceId, edges: usize) -> Self {
        let facts = Pool {
            suspended: false,
            upstream,
            mode: ReplicationMode::Eager,
            streams: vec!["*".into()],
            idle_timeout_seconds: 60,
            stable: stable(name),
            draining: BTreeSet::new(),
        };
        self.resources.pools.insert(pool(name), facts);
        for i in 0..edges {
            self.node(&pool(name), &format!("{name}-{i}"), true);
        }
        self
    }

    fn node(&mut self, resource: &ResourceId, name: &str, ready: bool) {
        self.boot(resource, name, "first", &[], ready);
    }

    fn boot(&mut self, resource: &ResourceId, name: &str, boot: &str, streams: &[StreamState], ready: bool) {
        let id = resource.node(name);
        let addresses = Addresses {
            rtmp: format!("{name}:1935"),
            http: format!("{name}:8080"),
            ops: format!("{name}:8081"),
        };
        self.map.track(id.clone(), addresses);
        let hello = NodeHello {
            name: name.into(),
            role: Role::Edge,
            boot_id: boot.into(),
            version: "0.1.0".into(),
            app: "live".into(),
            rtmp_port: 1935,
            http_port: 8080,
            term: 0,
            streams: streams.to_vec(),
            figures: NodeFigures {
                ready,
                ..Default::default()
            },
        };
        self.map.apply(&id, Event::Hello(hello), self.now);
    }

    fn up(&mut self, id: &NodeId, name: &str, epoch: u64, source: StreamSource) {
        self.map
            .apply(id, Event::StreamUp(stream(name, epoch, source)), self.now);
    }

    fn publish(&mut self, names: &[&str]) {
        for name in names {
            self.up(&origin().node("main-0"), name, 1, StreamSource::Publish);
        }
    }

    /// Time passes; every node but those of `silent` sends figures.
    fn pass(&mut self, seconds: u64, silent: &[NodeId]) {
        self.now += Duration::from_secs(seconds);
        let known: Vec<_> = self
            .map
            .nodes()
            .map(|(id, node)| (id.clone(), node.figures.clone()))
            .collect();
        for (id, figures) in known.into_iter().filter(|(id, _)| !silent.contains(id)) {
            self.map.apply(&id, Event::Figures(figures), self.now);
        }
    }

    fn drain(&mut self, id: &NodeId, viewers: u64) {
        let drain = DrainState {
            since: jiff::Timestamp::UNIX_EPOCH,
            deadline: jiff::Timestamp::UNIX_EPOCH,
        };
        let figures = NodeFigures {
            drain: Some(drain),
            viewers,
            ..Default::default()
        };
        self.map.apply(id, Event::Figures(figures), self.now);
        self.resources
            .pools
            .get_mut(&id.resource)
            .unwrap()
            .draining
            .insert(id.clone());
    }

    fn facts(&mut self, name: &str) -> &mut Pool {
        self.resources.pools.get_mut(&pool(name)).unwrap()
    }

    fn plan(&self) -> Plan {
        self.plan_after(&Parents::new())
    }

    fn plan_after(&self, before: &Parents) -> Plan {
        plan(&self.map, &self.resources, before, self.now)
    }
}

fn stream(name: &str, epoch: u64, source: StreamSource) -> StreamState {
    StreamState {
        name: name.into(),
        epoch,
        source,
        playable: true,
        video: None,
        audio: None,
        width: 0,
        height: 0,
        since: jiff::Timestamp::UNIX_EPOCH,
    }
}

fn pulled(desired: &DesiredPulls) -> Vec<&str> {
    desired.pulls.iter().map(|pull| &*pull.stream).collect()
}

fn urls(sources: &[headwater_contract::Source]) -> Vec<&str> {
    sources.iter().map(|source| &*source.url).collect()
}

fn verdict(plan: &Plan, name: &str) -> Verdict {
    plan.pools[&pool(name)].verdict
}

#[test]
fn every_edge_of_an_eager_pool_pulls_every_stream_by_pod_address_first() {
    let mut fleet = Fleet::new().pool("web", origin(), 2);
    fleet.publish(&["cam1", "cam2"]);
    let plan = fleet.plan();
    assert_eq!(verdict(&plan, "web"), Verdict::Replicating);
    for edge in ["web-0", "web-1"] {
        let desired = &plan.nodes[&pool("web").node(edge)];
        assert_eq!(pulled(desired), ["cam1", "cam2"]);
        let sources = &desired.pulls[0].sources;
        assert_eq!(
            urls(sources),
            ["rtmp://main-0:1935/live/cam1", "rtmp://main.svc:1935/live/cam1"]
        );
        assert_eq!(sources[0].http.as_deref(), Some("http://main-0:8080"));
        let on_demand = desired.on_demand.as_ref().unwrap();
        assert_eq!(
            urls(&on_demand.upstreams),
            ["rtmp://main-0:1935/live", "rtmp://main.svc:1935/live"]
        );
    }
}

/// The original gave a new edge only what the origin itself pulled.
#[test]
fn a_new_edge_is_given_every_stream_however_it_reached_the_origin() {
    let mut fleet = Fleet::new().pool("web", origin(), 1);
    fleet.up(&origin().node("main-0"), "pushed", 1, StreamSource::Publish);
    fleet.up(&origin().node("main-0"), "pulled", 1, StreamSource::Pull);
    fleet.node(&pool("web"), "web-9", false);
    let plan = fleet.plan();
    assert_eq!(pulled(&plan.nodes[&pool("web").node("web-9")]), ["pulled", "pushed"]);
}

#[test]
fn an_on_demand_pool_gets_the_rule_and_no_pulls() {
    let mut fleet = Fleet::new().pool("web", origin(), 1);
    fleet.facts("web").mode = ReplicationMode::OnDemand;
    fleet.facts("web").streams = vec!["cam*".into()];
    fleet.publish(&["cam1"]);
    let desired = &fleet.plan().nodes[&pool("web").node("web-0")];
    assert_eq!(pulled(desired), [] as [&str; 0]);
    let rule = desired.on_demand.as_ref().unwrap();
    assert_eq!(
        (rule.streams.as_slice(), rule.idle_timeout_seconds),
        (["cam*".to_owned()].as_slice(), 60)
    );
}

#[test]
fn only_streams_that_match_the_pool_are_pulled() {
    let mut fleet = Fleet::new().pool("web", origin(), 1);
    fleet.facts("web").streams = vec!["cam*".into(), "show".into()];
    fleet.publish(&["cam1", "show", "other"]);
    assert_eq!(
        pulled(&fleet.plan().nodes[&pool("web").node("web-0")]),
        ["cam1", "show"]
    );
}

/// The original took the wrong origin when there were several.
#[test]
fn a_pool_pulls_from_its_own_origin_though_another_has_the_same_stream() {
    let mut fleet = Fleet::new().pool("web", origin(), 1);
    let other = ResourceId::origin("default", "other");
    fleet.resources.origins.insert(
        other.clone(),
        Origin {
            suspended: false,
            app: "vod".into(),
            stable: stable("other"),
        },
    );
    fleet.node(&other, "other-0", true);
    fleet.up(&other.node("other-0"), "cam1", 9, StreamSource::Publish);
    fleet.up(&other.node("other-0"), "cam2", 9, StreamSource::Publish);
    fleet.publish(&["cam1"]);
    let desired = &fleet.plan().nodes[&pool("web").node("web-0")];
    assert_eq!(pulled(desired), ["cam1"]);
    assert!(urls(&desired.pulls[0].sources).iter().all(|url| url.contains("main")));
}

#[test]
fn a_moved_origin_is_pulled_from_where_the_newest_epoch_is() {
    let mut fleet = Fleet::new().pool("web", origin(), 1);
    fleet.publish(&["cam1"]);
    fleet.node(&origin(), "main-1", true);
    fleet.up(&origin().node("main-1"), "cam1", 5, StreamSource::Publish);
    fleet.pass(3, &[origin().node("main-0")]);
    let desired = &fleet.plan().nodes[&pool("web").node("web-0")];
    assert_eq!(
        urls(&desired.pulls[0].sources),
        [
            "rtmp://main-1:1935/live/cam1",
            "rtmp://main.svc:1935/live/cam1",
            "rtmp://main-0:1935/live/cam1"
        ]
    );
}

#[test]
fn an_ended_stream_leaves_every_set() {
    let mut fleet = Fleet::new().pool("mid", origin(), 1).pool("web", pool("mid"), 1);
    fleet.publish(&["cam1"]);
    let down = StreamDown {
        name: "cam1".into(),
        epoch: 1,
        reason: StreamEnd::Unpublished,
    };
    fleet
        .map
        .apply(&origin().node("main-0"), Event::StreamDown(down), fleet.now);
    assert!(fleet.plan().nodes.values().all(|desired| desired.pulls.is_empty()));
}

#[test]
fn streams_of_a_restarted_origin_stay_planned_until_their_publishers_had_time_to_return() {
    let mut fleet = Fleet::new().pool("web", origin(), 1);
    fleet.publish(&["cam1"]);
    fleet.boot(&origin(), "main-0", "second", &[], true);
    fleet.pass(29, &[]);
    let desired = &fleet.plan().nodes[&pool("web").node("web-0")];
    assert_eq!(urls(&desired.pulls[0].sources)[0], "rtmp://main-0:1935/live/cam1");
    fleet.pass(1, &[]);
    assert_eq!(pulled(&fleet.plan().nodes[&pool("web").node("web-0")]), [] as [&str; 0]);
}

/// The operator may be the one that is cut off: edges that still hold a stream know better.
#[test]
fn while_the_origin_is_silent_edges_keep_what_any_of_them_holds() {
    let mut fleet = Fleet::new().pool("web", origin(), 2);
    fleet.publish(&["cam1", "cam2"]);
    fleet.up(&pool("web").node("web-0"), "cam1", 1, StreamSource::Pull);
    for _ in 0..60 {
        fleet.pass(1, &[origin().node("main-0")]);
    }
    let plan = fleet.plan();
    assert_eq!(verdict(&plan, "web"), Verdict::UpstreamSilent);
    assert_eq!(pulled(&plan.nodes[&pool("web").node("web-1")]), ["cam1"]);
    assert_eq!(
        urls(&plan.nodes[&pool("web").node("web-1")].pulls[0].sources),
        ["rtmp://main.svc:1935/live/cam1", "rtmp://main-0:1935/live/cam1"]
    );
}

/// A control plane that comes back must not cut what runs because it heard an edge before the origin.
#[test]
fn before_the_origin_is_heard_edges_are_left_as_they_are() {
    let mut fleet = Fleet::new().pool("web", origin(), 0);
    fleet.map = FleetMap::default();
    fleet.map.track(origin().node("main-0"), Addresses::default());
    fleet.node(&pool("web"), "web-0", true);
    let plan = fleet.plan();
    assert_eq!(verdict(&plan, "web"), Verdict::UpstreamUnheard);
    assert_eq!(plan.nodes.len(), 0);

    fleet.boot(
        &pool("web"),
        "web-1",
        "a",
        &[stream("cam1", 1, StreamSource::Pull)],
        true,
    );
    let plan = fleet.plan();
    assert_eq!(verdict(&plan, "web"), Verdict::UpstreamSilent);
    assert_eq!(pulled(&plan.nodes[&pool("web").node("web-1")]), ["cam1"]);

    // It may hold more than the others do.
    let unheard = pool("web").node("web-2");
    fleet.map.track(unheard.clone(), Addresses::default());
    assert!(!fleet.plan().nodes.contains_key(&unheard));
}

/// Figures are a second old: a viewer that came within that second was cut when the edge's pulls were taken away.
#[test]
fn a_draining_edge_keeps_its_pulls_until_it_goes() {
    let mut fleet = Fleet::new().pool("web", origin(), 2);
    fleet.publish(&["cam1"]);
    let edge = pool("web").node("web-0");
    fleet.drain(&edge, 1);
    assert_eq!(pulled(&fleet.plan().nodes[&edge]), ["cam1"]);
    fleet.drain(&edge, 0);
    assert_eq!(pulled(&fleet.plan().nodes[&edge]), ["cam1"]);
}

#[test]
fn what_is_wrong_upstream_is_said_and_nothing_is_pulled() {
    let mut fleet = Fleet::new()
        .pool("a", pool("b"), 1)
        .pool("b", pool("a"), 1)
        .pool("lost", ResourceId::origin("default", "nowhere"), 1)
        .pool("below", pool("lost"), 1)
        .pool("itself", pool("itself"), 1)
        .pool("web", origin(), 1);
    fleet.publish(&["cam1"]);
    let plan = fleet.plan();
    for (name, expected) in [
        ("a", Verdict::UpstreamCycle),
        ("b", Verdict::UpstreamCycle),
        ("itself", Verdict::UpstreamCycle),
        ("lost", Verdict::UpstreamNotFound),
        ("below", Verdict::UpstreamNotFound),
        ("web", Verdict::Replicating),
    ] {
        assert_eq!(verdict(&plan, name), expected, "{name}");
    }
    assert_eq!(plan.nodes[&pool("a").node("a-0")], DesiredPulls::default());

    // Of one that is there and can't be read nothing is known: what runs below it goes on.
    fleet
        .resources
        .unreadable
        .insert(ResourceId::origin("default", "nowhere"));
    let plan = fleet.plan();
    assert_eq!(verdict(&plan, "below"), Verdict::UpstreamInvalid);
    assert!(!plan.nodes.contains_key(&pool("below").node("below-0")));

    fleet.resources.origins.get_mut(&origin()).unwrap().suspended = true;
    assert_eq!(verdict(&fleet.plan(), "web"), Verdict::UpstreamSuspended);
    fleet.facts("web").suspended = true;
    assert_eq!(verdict(&fleet.plan(), "web"), Verdict::Suspended);
}

#[test]
fn an_edge_is_told_at_most_the_contracts_bound_of_pulls() {
    let mut fleet = Fleet::new().pool("web", origin(), 1);
    let streams: Vec<_> = (0..MAX_PULLS)
        .map(|i| stream(&format!("s{i}"), 1, StreamSource::Publish))
        .collect();
    fleet.boot(&origin(), "main-0", "first", &streams, true);
    assert_eq!(verdict(&fleet.plan(), "web"), Verdict::Replicating);
    fleet.boot(
        &origin(),
        "main-1",
        "first",
        &[stream("x", 1, StreamSource::Publish)],
        true,
    );
    let plan = fleet.plan();
    assert_eq!(verdict(&plan, "web"), Verdict::TooManyStreams);
    assert_eq!(plan.nodes[&pool("web").node("web-0")].pulls.len(), MAX_PULLS);
}

#[test]
fn every_verdict_reads_back_as_it_prints() {
    for verdict in Verdict::ALL {
        assert_eq!(verdict.to_string().parse(), Ok(verdict));
    }
}
