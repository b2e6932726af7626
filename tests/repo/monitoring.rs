//! Metrics, rules, dashboards, runbook: each names only what the others have.

use std::collections::{BTreeMap, BTreeSet};

use e2e::monitoring::{
    self, OF_THE_SCRAPE, Selector, base, dashboards, documented, grouping, rules, selectors, templated,
};

use crate::{none, root, texts};

/// Files in which metrics are registered.
const REGISTERED: [&str; 2] = ["media-node/src/ops/metrics.rs", "operator/src/metrics.rs"];

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap()
}

/// Names of metrics in the code of a file, its tests left out.
fn registered(path: &str) -> BTreeSet<String> {
    let text = read(path);
    let code = text.split("#[cfg(test)]").next().unwrap();
    let literals = code.split('"').filter(|part| part.starts_with("headwater_"));
    literals.map(str::to_owned).collect()
}

/// Labels of every series that a query may name: metrics, and what rules record.
fn known() -> BTreeMap<String, BTreeSet<String>> {
    let mut known = documented().unwrap();
    let of_nodes = registered(REGISTERED[0]);
    for name in of_nodes {
        let labels = known
            .get_mut(&name)
            .unwrap_or_else(|| panic!("{name} is not documented"));
        labels.extend(OF_THE_SCRAPE.map(str::to_owned));
    }
    // The scrape names whom it asked, but the operator's own labels stand.
    for labels in known.values_mut() {
        labels.insert("instance".to_owned());
    }
    for rule in rules().unwrap() {
        known.extend(rule.record.map(|name| (name, grouping(&rule.expr))));
    }
    known
}

/// What a query names that nobody exports.
fn unknown(known: &BTreeMap<String, BTreeSet<String>>, expr: &str, legend: &str) -> Vec<String> {
    let mut faults = Vec::new();
    let mut labels = BTreeSet::new();
    let found = selectors(expr);
    if found.is_empty() {
        faults.push("names no metric of ours".to_owned());
    }
    for Selector {
        name, labels: matched, ..
    } in found
    {
        let (own, le) = match (known.get(&name), base(&name).and_then(|base| known.get(base))) {
            (Some(labels), _) => (labels, None),
            (None, Some(labels)) => (labels, name.ends_with("_bucket").then(|| "le".to_owned())),
            (None, None) => {
                faults.push(format!("{name} is not exported"));
                continue;
            }
        };
        let own: BTreeSet<String> = own.iter().cloned().chain(le).collect();
        let strange = matched.iter().filter(|label| !own.contains(*label));
        faults.extend(strange.map(|label| format!("{name} has no label {label}")));
        labels.extend(own);
    }
    let grouped = grouping(expr);
    faults.extend(
        grouped
            .difference(&labels)
            .map(|label| format!("groups by {label}, which nothing has")),
    );
    let shown = if grouped.is_empty() { &labels } else { &grouped };
    faults.extend(
        templated(legend)
            .difference(shown)
            .map(|label| format!("shows {label}, which it has not")),
    );
    faults
}

#[test]
fn every_registered_metric_is_documented_and_every_documented_one_is_registered() {
    let code: BTreeSet<String> = REGISTERED.iter().flat_map(|path| registered(path)).collect();
    let told: BTreeSet<String> = documented().unwrap().into_keys().collect();
    assert!(code.len() > 20, "metrics were not found: {code:?}");
    let untold = code
        .difference(&told)
        .map(|name| format!("{name} is not in {}", monitoring::METRICS));
    let gone = told
        .difference(&code)
        .map(|name| format!("{name} is documented and not registered"));
    none(untold.chain(gone).collect());
}

#[test]
fn rules_name_only_what_is_exported() {
    let known = known();
    let mut faults = Vec::new();
    for rule in rules().unwrap() {
        let name = rule.record.or(rule.alert).unwrap();
        // What an expression without groups shows are the labels of what it compares.
        let texts: String = rule.annotations.values().map(String::as_str).collect();
        let grouped = grouping(&rule.expr);
        let legend = if grouped.is_empty() || selectors(&rule.expr).iter().any(|it| it.name.contains(':')) {
            ""
        } else {
            &texts
        };
        faults.extend(
            unknown(&known, &rule.expr, legend)
                .into_iter()
                .map(|fault| format!("{name}: {fault}")),
        );
    }
    none(faults);
}

#[test]
fn dashboards_name_only_what_is_exported() {
    let known = known();
    let mut faults = Vec::new();
    for dashboard in dashboards().unwrap() {
        let variables = dashboard.variables();
        for wanted in ["namespace", "pool", "stream"] {
            let query = variables.get(wanted).map(String::as_str).unwrap_or_default();
            let found = unknown(&known, query, &format!("{{{{{wanted}}}}}"));
            faults.extend(
                found
                    .into_iter()
                    .map(|fault| format!("{}: ${wanted}: {fault}", dashboard.file)),
            );
            if !dashboard
                .queries()
                .iter()
                .any(|query| query.expr.contains(&format!("${wanted}")))
            {
                faults.push(format!("{}: ${wanted} is not used", dashboard.file));
            }
        }
        for query in dashboard.queries() {
            let found = unknown(&known, &query.expr, &query.legend);
            faults.extend(found.into_iter().map(|fault| format!("{}: {fault}", query.place)));
        }
    }
    none(faults);
}

#[test]
fn dashboards_leave_out_nothing_that_grafana_has_no_default_for() {
    none(
        dashboards()
            .unwrap()
            .iter()
            .flat_map(monitoring::Dashboard::gaps)
            .collect(),
    );
}

#[test]
fn every_alert_says_what_it_is_and_has_its_section_of_the_runbook() {
    let runbook = read("docs/runbook.md");
    let sections: BTreeSet<&str> = runbook
        .lines()
        .filter_map(|line| line.strip_prefix("## Headwater"))
        .collect();
    let mut faults = Vec::new();
    let mut alerts = BTreeSet::new();
    let rules = rules().unwrap();
    for rule in rules.iter().filter(|rule| rule.alert.is_some()) {
        let alert = rule.alert.as_deref().unwrap();
        if !["warning", "critical"].contains(&rule.labels.get("severity").map_or("", String::as_str)) {
            faults.push(format!("{alert}: severity is neither warning nor critical"));
        }
        for annotation in ["summary", "description"] {
            if !rule.annotations.contains_key(annotation) {
                faults.push(format!("{alert}: no {annotation}"));
            }
        }
        let anchor = alert.to_lowercase();
        let url = format!("https://github.com/headwater-dev/headwater/blob/main/docs/runbook.md#{anchor}");
        if rule.annotations.get("runbook_url") != Some(&url) {
            faults.push(format!("{alert}: runbook_url is not {url}"));
        }
        if rule.lasts.is_none() {
            faults.push(format!("{alert}: fires at once, with no `for`"));
        }
        alerts.insert(alert.trim_start_matches("Headwater"));
    }
    faults.extend(
        alerts
            .difference(&sections)
            .map(|it| format!("docs/runbook.md: no section Headwater{it}")),
    );
    faults.extend(
        sections
            .difference(&alerts)
            .map(|it| format!("docs/runbook.md: there is no alert Headwater{it}")),
    );
    let told = read("docs/monitoring.md");
    faults.extend(
        alerts
            .iter()
            .filter(|it| !told.contains(&format!("`Headwater{it}`")))
            .map(|it| format!("docs/monitoring.md: Headwater{it} is not listed")),
    );
    none(faults);
}

#[test]
fn every_alert_is_tested_to_fire_and_not_to_fire() {
    let mut scenarios = BTreeMap::<String, [bool; 2]>::new();
    for (_, text) in texts(&[".test.yaml"]) {
        for check in text.split("alertname: ").skip(1) {
            let (name, rest) = check.split_once('\n').unwrap();
            let fires = !rest.trim_start().starts_with("exp_alerts: []");
            scenarios.entry(name.trim().to_owned()).or_default()[usize::from(fires)] = true;
        }
    }
    let alerts = rules().unwrap().into_iter().filter_map(|rule| rule.alert);
    let faults = alerts.filter(|alert| scenarios.get(alert) != Some(&[true, true]));
    none(faults.map(|alert| format!("{alert}: not tested both ways")).collect());
}
