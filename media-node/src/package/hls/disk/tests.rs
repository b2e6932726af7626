//! A folder that is written, runs full, fails and is cleaned.

use std::sync::atomic::AtomicBool;

use tokio::sync::oneshot;

use super::*;
use crate::package::hls::window::Rendition;

static FULL: AtomicBool = AtomicBool::new(false);

/// As on a disk that has no room while `FULL` says so.
fn write_unless_full(path: &Path, bytes: &[u8]) -> io::Result<()> {
    match FULL.load(Ordering::Relaxed) {
        true => Err(io::ErrorKind::StorageFull.into()),
        false => write(path, bytes),
    }
}

fn segment(number: u64) -> Unstored {
    Unstored {
        epoch: 17,
        number,
        rendition: Rendition::Video,
        bytes: Bytes::from(vec![number as u8; 100]),
    }
}

async fn put(disk: &Disk, number: u64) -> Option<Arc<Stored>> {
    let (told, answer) = oneshot::channel();
    let taken = disk.put(&"cam".parse().unwrap(), segment(number), |stored| {
        let _ = told.send(stored);
    });
    assert!(taken);
    answer.await.unwrap()
}

fn files(folder: &Path) -> usize {
    let mut count = 0;
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        count += if path.is_dir() { files(&path) } else { 1 };
    }
    count
}

async fn until(what: &str, holds: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(5);
    while !holds() {
        assert!(Instant::now() < deadline, "not within 5 s: {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

#[tokio::test]
async fn a_segment_is_a_file_for_as_long_as_somebody_lists_it() {
    let within = tempfile::tempdir().unwrap();
    let (disk, writer) = Disk::open(within.path(), 250, Meters::default()).unwrap();
    tokio::spawn(writer.run(CancellationToken::new()));
    let folder = within.path().join(FOLDER);

    let first = put(&disk, 1).await.unwrap();
    let second = put(&disk, 2).await.unwrap();
    assert_eq!(first.read().await.unwrap(), segment(1).bytes);
    assert_eq!(files(&folder.join("cam")), 2);
    assert!(put(&disk, 3).await.is_none(), "300 bytes do not fit into 250");
    assert_eq!(disk.0.meters.dvr_bytes(Where::Disk), 200);

    drop(first);
    until("the first is deleted", || files(&folder) == 1).await;
    assert!(put(&disk, 3).await.is_some());
    drop(second);
    until("nothing is left", || files(&folder) == 0).await;
    assert!(!folder.join("cam").exists());
    assert_eq!(disk.0.meters.dvr_bytes(Where::Disk), 0);
}

#[tokio::test]
async fn a_disk_that_fails_is_left_alone_for_a_while() {
    let within = tempfile::tempdir().unwrap();
    let (disk, writer) = Disk::open_with(within.path(), 1_000, Meters::default(), write_unless_full).unwrap();
    tokio::spawn(writer.run(CancellationToken::new()));
    FULL.store(true, Ordering::Relaxed);
    assert!(put(&disk, 1).await.is_none());
    assert_eq!(disk.0.meters.dvr_write_failures(), 1);
    assert!(
        !disk.put(&"cam".parse().unwrap(), segment(2), |_| {}),
        "not at once again"
    );
    *lock(&disk.0.failed) = Instant::now().checked_sub(AGAIN);
    FULL.store(false, Ordering::Relaxed);
    assert!(put(&disk, 2).await.is_some());
    assert!(put(&disk, 3).await.is_some());
}

#[tokio::test]
async fn what_an_earlier_process_left_is_deleted_and_nothing_else() {
    let within = tempfile::tempdir().unwrap();
    let old = within.path().join(FOLDER).join("cam");
    fs::create_dir_all(&old).unwrap();
    fs::write(old.join("video-1-1.m4s"), b"old").unwrap();
    fs::write(within.path().join("mine"), b"kept").unwrap();
    let (_disk, _writer) = Disk::open(within.path(), 250, Meters::default()).unwrap();
    assert_eq!(files(&within.path().join(FOLDER)), 0);
    assert!(within.path().join("mine").exists());
}

#[test]
fn a_folder_that_another_process_uses_is_refused() {
    let within = tempfile::tempdir().unwrap();
    let _held = Disk::open(within.path(), 250, Meters::default()).unwrap();
    let error = Disk::open(within.path(), 250, Meters::default()).unwrap_err();
    assert!(error.to_string().contains("a folder of its own"), "{error}");
}
