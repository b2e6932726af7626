//! Tests of the documents: their field names are read by scripts outside the repository.

use super::*;
use headwater_contract::{DrainState, Event, NodeFigures, NodeHello, Role, StreamFigures, StreamSource, StreamState};
use serde_json::json;

fn addresses(port: u16) -> Addresses {
    Addresses {
        rtmp: format!("127.0.0.1:{port}"),
        http: format!("127.0.0.1:{}", port + 1),
        ops: format!("127.0.0.1:{}", port + 2),
    }
}

fn hello(role: Role, playable: bool, figures: NodeFigures) -> Event {
    Event::Hello(NodeHello {
        name: "n".into(),
        role,
        boot_id: "a".into(),
        version: "0.1.0".into(),
        app: "live".into(),
        rtmp_port: 1,
        http_port: 2,
        term: 0,
        streams: vec![StreamState {
            name: "cam1".into(),
            epoch: 42,
            source: StreamSource::Pull,
            playable,
            video: None,
            audio: None,
            width: 0,
            height: 0,
            since: jiff::Timestamp::UNIX_EPOCH,
        }],
        figures,
    })
}

fn figures(ready: bool, drains: bool, viewers: u64, lag_ms: Option<u64>) -> NodeFigures {
    let drain = DrainState {
        since: jiff::Timestamp::UNIX_EPOCH,
        deadline: jiff::Timestamp::UNIX_EPOCH,
    };
    NodeFigures {
        ready,
        drain: drains.then_some(drain),
        viewers,
        sent_bps: viewers * 1_500_000,
        streams: vec![StreamFigures {
            name: "cam1".into(),
            viewers,
            bitrate_bps: 1_500_000,
            lag_ms,
            lost_units: 0,
        }],
        ..Default::default()
    }
}

fn fleet_of_three(now: Instant) -> (FleetMap, Resources) {
    let (origin, pool) = (
        ResourceId::origin("default", "main"),
        ResourceId::pool("default", "web"),
    );
    let mut map = FleetMap::default();
    let nodes = [
        (
            origin.node("main-0"),
            Role::Origin,
            true,
            figures(true, false, 1, Some(0)),
            100,
        ),
        (
            pool.node("web-0"),
            Role::Edge,
            true,
            figures(true, false, 3, Some(40)),
            200,
        ),
        (
            pool.node("web-1"),
            Role::Edge,
            false,
            figures(false, true, 2, None),
            300,
        ),
    ];
    for (id, role, playable, figures, port) in nodes {
        map.track(id.clone(), addresses(port));
        map.apply(&id, hello(role, playable, figures), now);
    }
    let facts = Pool {
        addresses: addresses(20),
        desired: 1,
        utilization_percent: Some(37.4567),
        upstream: Some(UpstreamEntry {
            kind: "StreamOrigin".into(),
            name: "main".into(),
        }),
        capacity_bps: Some(20_000_000),
        bounds: Some((1, 5)),
        scale_out_percent: Some(70),
        scaling: Some("WithinBand".into()),
        replication: Some("Replicating".into()),
        ..Default::default()
    };
    let resources = Resources {
        origins: BTreeMap::from([(
            origin,
            Origin {
                addresses: addresses(10),
                suspended: false,
            },
        )]),
        pools: BTreeMap::from([(pool, facts)]),
    };
    (map, resources)
}

#[test]
fn the_fleet_document_has_the_fields_of_the_contract() {
    let now = Instant::now();
    let (map, resources) = fleet_of_three(now);
    let document = serde_json::to_value(fleet(&map, &resources, now)).unwrap();
    let expected = json!({
        "origins": [{
            "namespace": "default", "name": "main", "ready": true,
            "rtmp": "127.0.0.1:10", "http": "127.0.0.1:11", "ops": "127.0.0.1:102",
            "streams": [{"app": "live", "name": "cam1", "epoch": 42, "viewers": 1, "playable": true, "bitrateBps": 1_500_000,
                "codecs": [], "width": 0, "height": 0, "since": "1970-01-01T00:00:00Z"}],
            "suspended": false,
        }],
        "pools": [{
            "namespace": "default", "name": "web", "http": "127.0.0.1:21", "rtmp": "127.0.0.1:20",
            "desired": 1, "ready": 1, "draining": 1, "viewers": 5, "outboundMbps": 7.5, "utilizationPercent": 37.5,
            "upstream": {"kind": "StreamOrigin", "name": "main"}, "suspended": false,
            "capacityMbps": 20.0, "minReplicas": 1, "maxReplicas": 5, "scaleOutPercent": 70,
            "scaling": "WithinBand", "replication": "Replicating", "failingPull": null,
            "edges": [
                {"name": "web-0", "ready": true, "draining": false, "heard": true, "suspect": false,
                 "http": "127.0.0.1:201", "rtmp": "127.0.0.1:200", "ops": "127.0.0.1:202",
                 "streams": ["live/cam1"], "viewers": 3, "outboundMbps": 4.5, "lagMs": 40, "drainDeadline": null, "drainSince": null},
                {"name": "web-1", "ready": false, "draining": true, "heard": true, "suspect": false,
                 "http": "127.0.0.1:301", "rtmp": "127.0.0.1:300", "ops": "127.0.0.1:302",
                 "streams": [], "viewers": 2, "outboundMbps": 3.0, "lagMs": null,
                 "drainDeadline": "1970-01-01T00:00:00Z", "drainSince": "1970-01-01T00:00:00Z"},
            ],
        }],
    });
    assert_eq!(document, expected);
}

#[test]
fn a_silent_edge_is_shown_as_suspect_and_counts_for_nothing() {
    let start = Instant::now();
    let (map, resources) = fleet_of_three(start);
    let document = fleet(&map, &resources, start + super::super::map::SUSPECT_AFTER);
    let pool = &document.pools[0];
    assert!(pool.edges.iter().all(|edge| edge.suspect && !edge.ready));
    assert_eq!(
        (pool.ready, pool.draining, pool.viewers, pool.outbound_mbps),
        (0, 0, 0, 0.0)
    );
    assert!(!document.origins[0].ready);
}

#[test]
fn a_pool_without_nodes_is_in_the_document_all_the_same() {
    let (_, resources) = fleet_of_three(Instant::now());
    let document = fleet(&FleetMap::default(), &resources, Instant::now());
    assert_eq!(document.pools[0].edges, []);
    assert_eq!(document.origins[0].ops, "");
}

#[test]
fn the_targets_document_is_prometheus_http_service_discovery() {
    let (map, _) = fleet_of_three(Instant::now());
    let document = serde_json::to_value(targets(&map)).unwrap();
    let edge = |ops: &str| json!({"targets": [ops], "labels": {"namespace": "default", "role": "edge", "pool": "web"}});
    let origin =
        json!({"targets": ["127.0.0.1:102"], "labels": {"namespace": "default", "role": "origin", "origin": "main"}});
    assert_eq!(document, json!([origin, edge("127.0.0.1:202"), edge("127.0.0.1:302")]));
}
