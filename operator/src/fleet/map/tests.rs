//! Tests of the fleet map.

use super::*;
use headwater_contract::{DrainState, NodeHello, StreamDown, StreamFigures, StreamSource, StreamState};

fn t(start: Instant, millis: u64) -> Instant {
    start + Duration::from_millis(millis)
}

fn origin() -> NodeId {
    ResourceId::origin("default", "main").node("main-0")
}

fn stream(name: &str, epoch: u64) -> StreamState {
    StreamState {
        name: name.into(),
        epoch,
        source: StreamSource::Publish,
        playable: true,
        video: None,
        audio: None,
        width: 0,
        height: 0,
        since: jiff::Timestamp::UNIX_EPOCH,
    }
}

fn hello(boot: &str, streams: &[StreamState]) -> Event {
    Event::Hello(NodeHello {
        name: "main-0".into(),
        role: Role::Origin,
        boot_id: boot.into(),
        version: "0.1.0".into(),
        app: "live".into(),
        rtmp_port: 1935,
        http_port: 8080,
        term: 0,
        streams: streams.to_vec(),
        figures: NodeFigures::default(),
    })
}

fn down(name: &str, epoch: u64, reason: StreamEnd) -> Event {
    Event::StreamDown(StreamDown {
        name: name.into(),
        epoch,
        reason,
    })
}

fn mapped(streams: &[StreamState], now: Instant) -> FleetMap {
    let mut map = FleetMap::default();
    assert!(map.track(origin(), Addresses::default()));
    assert_eq!(map.apply(&origin(), hello("a", streams), now)[0], Change::Joined);
    map
}

fn names(map: &FleetMap, now: Instant) -> Vec<String> {
    map.published(&origin().resource, now).into_keys().collect()
}

#[test]
fn a_node_silent_for_three_seconds_is_suspect_and_reported_once() {
    let now = Instant::now();
    let mut map = mapped(&[], now);
    assert_eq!(map.silent(t(now, 2_999)), []);
    assert_eq!(map.silent(t(now, 3_000)), [origin()]);
    assert_eq!(map.silent(t(now, 4_000)), []);
    assert_eq!(map.node(&origin()).unwrap().fresh_figures(t(now, 3_000)), None);

    map.apply(&origin(), Event::Figures(NodeFigures::default()), t(now, 5_000));
    assert_eq!(map.node(&origin()).unwrap().health(t(now, 5_000)), Health::Live);
    assert_eq!(map.silent(t(now, 8_000)), [origin()]);
}

#[test]
fn a_link_that_is_back_soon_changes_no_health() {
    let now = Instant::now();
    let mut map = mapped(&[stream("cam1", 1)], now);
    map.disconnected(&origin());
    assert_eq!(map.node(&origin()).unwrap().health(t(now, 500)), Health::Live);
    let changes = map.apply(&origin(), hello("a", &[stream("cam1", 1)]), t(now, 900));
    assert_eq!(changes, [Change::Returned]);
}

#[test]
fn another_boot_id_is_a_restart_and_its_streams_stay_planned_for_a_while() {
    let now = Instant::now();
    let mut map = mapped(&[stream("cam1", 1), stream("cam2", 1)], now);
    let changes = map.apply(&origin(), hello("b", &[stream("cam2", 5)]), t(now, 1_000));
    assert!(changes.contains(&Change::Restarted), "{changes:?}");
    assert_eq!(names(&map, t(now, 1_000)), ["cam1", "cam2"]);
    let published = map.published(&origin().resource, t(now, 1_000));
    assert_eq!(published["cam1"].on, []);
    assert_eq!(
        published["cam2"],
        Published {
            epoch: 5,
            on: vec![origin()]
        }
    );

    assert_eq!(names(&map, t(now, 30_999)), ["cam1", "cam2"]);
    assert_eq!(
        names(&map, t(now, 31_000)),
        [] as [&str; 0],
        "silent for as long as well"
    );
    map.apply(&origin(), Event::Figures(NodeFigures::default()), t(now, 31_000));
    assert_eq!(names(&map, t(now, 31_000)), ["cam2"]);
    map.expire(t(now, 31_000));
    assert!(map.lost.is_empty());
}

#[test]
fn a_stream_that_comes_back_to_a_restarted_origin_is_no_longer_lost() {
    let now = Instant::now();
    let mut map = mapped(&[stream("cam1", 1)], now);
    map.apply(&origin(), hello("b", &[]), t(now, 1_000));
    map.apply(&origin(), Event::StreamUp(stream("cam1", 2)), t(now, 2_000));
    map.apply(&origin(), down("cam1", 2, StreamEnd::Unpublished), t(now, 3_000));
    assert_eq!(names(&map, t(now, 3_000)), [] as [&str; 0]);
}

#[test]
fn streams_of_a_node_that_is_gone_or_stops_are_lost_and_those_that_end_are_not() {
    let now = Instant::now();
    let mut map = mapped(&[stream("a", 1), stream("b", 1), stream("c", 1), stream("d", 1)], now);
    map.apply(&origin(), down("a", 1, StreamEnd::Unpublished), now);
    map.apply(&origin(), down("b", 1, StreamEnd::PublisherLost), now);
    map.apply(&origin(), down("c", 1, StreamEnd::Shutdown), now);
    assert_eq!(names(&map, now), ["c", "d"]);
    map.forget(&origin(), now);
    assert_eq!(names(&map, t(now, 29_999)), ["c", "d"]);
    map.forget_resource(&origin().resource);
    assert_eq!(names(&map, now), [] as [&str; 0]);
}

#[test]
fn a_stream_that_the_same_process_no_longer_names_has_ended() {
    let now = Instant::now();
    let mut map = mapped(&[stream("cam1", 1)], now);
    map.disconnected(&origin());
    let changes = map.apply(&origin(), hello("a", &[]), t(now, 10));
    assert!(changes.contains(&Change::StreamDown {
        stream: "cam1".into(),
        reason: None
    }));
    assert_eq!(names(&map, t(now, 10)), [] as [&str; 0]);
}

/// OME#1865: a stale entry must not win over the newest publisher, on one node or across two.
#[test]
fn the_newest_epoch_wins_over_a_stale_entry() {
    let now = Instant::now();
    let mut map = mapped(&[stream("cam1", 7)], now);
    assert_eq!(map.apply(&origin(), Event::StreamUp(stream("cam1", 3)), now), []);
    assert_eq!(map.apply(&origin(), down("cam1", 3, StreamEnd::Unpublished), now), []);
    assert_eq!(map.published(&origin().resource, now)["cam1"].epoch, 7);

    let moved = ResourceId::origin("default", "main").node("main-1");
    map.track(moved.clone(), Addresses::default());
    map.apply(&moved, hello("z", &[stream("cam1", 9)]), now);
    assert_eq!(
        map.published(&origin().resource, now)["cam1"],
        Published {
            epoch: 9,
            on: vec![moved]
        }
    );
}

#[test]
fn streams_of_two_origins_are_not_mixed_up() {
    let now = Instant::now();
    let mut map = mapped(&[stream("cam1", 1)], now);
    let other = ResourceId::origin("default", "main2").node("main-0");
    map.track(other.clone(), Addresses::default());
    map.apply(&other, hello("b", &[stream("cam9", 1)]), now);
    assert_eq!(names(&map, now), ["cam1"]);
    assert_eq!(map.nodes_of(&other.resource).count(), 1);
}

#[test]
fn figures_of_streams_last_until_they_change() {
    let now = Instant::now();
    let mut map = mapped(&[stream("cam1", 1), stream("cam2", 1)], now);
    let one = |name: &str, viewers| StreamFigures {
        name: name.into(),
        viewers,
        ..Default::default()
    };
    let figures = |streams: Vec<StreamFigures>| {
        Event::Figures(NodeFigures {
            streams,
            ..Default::default()
        })
    };
    map.apply(
        &origin(),
        figures(vec![one("cam1", 3), one("cam2", 4), one("ghost", 9)]),
        now,
    );
    map.apply(&origin(), figures(vec![one("cam2", 5)]), now);
    let node = map.node(&origin()).unwrap();
    assert_eq!((node.streams["cam1"].viewers, node.streams["cam2"].viewers), (3, 5));
    assert_eq!(node.streams.len(), 2);
}

#[test]
fn readiness_and_drain_are_told_when_they_change() {
    let now = Instant::now();
    let mut map = mapped(&[], now);
    let drain = DrainState {
        since: jiff::Timestamp::UNIX_EPOCH,
        deadline: jiff::Timestamp::UNIX_EPOCH,
    };
    let ready = NodeFigures {
        ready: true,
        ..Default::default()
    };
    let drained = NodeFigures {
        drain: Some(drain),
        ..Default::default()
    };
    let told = [ready.clone(), ready, drained].map(|figures| map.apply(&origin(), Event::Figures(figures), now));
    assert_eq!(
        told[0],
        [Change::Readiness {
            ready: true,
            draining: false
        }]
    );
    assert_eq!(told[1], []);
    assert_eq!(
        told[2],
        [Change::Readiness {
            ready: false,
            draining: true
        }]
    );
    assert!(!map.node(&origin()).unwrap().serves(now));
}

#[test]
fn what_is_not_tracked_or_breaks_the_rules_stays_out() {
    let now = Instant::now();
    let mut map = FleetMap::default();
    assert_eq!(map.apply(&origin(), hello("a", &[]), now), []);
    map.track(origin(), Addresses::default());
    assert_eq!(
        map.apply(&origin(), Event::StreamUp(stream("cam1", 1)), now),
        [],
        "before its hello"
    );
    assert_eq!(map.node(&origin()).unwrap().health(now), Health::Unheard);
    map.apply(
        &origin(),
        hello("a", &[stream("../x", 1), stream("", 1), stream("ok.1", 1)]),
        now,
    );
    map.apply(&origin(), Event::StreamUp(stream("a/b", 1)), now);
    assert_eq!(names(&map, now), ["ok.1"]);
    assert_eq!(map.left_out(), 3);
}

#[test]
fn the_map_is_bounded_in_nodes_and_streams() {
    let now = Instant::now();
    let mut map = FleetMap::default();
    for i in 0..=MAX_NODES {
        let fits = map.track(origin().resource.node(format!("n{i}")), Addresses::default());
        assert_eq!(fits, i < MAX_NODES);
    }
    assert!(
        map.track(origin().resource.node("n0"), Addresses::default()),
        "a known one is updated"
    );
    let streams: Vec<_> = (0..=MAX_STREAMS).map(|i| stream(&format!("s{i}"), 1)).collect();
    let first = origin().resource.node("n0");
    map.apply(&first, hello("a", &streams), now);
    assert_eq!(map.node(&first).unwrap().streams.len(), MAX_STREAMS);
    assert_eq!(map.left_out(), 2);
}
