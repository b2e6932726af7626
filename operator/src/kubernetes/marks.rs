//! Resources that somebody should look at again. A set, not a queue: marking twice costs nothing, and it is never longer than the
//! list of resources.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::Stream;
use futures_util::stream::unfold;
use tokio::sync::Notify;

use crate::fleet::{ResourceId, ResourceKind};

/// The marks of both kinds. Cheap to clone; the lock is held for one look at a set.
#[derive(Clone, Debug, Default)]
pub struct Marks {
    origins: Arc<Set>,
    pools: Arc<Set>,
}

#[derive(Debug, Default)]
struct Set {
    marked: Mutex<Marked>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct Marked {
    some: BTreeSet<ResourceId>,
    all: bool,
}

/// What is to be looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mark {
    /// This resource.
    One(ResourceId),
    /// Every resource of the kind.
    All,
}

impl Marks {
    /// Marks one resource.
    pub fn one(&self, resource: ResourceId) {
        let set = self.of(resource.kind);
        let mut marked = set.lock();
        if !marked.all {
            marked.some.insert(resource);
        }
        drop(marked);
        set.changed.notify_one();
    }

    /// Marks every resource of a kind.
    pub fn all(&self, kind: ResourceKind) {
        let set = self.of(kind);
        let mut marked = set.lock();
        marked.all = true;
        marked.some.clear();
        drop(marked);
        set.changed.notify_one();
    }

    /// What is marked, as it comes; each mark is taken by one reader.
    pub fn stream(&self, kind: ResourceKind) -> impl Stream<Item = Mark> + Send + use<> {
        unfold(Arc::clone(self.of(kind)), |set| async move {
            loop {
                if let Some(mark) = set.take() {
                    return Some((mark, set));
                }
                set.changed.notified().await;
            }
        })
    }

    fn of(&self, kind: ResourceKind) -> &Arc<Set> {
        match kind {
            ResourceKind::StreamOrigin => &self.origins,
            ResourceKind::EdgePool => &self.pools,
        }
    }
}

impl Set {
    fn take(&self) -> Option<Mark> {
        let mut marked = self.lock();
        if std::mem::take(&mut marked.all) {
            return Some(Mark::All);
        }
        marked.some.pop_first().map(Mark::One)
    }

    fn lock(&self) -> MutexGuard<'_, Marked> {
        self.marked.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use futures_util::{FutureExt, StreamExt};

    use super::*;

    #[tokio::test]
    async fn a_resource_marked_twice_is_looked_at_once() {
        let marks = Marks::default();
        let (a, b) = (ResourceId::pool("n", "a"), ResourceId::pool("n", "b"));
        for resource in [&b, &a, &b] {
            marks.one(resource.clone());
        }
        let mut stream = Box::pin(marks.stream(ResourceKind::EdgePool));
        assert_eq!(stream.next().await, Some(Mark::One(a)));
        assert_eq!(stream.next().await, Some(Mark::One(b)));
        assert_eq!(stream.next().now_or_never(), None, "nothing is marked any more");
    }

    #[tokio::test]
    async fn marking_all_takes_the_place_of_single_marks() {
        let marks = Marks::default();
        marks.one(ResourceId::pool("n", "a"));
        marks.all(ResourceKind::EdgePool);
        marks.one(ResourceId::pool("n", "b"));
        let mut stream = Box::pin(marks.stream(ResourceKind::EdgePool));
        assert_eq!(stream.next().await, Some(Mark::All));
        assert_eq!(stream.next().now_or_never(), None);
        assert_eq!(
            marks.stream(ResourceKind::StreamOrigin).boxed().next().now_or_never(),
            None
        );
    }
}
