//! Old segments in files, one for each segment and rendition, so that the past need not fit into memory.
//!
//! ```text
//! channel ─job─▶ queue (bounded) ─▶ writer: temporary file, rename ─▶ Stored (a handle: the file goes with the last of it)
//! ```
//! Nobody waits for the writer: what it does not take, or fails to write, stays where it is. Files are of this process alone:
//! those that an earlier one has left are deleted at the start.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::sync::{Notify, mpsc::error::TrySendError};
use tokio_util::sync::CancellationToken;

use super::window::Unstored;
use crate::meters::{Meters, Where};
use crate::names::StreamName;

/// Everything is in this folder of the one that is given, and nothing else is in it.
const FOLDER: &str = "headwater-dvr";
/// Held locked while a process uses the folder.
const LOCK: &str = "headwater-dvr.lock";
/// Segments that wait to be written; further ones stay in memory until there is room.
const QUEUE: usize = 64;
/// After a failure nothing is written for this long.
const AGAIN: Duration = Duration::from_secs(10);

/// Why the folder can't be used.
#[derive(Debug, thiserror::Error)]
pub enum DiskError {
    /// Another process does.
    #[error("another process uses {}: give each node a folder of its own", .0.display())]
    Taken(PathBuf),
    /// The system's word.
    #[error("failed to prepare {}: {source}", folder.display())]
    Prepare {
        /// Which.
        folder: PathBuf,
        /// What happened.
        source: io::Error,
    },
}

/// How a file is written whole.
type Write = fn(&Path, &[u8]) -> io::Result<()>;

/// Handle of the folder.
#[derive(Clone, Debug)]
pub struct Disk(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    folder: PathBuf,
    /// Most bytes in it.
    most: u64,
    /// Bytes in it.
    used: AtomicU64,
    jobs: Sender<Job>,
    /// Files that nobody lists any more, at most as many as were written. A plain mutex: nothing awaits or blocks under it.
    trash: Mutex<Vec<(PathBuf, u64)>>,
    thrown: Notify,
    /// Counts files, so that each has a name of its own.
    files: AtomicU64,
    /// When writing failed last; none while it goes well. Nothing blocks under its lock.
    failed: Mutex<Option<Instant>>,
    meters: Meters,
    write: Write,
    /// Locked for as long as this lives.
    _lock: File,
}

/// A file to be written, and who is told of it: no file if it was not.
struct Job {
    path: PathBuf,
    bytes: Bytes,
    done: Box<dyn FnOnce(Option<Arc<Stored>>) + Send>,
}

impl std::fmt::Debug for Job {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Job").field("path", &self.path).finish()
    }
}

/// A file that was written. It is deleted when nobody holds it any more.
#[derive(Debug)]
pub struct Stored {
    disk: Disk,
    path: PathBuf,
    size: u64,
}

impl PartialEq for Stored {
    fn eq(&self, other: &Self) -> bool {
        self.path == other.path
    }
}

impl Eq for Stored {}

impl Stored {
    /// Bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Reads it.
    pub async fn read(&self) -> io::Result<Bytes> {
        tokio::fs::read(&self.path).await.map(Bytes::from)
    }
}

impl Drop for Stored {
    fn drop(&mut self) {
        lock(&self.disk.0.trash).push((std::mem::take(&mut self.path), self.size));
        self.disk.0.thrown.notify_one();
    }
}

/// The writer, to be run.
#[derive(Debug)]
pub struct Writer {
    disk: Disk,
    jobs: Receiver<Job>,
}

impl Disk {
    /// Takes the folder, and deletes what an earlier process has left in it. At most `most` bytes are written there.
    pub fn open(within: &Path, most: u64, meters: Meters) -> Result<(Self, Writer), DiskError> {
        Self::open_with(within, most, meters, write)
    }

    fn open_with(within: &Path, most: u64, meters: Meters, write: Write) -> Result<(Self, Writer), DiskError> {
        let folder = within.join(FOLDER);
        let prepare = |source| DiskError::Prepare {
            folder: folder.clone(),
            source,
        };
        fs::create_dir_all(within).map_err(prepare)?;
        let lock = File::create(within.join(LOCK)).map_err(prepare)?;
        lock.try_lock().map_err(|error| match error {
            fs::TryLockError::WouldBlock => DiskError::Taken(folder.clone()),
            fs::TryLockError::Error(source) => prepare(source),
        })?;
        match fs::remove_dir_all(&folder) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(prepare(error)),
            _ => {}
        }
        fs::create_dir(&folder).map_err(prepare)?;
        let (jobs, queue) = channel(QUEUE);
        let disk = Self(Arc::new(Shared {
            folder,
            most,
            used: AtomicU64::new(0),
            jobs,
            trash: Mutex::default(),
            thrown: Notify::new(),
            files: AtomicU64::new(0),
            failed: Mutex::default(),
            meters,
            write,
            _lock: lock,
        }));
        let writer = Writer {
            disk: disk.clone(),
            jobs: queue,
        };
        Ok((disk, writer))
    }

    /// Most bytes in it.
    pub fn most(&self) -> u64 {
        self.0.most
    }

    /// Has a segment written, if there is room for it in the queue and the folder takes anything at all; false if not.
    /// `done` is told from another thread.
    pub fn put(
        &self,
        stream: &StreamName,
        what: Unstored,
        done: impl FnOnce(Option<Arc<Stored>>) + Send + 'static,
    ) -> bool {
        if lock(&self.0.failed).is_some_and(|failed| failed.elapsed() < AGAIN) {
            return false;
        }
        let file = self.0.files.fetch_add(1, Ordering::Relaxed);
        let name = format!("{}-{}-{}-{file}.m4s", what.rendition.name(), what.epoch, what.number);
        let job = Job {
            path: self.0.folder.join(stream.as_str()).join(name),
            bytes: what.bytes,
            done: Box::new(done),
        };
        match self.0.jobs.try_send(job) {
            Ok(()) => true,
            Err(TrySendError::Full(_) | TrySendError::Closed(_)) => false,
        }
    }

    /// Writes a file; none if that failed, or there is no room. Blocks.
    fn store(&self, path: PathBuf, bytes: &Bytes) -> Option<Arc<Stored>> {
        let size = bytes.len() as u64;
        if self.0.used.load(Ordering::Relaxed) + size > self.0.most {
            return None; // it stays in memory until the oldest have left
        }
        let written = (self.0.write)(&path, bytes);
        let failed_at = written.is_err().then(Instant::now);
        let failed_before = std::mem::replace(&mut *lock(&self.0.failed), failed_at);
        match written {
            Ok(()) => {
                if failed_before.is_some() {
                    tracing::info!("the folder of the DVR can be written again");
                }
                self.count(|used| used + size);
                Some(Arc::new(Stored {
                    disk: self.clone(),
                    path,
                    size,
                }))
            }
            Err(error) => {
                self.0.meters.dvr_write_failed();
                if failed_before.is_none() {
                    tracing::warn!(%error, path = %path.display(),
                        "failed to write a segment: from now on streams can be played back as far as memory reaches");
                }
                None
            }
        }
    }

    /// Deletes what nobody lists. Blocks.
    fn clean(&self) {
        let trash = std::mem::take(&mut *lock(&self.0.trash));
        for (path, size) in trash {
            match fs::remove_file(&path) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => tracing::warn!(%error, path = %path.display(), "failed to delete an old segment"),
            }
            self.count(|used| used.saturating_sub(size));
            if let Some(folder) = path.parent() {
                let _ = fs::remove_dir(folder); // the stream's, if that was the last
            }
        }
    }

    fn count(&self, change: impl Fn(u64) -> u64) {
        let used = change(self.0.used.load(Ordering::Relaxed));
        self.0.used.store(used, Ordering::Relaxed); // one thread at a time writes and deletes
        self.0.meters.set_dvr_bytes(Where::Disk, used);
    }
}

impl Writer {
    /// Writes and deletes until told to stop.
    pub async fn run(mut self, stop: CancellationToken) {
        loop {
            let job = tokio::select! {
                () = stop.cancelled() => return,
                () = self.disk.0.thrown.notified() => None,
                job = self.jobs.recv() => job,
            };
            let disk = self.disk.clone();
            let work = tokio::task::spawn_blocking(move || {
                disk.clean();
                if let Some(Job { path, bytes, done }) = job {
                    done(disk.store(path, &bytes));
                }
            });
            if let Err(error) = work.await {
                tracing::error!(%error, "a segment was not written");
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whole or not at all: readers see no file that is half there.
fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = path.parent().unwrap_or(path);
    fs::create_dir_all(folder)?;
    let temporary = path.with_extension("tmp");
    let written = fs::write(&temporary, bytes).and_then(|()| fs::rename(&temporary, path));
    if written.is_err() {
        let _ = fs::remove_file(&temporary); // what of it is there, if any
    }
    written
}

#[cfg(test)]
mod tests;
