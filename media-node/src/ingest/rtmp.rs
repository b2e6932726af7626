//! RTMP sessions: drives [`Session`] over a socket, feeds the hub with what a publisher sends, hands players on.

use std::time::{Duration, Instant};

use bytes::BytesMut;
use headwater_contract::{Role, StreamEnd, StreamSource};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{timeout, timeout_at};

use super::Ingest;
use super::admit::{self, Publish, Refused};
use super::intake::Intake;
use super::publishing::Rules;
use super::session::{self, Next, Session};
use crate::hub::{PublishOptions, Publisher};
use crate::lifecycle::Phase;
use crate::meters::Refusal;
use crate::names::StreamName;
use crate::rtmp::command;
use crate::rtmp::connection::{self, Connection, ConnectionError, PlaySession};
use crate::rtmp::handshake::{self, HandshakeError};

/// `connect` must come within this from the handshake on, and `publish` or `play` within this after it.
const COMMAND_DEADLINE: Duration = Duration::from_secs(10);
/// A publisher that sends nothing at all for this long is gone.
const READ_TIMEOUT: Duration = Duration::from_secs(30);

/// How a session of ours ended.
#[derive(Debug)]
pub enum Handoff {
    /// Done.
    Done,
    /// The peer wants to play: DELIVER goes on.
    Play(Box<PlayRequest>),
}

/// A peer that wants to play, nothing answered so far. Call [`PlaySession::step`] with 0 first: more may have come.
#[derive(Debug)]
pub struct PlayRequest {
    /// The socket: no delay and keepalive are set.
    pub io: TcpStream,
    /// What the peer says goes through this.
    pub session: PlaySession,
    /// What it wants.
    pub stream: StreamName,
    /// It is another node and wants clock messages.
    pub relay: bool,
}

/// Why a session was given up.
#[derive(Debug, thiserror::Error)]
enum SessionError {
    #[error(transparent)]
    Connection(#[from] ConnectionError),
    #[error("no {awaited} within {} s", COMMAND_DEADLINE.as_secs())]
    Command { awaited: &'static str },
}

/// Serves a connection from the handshake to its end, or until it wants to play.
pub async fn serve(io: TcpStream, ingest: &Ingest) -> Handoff {
    match converse(io, ingest).await {
        Ok(handoff) => handoff,
        Err(error) => {
            if let Some(reason) = refusal(&error) {
                ingest.meters.refused(reason);
                tracing::info!(%error, reason = %reason, "RTMP peer refused");
            } else {
                // Health probes connect and close: not worth a line at the default level.
                tracing::debug!(%error, "RTMP session ended");
            }
            Handoff::Done
        }
    }
}

/// How an error is counted; none for a peer that merely went away.
fn refusal(error: &SessionError) -> Option<Refusal> {
    match error {
        SessionError::Command { .. } => Some(Refusal::Timeout),
        SessionError::Connection(error) => fault(error),
    }
}

/// As [`refusal`], of a connection.
fn fault(error: &ConnectionError) -> Option<Refusal> {
    match error {
        ConnectionError::Handshake(HandshakeError::Timeout) => Some(Refusal::Timeout),
        ConnectionError::Handshake(HandshakeError::Malformed(_)) => Some(Refusal::Malformed),
        ConnectionError::Chunk(error) if error.is_limit() => Some(Refusal::Limit),
        ConnectionError::Chunk(_) => Some(Refusal::Malformed),
        ConnectionError::WriteTimeout => Some(Refusal::Timeout),
        ConnectionError::Handshake(HandshakeError::Bare | HandshakeError::Io(_))
        | ConnectionError::Io(_)
        | ConnectionError::Closed => None,
    }
}

async fn converse(mut io: TcpStream, ingest: &Ingest) -> Result<Handoff, SessionError> {
    connection::prepare(&io).map_err(ConnectionError::from)?;
    let mut rest = BytesMut::new();
    handshake::accept(&mut io, &mut rest)
        .await
        .map_err(ConnectionError::from)?;
    let mut connection = Connection::new(io, &rest);
    let mut session = Session::new(ingest.role, ingest.app.clone());
    let mut phase = ingest.lifecycle.watch();
    let mut deadline = tokio::time::Instant::now() + COMMAND_DEADLINE;
    loop {
        let message = tokio::select! {
            message = timeout_at(deadline, connection.next()) => message,
            // An edge goes on with players until it stops to admit them.
            () = stopping(&mut phase), if ingest.role == Role::Origin => {
                connection.send(&session::stopping()).await?;
                connection.finish().await;
                return Ok(Handoff::Done);
            }
        };
        let was_connected = session.connected();
        let awaited = if was_connected { "publish or play" } else { "connect" };
        let message = message.map_err(|_| SessionError::Command { awaited })??;
        let step = session.step(message);
        connection.send(&step.replies).await?;
        if session.connected() && !was_connected {
            deadline = tokio::time::Instant::now() + COMMAND_DEADLINE;
        }
        match step.next {
            Next::Go | Next::Media(_) => {}
            Next::Close | Next::Unpublish => return Ok(Handoff::Done),
            Next::Refuse(reason) => {
                ingest.meters.refused(reason);
                tracing::info!(reason = %reason, "RTMP peer refused");
                connection.finish().await;
                return Ok(Handoff::Done);
            }
            Next::Play { name, relay } => return hand_on(connection, name, relay, ingest).await,
            Next::Publish(request) => {
                publish(connection, session, request, ingest).await?;
                return Ok(Handoff::Done);
            }
        }
    }
}

/// Hands a player on, unless the node drains.
async fn hand_on(
    mut connection: Connection,
    stream: StreamName,
    relay: bool,
    ingest: &Ingest,
) -> Result<Handoff, SessionError> {
    if !ingest.lifecycle.admits() {
        ingest.meters.refused(Refusal::Draining);
        connection
            .send(&command::play_failed("this server is draining; connect again"))
            .await?;
        connection.finish().await;
        return Ok(Handoff::Done);
    }
    let (io, session) = connection.into_parts();
    Ok(Handoff::Play(Box::new(PlayRequest {
        io,
        session,
        stream,
        relay,
    })))
}

/// How a publisher came to its end.
enum End {
    /// It said so.
    Unpublished,
    /// Another one has the name now, or the node ended the stream.
    Displaced,
    /// The rules don't let it publish any more.
    NotEntitled(Refused),
    /// The node stops.
    Stopping,
    /// The connection broke or went silent.
    Lost(ConnectionError),
    /// Nothing came for [`READ_TIMEOUT`].
    Silent,
    /// What came can't be read: the publisher is as good as lost, and may come back.
    Refused(Refusal),
}

async fn publish(
    mut connection: Connection,
    mut session: Session,
    request: Publish,
    ingest: &Ingest,
) -> Result<(), SessionError> {
    let rules = ingest.rules.watch();
    let options = PublishOptions {
        source: StreamSource::Publish,
        grace: ingest.publish_grace,
    };
    let now_ruling = ingest.rules.current();
    let seated = ingest.hub.publish(&request.name, options, Refused::Full, |occupancy| {
        admit::admit(&request, &now_ruling, occupancy)
    });
    let publisher = match seated {
        Ok(publisher) => publisher,
        Err(refused) => {
            ingest.meters.refused(refused.reason());
            tracing::info!(stream = %request.name, reason = %refused, "publisher refused");
            connection.send(&session::publish_refused(refused)).await?;
            connection.finish().await;
            return Ok(());
        }
    };
    connection.admit_media();
    connection.send(&session::publish_started()).await?;
    tracing::info!(stream = %request.name, "publishing");
    let mut intake = Intake::new(publisher, ingest.meters.clone());
    let end = feed(&mut connection, &mut session, &mut intake, rules, &request, ingest).await;
    if let End::Lost(error) = &end
        && let Some(reason) = fault(error)
    {
        ingest.meters.refused(reason);
    }
    let publisher = intake.into_publisher();
    close(connection, publisher, end).await;
    Ok(())
}

/// Media into the hub, until something ends it.
async fn feed(
    connection: &mut Connection,
    session: &mut Session,
    intake: &mut Intake,
    mut rules: watch::Receiver<std::sync::Arc<Rules>>,
    request: &Publish,
    ingest: &Ingest,
) -> End {
    let mut phase = ingest.lifecycle.watch();
    let displaced = intake.publisher().displaced().clone();
    let mut received = connection.received();
    loop {
        let message = tokio::select! {
            biased;
            () = displaced.cancelled() => return End::Displaced,
            () = stopping(&mut phase) => return End::Stopping,
            Ok(()) = rules.changed() => {
                match admit::entitled(request, &rules.borrow_and_update()) {
                    Ok(()) => continue,
                    Err(refused) => return End::NotEntitled(refused),
                }
            }
            message = timeout(READ_TIMEOUT, connection.next()) => match message {
                Ok(Ok(message)) => message,
                Ok(Err(error)) => return End::Lost(error),
                Err(_) => return End::Silent,
            },
        };
        let total = connection.received();
        ingest.meters.received(total - std::mem::replace(&mut received, total));
        let step = session.step(message);
        if !step.replies.is_empty()
            && let Err(error) = connection.send(&step.replies).await
        {
            return End::Lost(error);
        }
        match step.next {
            Next::Media(message) => intake.take(message, Instant::now()),
            Next::Unpublish | Next::Close => return End::Unpublished,
            Next::Refuse(reason) => {
                ingest.meters.refused(reason);
                return End::Refused(reason);
            }
            Next::Go | Next::Publish(_) | Next::Play { .. } => {}
        }
    }
}

/// Ends a publisher's session: what the hub and the peer are told.
async fn close(mut connection: Connection, publisher: Publisher, end: End) {
    let stream = publisher.stream().name().clone();
    match end {
        End::Unpublished => {
            publisher.finish(StreamEnd::Unpublished);
            tracing::info!(%stream, "unpublished");
            connection.finish().await;
            return;
        }
        // Abrupt: the stream stays for its grace.
        End::Lost(error) => return tracing::info!(%stream, %error, "publisher lost"),
        End::Silent => return tracing::info!(%stream, "publisher silent for too long"),
        End::Refused(reason) => return tracing::info!(%stream, %reason, "publisher refused in mid-stream"),
        End::Displaced => {
            tracing::info!(%stream, "publisher displaced");
            let text = "another publisher has taken the name over, or the stream was ended";
            let code = "NetStream.Publish.BadName";
            let status = command::status(crate::rtmp::MEDIA_STREAM, "error", code, text);
            let _ = connection.send(&status).await; // it is over either way; so below
        }
        End::NotEntitled(refused) => {
            tracing::info!(%stream, reason = %refused, "publisher's key was taken away");
            publisher.finish(StreamEnd::Unpublished);
            let _ = connection.send(&session::publish_refused(refused)).await;
        }
        End::Stopping => {
            tracing::info!(%stream, "publisher sent away: stopping");
            let _ = connection.send(&session::stopping()).await;
        }
    }
    connection.finish().await;
}

/// Waits for SIGTERM.
async fn stopping(phase: &mut watch::Receiver<Phase>) {
    if phase.wait_for(|phase| phase.stopping).await.is_err() {
        std::future::pending::<()>().await;
    }
}

#[cfg(test)]
pub(super) mod tests;
