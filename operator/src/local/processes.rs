//! Media nodes as child processes: started, watched, started again with back-off, and ended in order.
//!
//! ```text
//! Spec ─▶ supervise: spawn ─▶ running ─▶ died ─▶ wait (0, 1, 2, 4 … 30 s) ─▶ spawn …      stop: SIGTERM ─▶ SIGKILL
//! ```
//!
//! A child holds the reading end of a pipe as standard input. The kernel closes the other end however this program ends,
//! and the child ends with it.

mod claim;
mod restart;

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use headwater_contract::Role;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::{Child, ChildStderr, ChildStdin, Command};
use tokio::sync::{Notify, watch};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::api::tls;
use claim::Claim;
use restart::Restarts;

/// Longest line of a child's log that is passed on; the rest of it is cut.
const LONGEST_LINE: usize = 4 * 1024;
/// A child that ends within this long of its start has most likely found a port taken.
const EARLY: Duration = Duration::from_secs(2);

/// Time between the end of a child's input and SIGKILL.
const LAST_WORD: Duration = Duration::from_secs(1);

/// What to run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spec {
    /// The `media-node` program.
    pub program: PathBuf,
    /// Its role.
    pub role: Role,
    /// Its `--name`.
    pub name: String,
    /// The app that it serves.
    pub app: String,
    /// Its RTMP address if it has to be a certain one; else any free port.
    pub rtmp: Option<SocketAddr>,
    /// Where its control token stands.
    pub token_file: PathBuf,
    /// Folder where its certificate stands, or will once there is one.
    pub tls_folder: PathBuf,
    /// Base URLs of its upstreams, for an edge.
    pub upstreams: Vec<String>,
    /// Further flags.
    pub flags: Vec<String>,
}

/// Where a child listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ports {
    /// RTMP.
    pub rtmp: SocketAddr,
    /// HTTP delivery.
    pub http: SocketAddr,
    /// Control API.
    pub ops: SocketAddr,
}

/// Life of a child.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// Not started yet, or ended and about to be started again.
    Down {
        /// Why it ended or could not be started, in a person's words; none before the first start.
        reason: Option<Arc<str>>,
    },
    /// It runs.
    Up {
        /// Its process id.
        pid: u32,
        /// Where it listens.
        ports: Ports,
    },
    /// Ended for good.
    Gone,
}

/// A supervised child. Dropping it kills the child at once; [`Process::stop`] ends it in order.
#[derive(Debug)]
pub struct Process {
    state: watch::Receiver<State>,
    stop: watch::Sender<Option<Duration>>,
    ended: CancellationToken,
    task: tokio::task::JoinHandle<()>,
}

impl Process {
    /// Starts the child, and starts it again whenever it ends. `changed` is notified at each change of state.
    pub fn start(spec: Spec, changed: Arc<Notify>) -> Self {
        let (state, seen) = watch::channel(State::Down { reason: None });
        let (stop, stop_seen) = watch::channel(None);
        let ended = CancellationToken::new();
        let guard = ended.clone().drop_guard();
        let task = tokio::spawn(async move {
            let _ended = guard;
            let states = States { state, changed };
            supervise(spec, &states, stop_seen).await;
            states.set(State::Gone);
        });
        Self {
            state: seen,
            stop,
            ended,
            task,
        }
    }

    /// What it does now.
    pub fn state(&self) -> State {
        self.state.borrow().clone()
    }

    /// Ends it: SIGTERM now, SIGKILL a second after `patience`. A shorter patience than before counts.
    pub fn stop(&self, patience: Duration) {
        self.stop.send_if_modified(|now| {
            let sooner = now.is_none_or(|before| patience < before);
            if sooner {
                *now = Some(patience);
            }
            sooner
        });
    }

    /// Waits until the child has ended for good.
    pub async fn ended(&self) {
        self.ended.cancelled().await;
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Where a child's state is told.
struct States {
    state: watch::Sender<State>,
    changed: Arc<Notify>,
}

impl States {
    fn set(&self, state: State) {
        self.state.send_replace(state);
        self.changed.notify_one();
    }
}

async fn supervise(spec: Spec, states: &States, mut stop: watch::Receiver<Option<Duration>>) {
    let mut restarts = Restarts::default();
    let mut ports: Option<Claim> = None;
    loop {
        let started = Instant::now();
        let reason = match run(&spec, &mut ports, states, &mut stop).await {
            Ok(Ended::Told) => return,
            Ok(Ended::Itself(reason)) => reason,
            Err(error) => format!("failed to start {}: {error}", spec.program.display()),
        };
        let up = started.elapsed();
        if up < EARLY {
            ports = None;
        }
        let wait = restarts.wait_after(up);
        warn!(
            node = spec.name,
            reason,
            again_in_seconds = wait.as_secs(),
            "a media node ended"
        );
        states.set(State::Down {
            reason: Some(reason.into()),
        });
        tokio::select! {
            () = sleep(wait) => {}
            _ = stop.wait_for(Option::is_some) => return,
        }
    }
}

/// How a child ended.
enum Ended {
    /// As it was told to.
    Told,
    /// By itself, or by somebody else's signal.
    Itself(String),
}

async fn run(
    spec: &Spec,
    claim: &mut Option<Claim>,
    states: &States,
    stop: &mut watch::Receiver<Option<Duration>>,
) -> io::Result<Ended> {
    let ports = match claim {
        Some(claim) => claim.ports,
        None => claim.insert(Claim::new(spec.rtmp)?).ports,
    };
    let mut child = command(spec, ports).spawn()?;
    // Held, never written to: its end tells the child that this program is gone.
    let stdin = child.stdin.take();
    if let Some(stderr) = child.stderr.take() {
        tokio::spawn(pass_on(spec.name.clone(), stderr));
    }
    let Some(pid) = child.id() else {
        return Ok(Ended::Itself("ended at once".to_owned()));
    };
    info!(node = spec.name, pid, rtmp = %ports.rtmp, http = %ports.http, ops = %ports.ops, "a media node started");
    states.set(State::Up { pid, ports });
    tokio::select! {
        status = child.wait() => return Ok(Ended::Itself(describe(status?))),
        told = stop.wait_for(Option::is_some) => drop(told),
    }
    end(&spec.name, &mut child, stdin, stop).await;
    Ok(Ended::Told)
}

/// SIGTERM; when the patience is over the end of its input, by which it ends at once but in order; SIGKILL soon after.
async fn end(name: &str, child: &mut Child, stdin: Option<ChildStdin>, stop: &mut watch::Receiver<Option<Duration>>) {
    let told = Instant::now();
    if let Some(pid) = child
        .id()
        .and_then(|pid| rustix::process::Pid::from_raw(pid.cast_signed()))
    {
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
    }
    loop {
        // The patience may be shortened meanwhile, and a dropped handle means none at all.
        let patience = stop.borrow_and_update().unwrap_or_default();
        let left = patience.saturating_sub(told.elapsed());
        tokio::select! {
            _ = child.wait() => return,
            () = sleep(left) => break,
            changed = stop.changed() => if changed.is_err() { break },
        }
    }
    drop(stdin);
    if timeout(LAST_WORD, child.wait()).await.is_ok() {
        return;
    }
    warn!(node = name, "a media node did not end in time and is killed");
    let _ = child.start_kill();
    let _ = timeout(Duration::from_secs(5), child.wait()).await;
}

/// The child's command line. It gets a process group of its own: Ctrl-C on the terminal is for this program, which ends
/// its children in order.
fn command(spec: &Spec, ports: Ports) -> Command {
    let mut command = Command::new(&spec.program);
    command
        .arg(match spec.role {
            Role::Origin => "origin",
            Role::Edge => "edge",
        })
        .args(["--name", &spec.name, "--app", &spec.app])
        .args(["--rtmp-listen", &ports.rtmp.to_string()])
        .args(["--http-listen", &ports.http.to_string()])
        .args(["--ops-listen", &ports.ops.to_string()])
        .arg("--control-token-file")
        .arg(&spec.token_file)
        .arg("--tls-cert")
        .arg(spec.tls_folder.join(tls::CERTIFICATE))
        .arg("--tls-key")
        .arg(spec.tls_folder.join(tls::KEY))
        .arg("--tls-wait")
        .args(["--drain-accept", "0s"])
        .arg("--end-with-stdin");
    if spec.role == Role::Origin {
        // Its rules come within a moment of its start; until then a key could be asked of nobody.
        command.arg("--require-publishing-rules");
    }
    for upstream in &spec.upstreams {
        command.args(["--upstream", upstream]);
    }
    command
        .args(&spec.flags)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true);
    command
}

fn describe(status: std::process::ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt;
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exited with code {code}"),
        (None, Some(signal)) => format!("was ended by signal {signal}"),
        (None, None) => "ended".to_owned(),
    }
}

/// Passes a child's log on, line by line, with the node's name.
async fn pass_on(node: String, stderr: ChildStderr) {
    let mut reader = BufReader::new(stderr);
    let mut line = Vec::new();
    loop {
        line.clear();
        match (&mut reader)
            .take(LONGEST_LINE as u64)
            .read_until(b'\n', &mut line)
            .await
        {
            Ok(0) | Err(_) => return,
            Ok(_) => crate::telemetry::node_line(&node, String::from_utf8_lossy(&line).trim_end()),
        }
    }
}

/// Writes a secret for the nodes to read, so that only this user can, into a file that is not there yet.
///
/// # Errors
/// The system's.
pub fn write_secret(path: &Path, text: &str) -> io::Result<()> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(text.as_bytes())
}

#[cfg(test)]
mod tests;
