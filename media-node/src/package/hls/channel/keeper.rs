//! Keeps the past: streams are packaged from their beginning on where they are to be kept, and old segments of all of them
//! within their bounds.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::broadcast::error::RecvError;
use tokio::time::{Instant, MissedTickBehavior};

use super::{Channel, Channels, State};
use crate::hub::{Hub, HubEvent, Stream};
use crate::package::hls::bounds;
use crate::package::hls::disk::Stored;
use crate::package::hls::window::{Holdings, Rendition};

/// Bounds are looked at this often, and whenever memory is full.
const EVERY: Duration = Duration::from_secs(1);
/// That a window has become shorter is said at most this often.
const SAY: Duration = Duration::from_secs(60);
/// Streams that have ended and can still be played back; beyond, those that ended first go.
const MOST_ENDED: usize = 1_000;

impl Channels {
    /// Keeps until the channels are told to stop.
    pub async fn keep(self, hub: Hub) {
        let stop = self.0.stop.clone();
        let _ = stop.run_until_cancelled(self.keep_on(hub)).await; // stopped
    }

    async fn keep_on(&self, hub: Hub) {
        let mut events = hub.events();
        let mut ticks = tokio::time::interval(EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = ticks.tick() => {
                    hub.streams().iter().for_each(|stream| self.begin(stream));
                    self.bound_ended();
                    self.bound();
                }
                () = self.0.archive.pressed() => self.bound(),
                event = events.recv() => match event {
                    Ok(HubEvent::Up(stream)) => self.begin(&stream),
                    Ok(HubEvent::Down(..)) | Err(RecvError::Lagged(_)) => {} // the next tick sees to it
                    Err(RecvError::Closed) => return,
                }
            }
        }
    }

    /// Packages a stream of this node's own, whether somebody asks for it or not.
    fn begin(&self, stream: &Stream) {
        if self.0.archive.on() && stream.upstream().is_none() && stream.ended().is_none() {
            self.open(stream);
        }
    }

    fn all(&self) -> Vec<Channel> {
        self.lock().values().cloned().collect()
    }

    fn bound_ended(&self) {
        let ended = |channel: Channel| {
            let at = channel.lock().ended_at;
            Some((at?, channel))
        };
        let mut ended: Vec<_> = self.all().into_iter().filter_map(ended).collect();
        if let Some(beyond) = ended.len().checked_sub(MOST_ENDED) {
            ended.sort_by_key(|(at, _)| *at);
            ended.iter().take(beyond).for_each(|(_, channel)| self.let_go(channel));
        }
    }

    /// Brings old segments within their bounds: first go bytes that can be had again, then segments of the longest windows,
    /// then what has left the windows and is only kept for those who just read of it.
    fn bound(&self) {
        let channels = self.all();
        let bounds = self.0.archive.bounds();
        let held = sum(&channels);
        if held.memory() > bounds.memory && held.spare > 0 {
            forget(&channels, held.memory() - bounds::listed(bounds.memory));
        }
        if held.only > bounds::listed(bounds.memory) || held.disk > bounds::listed(bounds.disk) {
            self.shrink(&channels);
        }
        let held = sum(&channels);
        if held.only + held.past > bounds.memory {
            forget_past(&channels, held.only + held.past - bounds.memory);
        }
    }

    fn shrink(&self, channels: &[Channel]) {
        let spans: Vec<_> = channels.iter().map(|channel| channel.lock().window.span()).collect();
        let leaving = bounds::shrink(&spans, self.0.archive.bounds());
        for (channel, count) in channels.iter().zip(leaving).filter(|(_, count)| *count > 0) {
            channel.change(|window| {
                window.shrink(count, std::time::Instant::now());
                true
            });
            let mut state = channel.lock();
            channel.account(&mut state);
            self.0.archive.shed(count as u64);
            if state.said.is_none_or(|said| said.elapsed() >= SAY) {
                state.said = Some(Instant::now());
                let seconds = state.window.shown_ms() / 1_000;
                tracing::warn!(stream = %channel.0.stream.name(), seconds,
                    "old segments fill their bounds: less of the stream can be played back than was asked for");
            }
        }
    }
}

fn sum(channels: &[Channel]) -> Holdings {
    channels.iter().fold(Holdings::default(), |sum, channel| {
        let held = channel.lock().held;
        Holdings {
            only: sum.only + held.only,
            spare: sum.spare + held.spare,
            past: sum.past + held.past,
            disk: sum.disk + held.disk,
        }
    })
}

fn forget(channels: &[Channel], excess: u64) {
    let mut spare = Vec::new();
    for channel in channels {
        spare.extend(channel.lock().window.spare().map(|spare| (channel, spare)));
    }
    let going = bounds::forget(&mut spare, excess);
    for (channel, spare) in spare.iter().take(going) {
        channel.lock().window.forget(spare.rendition, spare.number);
    }
    channels.iter().for_each(|channel| channel.account(&mut channel.lock()));
}

fn forget_past(channels: &[Channel], excess: u64) {
    let mut past = Vec::new();
    for (index, channel) in channels.iter().enumerate() {
        let state = channel.lock();
        past.extend(state.window.past_bytes().map(|(until, bytes)| (index, until, bytes)));
    }
    let going = bounds::forget_past(&mut past, excess);
    let mut counts = vec![0; channels.len()];
    past.iter().take(going).for_each(|(index, ..)| counts[*index] += 1);
    for (channel, count) in channels.iter().zip(counts).filter(|(_, count)| *count > 0) {
        let mut state = channel.lock();
        state.window.forget_past(count);
        channel.account(&mut state);
    }
}

impl Channel {
    /// Counts what is held, after it has changed.
    pub(super) fn account(&self, state: &mut State) {
        let held = state.window.holdings();
        self.0.archive.account(state.held.memory(), held.memory());
        state.held = held;
    }

    /// Has old segments written that no file holds. Nobody waits for that.
    pub(super) fn store(&self) {
        let Some(disk) = self.0.archive.disk().filter(|_| self.0.stream.upstream().is_none()) else {
            return;
        };
        loop {
            let (from, unstored) = {
                let state = self.lock();
                (state.stored_to, state.window.unstored(state.stored_to))
            };
            let Some(unstored) = unstored else { return };
            let next = unstored.first().map_or(from, |first| first.number + 1);
            for what in unstored {
                let (channel, rendition, number) = (self.clone(), what.rendition, what.number);
                let taken = disk.put(self.0.stream.name(), what, move |file| {
                    channel.written(rendition, number, file);
                });
                if !taken {
                    return; // next time
                }
            }
            let mut state = self.lock();
            state.stored_to = state.stored_to.max(next);
        }
    }

    fn written(&self, rendition: Rendition, number: u64, file: Option<Arc<Stored>>) {
        let mut state = self.lock();
        match file {
            Some(file) => state.window.store(rendition, number, file),
            None => state.stored_to = state.stored_to.min(number),
        }
        self.account(&mut state);
    }
}

impl Drop for super::Shared {
    fn drop(&mut self) {
        let held = match self.state.get_mut() {
            Ok(state) => state.held,
            Err(poisoned) => poisoned.into_inner().held,
        };
        self.archive.account(held.memory(), 0);
    }
}
