//! Logs: structured lines on standard error, or, while the status table has the terminal, into its list of last events.

use std::collections::VecDeque;
use std::io::{self, IsTerminal, Write};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

/// Targets that would log publish keys (the RTMP crate prints them) stay silent whatever the filter says.
const SILENCED: &str = "rtmp_rs=off,hyper_util=warn,hyper=warn";
/// Libraries whose failures are told by those who use them; a filter may let them speak.
const QUIET: &str = "kube_client=off";
const KEPT: usize = 200;

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// For a person.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// Where log lines go. Cheap to clone; the lock is held for one line at a time.
#[derive(Clone, Debug, Default)]
pub struct LogSink {
    kept: Arc<Mutex<Option<VecDeque<String>>>>,
}

impl LogSink {
    /// Keeps the last lines from now on, and writes none.
    pub fn keep(&self) {
        *self.lock() = Some(VecDeque::new());
    }

    /// Writes lines from now on, those that were kept first.
    pub fn release(&self) {
        let kept = self.lock().take().unwrap_or_default();
        let mut out = io::stderr().lock();
        for line in kept {
            // Nobody reads it: that is no reason to stop.
            let _ = writeln!(out, "{line}");
        }
    }

    /// Writes lines from now on; those that were kept have been shown.
    pub fn forget(&self) {
        *self.lock() = None;
    }

    /// The last `count` of the lines kept.
    pub fn last(&self, count: usize) -> Vec<String> {
        let kept = self.lock();
        let kept = kept.iter().flatten();
        let skip = kept.clone().count().saturating_sub(count);
        kept.skip(skip).cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, Option<VecDeque<String>>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Write for &LogSink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.lock().as_mut() {
            None => io::stderr().write_all(bytes)?,
            Some(kept) => {
                for line in String::from_utf8_lossy(bytes).lines() {
                    if kept.len() == KEPT {
                        kept.pop_front();
                    }
                    kept.push_back(line.to_owned());
                }
            }
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for LogSink {
    type Writer = &'a LogSink;

    fn make_writer(&'a self) -> Self::Writer {
        self
    }
}

/// Sets logging up for the whole process. `filter` is a list of `target=level`, as in `info,headwater=debug`.
///
/// # Errors
/// A filter that does not parse, or logging that is set up already, in a person's words.
pub fn init(filter: &str, format: LogFormat) -> Result<LogSink, String> {
    let filter =
        EnvFilter::try_new(format!("{QUIET},{filter},{SILENCED}")).map_err(|error| format!("log filter: {error}"))?;
    let sink = LogSink::default();
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(sink.clone())
        .with_target(false)
        .with_ansi(io::stderr().is_terminal());
    match format {
        LogFormat::Text => builder.try_init(),
        LogFormat::Json => builder.json().try_init(),
    }
    .map_err(|error| format!("logging: {error}"))?;
    let _ = NODE_LINES.set((sink.clone(), format));
    Ok(sink)
}

/// Where lines of media nodes go, and how they look; set once by [`init`].
static NODE_LINES: OnceLock<(LogSink, LogFormat)> = OnceLock::new();

/// A line of a media node's own log, passed on as it is: it carries its own time and level.
pub fn node_line(node: &str, line: &str) {
    if line.is_empty() {
        return;
    }
    match NODE_LINES.get() {
        Some((sink, LogFormat::Text)) => {
            let _ = { sink }.write_all(format!("{node} | {line}\n").as_bytes());
        }
        // Every line of the output has to be JSON.
        _ => tracing::info!(node, line, "a media node says"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kept_lines_are_bounded_and_the_newest_stay() {
        let sink = LogSink::default();
        sink.keep();
        for n in 0..KEPT + 10 {
            (&sink).write_all(format!("line {n}\n").as_bytes()).unwrap();
        }
        assert_eq!(
            sink.last(2),
            [format!("line {}", KEPT + 8), format!("line {}", KEPT + 9)]
        );
        assert_eq!(sink.last(usize::MAX).len(), KEPT);
        sink.forget();
        assert!(sink.last(1).is_empty());
    }
}
