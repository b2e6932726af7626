//! Plain lines: where to go first, then what has changed. Figures that change all the time do not make a line by themselves.

use std::collections::BTreeMap;

use super::View;
use crate::control::Snapshot;
use crate::fleet::ResourceId;
use crate::fleet::document::{OriginEntry, PoolEntry};
use crate::local::sample;

/// A resource's name for a person: with its namespace where that is not `default`.
pub(super) fn short(namespace: &str, name: &str) -> String {
    match namespace {
        "default" => name.to_owned(),
        _ => format!("{namespace}/{name}"),
    }
}

/// Where to publish to on an origin, with `NAME` for the stream's name.
pub(super) fn publish_url(snapshot: &Snapshot, origin: &OriginEntry) -> String {
    let report = snapshot.origins.get(&id(origin));
    let app = report.map_or("live", |report| report.app.as_str());
    let key = if report.is_some_and(|report| report.secured) {
        "?key=KEY"
    } else {
        ""
    };
    format!("rtmp://{}/{app}/NAME{key}", origin.rtmp)
}

fn id(origin: &OriginEntry) -> ResourceId {
    ResourceId::origin(&origin.namespace, &origin.name)
}

/// The page to open and the command to publish.
pub(super) fn welcome(view: &View) -> Vec<String> {
    let fleet = &view.snapshot.fleet;
    let mut lines = Vec::new();
    // As the sample does: the first origin that runs.
    let page = match view.snapshot.origins.values().find(|origin| !origin.suspended) {
        Some(origin) if view.sample => format!("play/{}/{}", origin.app, sample::STREAM),
        _ => String::new(),
    };
    for pool in fleet.pools.iter().filter(|pool| !pool.http.is_empty()) {
        let name = short(&pool.namespace, &pool.name);
        lines.push(format!(
            "Open     http://{}/{page}   (the player page, served by the edges of pool {name})",
            pool.http
        ));
    }
    let runs = |origin: &&OriginEntry| {
        let report = view.snapshot.origins.get(&id(origin));
        !origin.rtmp.is_empty() && report.is_none_or(|report| !report.suspended)
    };
    for origin in fleet.origins.iter().filter(runs) {
        let url = publish_url(&view.snapshot, origin).replace("NAME", "mine");
        lines.push(format!("Publish  ffmpeg -re -i video.mp4 -c copy -f flv '{url}'"));
    }
    lines.push(format!(
        "Console  http://{}/   (the fleet as JSON: /api/v1/fleet, metrics: /metrics)",
        view.ops
    ));
    lines.push("End      Ctrl-C".to_owned());
    lines.push(String::new());
    lines
}

/// What has been told, by what it is about.
#[derive(Debug, Default)]
pub(super) struct Told {
    lines: BTreeMap<String, String>,
}

impl Told {
    /// The lines that tell something new.
    pub(super) fn news(&mut self, view: &View) -> Vec<String> {
        let mut now: BTreeMap<String, (String, String)> = BTreeMap::new();
        for entry in &view.snapshot.fleet.origins {
            now.insert(
                format!("origin {}", short(&entry.namespace, &entry.name)),
                origin(entry),
            );
        }
        for entry in &view.snapshot.fleet.pools {
            now.insert(format!("pool {}", short(&entry.namespace, &entry.name)), pool(entry));
        }
        let problem = view.problem.clone().unwrap_or_else(|| "in force".to_owned());
        now.insert("manifests".to_owned(), (problem.clone(), problem));

        let mut news = Vec::new();
        for (about, (key, text)) in &now {
            let before = self.lines.insert(about.clone(), key.clone());
            // The manifests being in force is news only after they were not.
            let expected = about == "manifests" && before.is_none() && view.problem.is_none();
            if before.as_ref() != Some(key) && !expected {
                news.push(format!("{about}: {text}"));
            }
        }
        self.lines.retain(|about, _| {
            let stays = now.contains_key(about);
            if !stays {
                news.push(format!("{about}: gone"));
            }
            stays
        });
        news
    }
}

/// What makes a new line, and the line.
fn origin(entry: &OriginEntry) -> (String, String) {
    let names: Vec<&str> = entry
        .streams
        .iter()
        .filter(|stream| stream.playable)
        .map(|stream| stream.name.as_str())
        .collect();
    let state = if entry.ready { "ready" } else { "not ready" };
    let streams = match names.len() {
        0 => "no streams".to_owned(),
        _ => format!("streams {}", names.join(", ")),
    };
    let text = format!("{state}, {streams}");
    (text.clone(), text)
}

fn pool(entry: &PoolEntry) -> (String, String) {
    let draining = match entry.draining {
        0 => String::new(),
        count => format!(", {count} draining"),
    };
    let streams = entry
        .edges
        .iter()
        .filter(|edge| edge.ready)
        .map(|edge| edge.streams.len())
        .min()
        .unwrap_or(0);
    let key = format!(
        "{} of {} edges ready{draining}, {streams} streams on every edge",
        entry.ready, entry.desired
    );
    let text = format!(
        "{key}, {} viewers, {:.1} Mbit/s, {:.0} % of capacity",
        entry.viewers, entry.outbound_mbps, entry.utilization_percent
    );
    (key, text)
}
