//! Completion under kubectl, which asks `kubectl_complete-headwater` with the words so far; the last one is to be completed. Pure.

use std::ffi::OsString;

use clap::{Command, CommandFactory};

use crate::args::plugin::{COMPLETER, PluginLine};
use crate::args::program;

/// What kubectl is answered at last: no file names (bit 2 of cobra's directives).
const NO_FILES: &str = ":4";

/// The answer, if the program was called as kubectl's completer.
pub fn asked(line: &[OsString]) -> Option<String> {
    if program(line)? != COMPLETER {
        return None;
    }
    let words: Vec<String> = line[1..]
        .iter()
        .map(|word| word.to_string_lossy().into_owned())
        .collect();
    let mut lines = words_for(&PluginLine::command(), &words);
    lines.push(NO_FILES.to_owned());
    Some(lines.join("\n") + "\n")
}

/// Words that may stand where the last one is, each with what it means after a tab.
fn words_for(root: &Command, words: &[String]) -> Vec<String> {
    let (begun, before) = match words.split_last() {
        Some((begun, before)) => (begun.as_str(), before),
        None => ("", words),
    };
    let command = before
        .iter()
        .find_map(|word| root.find_subcommand(word))
        .unwrap_or(root);
    let arguments = || {
        command
            .get_arguments()
            .chain(root.get_arguments().filter(|argument| argument.is_global_set()))
    };
    let awaits = before.last().and_then(|last| {
        let takes = |argument: &&clap::Arg| argument.get_action().takes_values() && is_called(argument, last);
        arguments().find(takes)
    });
    let about = |word: String, about: Option<String>| match about {
        Some(about) => format!("{word}\t{about}"),
        None => word,
    };
    let mut found: Vec<String> = Vec::new();
    match awaits {
        Some(argument) => found.extend(values(argument)),
        None => {
            if std::ptr::eq(command, root) {
                let commands = root.get_subcommands();
                found.extend(
                    commands.map(|sub| about(sub.get_name().to_owned(), sub.get_about().map(ToString::to_string))),
                );
            }
            found.extend(command.get_positionals().flat_map(values));
            if begun.starts_with('-') {
                let long = |argument: &clap::Arg| {
                    let help = argument.get_help().map(ToString::to_string);
                    Some(about(format!("--{}", argument.get_long()?), help))
                };
                found.extend(arguments().filter_map(long));
            }
        }
    }
    found.retain(|word| word.starts_with(begun));
    found.sort();
    found.dedup();
    found
}

fn is_called(argument: &clap::Arg, word: &str) -> bool {
    let long = word
        .strip_prefix("--")
        .is_some_and(|word| argument.get_long() == Some(word));
    let short = word
        .strip_prefix('-')
        .is_some_and(|word| argument.get_short().is_some_and(|short| word == short.to_string()));
    long || short
}

fn values(argument: &clap::Arg) -> Vec<String> {
    let values = argument.get_possible_values();
    values.iter().map(|value| value.get_name().to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(words: &[&str]) -> Vec<String> {
        let line = std::iter::once("/bin/kubectl_complete-headwater").chain(words.iter().copied());
        let line: Vec<OsString> = line.map(OsString::from).collect();
        let answer = super::asked(&line).unwrap();
        let names = answer
            .lines()
            .map(|line| line.split('\t').next().unwrap_or_default().to_owned());
        names.collect()
    }

    #[test]
    fn kubectl_is_told_what_may_come_next() {
        assert_eq!(asked(&["st"]), ["status", "streams", ":4"]);
        assert!(asked(&[""]).contains(&"report".to_owned()));
        assert_eq!(asked(&["status", "-o", ""]), ["json", "wide", "yaml", ":4"]);
        assert_eq!(asked(&["status", "--output", "w"]), ["wide", ":4"]);
        assert_eq!(asked(&["status", "--al"]), ["--all-namespaces", ":4"]);
        assert!(asked(&["completion", ""]).contains(&"bash".to_owned()));
        assert_eq!(asked(&["status", ""]), [":4"], "nothing but flags");
        assert_eq!(super::asked(&[OsString::from("headwater")]), None);
    }
}
