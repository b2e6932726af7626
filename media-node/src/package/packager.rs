//! Makes feeds when somebody asks for one, and lets them go when nobody watches.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio_util::task::TaskTracker;

use super::feed::{Cursor, Draft, Feed, FeedEnd, FeedLimits};
use crate::hub::{Batch, Item, Start, Stream, Subscriber};

/// Output formats.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    /// RTMP chunks.
    Rtmp,
    /// FLV tags, for HTTP and WebSocket.
    Flv,
    /// Fragmented MP4, for WebSocket and HTTP.
    Fmp4,
}

/// Turns items into messages of one format. Pure: bytes in, bytes out.
pub trait Mux: Send + 'static {
    /// The headers that a newcomer at `start` needs; also makes `start`'s tracks those in force.
    fn headers(&mut self, start: &Start) -> Vec<Draft>;
    /// Appends what `item` becomes. A change of tracks becomes an Init entry, or [`Changed::Reconnect`].
    fn item(&mut self, item: &Item, out: &mut Vec<Draft>) -> Changed;
    /// What a new epoch means to this format.
    fn restart(&mut self) -> Changed;
}

/// Whether a format can go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Changed {
    /// It goes on.
    No,
    /// Its viewers must connect again.
    Reconnect,
}

/// Makes the mux of a format.
pub type MakeMux = fn(Format) -> Box<dyn Mux>;

/// Handle of all feeds of a node. The lock is a plain mutex: look-ups are short, and nothing awaits under it.
#[derive(Clone)]
pub struct Packager(Arc<Shared>);

struct Shared {
    limits: FeedLimits,
    make: MakeMux,
    tasks: TaskTracker,
    feeds: Mutex<HashMap<(u64, Format), Feed>>,
}

/// A feed that nobody has watched for this long is let go; a new viewer makes it anew from the hub's ring.
const IDLE: Duration = Duration::from_secs(10);

impl Packager {
    /// No feeds so far. Their tasks run on `tasks`.
    pub fn new(limits: FeedLimits, make: MakeMux, tasks: TaskTracker) -> Self {
        Self(Arc::new(Shared {
            limits,
            make,
            tasks,
            feeds: Mutex::default(),
        }))
    }

    /// A cursor into the feed of that format, which is made if need be.
    pub fn cursor(&self, stream: &Stream, format: Format) -> Cursor {
        let key = (stream.id(), format);
        let mut feeds = self.lock();
        if let Some(feed) = feeds.get(&key).filter(|feed| !feed.ended()) {
            return feed.cursor();
        }
        let feed = Feed::new(self.0.limits);
        let cursor = feed.cursor();
        feeds.insert(key, feed.clone());
        drop(feeds);
        self.0
            .tasks
            .spawn(run(self.clone(), key, feed, stream.subscribe(), (self.0.make)(format)));
        cursor
    }

    /// Removes the feed if nobody watches it.
    fn let_go(&self, key: (u64, Format), feed: &Feed) -> bool {
        let mut feeds = self.lock();
        if feed.cursors() > 0 && !feed.ended() {
            return false;
        }
        if feeds.get(&key).is_some_and(|held| held.same(feed)) {
            feeds.remove(&key);
        }
        true
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<(u64, Format), Feed>> {
        self.0.feeds.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn run(packager: Packager, key: (u64, Format), feed: Feed, mut subscriber: Subscriber, mut mux: Box<dyn Mux>) {
    let mut items = Vec::new();
    let mut drafts = Vec::new();
    let mut idle_check = tokio::time::interval(IDLE);
    idle_check.reset();
    loop {
        let batch = tokio::select! {
            batch = subscriber.next(&mut items) => batch,
            _ = idle_check.tick() => match packager.let_go(key, &feed) {
                true => return,
                false => continue,
            },
        };
        let now = Instant::now();
        let mut changed = Changed::No;
        match batch {
            Batch::Items => {
                for item in items.drain(..) {
                    if let Some(start) = &item.start {
                        feed.append(&mut drafts, now);
                        feed.start(mux.headers(start), now);
                    }
                    changed = mux.item(&item, &mut drafts);
                    if changed == Changed::Reconnect {
                        break;
                    }
                }
                feed.append(&mut drafts, now);
            }
            Batch::Restarted => {
                changed = mux.restart();
                feed.restart();
            }
            Batch::Skipped => feed.restart(),
            Batch::Ended(reason) => {
                feed.end(FeedEnd::Stream(reason));
                packager.let_go(key, &feed);
                return;
            }
        }
        if changed == Changed::Reconnect {
            feed.end(FeedEnd::Reconnect);
            packager.let_go(key, &feed);
            return;
        }
    }
}
