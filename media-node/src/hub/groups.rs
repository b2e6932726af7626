//! Which streams are one another's qualities: patterns of names, one setting of the node, which may change while streams live.

use std::fmt;
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};

use crate::names::StreamName;

/// Most patterns of a node.
pub const MAX_GROUPS: usize = 8;
/// Longest text between the two places of a pattern.
const MAX_SEPARATOR: usize = 16;

const GROUP: &str = "{group}";
const VARIANT: &str = "{variant}";

/// `{group}_{variant}`: how the names of a group's members are built. The text between the two is whatever names may have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupPattern {
    separator: Arc<str>,
}

/// Why a text is no pattern.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{text:?} is no pattern of a group: {{group}}, then 1 to {MAX_SEPARATOR} of A-Z a-z 0-9 . _ -, then {{variant}}, such as {{group}}_{{variant}}"
)]
pub struct PatternError {
    /// What was given, cut to 80 characters.
    text: String,
}

impl GroupPattern {
    /// The group of a stream of that name; none if the name is not built so. The last separator that leaves both something counts.
    fn group_of<'a>(&self, name: &'a StreamName) -> Option<&'a str> {
        let name = name.as_str();
        let last = name.len().checked_sub(1)?; // one byte at least is the variant's
        let at = name.get(..last)?.rfind(&*self.separator)?;
        // A separator that ends where the name does would leave nothing of the variant.
        (at > 0).then(|| &name[..at])
    }
}

impl FromStr for GroupPattern {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, PatternError> {
        let legal = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.');
        text.strip_prefix(GROUP)
            .and_then(|rest| rest.strip_suffix(VARIANT))
            .filter(|separator| (1..=MAX_SEPARATOR).contains(&separator.len()) && separator.bytes().all(legal))
            .map(|separator| Self {
                separator: separator.into(),
            })
            .ok_or_else(|| PatternError {
                text: text.chars().take(80).collect(),
            })
    }
}

impl fmt::Display for GroupPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{GROUP}{}{VARIANT}", self.separator)
    }
}

/// Handle of the setting. The lock is a plain mutex: it is held to copy a handle.
#[derive(Clone, Debug, Default)]
pub struct Groups(Arc<Mutex<Arc<[GroupPattern]>>>);

impl Groups {
    /// From each stream's next segment on, these are looked at; the first [`MAX_GROUPS`] of them.
    pub fn set(&self, patterns: &[GroupPattern]) {
        let patterns = &patterns[..patterns.len().min(MAX_GROUPS)];
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = patterns.into();
    }

    /// The group of a stream of that name: what the first pattern that it fits says.
    pub fn of(&self, name: &StreamName) -> Option<StreamName> {
        let patterns = Arc::clone(&self.0.lock().unwrap_or_else(PoisonError::into_inner));
        let group = patterns.iter().find_map(|pattern| pattern.group_of(name))?;
        group.parse().ok() // the beginning of a name is one
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(pattern: &str, name: &str) -> Option<String> {
        let pattern: GroupPattern = pattern.parse().unwrap();
        let name: StreamName = name.parse().unwrap();
        pattern.group_of(&name).map(str::to_owned)
    }

    #[test]
    fn the_rightmost_separator_splits_a_name_and_both_sides_have_something() {
        for (name, expected) in [
            ("show_1080", Some("show")),
            ("late_show_1080", Some("late_show")),
            ("show_", None),
            ("_1080", None),
            ("show", None),
            ("_", None),
            ("a__b", Some("a_")),
            ("a__", Some("a")),
        ] {
            assert_eq!(group("{group}_{variant}", name).as_deref(), expected, "{name}");
        }
        assert_eq!(group("{group}.q.{variant}", "show.q.480p").as_deref(), Some("show"));
        assert_eq!(group("{group}.q.{variant}", "show.q."), None);
    }

    #[test]
    fn a_pattern_says_what_it_is_and_others_are_refused_in_plain_words() {
        for good in ["{group}_{variant}", "{group}-{variant}", "{group}.q.{variant}"] {
            assert_eq!(good.parse::<GroupPattern>().unwrap().to_string(), good);
        }
        for bad in [
            "",
            "{group}",
            "{group}{variant}",
            "{variant}_{group}",
            "x{group}_{variant}",
            "{group}_{variant}x",
            "{group}/{variant}",
            "{group}_{group}_{variant}",
            "{group}_{variant}_{variant}",
            "{group}12345678901234567{variant}",
        ] {
            let error = bad.parse::<GroupPattern>().unwrap_err().to_string();
            assert!(error.contains("such as {group}_{variant}"), "{bad}: {error}");
        }
    }

    #[test]
    fn the_first_pattern_that_fits_counts() {
        let groups = Groups::default();
        let name: StreamName = "a-b_c".parse().unwrap();
        assert_eq!(groups.of(&name), None);
        groups.set(&["{group}-{variant}", "{group}_{variant}"].map(|text| text.parse().unwrap()));
        assert_eq!(groups.of(&name).unwrap().as_str(), "a");
    }
}
