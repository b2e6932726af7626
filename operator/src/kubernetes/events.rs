//! Events: what happened, where `kubectl describe` shows it. They are a convenience: one that can't be written is dropped, the log has
//! it.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::ObjectReference;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use kube::runtime::reflector::ObjectRef;
use kube::{Client, Resource};
use tokio::sync::mpsc;
use tracing::debug;

use super::leader::Fence;
use super::observe::Stores;
use crate::fleet::{ResourceId, ResourceKind};
use crate::history::{About, History};
use crate::platform::Happening;

/// Happenings that wait to be written; what comes while it is full is dropped.
pub const QUEUE: usize = 256;
/// Least time between two Events: a stampede must not be the API server's.
const APART: Duration = Duration::from_millis(50);
/// Longest wait for one Event to be written.
const ANSWER: Duration = Duration::from_secs(10);
/// Longest note, in bytes (Event v1 `note`: 1 kB).
const LONGEST_NOTE: usize = 1_000;
/// Longest action, in bytes (Event v1 `action`: 128).
const LONGEST_ACTION: usize = 128;

/// The way to people for what the controllers find; what the control loop finds it keeps itself.
#[derive(Clone, Debug)]
pub struct Teller {
    events: mpsc::Sender<Happening>,
    history: History,
}

impl Teller {
    /// One that has Events written by whoever reads the queue.
    pub fn new(events: mpsc::Sender<Happening>, history: History) -> Self {
        Self { events, history }
    }

    /// Tells people. False if the queue is full and there will be no Event.
    pub fn tell(&self, happening: Happening) -> bool {
        self.history.happened(&happening, About::default(), Timestamp::now());
        self.events.try_send(happening).is_ok()
    }
}

/// Writes happenings as they come, until the last sender is gone; what comes while this process may lead no more is dropped.
pub async fn publish(
    client: Client,
    stores: Stores,
    identity: String,
    fence: Option<Fence>,
    mut happenings: mpsc::Receiver<Happening>,
) {
    let reporter = Reporter {
        controller: "headwater".to_owned(),
        instance: Some(identity),
    };
    let recorder = Recorder::new(client, reporter);
    while let Some(happening) = happenings.recv().await {
        let Some(reference) = reference(&stores, &happening.resource) else {
            continue;
        };
        if fence.as_ref().is_some_and(|fence| fence.check().is_err()) {
            continue;
        }
        let event = event(&happening);
        match tokio::time::timeout(ANSWER, recorder.publish(&event, &reference)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => debug!(resource = %happening.resource, %error, "an Event could not be written"),
            // Those behind it must not wait for a server that says nothing.
            Err(_) => debug!(resource = %happening.resource, "an Event was not written in time"),
        }
        tokio::time::sleep(APART).await;
    }
}

fn event(happening: &Happening) -> Event {
    Event {
        type_: match happening.reason.is_warning() {
            true => EventType::Warning,
            false => EventType::Normal,
        },
        reason: happening.reason.to_string(),
        note: Some(cut(&happening.note, LONGEST_NOTE).to_owned()),
        // The API tells Events apart by this and by the reason: two streams that come up must be two.
        action: cut(&happening.note, LONGEST_ACTION).to_owned(),
        secondary: None,
    }
}

fn reference(stores: &Stores, resource: &ResourceId) -> Option<ObjectReference> {
    let (name, namespace) = (resource.name.as_str(), resource.namespace.as_str());
    match resource.kind {
        ResourceKind::StreamOrigin => {
            let origin = stores.origins.get(&ObjectRef::new(name).within(namespace))?;
            Some(origin.object_ref(&()))
        }
        ResourceKind::EdgePool => {
            let pool = stores.pools.get(&ObjectRef::new(name).within(namespace))?;
            Some(pool.object_ref(&()))
        }
    }
}

/// The text up to so many bytes, cut between characters.
fn cut(text: &str, longest: usize) -> &str {
    let end = (0..=longest.min(text.len()))
        .rev()
        .find(|end| text.is_char_boundary(*end))
        .unwrap_or(0);
    &text[..end]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::platform::HappeningReason;

    #[test]
    fn long_notes_are_cut_between_characters() {
        assert_eq!(cut("größer", 4), "grö");
        assert_eq!(cut("größer", 3), "gr");
        assert_eq!(cut("a", 100), "a");
    }

    #[test]
    fn two_streams_are_two_events() {
        let of = |note: &str, reason| {
            event(&Happening {
                resource: ResourceId::origin("n", "main"),
                reason,
                note: note.to_owned(),
            })
        };
        let one = of("stream a is live", HappeningReason::StreamPublished);
        let other = of("stream b is live", HappeningReason::StreamPublished);
        assert_ne!(one.action, other.action);
        assert_eq!(one.type_, EventType::Normal);
        assert_eq!(of("x", HappeningReason::PullFailed).type_, EventType::Warning);
    }
}
