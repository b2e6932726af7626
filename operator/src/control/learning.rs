//! The first moments of a control plane: nodes may have run long before it, and are heard one after the other. Pure.

use std::time::{Duration, Instant};

use crate::fleet::map::SUSPECT_AFTER;

/// Longest wait for the hello of the nodes that a new control plane finds: as long as silence takes to be suspect.
const LONGEST: Duration = SUSPECT_AFTER;

/// Whether nodes are still waited for. A plan made of half of what runs would end pulls and move others for nothing.
#[derive(Debug, Default)]
pub(super) struct Learning {
    /// None before the first look.
    until: Option<Instant>,
    /// What was answered last.
    on: bool,
}

impl Learning {
    /// It has come to its end, and that was answered: nobody has to look who was heard.
    pub(super) fn is_over(&self, now: Instant) -> bool {
        self.until.is_some_and(|until| until <= now) && !self.on
    }

    /// True from the first look until every node that can be reached was heard, for [`LONGEST`] at most. Once false it
    /// stays so: a node that is silent later holds nobody up.
    pub(super) fn goes_on(&mut self, all_heard: bool, now: Instant) -> bool {
        let until = *self.until.get_or_insert(now + LONGEST);
        if all_heard {
            self.until = Some(now.min(until));
        }
        self.on = !all_heard && now < until;
        self.on
    }

    /// True if it went on at the last look.
    pub(super) fn is_on(&self) -> bool {
        self.on
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_ends_for_good_when_all_were_heard() {
        let now = Instant::now();
        let mut learning = Learning::default();
        assert!(learning.goes_on(false, now));
        assert!(!learning.goes_on(true, now));
        assert!(learning.is_over(now));
        assert!(!learning.goes_on(false, now), "a node that comes later is no reason");
    }

    #[test]
    fn a_node_that_is_never_heard_holds_it_up_for_a_while_only() {
        let now = Instant::now();
        let mut learning = Learning::default();
        assert!(learning.goes_on(false, now));
        assert!(learning.goes_on(false, now + LONGEST - Duration::from_millis(1)));
        assert!(!learning.goes_on(false, now + LONGEST));
    }
    /// With a node that was never heard, learning went on for ever for whoever asked [`Learning::is_on`]: the time was up between
    /// two looks, and after that none was thought to be needed. No status was written any more.
    #[test]
    fn time_that_is_up_between_two_looks_ends_it_at_the_next() {
        let now = Instant::now();
        let mut learning = Learning::default();
        assert!(learning.goes_on(false, now));
        let later = now + LONGEST + Duration::from_millis(1);
        assert!(!learning.is_over(later), "its end was not answered yet");
        assert!(!learning.goes_on(false, later));
        assert!(learning.is_over(later) && !learning.is_on());
    }
}
