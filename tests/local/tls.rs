//! Certificates in local mode: a Secret of the manifests, served by every edge through the load balancer, changed while it runs.

use std::time::{Duration, Instant};

use e2e::harness::tls::{Issued, https};
use e2e::harness::{Local, http, wait_until};
use serde_json::Value;

use crate::{LONG, edges, manifest, publish_sample};

fn secure(issued: &Issued) -> String {
    let fleet = manifest("  replicas: 2\n  tls: {secretName: web-tls}");
    let indented = |text: &str| text.replace('\n', "\n    ").trim_end().to_owned();
    format!(
        "{fleet}---\napiVersion: v1\nkind: Secret\nmetadata: {{name: web-tls}}\ntype: kubernetes.io/tls\nstringData:\n  tls.crt: |\n    {}\n  \
         tls.key: |\n    {}\n",
        indented(&issued.certificate),
        indented(&issued.key)
    )
}

/// Names of the edges with their process's start, as it were: a node that was restarted has another boot id.
fn names(fleet: &Value) -> Vec<String> {
    edges(fleet).iter().map(|edge| edge["name"].to_string()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn https_goes_through_the_load_balancer_and_a_changed_secret_restarts_nothing() {
    let first = Issued::new().unwrap();
    let local = Local::start(&secure(&first), &[]).await.unwrap();
    let before = names(&local.whole(LONG).await.unwrap());
    let _publication = publish_sample(&local, "a").await;
    let address = local.pool_http().await.unwrap().parse().unwrap();
    wait_until(LONG, "the stream comes by HTTPS", || async {
        let said = https(
            address,
            "/live/a.mp4",
            &first.certificate,
            &["--http2", "--max-time", "2"],
        )
        .await;
        match said {
            Ok(said) if said.status == 200 && said.version == "2" && said.bytes > 10_000 => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await
    .unwrap();
    let plain = http::get(&format!("http://{address}/api/streams")).await.unwrap();
    assert_eq!(plain.status, 200);

    let second = Issued::new().unwrap();
    std::fs::write(&local.manifest, secure(&second)).unwrap();
    let changed = Instant::now();
    // Several times: the load balancer picks an edge at random.
    let mut good = 0;
    while good < 10 {
        match https(address, "/readyz", &second.certificate, &[]).await {
            Ok(_) => good += 1,
            Err(error) => {
                assert!(changed.elapsed() < Duration::from_secs(15), "{error:#}");
                good = 0;
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
    println!(
        "figure: a changed Secret of the manifests is served by every edge after at most {} ms",
        changed.elapsed().as_millis()
    );
    assert_eq!(names(&local.fleet().await.unwrap()), before);
    let log = local.process.log();
    assert!(!log.contains("a media node ended"), "{log}");
    assert!(!log.contains("PRIVATE KEY"), "a key in the log");
}
