//! One watch: the events since a version, as they come, until it breaks.

use std::io;

use bytes::Bytes;
use serde_json::{Value, json};
use tokio::sync::watch;

use super::{Caller, FakeApi};

/// A watch that is open.
pub(crate) struct Watching {
    pub(crate) api: FakeApi,
    pub(crate) caller: Caller,
    pub(crate) changed: watch::Receiver<()>,
    pub(crate) kind: &'static str,
    pub(crate) selector: Option<String>,
    pub(crate) at: u64,
    pub(crate) epoch: u64,
    pub(crate) ended: bool,
}

impl Watching {
    pub(crate) async fn next(&mut self) -> Option<Result<Bytes, io::Error>> {
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
