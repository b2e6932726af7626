//! Pools and edges by what they send, as many lines as there is room for. Pure.

use jiff::Timestamp;

use super::columns;
use super::render::{Wish, edge_state, head, row};
use super::tree::{Edge, Pool, Tree};

/// Widest bar, in characters.
const BAR: usize = 20;
/// Narrowest one: below that it tells nothing.
const SHORT_BAR: usize = 5;

/// The lines: pools by what they send, and each one's edges below it in the same order. Where the terminal is narrower than they are,
/// bars give way first, then the blanks between columns.
pub fn lines(tree: &Tree, wish: Wish, now: Timestamp, width: usize) -> Vec<String> {
    let longest = |lines: &[String]| lines.iter().map(|line| line.chars().count()).max().unwrap_or(0);
    let mut lines = Vec::new();
    for gap in [columns::GAP, 1] {
        lines = drawn(tree, wish, now, (gap, BAR));
        let over = longest(&lines).saturating_sub(width);
        if over > 0 {
            lines = drawn(tree, wish, now, (gap, BAR.saturating_sub(over).max(SHORT_BAR)));
        }
        if longest(&lines) <= width {
            break;
        }
    }
    lines
}

/// What there is room for: at most `height` lines of at most `width` characters. The last says how many are left out.
pub fn fitted(mut lines: Vec<String>, width: usize, height: usize) -> Vec<String> {
    if lines.len() > height {
        let left_out = lines.len() - height.saturating_sub(1);
        lines.truncate(height.saturating_sub(1));
        lines.push(format!("… and {left_out} more lines"));
        lines.truncate(height);
    }
    lines.iter().map(|line| line.chars().take(width).collect()).collect()
}

fn drawn(tree: &Tree, wish: Wish, now: Timestamp, (gap, bar): (usize, usize)) -> Vec<String> {
    let mut pools = tree.all_pools();
    pools.sort_by_key(|pool| std::cmp::Reverse(pool.outbound_mbps));
    let mut rows = Vec::new();
    for pool in pools {
        let load = pool
            .utilization_percent
            .map_or_else(String::new, |load| format!("{load} %"));
        let cells = vec![
            pool.name.clone(),
            format!("{} of {} ready", pool.ready_edges, pool.desired_edges),
            pool.viewers.to_string(),
            pool.outbound_mbps.to_string(),
            load,
            String::new(),
        ];
        rows.push(row(wish, &pool.namespace, cells));
        let mut edges: Vec<&Edge> = pool.edges.iter().collect();
        edges.sort_by_key(|edge| std::cmp::Reverse(mbps(edge)));
        let full = full(pool);
        rows.extend(
            edges
                .into_iter()
                .map(|edge| row(wish, &pool.namespace, cells_of(edge, (full, bar), now))),
        );
    }
    columns::lines_apart(
        gap,
        &head(wish, &["POOL / EDGE", "STATE", "VIEWERS", "MBIT/S", "LOAD", "LAG"]),
        &rows,
    )
}

fn cells_of(edge: &Edge, (full, width): (i64, usize), now: Timestamp) -> Vec<String> {
    let figures = edge.figures.as_ref();
    let number = |number: Option<i64>| number.map_or_else(String::new, |number| number.to_string());
    vec![
        format!("  {}", edge.name),
        edge_state(edge, now),
        number(figures.map(|figures| figures.viewers)),
        number(figures.map(|figures| figures.outbound_mbps)),
        bar(mbps(edge), full, width),
        figures
            .and_then(|figures| figures.lag_ms)
            .map_or_else(String::new, |lag| format!("{lag} ms")),
    ]
}

fn mbps(edge: &Edge) -> i64 {
    edge.figures.as_ref().map_or(0, |figures| figures.outbound_mbps)
}

/// What a full bar stands for: the capacity, or without one the busiest edge.
fn full(pool: &Pool) -> i64 {
    let busiest = pool.edges.iter().map(mbps).max().unwrap_or(0);
    pool.capacity_mbps.map_or(busiest, i64::from).max(1)
}

/// A bar of a share of the whole; more than all is marked.
fn bar(value: i64, full: i64, width: usize) -> String {
    let filled = ((value.max(0) as f64 / full as f64 * width as f64).round() as usize).min(width);
    let end = if value > full { "!" } else { "" };
    format!("{}{}{end}", "#".repeat(filled), ".".repeat(width - filled))
}
