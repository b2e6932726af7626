//! Which loopback port each origin and pool gets: the defaults first, then the next free ones.
//!
//! A port stays with its resource for as long as the program runs, also while the resource is gone from the manifests, so
//! that an address which was told to somebody stays right.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use thiserror::Error;

use crate::fleet::ResourceId;

/// How many ports after a default one are tried.
const RANGE: u16 = 400;

/// What a port is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Purpose {
    /// An origin's RTMP.
    OriginRtmp,
    /// A pool's HTTP.
    PoolHttp,
    /// A pool's RTMP.
    PoolRtmp,
}

impl Purpose {
    /// Every purpose.
    pub const ALL: [Self; 3] = [Self::OriginRtmp, Self::PoolHttp, Self::PoolRtmp];

    /// The port that the first resource gets.
    pub fn default_port(self) -> u16 {
        match self {
            Self::OriginRtmp => 1935,
            Self::PoolHttp => 8080,
            Self::PoolRtmp => 1936,
        }
    }

    /// The protocol, for a person.
    pub fn protocol(self) -> &'static str {
        match self {
            Self::OriginRtmp | Self::PoolRtmp => "RTMP",
            Self::PoolHttp => "HTTP",
        }
    }
}

/// No port could be had.
#[derive(Debug, Error)]
#[error("found no free port for the {protocol} of {resource}: tried {first} to {last} on 127.0.0.1")]
pub struct NoPort {
    protocol: &'static str,
    resource: ResourceId,
    first: u16,
    last: u16,
}

/// A port as it was handed out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Handed {
    /// The address.
    pub address: SocketAddr,
    /// The default port, if this resource should have had it and another program has it.
    pub taken: Option<u16>,
}

/// The ports handed out so far.
#[derive(Debug, Default)]
pub struct Addresses {
    handed: BTreeMap<(ResourceId, Purpose), SocketAddr>,
    /// Ports of this program that are not for a resource.
    reserved: BTreeSet<u16>,
}

impl Addresses {
    /// Starts with ports that are never handed out.
    pub fn new(reserved: impl IntoIterator<Item = u16>) -> Self {
        Self {
            handed: BTreeMap::new(),
            reserved: reserved.into_iter().collect(),
        }
    }

    /// The resource's address for a purpose; the same each time.
    ///
    /// # Errors
    /// [`NoPort`] if none of the range is free.
    pub fn of(&mut self, resource: &ResourceId, purpose: Purpose) -> Result<Handed, NoPort> {
        if let Some(&address) = self.handed.get(&(resource.clone(), purpose)) {
            return Ok(Handed { address, taken: None });
        }
        let first = purpose.default_port();
        let last = first + RANGE;
        let mut taken = None;
        for port in first..=last {
            let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
            if self.is_ours(port, purpose) {
                continue;
            }
            if TcpListener::bind(address).is_err() {
                if port == first {
                    taken = Some(port);
                }
                continue;
            }
            self.handed.insert((resource.clone(), purpose), address);
            return Ok(Handed { address, taken });
        }
        Err(NoPort {
            protocol: purpose.protocol(),
            resource: resource.clone(),
            first,
            last,
        })
    }

    /// The address that was handed out for this, if one was.
    pub fn known(&self, resource: &ResourceId, purpose: Purpose) -> Option<SocketAddr> {
        self.handed.get(&(resource.clone(), purpose)).copied()
    }

    /// Forgets an address that turned out to be taken, so that the next one is tried.
    pub fn give_back(&mut self, resource: &ResourceId, purpose: Purpose) {
        self.handed.remove(&(resource.clone(), purpose));
    }

    /// Handed out, reserved, or the default of another purpose.
    fn is_ours(&self, port: u16, purpose: Purpose) -> bool {
        self.reserved.contains(&port)
            || self.handed.values().any(|address| address.port() == port)
            || Purpose::ALL
                .into_iter()
                .any(|other| other != purpose && other.default_port() == port)
    }
}

/// A loopback address with a port that nobody has at this moment.
///
/// # Errors
/// The system's, if it has none.
pub fn free() -> std::io::Result<SocketAddr> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_stays_with_its_resource_and_no_two_share_one() {
        let mut addresses = Addresses::new([9090]);
        let ids: Vec<_> = (0..4)
            .flat_map(|n| {
                [
                    ResourceId::origin("default", format!("o{n}")),
                    ResourceId::pool("default", format!("p{n}")),
                ]
            })
            .collect();
        let mut seen = BTreeSet::new();
        for id in &ids {
            for purpose in Purpose::ALL {
                let address = addresses.of(id, purpose).unwrap().address;
                assert!(seen.insert(address), "{address} was handed out twice");
                assert_eq!(addresses.of(id, purpose).unwrap().address, address);
            }
        }
        assert!(seen.iter().all(|address| address.port() != 9090));
    }

    #[test]
    fn a_default_port_that_is_taken_is_told_once_and_the_next_one_used() {
        let mut addresses = Addresses::default();
        // Whoever has the port, this test or another program: it is taken.
        let _held = TcpListener::bind((Ipv4Addr::LOCALHOST, 1936));
        let handed = addresses
            .of(&ResourceId::pool("default", "web"), Purpose::PoolRtmp)
            .unwrap();
        assert_eq!(handed.taken, Some(1936));
        assert!(handed.address.port() > 1936);
        let again = addresses
            .of(&ResourceId::pool("default", "web"), Purpose::PoolRtmp)
            .unwrap();
        assert_eq!(again.taken, None);
    }
}
