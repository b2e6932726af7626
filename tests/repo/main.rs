//! Tests of the repository itself: that it reads as its authors agreed, and that what is described is there.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod chart;
mod licences;
mod manifests;
mod monitoring;
mod sources;
mod vendored;
mod words;

use std::path::{Path, PathBuf};

/// The root of the repository.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// Every file of the repository that a person wrote, by path from the root.
fn files() -> Vec<PathBuf> {
    fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if [".git", ".cache", "target", "node_modules", "proptest-regressions"].contains(&name.as_str()) {
                continue;
            }
            if path.is_dir() {
                walk(&path, found);
            } else {
                found.push(path);
            }
        }
    }
    let mut found = Vec::new();
    walk(&root(), &mut found);
    found.sort();
    found
        .into_iter()
        .map(|path| path.strip_prefix(root()).unwrap().to_owned())
        .collect()
}

/// Files with one of these endings, with their text.
fn texts(endings: &[&str]) -> Vec<(PathBuf, String)> {
    let wanted = |path: &Path| {
        let name = path.file_name().unwrap().to_string_lossy();
        endings.iter().any(|ending| name.ends_with(ending))
    };
    let files = files().into_iter().filter(|path| wanted(path));
    files
        .filter_map(|path| Some((path.clone(), std::fs::read_to_string(root().join(path)).ok()?)))
        .collect()
}

/// Fails with one line for each fault.
#[track_caller]
fn none(faults: Vec<String>) {
    assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
}
