//! The texts for a small fleet.

use super::*;
use crate::control::{OriginReport, PoolReport};
use crate::fleet::ResourceId;
use crate::fleet::document::{EdgeEntry, Fleet, OriginEntry, PoolEntry, StreamEntry};

fn view() -> View {
    let edge = |name: &str, mbps| EdgeEntry {
        name: name.into(),
        ready: true,
        streams: vec!["live/cam1".to_owned()].into(),
        viewers: 3,
        outbound_mbps: mbps,
        lag_ms: Some(12),
        ..Default::default()
    };
    let fleet = Fleet {
        origins: vec![OriginEntry {
            namespace: "default".into(),
            name: "main".into(),
            ready: true,
            rtmp: "127.0.0.1:1935".into(),
            streams: vec![StreamEntry {
                app: "live".into(),
                name: "cam1".into(),
                playable: true,
                bitrate_bps: 2_000_000,
                ..Default::default()
            }],
            ..Default::default()
        }],
        pools: vec![PoolEntry {
            namespace: "default".into(),
            name: "web".into(),
            http: "127.0.0.1:8080".into(),
            desired: 2,
            ready: 2,
            viewers: 6,
            outbound_mbps: 15.0,
            utilization_percent: 37.5,
            edges: vec![edge("web-1", 10.0), edge("web-2", 30.0)],
            ..Default::default()
        }],
    };
    let origin = OriginReport {
        app: "live".into(),
        secured: true,
        suspended: false,
        ..OriginReport::default()
    };
    let pool = PoolReport {
        capacity_bps: Some(20_000_000),
        ..Default::default()
    };
    View {
        snapshot: Arc::new(Snapshot {
            fleet,
            origins: [(ResourceId::origin("default", "main"), origin)].into(),
            pools: [(ResourceId::pool("default", "web"), pool)].into(),
            ..Default::default()
        }),
        problem: None,
        ops: "127.0.0.1:9090".into(),
        sample: false,
        up: Duration::from_secs(3_725),
        events: (0..50)
            .map(|n| format!("\u{1b}[2m2026-01-02T03:04:05.678901Z\u{1b}[0m \u{1b}[32m INFO\u{1b}[0m event {n}"))
            .collect(),
    }
}

#[test]
fn nobody_is_sent_to_an_origin_that_is_suspended() {
    let mut view = view();
    view.sample = true;
    let snapshot = Arc::make_mut(&mut view.snapshot);
    snapshot.origins.values_mut().for_each(|origin| origin.suspended = true);
    let lines = lines::welcome(&view).join("\n");
    assert!(!lines.contains("Publish") && !lines.contains("/play/"), "{lines}");
}

#[test]
fn the_page_and_the_command_come_first() {
    let lines = lines::welcome(&view());
    assert!(lines[0].contains("http://127.0.0.1:8080/"), "{lines:?}");
    assert!(
        lines[1].contains("-f flv 'rtmp://127.0.0.1:1935/live/mine?key=KEY'"),
        "{lines:?}"
    );
}

#[test]
fn with_the_sample_the_page_to_open_plays_it() {
    let view = View { sample: true, ..view() };
    let lines = lines::welcome(&view);
    assert!(
        lines[0].contains("http://127.0.0.1:8080/play/live/sample "),
        "{lines:?}"
    );
}

#[test]
fn a_line_is_printed_on_change_and_not_for_figures_alone() {
    let mut told = lines::Told::default();
    let mut view = view();
    let first = told.news(&view);
    assert_eq!(first.len(), 2, "{first:?}");
    assert!(
        first[1].contains("2 of 2 edges ready") && first[1].contains("6 viewers"),
        "{first:?}"
    );
    let mut snapshot = (*view.snapshot).clone();
    snapshot.fleet.pools[0].viewers = 7;
    view.snapshot = Arc::new(snapshot.clone());
    assert!(told.news(&view).is_empty());
    snapshot.fleet.pools[0].draining = 1;
    view.snapshot = Arc::new(snapshot.clone());
    view.problem = Some("a.yaml:3: spec.replica is unknown".into());
    let news = told.news(&view);
    assert!(news.iter().any(|line| line.contains("spec.replica")), "{news:?}");
    assert!(news.iter().any(|line| line.contains("1 draining")), "{news:?}");
    snapshot.fleet.pools.clear();
    view.snapshot = Arc::new(snapshot);
    view.problem = None;
    assert_eq!(told.news(&view), ["manifests: in force", "pool web: gone"]);
}

#[test]
fn the_table_fits_the_terminal_and_shows_every_edge_with_its_bar() {
    let view = view();
    for (width, height) in [(120, 40), (60, 24), (20, 8), (1, 1)] {
        let lines = table::render(&view, width, height);
        assert!(lines.len() <= height, "{} lines of {height}", lines.len());
        assert!(lines.iter().all(|line| line.chars().count() <= width));
    }
    let text = table::render(&view, 140, 40).join("\n");
    assert!(text.contains("up 01:02:05"), "{text}");
    assert!(
        text.contains("##########..........") && text.contains("####################!"),
        "{text}"
    );
    assert!(
        text.contains("with a key") && text.contains("cam1 (2.0 Mbit/s)"),
        "{text}"
    );
    assert!(text.ends_with("\n03:04:05  INFO event 49"), "{text}");
    assert!(!text.contains('\u{1b}'));
}
