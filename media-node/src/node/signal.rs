//! What ends the process: SIGTERM, SIGINT, and for children of `headwater local` the end of standard input.

use std::io;

use tokio::io::AsyncReadExt;
use tokio::signal::unix::{SignalKind, signal};

/// How the process was told to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// In order: viewers are waited for.
    Gracefully,
    /// At once: the parent has gone, and nobody is left to answer to.
    AtOnce,
}

/// Completes when the process is to end; a second signal while it ends in order means at once.
pub fn end(with_stdin: bool) -> io::Result<tokio::sync::mpsc::Receiver<End>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let (tell, told) = tokio::sync::mpsc::channel(1);
    tokio::spawn(async move {
        let orphaned = orphaned(with_stdin);
        tokio::pin!(orphaned);
        let mut word = End::Gracefully;
        loop {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
                () = &mut orphaned => word = End::AtOnce,
            }
            if tell.send(word).await.is_err() || word == End::AtOnce {
                return;
            }
            word = End::AtOnce;
        }
    });
    Ok(told)
}

/// Reads standard input to its end; never completes if that is not wanted.
async fn orphaned(with_stdin: bool) {
    if !with_stdin {
        return std::future::pending().await;
    }
    let mut stdin = tokio::io::stdin();
    let mut scrap = [0; 64];
    while !matches!(stdin.read(&mut scrap).await, Ok(0) | Err(_)) {}
}
