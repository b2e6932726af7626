//! Ports for children that have not bound them yet: no two children are ever given the same one.

use std::collections::BTreeSet;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::Ports;

/// Ports of children that run or are about to. Between the moment at which a port is picked and that at which the child binds it
/// the system would give it to anybody, another child included, whose control API would then be taken for this one's.
static CLAIMED: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());

/// Picks that may turn out to be claimed before that counts as an error.
const TRIES: usize = 100;

/// A child's ports, kept from other children of this program until dropped.
#[derive(Debug)]
pub(super) struct Claim {
    pub(super) ports: Ports,
    picked: Vec<u16>,
}

impl Claim {
    /// Picks free ports; RTMP is `rtmp` if that is given.
    pub(super) fn new(rtmp: Option<SocketAddr>) -> io::Result<Self> {
        // Listeners are held until all are picked, so that the ports differ.
        let mut held = Vec::new();
        let nowhere = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let mut claim = Self {
            ports: Ports {
                rtmp: rtmp.unwrap_or(nowhere),
                http: nowhere,
                ops: nowhere,
            },
            picked: Vec::new(),
        };
        claim.ports.http = claim.pick(&mut held)?;
        claim.ports.ops = claim.pick(&mut held)?;
        if rtmp.is_none() {
            claim.ports.rtmp = claim.pick(&mut held)?;
        }
        Ok(claim)
    }

    fn pick(&mut self, held: &mut Vec<TcpListener>) -> io::Result<SocketAddr> {
        for _ in 0..TRIES {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
            let address = listener.local_addr()?;
            held.push(listener);
            if claimed().insert(address.port()) {
                self.picked.push(address.port());
                return Ok(address);
            }
        }
        Err(io::Error::other("every free port that was found is another child's"))
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let mut claimed = claimed();
        for port in &self.picked {
            claimed.remove(port);
        }
    }
}

fn claimed() -> MutexGuard<'static, BTreeSet<u16>> {
    CLAIMED.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two children were started at the same moment with one ops port, and the origin was taken for an edge.
    #[test]
    fn ports_that_nobody_has_bound_yet_are_given_once() {
        let claims: Vec<Claim> = (0..2_000).map(|_| Claim::new(None).unwrap()).collect();
        let ports: BTreeSet<u16> = claims
            .iter()
            .flat_map(|claim| [claim.ports.rtmp, claim.ports.http, claim.ports.ops])
            .map(|address| address.port())
            .collect();
        assert_eq!(ports.len(), 3 * claims.len());
        let given = claims[0].ports.ops.port();
        assert!(claimed().contains(&given));
        drop(claims);
        assert!(!claimed().contains(&given), "given back");
    }
}
