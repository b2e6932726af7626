//! Counts of what a node does, kept in atomics that every stage may bump and only the ops port reads.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// How a viewer is served; the label `protocol` of the metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// RTMP play.
    Rtmp,
    /// Another node's pull: counted in bytes, not as a viewer.
    Relay,
    /// HTTP-FLV.
    Flv,
    /// FLV over WebSocket.
    WsFlv,
    /// fMP4 over WebSocket.
    Ws,
    /// Progressive fMP4 over HTTP.
    Mp4,
    /// HLS: counted by the media that is sent, since nobody has a connection of their own.
    Hls,
    /// A push to another server.
    Push,
}

/// Why somebody or something was refused; the label `reason` of the metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// Bytes that are not the protocol.
    Malformed,
    /// A handshake, request or first command that took too long.
    Timeout,
    /// A bound was passed: connections, streams, sizes.
    Limit,
    /// No such stream or URL.
    NotFound,
    /// A method that the URL does not take.
    Method,
    /// Wrong or missing publish key.
    Key,
    /// Publishing is not for this role, app or name.
    NotAllowed,
    /// The name is taken by a live publisher.
    Conflict,
    /// The node drains.
    Draining,
    /// Wrong or missing bearer token.
    Token,
    /// A command of an old term.
    Term,
}

/// Why frames were dropped; the label `reason` of the metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Drop {
    /// A viewer was moved on to a newer key frame.
    SlowViewer,
    /// A unit that could not be parsed.
    Unparsable,
    /// A media track beyond the first of its kind.
    ExtraTrack,
}

/// What came of reading the certificate of the delivery port; the label `result` of the metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TlsLoad {
    /// It is served.
    Loaded,
    /// It can't be used.
    Failed,
}

/// Where old segments are held; the label `where` of the metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Where {
    /// In memory.
    Memory,
    /// In files.
    Disk,
}

macro_rules! labels {
    ($type:ty { $($variant:ident = $text:literal),+ $(,)? }) => {
        impl $type {
            /// Every variant.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// The label's value.
            pub fn label(self) -> &'static str {
                match self { $(Self::$variant => $text),+ }
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.label())
            }
        }

        impl FromStr for $type {
            type Err = String;

            fn from_str(text: &str) -> Result<Self, String> {
                match text {
                    $($text => Ok(Self::$variant),)+
                    other => Err(format!("unknown {}: {other}", stringify!($type))),
                }
            }
        }
    };
}

labels!(Protocol {
    Rtmp = "rtmp", Relay = "relay", Flv = "flv", WsFlv = "ws_flv", Ws = "ws", Mp4 = "mp4", Hls = "hls", Push = "push",
});
labels!(Refusal {
    Malformed = "malformed", Timeout = "timeout", Limit = "limit", NotFound = "not_found", Method = "method",
    Key = "key", NotAllowed = "not_allowed", Conflict = "conflict", Draining = "draining", Token = "token", Term = "term",
});
labels!(TlsLoad { Loaded = "loaded", Failed = "failed" });
labels!(Where { Memory = "memory", Disk = "disk" });
labels!(Drop { SlowViewer = "slow_viewer", Unparsable = "unparsable", ExtraTrack = "extra_track" });

/// Handle of the counts.
#[derive(Clone, Debug, Default)]
pub struct Meters(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    sent: [AtomicU64; Protocol::ALL.len()],
    viewers: [AtomicU64; Protocol::ALL.len()],
    refused: [AtomicU64; Refusal::ALL.len()],
    dropped: [AtomicU64; Drop::ALL.len()],
    tls_loads: [AtomicU64; TlsLoad::ALL.len()],
    received: AtomicU64,
    pull_reconnects: AtomicU64,
    dvr_bytes: [AtomicU64; Where::ALL.len()],
    dvr_shed: AtomicU64,
    dvr_write_failures: AtomicU64,
}

impl Meters {
    /// Bytes written to a socket.
    pub fn sent(&self, protocol: Protocol, bytes: u64) {
        self.0.sent[protocol as usize].fetch_add(bytes, Ordering::Relaxed);
    }

    /// Bytes sent so far.
    pub fn sent_bytes(&self, protocol: Protocol) -> u64 {
        self.0.sent[protocol as usize].load(Ordering::Relaxed)
    }

    /// Bytes of media taken in, by publishers and pulls.
    pub fn received(&self, bytes: u64) {
        self.0.received.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Bytes received so far.
    pub fn received_bytes(&self) -> u64 {
        self.0.received.load(Ordering::Relaxed)
    }

    /// Counts somebody who is served, for as long as the guard lives.
    pub fn serving(&self, protocol: Protocol) -> Serving {
        self.0.viewers[protocol as usize].fetch_add(1, Ordering::Relaxed);
        Serving {
            meters: self.clone(),
            protocol,
        }
    }

    /// Counts an audience of which only the number is known, for as long as the guard lives.
    pub fn audience(&self, protocol: Protocol) -> Audience {
        Audience {
            serving: self.clone(),
            protocol,
            size: 0,
        }
    }

    /// How many are served now.
    pub fn served(&self, protocol: Protocol) -> u64 {
        self.0.viewers[protocol as usize].load(Ordering::Relaxed)
    }

    /// Viewers of every protocol, relays and pushes left out.
    pub fn viewers(&self) -> u64 {
        Protocol::ALL
            .iter()
            .filter(|protocol| !matches!(protocol, Protocol::Relay | Protocol::Push))
            .map(|protocol| self.served(*protocol))
            .sum()
    }

    /// Counts a refusal.
    pub fn refused(&self, reason: Refusal) {
        self.0.refused[reason as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// Refusals so far.
    pub fn refusals(&self, reason: Refusal) -> u64 {
        self.0.refused[reason as usize].load(Ordering::Relaxed)
    }

    /// Counts dropped frames.
    pub fn dropped(&self, reason: Drop, frames: u64) {
        self.0.dropped[reason as usize].fetch_add(frames, Ordering::Relaxed);
    }

    /// Frames dropped so far.
    pub fn dropped_frames(&self, reason: Drop) -> u64 {
        self.0.dropped[reason as usize].load(Ordering::Relaxed)
    }

    /// Counts a look at a new certificate.
    pub fn tls_loaded(&self, result: TlsLoad) {
        self.0.tls_loads[result as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// Certificates read so far.
    pub fn tls_loads(&self, result: TlsLoad) -> u64 {
        self.0.tls_loads[result as usize].load(Ordering::Relaxed)
    }

    /// Counts a pull that had to connect again.
    pub fn pull_reconnected(&self) {
        self.0.pull_reconnects.fetch_add(1, Ordering::Relaxed);
    }

    /// Reconnects of pulls so far.
    pub fn pull_reconnects(&self) -> u64 {
        self.0.pull_reconnects.load(Ordering::Relaxed)
    }

    /// Sets how many bytes old segments fill.
    pub fn set_dvr_bytes(&self, place: Where, bytes: u64) {
        self.0.dvr_bytes[place as usize].store(bytes, Ordering::Relaxed);
    }

    /// Bytes that old segments fill.
    pub fn dvr_bytes(&self, place: Where) -> u64 {
        self.0.dvr_bytes[place as usize].load(Ordering::Relaxed)
    }

    /// Counts segments that had to leave before their time.
    pub fn dvr_shed(&self, segments: u64) {
        self.0.dvr_shed.fetch_add(segments, Ordering::Relaxed);
    }

    /// Segments that had to leave before their time, so far.
    pub fn dvr_shed_segments(&self) -> u64 {
        self.0.dvr_shed.load(Ordering::Relaxed)
    }

    /// Counts a segment that could not be written.
    pub fn dvr_write_failed(&self) {
        self.0.dvr_write_failures.fetch_add(1, Ordering::Relaxed);
    }

    /// Segments that could not be written so far.
    pub fn dvr_write_failures(&self) -> u64 {
        self.0.dvr_write_failures.load(Ordering::Relaxed)
    }
}

/// An audience, counted until it is dropped.
#[derive(Debug)]
pub struct Audience {
    serving: Meters,
    protocol: Protocol,
    size: u64,
}

impl Audience {
    /// It is this large now.
    pub fn set(&mut self, size: u64) {
        let viewers = &self.serving.0.viewers[self.protocol as usize];
        viewers.fetch_add(size, Ordering::Relaxed);
        viewers.fetch_sub(self.size, Ordering::Relaxed);
        self.size = size;
    }
}

impl std::ops::Drop for Audience {
    fn drop(&mut self) {
        self.set(0);
    }
}

/// Counts somebody who is served, until it is dropped.
#[derive(Debug)]
pub struct Serving {
    meters: Meters,
    protocol: Protocol,
}

impl Serving {
    /// Counts bytes written to this viewer.
    pub fn sent(&self, bytes: u64) {
        self.meters.sent(self.protocol, bytes);
    }
}

impl std::ops::Drop for Serving {
    fn drop(&mut self) {
        self.meters.0.viewers[self.protocol as usize].fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_round_trip() {
        for protocol in Protocol::ALL {
            assert_eq!(protocol.label().parse::<Protocol>().as_ref(), Ok(protocol));
        }
        for refusal in Refusal::ALL {
            assert_eq!(refusal.label().parse::<Refusal>().as_ref(), Ok(refusal));
        }
        for load in TlsLoad::ALL {
            assert_eq!(load.label().parse::<TlsLoad>().as_ref(), Ok(load));
        }
        for place in Where::ALL {
            assert_eq!(place.label().parse::<Where>().as_ref(), Ok(place));
        }
        for drop in Drop::ALL {
            assert_eq!(drop.label().parse::<Drop>().as_ref(), Ok(drop));
        }
    }

    #[test]
    fn a_viewer_counts_while_served_and_a_relay_never_does() {
        let meters = Meters::default();
        let viewer = meters.serving(Protocol::Ws);
        let _relay = meters.serving(Protocol::Relay);
        assert_eq!(meters.viewers(), 1);
        std::mem::drop(viewer);
        assert_eq!(meters.viewers(), 0);
    }
}
