//! What the images would hold is enough for the programs: they run in a root file system with nothing else, with no shell,
//! as a numeric user, as process 1.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use e2e::harness::{http, ports, program, root};
use tempfile::TempDir;

const LONG: Duration = Duration::from_secs(20);
const USER: &str = "65532:65532";
/// Where `chroot` is; nothing else of the environment is handed on.
const SEARCH: &str = "/usr/sbin:/usr/bin:/sbin:/bin";

/// Where this process may not change its root directory, says so loudly and returns false.
fn may_change_root() -> bool {
    let may = Command::new("unshare")
        .args(["--pid", "--fork", "chroot", "/", "true"])
        .stderr(Stdio::null())
        .status();
    let may = may.is_ok_and(|status| status.success());
    if !may {
        eprintln!("SKIPPED: helm test images: chroot and unshare need root");
    }
    may
}

/// A folder with what the image of a program holds.
fn image(name: &str) -> TempDir {
    let folder = TempDir::with_prefix("headwater-image-").unwrap();
    let script = root().join(".ci/rootfs.sh");
    let made = Command::new(script)
        .arg(program(name).unwrap())
        .arg(folder.path())
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    // Readable by the image's user, as a root directory is.
    let open = Command::new("chmod")
        .args(["0755"])
        .arg(folder.path())
        .status()
        .unwrap();
    assert!(open.success());
    folder
}

fn run(image: &Path, args: &[&str]) -> Output {
    let command = ["--userspec", USER, image.to_str().unwrap()];
    Command::new("chroot")
        .args(command)
        .args(args)
        .env_clear()
        .env("PATH", SEARCH)
        .output()
        .unwrap()
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries
        .flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] })
        .collect()
}

#[test]
fn both_programs_run_where_there_is_nothing_but_what_their_image_holds() {
    if !may_change_root() {
        return;
    }
    for name in ["headwater", "media-node"] {
        let image = image(name);
        assert!(files(image.path()).len() < 10, "{:?}", files(image.path()));
        let path = format!("/usr/bin/{name}");
        let version = run(image.path(), &[&path, "--version"]);
        let words = String::from_utf8_lossy(&version.stdout).into_owned();
        assert!(
            version.status.success() && words.contains(env!("CARGO_PKG_VERSION")),
            "{version:?}"
        );
        assert!(run(image.path(), &[&path, "--help"]).status.success());
        assert!(
            !run(image.path(), &["/bin/sh", "-c", "true"]).status.success(),
            "there is a shell"
        );
    }
}

/// Process 1 of a namespace of its own; killed when dropped.
struct First(Child);

impl First {
    /// The process as it is seen from here: the child of `unshare`.
    fn inner(&self) -> Option<u32> {
        let id = self.0.id();
        let children = std::fs::read_to_string(format!("/proc/{id}/task/{id}/children")).ok()?;
        children.split_whitespace().next()?.parse().ok()
    }
}

impl Drop for First {
    fn drop(&mut self) {
        // --kill-child takes the inner one along.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_media_node_serves_as_process_1_and_ends_at_sigterm() {
    if !may_change_root() {
        return;
    }
    let image = image("media-node");
    std::fs::write(image.path().join("token"), "a-token-of-a-test\n").unwrap();
    let [rtmp, delivery, ops] = [(); 3].map(|()| ports::free().unwrap().to_string());
    let mut first = Command::new("unshare");
    first
        .args(["--pid", "--fork", "--kill-child", "chroot", "--userspec", USER])
        .arg(image.path());
    first.args([
        "/usr/bin/media-node",
        "origin",
        "--name=n",
        "--control-token-file=/token",
    ]);
    for (flag, address) in [
        ("--rtmp-listen", &rtmp),
        ("--http-listen", &delivery),
        ("--ops-listen", &ops),
    ] {
        first.args([flag, address]);
    }
    let mut first = First(first.env_clear().env("PATH", SEARCH).spawn().unwrap());
    let deadline = Instant::now() + LONG;
    let alive = format!("http://{ops}/livez");
    while !http::get(&alive).await.is_ok_and(|answer| answer.status.is_success()) {
        assert!(Instant::now() < deadline, "it does not serve");
        assert!(first.0.try_wait().unwrap().is_none(), "it ended");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let inner = first.inner().expect("process 1");
    // A process 1 that does not take SIGTERM is not even told of it.
    let told = Command::new("kill")
        .args(["-TERM", &inner.to_string()])
        .status()
        .unwrap();
    assert!(told.success());
    let deadline = Instant::now() + LONG;
    let status = loop {
        if let Some(status) = first.0.try_wait().unwrap() {
            break status;
        }
        assert!(Instant::now() < deadline, "it goes on after SIGTERM");
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    assert!(status.success(), "{status}");
}

#[test]
fn images_are_of_one_program_a_numeric_user_and_no_shell() {
    for (folder, name) in [("operator", "headwater"), ("media-node", "media-node")] {
        let text = std::fs::read_to_string(root().join(folder).join("Dockerfile")).unwrap();
        let (_, runtime) = text.split_once("FROM scratch").expect("a runtime from nothing");
        assert!(
            !runtime.contains("\nRUN "),
            "{folder}: the runtime has no shell to run anything by"
        );
        assert!(runtime.contains("\nUSER 65532:65532\n"), "{folder}");
        assert!(
            runtime.contains(&format!("ENTRYPOINT [\"/usr/bin/{name}\"]")),
            "{folder}"
        );
        for label in ["title", "description", "licenses", "source", "version", "revision"] {
            assert!(
                runtime.contains(&format!("org.opencontainers.image.{label}=")),
                "{folder}: {label}"
            );
        }
        let rust = std::fs::read_to_string(root().join("rust-toolchain.toml")).unwrap();
        let pinned = rust.split('"').nth(1).unwrap();
        for line in [format!(" rust:{pinned}-"), format!("\nENV RUSTUP_TOOLCHAIN={pinned}\n")] {
            assert!(text.contains(&line), "{folder}: another toolchain than {pinned}");
        }
    }
}
