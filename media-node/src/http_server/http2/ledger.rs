//! What the streams of one HTTP/2 connection have been given and have not sent yet.
//!
//! HTTP/2 lets a peer stop a stream by its window while the connection goes on, so that the socket's patience does not see it, and
//! what is queued for it is held. The ledger sees it: each stream has an account, and each piece of its body counts from when the
//! connection takes it until its last byte is in the socket.

use std::collections::VecDeque;
use std::io::IoSlice;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Buf;
use http_body::{Body, Frame, SizeHint};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use super::IDLE;

/// What is to become of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is served on.
    Serve,
    /// It has been idle for long: it is told to go.
    Leave,
    /// It has not asked anything in time.
    Unasked,
    /// It was told to go, owes nothing and does not go.
    Close,
    /// A stream of it takes nothing.
    Stalled,
}

/// The accounts of a connection. The lock is held for a walk over at most as many accounts as streams may be open, never across an
/// await.
#[derive(Clone, Debug)]
pub(super) struct Ledger(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    begun: Instant,
    state: Mutex<State>,
    asked: Notify,
}

#[derive(Debug, Default)]
struct State {
    accounts: VecDeque<Weak<Account>>,
    asked: bool,
    /// When the connection was last seen with a stream, or was told to go.
    quiet_since: Option<Instant>,
    leaving: bool,
}

/// One stream's account.
#[derive(Debug)]
pub(super) struct Account {
    begun: Instant,
    /// Pieces that are not sent.
    pieces: AtomicUsize,
    /// Milliseconds from `begun` to when bytes of it were last sent, or came to be owed.
    moved: AtomicU64,
    _place: Option<OwnedSemaphorePermit>,
}

impl Ledger {
    pub(super) fn new(now: Instant) -> Self {
        Self(Arc::new(Shared {
            begun: now,
            state: Mutex::default(),
            asked: Notify::new(),
        }))
    }

    /// An account for a new stream. The connection's own place is the first one's; none if there is no place for a further one.
    pub(super) fn open(&self, places: &Arc<Semaphore>, now: Instant) -> Option<Arc<Account>> {
        let mut state = self.0.state.lock().unwrap_or_else(PoisonError::into_inner);
        if !std::mem::replace(&mut state.asked, true) {
            self.0.asked.notify_one();
        }
        state.quiet_since = Some(now);
        state.accounts.retain(|account| account.strong_count() > 0);
        let place = match state.accounts.is_empty() {
            true => None,
            false => Some(Arc::clone(places).try_acquire_owned().ok()?),
        };
        let account = Arc::new(Account {
            begun: now,
            pieces: AtomicUsize::new(0),
            moved: AtomicU64::new(0),
            _place: place,
        });
        state.accounts.push_back(Arc::downgrade(&account));
        Some(account)
    }

    /// Completes once something has been asked. Waited for by one task.
    pub(super) async fn asked(&self) {
        loop {
            if self.0.state.lock().unwrap_or_else(PoisonError::into_inner).asked {
                return;
            }
            self.0.asked.notified().await;
        }
    }

    /// Judges the connection as it stands. `leaving`: it has been told to go.
    pub(super) fn look(&self, now: Instant, head: Duration, write: Duration, leaving: bool) -> Verdict {
        let mut state = self.0.state.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut open, mut stalled) = (0, false);
        state.accounts.retain(|account| match account.upgrade() {
            Some(account) => {
                open += 1;
                stalled |= account.stalled(now, write);
                true
            }
            None => false,
        });
        if open > 0 || (leaving && !std::mem::replace(&mut state.leaving, leaving)) {
            state.quiet_since = Some(now);
        }
        let quiet = now.duration_since(state.quiet_since.unwrap_or(self.0.begun));
        match (stalled, leaving, state.asked) {
            (true, _, _) => Verdict::Stalled,
            (_, true, _) if quiet >= head => Verdict::Close,
            (_, false, false) if quiet >= head => Verdict::Unasked,
            (_, false, true) if quiet >= IDLE => Verdict::Leave,
            _ => Verdict::Serve,
        }
    }
}

impl Account {
    fn owe(&self) {
        if self.pieces.fetch_add(1, Ordering::Relaxed) == 0 {
            self.moved();
        }
    }

    fn moved(&self) {
        let since = Instant::now().duration_since(self.begun).as_millis();
        self.moved
            .store(u64::try_from(since).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    fn stalled(&self, now: Instant, write: Duration) -> bool {
        let moved = self.begun + Duration::from_millis(self.moved.load(Ordering::Relaxed));
        self.pieces.load(Ordering::Relaxed) > 0 && now.duration_since(moved) >= write
    }
}

/// A body whose pieces are entered in the stream's account.
#[derive(Debug)]
pub(super) struct Owing<B>(Option<(B, Arc<Account>)>);

impl<B> Owing<B> {
    pub(super) fn new(body: B, account: Arc<Account>) -> Self {
        Self(Some((body, account)))
    }

    pub(super) fn nothing() -> Self {
        Self(None)
    }
}

impl<B: Body + Unpin> Body for Owing<B> {
    type Data = Owed<B::Data>;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let Some((body, account)) = &mut self.0 else {
            return Poll::Ready(None);
        };
        let enter = |data| {
            account.owe();
            let account = Arc::clone(account);
            Owed { data, account }
        };
        Pin::new(body)
            .poll_frame(cx)
            .map(|frame| frame.map(|frame| frame.map(|frame| frame.map_data(enter))))
    }

    fn is_end_stream(&self) -> bool {
        self.0.as_ref().is_none_or(|(body, _)| body.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Some((body, _)) => body.size_hint(),
            None => SizeHint::with_exact(0),
        }
    }
}

/// A piece of a body that is not sent yet.
#[derive(Debug)]
pub(super) struct Owed<D> {
    data: D,
    account: Arc<Account>,
}

impl<D: Buf> Buf for Owed<D> {
    fn remaining(&self) -> usize {
        self.data.remaining()
    }

    fn chunk(&self) -> &[u8] {
        self.data.chunk()
    }

    fn chunks_vectored<'a>(&'a self, dst: &mut [IoSlice<'a>]) -> usize {
        self.data.chunks_vectored(dst)
    }

    fn advance(&mut self, count: usize) {
        self.account.moved();
        self.data.advance(count);
    }
}

impl<D> Drop for Owed<D> {
    fn drop(&mut self) {
        self.account.pieces.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http_body_util::{BodyExt, Full};

    use super::*;

    const HEAD: Duration = Duration::from_secs(10);
    const WRITE: Duration = Duration::from_secs(5);

    fn places(count: usize) -> Arc<Semaphore> {
        Arc::new(Semaphore::new(count))
    }

    async fn piece(account: Arc<Account>) -> Owed<Bytes> {
        let mut body = Owing::new(Full::new(Bytes::from_static(b"media")), account);
        body.frame().await.unwrap().unwrap().into_data().unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_asks_nothing_is_closed_and_an_idle_one_is_told_to_go() {
        let ledger = Ledger::new(Instant::now());
        let look = |leaving| ledger.look(Instant::now(), HEAD, WRITE, leaving);
        assert_eq!(look(false), Verdict::Serve);
        tokio::time::advance(HEAD).await;
        assert_eq!(look(false), Verdict::Unasked);
        drop(ledger.open(&places(0), Instant::now()).unwrap());
        tokio::time::advance(IDLE - Duration::from_secs(1)).await;
        assert_eq!(look(false), Verdict::Serve);
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(look(false), Verdict::Leave);
        assert_eq!(look(true), Verdict::Serve, "it has time to go");
        tokio::time::advance(HEAD).await;
        assert_eq!(look(true), Verdict::Close);
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_that_waits_for_media_is_no_idle_one_and_does_not_stall() {
        let ledger = Ledger::new(Instant::now());
        let _account = ledger.open(&places(0), Instant::now()).unwrap();
        tokio::time::advance(IDLE * 10).await;
        for leaving in [false, true] {
            assert_eq!(ledger.look(Instant::now(), HEAD, WRITE, leaving), Verdict::Serve);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_stalls_when_nothing_of_what_it_owes_moves_whatever_the_others_do() {
        let ledger = Ledger::new(Instant::now());
        let places = places(1);
        let account = ledger.open(&places, Instant::now()).unwrap();
        let other = ledger.open(&places, Instant::now()).unwrap();
        tokio::time::advance(WRITE * 3).await;
        let mut owed = piece(Arc::clone(&account)).await;
        let look = || ledger.look(Instant::now(), HEAD, WRITE, false);
        tokio::time::advance(WRITE - Duration::from_millis(1)).await;
        assert_eq!(look(), Verdict::Serve);
        owed.advance(1);
        tokio::time::advance(WRITE - Duration::from_millis(1)).await;
        assert_eq!(look(), Verdict::Serve, "a byte has moved");
        let quick = piece(other).await;
        tokio::time::advance(Duration::from_millis(1)).await;
        drop(quick);
        assert_eq!(look(), Verdict::Stalled);
        drop(owed);
        assert_eq!(look(), Verdict::Serve, "all is sent");
    }

    #[tokio::test(start_paused = true)]
    async fn each_stream_beyond_the_first_takes_a_place_until_all_of_it_is_sent() {
        let ledger = Ledger::new(Instant::now());
        let places = places(1);
        let first = ledger.open(&places, Instant::now()).unwrap();
        let owed = piece(ledger.open(&places, Instant::now()).unwrap()).await;
        assert!(ledger.open(&places, Instant::now()).is_none());
        drop(owed);
        let again = ledger.open(&places, Instant::now());
        assert!(again.is_some());
        drop((first, again));
        assert!(ledger.open(&places, Instant::now()).is_some());
        assert_eq!(places.available_permits(), 1);
    }
}
