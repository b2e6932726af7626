//! Supervision of real processes: shell scripts that take a media node's arguments.

use std::os::unix::fs::PermissionsExt;

use super::*;
use crate::fake_node::until;

struct Script {
    folder: tempfile::TempDir,
    program: PathBuf,
}

/// A program that does what `body` says.
fn script(body: &str) -> Script {
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("media-node");
    std::fs::write(&program, format!("#!/bin/sh\ncd {}\n{body}\n", folder.path().display())).unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    Script { folder, program }
}

impl Script {
    fn spec(&self) -> Spec {
        Spec {
            program: self.program.clone(),
            role: Role::Edge,
            name: "web-1".into(),
            app: "live".into(),
            rtmp: None,
            token_file: "/dev/null".into(),
            tls_folder: "/dev/null".into(),
            upstreams: vec!["rtmp://127.0.0.1:1/live".into()],
            flags: Vec::new(),
        }
    }

    fn read(&self, file: &str) -> String {
        std::fs::read_to_string(self.folder.path().join(file)).unwrap_or_default()
    }
}

fn start(spec: Spec) -> Process {
    Process::start(spec, Arc::default())
}

fn pid(process: &Process) -> Option<u32> {
    match process.state() {
        State::Up { pid, .. } => Some(pid),
        _ => None,
    }
}

fn lives(pid: u32) -> bool {
    // A zombie has no command line.
    std::fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| !line.is_empty())
}

#[tokio::test]
async fn a_child_gets_the_contracts_arguments_and_ends_when_its_input_does() {
    let script = script("echo \"$@\" > args; read line; echo ended > ended");
    let process = start(script.spec());
    let pid = until(|| pid(&process)).await;
    let args = until(|| Some(script.read("args")).filter(|args| args.ends_with('\n'))).await;
    assert!(
        args.starts_with("edge --name web-1 --app live --rtmp-listen 127.0.0.1:"),
        "{args}"
    );
    assert!(
        args.contains("--drain-accept 0s --end-with-stdin --upstream rtmp://127.0.0.1:1/live"),
        "{args}"
    );
    assert!(lives(pid));
    drop(process);
    until(|| (!lives(pid)).then_some(())).await;
}

#[tokio::test]
async fn a_child_that_dies_is_started_again_at_once_on_the_same_address_if_it_must() {
    let script = script("echo $$ >> pids; read line");
    let address = addresses_free();
    let process = start(Spec {
        rtmp: Some(address),
        ..script.spec()
    });
    let first = until(|| pid(&process)).await;
    let signal = rustix::process::Pid::from_raw(first.cast_signed()).unwrap();
    rustix::process::kill_process(signal, rustix::process::Signal::KILL).unwrap();
    let started = Instant::now();
    until(|| pid(&process).filter(|now| *now != first)).await;
    assert!(started.elapsed() < Duration::from_secs(1));
    assert!(matches!(process.state(), State::Up { ports, .. } if ports.rtmp == address));
}

fn addresses_free() -> SocketAddr {
    crate::local::addresses::free().unwrap()
}

#[tokio::test]
async fn a_child_is_asked_to_end_and_killed_when_it_does_not() {
    let gentle =
        script("trap 'echo told > told; exit 0' TERM; echo up > up; while :; do read line || sleep 0.01; done");
    let process = start(gentle.spec());
    until(|| (!gentle.read("up").is_empty()).then_some(())).await;
    process.stop(Duration::from_secs(10));
    timeout(Duration::from_secs(9), process.ended()).await.unwrap();
    assert_eq!((process.state(), gentle.read("told").as_str()), (State::Gone, "told\n"));

    let stubborn = script("trap '' TERM; echo up > up; while :; do read line || sleep 0.01; done");
    let process = start(stubborn.spec());
    until(|| (!stubborn.read("up").is_empty()).then_some(())).await;
    let pid = pid(&process).unwrap();
    process.stop(Duration::from_secs(600));
    process.stop(Duration::from_millis(50));
    timeout(Duration::from_secs(5), process.ended()).await.unwrap();
    assert!(!lives(pid));
}

#[tokio::test]
async fn a_program_that_is_not_there_is_told_and_tried_again() {
    let script = script("exit 3");
    let process = start(Spec {
        program: "/nonexistent/media-node".into(),
        ..script.spec()
    });
    let reason = until(|| match process.state() {
        State::Down { reason } => reason,
        _ => None,
    })
    .await;
    assert!(reason.contains("/nonexistent/media-node"), "{reason}");
    process.stop(Duration::ZERO);
    timeout(Duration::from_secs(5), process.ended()).await.unwrap();
}

#[test]
fn a_token_file_is_for_its_owner_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("token");
    write_secret(&path, "secret").unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(
        write_secret(&path, "other").is_err(),
        "an existing file is not taken over"
    );
}
