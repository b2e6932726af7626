//! What local mode shows: a table that is redrawn in place on a terminal, plain lines on change elsewhere.
//!
//! The texts are total functions of a [`View`]; only [`Status`] writes.

mod lines;
mod table;

use std::io::{self, IsTerminal, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossterm::{cursor, queue, terminal};
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};

use crate::control::Snapshot;
use crate::telemetry::LogSink;

const PERIOD: Duration = Duration::from_secs(1);
/// Size that is assumed where the terminal does not tell.
const SIZE: (u16, u16) = (100, 40);

/// Everything that is shown.
#[derive(Clone, Debug)]
pub struct View {
    /// The fleet.
    pub snapshot: Arc<Snapshot>,
    /// Why the manifests on disk are not in force, if they are not.
    pub problem: Option<String>,
    /// Address of the ops port.
    pub ops: String,
    /// The sample is published: its page is the one to open.
    pub sample: bool,
    /// Time since the start.
    pub up: Duration,
    /// The last log lines, oldest first.
    pub events: Vec<String>,
}

/// Shows the fleet until it is dropped.
pub struct Status {
    snapshots: watch::Receiver<Arc<Snapshot>>,
    problem: watch::Receiver<Option<String>>,
    ops: String,
    sample: bool,
    log: LogSink,
    started: Instant,
}

impl Status {
    /// A status of these sources. `ops` is the address of the ops port, `sample` whether the sample is published.
    pub fn new(
        snapshots: watch::Receiver<Arc<Snapshot>>,
        problem: watch::Receiver<Option<String>>,
        ops: String,
        sample: bool,
        log: LogSink,
    ) -> Self {
        Self {
            snapshots,
            problem,
            ops,
            sample,
            log,
            started: Instant::now(),
        }
    }

    /// Waits for the first report, prints where to go, then shows the fleet until dropped. The log is held back until
    /// where to go has been printed.
    pub async fn run(mut self) {
        if self.snapshots.wait_for(|snapshot| snapshot.at.is_some()).await.is_err() {
            return;
        }
        let view = self.view(0);
        print(&lines::welcome(&view));
        if io::stdout().is_terminal() {
            self.redraw().await;
        } else {
            self.log.release();
            self.follow().await;
        }
    }

    fn view(&self, events: usize) -> View {
        View {
            snapshot: self.snapshots.borrow().clone(),
            problem: self.problem.borrow().clone(),
            ops: self.ops.clone(),
            sample: self.sample,
            up: self.started.elapsed(),
            events: self.log.last(events),
        }
    }

    /// Plain lines, each when what it tells has changed.
    async fn follow(mut self) {
        let mut told = lines::Told::default();
        loop {
            print(&told.news(&self.view(0)));
            if self.snapshots.changed().await.is_err() {
                return;
            }
        }
    }

    /// The table, each second.
    async fn redraw(self) {
        let mut screen = Screen::default();
        let mut ticks = interval(PERIOD);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let (width, height) = terminal::size().unwrap_or(SIZE);
            let view = self.view(usize::from(height));
            let lines = table::render(&view, usize::from(width), usize::from(height.saturating_sub(1)));
            // A terminal that is gone ends the program by its own signal.
            let _ = screen.draw(&lines);
        }
    }
}

/// Lines that stand on the terminal and are written over.
#[derive(Default)]
pub(crate) struct Screen {
    height: u16,
}

impl Screen {
    /// Puts these lines in the place of those before.
    pub(crate) fn draw(&mut self, lines: &[String]) -> io::Result<()> {
        let mut out = io::stdout().lock();
        queue!(out, terminal::BeginSynchronizedUpdate, cursor::Hide)?;
        if self.height > 0 {
            queue!(out, cursor::MoveToPreviousLine(self.height))?;
        }
        queue!(out, terminal::Clear(terminal::ClearType::FromCursorDown))?;
        for line in lines {
            writeln!(out, "{line}")?;
        }
        self.height = u16::try_from(lines.len()).unwrap_or(u16::MAX);
        queue!(out, terminal::EndSynchronizedUpdate)?;
        out.flush()
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        let _ = crossterm::execute!(io::stdout(), cursor::Show);
    }
}

fn print(lines: &[String]) {
    let mut out = io::stdout().lock();
    for line in lines {
        // Nobody reads it: that is no reason to stop.
        let _ = writeln!(out, "{line}");
    }
    let _ = out.flush();
}

#[cfg(test)]
mod tests;
