//! DELIVER: what viewers ask for, and the feeds' bytes on their sockets.
//!
//! ```text
//! server ─▶ route (pure) ─▶ hls (files of package::hls)
//!                        ├▶ http (body) ────────────┐
//!                        └▶ websocket (dialogue) ─▶ pump ◀─ Cursor ◀─ package::Feed
//!                rtmp (dialogue, from ingest) ──────┘
//! ```
//! Nothing here can make a feed, or another viewer, wait.

pub mod assets;
pub mod hls;
pub mod http;
pub mod members;
pub mod movers;
pub mod outbox;
pub mod page;
pub mod pump;
pub mod route;
pub mod rtmp;
pub mod server;
pub mod websocket;

#[cfg(test)]
pub(crate) mod rig;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::hub::{Hub, Stream, Watching};
use crate::lifecycle::Lifecycle;
use crate::meters::{Meters, Protocol, Refusal, Serving};
use crate::names::AppName;
use crate::package::feed::Cursor;
use crate::package::hls::channel::Channels;
use crate::package::{Format, Packager};

use members::Roster;
use movers::Movers;

/// What delivery works with.
#[derive(Clone)]
pub struct Delivery(Arc<Parts>);

/// The parts of [`Delivery`].
pub struct Parts {
    /// Name of this node, told to WebSocket players.
    pub node: String,
    /// The one app that is served.
    pub app: AppName,
    /// The streams.
    pub hub: Hub,
    /// The feeds.
    pub packager: Packager,
    /// HLS windows.
    pub channels: Channels,
    /// What nodes upstream know of groups.
    pub roster: Roster,
    /// Requests that may wait for what is to come, at once; one more is answered 503.
    pub waiting: Arc<Semaphore>,
    /// Counts.
    pub meters: Meters,
    /// Whether newcomers are served.
    pub lifecycle: Lifecycle,
    /// Those who can be asked to move.
    pub movers: Movers,
    /// A viewer that takes nothing for this long is dropped.
    pub write_timeout: Duration,
    /// Ends every viewer, at the end of the node's life.
    pub cut: CancellationToken,
}

impl Delivery {
    /// From its parts.
    pub fn new(parts: Parts) -> Self {
        Self(Arc::new(parts))
    }
}

impl std::ops::Deref for Delivery {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.0
    }
}

/// One viewer: its cursor, and the guards that count it for as long as it is served.
pub struct Viewer {
    /// Its place in the feed.
    pub cursor: Cursor,
    /// Is sent what only relays and WebSocket players are.
    pub informed: bool,
    /// Is sent WebSocket headers.
    pub framed: bool,
    serving: Serving,
    meters: Meters,
    cut: CancellationToken,
    _watching: Watching,
}

impl Viewer {
    /// Takes a place in the feed of `stream` that `protocol` is served from.
    pub fn join(delivery: &Delivery, stream: &Stream, protocol: Protocol) -> Self {
        let format = match protocol {
            Protocol::Rtmp | Protocol::Relay | Protocol::Push => Format::Rtmp,
            Protocol::Flv | Protocol::WsFlv => Format::Flv,
            // HLS viewers have no place in a feed.
            Protocol::Ws | Protocol::Mp4 | Protocol::Hls => Format::Fmp4,
        };
        let watching = match protocol {
            Protocol::Relay => stream.relay(),
            _ => stream.watch(),
        };
        Self {
            cursor: delivery.packager.cursor(stream, format),
            informed: matches!(protocol, Protocol::Relay | Protocol::Ws),
            framed: matches!(protocol, Protocol::Ws | Protocol::WsFlv),
            serving: delivery.meters.serving(protocol),
            meters: delivery.meters.clone(),
            cut: delivery.cut.clone(),
            _watching: watching,
        }
    }
}

/// Why a viewer was parted with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parting {
    /// The feed ended.
    Ended(crate::package::feed::FeedEnd),
    /// The viewer left.
    Left,
    /// The node is at its end.
    Cut,
    /// The viewer can't carry the stream.
    TooSlow,
    /// The viewer has not been heard of for too long.
    Silent,
    /// What it sent is not the protocol.
    Malformed,
    /// The socket failed, or took nothing for too long.
    Broken(std::io::ErrorKind),
}

impl Parting {
    /// The refusal that it counts as, if it is one.
    pub fn refusal(self) -> Option<Refusal> {
        match self {
            Parting::Malformed => Some(Refusal::Malformed),
            Parting::Silent => Some(Refusal::Timeout),
            _ => None,
        }
    }
}
