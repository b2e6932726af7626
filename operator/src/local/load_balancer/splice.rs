//! Copies bytes between two sockets both ways, with no buffer held by a connection that waits.
//!
//! Each direction waits until its source is readable, then reads into a buffer of the thread and writes at once what the
//! other side takes. Only what it does not take is kept, and nothing more is read until it is gone: back-pressure as TCP's own.

use std::cell::RefCell;
use std::io;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::time::timeout;

const BUFFER: usize = 64 * 1024;
/// A client whose edge has closed is given this long to close too.
const LINGER: Duration = Duration::from_secs(2);
/// One read for each turn of the scheduler at most this often, so that a fast connection does not hold a worker.
const READS_A_TURN: usize = 8;

thread_local! {
    static SCRATCH: RefCell<Vec<u8>> = RefCell::new(vec![0; BUFFER]);
}

/// Copies until both sides have closed. A client that closes its sending half (it has nothing more to ask) is served on;
/// when the edge closes, the connection is over soon, since the edge closes only whole connections.
pub(super) async fn both_ways(client: TcpStream, edge: TcpStream) {
    let (client_read, client_write) = client.into_split();
    let (edge_read, edge_write) = edge.into_split();
    let up = copy(client_read, edge_write);
    let down = copy(edge_read, client_write);
    tokio::pin!(up, down);
    tokio::select! {
        biased;
        result = &mut down => if result.is_ok() {
            let _ = timeout(LINGER, up).await;
        },
        result = &mut up => if result.is_ok() {
            let _ = down.await;
        },
    }
}

/// One step of a direction.
enum Step {
    /// The source has no more bytes now.
    Waits,
    /// All that was read was written.
    Moved,
    /// This was read and could not be written yet.
    Left(Vec<u8>),
    /// The source has closed.
    End,
}

/// Copies one direction to its end, then closes the other side's.
async fn copy(from: OwnedReadHalf, mut to: OwnedWriteHalf) -> io::Result<()> {
    let mut reads = 0;
    loop {
        match step(&from, &to)? {
            Step::Waits => {
                reads = 0;
                from.readable().await?;
            }
            Step::Moved => {
                reads += 1;
                if reads >= READS_A_TURN {
                    reads = 0;
                    tokio::task::yield_now().await;
                }
            }
            Step::Left(bytes) => {
                reads = 0;
                to.write_all(&bytes).await?;
            }
            Step::End => return to.shutdown().await,
        }
    }
}

fn step(from: &OwnedReadHalf, to: &OwnedWriteHalf) -> io::Result<Step> {
    SCRATCH.with_borrow_mut(|buffer| {
        let read = match from.try_read(buffer) {
            Ok(0) => return Ok(Step::End),
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(Step::Waits),
            Err(error) => return Err(error),
        };
        let written = match to.try_write(&buffer[..read]) {
            Ok(written) => written,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
            Err(error) => return Err(error),
        };
        Ok(if written == read {
            Step::Moved
        } else {
            Step::Left(buffer[written..read].to_vec())
        })
    })
}
