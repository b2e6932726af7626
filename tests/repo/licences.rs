//! Licences and bans of `deny.toml`, checked from cargo's own metadata, so that they hold where cargo-deny is not installed.

use std::collections::BTreeSet;
use std::process::Command;

use serde_json::Value;

use crate::{none, root};

/// Every quoted string of the lines between `start` and the next `]`.
fn quoted(text: &str, start: &str) -> Vec<String> {
    let body = text.split(start).nth(1).unwrap();
    let lines = body.lines().take_while(|line| !line.starts_with(']'));
    lines
        .filter_map(|line| Some(line.split('"').nth(1)?.to_owned()))
        .collect()
}

fn packages() -> Vec<Value> {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args([
        "metadata",
        "--locked",
        "--offline",
        "--format-version",
        "1",
        "--filter-platform",
        "x86_64-unknown-linux-gnu",
    ]);
    let output = cargo.current_dir(root()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let used: BTreeSet<&str> = metadata["resolve"]["nodes"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|node| node["id"].as_str())
        .collect();
    let all = metadata["packages"].as_array().unwrap().iter();
    all.filter(|package| used.contains(package["id"].as_str().unwrap()))
        .cloned()
        .collect()
}

/// True if an SPDX expression can be met by licences of the list. Braces are flat: `(A OR B) AND C` is as far as crates go.
fn met(expression: &str, allowed: &BTreeSet<String>) -> bool {
    expression.split(" AND ").all(|part| {
        let part = part.trim().trim_matches(['(', ')']).replace('/', " OR ");
        part.split(" OR ")
            .any(|licence| allowed.contains(licence.trim().trim_matches(['(', ')'])))
    })
}

#[test]
fn every_dependency_has_a_licence_that_is_allowed() {
    let deny = std::fs::read_to_string(root().join("deny.toml")).unwrap();
    let allowed: BTreeSet<String> = quoted(&deny, "\nallow = [").into_iter().collect();
    assert!(allowed.contains("MIT"));
    let packages = packages();
    assert!(packages.len() > 100);
    let faults = packages.iter().filter_map(|package| {
        let licence = package["license"].as_str().unwrap_or("none");
        (!met(licence, &allowed)).then(|| format!("{} {}: {licence}", package["name"], package["version"]))
    });
    none(faults.collect());
}

#[test]
fn no_banned_crate_is_in_the_tree() {
    let deny = std::fs::read_to_string(root().join("deny.toml")).unwrap();
    let banned = quoted(&deny, "\ndeny = [");
    assert!(banned.iter().any(|name| name == "openssl"));
    let wrapped = |name: &str| {
        deny.lines()
            .any(|line| line.contains(&format!("\"{name}\"")) && line.contains("wrappers"))
    };
    let packages = packages();
    let faults = packages.iter().filter(|package| {
        let name = package["name"].as_str().unwrap();
        banned.iter().any(|banned| banned == name) && !wrapped(name)
    });
    none(faults.map(|package| package["name"].to_string()).collect());
}
