//! A certificate in a Secret: on every edge, and renewed without a restart.

use std::net::SocketAddr;
use std::time::Instant;

use e2e::harness::cluster::{Case, Space};
use e2e::harness::tls::{Issued, Said, https};
use e2e::harness::wait_until;
use serde_json::{Value, json};

use crate::stage::{EDGES, LONG, address, name, reason, serving, since};

/// The tests.
pub fn cases() -> Vec<Case> {
    e2e::cases![Nodes: a_certificate_is_served_when_its_secret_comes_and_a_renewed_one_without_a_restart]
}

async fn served(address: SocketAddr, issued: &Issued) -> Said {
    wait_until(LONG, "the certificate is served", || async {
        let said = https(address, "/readyz", &issued.certificate, &[]).await;
        said.map_err(|error| format!("{error:#}"))
    })
    .await
    .unwrap()
}

async fn a_certificate_is_served_when_its_secret_comes_and_a_renewed_one_without_a_restart(space: Space) {
    let _operator = serving(&space, "replicas: 1\ntls: {secretName: web-tls}", 1).await;
    let says = |wanted: &'static str| {
        let space = &space;
        async move {
            let found = |pool: &Value| (reason(pool, "Secured").0 == wanted).then(|| reason(pool, "Secured").1);
            space.wait("EdgePool", "web", LONG, wanted, found).await.unwrap()
        }
    };
    let message = says("CertificateMissing").await;
    assert!(message.contains("kubectl create secret tls web-tls"), "{message}");
    let pod = space.list("Pod", EDGES).await.unwrap().remove(0);
    let at_pod = SocketAddr::new(address(&pod).parse().unwrap(), 8080);
    for round in ["comes", "is renewed"] {
        let issued = Issued::new().unwrap();
        let secret = json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "web-tls"}, "type": "kubernetes.io/tls",
            "stringData": {"tls.crt": issued.certificate, "tls.key": issued.key},
        });
        space.apply_one(secret).await.unwrap();
        let made = Instant::now();
        let said = served(at_pod, &issued).await;
        println!(
            "figure: a certificate whose Secret {round} is served after {} ms, by a kubelet that mounts at once",
            since(made)
        );
        assert_eq!((said.version.as_str(), said.status), ("2", 200));
        says("CertificateThere").await;
        let service = space.get("Service", "web-edge").await.unwrap();
        let at_service = format!("{}:443", service["spec"]["clusterIP"].as_str().unwrap());
        assert_eq!(served(at_service.parse().unwrap(), &issued).await.status, 200);
    }
    let pool = space.get("EdgePool", "web").await.unwrap();
    let url = pool["status"]["playUrl"].as_str().unwrap();
    assert!(url.starts_with("https://") && !url.contains(":80/"), "{url}");
    let after = space.list("Pod", EDGES).await.unwrap();
    assert_eq!(after.len(), 1);
    assert_eq!(name(&after[0]), name(&pod), "the pod is another one");
    assert_eq!(after[0]["status"]["containerStatuses"][0]["restartCount"], 0);
}
