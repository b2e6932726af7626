//! Listening sockets: dual stack where there is IPv6, with a backlog for crowds and keepalive for the silent.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use tokio::net::{TcpListener, TcpStream};

/// Connections that the kernel holds until they are accepted.
const BACKLOG: i32 = 4_096;

/// A listener at `addr`. `[::]` takes IPv4 as well, and falls back to `0.0.0.0` where IPv6 is off.
pub fn bind(addr: SocketAddr) -> io::Result<TcpListener> {
    match bind_exactly(addr) {
        Err(error) if addr.ip().is_unspecified() && addr.is_ipv6() && error.kind() != io::ErrorKind::AddrInUse => {
            bind_exactly(SocketAddr::from((Ipv4Addr::UNSPECIFIED, addr.port())))
        }
        bound => bound,
    }
}

fn bind_exactly(addr: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
    if addr.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    socket.set_reuse_address(true)?; // a restart must not wait for old connections to time out
    socket.set_nonblocking(true)?;
    socket.bind(&addr.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// Unsent bytes that the kernel takes for one connection. What a slow viewer has not been sent stays with us, where its lag
/// is seen and skipped, instead of seconds of it in a send buffer.
#[cfg(target_os = "linux")]
const UNSENT: u32 = 128 << 10;

/// Sets what every accepted or opened connection gets: no delay, little unsent, and keepalive below the 4 minutes after
/// which cloud load balancers forget a silent connection.
pub fn prepare(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    #[cfg(target_os = "linux")]
    SockRef::from(stream).set_tcp_notsent_lowat(UNSENT)?;
    let keepalive = TcpKeepalive::new()
        .with_time(Duration::from_secs(60))
        .with_interval(Duration::from_secs(15));
    SockRef::from(stream).set_tcp_keepalive(&keepalive)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_unspecified_ipv6_address_takes_ipv4_too() {
        let listener = bind("[::]:0".parse().unwrap()).unwrap();
        let port = listener.local_addr().unwrap().port();
        let client = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        prepare(&client).unwrap();
    }

    #[tokio::test]
    async fn a_taken_port_is_an_error_and_no_reason_to_fall_back() {
        let first = bind("[::]:0".parse().unwrap()).unwrap();
        let error = bind(first.local_addr().unwrap()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    }
}
