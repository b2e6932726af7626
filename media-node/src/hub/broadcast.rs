//! The ring of a stream's newest items, and the cursor that reads it.

use std::collections::VecDeque;
use std::sync::Arc;

use headwater_contract::StreamEnd;

use super::stream::Stream;
use crate::media::clock::Clock;
use crate::media::track::Tracks;
use crate::media::unit::Unit;

/// One element of a stream.
#[derive(Clone, Debug)]
pub struct Item {
    /// Set where a newcomer may begin.
    pub start: Option<Arc<Start>>,
    /// What it is.
    pub what: What,
}

/// What an [`Item`] is.
#[derive(Clone, Debug)]
pub enum What {
    /// A frame or a passing script message.
    Unit(Unit),
    /// A configuration or `onMetaData` unit that changed the tracks, and the tracks as they are from here on.
    Tracks(Unit, Arc<Tracks>),
    /// The clock message before the first unit of a segment.
    Clock(Arc<Clock>),
}

/// What a newcomer needs at a place where it may begin.
#[derive(Debug, PartialEq, Eq)]
pub struct Start {
    /// Position of the first item for the newcomer.
    pub seq: u64,
    /// Incarnation of the stream.
    pub epoch: u64,
    /// Configurations in force there.
    pub tracks: Arc<Tracks>,
    /// The segment's clock, its unit count set to this place.
    pub clock: Option<Arc<Clock>>,
}

/// What a subscriber gets.
#[derive(Debug)]
pub enum Batch {
    /// Items appended to the caller's buffer.
    Items,
    /// The stream began anew (epoch); what follows begins at a start.
    Restarted,
    /// The subscriber was too slow and goes on at the newest start.
    Skipped,
    /// No more will come.
    Ended(StreamEnd),
}

/// Bounded ring of items; the oldest go first.
#[derive(Debug, Default)]
pub(super) struct Ring {
    items: VecDeque<Item>,
    first: u64,
    bytes: usize,
    starts: VecDeque<Arc<Start>>,
}

/// Groups of pictures kept, the running one included.
const KEPT_STARTS: usize = 2;

impl Ring {
    pub(super) fn end(&self) -> u64 {
        self.first + self.items.len() as u64
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.items.len()
    }

    pub(super) fn push(&mut self, what: What, start: Option<Arc<Start>>, max_bytes: usize, max_items: usize) {
        self.bytes += weight(&what);
        self.items.push_back(Item {
            start: start.clone(),
            what,
        });
        self.starts.extend(start);
        while self.starts.len() > KEPT_STARTS {
            self.starts.pop_front();
        }
        let keep_from = self.starts.front().map_or(self.first, |start| start.seq);
        while self.first < keep_from || self.bytes > max_bytes || self.items.len() > max_items {
            let Some(item) = self.items.pop_front() else { break };
            self.bytes -= weight(&item.what);
            self.first += 1;
        }
        while self.starts.front().is_some_and(|start| start.seq < self.first) {
            self.starts.pop_front();
        }
    }

    /// Makes an item that is there already a place to begin (its tracks became known after it).
    pub(super) fn mark_start(&mut self, start: Arc<Start>) {
        let Some(index) = start.seq.checked_sub(self.first) else {
            return;
        };
        if let Some(item) = self.items.get_mut(index as usize) {
            item.start = Some(Arc::clone(&start));
            self.starts.push_back(start);
        }
    }

    pub(super) fn clear(&mut self) {
        self.first = self.end();
        self.items.clear();
        self.starts.clear();
        self.bytes = 0;
    }

    pub(super) fn newest_start(&self) -> Option<&Arc<Start>> {
        self.starts.back()
    }

    fn oldest_start(&self) -> Option<&Arc<Start>> {
        self.starts.front()
    }

    fn copy_from(&self, seq: u64, most: usize, out: &mut Vec<Item>) -> u64 {
        let from = (seq - self.first) as usize;
        let before = out.len();
        out.extend(self.items.iter().skip(from).take(most).cloned());
        seq + (out.len() - before) as u64
    }
}

fn weight(what: &What) -> usize {
    match what {
        What::Unit(unit) | What::Tracks(unit, _) => unit.tag.len() + std::mem::size_of::<Item>(),
        What::Clock(_) => std::mem::size_of::<Item>() + std::mem::size_of::<Clock>(),
    }
}

/// A cursor into a stream. Begins at the newest start, or at the first one to come.
#[derive(Debug)]
pub struct Subscriber {
    stream: Stream,
    restarts: u64,
    next: Option<u64>,
    /// Begins with all that is here rather than with the newest start.
    all: bool,
}

/// Items handed out at once.
const BATCH: usize = 256;

impl Subscriber {
    pub(super) fn new(stream: Stream, restarts: u64) -> Self {
        Self {
            stream,
            restarts,
            next: None,
            all: false,
        }
    }

    /// Begins at the oldest start that is held.
    pub(super) fn beginning_with_all(mut self) -> Self {
        self.all = true;
        self
    }

    /// The stream that it reads.
    pub fn stream(&self) -> &Stream {
        &self.stream
    }

    /// Waits for something to read and appends at most 256 items to `out`. Cancel-safe.
    pub async fn next(&mut self, out: &mut Vec<Item>) -> Batch {
        loop {
            let stream = self.stream.clone();
            let woken = stream.woken();
            tokio::pin!(woken);
            woken.as_mut().enable();
            if let Some(batch) = self.poll_ring(out) {
                return batch;
            }
            woken.await;
        }
    }

    fn poll_ring(&mut self, out: &mut Vec<Item>) -> Option<Batch> {
        let stream = self.stream.clone();
        stream.with_ring(|ring, restarts, ended| {
            if restarts != self.restarts {
                self.restarts = restarts;
                self.next = None;
                return Some(Batch::Restarted);
            }
            let next = match self.next {
                Some(next) if next >= ring.first => next,
                lost => match if self.all && lost.is_none() {
                    ring.oldest_start()
                } else {
                    ring.newest_start()
                } {
                    Some(start) => {
                        self.next = Some(start.seq);
                        if lost.is_some() {
                            return Some(Batch::Skipped);
                        }
                        start.seq
                    }
                    None => return ended.map(Batch::Ended),
                },
            };
            if next < ring.end() {
                self.next = Some(ring.copy_from(next, BATCH, out));
                return Some(Batch::Items);
            }
            ended.map(Batch::Ended)
        })
    }
}
