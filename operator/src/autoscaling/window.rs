//! Sliding extremes of the recommendations: the lowest of the scale-out window, the highest of the scale-in window.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Which extreme a window keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extreme {
    /// The lowest value.
    Lowest,
    /// The highest value.
    Highest,
}

/// The extreme of the values of the last while. It holds one entry per distinct value at most, so that it is bounded
/// by the range of the values (a pool's min to max), however long the window and however often it is fed.
#[derive(Clone, Debug)]
pub struct Window {
    extreme: Extreme,
    /// Candidates, oldest first; each is a worse extreme than those before it, and outlives them.
    candidates: VecDeque<(Instant, u32)>,
}

impl Window {
    /// An empty window.
    pub fn new(extreme: Extreme) -> Self {
        Self {
            extreme,
            candidates: VecDeque::new(),
        }
    }

    /// Takes a value in at `now` and answers the extreme of the last `span`, `now` included.
    pub fn push(&mut self, value: u32, span: Duration, now: Instant) -> u32 {
        while self
            .candidates
            .back()
            .is_some_and(|&(_, held)| !self.beats(held, value))
        {
            self.candidates.pop_back();
        }
        self.candidates.push_back((now, value));
        while self.candidates.len() > 1
            && self
                .candidates
                .front()
                .is_some_and(|&(at, _)| now.saturating_duration_since(at) > span)
        {
            self.candidates.pop_front();
        }
        self.candidates.front().map_or(value, |&(_, extreme)| extreme)
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.candidates.clear();
    }

    fn beats(&self, held: u32, newcomer: u32) -> bool {
        match self.extreme {
            Extreme::Lowest => held < newcomer,
            Extreme::Highest => held > newcomer,
        }
    }
}
