//! Text of old segments, rendered once: a window of hours costs a new part no more than one of seconds.

use std::collections::VecDeque;

use super::{Rendition, Segment, Window, independent, push_segment};

/// Text of a rendition's old segments. Bounded as the window is, about 100 bytes a segment.
#[derive(Debug, Default)]
pub struct OldText {
    epoch: u64,
    text: String,
    /// Bytes at the front of `text` that belong to segments which have left.
    gone: usize,
    entries: VecDeque<Entry>,
    /// Entries with which decoding can't begin.
    dependent: usize,
    /// Entries without media of the rendition.
    missing: usize,
}

#[derive(Debug)]
struct Entry {
    number: u64,
    /// Bytes of its text.
    length: usize,
    independent: bool,
    missing: bool,
}

impl OldText {
    /// Goes with the window: what has left it is let go, what has grown old is rendered.
    pub(super) fn follow(&mut self, window: &Window, rendition: Rendition) {
        let first = window.old().next().map(|segment| segment.number);
        let Some(first) = first.filter(|_| self.epoch == window.epoch()) else {
            *self = Self {
                epoch: window.epoch(),
                ..Self::default()
            };
            if first.is_some() {
                self.append(window, rendition);
            }
            return;
        };
        let leaving = self.entries.iter().take_while(|entry| entry.number < first).count();
        for entry in self.entries.drain(..leaving) {
            self.gone += entry.length;
            self.dependent -= usize::from(!entry.independent);
            self.missing -= usize::from(entry.missing);
        }
        if leaving > 0 {
            self.lead(window, rendition);
        }
        if self.gone > self.text.len() / 2 {
            self.text.drain(..self.gone);
            self.gone = 0;
        }
        self.append(window, rendition);
    }

    /// The first segment of a playlist names its headers, whatever those of the one before it were.
    fn lead(&mut self, window: &Window, rendition: Rendition) {
        let (Some(entry), Some(first)) = (self.entries.front_mut(), window.old().next()) else {
            return;
        };
        let text = render(rendition, first, None);
        self.text.replace_range(self.gone..self.gone + entry.length, &text);
        entry.length = text.len();
    }

    fn append(&mut self, window: &Window, rendition: Rendition) {
        let mut before: Option<&Segment> = None;
        let known = self.entries.len();
        if let Some(last) = known.checked_sub(1) {
            before = window.old().nth(last);
        }
        for segment in window.old().skip(known) {
            let text = render(rendition, segment, before);
            let independent = independent(segment, rendition);
            let missing = segment.track(rendition).is_none();
            self.entries.push_back(Entry {
                number: segment.number,
                length: text.len(),
                independent,
                missing,
            });
            self.missing += usize::from(missing);
            self.dependent += usize::from(!independent);
            self.text.push_str(&text);
            before = Some(segment);
        }
    }

    /// How many segments it is of.
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Decoding can begin with each of them.
    pub(super) fn independent(&self) -> bool {
        self.dependent == 0
    }

    /// One of them has no media of the rendition.
    pub(super) fn gaps(&self) -> bool {
        self.missing > 0
    }

    /// The text without that of the first `skipped` segments.
    pub(super) fn text_from(&self, skipped: usize) -> &str {
        let kept = self.entries.iter().skip(skipped).map(|entry| entry.length);
        let length = match skipped {
            0 => self.text.len() - self.gone,
            _ => kept.sum(),
        };
        &self.text[self.text.len() - length..]
    }
}

fn render(rendition: Rendition, segment: &Segment, before: Option<&Segment>) -> String {
    let mut text = String::with_capacity(160);
    push_segment(&mut text, rendition, segment, before, false);
    text
}

#[cfg(test)]
mod tests;
