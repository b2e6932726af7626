//! Leadership: one operator acts at a time. The Lease is the library's ([`kube_lease_manager`]); what is ours is the term that goes with
//! every command to a node, and the fence that a process which stood still for too long does not get past.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use k8s_openapi::api::coordination::v1::Lease;
use kube::{Api, Client};
use kube_lease_manager::{LeaseManager, LeaseManagerBuilder, LeaseManagerError};
use thiserror::Error;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tracing::{info, warn};

/// A leader that does not renew the Lease for so long is succeeded.
pub const LEASE: Duration = Duration::from_secs(10);
/// It renews the Lease this long before.
const GRACE: Duration = Duration::from_secs(5);
/// How often the process notes that it is awake.
const PULSE: Duration = Duration::from_millis(500);
/// A process that was not awake for so long asks whether it still leads before it writes anything.
const ASLEEP: Duration = Duration::from_secs(4);
/// Longest wait for the Lease to be given back.
const RELEASE: Duration = Duration::from_secs(3);

/// Why there is no leadership.
#[derive(Debug, Error)]
pub enum Error {
    /// The library's word.
    #[error("failed to take part in the election by Lease {0}: {1}")]
    Lease(String, #[source] LeaseManagerError),
    /// The Lease can't be read.
    #[error("failed to read Lease {0}")]
    Read(String, #[source] kube::Error),
}

/// Which Lease, and who asks for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Namespace of the Lease.
    pub namespace: String,
    /// Its name.
    pub lease: String,
    /// This process, unlike any other: the pod's name.
    pub identity: String,
}

/// A candidate's place in the election.
pub struct Election {
    candidate: Candidate,
    leases: Api<Lease>,
    leads: watch::Receiver<bool>,
    manager: JoinHandle<Result<LeaseManager, LeaseManagerError>>,
}

impl Election {
    /// Enters the election.
    ///
    /// # Errors
    /// [`Error::Lease`], if the Lease can be neither read nor made.
    pub async fn enter(client: Client, candidate: Candidate) -> Result<Self, Error> {
        let manager = LeaseManagerBuilder::new(client.clone(), candidate.lease.clone())
            .with_namespace(candidate.namespace.clone())
            .with_identity(candidate.identity.clone())
            .with_duration(LEASE.as_secs())
            .with_grace(GRACE.as_secs())
            .with_field_manager(super::apply::FIELD_MANAGER)
            .build()
            .await
            .map_err(|error| Error::Lease(candidate.lease.clone(), error))?;
        let (leads, manager) = manager.watch().await;
        Ok(Self {
            leases: Api::namespaced(client, &candidate.namespace),
            candidate,
            leads,
            manager,
        })
    }

    /// Completes when this process leads, with its term: the Lease's count of transitions.
    ///
    /// # Errors
    /// [`Error::Read`].
    pub async fn won(&mut self) -> Result<u64, Error> {
        // The sender lives in the manager's task, which ends with this handle only.
        let _ = self.leads.wait_for(|leads| *leads).await;
        let lease = self.read().await?;
        let transitions = lease.spec.and_then(|spec| spec.lease_transitions).unwrap_or(0);
        let term = u64::try_from(transitions).unwrap_or(0);
        info!(identity = self.candidate.identity, term, "this operator leads");
        Ok(term)
    }

    /// Completes when this process leads no more.
    pub async fn lost(&mut self) {
        let _ = self.leads.wait_for(|leads| !*leads).await;
        warn!(identity = self.candidate.identity, "this operator leads no more");
    }

    /// A fence for what is written while this process leads.
    pub fn fence(&self) -> Fence {
        Fence(Arc::new(FenceState {
            leases: self.leases.clone(),
            candidate: self.candidate.clone(),
            awake: Mutex::new(Instant::now()),
            in_doubt: AtomicBool::new(false),
            shut: AtomicBool::new(false),
        }))
    }

    /// Gives the Lease back, so that the next one leads at once.
    pub async fn leave(self) {
        drop(self.leads);
        match tokio::time::timeout(RELEASE, self.manager).await {
            Ok(Ok(Ok(_))) => info!("the Lease was given back"),
            Ok(Ok(Err(error))) => warn!(%error, "failed to give the Lease back; it runs out by itself"),
            Ok(Err(_)) | Err(_) => warn!("the Lease was not given back in time; it runs out by itself"),
        }
    }

    async fn read(&self) -> Result<Lease, Error> {
        let read = self.leases.get(&self.candidate.lease).await;
        read.map_err(|error| Error::Read(self.candidate.lease.clone(), error))
    }
}

/// Keeps a process that stood still (stopped, starved, its machine suspended) from writing what was decided before. Cheap to clone.
#[derive(Clone)]
pub struct Fence(Arc<FenceState>);

struct FenceState {
    leases: Api<Lease>,
    candidate: Candidate,
    awake: Mutex<Instant>,
    in_doubt: AtomicBool,
    shut: AtomicBool,
}

/// This process stood still for too long and may lead no more, or is known not to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("this process stood still for too long, or another one leads; nothing is written")]
pub struct Asleep;

impl Fence {
    /// Fails unless the process was awake all the time until now.
    ///
    /// # Errors
    /// [`Asleep`], until [`Fence::keep`] has asked, and for good once it is [shut](Fence::shut).
    pub fn check(&self) -> Result<(), Asleep> {
        if self.0.shut.load(Ordering::Acquire) {
            return Err(Asleep);
        }
        let awake = *self.0.awake.lock().unwrap_or_else(PoisonError::into_inner);
        if awake.elapsed() >= ASLEEP {
            self.0.in_doubt.store(true, Ordering::Release);
        }
        match self.0.in_doubt.load(Ordering::Acquire) {
            true => Err(Asleep),
            false => Ok(()),
        }
    }

    /// Nothing gets past from now on: another process leads, and runs that are under way here must not go on.
    pub fn shut(&self) {
        self.0.shut.store(true, Ordering::Release);
    }

    /// Notes that the process is awake, and after a sleep asks the API server who leads. Completes when it is somebody else.
    pub async fn keep(&self) {
        let mut pulse = tokio::time::interval(PULSE);
        pulse.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            pulse.tick().await;
            let in_doubt = self.check().is_err();
            if in_doubt {
                match self.0.leases.get(&self.0.candidate.lease).await {
                    Ok(lease) if is_held_by(&lease, &self.0.candidate.identity, jiff::Timestamp::now()) => {
                        info!("this process stood still for a while, and still leads");
                    }
                    Ok(_) => return,
                    // As long as nobody can be asked nobody can take over either.
                    Err(error) => {
                        warn!(%error, "failed to ask who leads; nothing is written meanwhile");
                        continue;
                    }
                }
            }
            *self.0.awake.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
            if in_doubt {
                self.0.in_doubt.store(false, Ordering::Release);
            }
        }
    }
}

/// True if the Lease is this holder's and has not run out.
fn is_held_by(lease: &Lease, identity: &str, now: jiff::Timestamp) -> bool {
    let Some(spec) = &lease.spec else { return false };
    let renewed = spec.renew_time.as_ref().map(|time| time.0);
    let fresh = renewed.is_some_and(|renewed| {
        let seconds = i64::from(spec.lease_duration_seconds.unwrap_or(0));
        now.duration_since(renewed) < jiff::SignedDuration::from_secs(seconds)
    });
    spec.holder_identity.as_deref() == Some(identity) && fresh
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::coordination::v1::LeaseSpec;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;

    use super::*;
    use crate::kubernetes::fake_api::{Caller, FakeApi};

    #[tokio::test]
    async fn a_fence_that_is_shut_lets_nothing_past_any_more() {
        let fence = Fence(Arc::new(FenceState {
            leases: Api::default_namespaced(FakeApi::new().client(&Caller::default())),
            candidate: Candidate {
                namespace: "n".to_owned(),
                lease: "l".to_owned(),
                identity: "me".to_owned(),
            },
            awake: Mutex::new(Instant::now()),
            in_doubt: AtomicBool::new(false),
            shut: AtomicBool::new(false),
        }));
        assert_eq!(fence.check(), Ok(()));
        fence.shut();
        assert_eq!(fence.check(), Err(Asleep));
    }

    #[test]
    fn a_lease_is_ours_while_it_has_not_run_out() {
        let now = jiff::Timestamp::from_second(100).unwrap();
        let lease = |holder: &str, renewed: i64| Lease {
            spec: Some(LeaseSpec {
                holder_identity: Some(holder.to_owned()),
                renew_time: Some(MicroTime(jiff::Timestamp::from_second(renewed).unwrap())),
                lease_duration_seconds: Some(10),
                ..LeaseSpec::default()
            }),
            ..Lease::default()
        };
        assert!(is_held_by(&lease("me", 95), "me", now));
        assert!(!is_held_by(&lease("me", 90), "me", now), "it has run out");
        assert!(!is_held_by(&lease("other", 95), "me", now));
        assert!(!is_held_by(&Lease::default(), "me", now));
    }
}
