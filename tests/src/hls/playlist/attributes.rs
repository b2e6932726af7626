//! Attribute lists, §4.2.

use std::time::Duration;

use super::{integer, seconds};
use crate::hls::rule::{Finding, Rule};

/// The attributes of one tag.
#[derive(Debug)]
pub(super) struct Attributes<'a> {
    pub(super) line: usize,
    list: Vec<(&'a str, Value<'a>)>,
}

#[derive(Clone, Copy, Debug)]
enum Value<'a> {
    Quoted(&'a str),
    Bare(&'a str),
}

impl<'a> Attributes<'a> {
    pub(super) fn parse(line: usize, value: Option<&'a str>) -> Result<Self, Finding> {
        let bad = |why: String| Finding::new(Rule::Syntax, why, &[line]);
        let mut list: Vec<(&str, Value<'_>)> = Vec::new();
        let mut rest = value.ok_or_else(|| bad("no attributes".to_owned()))?;
        loop {
            let (name, after) = rest
                .split_once('=')
                .ok_or_else(|| bad(format!("{rest:?} has no value")))?;
            if name.is_empty()
                || !name
                    .bytes()
                    .all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'-')
            {
                return Err(bad(format!("{name:?} is no attribute name")));
            }
            if list.iter().any(|(other, _)| *other == name) {
                return Err(bad(format!("{name} twice")));
            }
            let value = if let Some(quoted) = after.strip_prefix('"') {
                let (value, after) = quoted
                    .split_once('"')
                    .ok_or_else(|| bad(format!("{name}: no closing quote")))?;
                rest = after;
                Value::Quoted(value)
            } else {
                let end = after.find(',').unwrap_or(after.len());
                let value = &after[..end];
                if value.is_empty() || value.contains(|c: char| c == '"' || c.is_whitespace()) {
                    return Err(bad(format!("{name}={value} is no value")));
                }
                rest = &after[end..];
                Value::Bare(value)
            };
            list.push((name, value));
            match rest.strip_prefix(',') {
                Some(more) => rest = more,
                None if rest.is_empty() => return Ok(Self { line, list }),
                None => return Err(bad(format!("{rest:?} behind {name}"))),
            }
        }
    }

    fn bad(&self, name: &str, wanted: &str) -> Finding {
        Finding::new(Rule::Syntax, format!("{name} is no {wanted}"), &[self.line])
    }

    fn bare(&self, name: &str, wanted: &str) -> Result<Option<&'a str>, Finding> {
        match self.list.iter().find(|(other, _)| *other == name) {
            Some((_, Value::Bare(value))) => Ok(Some(value)),
            Some(_) => Err(self.bad(name, wanted)),
            None => Ok(None),
        }
    }

    pub(super) fn integer(&self, name: &str) -> Result<Option<u64>, Finding> {
        let read = |value| integer(value).ok_or_else(|| self.bad(name, "decimal-integer"));
        self.bare(name, "decimal-integer")?.map(read).transpose()
    }

    pub(super) fn seconds(&self, name: &str) -> Result<Option<Duration>, Finding> {
        let read = |value| seconds(value).ok_or_else(|| self.bad(name, "decimal-floating-point"));
        self.bare(name, "decimal-floating-point")?.map(read).transpose()
    }

    pub(super) fn word(&self, name: &str) -> Result<Option<&'a str>, Finding> {
        self.bare(name, "enumerated-string")
    }

    /// An enumerated-string that may be YES or, where `no` is set, NO.
    pub(super) fn yes(&self, name: &str, no: bool) -> Result<bool, Finding> {
        match self.word(name)? {
            Some("YES") => Ok(true),
            Some("NO") if no => Ok(false),
            Some(_) => Err(self.bad(name, "YES")),
            None => Ok(false),
        }
    }

    pub(super) fn quoted(&self, name: &str) -> Result<Option<&'a str>, Finding> {
        match self.list.iter().find(|(other, _)| *other == name) {
            Some((_, Value::Quoted(value))) if !value.is_empty() => Ok(Some(value)),
            Some(_) => Err(self.bad(name, "quoted-string, not empty")),
            None => Ok(None),
        }
    }

    /// What must be there.
    pub(super) fn required<T>(&self, name: &str, value: Option<T>) -> Result<T, Finding> {
        value.ok_or_else(|| Finding::new(Rule::RequiredTag, format!("no {name}"), &[self.line]))
    }
}
