//! What a node needs before anything of it runs: listeners, a name, files.

use std::io;
use std::net::SocketAddr;

use tokio::net::TcpListener;

use super::StartError;
use crate::listen;
use crate::ops::Identity;
use crate::settings::Settings;

/// A file limit below this is said in the log.
const FEW_FILES: u64 = 4_096;

/// A listener, or which flag asks for an address that can't be had.
pub(super) fn bind(what: &'static str, flag: &'static str, addr: SocketAddr) -> Result<TcpListener, StartError> {
    listen::bind(addr).map_err(|source| StartError::Listen {
        what,
        flag,
        addr,
        source,
    })
}

/// Who the node is, with the ports that it got.
pub(super) fn identity(settings: &Settings, rtmp: &TcpListener, http: &TcpListener) -> io::Result<Identity> {
    Ok(Identity {
        name: settings.name.clone(),
        role: settings.role,
        boot_id: format!("{:016x}", rand::random::<u64>()),
        app: settings.app.to_string(),
        rtmp_port: rtmp.local_addr()?.port(),
        http_port: http.local_addr()?.port(),
    })
}

/// One viewer is one descriptor. A limit that can't be raised caps the viewers; one far below what a node carries is worth
/// a warning.
pub(super) fn raise_file_limit(wanted: usize) {
    let wanted = wanted as u64 * 2 + 256;
    match rlimit::increase_nofile_limit(wanted) {
        Ok(limit) if limit >= wanted => {}
        Ok(limit) if limit < FEW_FILES => tracing::warn!(limit, "the file limit allows only few viewers"),
        Ok(limit) => tracing::debug!(limit, wanted, "the file limit caps the connections"),
        Err(error) => tracing::warn!(%error, wanted, "failed to raise the file limit"),
    }
}
