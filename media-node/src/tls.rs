//! The certificate of the delivery port: two PEM files, read again when they change, so that nothing restarts for a renewal.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustls::ServerConfig;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use crate::meters::{Meters, TlsLoad};

/// ALPN name of HTTP/2 (RFC 9113 §3.1).
pub const HTTP2: &[u8] = b"h2";
/// ALPN name of HTTP/1.1 (RFC 7301 §6).
pub const HTTP1: &[u8] = b"http/1.1";

/// The files are looked at this often. A Kubernetes Secret arrives about a minute after its change anyway.
const LOOK: Duration = Duration::from_secs(2);
/// Longest file that is read.
const LONGEST: u64 = 1 << 20;

/// Where the certificate is.
#[derive(Clone, Debug)]
pub struct Files {
    /// `--tls-cert`: the chain, the node's own certificate first.
    pub certificate: PathBuf,
    /// `--tls-key`: its key.
    pub key: PathBuf,
    /// `--tls-wait`: while they can't be used, there is no TLS, which is no reason not to start.
    pub wait: bool,
}

/// Why there is no certificate. Never says what is in the files.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file can't be read.
    #[error("{flag}: failed to read {}: {source}", file.display())]
    Read {
        /// Whose file.
        flag: &'static str,
        /// Which.
        file: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file holds no PEM of the kind.
    #[error("{flag}: {} holds no {wanted}: {source}", file.display())]
    Pem {
        /// Whose file.
        flag: &'static str,
        /// Which.
        file: PathBuf,
        /// What was looked for.
        wanted: &'static str,
        /// Why it is none.
        source: pem::Error,
    },
    /// Both are there, and not usable together.
    #[error("--tls-cert and --tls-key: {} and {} can't be used: {source}", certificate.display(), key.display())]
    Refused {
        /// Its file.
        certificate: PathBuf,
        /// Its file.
        key: PathBuf,
        /// Why.
        source: rustls::Error,
    },
}

impl Error {
    /// A file is not there.
    fn is_absence(&self) -> bool {
        matches!(self, Self::Read { source, .. } if source.kind() == std::io::ErrorKind::NotFound)
    }
}

/// Handle of what TLS connections are accepted with.
#[derive(Clone, Debug)]
pub struct Certificates(watch::Receiver<Option<Arc<ServerConfig>>>);

impl Certificates {
    /// The newest that could be used; none before the first, where that is waited for.
    pub fn current(&self) -> Option<Arc<ServerConfig>> {
        self.0.borrow().clone()
    }
}

/// Keeps [`Certificates`] as the files are.
#[derive(Debug)]
pub struct Follower {
    files: Files,
    meters: Meters,
    /// What the files were like when they were last read; none for one that is not there.
    seen: [Option<Stamp>; 2],
    current: watch::Sender<Option<Arc<ServerConfig>>>,
}

/// Modification time, inode and length. A Secret is swapped by a symbolic link, which shows in the inode.
type Stamp = (SystemTime, u64, u64);

/// Reads the files for the first time.
///
/// # Errors
/// They can't be used, and `files.wait` is not set.
pub fn start(files: Files, meters: Meters) -> Result<(Certificates, Follower), Error> {
    let mut follower = Follower {
        seen: stamps(&files),
        files,
        meters,
        current: watch::Sender::new(None),
    };
    let certificates = Certificates(follower.current.subscribe());
    match follower.read() {
        Err(error) if follower.files.wait => follower.complain(&error),
        read => read?,
    }
    Ok((certificates, follower))
}

impl Follower {
    /// Looks at the files until `stop`.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut ticks = tokio::time::interval(LOOK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while stop.run_until_cancelled(ticks.tick()).await.is_some() {
            self.look();
        }
    }

    /// Reads the files if they have changed. What can't be used leaves everything as it is, said and counted once.
    fn look(&mut self) {
        let stamps = stamps(&self.files);
        if stamps == self.seen {
            return;
        }
        self.seen = stamps;
        if let Err(error) = self.read() {
            self.complain(&error);
        }
    }

    /// Files that have not come yet are nothing to complain of: whoever said to wait knows.
    fn complain(&self, error: &Error) {
        match self.current.borrow().is_some() {
            true => tracing::warn!(%error, "the new certificate can't be used; the one before is served on"),
            false if error.is_absence() => tracing::debug!(%error, "no TLS until there is a certificate"),
            false => tracing::warn!(%error, "no TLS until there is a certificate that can be used"),
        }
    }

    /// A few kilobytes on a local disk or in memory: reading them here takes no longer than asking another thread to.
    fn read(&mut self) -> Result<(), Error> {
        let read = config(&self.files);
        match &read {
            Err(error) if error.is_absence() && self.current.borrow().is_none() => {}
            Err(_) => self.meters.tls_loaded(TlsLoad::Failed),
            Ok(_) => self.meters.tls_loaded(TlsLoad::Loaded),
        }
        self.current.send_replace(Some(read?));
        tracing::info!(file = %self.files.certificate.display(), "serving TLS with the certificate");
        Ok(())
    }
}

fn stamps(files: &Files) -> [Option<Stamp>; 2] {
    [&files.certificate, &files.key].map(|file| stamp(file))
}

fn stamp(file: &Path) -> Option<Stamp> {
    let metadata = std::fs::metadata(file).ok()?;
    #[cfg(unix)]
    let inode = std::os::unix::fs::MetadataExt::ino(&metadata);
    #[cfg(not(unix))]
    let inode = 0;
    Some((metadata.modified().ok()?, inode, metadata.len()))
}

fn config(files: &Files) -> Result<Arc<ServerConfig>, Error> {
    let Files { certificate, key, .. } = files;
    let pem = |flag, file: &Path, wanted| {
        let file = file.to_owned();
        move |source| Error::Pem {
            flag,
            file,
            wanted,
            source,
        }
    };
    let text = read("--tls-cert", certificate)?;
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    let chain = chain.and_then(|chain| match chain.is_empty() {
        true => Err(pem::Error::NoItemsFound),
        false => Ok(chain),
    });
    let chain = chain.map_err(pem("--tls-cert", certificate, "certificate in PEM"))?;
    let private = PrivateKeyDer::from_pem_slice(&read("--tls-key", key)?).map_err(pem(
        "--tls-key",
        key,
        "private key in PEM (PKCS#8, PKCS#1 or SEC1, not encrypted)",
    ))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, private));
    let mut config = config.map_err(|source| Error::Refused {
        certificate: certificate.clone(),
        key: key.clone(),
        source,
    })?;
    config.alpn_protocols = vec![HTTP2.to_vec(), HTTP1.to_vec()];
    Ok(Arc::new(config))
}

fn read(flag: &'static str, file: &Path) -> Result<Vec<u8>, Error> {
    let read = std::fs::metadata(file).and_then(|metadata| match metadata.len() <= LONGEST {
        true => std::fs::read(file),
        false => Err(std::io::Error::other("it is longer than 1 MiB")),
    });
    read.map_err(|source| Error::Read {
        flag,
        file: file.to_owned(),
        source,
    })
}

#[cfg(test)]
pub(crate) mod rig;
#[cfg(test)]
mod tests;
