//! The parts of a measurement as processes of their own: this test binary again, told by its environment which part it is.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::scene::Scene;

/// The environment variable that names the part.
pub(crate) const PART: &str = "HEADWATER_SIZE_PART";
/// Begins each line that is meant for the process that started the part.
const MARK: &str = "@ ";

/// What a process is.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Part {
    /// The fake nodes.
    Nodes { scene: Scene },
    /// The plan alone.
    Plan { scene: Scene },
}

/// A part that runs. It is ended with the handle.
pub(crate) struct Running {
    child: Child,
    said: Receiver<String>,
    input: ChildStdin,
}

/// Longest wait for what a part says next.
const WAIT: Duration = Duration::from_secs(600);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Running {
    pub(crate) fn start(part: &Part) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "part", "--nocapture"])
            .env(PART, serde_json::to_string(part).unwrap())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        // A part that says more than it is asked for waits.
        let (send, said) = sync_channel(16);
        std::thread::spawn(move || {
            let marked = lines.map_while(Result::ok).filter_map(|line| {
                let (_, said) = line.split_once(MARK)?;
                Some(said.to_owned())
            });
            marked.take_while(|said| send.send(said.clone()).is_ok()).for_each(drop);
        });
        Self {
            said,
            input: child.stdin.take().unwrap(),
            child,
        }
    }

    /// The next thing that the part says.
    pub(crate) fn hear<T: DeserializeOwned>(&mut self) -> T {
        let said = self.said.recv_timeout(WAIT).expect("a part has ended or hangs");
        serde_json::from_str(&said).unwrap()
    }

    /// Tells the part something.
    pub(crate) fn tell(&mut self, what: &impl Serialize) {
        writeln!(self.input, "{}", serde_json::to_string(what).unwrap()).unwrap();
    }
}

/// Says something to the process that started this part.
pub(crate) fn say(what: &impl Serialize) {
    println!("\n{MARK}{}", serde_json::to_string(what).unwrap());
}

/// A process' memory in MiB: now, and at most so far.
pub(crate) fn memory_mib(process: u32) -> (f64, f64) {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        let kib: f64 = line.trim().trim_end_matches(" kB").parse().unwrap();
        kib / 1024.0
    };
    (field("VmRSS:"), field("VmHWM:"))
}

/// Processor seconds that a process has taken.
pub(crate) fn cpu_seconds(process: u32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
    let after_name = stat.rsplit_once(") ").unwrap().1;
    let fields: Vec<&str> = after_name.split(' ').collect();
    // proc_pid_stat(5): utime and stime, in ticks of a hundredth of a second.
    let ticks: f64 = fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap();
    ticks / 100.0
}
