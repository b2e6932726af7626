//! A child process whose log is kept, and shown when the test that owns it fails.

use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};
use tempfile::NamedTempFile;
use tokio::process::{Child, ChildStdin, Command};

/// Lines of a log that a failed test shows.
const SHOWN: usize = 60;

/// A running program; killed when dropped. Its standard input stays open until then.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    /// Kept apart: waiting for the child would close it.
    _stdin: Option<ChildStdin>,
    log: Log,
    output: Option<NamedTempFile>,
}

/// Where its log is kept.
#[derive(Debug)]
enum Log {
    /// In a file that goes with it.
    Own(NamedTempFile),
    /// In a file that outlives it, behind what stands there.
    Kept(PathBuf),
}

impl Log {
    fn path(&self) -> &Path {
        match self {
            Log::Own(file) => file.path(),
            Log::Kept(path) => path,
        }
    }
}

/// What `kill -9`, Ctrl-C and the like send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// Ends at once.
    Kill,
    /// Asks to end.
    Term,
    /// Ctrl-C.
    Int,
    /// Freezes.
    Stop,
    /// Thaws.
    Cont,
}

impl Process {
    /// Starts a program; standard output and error go to one log.
    pub fn start(name: &str, program: &Path, args: &[String]) -> Result<Self> {
        Self::spawn(
            name,
            Command::new(program).args(args),
            Log::Own(NamedTempFile::new()?),
            false,
        )
    }

    /// Starts a program with further environment variables; its log goes to the end of a file that outlives it, if one is named.
    pub fn start_with(
        name: &str,
        program: &Path,
        args: &[String],
        env: &[(String, String)],
        log: Option<&Path>,
    ) -> Result<Self> {
        let log = match log {
            Some(path) => {
                std::fs::File::options().create(true).append(true).open(path)?;
                Log::Kept(path.to_owned())
            }
            None => Log::Own(NamedTempFile::new()?),
        };
        let env = env.iter().map(|(key, value)| (key, value));
        Self::spawn(name, Command::new(program).args(args).envs(env), log, false)
    }

    /// Starts a program of which standard output is kept apart, for [`Process::output`].
    pub fn start_for_output(name: &str, program: &Path, args: &[String]) -> Result<Self> {
        Self::spawn(
            name,
            Command::new(program).args(args),
            Log::Own(NamedTempFile::new()?),
            true,
        )
    }

    fn spawn(name: &str, command: &mut Command, log: Log, apart: bool) -> Result<Self> {
        let output = if apart { Some(NamedTempFile::new()?) } else { None };
        // Appended to: two files that each keep their own place would write over each other.
        let appended = |path: &Path| std::fs::File::options().append(true).open(path);
        let stdout = appended(output.as_ref().map_or(log.path(), NamedTempFile::path))?;
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(stdout)
            .stderr(appended(log.path())?)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("failed to start {name}"))?;
        Ok(Self {
            name: name.to_owned(),
            _stdin: child.stdin.take(),
            child,
            log,
            output,
        })
    }

    /// Process id; none once it has ended and was waited for.
    pub fn id(&self) -> Option<u32> {
        self.child.id()
    }

    /// Sends a signal; one that has ended takes none.
    pub async fn signal(&self, signal: Signal) -> Result<()> {
        let Some(id) = self.id() else { return Ok(()) };
        send(id, signal).await
    }

    /// Processes that it has started and that run, with their command lines.
    pub fn children(&self) -> Vec<(u32, String)> {
        let Some(parent) = self.id() else { return Vec::new() };
        let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
        let ids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
        ids.filter(|id| parent_of(*id) == Some(parent))
            .map(|id| (id, command_line(id)))
            .collect()
    }

    /// Waits for its end.
    pub async fn wait(&mut self, within: Duration) -> Result<ExitStatus> {
        let ended = tokio::time::timeout(within, self.child.wait()).await;
        let ended =
            ended.with_context(|| format!("{} did not end within {within:?}\n{}", self.name, self.log_tail()))?;
        Ok(ended?)
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// All of its log.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.log.path()).unwrap_or_default()
    }

    /// Standard output, where it is kept apart.
    pub fn output(&self) -> String {
        self.output
            .as_ref()
            .and_then(|file| std::fs::read_to_string(file.path()).ok())
            .unwrap_or_default()
    }

    /// The end of its log.
    pub fn log_tail(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(SHOWN)..].join("\n")
    }

    /// User and system time so far, in whole ticks of 10 ms.
    pub fn cpu(&self) -> Option<Duration> {
        let state = state(self.id()?)?;
        // Fields 14 and 15 of the line, the 12th and 13th behind the name; Linux tells them in hundredths of a second.
        let ticks = state.split(' ').skip(11).take(2).map(|field| field.parse::<u64>().ok());
        ticks
            .sum::<Option<u64>>()
            .map(|ticks| Duration::from_millis(ticks * 10))
    }

    /// Resident memory in KiB.
    pub fn resident_kib(&self) -> Option<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.id()?)).ok()?;
        let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
        line.split_whitespace().nth(1)?.parse().ok()
    }
}

/// Sends a signal to a process that a test has started, directly or not.
pub async fn send(id: u32, signal: Signal) -> Result<()> {
    let name = match signal {
        Signal::Kill => "-KILL",
        Signal::Term => "-TERM",
        Signal::Int => "-INT",
        Signal::Stop => "-STOP",
        Signal::Cont => "-CONT",
    };
    let status = Command::new("kill").args([name, &id.to_string()]).status().await;
    status.context("failed to run kill")?;
    Ok(())
}

/// True while a process runs; one that has ended and was not waited for does not.
pub fn runs(id: u32) -> bool {
    state(id).is_some_and(|state| !state.starts_with('Z'))
}

/// What stands behind the name in `/proc/…/stat`: state, parent, and so on.
fn state(id: u32) -> Option<String> {
    let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    Some(stat.rsplit_once(") ")?.1.to_owned())
}

fn parent_of(id: u32) -> Option<u32> {
    state(id)?.split(' ').nth(1)?.parse().ok()
}

fn command_line(id: u32) -> String {
    let words = std::fs::read(format!("/proc/{id}/cmdline")).unwrap_or_default();
    String::from_utf8_lossy(&words).replace('\0', " ")
}

impl Drop for Process {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("---- log of {} ----\n{}", self.name, self.log_tail());
        }
    }
}
