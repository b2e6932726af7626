//! Certificates, and curl as a client that trusts one of them alone.

use std::net::SocketAddr;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use tokio::process::Command;

/// The name that certificates are for.
pub const HOST: &str = "node.example";

/// A certificate of its own with its key, both PEM.
#[derive(Clone)]
pub struct Issued {
    /// The certificate.
    pub certificate: String,
    /// Its key.
    pub key: String,
}

impl Issued {
    /// A fresh one.
    pub fn new() -> Result<Self> {
        let issued = rcgen::generate_simple_self_signed([HOST.to_owned()])?;
        Ok(Self {
            certificate: issued.cert.pem(),
            key: issued.signing_key.serialize_pem(),
        })
    }

    /// Writes both as `tls.crt` and `tls.key`.
    pub fn write(&self, folder: &Path) -> Result<()> {
        std::fs::write(folder.join("tls.crt"), &self.certificate)?;
        std::fs::write(folder.join("tls.key"), &self.key)?;
        Ok(())
    }
}

/// What curl says of an answer.
#[derive(Debug, PartialEq, Eq)]
pub struct Said {
    /// HTTP version, `1.1` or `2`.
    pub version: String,
    /// Status; 0 if there was none.
    pub status: u16,
    /// Bytes of the body.
    pub bytes: u64,
}

/// Asks with curl; an error is its own words.
pub async fn curl(args: &[&str]) -> Result<Said> {
    let format = "%{http_version} %{http_code} %{size_download}";
    let output = Command::new("curl")
        .args([
            "--silent",
            "--show-error",
            "--output",
            "/dev/null",
            "--write-out",
            format,
        ])
        .args(args)
        .kill_on_drop(true)
        .output()
        .await
        .context("failed to run curl")?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut words = text.split(' ');
    let mut word = || words.next().unwrap_or_default();
    let said = Said {
        version: word().to_owned(),
        status: word().parse().unwrap_or(0),
        bytes: word().parse().unwrap_or(0),
    };
    // 28: it was told to read for a time, and a live stream has no end.
    ensure!(
        output.status.success() || output.status.code() == Some(28),
        "curl: {}",
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(said)
}

/// Asks by HTTPS, and trusts that certificate alone: succeeds only where it is served.
pub async fn https(address: SocketAddr, path: &str, certificate: &str, args: &[&str]) -> Result<Said> {
    let trusted = tempfile::NamedTempFile::new()?;
    std::fs::write(trusted.path(), certificate)?;
    let resolve = format!("{HOST}:{}:{}", address.port(), address.ip());
    let url = format!("https://{HOST}:{}{path}", address.port());
    let trusted = trusted.path().to_str().context("path")?;
    let mut all = vec!["--cacert", trusted, "--resolve", &resolve, &url];
    all.extend(args);
    curl(&all).await
}
