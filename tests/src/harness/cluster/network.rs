//! Loopback addresses of one cluster: 127.N.0.0/16, of which the upper half are Services and the lower half pods.

use std::net::{Ipv4Addr, TcpListener};
use std::sync::atomic::{AtomicU16, Ordering};

use anyhow::{Context, Result};

/// Port that the claim of a number is held on.
const CLAIM: u16 = 19_999;

/// A number that no other cluster on this machine has, and the addresses under it.
#[derive(Debug)]
pub struct Network {
    number: u8,
    next: AtomicU16,
    _claim: TcpListener,
}

impl Network {
    /// Claims a number that is free.
    pub fn claim() -> Result<Self> {
        let first = std::process::id() % 250;
        let mut numbers = (0..250).map(|step| (first + step) % 250 + 2);
        let claimed = numbers.find_map(|number| {
            let number = u8::try_from(number).ok()?;
            let claim = TcpListener::bind((Ipv4Addr::new(127, number, 127, 254), CLAIM)).ok()?;
            Some((number, claim))
        });
        let (number, claim) = claimed.context("no range of loopback addresses is free")?;
        Ok(Self {
            number,
            next: AtomicU16::new(0),
            _claim: claim,
        })
    }

    /// Ranges of the Services' addresses: IPv4, which are served, and IPv6, so that a Service may be dual stack.
    pub fn services(&self) -> String {
        format!("127.{0}.128.0/17,fd00:{0}::/112", self.number)
    }

    /// An address for a pod; handed out in turn, again after 30,000 pods.
    pub fn pod(&self) -> Ipv4Addr {
        let count = self.next.fetch_add(1, Ordering::Relaxed) % (120 * 250);
        let (high, low) = (count / 250, count % 250);
        let byte = |value: u16| u8::try_from(value).unwrap_or_default();
        Ipv4Addr::new(127, self.number, byte(high), byte(low + 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_clusters_never_share_an_address() {
        let (one, other) = (Network::claim().unwrap(), Network::claim().unwrap());
        assert_ne!(one.services(), other.services());
        let mut seen: Vec<_> = (0..1_000).map(|_| one.pod()).collect();
        assert!(
            seen.iter()
                .all(|address| address.is_loopback() && address.octets()[2] < 128)
        );
        assert!(!seen.contains(&other.pod()));
        seen.sort();
        seen.dedup();
        assert_eq!(seen.len(), 1_000);
    }
}
