//! Streams whose publisher vanished without a goodbye and did not come back: what an alert tells a person about. Pure.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::names::StreamName;

/// A stream that is missing for this long is given up.
pub const KEEP: Duration = Duration::from_secs(3_600);
/// Names at most; further ones are not remembered.
const MOST: usize = 200;

/// Missing streams, with when they were lost.
#[derive(Debug, Default)]
pub(super) struct Missing(BTreeMap<StreamName, Instant>);

impl Missing {
    /// The publisher of this stream has stayed away for longer than its grace.
    pub(super) fn lost(&mut self, name: &StreamName, now: Instant) {
        self.expire(now);
        if self.0.len() < MOST {
            self.0.insert(name.clone(), now);
        }
    }

    /// The stream has a publisher again.
    pub(super) fn back(&mut self, name: &StreamName) {
        self.0.remove(name);
    }

    /// Those that are missing, in order of name.
    pub(super) fn names(&mut self, now: Instant) -> Vec<StreamName> {
        self.expire(now);
        self.0.keys().cloned().collect()
    }

    fn expire(&mut self, now: Instant) {
        self.0.retain(|_, lost| now.saturating_duration_since(*lost) < KEEP);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> StreamName {
        text.parse().unwrap()
    }

    #[test]
    fn a_stream_is_missing_until_it_is_back_or_given_up() {
        let (mut missing, start) = (Missing::default(), Instant::now());
        missing.lost(&name("a"), start);
        missing.lost(&name("b"), start);
        missing.back(&name("a"));
        assert_eq!(missing.names(start + KEEP - Duration::from_secs(1)), [name("b")]);
        assert!(missing.names(start + KEEP).is_empty());
    }

    #[test]
    fn names_are_bounded() {
        let (mut missing, start) = (Missing::default(), Instant::now());
        for number in 0..2 * MOST {
            missing.lost(&name(&format!("cam{number}")), start);
        }
        assert_eq!(missing.names(start).len(), MOST);
    }
}
