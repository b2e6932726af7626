//! HTTP/2 and TLS on the delivery port, as curl speaks them.

use std::time::{Duration, Instant};

use e2e::harness::process::Process;
use e2e::harness::tls::{Issued, curl, https};
use e2e::harness::websocket::Viewer;
use e2e::harness::{Node, http, program, wait_until};
use headwater_contract::Role;
use tempfile::TempDir;

use crate::{SOON, publish_sample};

/// A node with a certificate in this folder.
async fn secure(folder: &TempDir, further: &[&str]) -> Node {
    let file = |name: &str| folder.path().join(name).display().to_string();
    let (certificate, key) = (file("tls.crt"), file("tls.key"));
    let mut flags = vec!["--tls-cert", &certificate, "--tls-key", &key];
    flags.extend(further);
    Node::start(Role::Origin, &flags).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn media_come_by_http_2_with_prior_knowledge_and_by_tls_with_either_protocol() {
    let folder = TempDir::new().unwrap();
    let issued = Issued::new().unwrap();
    issued.write(folder.path()).unwrap();
    let node = secure(&folder, &[]).await;
    let _publication = publish_sample(&node, "a").await;
    for path in ["/live/a.mp4", "/live/a.flv"] {
        let plain = node.http_url(path);
        let said = curl(&["--http2-prior-knowledge", "--max-time", "2", &plain])
            .await
            .unwrap();
        assert_eq!((said.version.as_str(), said.status), ("2", 200), "{path}");
        assert!(said.bytes > 10_000, "{path}: {said:?}");
        for (flag, version) in [("--http2", "2"), ("--http1.1", "1.1")] {
            let asked = [flag, "--max-time", "2"];
            let said = https(node.http, path, &issued.certificate, &asked).await.unwrap();
            assert_eq!((said.version.as_str(), said.status), (version, 200), "{path} {flag}");
            assert!(said.bytes > 10_000, "{path} {flag}: {said:?}");
        }
    }
    // Beside it, what was there before.
    let mut viewer = Viewer::connect(&node.ws_url("a")).await.unwrap();
    viewer
        .until(SOON, "media comes", |viewer| viewer.binary.len() > 3)
        .await
        .unwrap();
    assert_eq!(http::get(&node.http_url("/readyz")).await.unwrap().status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_is_waited_for_is_served_when_it_comes_and_when_it_changes() {
    let folder = TempDir::new().unwrap();
    let node = secure(&folder, &["--tls-wait"]).await;
    assert_eq!(http::get(&node.http_url("/readyz")).await.unwrap().status, 200);
    for (round, faults) in [("comes", 1.0), ("changes", 2.0)] {
        let issued = Issued::new().unwrap();
        issued.write(folder.path()).unwrap();
        let written = Instant::now();
        wait_until(SOON * 2, "the certificate is served", || async {
            let said = https(node.http, "/readyz", &issued.certificate, &[]).await;
            said.map_err(|error| format!("{error:#}"))
        })
        .await
        .unwrap();
        println!(
            "figure: a certificate that {round} is served after {} ms",
            written.elapsed().as_millis()
        );
        std::fs::write(folder.path().join("tls.crt"), "broken").unwrap();
        wait_until(SOON * 2, "the fault is counted", || async {
            let failed = node.metric("headwater_node_tls_loads_total{result=\"failed\"}").await;
            let failed = failed.map_err(|error| format!("{error:#}"))?;
            if failed >= Some(faults) {
                Ok(())
            } else {
                Err(format!("{failed:?}"))
            }
        })
        .await
        .unwrap();
        let said = https(node.http, "/readyz", &issued.certificate, &[]).await.unwrap();
        assert_eq!(said.status, 200, "the one before is served on");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_certificate_is_an_error_that_names_the_flag() {
    let folder = TempDir::new().unwrap();
    let missing = folder.path().join("none").display().to_string();
    let args = ["origin", "--control-token-file", "token", "--tls-cert", &missing];
    let listen = ["--rtmp-listen", "--http-listen", "--ops-listen"].map(|flag| [flag, "127.0.0.1:0"]);
    for (further, said) in [
        (vec!["--tls-key", &missing], "--tls-cert: failed to read"),
        (vec![], "--tls-key <FILE>"),
    ] {
        let args = args.iter().chain(listen.iter().flatten()).chain(&further);
        let args: Vec<String> = args.map(|arg| (*arg).to_owned()).collect();
        let mut process = Process::start("media-node", &program("media-node").unwrap(), &args).unwrap();
        let status = process.wait(Duration::from_secs(20)).await.unwrap();
        assert!(!status.success());
        let log = process.log();
        assert!(log.contains(said), "{log}");
    }
}
