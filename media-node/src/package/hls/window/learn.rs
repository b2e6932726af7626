//! What a window learns from its upstream: segments that were not seen whole here, and bytes that were fetched.

use std::time::Instant;

use bytes::Bytes;

use super::{InitId, Inits, MOST_HOLES, Progress, Rendition, Segment, Targets, Track, Window};

impl Window {
    /// Puts a segment into a hole, or behind everything that is complete.
    fn put(&mut self, index: usize, segment: &Segment) -> bool {
        let behind = self.segments.back().is_none_or(|last| last.progress != Progress::Open);
        let length = self.segments.len();
        match self.segments.get_mut(index) {
            Some(held) if held.progress == Progress::Hole => {
                held.clone_from(segment);
                if held.number < self.old_to {
                    held.tracks.iter_mut().flatten().for_each(Track::age);
                }
                self.holes.remove(&segment.number);
            }
            None if index == length && behind => self.segments.push_back(segment.clone()),
            _ => return false,
        }
        true
    }

    /// Takes what the upstream knows of a segment: fills a hole, or goes before everything that is here. Anything else is
    /// known better here. True if it was of use.
    pub fn describe(&mut self, segment: Segment, inits: Option<Inits>) -> bool {
        if segment.init.epoch != self.epoch && self.epoch != 0 {
            return false;
        }
        self.epoch = segment.init.epoch;
        let first = self.segments.front().map_or(segment.number, |first| first.number);
        let useful = match segment.number.checked_sub(first) {
            Some(index) => self.put(index as usize, &segment),
            None if !self.settled && first - segment.number <= MOST_HOLES => {
                for number in (segment.number + 1..first).rev() {
                    self.segments.push_front(Segment::hole(number, segment.init));
                    self.holes.insert(number);
                }
                let mut segment = segment.clone();
                if segment.number < self.old_to {
                    segment.tracks.iter_mut().flatten().for_each(Track::age);
                }
                self.segments.push_front(segment);
                true
            }
            None => false,
        };
        if useful && let Some(inits) = inits {
            self.inits.entry(segment.init).or_insert(inits);
        }
        useful
    }

    /// Sets what the origin announces, before the first clock has said it.
    pub fn announce(&mut self, targets: Targets) {
        if self.targets.segment_ms == 0 {
            self.targets = targets;
        }
    }

    /// Nothing older than `number` is shown any more: the upstream's window begins there. True if that changes what is shown.
    pub fn show_from(&mut self, number: u64, now: Instant) -> bool {
        self.not_before = self.not_before.max(number);
        let older = self.index(self.not_before).min(self.segments.len().saturating_sub(1));
        self.retire(older, now);
        self.age();
        older > 0
    }

    /// A hole that nobody can fill becomes a gap.
    pub fn give_up(&mut self, number: u64) {
        let Some(first) = self.first_number() else { return };
        let index = usize::try_from(number.saturating_sub(first)).unwrap_or(usize::MAX);
        if index == 0 && self.segments[0].progress == Progress::Hole {
            // Nothing before it is known, so neither is when it was; and nothing behind it has been shown.
            self.segments.pop_front();
            self.holes.remove(&number);
            return;
        }
        let after = self.segments.get(index + 1).cloned();
        let before = index.checked_sub(1).and_then(|index| self.segments.get(index).cloned());
        let Some(hole) = self
            .segments
            .get_mut(index)
            .filter(|held| held.progress == Progress::Hole)
        else {
            return;
        };
        hole.progress = Progress::Gap;
        self.holes.remove(&number);
        if let Some(before) = &before {
            hole.media_time_ms = before.media_time_ms + before.duration_ms as i64;
            hole.program_ms = before.program_ms + before.duration_ms;
            hole.discontinuity = before.discontinuity;
            hole.run = before.run;
        }
        if let Some(after) = after.filter(|after| after.progress != Progress::Hole) {
            hole.duration_ms = u64::try_from(after.media_time_ms - hole.media_time_ms).unwrap_or(0);
            hole.discontinuity = hole.discontinuity.max(after.discontinuity);
        }
        let longest = u64::from(self.targets.segment_ms.max(1));
        hole.duration_ms = hole.duration_ms.clamp(1, longest);
    }

    /// Keeps the bytes of a segment that were fetched; refused if they are not as long as its parts say.
    pub fn fill(&mut self, rendition: Rendition, number: u64, bytes: &Bytes) -> bool {
        self.track_mut(rendition, number).is_some_and(|track| track.fill(bytes))
    }

    /// Keeps headers that were fetched.
    pub fn fill_init(&mut self, id: InitId, rendition: Rendition, bytes: Bytes) {
        if let Some(Some(init)) = self.inits.get_mut(&id).map(|inits| inits[rendition.index()].as_mut()) {
            init.bytes = Some(bytes);
        }
    }
}
