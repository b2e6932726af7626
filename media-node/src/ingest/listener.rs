//! Accepts RTMP connections, at most so many at once, and hands players on.

use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::Ingest;
use super::rtmp::{self, Handoff, PlayRequest};
use crate::meters::Refusal;

/// After an error of `accept` (no more file descriptors): it would spin otherwise.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves `listener` until `stop`. `play` serves a player to its end; its connection counts until then. One beyond
/// `max_connections` is closed at once and counted. Sessions run on `tasks`, to be awaited by the caller.
pub async fn run<F, P>(
    listener: TcpListener,
    ingest: Ingest,
    max_connections: usize,
    play: F,
    stop: CancellationToken,
    tasks: TaskTracker,
) where
    F: Fn(PlayRequest) -> P + Clone + Send + 'static,
    P: Future<Output = ()> + Send,
{
    let permits = Arc::new(Semaphore::new(max_connections));
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        let io = match accepted {
            Ok((io, _)) => io,
            Err(error) => {
                tracing::warn!(%error, "failed to accept an RTMP connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let Ok(permit) = Arc::clone(&permits).try_acquire_owned() else {
            ingest.meters.refused(Refusal::Limit);
            continue;
        };
        let (ingest, play) = (ingest.clone(), play.clone());
        tasks.spawn(async move {
            // Boxed, so that a player's task doesn't carry the state of a publisher's session for its whole life.
            if let Handoff::Play(request) = Box::pin(rtmp::serve(io, &ingest)).await {
                play(*request).await;
            }
            drop(permit);
        });
    }
}
