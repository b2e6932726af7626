//! What ends the program: Ctrl-C, SIGTERM, a closed terminal, or the time that it was given.

use std::io;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};

/// What ends the program.
pub(crate) struct Ending {
    exit_after: Option<Duration>,
    signals: [tokio::signal::unix::Signal; 3],
}

impl Ending {
    /// Listens for signals from now on; `exit_after` ends the program as well.
    ///
    /// # Errors
    /// The system's, if signals can't be received.
    pub(crate) fn new(exit_after: Option<Duration>) -> io::Result<Self> {
        Ok(Self {
            exit_after,
            signals: [
                signal(SignalKind::interrupt())?,
                signal(SignalKind::terminate())?,
                signal(SignalKind::hangup())?,
            ],
        })
    }

    /// Completes at the first of them.
    pub(crate) async fn wait(&mut self) {
        let exit_after = self.exit_after;
        let time = async move {
            match exit_after {
                Some(after) => tokio::time::sleep(after).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = time => {}
            () = self.again() => {}
        }
    }

    /// A signal.
    pub(crate) async fn again(&mut self) {
        let [interrupt, terminate, hangup] = &mut self.signals;
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
    }
}
