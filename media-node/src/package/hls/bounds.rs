//! What leaves when old segments fill their bounds: pure, over all windows of a node.

use std::time::Instant;

use super::window::Spare;

/// Bytes that old segments of all streams may fill.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// In memory.
    pub memory: u64,
    /// In files.
    pub disk: u64,
}

/// What is listed of a stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Span {
    /// How long all of it is, milliseconds.
    pub ms: u64,
    /// Its old segments, oldest first.
    pub old: Vec<Old>,
}

/// An old segment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Old {
    /// Milliseconds.
    pub ms: u64,
    /// Bytes in memory that are nowhere else.
    pub memory: u64,
    /// Bytes in files.
    pub disk: u64,
}

/// What may be listed: the eighth that is left is for what has just left a window and can still be fetched.
pub fn listed(bound: u64) -> u64 {
    bound - bound / 8
}

/// How many of its oldest segments each window has to do without, so that what is listed keeps within the bounds: always the
/// oldest one of the longest window that holds any of what is too much.
pub fn shrink(spans: &[Span], bounds: Bounds) -> Vec<usize> {
    let sum = |of: fn(&Old) -> u64, span: &Span| span.old.iter().map(of).sum::<u64>();
    let mut left: Vec<Old> = spans
        .iter()
        .map(|span| Old {
            ms: span.ms,
            memory: sum(|old| old.memory, span),
            disk: sum(|old| old.disk, span),
        })
        .collect();
    let mut memory: u64 = left.iter().map(|left| left.memory).sum();
    let mut disk: u64 = left.iter().map(|left| left.disk).sum();
    let mut gone = vec![0; spans.len()];
    loop {
        let (too_much, too_many) = (memory > listed(bounds.memory), disk > listed(bounds.disk));
        let holds = |left: &Old| too_much && left.memory > 0 || too_many && left.disk > 0;
        let longest = left.iter().enumerate().filter(|(_, left)| holds(left));
        let Some((index, _)) = longest.max_by_key(|(_, left)| left.ms) else {
            return gone;
        };
        let Some(oldest) = spans[index].old.get(gone[index]) else {
            return gone;
        };
        gone[index] += 1;
        let held = &mut left[index];
        held.ms = held.ms.saturating_sub(oldest.ms);
        held.memory -= oldest.memory;
        held.disk -= oldest.disk;
        memory -= oldest.memory;
        disk -= oldest.disk;
    }
}

/// Puts those first that go, so that `excess` bytes do, and says how many: what nobody has asked for in the longest time, of
/// that the oldest.
pub fn forget<K>(spare: &mut [(K, Spare)], excess: u64) -> usize {
    spare.sort_by_key(|(_, spare)| (spare.used, spare.number));
    first(spare.iter().map(|(_, spare)| spare.bytes), excess)
}

/// As [`forget`], for segments that have left their windows: those first that would go first anyway.
pub fn forget_past<K>(past: &mut [(K, Instant, u64)], excess: u64) -> usize {
    past.sort_by_key(|(_, until, _)| *until);
    first(past.iter().map(|(_, _, bytes)| *bytes), excess)
}

fn first(bytes: impl Iterator<Item = u64>, excess: u64) -> usize {
    let mut freed = 0;
    bytes
        .take_while(|bytes| {
            let more = freed < excess;
            freed += bytes;
            more
        })
        .count()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::package::hls::window::Rendition;

    const NONE: u64 = u64::MAX;

    fn span(segments: u64, memory: u64, disk: u64) -> Span {
        let old = Old {
            ms: 1_000,
            memory,
            disk,
        };
        Span {
            ms: segments * 1_000 + 8_000,
            old: vec![old; segments as usize],
        }
    }

    fn bounds(memory: u64, disk: u64) -> Bounds {
        Bounds { memory, disk }
    }

    #[test]
    fn nothing_leaves_within_the_bounds() {
        let spans = [span(10, 5, 0), span(10, 0, 7)];
        assert_eq!(shrink(&spans, bounds(80, 80)), [0, 0]);
    }

    #[test]
    fn the_longest_windows_shrink_to_the_same_length() {
        let spans = [span(30, 1, 0), span(10, 1, 0), span(20, 1, 0)];
        assert_eq!(shrink(&spans, bounds(32, NONE)), [20, 1, 11], "28 of 60 may stay");
    }

    #[test]
    fn a_window_without_any_of_what_is_too_much_stays_as_it_is() {
        let spans = [span(100, 0, 1), span(10, 8, 0)];
        assert_eq!(shrink(&spans, bounds(64, NONE)), [0, 3]);
        assert_eq!(shrink(&spans, bounds(NONE, 64)), [44, 0]);
    }

    /// A folder that can't be written any more: the newer segments are in memory, behind those in files.
    #[test]
    fn files_in_front_of_what_fills_the_memory_leave_first() {
        let mut mixed = span(10, 0, 4);
        mixed.old.extend(span(10, 4, 0).old);
        assert_eq!(shrink(&[mixed], bounds(40, NONE)), [12]);
    }

    #[test]
    fn no_memory_at_all_leaves_no_old_segment() {
        assert_eq!(shrink(&[span(5, 1, 0)], bounds(0, 0)), [5]);
    }

    #[test]
    fn what_was_asked_for_last_stays_longest() {
        let spare = |used, number| Spare {
            used,
            number,
            rendition: Rendition::Video,
            bytes: 10,
        };
        let mut all = [
            ((), spare(3, 1)),
            ((), spare(0, 9)),
            ((), spare(1, 5)),
            ((), spare(0, 8)),
        ];
        assert_eq!(forget(&mut all, 21), 3);
        assert_eq!(all.map(|(_, spare)| spare.number), [8, 9, 5, 1]);
        assert_eq!(forget(&mut all, 0), 0);
        assert_eq!(forget(&mut all, NONE), 4);
    }

    proptest! {
        #[test]
        fn what_is_listed_keeps_within_the_bounds_and_nothing_leaves_needlessly(
            windows in prop::collection::vec((0u64..40, 0u64..9, 0u64..9), 0..6), memory in 0u64..500, disk in 0u64..500,
        ) {
            let spans: Vec<Span> = windows.iter().map(|(n, memory, disk)| span(*n, *memory, *disk)).collect();
            let gone = shrink(&spans, bounds(memory, disk));
            let sum = |back: usize| {
                let stay = spans.iter().zip(&gone).flat_map(|(span, gone)| &span.old[gone.saturating_sub(back)..]);
                stay.fold((0, 0), |sum, old| (sum.0 + old.memory, sum.1 + old.disk))
            };
            prop_assert!(sum(0).0 <= listed(memory) && sum(0).1 <= listed(disk));
            if gone.iter().any(|gone| *gone > 0) {
                prop_assert!(sum(1).0 > listed(memory) || sum(1).1 > listed(disk), "one less of each would not have done");
            }
        }
    }
}
