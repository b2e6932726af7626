//! Rules and dashboards as the chart ships them, and what their queries name.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use serde_json::Value;

use crate::harness::root;

/// The rule file, from the root.
pub const RULES: &str = "charts/headwater/files/rules.yaml";
/// The folder of dashboards, from the root.
pub const DASHBOARDS: &str = "charts/headwater/files/dashboards";
/// Where every metric stands with its labels.
pub const METRICS: &str = "docs/monitoring.md";
/// Labels that the scrape gives to what nodes say.
pub const OF_THE_SCRAPE: [&str; 5] = ["namespace", "role", "pool", "origin", "instance"];

/// A recording rule or an alert.
#[derive(Clone, Debug, Deserialize)]
pub struct Rule {
    /// Name of the series that it records.
    pub record: Option<String>,
    /// Name of the alert.
    pub alert: Option<String>,
    /// The query.
    pub expr: String,
    /// How long the query must return something before an alert fires.
    #[serde(rename = "for")]
    pub lasts: Option<String>,
    /// Labels that it adds.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// What it tells people.
    #[serde(default)]
    pub annotations: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct File {
    groups: Vec<Group>,
}

#[derive(Deserialize)]
struct Group {
    rules: Vec<Rule>,
}

/// Every rule of the rule file.
pub fn rules() -> Result<Vec<Rule>> {
    let file: File = serde_saphyr::from_str(&read(RULES)?).context(RULES)?;
    Ok(file.groups.into_iter().flat_map(|group| group.rules).collect())
}

/// One query of a dashboard.
#[derive(Clone, Debug)]
pub struct Query {
    /// The dashboard's file and the panel's title, or the variable's name.
    pub place: String,
    /// The query, with Grafana's variables in it.
    pub expr: String,
    /// How its lines are named.
    pub legend: String,
}

impl Query {
    /// The query as Grafana sends it with these values of the variables.
    pub fn with(&self, variables: &[(&str, &str)]) -> String {
        let fill = |expr: String, (name, value): &(&str, &str)| expr.replace(&format!("${name}"), value);
        variables.iter().fold(self.expr.clone(), fill)
    }
}

/// A dashboard.
#[derive(Clone, Debug)]
pub struct Dashboard {
    /// Name of its file.
    pub file: String,
    /// The document.
    pub json: Value,
}

/// Every dashboard, in order of file.
pub fn dashboards() -> Result<Vec<Dashboard>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(root().join(DASHBOARDS))? {
        let file = entry?.file_name().to_string_lossy().into_owned();
        let json = serde_json::from_str(&read(&format!("{DASHBOARDS}/{file}"))?).context(file.clone())?;
        found.push(Dashboard { file, json });
    }
    found.sort_by(|a, b| a.file.cmp(&b.file));
    Ok(found)
}

impl Dashboard {
    /// The queries of all panels.
    pub fn queries(&self) -> Vec<Query> {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let mut queries = Vec::new();
        for panel in self.json["panels"].as_array().into_iter().flatten() {
            for target in panel["targets"].as_array().into_iter().flatten() {
                queries.push(Query {
                    place: format!("{}: {}", self.file, text(&panel["title"])),
                    expr: text(&target["expr"]),
                    legend: text(&target["legendFormat"]),
                });
            }
        }
        queries
    }

    /// What it leaves out of that for which Grafana's schema (`@grafana/schema` 13) knows no default: without `showLegend` there is no legend.
    pub fn gaps(&self) -> Vec<String> {
        let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
        let link: &[&str] = &[
            "title",
            "type",
            "icon",
            "tooltip",
            "tags",
            "asDropdown",
            "targetBlank",
            "includeVars",
            "keepTime",
        ];
        let mut wanted: Vec<(String, Value, &[&str])> = Vec::new();
        for (at, value) in list(&self.json["links"]).into_iter().enumerate() {
            wanted.push((format!("link {at}"), value, link));
        }
        for panel in list(&self.json["panels"]) {
            let title = panel["title"].as_str().unwrap_or_default();
            for (part, keys) in [
                ("legend", ["calcs", "displayMode", "placement", "showLegend"].as_slice()),
                ("tooltip", &["mode", "sort"]),
            ] {
                if panel["type"] == "timeseries" {
                    wanted.push((format!("{part} of {title}"), panel["options"][part].clone(), keys));
                }
            }
        }
        let gap = |(place, value, keys): (String, Value, &[&str])| -> Vec<String> {
            let gone = keys.iter().filter(|key| value[**key].is_null());
            gone.map(|key| format!("{}: {place}: no {key}", self.file)).collect()
        };
        wanted.into_iter().flat_map(gap).collect()
    }

    /// Its variables: name, and the query that gives their values.
    pub fn variables(&self) -> BTreeMap<String, String> {
        let list = self.json["templating"]["list"].as_array().into_iter().flatten();
        let query = |variable: &Value| Some(variable["query"]["query"].as_str()?.to_owned());
        list.filter_map(|variable| {
            Some((
                variable["name"].as_str()?.to_owned(),
                query(variable).unwrap_or_default(),
            ))
        })
        .collect()
    }
}

/// One of our series in a query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selector {
    /// Name of the metric, or of what a rule records.
    pub name: String,
    /// Labels that its matchers name.
    pub labels: Vec<String>,
    /// All of it, as a query of its own.
    pub text: String,
}

/// Our series in a query, in order.
pub fn selectors(expr: &str) -> Vec<Selector> {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    let mut found = Vec::new();
    let mut rest = expr;
    while let Some(at) = rest.find(word) {
        let tail = &rest[at..];
        let end = tail.find(|c| !word(c)).unwrap_or(tail.len());
        let (name, after) = tail.split_at(end);
        rest = after;
        if !name.contains("headwater_") {
            continue;
        }
        let inside = after.strip_prefix('{').and_then(|inside| inside.split_once('}'));
        let matchers = inside.map_or("", |(matchers, _)| matchers);
        found.push(Selector {
            name: name.to_owned(),
            labels: matchers.split(',').filter_map(label).collect(),
            text: if matchers.is_empty() {
                name.to_owned()
            } else {
                format!("{name}{{{matchers}}}")
            },
        });
        rest = inside.map_or(after, |(_, behind)| behind);
    }
    found
}

fn label(matcher: &str) -> Option<String> {
    let end = matcher.find(['=', '!'])?;
    Some(matcher[..end].trim().to_owned())
}

/// Labels by which a query groups or joins.
pub fn grouping(expr: &str) -> BTreeSet<String> {
    let mut labels = BTreeSet::new();
    for word in [
        "by (",
        "on (",
        "without (",
        "ignoring (",
        "group_left (",
        "group_right (",
    ] {
        let lists = expr.split(word).skip(1).filter_map(|rest| rest.split_once(')'));
        for (list, _) in lists {
            labels.extend(list.split(',').map(|label| label.trim().to_owned()));
        }
    }
    labels
}

/// Labels that a legend, or an annotation, names.
pub fn templated(text: &str) -> BTreeSet<String> {
    let parts = text.split("{{").skip(1).filter_map(|rest| rest.split_once("}}"));
    let names = parts.map(|(name, _)| name.trim().trim_start_matches("$labels.").to_owned());
    names.filter(|name| !name.starts_with('$')).collect()
}

/// Every documented metric with its labels: rows that begin with "| `headwater_…{…}`".
pub fn documented() -> Result<BTreeMap<String, BTreeSet<String>>> {
    let text = read(METRICS)?;
    let rows = text
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once('`'));
    let rows = rows
        .map(|(metric, _)| metric)
        .filter(|metric| metric.starts_with("headwater_"));
    let mut metrics = BTreeMap::new();
    for row in rows {
        let (name, labels) = row.split_once('{').unwrap_or((row, ""));
        let labels = labels
            .trim_end_matches('}')
            .split(',')
            .filter(|label| !label.is_empty());
        let double = metrics.insert(name.to_owned(), labels.map(|label| label.trim().to_owned()).collect());
        ensure!(double.is_none(), "{name} stands in {METRICS} twice");
    }
    Ok(metrics)
}

/// The metrics of a scrape, with the labels of their samples.
pub fn scraped(text: &str) -> BTreeMap<String, BTreeSet<String>> {
    let types = text
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
    let histograms: BTreeSet<&str> = types
        .filter(|(_, kind)| *kind == "histogram")
        .map(|(name, _)| name)
        .collect();
    let mut metrics: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for sample in text.lines().filter(|line| !line.starts_with('#')) {
        let name = sample.split(['{', ' ']).next().unwrap_or_default();
        let base = base(name).filter(|base| histograms.contains(base)).unwrap_or(name);
        let labels = metrics.entry(base.to_owned()).or_default();
        let matchers = sample.split_once('{').and_then(|(_, rest)| rest.rsplit_once('}'));
        let found = matchers
            .map_or("", |(matchers, _)| matchers)
            .split("\",")
            .filter_map(label);
        labels.extend(found.filter(|label| base == name || label != "le"));
    }
    metrics
}

/// The histogram of a sample's name, if it may be one.
pub fn base(name: &str) -> Option<&str> {
    ["_bucket", "_sum", "_count"]
        .iter()
        .find_map(|suffix| name.strip_suffix(suffix))
}

fn read(path: &str) -> Result<String> {
    std::fs::read_to_string(root().join(Path::new(path))).with_context(|| format!("failed to read {path}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_taken_apart() {
        let expr = r#"sum by (pool, le) (rate(headwater_a_bucket{role="edge", pool!~"x|y"}[5m])) / on (pool) a:headwater_b:max"#;
        let found = selectors(expr);
        assert_eq!(found[0].name, "headwater_a_bucket");
        assert_eq!(found[0].labels, ["role", "pool"]);
        assert_eq!(found[0].text, r#"headwater_a_bucket{role="edge", pool!~"x|y"}"#);
        assert_eq!((found[1].text.as_str(), found.len()), ("a:headwater_b:max", 2));
        assert_eq!(grouping(expr), ["le", "pool"].map(str::to_owned).into());
        assert_eq!(
            templated("{{a}} {{ $labels.b }} {{ $value | humanize }}"),
            ["a", "b"].map(str::to_owned).into()
        );
    }

    #[test]
    fn a_scrape_is_taken_apart() {
        let text = "# TYPE headwater_h histogram\nheadwater_h_bucket{le=\"1\"} 0\nheadwater_h_sum 0\n\
            # TYPE headwater_sum gauge\nheadwater_sum{a=\"x=1,y\",b=\"\"} 1\n";
        let metrics = scraped(text);
        assert_eq!(metrics["headwater_h"], BTreeSet::new());
        assert_eq!(metrics["headwater_sum"], ["a", "b"].map(str::to_owned).into());
        assert_eq!(metrics.len(), 2);
    }
}
