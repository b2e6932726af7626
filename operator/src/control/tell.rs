//! What people are told of: log lines, the history that the ops port serves, and the platform's Events.

use tracing::info;

use super::{Control, Now};
use crate::fleet::map::Change;
use crate::fleet::{NodeId, ResourceId, ResourceKind};
use crate::history::{About, NodeReason};
use crate::platform::{Happening, HappeningReason, Platform};

impl<P: Platform> Control<P> {
    /// True for a stream that came up before this control plane began.
    pub(super) fn is_older(&self, id: &NodeId, change: &Change) -> bool {
        let Change::StreamUp { stream, .. } = change else {
            return false;
        };
        let held = self.map.node(id).and_then(|node| node.streams.get(stream.as_str()));
        held.is_some_and(|held| held.state.since < self.began)
    }

    /// Logs what a person would want to know.
    pub(super) fn tell(&mut self, id: &NodeId, change: &Change, now: Now) {
        let origin = id.resource.kind == ResourceKind::StreamOrigin;
        let (node, resource) = (&id.name, &id.resource);
        match change {
            Change::StreamUp {
                stream,
                epoch,
                playable,
            } if origin && *playable => {
                self.replicated
                    .published(id.resource.clone(), stream.clone(), *epoch, now.monotonic);
                info!(event = "StreamPublished", %resource, stream, "a stream was published");
                let note = format!("stream {stream} is live");
                self.announce(resource, HappeningReason::StreamPublished, note, About::default(), now);
            }
            Change::StreamDown { stream, reason } if origin => {
                info!(event = "StreamEnded", %resource, stream, ?reason, "a stream ended");
                let why = reason.map(|reason| format!(": {reason:?}")).unwrap_or_default();
                let note = format!("stream {stream} has ended{why}");
                self.announce(resource, HappeningReason::StreamEnded, note, About::default(), now);
            }
            Change::Readiness { ready, draining } => {
                info!(node, %resource, ready, draining, "a node's readiness changed");
            }
            Change::Restarted => {
                info!(node, %resource, "a node started anew");
                self.history.node(id, NodeReason::NodeRestarted, now.wall);
            }
            Change::Joined => {
                info!(node, %resource, "a node joined");
                self.history.node(id, NodeReason::NodeJoined, now.wall);
            }
            Change::Returned => self.history.node(id, NodeReason::NodeReturned, now.wall),
            Change::StreamUp { .. } | Change::StreamDown { .. } => {}
        }
    }

    /// Tells people, and keeps it for those who look later. The caller has logged it.
    pub(super) fn announce(
        &self,
        resource: &ResourceId,
        reason: HappeningReason,
        note: String,
        about: About,
        now: Now,
    ) {
        let resource = resource.clone();
        let happening = Happening { resource, reason, note };
        self.history.happened(&happening, about, now.wall);
        self.platform.tell(happening);
    }
}
