//! Ends what the harness has started even where the harness is killed: a shell that holds the other end of a pipe.

use std::io::Write as _;
use std::path::Path;
use std::process::{Child as StdChild, ChildStdin, Command, Stdio};
use std::sync::{Mutex, OnceLock, PoisonError};

use anyhow::{Context, Result};

use crate::harness::Process;

/// Keeps a list of process ids; at the end of its input it kills those that are left. Ctrl-C reaches it too: it stays.
const SCRIPT: &str = r#"
trap '' INT TERM HUP
list=
while read -r sign id; do
    case $sign in
    +) list="$list $id" ;;
    -)
        left=
        for other in $list; do [ "$other" = "$id" ] || left="$left $other"; done
        list=$left
        ;;
    esac
done
for id in $list; do kill -KILL "$id" 2>/dev/null; done
"#;

/// One a test process; what it holds is never dropped, so that its input ends with the process.
static REAPER: OnceLock<Option<Mutex<(StdChild, ChildStdin)>>> = OnceLock::new();

fn tell(line: &str) -> Result<()> {
    let reaper = REAPER.get_or_init(|| {
        let shell = Command::new("sh").args(["-c", SCRIPT]).stdin(Stdio::piped()).spawn();
        let mut shell = shell.ok()?;
        let input = shell.stdin.take()?;
        Some(Mutex::new((shell, input)))
    });
    let reaper = reaper.as_ref().context("failed to start a shell")?;
    let mut reaper = reaper.lock().unwrap_or_else(PoisonError::into_inner);
    writeln!(reaper.1, "{line}").context("the shell that ends processes has ended")
}

/// A process that ends with the harness, however that ends.
#[derive(Debug)]
pub struct Child {
    // The process goes before its ticket.
    /// The process.
    pub process: Process,
    _ticket: Ticket,
}

/// Strikes a process off the list.
#[derive(Debug)]
struct Ticket(Option<u32>);

impl Drop for Ticket {
    fn drop(&mut self) {
        if let Some(id) = self.0 {
            // Without its shell there is no list to be struck off.
            let _ = tell(&format!("- {id}"));
        }
    }
}

impl Child {
    /// Starts a program with further environment variables; see [`Process::start_with`].
    pub fn start(
        name: &str,
        program: &Path,
        args: &[String],
        env: &[(String, String)],
        log: Option<&Path>,
    ) -> Result<Self> {
        let process = Process::start_with(name, program, args, env, log)?;
        let id = process.id();
        if let Some(id) = id {
            tell(&format!("+ {id}"))?;
        }
        Ok(Self {
            process,
            _ticket: Ticket(id),
        })
    }
}
