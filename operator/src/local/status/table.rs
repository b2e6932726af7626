//! The table: as many lines as the terminal has, none wider than it.

use comfy_table::{Cell, ContentArrangement, Table, presets};

use super::View;
use super::lines::{publish_url, short};
use crate::control::PoolReport;
use crate::fleet::document::{EdgeEntry, PoolEntry};
use crate::fleet::{ResourceId, ResourceKind};

/// Widest bar, in characters.
const BAR: usize = 20;
/// Fewest log lines that are shown while there is room.
const EVENTS: usize = 6;

/// The lines to draw, at most `height` of at most `width` characters each.
pub(super) fn render(view: &View, width: usize, height: usize) -> Vec<String> {
    let mut lines = vec![head(view), String::new()];
    lines.extend(origins(view));
    lines.push(String::new());
    lines.extend(pools(view));
    lines.push(String::new());
    lines.extend(edges(view));
    if let Some(problem) = &view.problem {
        lines.push(String::new());
        lines.push("The manifests on disk are not in force:".to_owned());
        lines.extend(problem.lines().map(|line| format!("  {line}")));
    }
    // The tables give way to the events only where the terminal is very small.
    let room = height.saturating_sub(lines.len() + 1).max(EVENTS.min(height / 3));
    lines.truncate(height.saturating_sub(room + 1));
    let events: Vec<String> = view.events.iter().filter_map(|line| event(line)).collect();
    let skip = events.len().saturating_sub(room);
    lines.push(String::new());
    lines.extend(events.into_iter().skip(skip));
    lines.truncate(height);
    lines.into_iter().map(|line| cut(&line, width)).collect()
}

fn head(view: &View) -> String {
    let up = view.up.as_secs();
    format!(
        "Headwater   up {:02}:{:02}:{:02}   fleet http://{}/api/v1/fleet   Ctrl-C ends it",
        up / 3600,
        up / 60 % 60,
        up % 60,
        view.ops
    )
}

fn origins(view: &View) -> Vec<String> {
    let rows = view.snapshot.fleet.origins.iter().map(|origin| {
        let streams: Vec<String> = origin
            .streams
            .iter()
            .filter(|stream| stream.playable)
            .map(|stream| format!("{} ({:.1} Mbit/s)", stream.name, stream.bitrate_bps as f64 / 1e6))
            .collect();
        let id = id(ResourceKind::StreamOrigin, &origin.namespace, &origin.name);
        let report = view.snapshot.origins.get(&id);
        let who = match report {
            Some(report) if report.suspended => "suspended",
            Some(report) if report.secured => "with a key",
            _ => "ANYONE",
        };
        vec![
            short(&origin.namespace, &origin.name),
            if origin.ready { "ready" } else { "not ready" }.to_owned(),
            publish_url(&view.snapshot, origin),
            who.to_owned(),
            if streams.is_empty() {
                "none".to_owned()
            } else {
                streams.join(", ")
            },
        ]
    });
    table(&["ORIGIN", "STATE", "PUBLISH TO", "WHO MAY", "STREAMS"], rows)
}

fn pools(view: &View) -> Vec<String> {
    let rows = view.snapshot.fleet.pools.iter().map(|pool| {
        let report = view
            .snapshot
            .pools
            .get(&id(ResourceKind::EdgePool, &pool.namespace, &pool.name));
        let auto = report.is_some_and(|report| report.capacity_bps.is_some() && report.verdict.is_some());
        vec![
            short(&pool.namespace, &pool.name),
            format!("http://{}/", pool.http),
            format!("{}/{}", pool.ready, pool.desired),
            pool.draining.to_string(),
            pool.viewers.to_string(),
            format!("{:.1}", pool.outbound_mbps),
            if auto {
                format!("{:.0} %", pool.utilization_percent)
            } else {
                "-".to_owned()
            },
            why(report),
        ]
    });
    let head = [
        "POOL", "PLAY AT", "READY", "DRAINING", "VIEWERS", "MBIT/S", "LOAD", "WHY",
    ];
    table(&head, rows)
}

fn why(report: Option<&PoolReport>) -> String {
    let Some(report) = report else { return String::new() };
    let mut parts = Vec::new();
    match report.verdict {
        None => parts.push("attached nodes: not scaled here".to_owned()),
        Some(verdict) => parts.push(verdict.reason.to_string()),
    }
    if let Some(limit) = report.verdict.and_then(|verdict| verdict.limited) {
        parts.push(limit.to_string());
    }
    if let Some(replication) = report.replication {
        parts.push(replication.to_string());
    }
    if report.superseded > 0 {
        parts.push(format!(
            "{} nodes taken over by a newer control plane",
            report.superseded
        ));
    }
    parts.join(", ")
}

fn edges(view: &View) -> Vec<String> {
    let rows = view.snapshot.fleet.pools.iter().flat_map(|pool| {
        let report = view
            .snapshot
            .pools
            .get(&id(ResourceKind::EdgePool, &pool.namespace, &pool.name));
        let full = full_mbps(pool, report);
        pool.edges.iter().map(move |edge| {
            vec![
                edge.name.clone(),
                state(edge).to_owned(),
                edge.streams.len().to_string(),
                edge.viewers.to_string(),
                format!("{:.1}", edge.outbound_mbps),
                bar(edge.outbound_mbps, full),
                edge.lag_ms.map_or("-".to_owned(), |lag| format!("{lag} ms")),
            ]
        })
    });
    table(
        &["EDGE", "STATE", "STREAMS", "VIEWERS", "MBIT/S", "OF CAPACITY", "LAG"],
        rows,
    )
}

/// What a full bar stands for: the capacity, or without one the busiest edge.
fn full_mbps(pool: &PoolEntry, report: Option<&PoolReport>) -> f64 {
    match report.and_then(|report| report.capacity_bps) {
        Some(bps) => bps as f64 / 1e6,
        None => pool.edges.iter().map(|edge| edge.outbound_mbps).fold(1.0, f64::max),
    }
}

fn state(edge: &EdgeEntry) -> &'static str {
    match () {
        () if edge.suspect => "silent",
        () if edge.draining => "draining",
        () if edge.ready => "ready",
        () => "starting",
    }
}

/// A bar of a share of the whole; more than all is marked.
fn bar(value: f64, full: f64) -> String {
    let share = if full > 0.0 { value / full } else { 0.0 };
    let filled = ((share * BAR as f64).round() as usize).min(BAR);
    let end = if share > 1.0 { "!" } else { "" };
    format!("{}{}{end}", "#".repeat(filled), ".".repeat(BAR - filled))
}

fn table(head: &[&str], rows: impl Iterator<Item = Vec<String>>) -> Vec<String> {
    let mut table = Table::new();
    table
        .load_style(presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Disabled)
        .set_header(head.iter().map(Cell::new));
    for row in rows {
        table.add_row(row);
    }
    table.lines().map(|line| line.trim_end().to_owned()).collect()
}

fn id(kind: ResourceKind, namespace: &str, name: &str) -> ResourceId {
    ResourceId {
        namespace: namespace.to_owned(),
        kind,
        name: name.to_owned(),
    }
}

/// A log line as the table shows it: without its date, and of the nodes' own lines those only that warn.
fn event(line: &str) -> Option<String> {
    let line = plain(line);
    if line.contains(" | ") && (line.contains(" INFO ") || line.contains(" DEBUG ")) {
        return None;
    }
    match (line.as_bytes().get(10), line.get(11..19), line.find(' ')) {
        (Some(b'T'), Some(time), Some(end)) => Some(format!("{time}{}", &line[end..])),
        _ => Some(line),
    }
}

/// A log line without its colours and other control characters.
fn plain(line: &str) -> String {
    let mut text = String::with_capacity(line.len());
    let mut characters = line.chars();
    while let Some(character) = characters.next() {
        match character {
            '\u{1b}' => {
                // A control sequence ends with a letter.
                characters.by_ref().find(|character| character.is_ascii_alphabetic());
            }
            character if character.is_control() => text.push(' '),
            character => text.push(character),
        }
    }
    text
}

fn cut(line: &str, width: usize) -> String {
    line.chars().take(width).collect()
}
