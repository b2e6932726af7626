//! What no file may hold: paths of somebody's machine, pictograms, unfinished notes, addresses that nobody vouched for.

use crate::{none, texts};

const ENDINGS: [&str; 12] = [
    ".rs", ".md", ".toml", ".sh", ".yaml", ".yml", ".html", ".js", ".css", ".tpl", "Makefile", "run",
];

fn faults(of: impl Fn(&str) -> Option<String>) -> Vec<String> {
    let mut faults = Vec::new();
    for (path, text) in texts(&ENDINGS) {
        for (at, line) in text.lines().enumerate() {
            if let Some(what) = of(line) {
                faults.push(format!("{}:{}: {what}", path.display(), at + 1));
            }
        }
    }
    faults
}

#[test]
fn no_path_of_a_persons_machine() {
    // Taken apart, so that this file passes.
    let homes = [
        concat!("/ho", "me/"),
        concat!("/ro", "ot/"),
        concat!("/wo", "rk/"),
        concat!("/Us", "ers/"),
    ];
    none(faults(|line| {
        homes
            .iter()
            .find(|home| line.contains(*home))
            .map(|home| (*home).to_owned())
    }));
}

#[test]
fn no_unfinished_notes() {
    let notes = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X")];
    none(faults(|line| {
        notes
            .iter()
            .find(|note| line.contains(*note))
            .map(|note| (*note).to_owned())
    }));
}

#[test]
fn no_pictograms() {
    let pictogram = |c: &char| matches!(u32::from(*c), 0x1f000..=0x1faff | 0x2600..=0x26ff | 0x2700..=0x27bf | 0xfe0f);
    none(faults(|line| {
        line.chars().find(pictogram).map(|c| format!("U+{:04X}", u32::from(c)))
    }));
}

#[test]
fn every_address_is_one_that_we_vouch_for() {
    let vouched = [
        "127.0.0.1",
        "[::1]",
        "localhost",
        "0.0.0.0",
        "[::]",
        "host",
        "h",
        "…",
        "example.com",
        "headwater.dev",
        "github.com/headwater-dev/",
        "www.apache.org/licenses/",
        "www.w3.org/",
        "keepachangelog.com/",
        "semver.org/",
    ];
    let allowed = |rest: &str| {
        // Placeholders of formats and examples: {address}, $host, <host>, names without a dot (Services, test peers).
        let host: String = rest.chars().take_while(|c| !"/:?\"'` )],;".contains(*c)).collect();
        !host.contains('.')
            || vouched.iter().any(|known| rest.starts_with(known))
            || host.starts_with(['{', '$', '<'])
            || host.ends_with(".example")
            || host.ends_with(".invalid")
            || host.ends_with(".svc")
            || host.starts_with("10.")
            || host.starts_with("192.0.2.")
    };
    none(faults(|line| {
        line.split("://")
            .skip(1)
            .find(|rest| !allowed(rest))
            .map(|rest| rest.chars().take(60).collect())
    }));
}
