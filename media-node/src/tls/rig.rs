//! Certificates and clients for tests of TLS.

use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::{Certificates, Files};
use crate::meters::Meters;

/// Writes a certificate of its own for `node.example`, with its key, into `folder`; its PEM.
pub(crate) fn issue(folder: &Path) -> String {
    let issued = rcgen::generate_simple_self_signed(["node.example".to_owned()]).unwrap();
    let certificate = issued.cert.pem();
    std::fs::write(folder.join("tls.crt"), &certificate).unwrap();
    std::fs::write(folder.join("tls.key"), issued.signing_key.serialize_pem()).unwrap();
    certificate
}

/// Its files.
pub(crate) fn files(folder: &Path, wait: bool) -> Files {
    Files {
        certificate: folder.join("tls.crt"),
        key: folder.join("tls.key"),
        wait,
    }
}

/// What serves a fresh certificate, and its PEM.
pub(crate) fn certificates() -> (Certificates, String) {
    let folder = tempfile::tempdir().unwrap();
    let certificate = issue(folder.path());
    let (certificates, follower) = super::start(files(folder.path(), false), Meters::default()).unwrap();
    drop(follower);
    (certificates, certificate)
}

/// A client that trusts that certificate alone, and offers these protocols.
pub(crate) async fn connect(
    addr: std::net::SocketAddr,
    certificate: &str,
    alpn: &[&[u8]],
) -> std::io::Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    let certificate = CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap();
    roots.add(certificate).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    let name = ServerName::try_from("node.example").unwrap();
    let stream = TcpStream::connect(addr).await?;
    TlsConnector::from(Arc::new(config)).connect(name, stream).await
}
