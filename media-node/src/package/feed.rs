//! The ring of wire bytes that all viewers of one format of one stream share, and the cursor of each.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use headwater_contract::StreamEnd;
use tokio::sync::Notify;

use crate::hub::lag::{self, Lag, Patience};

/// What an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntryKind {
    /// Begins the byte stream (the FLV file header): a header that each viewer is sent once, and never again.
    Preamble,
    /// Headers; a player must take them before what follows.
    Init,
    /// Begins a group of pictures.
    Key,
    /// Other media.
    Frame,
    /// Script data, text messages.
    Data,
    /// The origin's clock. As a header, it is sent to a viewer that was moved on too: it says where that is.
    Clock,
}

/// Who is sent an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Audience {
    /// Every viewer.
    All,
    /// Only relays (RTMP) and WebSocket players (fMP4): clock and `init` text messages.
    Informed,
}

/// One finished message. Shared by all viewers, never copied.
#[derive(Debug)]
pub struct Entry {
    /// What it is.
    pub kind: EntryKind,
    /// Who is sent it.
    pub audience: Audience,
    /// Version of the headers that it goes with: a cursor that had these headers need not take them again.
    pub init: u32,
    /// Decoding time, milliseconds.
    pub dts: i64,
    /// When it was made.
    pub at: Instant,
    /// Header of the WebSocket frame around it (RFC 6455 §5.2, unmasked); empty where the format is never sent so.
    pub ws_header: Bytes,
    /// The bytes, in order.
    pub parts: Box<[Bytes]>,
    /// Sum of the parts' lengths.
    pub len: usize,
}

/// A message before it is given its place and time.
#[derive(Clone, Debug)]
pub struct Draft {
    /// What it is.
    pub kind: EntryKind,
    /// Who is sent it.
    pub audience: Audience,
    /// Decoding time, milliseconds.
    pub dts: i64,
    /// Header of the WebSocket frame around it; empty where the format is never sent so.
    pub ws_header: Bytes,
    /// The bytes, in order.
    pub parts: Vec<Bytes>,
}

/// Why a feed ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FeedEnd {
    /// The stream ended.
    Stream(StreamEnd),
    /// The stream goes on with headers that this format can't change in the middle: the viewer is to connect again.
    Reconnect,
}

/// What [`Cursor::take`] brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// Entries were appended.
    Entries,
    /// The viewer was too slow: it goes on at a key frame, this many entries further.
    Skipped(u64),
    /// The viewer was too slow too often, or for too long.
    TooSlow,
    /// No more will come.
    Ended(FeedEnd),
}

/// Bounds of a feed.
#[derive(Clone, Copy, Debug)]
pub struct FeedLimits {
    /// Bytes held; beyond, the oldest entries go.
    pub bytes: usize,
    /// Entries held; beyond, the oldest go.
    pub entries: usize,
    /// History held for viewers that fall behind, where bytes and entries allow.
    pub history: Duration,
    /// When a slow viewer is moved on or dropped.
    pub patience: Patience,
}

impl Default for FeedLimits {
    fn default() -> Self {
        let patience = Patience::default();
        Self {
            bytes: 32 << 20,
            entries: 16_384,
            history: patience.max_behind,
            patience,
        }
    }
}

/// Handle of a feed. The lock is a plain mutex: one writer, readers that clone a few pointers, no await under it.
#[derive(Clone, Debug)]
pub struct Feed(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    limits: FeedLimits,
    wake: Notify,
    ring: Mutex<Ring>,
}

#[derive(Debug, Default)]
struct Ring {
    entries: VecDeque<Arc<Entry>>,
    first: u64,
    bytes: usize,
    starts: VecDeque<Place>,
    init: u32,
    /// Counts restarts.
    life: u32,
    cursors: usize,
    ended: Option<FeedEnd>,
}

/// Where a newcomer may begin.
#[derive(Debug)]
struct Place {
    seq: u64,
    headers: Arc<[Arc<Entry>]>,
}

impl Feed {
    /// An empty feed.
    pub fn new(limits: FeedLimits) -> Self {
        Self(Arc::new(Shared {
            limits,
            wake: Notify::new(),
            ring: Mutex::default(),
        }))
    }

    /// A viewer's cursor, to begin at the newest start or at the first one to come.
    pub fn cursor(&self) -> Cursor {
        let mut ring = self.lock();
        ring.cursors += 1;
        Cursor {
            feed: self.clone(),
            life: ring.life,
            next: None,
            init: 0,
            skips: VecDeque::new(),
        }
    }

    /// Cursors alive.
    pub fn cursors(&self) -> usize {
        self.lock().cursors
    }

    /// Makes the next entry a place to begin, for which a newcomer needs these headers.
    pub fn start(&self, headers: Vec<Draft>, now: Instant) {
        let mut ring = self.lock();
        let init = ring.init;
        let headers = headers
            .into_iter()
            .map(|draft| Arc::new(draft.place(init, now)))
            .collect();
        let seq = ring.end();
        ring.starts.push_back(Place { seq, headers });
    }

    /// Appends messages and wakes the viewers. One of kind Init makes newer headers.
    pub fn append(&self, drafts: &mut Vec<Draft>, now: Instant) {
        if drafts.is_empty() {
            return;
        }
        let mut ring = self.lock();
        for draft in drafts.drain(..) {
            if draft.kind == EntryKind::Init {
                ring.init += 1;
            }
            let entry = draft.place(ring.init, now);
            ring.bytes += entry.len;
            ring.entries.push_back(Arc::new(entry));
        }
        ring.trim(self.0.limits, now);
        drop(ring);
        self.0.wake.notify_waiters();
    }

    /// Begins anew: nothing of what is held is for anybody any more, and every viewer needs headers again.
    pub fn restart(&self) {
        let mut ring = self.lock();
        ring.first = ring.end();
        ring.entries.clear();
        ring.starts.clear();
        ring.bytes = 0;
        ring.init += 1;
        ring.life += 1;
    }

    /// No more will come.
    pub fn end(&self, reason: FeedEnd) {
        self.lock().ended.get_or_insert(reason);
        self.0.wake.notify_waiters();
    }

    /// True if both are handles of one feed.
    pub fn same(&self, other: &Feed) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// True once it has ended.
    pub fn ended(&self) -> bool {
        self.lock().ended.is_some()
    }

    fn lock(&self) -> MutexGuard<'_, Ring> {
        self.0.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Draft {
    fn place(self, init: u32, at: Instant) -> Entry {
        let len = self.parts.iter().map(Bytes::len).sum();
        Entry {
            kind: self.kind,
            audience: self.audience,
            init,
            dts: self.dts,
            at,
            ws_header: self.ws_header,
            parts: self.parts.into_boxed_slice(),
            len,
        }
    }
}

impl Ring {
    fn end(&self) -> u64 {
        self.first + self.entries.len() as u64
    }

    fn trim(&mut self, limits: FeedLimits, now: Instant) {
        let keep_from = self.starts.back().map_or(self.first, |start| start.seq);
        while let Some(oldest) = self.entries.front() {
            let too_much = self.bytes > limits.bytes || self.entries.len() > limits.entries;
            let needless = self.first < keep_from && now.duration_since(oldest.at) > limits.history;
            if !(too_much || needless) {
                break;
            }
            self.bytes -= oldest.len;
            self.entries.pop_front();
            self.first += 1;
        }
        while self.starts.front().is_some_and(|start| start.seq < self.first) {
            self.starts.pop_front();
        }
    }
}

/// A viewer's place in a feed.
#[derive(Debug)]
pub struct Cursor {
    feed: Feed,
    life: u32,
    next: Option<u64>,
    init: u32,
    skips: VecDeque<Instant>,
}

impl Cursor {
    /// Waits for entries and appends them to `out`: at most `most`, and no further one once they hold `bytes`.
    /// A newcomer, and one that was moved on, is sent headers first. Cancel-safe.
    pub async fn take(&mut self, out: &mut Vec<Arc<Entry>>, most: usize, bytes: usize) -> Taken {
        loop {
            let feed = self.feed.clone();
            let woken = feed.0.wake.notified();
            tokio::pin!(woken);
            woken.as_mut().enable();
            if let Some(taken) = self.try_take(out, most, bytes, Instant::now()) {
                return taken;
            }
            woken.await;
        }
    }

    /// As [`Cursor::take`], without waiting: none if there is nothing.
    pub fn try_take(&mut self, out: &mut Vec<Arc<Entry>>, most: usize, bytes: usize, now: Instant) -> Option<Taken> {
        let feed = self.feed.clone();
        let ring = feed.lock();
        if self.life != ring.life {
            self.life = ring.life;
            self.next = None;
        }
        let next = match self.next {
            Some(next) => match lag::decide(self.lag(&ring, next, now), feed.0.limits.patience) {
                lag::Verdict::Continue => next,
                lag::Verdict::Drop => return Some(Taken::TooSlow),
                lag::Verdict::Skip => {
                    self.skips.push_back(now);
                    self.next = None;
                    let goal = ring.starts.back().map_or(ring.end(), |start| start.seq);
                    return Some(Taken::Skipped(goal.saturating_sub(next)));
                }
            },
            None => match ring.starts.back() {
                Some(start) if start.seq < ring.end() => {
                    let fresh = start.headers.first().map_or(0, |entry| entry.init);
                    let newcomer = self.init == 0;
                    // One that was moved on needs the clock in any case: it says where it is now.
                    let all = newcomer || self.init != fresh + 1;
                    let headers = start.headers.iter().filter(|entry| match entry.kind {
                        EntryKind::Clock => true,
                        EntryKind::Preamble => newcomer,
                        _ => all,
                    });
                    out.extend(headers.cloned());
                    self.init = fresh + 1;
                    start.seq
                }
                _ => return ring.ended.map(Taken::Ended),
            },
        };
        let mut held = 0;
        let from = (next - ring.first) as usize;
        let before = out.len();
        for entry in ring.entries.iter().skip(from).take(most) {
            held += entry.len;
            self.init = entry.init + 1;
            out.push(Arc::clone(entry));
            if held >= bytes {
                break;
            }
        }
        let count = (out.len() - before) as u64;
        self.next = Some(next + count);
        match count {
            0 => ring.ended.map(Taken::Ended),
            _ => Some(Taken::Entries),
        }
    }

    fn lag(&mut self, ring: &Ring, next: u64, now: Instant) -> Lag {
        while self
            .skips
            .front()
            .is_some_and(|at| now.duration_since(*at) > Duration::from_secs(60))
        {
            self.skips.pop_front();
        }
        let fell_out = next < ring.first;
        let waiting = next
            .checked_sub(ring.first)
            .and_then(|index| ring.entries.get(index as usize));
        Lag {
            fell_out,
            behind: waiting.map_or(Duration::ZERO, |entry| now.duration_since(entry.at)),
            newer_start: ring.starts.back().is_some_and(|start| start.seq > next),
            recent_skips: self.skips.len() as u32,
        }
    }
}

impl Drop for Cursor {
    fn drop(&mut self) {
        self.feed.lock().cursors -= 1;
    }
}

#[cfg(test)]
mod tests;
