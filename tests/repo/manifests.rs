//! Cargo manifests, scripts and the recipe file.

use std::collections::BTreeSet;

use crate::{none, root, texts};

fn member_manifests() -> Vec<(std::path::PathBuf, String)> {
    texts(&["Cargo.toml"])
        .into_iter()
        .filter(|(path, _)| path.as_os_str() != "Cargo.toml")
        .collect()
}

/// Names under `[…dependencies]` headings.
fn dependencies(manifest: &str) -> Vec<(String, String)> {
    let mut inside = false;
    let mut found = Vec::new();
    for line in manifest.lines() {
        if line.starts_with('[') {
            inside = line.ends_with("dependencies]");
        } else if inside && let Some((name, value)) = line.split_once('=') {
            let name = name.trim().trim_end_matches(".workspace").to_owned();
            found.push((name, line.to_owned() + value));
        }
    }
    found
}

#[test]
fn versions_stand_in_the_workspace_alone() {
    let mut faults = Vec::new();
    for (path, text) in member_manifests() {
        for (name, line) in dependencies(&text) {
            if !line.contains("workspace") {
                faults.push(format!("{}: {name} has a version of its own", path.display()));
            }
        }
    }
    none(faults);
}

#[test]
fn no_dependency_is_dead() {
    let mut faults = Vec::new();
    let sources = texts(&[".rs"]);
    let mut used = BTreeSet::new();
    let members = member_manifests();
    for (path, text) in &members {
        let folder = path.parent().unwrap();
        for (name, _) in dependencies(text) {
            used.insert(name.clone());
            let ident = name.replace('-', "_");
            let inner = members.iter().filter_map(|(other, _)| other.parent());
            let inner: Vec<_> = inner
                .filter(|inner| *inner != folder && inner.starts_with(folder))
                .collect();
            let nested = |file: &std::path::Path| inner.iter().any(|inner| file.starts_with(inner));
            let own = sources
                .iter()
                .filter(|(file, _)| file.starts_with(folder) && !nested(file));
            if !own
                .into_iter()
                .any(|(_, text)| text.contains(&format!("{ident}::")) || text.contains(&format!("use {ident}")))
            {
                faults.push(format!("{}: {name} is not used", path.display()));
            }
        }
    }
    let workspace = std::fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let foreign = dependencies(&workspace)
        .into_iter()
        .filter(|(_, line)| !line.contains("path ="));
    let declared = foreign.map(|(name, _)| name);
    faults.extend(
        declared
            .filter(|name| !used.contains(name))
            .map(|name| format!("Cargo.toml: no member takes {name}")),
    );
    none(faults);
}

#[test]
fn scripts_stop_at_the_first_error() {
    let mut faults = Vec::new();
    let mut scripts = texts(&[".sh"]);
    scripts.extend(texts(&["run"]).into_iter().filter(|(path, _)| path.starts_with(".ci")));
    assert!(scripts.len() >= 4, "scripts were not found");
    for (path, text) in scripts {
        if !text.lines().any(|line| line == "set -euo pipefail") {
            faults.push(format!("{}: no set -euo pipefail", path.display()));
        }
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            let mode = std::fs::metadata(root().join(&path)).unwrap().permissions().mode();
            if mode & 0o100 == 0 {
                faults.push(format!("{}: cannot be run", path.display()));
            }
        }
    }
    none(faults);
}

/// Recipes of the Makefile.
fn recipes() -> BTreeSet<String> {
    let makefile = std::fs::read_to_string(root().join("Makefile")).unwrap();
    let rules = makefile.lines().filter(|line| line.contains("## "));
    rules
        .filter_map(|line| Some(line.split_once(':')?.0.to_owned()))
        .collect()
}

#[test]
fn the_makefile_has_every_promised_recipe() {
    let recipes = recipes();
    none(
        ["demo", "test", "check", "bench", "long", "help"]
            .into_iter()
            .filter(|r| !recipes.contains(*r))
            .map(str::to_owned)
            .collect(),
    );
}

#[test]
fn recipes_and_files_that_documents_name_are_there() {
    let recipes = recipes();
    let mut faults = Vec::new();
    for (path, text) in texts(&[".md"]) {
        for (at, line) in text.lines().enumerate() {
            for command in line
                .split(['`', '\n'])
                .filter_map(|part| part.trim().strip_prefix("make "))
            {
                let recipe: String = command.chars().take_while(|c| c.is_ascii_lowercase()).collect();
                let looks_like_one =
                    line.contains(&format!("`make {recipe}")) || line.trim_start().starts_with("make ");
                if looks_like_one && !recipe.is_empty() && !recipes.contains(&recipe) {
                    faults.push(format!("{}:{}: there is no recipe {recipe}", path.display(), at + 1));
                }
            }
            for link in line.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
                let target = link.split('#').next().unwrap_or_default();
                let external = target.is_empty() || target.contains("://");
                if !external && !root().join(path.parent().unwrap()).join(target).exists() {
                    faults.push(format!("{}:{}: {target} is not there", path.display(), at + 1));
                }
            }
        }
    }
    none(faults);
}
