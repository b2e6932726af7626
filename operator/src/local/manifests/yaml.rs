//! YAML text to JSON values that know the line of each of their fields.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};
use serde_saphyr::Spanned;

use crate::validate::schema::child;

/// Most parser events that the aliases of one document may stand for; a document with more is refused.
const MAX_REPLAYED: usize = 10_000;

/// A document: its value, and the line of each path in it.
#[derive(Debug)]
pub(super) struct Parsed {
    pub(super) value: Value,
    lines: BTreeMap<String, usize>,
    first_line: usize,
}

impl Parsed {
    /// Line of a field, or of the nearest thing around it that is there.
    pub(super) fn line_of(&self, path: &str) -> usize {
        let mut path = path;
        loop {
            if let Some(line) = self.lines.get(path) {
                return *line;
            }
            match path.rfind(['.', '[']) {
                Some(cut) => path = &path[..cut],
                None => return self.first_line,
            }
        }
    }
}

/// The documents of a file, each with the number of its first line. A line that begins with `---` starts one wherever it stands
/// (YAML 1.2 §9.1.2), so that a document which can't be parsed takes no other with it.
pub(super) fn documents(text: &str) -> Vec<(usize, &str)> {
    let mut starts = vec![(1, 0)];
    let mut at = 0;
    for (number, line) in text.split_inclusive('\n').enumerate() {
        let marks = line
            .strip_prefix("---")
            .is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t', '\r', '\n']));
        if marks && at > 0 {
            starts.push((number + 1, at));
        }
        at += line.len();
    }
    let ends = starts.iter().skip(1).map(|(_, at)| *at).chain([text.len()]);
    starts
        .iter()
        .zip(ends)
        .map(|((line, start), end)| (*line, &text[*start..end]))
        .collect()
}

/// Parses one document whose first line has this number; none if it is empty.
///
/// # Errors
/// The line, and what the parser says, without a piece of the text: it may hold a key.
pub(super) fn parse(text: &str, first_line: usize) -> Result<Option<Parsed>, (usize, String)> {
    let options = serde_saphyr::options! {
        with_snippet: false,
        alias_limits: serde_saphyr::alias_limits! { max_total_replayed_events: MAX_REPLAYED },
    };
    let line_in_file = |line: u64| first_line + usize::try_from(line).unwrap_or_default().saturating_sub(1);
    let blank = |line: &str| {
        let line = line.strip_prefix("---").unwrap_or(line).trim();
        line.is_empty() || line.starts_with('#')
    };
    if text.lines().all(blank) {
        return Ok(None);
    }
    let node: Spanned<Node> = serde_saphyr::from_str_with_options(text, options).map_err(|error| {
        let line = error
            .location()
            .map_or(first_line, |location| line_in_file(location.line()));
        (line, what_the_parser_says(error.without_snippet()))
    })?;
    let mut lines = BTreeMap::new();
    let value = flatten(node.value, "", &line_in_file, &mut lines);
    let first_line = line_in_file(node.referenced.line());
    Ok((!value.is_null()).then_some(Parsed {
        value,
        lines,
        first_line,
    }))
}

/// The first line of the message: what follows it would be about the text around the fault.
fn what_the_parser_says(error: &serde_saphyr::Error) -> String {
    error.to_string().lines().next().unwrap_or_default().to_owned()
}

fn flatten(node: Node, path: &str, line: &dyn Fn(u64) -> usize, lines: &mut BTreeMap<String, usize>) -> Value {
    match node {
        Node::Scalar(value) => value,
        Node::List(items) => items
            .into_iter()
            .enumerate()
            .map(|(at, item)| {
                let path = format!("{path}[{at}]");
                lines.insert(path.clone(), line(item.referenced.line()));
                flatten(item.value, &path, line, lines)
            })
            .collect(),
        Node::Fields(fields) => {
            let fields = fields.into_iter().map(|(key, field)| {
                let path = child(path, &key.value);
                lines.insert(path.clone(), line(key.referenced.line()));
                (key.value, flatten(field.value, &path, line, lines))
            });
            Value::Object(fields.collect::<Map<_, _>>())
        }
    }
}

/// A YAML node; its own place is in the [`Spanned`] around it.
enum Node {
    Scalar(Value),
    List(Vec<Spanned<Node>>),
    Fields(Vec<(Spanned<String>, Spanned<Node>)>),
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NodeVisitor)
    }
}

struct NodeVisitor;

impl<'de> Visitor<'de> for NodeVisitor {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a YAML value")
    }

    fn visit_unit<E: Error>(self) -> Result<Node, E> {
        Ok(Node::Scalar(Value::Null))
    }

    fn visit_none<E: Error>(self) -> Result<Node, E> {
        Ok(Node::Scalar(Value::Null))
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Node, D::Error> {
        Node::deserialize(deserializer)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Node, E> {
        Ok(Node::Scalar(Value::Bool(value)))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Node, E> {
        Ok(Node::Scalar(value.into()))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Node, E> {
        Ok(Node::Scalar(value.into()))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Node, E> {
        // JSON has no infinity and no NaN; as text they meet the refusal of a wrong type.
        let number = Number::from_f64(value).map_or_else(|| Value::String(value.to_string()), Value::Number);
        Ok(Node::Scalar(number))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Node, E> {
        Ok(Node::Scalar(Value::String(value.to_owned())))
    }

    fn visit_string<E: Error>(self, value: String) -> Result<Node, E> {
        Ok(Node::Scalar(Value::String(value)))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Node, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Node::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Node, A::Error> {
        let mut fields = Vec::new();
        while let Some(entry) = entries.next_entry()? {
            fields.push(entry);
        }
        Ok(Node::Fields(fields))
    }
}
