//! Certificates as files that come, change and break.

use super::rig::{files, issue};
use super::*;

/// The file is another one, whatever its time and length.
fn replace(folder: &Path, name: &str, text: &str) {
    std::fs::write(folder.join("next"), text).unwrap();
    std::fs::rename(folder.join("next"), folder.join(name)).unwrap();
}

fn same(a: Option<Arc<ServerConfig>>, b: Option<Arc<ServerConfig>>) -> bool {
    match (a, b) {
        (Some(a), Some(b)) => Arc::ptr_eq(&a, &b),
        _ => false,
    }
}

#[test]
fn a_new_certificate_is_served_and_a_broken_one_leaves_the_old() {
    let folder = tempfile::tempdir().unwrap();
    issue(folder.path());
    let meters = Meters::default();
    let (certificates, mut follower) = start(files(folder.path(), false), meters.clone()).unwrap();
    let first = certificates.current();
    follower.look();
    assert!(same(first.clone(), certificates.current()), "nothing has changed");
    assert_eq!(meters.tls_loads(TlsLoad::Loaded), 1);

    let other = tempfile::tempdir().unwrap();
    let certificate = issue(other.path());
    replace(folder.path(), "tls.crt", &certificate);
    for _ in 0..3 {
        follower.look();
    }
    assert!(same(first.clone(), certificates.current()), "the key is another one's");
    assert_eq!(meters.tls_loads(TlsLoad::Failed), 1, "counted once");

    let key = std::fs::read_to_string(other.path().join("tls.key")).unwrap();
    replace(folder.path(), "tls.key", &key);
    follower.look();
    assert!(certificates.current().is_some() && !same(first, certificates.current()));
    assert_eq!(meters.tls_loads(TlsLoad::Loaded), 2);

    let second = certificates.current();
    std::fs::remove_file(folder.path().join("tls.key")).unwrap();
    follower.look();
    assert!(same(second, certificates.current()), "a file that has gone");
    assert_eq!(meters.tls_loads(TlsLoad::Failed), 2);
}

#[test]
fn files_that_are_waited_for_are_taken_up_when_they_come() {
    let folder = tempfile::tempdir().unwrap();
    let meters = Meters::default();
    let (certificates, mut follower) = start(files(folder.path(), true), meters.clone()).unwrap();
    follower.look();
    assert!(certificates.current().is_none());
    assert_eq!(meters.tls_loads(TlsLoad::Failed), 0, "nothing has failed yet");
    std::fs::write(folder.path().join("tls.crt"), "not yet").unwrap();
    std::fs::write(folder.path().join("tls.key"), "not yet").unwrap();
    follower.look();
    assert!(certificates.current().is_none());
    assert_eq!(meters.tls_loads(TlsLoad::Failed), 1);
    issue(folder.path());
    follower.look();
    assert!(certificates.current().is_some());
}

#[test]
fn what_can_not_be_used_is_told_by_flag_and_never_by_content() {
    let folder = tempfile::tempdir().unwrap();
    let refused = || {
        let error = start(files(folder.path(), false), Meters::default()).unwrap_err();
        error.to_string()
    };
    let error = refused();
    assert!(
        error.starts_with("--tls-cert: failed to read") && error.contains("tls.crt"),
        "{error}"
    );
    issue(folder.path());
    let key = std::fs::read_to_string(folder.path().join("tls.key")).unwrap();
    replace(folder.path(), "tls.key", "hunter2");
    let error = refused();
    assert!(
        error.starts_with("--tls-key: ") && error.contains("no private key in PEM"),
        "{error}"
    );
    assert!(!error.contains("hunter2"), "{error}");
    replace(folder.path(), "tls.key", &key);
    replace(folder.path(), "tls.crt", "hunter2");
    let error = refused();
    assert!(
        error.starts_with("--tls-cert: ") && error.contains("no certificate in PEM"),
        "{error}"
    );
    issue(folder.path());
    replace(folder.path(), "tls.key", &key);
    let error = refused();
    assert!(error.starts_with("--tls-cert and --tls-key: "), "{error}");
    replace(folder.path(), "tls.key", &"x".repeat(2 << 20));
    assert!(refused().contains("longer than 1 MiB"));
}
