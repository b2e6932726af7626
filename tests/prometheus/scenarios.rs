//! The rule file by itself: promtool's checks, and a scenario for each alert (`*.test.yaml`).

use std::process::Command;

use e2e::harness::root;
use e2e::monitoring::RULES;

fn promtool(args: &[&str]) {
    let output = Command::new("promtool").args(args).current_dir(root()).output();
    let output = output.expect("promtool is not there: run make setup");
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "promtool {args:?}:\n{said}");
}

#[test]
fn promtool_finds_no_fault_in_the_rules() {
    promtool(&["check", "rules", "--lint=all", "--lint-fatal", RULES]);
}

#[test]
fn every_alert_fires_when_it_should_and_only_then() {
    let folder = root().join("tests/prometheus");
    let files = std::fs::read_dir(folder).unwrap();
    let names = files.map(|file| file.unwrap().file_name().to_string_lossy().into_owned());
    let paths: Vec<String> = names
        .filter(|name| name.ends_with(".test.yaml"))
        .map(|name| format!("tests/prometheus/{name}"))
        .collect();
    assert!(paths.len() >= 3, "scenarios were not found");
    let args: Vec<&str> = ["test", "rules"]
        .into_iter()
        .chain(paths.iter().map(String::as_str))
        .collect();
    promtool(&args);
}
