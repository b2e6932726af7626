//! RTMP play: what ingest hands over once a peer has said what it wants to see.

use std::ops::ControlFlow;
use std::time::Instant;

use bytes::{BufMut, Bytes};
use headwater_contract::StreamEnd;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::outbox::Outbox;
use super::pump::{Dialogue, Opening};
use super::{Delivery, Parting, Viewer, pump};
use crate::http_server::Patient;
use crate::hub::demand::Unavailable;
use crate::ingest::rtmp::PlayRequest;
use crate::listen;
use crate::meters::{Protocol, Refusal};
use crate::package::feed::FeedEnd;
use crate::rtmp::command;
use crate::rtmp::connection::{Heard, PlaySession};

/// Serves a player or a relay to its end.
pub async fn play(request: PlayRequest, delivery: Delivery) {
    let PlayRequest {
        io,
        session,
        stream: name,
        relay,
    } = request;
    let _ = listen::prepare(&io); // a socket without its options still serves
    let io = Patient::new(io, delivery.write_timeout);
    if !delivery.lifecycle.admits() {
        delivery.meters.refused(Refusal::Draining);
        return refuse(
            io,
            command::play_failed("this node drains: connect again, another one will take you"),
        )
        .await;
    }
    let stream = match delivery.hub.find(&name).await {
        Ok(stream) => stream,
        Err(error) => {
            delivery.meters.refused(Refusal::NotFound);
            let answer = match error {
                Unavailable::NotFound => command::play_not_found(),
                Unavailable::Temporarily => command::play_failed("the stream can't be had at the moment"),
            };
            return refuse(io, answer).await;
        }
    };
    let protocol = if relay { Protocol::Relay } else { Protocol::Rtmp };
    let viewer = Viewer::join(&delivery, &stream, protocol);
    let opening = Opening {
        greeting: command::play_started(),
        early: Bytes::new(), // what came with `play` is in the session already
    };
    let parting = pump::run(io, viewer, &mut Player(session), opening, None).await;
    tracing::debug!(stream = %name, %protocol, ?parting, "viewer left");
}

/// Says no, and lets the peer read it.
async fn refuse(mut io: Patient<TcpStream>, answer: Bytes) {
    let talk = async {
        io.write_all(&answer).await?;
        io.shutdown().await?;
        tokio::io::copy(&mut io, &mut tokio::io::sink()).await
    };
    let _ = tokio::time::timeout(pump::LINGER, talk).await; // it is refused either way
}

/// The control messages around the feed's chunks.
struct Player(PlaySession);

impl Dialogue for Player {
    fn heard(&mut self, bytes: &[u8], _: Instant, out: &mut Outbox) -> ControlFlow<Parting> {
        self.0.input().put_slice(bytes);
        match self.0.step(bytes.len()) {
            Ok(Heard::Answer(answer)) => {
                out.own(answer);
                ControlFlow::Continue(())
            }
            Ok(Heard::Close) => ControlFlow::Break(Parting::Left),
            Err(error) => {
                tracing::debug!(%error, "what an RTMP player says can't be read");
                ControlFlow::Break(Parting::Malformed)
            }
        }
    }

    /// RTMP needs no sign of life: TCP keepalive finds the dead, and most players never say anything.
    fn tick(&mut self, _: Instant, _: &mut Outbox) -> ControlFlow<Parting> {
        ControlFlow::Continue(())
    }

    fn farewell(&mut self, parting: Parting, out: &mut Outbox) {
        // Only the stream's own end is told. A node that stops, one that lost its source or no longer wants the stream, and a
        // format that can't go on are no end of it: the player is to connect again, or to another node.
        if let Parting::Ended(FeedEnd::Stream(StreamEnd::Unpublished | StreamEnd::PublisherLost)) = parting {
            out.own(command::play_ended());
        }
    }
}

#[cfg(test)]
mod tests;
