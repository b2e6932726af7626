//! The event stream: what happens is sampled once for all readers; one that loses events is told the whole state anew.

use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::sse;
use axum::response::{IntoResponse, Response};
use futures_util::stream::{Stream, unfold};
use headwater_contract::{Event, NodeFigures, StreamDown};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, broadcast};
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use super::control::Refusal;
use super::state::{self, Totals};
use super::{Ops, state::Rates};
use crate::hub::HubEvent;

/// Readers at once.
const READERS: usize = 16;
/// Events that a reader may fall behind before it gets a new hello instead.
const BACKLOG: usize = 256;

/// Handle of the event stream. The lock is held while an event is handed out, so that a hello and what follows it fit.
#[derive(Clone, Debug)]
pub struct Events(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    told: Mutex<NodeFigures>,
    feed: broadcast::Sender<Arc<Event>>,
    readers: Arc<Semaphore>,
    over: CancellationToken,
}

impl Default for Events {
    fn default() -> Self {
        Self(Arc::new(Shared {
            told: Mutex::default(),
            feed: broadcast::Sender::new(BACKLOG),
            readers: Arc::new(Semaphore::new(READERS)),
            over: CancellationToken::new(),
        }))
    }
}

impl Events {
    /// All figures as last told.
    pub fn latest(&self) -> NodeFigures {
        self.lock().clone()
    }

    fn tell(&self, event: Event) {
        let _order = self.lock();
        let _ = self.0.feed.send(Arc::new(event)); // nobody listening is fine
    }

    fn tell_figures(&self, mut now: NodeFigures) {
        let mut told = self.lock();
        let streams = state::changed(&told.streams, &now.streams);
        *told = now.clone();
        now.streams = streams;
        let _ = self.0.feed.send(Arc::new(Event::Figures(now))); // as above
    }

    /// What changes in the life of the node is told at once, with the other figures as last told.
    fn tell_phase(&self, ops: &Ops) {
        let mut told = self.lock();
        state::refresh(ops, &mut told);
        let now = NodeFigures {
            streams: Vec::new(),
            ..told.clone()
        };
        let _ = self.0.feed.send(Arc::new(Event::Figures(now))); // as above
    }

    fn lock(&self) -> MutexGuard<'_, NodeFigures> {
        self.0.told.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Samples figures each second and passes on what happens, until `stop`; then the readers' streams end.
pub async fn run(ops: Ops, stop: CancellationToken) {
    let mut hub = ops.hub.events();
    let mut phases = ops.lifecycle.watch();
    let mut seconds = tokio::time::interval(Duration::from_secs(1));
    seconds.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut before: Option<(Totals, Instant)> = None;
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            _ = seconds.tick() => {
                let (totals, now) = (Totals::of(&ops.meters), Instant::now());
                let rates = before.map_or(Rates::default(), |(before, at)| totals.since(before, now - at));
                before = Some((totals, now));
                ops.events.tell_figures(state::figures(&ops, rates));
            }
            changed = phases.changed() => match changed {
                Ok(()) => ops.events.tell_phase(&ops),
                Err(_) => break,
            },
            event = hub.recv() => match event {
                Ok(HubEvent::Up(stream)) => ops.events.tell(Event::StreamUp(state::stream_state(&stream))),
                Ok(HubEvent::Down(stream, reason)) => ops.events.tell(Event::StreamDown(StreamDown {
                    name: stream.name().to_string(),
                    epoch: stream.snapshot().epoch,
                    reason,
                })),
                Err(RecvError::Lagged(_)) => ops.events.tell(Event::Hello(state::hello(&ops))),
                Err(RecvError::Closed) => break,
            },
        }
    }
    ops.events.0.over.cancel();
}

/// `GET /v1/events`.
pub(super) async fn get(State(ops): State<Ops>) -> Response {
    match Arc::clone(&ops.events.0.readers).try_acquire_owned() {
        Ok(place) => sse::Sse::new(read(ops, place)).into_response(),
        Err(_) => {
            let text = format!("{READERS} readers listen already");
            Refusal::new(StatusCode::SERVICE_UNAVAILABLE, text).into_response()
        }
    }
}

struct Reader {
    ops: Ops,
    /// None: a hello is due.
    feed: Option<broadcast::Receiver<Arc<Event>>>,
    _place: OwnedSemaphorePermit,
}

fn read(ops: Ops, place: OwnedSemaphorePermit) -> impl Stream<Item = Result<sse::Event, Infallible>> {
    let reader = Reader {
        ops,
        feed: None,
        _place: place,
    };
    unfold(reader, |mut reader| async move {
        let event = reader.next().await?;
        let json = serde_json::to_string(&*event).unwrap_or_default();
        let event = sse::Event::default().event(event.name()).data(json);
        Some((Ok(event), reader))
    })
}

impl Reader {
    async fn next(&mut self) -> Option<Arc<Event>> {
        let over = self.ops.events.0.over.clone();
        loop {
            let Some(feed) = &mut self.feed else {
                // Subscribed first: what happens meanwhile is told twice rather than never.
                self.feed = Some(self.ops.events.0.feed.subscribe());
                return Some(Arc::new(Event::Hello(state::hello(&self.ops))));
            };
            let event = tokio::select! {
                () = over.cancelled() => return None,
                event = feed.recv() => event,
            };
            match event {
                Ok(event) => return Some(event),
                Err(RecvError::Lagged(_)) => self.feed = None,
                Err(RecvError::Closed) => return None,
            }
        }
    }
}
