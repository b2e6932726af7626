//! What the end-to-end tests are made of: real processes on loopback, real media, waits with a deadline.
//!
//! ```text
//! Node · Local     our programs on free ports      media    ffmpeg and ffprobe as publisher and viewer
//! Proxy            a network that stalls or breaks  frames   what came against what was sent
//! Cluster          a Kubernetes API server, and a kubelet that runs our pods as processes
//! ```

pub mod cluster;
pub mod frames;
pub mod helm;
pub mod http;
pub mod local;
pub mod media;
pub mod node;
pub mod peers;
pub mod ports;
pub mod process;
pub mod proxy;
pub mod tls;
pub mod websocket;

use std::fmt::Display;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

pub use cluster::Cluster;
pub use local::Local;
pub use node::Node;
pub use peers::Nginx;
pub use process::Process;
pub use proxy::Proxy;

/// Time between two looks of [`wait_until`].
const LOOK: Duration = Duration::from_millis(20);

/// Root of the repository.
pub fn root() -> PathBuf {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    package.parent().unwrap_or(package).to_owned()
}

/// A file that `tests/setup.sh` makes, by its name in `.cache/media`.
pub fn fixture(name: &str) -> Result<PathBuf> {
    let path = root().join(".cache/media").join(name);
    if !path.exists() {
        bail!("{} is not there: run make setup", path.display());
    }
    Ok(path)
}

/// One of our programs: from `HEADWATER_BIN_DIR` if set, else from the folder that cargo builds into.
pub fn program(name: &str) -> Result<PathBuf> {
    let folder = match std::env::var_os("HEADWATER_BIN_DIR") {
        Some(folder) => PathBuf::from(folder),
        None => std::env::current_exe()?
            .ancestors()
            .nth(2)
            .unwrap_or(Path::new("."))
            .to_owned(),
    };
    let path = folder.join(name);
    if !path.exists() {
        bail!("{} is not there: run cargo build --workspace --bins", path.display());
    }
    Ok(path)
}

/// Looks again and again until `look` returns a value; fails at the deadline with the last thing that it saw.
///
/// `look` returns `Ok(value)` when it is so, `Err(state)` while it is not, in which `state` is what a person needs to see.
pub async fn wait_until<T, S, F, L>(within: Duration, what: &str, look: L) -> Result<T>
where
    S: Display,
    F: Future<Output = Result<T, S>>,
    L: FnMut() -> F,
{
    wait_until_every(LOOK, within, what, look).await
}

/// [`wait_until`] with its time between two looks: for what is measured.
pub async fn wait_until_every<T, S, F, L>(pause: Duration, within: Duration, what: &str, mut look: L) -> Result<T>
where
    S: Display,
    F: Future<Output = Result<T, S>>,
    L: FnMut() -> F,
{
    let start = Instant::now();
    loop {
        match look().await {
            Ok(value) => return Ok(value),
            Err(state) if start.elapsed() >= within => {
                bail!("not within {:.1} s: {what}; last seen: {state}", within.as_secs_f64())
            }
            Err(_) => tokio::time::sleep(pause).await,
        }
    }
}
