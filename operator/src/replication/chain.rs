//! The way from a pool up to its origin.

use std::collections::BTreeSet;

use super::{Origin, Pool, Resources, Verdict, matches_any};
use crate::fleet::ResourceId;

/// A pool, the pools above it, and the origin at the top.
pub(super) struct Chain<'a> {
    /// The pool itself first.
    pools: Vec<&'a Pool>,
    /// The origin's id.
    pub(super) origin_id: &'a ResourceId,
    /// The origin.
    pub(super) origin: &'a Origin,
}

impl<'a> Chain<'a> {
    /// The way up from `id`, or why there is none.
    pub(super) fn of(id: &'a ResourceId, resources: &'a Resources) -> Result<Self, Verdict> {
        let mut seen = BTreeSet::new();
        let mut pools = Vec::new();
        let mut at = id;
        while let Some(pool) = resources.pools.get(at) {
            if !seen.insert(at) {
                return Err(Verdict::UpstreamCycle);
            }
            pools.push(pool);
            at = &pool.upstream;
        }
        if resources.unreadable.contains(at) {
            return Err(Verdict::UpstreamInvalid);
        }
        let origin = resources.origins.get(at).ok_or(Verdict::UpstreamNotFound)?;
        if origin.suspended || pools.iter().skip(1).any(|pool| pool.suspended) {
            return Err(Verdict::UpstreamSuspended);
        }
        Ok(Self {
            pools,
            origin_id: at,
            origin,
        })
    }

    /// The pools above it, the nearest first.
    pub(super) fn above(&self) -> impl Iterator<Item = &'a Pool> {
        self.pools.iter().skip(1).copied()
    }

    /// Every tier's patterns let this stream through.
    pub(super) fn lets_through(&self, name: &str) -> bool {
        self.pools.iter().all(|pool| matches_any(&pool.streams, name))
    }
}
