//! One watch: the events since a version, as they come, until it breaks.

use std::io;

use bytes::Bytes;
use serde_json::{Value, json};
use tokio::sync::watch;

use super::{Caller, FakeApi};

/// A watch that is open.
pub(super) struct Watching {
    pub(super) api: FakeApi,
    pub(super) caller: Caller,
    pub(super) changed: watch::Receiver<()>,
    pub(super) kind: &'static str,
    pub(super) selector: Option<String>,
    pub(super) at: u64,
    pub(super) epoch: u64,
    pub(super) ended: bool,
}

impl Watching {
    pub(super) async fn next(&mut self) -> Option<Result<Bytes, io::Error>> {
        loop {
            if self.ended {
                return None;
            }
            {
                let state = self.api.lock();
                if state.faults.epoch != self.epoch || self.caller.is_dead() {
                    self.ended = true;
                    return Some(Err(io::Error::new(io::ErrorKind::BrokenPipe, "connection lost")));
                }
                if self.at < state.objects.oldest() {
                    self.ended = true;
                    let status = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 410,
                        "reason": "Expired", "message": "too old resource version"});
                    return Some(Ok(line(&json!({"type": "ERROR", "object": status}))));
                }
                if !state.faults.held_watches.contains(&self.kind)
                    && let Some((at, event)) = state.objects.event(self.kind, self.selector.as_deref(), self.at)
                {
                    self.at = at;
                    return Some(Ok(line(&event)));
                }
            }
            self.changed.changed().await.ok()?;
        }
    }
}

fn line(event: &Value) -> Bytes {
    Bytes::from(format!("{event}\n"))
}
