//! Moves a feed to a socket that is ours alone (WebSocket, RTMP), and hears what the viewer says meanwhile.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::MissedTickBehavior;

use super::movers::Seat;
use super::outbox::Outbox;
use super::{Parting, Viewer};
use crate::meters::Drop as Dropped;
use crate::package::feed::{Audience, Entry, Taken};

/// Entries taken from the feed at once.
pub const MOST: usize = 32;
/// No further entry is taken once this many bytes are on their way.
pub const BYTES: usize = 256 << 10;
/// How often a dialogue looks at its clock.
const TICK: Duration = Duration::from_secs(5);
/// How long a viewer may take to read the farewell and close its side.
pub(super) const LINGER: Duration = Duration::from_secs(2);

/// The protocol around the media: what the viewer says, and what it is told between media messages. Pure: bytes in, bytes out.
pub trait Dialogue {
    /// Takes bytes as they came from the viewer.
    fn heard(&mut self, bytes: &[u8], now: Instant, out: &mut Outbox) -> ControlFlow<Parting>;

    /// Called every 5 s, for pings and patience.
    fn tick(&mut self, now: Instant, out: &mut Outbox) -> ControlFlow<Parting>;

    /// Asks the viewer to move to another node.
    fn ask_to_move(&mut self, out: &mut Outbox) {
        let _ = out; // most protocols have no word for it
    }

    /// The last words.
    fn farewell(&mut self, parting: Parting, out: &mut Outbox);
}

/// How a viewer's connection stands when the pump takes it over.
#[derive(Debug, Default)]
pub struct Opening {
    /// What it is told first; may be empty.
    pub greeting: Bytes,
    /// What it has said already.
    pub early: Bytes,
}

/// Serves `viewer` until one side ends it. `seat` says when the viewer is to be asked to move.
pub async fn run<IO, D>(io: IO, mut viewer: Viewer, dialogue: &mut D, opening: Opening, seat: Option<&Seat>) -> Parting
where
    IO: AsyncRead + AsyncWrite,
    D: Dialogue,
{
    let (mut reader, mut writer) = tokio::io::split(io);
    let mut out = Outbox::default();
    out.own(opening.greeting);
    let parting = match dialogue.heard(&opening.early, now(), &mut out) {
        ControlFlow::Break(parting) => parting,
        ControlFlow::Continue(()) => serve(&mut reader, &mut writer, &mut viewer, dialogue, &mut out, seat).await,
    };
    if let Some(refusal) = parting.refusal() {
        viewer.meters.refused(refusal);
    }
    if !matches!(parting, Parting::Broken(_)) {
        if !matches!(parting, Parting::Ended(_)) {
            out.abandon();
        }
        dialogue.farewell(parting, &mut out);
        let goodbye = async {
            while out.has_remaining() && writer.write_buf(&mut out).await? > 0 {}
            writer.shutdown().await?;
            let mut unread = [0; 256];
            while reader.read(&mut unread).await? > 0 {}
            Ok::<_, std::io::Error>(())
        };
        let _ = tokio::time::timeout(LINGER, goodbye).await; // it is gone either way
    }
    parting
}

async fn serve<R, W, D>(
    reader: &mut R,
    writer: &mut W,
    viewer: &mut Viewer,
    dialogue: &mut D,
    out: &mut Outbox,
    seat: Option<&Seat>,
) -> Parting
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
    D: Dialogue,
{
    let mut entries: Vec<Arc<Entry>> = Vec::new();
    let mut heard = [0_u8; 512];
    let mut ticks = tokio::time::interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let cut = viewer.cut.clone();
    let cut = cut.cancelled();
    let asked = asked(seat);
    tokio::pin!(asked, cut);
    let mut flushed = true;
    loop {
        let flow = tokio::select! {
            biased;
            () = &mut cut => ControlFlow::Break(Parting::Cut),
            put = put(writer, out), if out.has_remaining() || !flushed => match put {
                Ok(Put::Written(0)) => ControlFlow::Break(Parting::Left),
                Ok(Put::Written(count)) => {
                    viewer.serving.sent(count as u64);
                    flushed = false;
                    ControlFlow::Continue(())
                }
                Ok(Put::Flushed) => {
                    flushed = true;
                    ControlFlow::Continue(())
                }
                Err(error) => ControlFlow::Break(Parting::Broken(error.kind())),
            },
            taken = viewer.cursor.take(&mut entries, MOST, BYTES), if !out.has_remaining() => {
                for entry in entries.drain(..) {
                    if viewer.informed || entry.audience == Audience::All {
                        out.entry(entry, viewer.framed);
                    }
                }
                match taken {
                    Taken::Entries => ControlFlow::Continue(()),
                    Taken::Skipped(missed) => {
                        viewer.meters.dropped(Dropped::SlowViewer, missed);
                        ControlFlow::Continue(())
                    }
                    Taken::TooSlow => ControlFlow::Break(Parting::TooSlow),
                    Taken::Ended(end) => ControlFlow::Break(Parting::Ended(end)),
                }
            },
            read = reader.read(&mut heard) => match read {
                Ok(0) => ControlFlow::Break(Parting::Left),
                Ok(count) => dialogue.heard(&heard[..count], now(), out),
                Err(error) => ControlFlow::Break(Parting::Broken(error.kind())),
            },
            _ = ticks.tick() => dialogue.tick(now(), out),
            () = &mut asked => {
                asked.set(self::asked(seat)); // it may be asked again: by a drain after a rebalance, by a second drain
                dialogue.ask_to_move(out);
                ControlFlow::Continue(())
            }
        };
        if let ControlFlow::Break(parting) = flow {
            return parting;
        }
    }
}

enum Put {
    Written(usize),
    Flushed,
}

/// Writes what there is; then flushes, since TLS may hold what was written.
async fn put(writer: &mut (impl AsyncWrite + Unpin), out: &mut Outbox) -> std::io::Result<Put> {
    match out.has_remaining() {
        true => writer.write_buf(out).await.map(Put::Written),
        false => writer.flush().await.map(|()| Put::Flushed),
    }
}

/// Completes when the viewer is to be asked to move; never for one that can't be.
async fn asked(seat: Option<&Seat>) {
    match seat {
        Some(seat) => seat.asked().await,
        None => std::future::pending().await,
    }
}

/// The runtime's clock, so that tests can turn it.
fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

#[cfg(test)]
mod tests;
