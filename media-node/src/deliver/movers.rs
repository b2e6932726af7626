//! The viewers that can be asked to move to another node, and the drain that asks them.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use headwater_contract::DrainState;
use rand::seq::SliceRandom;
use tokio::sync::Notify;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use crate::lifecycle::Lifecycle;

/// A drain asks its viewers within this time, or within half of the time to its deadline.
pub const SPREAD: Duration = Duration::from_secs(10);
const STEP: Duration = Duration::from_millis(250);
/// A drain asks a viewer that is still here again after this long: a player gives a move up after two minutes.
const ASK_AGAIN: Duration = Duration::from_secs(150);

/// Handle of the registry: at most one entry per connection. The lock is a plain mutex, nothing awaits under it.
#[derive(Clone, Debug, Default)]
pub struct Movers(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    ids: AtomicU64,
    seats: Mutex<HashMap<u64, Entry>>,
}

#[derive(Debug)]
struct Entry {
    /// When it was last asked, unless that is forgotten.
    asked: Option<Instant>,
    order: Arc<Notify>,
}

impl Movers {
    /// Registers a viewer for as long as the seat lives.
    pub fn join(&self) -> Seat {
        let id = self.0.ids.fetch_add(1, Ordering::Relaxed);
        let order = Arc::new(Notify::new());
        let entry = Entry {
            asked: None,
            order: Arc::clone(&order),
        };
        self.lock().insert(id, entry);
        Seat {
            movers: self.clone(),
            id,
            order,
        }
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.lock().len()
    }

    /// Asks up to `most` viewers, chosen at random among those not asked yet. Returns how many were asked.
    pub fn ask(&self, most: u32) -> u32 {
        let mut seats = self.lock();
        let mut unasked: Vec<&mut Entry> = seats.values_mut().filter(|entry| entry.asked.is_none()).collect();
        let (chosen, _) = unasked.partial_shuffle(&mut rand::rng(), most as usize);
        for entry in chosen.iter_mut() {
            entry.asked = Some(Instant::now());
            entry.order.notify_one();
        }
        chosen.len() as u32
    }

    fn unasked(&self) -> usize {
        self.lock().values().filter(|entry| entry.asked.is_none()).count()
    }

    /// Makes everybody one who has not been asked.
    pub(super) fn forget(&self) {
        self.forget_older(Duration::ZERO);
    }

    /// Makes everybody who was asked at least this long ago one who has not been asked.
    fn forget_older(&self, ago: Duration) {
        for entry in self.lock().values_mut() {
            entry.asked = entry.asked.filter(|at| at.elapsed() < ago);
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Entry>> {
        self.0.seats.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A viewer's place in the registry.
#[derive(Debug)]
pub struct Seat {
    movers: Movers,
    id: u64,
    order: Arc<Notify>,
}

impl Seat {
    /// Completes when this viewer is to be asked to move.
    pub async fn asked(&self) {
        self.order.notified().await;
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.movers.lock().remove(&self.id);
    }
}

/// Time over which a drain asks its viewers: one with a near deadline leaves half of it for the moves themselves.
fn spread(drain: &DrainState) -> Duration {
    let whole = Duration::try_from(drain.deadline.duration_since(drain.since)).unwrap_or_default();
    SPREAD.min(whole / 2)
}

/// How many of `unasked` to ask now, `elapsed` into a drain, to be through with all when `spread` is over.
fn due(unasked: usize, elapsed: Duration, spread: Duration) -> usize {
    let left = spread.saturating_sub(elapsed);
    let steps = left.as_millis().div_ceil(STEP.as_millis()).max(1) as usize;
    unasked.div_ceil(steps)
}

/// Asks viewers to move while the node drains, until `stop`. A drain taken back asks nobody further; a later one asks all anew.
pub async fn follow(movers: Movers, lifecycle: Lifecycle, stop: CancellationToken) {
    let mut phases = lifecycle.watch();
    let mut steps = tokio::time::interval(STEP);
    steps.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut since: Option<Instant> = None;
    loop {
        let spread = phases
            .borrow_and_update()
            .drain
            .as_ref()
            .map(|drain| spread(&drain.state));
        since = match (spread.is_some(), since) {
            (true, None) => {
                movers.forget(); // a rebalance may have asked them, in vain
                Some(Instant::now())
            }
            (false, Some(_)) => {
                movers.forget();
                None
            }
            (_, since) => since,
        };
        match since {
            Some(begun) => {
                let spread = spread.unwrap_or_default();
                movers.forget_older(ASK_AGAIN);
                movers.ask(due(movers.unasked(), begun.elapsed(), spread) as u32);
                tokio::select! {
                    () = stop.cancelled() => return,
                    _ = steps.tick() => {}
                }
            }
            None => tokio::select! {
                () = stop.cancelled() => return,
                changed = phases.changed() => if changed.is_err() { return },
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn asks_only_those_not_asked_and_tells_each_once() {
        let movers = Movers::default();
        let seats: Vec<_> = (0..10).map(|_| movers.join()).collect();
        assert_eq!(movers.ask(4), 4);
        assert_eq!(movers.ask(100), 6);
        assert_eq!(movers.ask(100), 0);
        for seat in &seats {
            tokio::time::timeout(Duration::from_secs(1), seat.asked())
                .await
                .unwrap();
        }
        drop(seats);
        assert_eq!(movers.count(), 0);
    }

    #[test]
    fn a_drain_is_spread_evenly_and_through_at_its_end() {
        let (mut unasked, mut most) = (1_000, 0);
        for step in 0..40 {
            let now = due(unasked, STEP * step, SPREAD);
            most = most.max(now);
            unasked -= now;
        }
        assert_eq!(unasked, 0);
        assert_eq!(most, 25);
        assert_eq!(due(3, SPREAD * 2, SPREAD), 3, "newcomers of a drain are asked at once");
    }

    /// A player gives up after a while and stays: whoever was asked by a rebalance was never asked by a drain.
    #[tokio::test(start_paused = true)]
    async fn a_drain_asks_those_too_that_a_rebalance_has_asked() {
        let (movers, lifecycle) = (Movers::default(), Lifecycle::default());
        let seat = movers.join();
        assert_eq!(movers.ask(1), 1);
        seat.asked().await;
        let stop = CancellationToken::new();
        let task = tokio::spawn(follow(movers.clone(), lifecycle.clone(), stop.clone()));
        let deadline = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(60);
        lifecycle.drain(deadline, Duration::ZERO);
        tokio::time::timeout(SPREAD, seat.asked()).await.unwrap();
        stop.cancel();
        task.await.unwrap();
    }

    /// Whoever found no other edge within the player's patience was cut at the deadline, though there was one by then.
    #[tokio::test(start_paused = true)]
    async fn a_drain_asks_those_again_that_are_still_here() {
        let (movers, lifecycle) = (Movers::default(), Lifecycle::default());
        let seat = movers.join();
        let stop = CancellationToken::new();
        let task = tokio::spawn(follow(movers.clone(), lifecycle.clone(), stop.clone()));
        lifecycle.drain(
            jiff::Timestamp::now() + jiff::SignedDuration::from_secs(1_800),
            Duration::ZERO,
        );
        tokio::time::timeout(SPREAD, seat.asked()).await.unwrap();
        let again = tokio::time::timeout(ASK_AGAIN - SPREAD, seat.asked()).await;
        assert!(again.is_err(), "it has time to move");
        tokio::time::timeout(SPREAD * 3, seat.asked()).await.unwrap();
        stop.cancel();
        task.await.unwrap();
    }

    #[test]
    fn a_drain_with_a_near_deadline_has_asked_all_half_way_to_it() {
        let since = jiff::Timestamp::now();
        let of = |seconds| {
            let deadline = since + jiff::SignedDuration::from_secs(seconds);
            spread(&DrainState { since, deadline })
        };
        assert_eq!((of(1_800), of(5)), (SPREAD, Duration::from_millis(2_500)));
        assert_eq!(of(-1), Duration::ZERO, "all at once");
        assert_eq!(due(100, Duration::ZERO, of(-1)), 100);
    }

    #[tokio::test(start_paused = true)]
    async fn a_drain_asks_all_and_one_taken_back_stops() {
        let (movers, lifecycle) = (Movers::default(), Lifecycle::default());
        let _seats: Vec<_> = (0..100).map(|_| movers.join()).collect();
        let stop = CancellationToken::new();
        let task = tokio::spawn(follow(movers.clone(), lifecycle.clone(), stop.clone()));
        let deadline = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(60);
        lifecycle.drain(deadline, Duration::ZERO);
        tokio::time::sleep(Duration::from_secs(4)).await;
        lifecycle.undrain();
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(movers.unasked(), 100, "they may be asked by the next drain");
        lifecycle.drain(deadline, Duration::ZERO);
        tokio::time::sleep(Duration::from_secs(5)).await;
        assert!((40..=60).contains(&movers.unasked()), "{}", movers.unasked());
        tokio::time::sleep(Duration::from_secs(6)).await;
        assert_eq!(movers.unasked(), 0);
        stop.cancel();
        task.await.unwrap();
    }
}
