//! How a viewer's wish for a stream that is not here reaches whoever can pull it.

use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use crate::names::StreamName;

/// A viewer waits this long for a stream that is being pulled for it.
pub const PATIENCE: Duration = Duration::from_secs(5);

/// Demands that wait for the puller; one more is refused as unavailable.
const QUEUE: usize = 256;

/// A stream that somebody wants and the hub does not hold.
#[derive(Debug)]
pub struct Demand {
    /// Which.
    pub name: StreamName,
    /// Told once it is known whether the stream can be had: `Ok` means that the pull runs and the hub holds the stream.
    pub answer: oneshot::Sender<Result<(), Unavailable>>,
}

/// Why a stream can't be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unavailable {
    /// Nobody has it: 404.
    #[error("no such stream")]
    NotFound,
    /// It exists or may exist, but can't be had now: 503.
    #[error("the stream can't be had at the moment")]
    Temporarily,
}

/// The two ends of the queue of demands.
pub fn channel() -> (mpsc::Sender<Demand>, mpsc::Receiver<Demand>) {
    mpsc::channel(QUEUE)
}
