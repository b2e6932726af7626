//! An API server in memory, as the service under a [`Client`] or as an HTTP server: lists, watches, server-side apply, deletes, and
//! whatever goes wrong with them. It does what the real one does where the operator depends on it, and no more; the cluster tests run
//! against the real one.
//!
//! ```text
//! Client, HTTP ─▶ faults (away, throttled, the n-th write) ─▶ requests (verbs) ─▶ objects (versions, history) ─▶ watches
//! ```

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod faults;
mod http;
mod merge;
mod objects;
mod requests;
mod watching;

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use futures_util::stream::unfold;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Body, Frame};
use hyper::{Request, Response};
use kube::Client;
use serde_json::{Value, json};
use tokio::sync::watch;

use faults::Faults;
pub use faults::{Failure, When, Write};
use objects::{Key, Objects};
use requests::Target;
use watching::Watching;

type Answer = Result<Response<UnsyncBoxBody<Bytes, io::Error>>, io::Error>;

/// The namespace of everything in these tests.
pub const NAMESPACE: &str = "video";

#[derive(Default)]
struct State {
    objects: Objects,
    faults: Faults,
    writes: Vec<Write>,
}

/// The API server. Cheap to clone.
#[derive(Clone, Default)]
pub struct FakeApi {
    state: Arc<Mutex<State>>,
    changed: Arc<watch::Sender<()>>,
}

/// One process that speaks to it.
#[derive(Clone, Default)]
pub struct Caller(Arc<AtomicBool>);

impl Caller {
    /// Whatever it sends from now on does not arrive.
    pub fn die(&self) {
        self.0.store(true, Ordering::Release);
    }

    /// It has died, by [`Caller::die`] or by a [`Failure::Death`].
    pub fn is_dead(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

impl FakeApi {
    /// One that holds nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// A client of one process.
    pub fn client(&self, caller: &Caller) -> Client {
        let (api, caller) = (self.clone(), caller.clone());
        let service = tower::service_fn(move |request| api.clone().serve(caller.clone(), request));
        Client::new(service, NAMESPACE)
    }

    /// What was written since the last call.
    pub fn take_writes(&self) -> Vec<Write> {
        std::mem::take(&mut self.lock().writes)
    }

    /// Writes that were not taken yet.
    pub fn writes(&self) -> usize {
        self.lock().writes.len()
    }

    /// No connection comes about from now on, and those that are there break; or all is well again.
    pub fn away(&self, away: bool) {
        self.change(|state| {
            state.faults.away = away;
            state.faults.epoch += 1;
        });
    }

    /// Every watch breaks.
    pub fn cut(&self) {
        self.change(|state| state.faults.epoch += 1);
    }

    /// Everything that was is forgotten: a watch from before is answered 410.
    pub fn expire(&self) {
        self.change(|state| state.objects.expire());
    }

    /// The next requests are answered 429.
    pub fn throttle(&self, requests: u32) {
        self.change(|state| state.faults.throttled = requests);
    }

    /// The n-th write from now on (from 1) goes wrong.
    pub fn fail_write(&self, number: usize, when: When, failure: Failure) {
        self.change(|state| state.faults.write = Some((number, when, failure)));
    }

    /// The fault of [`FakeApi::fail_write`] has not come yet.
    pub fn fails_yet(&self) -> bool {
        self.lock().faults.write.is_some()
    }

    /// Writes of a kind are refused from now on.
    pub fn refuse(&self, kind: &'static str, code: u16, message: &str) {
        self.change(|state| state.faults.refused.push((kind, code, message.to_owned())));
    }

    /// Nothing is refused any more.
    pub fn accept(&self) {
        self.change(|state| state.faults.refused.clear());
    }

    /// Lists come in pages of one from now on, and those after the first wait until this is taken back.
    pub fn hold_pages(&self, held: bool) {
        self.change(|state| state.faults.held_pages = held);
    }

    /// Watches of a kind tell nothing from now on, or tell again, and all that came meanwhile.
    pub fn hold_watch(&self, kind: &'static str, held: bool) {
        self.change(|state| {
            state.faults.held_watches.retain(|known| *known != kind);
            state.faults.held_watches.extend(held.then_some(kind));
        });
    }

    /// Deployments have no controller from now on, or have one again: what it says of them stands still meanwhile.
    pub fn hold_rollouts(&self, held: bool) {
        self.change(|state| state.objects.hold_rollouts(held));
    }

    /// Makes an object, or puts another in its place, as a person does.
    pub fn put(&self, object: Value) {
        self.change(|state| state.objects.put(object));
    }

    /// Applies under another manager's name.
    pub fn apply_as(&self, manager: &str, object: &Value) {
        self.change(|state| {
            let key = Key::of(object);
            state.objects.apply(&key, manager, object, false).unwrap();
        });
    }

    /// Edits an object as a person does. Panics if there is none.
    pub fn edit(&self, kind: &str, name: &str, edit: impl FnOnce(&mut Value)) {
        self.change(|state| state.objects.edit(&Key::named(kind, name), edit));
    }

    /// Deletes an object, and what it owns.
    pub fn remove(&self, kind: &str, name: &str) {
        self.change(|state| state.objects.remove(&Key::named(kind, name)).unwrap());
    }

    /// An object as it stands.
    pub fn get(&self, kind: &str, name: &str) -> Option<Value> {
        self.lock().objects.get(&Key::named(kind, name)).cloned()
    }

    /// Every object of a kind.
    pub fn all(&self, kind: &str) -> Vec<Value> {
        let state = self.lock();
        let of_kind = state.objects.all().filter(|object| object["kind"] == kind);
        of_kind.cloned().collect()
    }

    /// Every object without what differs from one run to the next.
    pub fn normal(&self) -> Vec<Value> {
        let state = self.lock();
        let lasting = state.objects.all().filter(|object| object["kind"] != "Event");
        lasting.map(merge::normal).collect()
    }

    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let result = change(&mut self.lock());
        self.changed.send_replace(());
        result
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    async fn serve<B>(self, caller: Caller, request: Request<B>) -> Answer
    where
        B: Body<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>>,
    {
        let (parts, body) = request.into_parts();
        let content = parts
            .headers
            .get("content-type")
            .and_then(|content| content.to_str().ok());
        let applies = content.is_some_and(|content| content.starts_with("application/apply-patch"));
        let target = Target::parse(&parts.method, &parts.uri, applies);
        let body = body.collect().await.map_err(io::Error::other)?.to_bytes();
        let broken = || io::Error::new(io::ErrorKind::ConnectionRefused, "connection refused");
        if caller.is_dead() || self.lock().faults.away {
            return Err(broken());
        }
        let throttled = self.change(|state| {
            let throttled = state.faults.throttled > 0;
            state.faults.throttled = state.faults.throttled.saturating_sub(1);
            throttled
        });
        if throttled {
            return Ok(refusal(429, "too many requests"));
        }
        if target.watches() {
            return Ok(Response::new(self.watch(caller, &target)));
        }
        if target.is_write() {
            return self.write(&caller, &target, &body);
        }
        let mut changed = self.changed.subscribe();
        while target.continues() && self.lock().faults.held_pages {
            changed.changed().await.map_err(io::Error::other)?;
        }
        let state = self.lock();
        let page = state.faults.held_pages.then_some(1);
        Ok(respond(target.read(&state.objects, page)))
    }

    /// Does a write, or fails it, and notes it.
    fn write(&self, caller: &Caller, target: &Target, body: &[u8]) -> Answer {
        let answer = self.change(|state| {
            let fault = match &mut state.faults.write {
                Some((1, when, failure)) => Some((*when, *failure)),
                Some((number, ..)) => {
                    *number -= 1;
                    None
                }
                None => None,
            };
            if fault.is_some() {
                state.faults.write = None;
            }
            let refused = state.faults.refused.iter().find(|(kind, ..)| *kind == target.key.kind);
            let before = state.objects.version();
            let annotations = target.annotations(&state.objects, body);
            let done = match (fault, refused) {
                (Some((When::Before, _)), _) => Ok(Value::Null),
                (_, Some((_, code, message))) => Err((*code, message.clone())),
                _ => target.write(&mut state.objects, body),
            };
            let answer: Result<Value, Option<(u16, String)>> = match fault {
                None => done.map_err(Some),
                Some((_, Failure::Status(code))) => Err(Some((code, "failed by the test".to_owned()))),
                Some((_, Failure::Connection)) => Err(None),
                Some((_, Failure::Death)) => {
                    caller.die();
                    Err(None)
                }
            };
            let code = match &answer {
                Ok(_) => 200,
                Err(Some((code, _))) => *code,
                Err(None) => 0,
            };
            state.writes.push(Write {
                verb: target.verb,
                kind: target.key.kind,
                name: target.key.name.clone(),
                code,
                changed: state.objects.version() != before,
                annotations,
            });
            answer
        });
        match answer {
            Ok(object) => Ok(respond(Ok(object))),
            Err(Some(refused)) => Ok(respond(Err(refused))),
            Err(None) => Err(io::Error::new(io::ErrorKind::BrokenPipe, "connection lost")),
        }
    }

    /// The events since a version, as they come.
    fn watch(&self, caller: Caller, target: &Target) -> UnsyncBoxBody<Bytes, io::Error> {
        let watching = Watching {
            api: self.clone(),
            caller,
            changed: self.changed.subscribe(),
            kind: target.key.kind,
            selector: target.selector.clone(),
            at: target.since,
            epoch: self.lock().faults.epoch,
            ended: false,
        };
        let events = unfold(watching, |mut watching| async move {
            let event = watching.next().await?;
            Some((event.map(Frame::data), watching))
        });
        StreamBody::new(events).boxed_unsync()
    }
}

fn respond(answer: Result<Value, (u16, String)>) -> Response<UnsyncBoxBody<Bytes, io::Error>> {
    match answer {
        Ok(object) => Response::new(whole(&object)),
        Err((code, message)) => refusal(code, &message),
    }
}

fn refusal(code: u16, message: &str) -> Response<UnsyncBoxBody<Bytes, io::Error>> {
    let reason = match code {
        404 => "NotFound",
        409 => "Conflict",
        429 => "TooManyRequests",
        _ => "Failed",
    };
    let fields = message.lines().filter_map(|line| line.strip_prefix("- "));
    let causes: Vec<Value> = fields
        .map(|field| json!({"reason": "FieldManagerConflict", "field": field, "message": "conflict with \"somebody\""}))
        .collect();
    let status = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "reason": reason,
        "message": message, "details": {"causes": causes}});
    let mut response = Response::new(whole(&status));
    *response.status_mut() = hyper::StatusCode::from_u16(code).unwrap();
    response
}

fn whole(value: &Value) -> UnsyncBoxBody<Bytes, io::Error> {
    let body = Full::new(Bytes::from(value.to_string()));
    body.map_err(|never| match never {}).boxed_unsync()
}
