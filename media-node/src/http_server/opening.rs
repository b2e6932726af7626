//! How a connection begins: what its first bytes are, and the TLS handshake.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::Bounds;
use super::patient::Patient;
use crate::meters::Refusal;
use crate::tls::{self, Certificates};

/// A connection as it was accepted.
pub type Plain = Patient<TcpStream>;
/// A connection under TLS. The patience is below, where bytes leave.
pub type Secure = TlsStream<Plain>;

/// A connection whose protocol is known.
pub(super) enum Opened {
    Http1(Plain),
    Http2(Plain),
    SecureHttp1(Box<Secure>),
    SecureHttp2(Box<Secure>),
}

/// Why a connection ended otherwise than in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// The peer left, or never spoke.
    Gone,
    /// It began to speak and did not go on.
    Slow,
    /// What it said is not the protocol.
    Malformed,
}

impl Fault {
    /// What it counts as.
    pub(super) fn refusal(self) -> Option<Refusal> {
        match self {
            Fault::Gone => None,
            Fault::Slow => Some(Refusal::Timeout),
            Fault::Malformed => Some(Refusal::Malformed),
        }
    }

    /// A wait is over: a peer that is merely idle is no slow one.
    pub(super) fn waited(asking: &AtomicBool) -> Self {
        match asking.load(Ordering::Relaxed) {
            true => Fault::Slow,
            false => Fault::Gone,
        }
    }
}

/// What first bytes say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum First {
    /// A TLS record of a handshake (RFC 8446 §5.1).
    Tls,
    /// The preface of HTTP/2 (RFC 9113 §3.4).
    Http2,
    /// Anything else: HTTP/1 answers what is no HTTP too.
    Http1,
}

const HANDSHAKE: u8 = 0x16;
/// As much of the preface as no request of HTTP/1 begins with.
const PREFACE: &[u8] = b"PRI ";

/// None while it can't be told.
fn first(bytes: &[u8], tls: bool) -> Option<First> {
    match bytes {
        [] => None,
        [HANDSHAKE, ..] if tls => Some(First::Tls),
        _ if bytes.starts_with(PREFACE) => Some(First::Http2),
        _ if PREFACE.starts_with(bytes) => None,
        _ => Some(First::Http1),
    }
}

/// Time between looks at a preface that comes byte by byte, which nobody sends who means well.
const AGAIN: Duration = Duration::from_millis(50);

/// Finds out the protocol, within `bounds.head` altogether. TLS is spoken once there is a certificate.
pub(super) async fn open(stream: TcpStream, tls: Option<&Certificates>, bounds: Bounds) -> Result<Opened, Fault> {
    let deadline = Instant::now() + bounds.head;
    let config = tls.and_then(Certificates::current);
    let spoke = AtomicBool::new(false);
    let first = match tokio::time::timeout_at(deadline, look(&stream, config.is_some(), &spoke)).await {
        Ok(first) => first?,
        Err(_) => return Err(Fault::waited(&spoke)),
    };
    let io = Patient::new(stream, bounds.write);
    match (first, config) {
        (First::Http2, _) => Ok(Opened::Http2(io)),
        (First::Tls, Some(config)) => {
            let handshake = TlsAcceptor::from(config).accept(io);
            match tokio::time::timeout_at(deadline, handshake).await {
                Ok(Ok(io)) => Ok(secure(io)),
                Ok(Err(error)) => Err(refused(&error)),
                Err(_) => Err(Fault::Slow),
            }
        }
        _ => Ok(Opened::Http1(io)),
    }
}

/// Looks at the first bytes and leaves them where they are.
async fn look(stream: &TcpStream, tls: bool, spoke: &AtomicBool) -> Result<First, Fault> {
    let mut bytes = [0; PREFACE.len()];
    let mut before = 0;
    loop {
        let count = stream.peek(&mut bytes).await.map_err(|_| Fault::Gone)?;
        if let Some(first) = first(&bytes[..count], tls) {
            return Ok(first);
        }
        if count == 0 {
            return Err(Fault::Gone);
        }
        spoke.store(true, Ordering::Relaxed);
        if count == before {
            tokio::time::sleep(AGAIN).await; // what has been looked at is still there: the next look would not wait
        }
        before = count;
    }
}

fn secure(io: Secure) -> Opened {
    let io = Box::new(io);
    match io.get_ref().1.alpn_protocol() {
        Some(tls::HTTP2) => Opened::SecureHttp2(io),
        _ => Opened::SecureHttp1(io),
    }
}

/// A peer that says what it does not like about us (an unknown authority, say) spoke well.
fn refused(error: &std::io::Error) -> Fault {
    tracing::debug!(%error, "no TLS connection");
    match error.get_ref().and_then(|source| source.downcast_ref()) {
        None | Some(rustls::Error::AlertReceived(_)) => Fault::Gone,
        Some(_) => Fault::Malformed,
    }
}

/// The flag of a connection that says whether its peer was last heard or last answered.
pub(super) trait Asking {
    /// It.
    fn asking(&self) -> Arc<AtomicBool>;
}

impl Asking for Plain {
    fn asking(&self) -> Arc<AtomicBool> {
        Patient::asking(self)
    }
}

impl Asking for Secure {
    fn asking(&self) -> Arc<AtomicBool> {
        self.get_ref().0.asking()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_bytes_tell_the_protocol_as_soon_as_they_can() {
        for (bytes, said) in [
            (&b""[..], None),
            (b"P", None),
            (b"PR", None),
            (b"PRI", None),
            (b"PRI ", Some(First::Http2)),
            (b"PRI * HTTP/2.0", Some(First::Http2)),
            (b"PROP", Some(First::Http1)),
            (b"PO", Some(First::Http1)),
            (b"G", Some(First::Http1)),
            (b"\x16\x03\x01", Some(First::Tls)),
            (b"\x80\x2e", Some(First::Http1)),
        ] {
            assert_eq!(first(bytes, true), said, "{bytes:?}");
        }
        assert_eq!(first(b"\x16\x03\x01", false), Some(First::Http1), "no TLS here");
    }
}
