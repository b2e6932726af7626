//! The simple handshake (RTMP 1.0 §5.2) over a socket, within a deadline.

use std::io;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use rtmp_rs::protocol::{Handshake, HandshakeRole};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// The whole handshake may take this long.
pub const DEADLINE: Duration = Duration::from_secs(5);

/// Why a handshake failed.
#[derive(Debug, thiserror::Error)]
pub enum HandshakeError {
    /// It took longer than [`DEADLINE`].
    #[error("the handshake took longer than {} s", DEADLINE.as_secs())]
    Timeout,
    /// The peer closed before it had sent a byte: a health probe, most likely.
    #[error("closed before the handshake")]
    Bare,
    /// The socket failed.
    #[error("the connection broke in the handshake: {0}")]
    Io(#[from] io::Error),
    /// These bytes are no handshake.
    #[error("not an RTMP handshake: {0}")]
    Malformed(String),
}

/// Shakes hands as the server. `input` holds what came after the handshake when it returns.
pub async fn accept<S: AsyncRead + AsyncWrite + Unpin>(io: &mut S, input: &mut BytesMut) -> Result<(), HandshakeError> {
    run(io, HandshakeRole::Server, input).await
}

/// Shakes hands as the client. `input` holds what came after the handshake when it returns.
pub async fn connect<S: AsyncRead + AsyncWrite + Unpin>(
    io: &mut S,
    input: &mut BytesMut,
) -> Result<(), HandshakeError> {
    run(io, HandshakeRole::Client, input).await
}

async fn run<S: AsyncRead + AsyncWrite + Unpin>(
    io: &mut S,
    role: HandshakeRole,
    input: &mut BytesMut,
) -> Result<(), HandshakeError> {
    tokio::time::timeout(DEADLINE, exchange(io, role, input))
        .await
        .map_err(|_| HandshakeError::Timeout)?
}

async fn exchange<S: AsyncRead + AsyncWrite + Unpin>(
    io: &mut S,
    role: HandshakeRole,
    input: &mut BytesMut,
) -> Result<(), HandshakeError> {
    let mut handshake = Handshake::new(role);
    if let Some(hello) = handshake.generate_initial() {
        io.write_all(&hello).await?;
    }
    while !handshake.is_done() {
        // Versions above 31 are text of other protocols (RTMP 1.0 §5.2.2): refused by the first byte, not after 1,537.
        if let Some(&version) = input.first()
            && role == HandshakeRole::Server
            && handshake.bytes_needed() > C2
            && !(3..=31).contains(&version)
        {
            return Err(HandshakeError::Malformed(format!("version {version}")));
        }
        let needed = match role {
            HandshakeRole::Client => 1 + 2 * C2, // S0, S1 and S2 are taken at once
            HandshakeRole::Server => handshake.bytes_needed(),
        };
        if input.len() < needed {
            match io.read_buf(input).await? {
                0 if input.is_empty() => return Err(HandshakeError::Bare),
                0 => return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
                _ => continue,
            }
        }
        let mut bytes: Bytes = input.split_to(needed).freeze();
        let answer = handshake
            .process(&mut bytes)
            .map_err(|e| HandshakeError::Malformed(e.to_string()))?;
        if let Some(answer) = answer {
            io.write_all(&answer).await?;
        }
    }
    Ok(())
}

/// Length of C1, C2, S1 and S2.
const C2: usize = 1_536;

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn both_roles_shake_hands_and_keep_what_follows() {
        let (mut near, mut far) = tokio::io::duplex(10_000);
        let client = async {
            let mut input = BytesMut::new();
            connect(&mut near, &mut input).await.unwrap();
            near.write_all(b"after").await.unwrap();
        };
        let server = async {
            let mut input = BytesMut::new();
            accept(&mut far, &mut input).await.unwrap();
            while input.len() < 5 {
                far.read_buf(&mut input).await.unwrap();
            }
            assert_eq!(&input[..], b"after");
        };
        tokio::join!(client, server);
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_loris_is_dropped_at_the_deadline() {
        let (mut near, mut far) = tokio::io::duplex(10_000);
        let drip = async {
            for _ in 0..100 {
                if near.write_all(&[3]).await.is_err() {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
        };
        let server = async {
            let begun = tokio::time::Instant::now();
            let refused = accept(&mut far, &mut BytesMut::new()).await;
            assert!(matches!(refused, Err(HandshakeError::Timeout)));
            assert_eq!(begun.elapsed(), DEADLINE);
        };
        tokio::select! { () = drip => panic!("never refused"), () = server => {} }
    }

    #[tokio::test]
    async fn another_protocol_is_refused_by_its_first_byte() {
        let (mut near, mut far) = tokio::io::duplex(10_000);
        near.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
        let refused = accept(&mut far, &mut BytesMut::new()).await;
        assert!(matches!(refused, Err(HandshakeError::Malformed(_))));
    }

    #[tokio::test]
    async fn a_probe_that_only_connects_is_told_apart() {
        let (near, mut far) = tokio::io::duplex(64);
        drop(near);
        let refused = accept(&mut far, &mut BytesMut::new()).await;
        assert!(matches!(refused, Err(HandshakeError::Bare)));
    }
}
