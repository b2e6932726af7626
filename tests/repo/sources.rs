//! Lengths, headings and names of the Rust files.

use crate::{none, texts};

/// Lines of a file before its tests.
const FILE: usize = 400;
/// The same where the file's heading gives a reason (a line with "one file:").
const FILE_WITH_REASON: usize = 600;
/// Lines of a function.
const FUNCTION: usize = 80;
/// Lines of tests at the end of a file; longer ones live in a file of their own.
const TESTS: usize = 150;

/// The part before the tests, and the tests.
fn parts(text: &str) -> (usize, usize) {
    let lines: Vec<&str> = text.lines().collect();
    let own = lines
        .windows(2)
        .position(|pair| pair[0] == "#[cfg(test)]" && pair[1].starts_with("mod ") && pair[1].ends_with('{'));
    let code = own.unwrap_or(lines.len());
    (code, lines.len() - code)
}

fn is_test_file(path: &std::path::Path) -> bool {
    let text = path.to_string_lossy();
    text.ends_with("/tests.rs") || text.contains("/tests/") && !text.contains("/src/")
}

#[test]
fn files_are_short_enough_to_read_at_once() {
    let mut faults = Vec::new();
    for (path, text) in texts(&[".rs"]) {
        let (code, tests) = parts(&text);
        let reason = text
            .lines()
            .take_while(|l| l.starts_with("//!"))
            .any(|l| l.contains("one file:"));
        let limit = if reason { FILE_WITH_REASON } else { FILE };
        if code > limit && !is_test_file(&path) {
            faults.push(format!(
                "{}: {code} lines before its tests, {limit} are allowed",
                path.display()
            ));
        }
        if tests > TESTS + 2 && !is_test_file(&path) {
            faults.push(format!(
                "{}: {tests} lines of tests, {TESTS} are allowed in the same file",
                path.display()
            ));
        }
    }
    none(faults);
}

#[test]
fn functions_are_short_enough_to_read_at_once() {
    let mut faults = Vec::new();
    for (path, text) in texts(&[".rs"]) {
        let lines: Vec<&str> = text.lines().collect();
        for (at, line) in lines.iter().enumerate() {
            let code = line.trim_start();
            let indent = line.len() - code.len();
            let words: Vec<&str> = code.split_whitespace().take(5).collect();
            let function = words.iter().position(|w| *w == "fn").is_some_and(|at| {
                words[..at]
                    .iter()
                    .all(|w| w.starts_with("pub") || ["async", "const", "super)", "in"].contains(w))
            });
            if !function {
                continue;
            }
            // rustfmt puts the closing brace at the function's own depth.
            let end = lines[at..]
                .iter()
                .position(|l| l.starts_with('}') && indent == 0 || *l == format!("{}}}", " ".repeat(indent)));
            let length = end.map_or(0, |end| end + 1);
            if length > FUNCTION {
                faults.push(format!(
                    "{}:{}: {length} lines, {FUNCTION} are allowed",
                    path.display(),
                    at + 1
                ));
            }
        }
    }
    none(faults);
}

#[test]
fn every_file_says_what_it_is() {
    let silent = texts(&[".rs"])
        .into_iter()
        .filter(|(_, text)| !text.starts_with("//! "));
    none(
        silent
            .map(|(path, _)| format!("{}: does not start with //!", path.display()))
            .collect(),
    );
}

#[test]
fn no_file_is_named_after_nothing() {
    let unnamed = ["mod", "utils", "util", "common", "helpers", "helper", "misc", "manager"];
    let faults = texts(&[".rs"]).into_iter().filter_map(|(path, _)| {
        let stem = path.file_stem()?.to_string_lossy().into_owned();
        unnamed.contains(&stem.as_str()).then(|| path.display().to_string())
    });
    none(faults.collect());
}

#[test]
fn tests_are_named_by_behaviour() {
    let mut faults = Vec::new();
    for (path, text) in texts(&[".rs"]) {
        for (at, line) in text.lines().enumerate() {
            if line
                .trim_start()
                .trim_start_matches("async ")
                .starts_with(concat!("fn ", "test_"))
            {
                faults.push(format!("{}:{}: {}", path.display(), at + 1, line.trim()));
            }
        }
    }
    none(faults);
}
