//! The tree as text: status, streams, addresses, top. Total functions of the tree and the time.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::columns;
use super::tree::{Aspect, Edge, Origin, Place, Pool, Ready, Tree, with_those_below};

/// What is shown beside what always is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wish {
    /// More columns, and every condition.
    pub wide: bool,
    /// A column of namespaces.
    pub namespaces: bool,
}

/// Puts a namespace before a row where that is wished.
pub(super) fn row(wish: Wish, namespace: &str, cells: Vec<String>) -> Vec<String> {
    match wish.namespaces {
        true => std::iter::once(namespace.to_owned()).chain(cells).collect(),
        false => cells,
    }
}

/// The same for the head.
pub(super) fn head<'a>(wish: Wish, columns: &[&'a str]) -> Vec<&'a str> {
    let namespace = wish.namespaces.then_some("NAMESPACE");
    namespace.into_iter().chain(columns.iter().copied()).collect()
}

/// The tree, and below it the conditions that are not as usual.
pub fn status(tree: &Tree, wish: Wish, now: Timestamp) -> String {
    let mut columns = vec!["NAME", "STATE", "STREAMS", "VIEWERS", "MBIT/S", "LOAD", "LAG"];
    if wish.wide {
        columns.extend(["NODE", "POD IP", "RESTARTS", "AGE"]);
    }
    let mut rows = Rows {
        wish,
        now,
        rows: Vec::new(),
    };
    for origin in &tree.origins {
        rows.origin(origin);
    }
    for pool in &tree.pools {
        rows.pool(pool, "", "");
    }
    let mut lines = columns::lines(&head(wish, &columns), &rows.rows);
    lines.extend(conditions(tree, wish));
    lines.join("\n") + "\n"
}

struct Rows {
    wish: Wish,
    now: Timestamp,
    rows: Vec<Vec<String>>,
}

impl Rows {
    fn origin(&mut self, origin: &Origin) {
        let (now, wish) = (self.now, self.wish);
        let mut cells = vec![
            format!("StreamOrigin/{}", origin.name),
            state(&origin.ready, "ready"),
            origin.stream_count.to_string(),
        ];
        cells.extend(["", "", "", ""].map(str::to_owned));
        cells.extend(place(wish, origin.pod.as_ref(), now));
        self.rows.push(row(wish, &origin.namespace, cells));
        for (at, pool) in origin.pools.iter().enumerate() {
            let (branch, beside) = branch(at + 1 == origin.pools.len());
            self.pool(pool, branch, beside);
        }
    }

    /// A pool; `branch` stands before it, `beside` before all that is below it.
    fn pool(&mut self, pool: &Pool, branch: &str, beside: &str) {
        let edges = format!("{} of {} ready", pool.ready_edges, pool.desired_edges);
        let cells = vec![
            format!("{branch}EdgePool/{}", pool.name),
            state(&pool.ready, &edges),
            String::new(),
            pool.viewers.to_string(),
            pool.outbound_mbps.to_string(),
            pool.utilization_percent
                .map_or_else(String::new, |load| format!("{load} %")),
            String::new(),
        ];
        self.rows.push(row(self.wish, &pool.namespace, cells));
        let below = pool.edges.len() + pool.pools.len();
        for (at, edge) in pool.edges.iter().enumerate() {
            let (branch, _) = self::branch(at + 1 == below);
            let mut cells = vec![format!("{beside}{branch}{}", edge.name), edge_state(edge, self.now)];
            cells.extend(figures(edge));
            cells.extend(place(self.wish, edge.pod.as_ref(), self.now));
            self.rows.push(row(self.wish, &pool.namespace, cells));
        }
        for (at, inner) in pool.pools.iter().enumerate() {
            let (branch, deeper) = self::branch(pool.edges.len() + at + 1 == below);
            self.pool(inner, &format!("{beside}{branch}"), &format!("{beside}{deeper}"));
        }
    }
}

/// What stands before one of several, and before those below it.
fn branch(is_last: bool) -> (&'static str, &'static str) {
    match is_last {
        true => ("└─ ", "   "),
        false => ("├─ ", "│  "),
    }
}

fn state(ready: &Ready, text: &str) -> String {
    match (ready.ready, text) {
        (true, text) => text.to_owned(),
        (false, "ready") => ready.reason.clone(),
        (false, text) => format!("{text}, {}", ready.reason),
    }
}

pub(super) fn edge_state(edge: &Edge, now: Timestamp) -> String {
    let word = edge.state.as_str();
    let deadline = edge.figures.as_ref().and_then(|figures| figures.drain_deadline);
    match (&edge.why, deadline) {
        (Some(why), _) => format!("{word}: {why}"),
        (None, Some(deadline)) => format!("{word}, {} left", columns::age(deadline.as_second() - now.as_second())),
        (None, None) => word.to_owned(),
    }
}

/// Streams, viewers, bandwidth, load, lag.
fn figures(edge: &Edge) -> Vec<String> {
    let Some(figures) = &edge.figures else {
        return vec![String::new(); 5];
    };
    vec![
        figures.streams.to_string(),
        figures.viewers.to_string(),
        figures.outbound_mbps.to_string(),
        String::new(),
        figures.lag_ms.map_or_else(String::new, |lag| format!("{lag} ms")),
    ]
}

fn place(wish: Wish, place: Option<&Place>, now: Timestamp) -> Vec<String> {
    let Some(place) = place.filter(|_| wish.wide) else {
        return Vec::new();
    };
    let age = place
        .since
        .map(|since| columns::age(now.as_second() - since.as_second()));
    vec![
        place.node.clone().unwrap_or_default(),
        place.address.clone().unwrap_or_default(),
        place.restarts.to_string(),
        age.unwrap_or_default(),
    ]
}

/// Conditions: those that are not as usual, or all.
fn conditions(tree: &Tree, wish: Wish) -> Vec<String> {
    let origins = tree
        .origins
        .iter()
        .map(|origin| ("StreamOrigin", &origin.namespace, &origin.name, &origin.conditions));
    let pools = tree.all_pools().into_iter();
    let pools = pools.map(|pool| ("EdgePool", &pool.namespace, &pool.name, &pool.conditions));
    let mut rows = Vec::new();
    for (kind, namespace, name, conditions) in origins.chain(pools) {
        let shown = |aspect: &&Aspect| wish.wide || !aspect.is_as_usual();
        rows.extend(conditions.iter().filter(shown).map(|aspect| {
            let cells = vec![
                format!("{kind}/{name}"),
                aspect.kind.clone(),
                aspect.status.clone(),
                aspect.reason.clone(),
                aspect.message.clone(),
            ];
            row(wish, namespace, cells)
        }));
    }
    if rows.is_empty() {
        return Vec::new();
    }
    let columns = head(wish, &["CONDITIONS OF", "TYPE", "STATUS", "REASON", "MESSAGE"]);
    let lines = columns::lines(&columns, &rows);
    std::iter::once(String::new()).chain(lines).collect()
}

/// The live streams.
pub fn streams(tree: &Tree, wish: Wish, now: Timestamp) -> String {
    let mut columns = vec!["STREAM", "ORIGIN", "CODECS", "PICTURE", "MBIT/S", "SINCE"];
    if wish.wide {
        columns.push("POOLS");
    }
    let mut rows = Vec::new();
    let mut unlisted = Vec::new();
    for origin in &tree.origins {
        for stream in &origin.streams {
            let size = stream.width.zip(stream.height);
            let mut cells = vec![
                format!("{}/{}", origin.app, stream.name),
                origin.name.clone(),
                stream.codecs.join(" "),
                size.map_or_else(String::new, |(width, height)| format!("{width}x{height}")),
                stream
                    .bitrate
                    .map_or_else(String::new, |bits| format!("{:.1}", bits as f64 / 1e6)),
                since(stream.since.as_ref(), now),
            ];
            if wish.wide {
                let pools = origin.pools.iter().flat_map(with_those_below);
                let pools: Vec<&str> = pools
                    .filter(|pool| pool.carries(&stream.name))
                    .map(|pool| pool.name.as_str())
                    .collect();
                cells.push(pools.join(" "));
            }
            rows.push(row(wish, &origin.namespace, cells));
        }
        let more = usize::try_from(origin.stream_count)
            .unwrap_or(0)
            .saturating_sub(origin.streams.len());
        if more > 0 {
            unlisted.push(format!(
                "and {more} more of {}, which its status does not list",
                origin.name
            ));
        }
    }
    let mut lines = columns::lines(&head(wish, &columns), &rows);
    lines.extend(unlisted);
    lines.join("\n") + "\n"
}

fn since(since: Option<&Time>, now: Timestamp) -> String {
    since.map_or_else(String::new, |since| columns::age(now.as_second() - since.0.as_second()))
}

#[cfg(test)]
mod tests;
