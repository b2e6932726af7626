//! Media as the body of an HTTP answer: the feed's bytes as they are, shared with every other viewer.

use std::sync::Arc;

use futures_util::stream::unfold;
use http_body::Frame;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};

use super::outbox::Piece;
use super::{Viewer, pump};
use crate::meters::Drop as Dropped;
use crate::package::feed::{Audience, Entry, EntryKind, Taken};

/// Body of every answer of the delivery port.
pub type Body = UnsyncBoxBody<Piece, Broken>;

/// A body can't be what it began as: the connection, or the HTTP/2 stream, is broken off, so that nobody takes it for whole.
#[derive(Debug, thiserror::Error)]
#[error("what is sent can't be completed")]
pub struct Broken;

/// A body that is there as a whole.
pub fn whole(bytes: impl Into<bytes::Bytes>) -> Body {
    Full::new(Piece::Own(bytes.into()))
        .map_err(|never| match never {})
        .boxed_unsync()
}

struct Flow {
    viewer: Viewer,
    /// Taken from the feed and not yet handed to the connection, newest first.
    waiting: Vec<Arc<Entry>>,
    /// An entry of media has been sent: headers can't change any more where `one_init` is set.
    begun: bool,
    one_init: bool,
}

/// The body of a viewer. It ends with the feed, when the viewer is too slow, and at a change of headers where
/// `one_init` says that the format has them at its beginning only (progressive MP4).
pub fn body(viewer: Viewer, one_init: bool) -> Body {
    let flow = Flow {
        viewer,
        waiting: Vec::new(),
        begun: false,
        one_init,
    };
    let pieces = unfold(flow, |mut flow| async move {
        let entry = flow.next().await?;
        let piece = Piece::entry(entry, false);
        Some((Ok(Frame::data(piece)), flow))
    });
    StreamBody::new(pieces).boxed_unsync()
}

impl Flow {
    async fn next(&mut self) -> Option<Arc<Entry>> {
        loop {
            while let Some(entry) = self.waiting.pop() {
                if entry.audience != Audience::All || entry.len == 0 {
                    continue;
                }
                match entry.kind {
                    EntryKind::Init if self.begun && self.one_init => return None,
                    EntryKind::Init => {}
                    _ => self.begun = true,
                }
                self.viewer.serving.sent(entry.len as u64);
                return Some(entry);
            }
            let taken = tokio::select! {
                biased;
                () = self.viewer.cut.cancelled() => return None,
                taken = self.viewer.cursor.take(&mut self.waiting, pump::MOST, pump::BYTES) => taken,
            };
            self.waiting.reverse();
            match taken {
                Taken::Entries => {}
                Taken::Skipped(missed) => self.viewer.meters.dropped(Dropped::SlowViewer, missed),
                Taken::TooSlow => return None,
                Taken::Ended(_) if self.waiting.is_empty() => return None,
                Taken::Ended(_) => {}
            }
        }
    }
}
