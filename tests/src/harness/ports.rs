//! Free ports, below the range from which the system takes its own (so that no outgoing connection has one of them).

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::atomic::{AtomicU16, Ordering};

use anyhow::{Result, bail};

const FIRST: u16 = 20_000;
const COUNT: u16 = 12_000;

/// Handed out by this process so far; test processes that run at the same time start at different places.
static NEXT: AtomicU16 = AtomicU16::new(0);

/// An address on loopback that nothing listens on, never handed out twice by one process.
pub fn free() -> Result<SocketAddr> {
    let offset = (std::process::id() % 120) as u16 * 100;
    for _ in 0..COUNT {
        let port = FIRST + (offset + NEXT.fetch_add(1, Ordering::Relaxed) % COUNT) % COUNT;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        if TcpListener::bind(address).is_ok() {
            return Ok(address);
        }
    }
    bail!("no port is free from {FIRST} on")
}
