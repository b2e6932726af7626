//! Leadership: one operator acts at a time. The Lease is the library's ([`kube_lease_manager`]); what is ours is the term that goes with
//! every command to a node, and the fence that a process which stood still for too long does not get past.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::coordination::v1::Lease;
use kube::api::{Patch, PatchParams};
use kube::{Api, Client};
use kube_lease_manager::{LeaseManager, LeaseManagerBuilder, LeaseManagerError};
use serde_json::json;
use thiserror::Error;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

/// A leader that does not renew the Lease for so long is succeeded.
pub const LEASE: Duration = Duration::from_secs(10);
/// It renews the Lease this long before.
const GRACE: Duration = Duration::from_secs(5);
/// How often a candidate looks whether the Lease is free.
const LOOK: Duration = Duration::from_secs(1);
/// How often a leader looks whose the Lease is.
const PULSE: Duration = Duration::from_secs(1);
/// Longest wait for the answer.
const ANSWER: Duration = Duration::from_secs(3);
/// Annotation of the Lease: the term of its last holder.
const TERM: &str = "headwater.dev/term";
/// Bits of a term that count the holders of one Lease.
const HOLDER_BITS: u32 = 20;
/// Longest wait for the Lease to be given back.
const RELEASE: Duration = Duration::from_secs(3);

/// Why there is no leadership.
#[derive(Debug, Error)]
pub enum Error {
    /// The library's word.
    #[error("failed to take part in the election by Lease {0}")]
    Lease(String, #[source] LeaseManagerError),
    /// The term can't be noted in the Lease.
    #[error("failed to take a term of Lease {0}")]
    Term(String, #[source] kube::Error),
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
    client: Client,
    leases: Api<Lease>,
    /// While this process leads: the task that renews the Lease, and gives it back at last.
    keeper: Option<JoinHandle<()>>,
    leave: CancellationToken,
    lost: CancellationToken,
}

impl Election {
    /// A place in the election; [`Election::won`] takes part in it.
    pub fn new(client: Client, candidate: Candidate) -> Self {
        Self {
            leases: Api::namespaced(client.clone(), &candidate.namespace),
            client,
            candidate,
            keeper: None,
            leave: CancellationToken::new(),
            lost: CancellationToken::new(),
        }
    }

    /// The library's handle, which sees the Lease as it is now.
    async fn manager(&self) -> Result<LeaseManager, Error> {
        let builder = LeaseManagerBuilder::new(self.client.clone(), self.candidate.lease.clone())
            .with_namespace(self.candidate.namespace.clone())
            .with_identity(self.candidate.identity.clone())
            .with_duration(LEASE.as_secs())
            .with_grace(GRACE.as_secs())
            // Two that find the Lease free are told apart by a conflict between their managers.
            .with_field_manager(manager_of(&self.candidate.identity));
        let built = builder.build().await;
        built.map_err(|error| Error::Lease(self.candidate.lease.clone(), error))
    }

    /// Completes when this process leads, with its term.
    pub async fn won(&mut self) -> u64 {
        loop {
            match self.stand().await {
                Ok(Some(term)) => {
                    info!(identity = self.candidate.identity, term, "this operator leads");
                    return term;
                }
                Ok(None) => {}
                Err(error) => {
                    let error = crate::fleet::link::chain(&error);
                    warn!(error, "failed to take part in the election; it is tried again");
                    tokio::time::sleep(LOOK).await;
                }
            }
        }
    }

    /// Stands for [`LOOK`]. With a term: this process leads.
    async fn stand(&mut self) -> Result<Option<u64>, Error> {
        // A handle goes by what it saw when it was made until that runs out: a Lease that is given back is seen by a new one.
        let manager = self.manager().await?;
        match tokio::time::timeout(LOOK, manager.changed()).await {
            Ok(Ok(true)) => {}
            Ok(Ok(false)) | Err(_) => return Ok(None),
            Ok(Err(error)) => return Err(Error::Lease(self.candidate.lease.clone(), error)),
        }
        let Some(term) = self.take_term().await? else {
            return Ok(None);
        };
        let (leave, lost) = (self.leave.clone(), self.lost.clone());
        self.keeper = Some(tokio::spawn(keep(manager, leave, lost)));
        Ok(Some(term))
    }

    /// Takes the next term, and notes it in the Lease; none if that is somebody else's after all.
    async fn take_term(&self) -> Result<Option<u64>, Error> {
        let failed = |error| Error::Term(self.candidate.lease.clone(), error);
        let lease = self.leases.get(&self.candidate.lease).await.map_err(failed)?;
        if held_until(&lease, &self.candidate.identity).is_none() {
            return Ok(None);
        }
        let term = next_term(&lease);
        let note = json!({"metadata": {
            "resourceVersion": lease.metadata.resource_version,
            "annotations": {TERM: term.to_string()},
        }});
        let params = PatchParams {
            field_manager: Some(super::apply::FIELD_MANAGER.to_owned()),
            ..PatchParams::default()
        };
        let noted = self
            .leases
            .patch(&self.candidate.lease, &params, &Patch::Merge(note))
            .await;
        noted.map_err(failed)?;
        Ok(Some(term))
    }

    /// Completes when this process leads no more.
    pub async fn lost(&self) {
        self.lost.cancelled().await;
        warn!(identity = self.candidate.identity, "this operator leads no more");
    }

    /// A fence for what is written while this process leads.
    pub fn fence(&self) -> Fence {
        Fence(Arc::new(FenceState {
            leases: self.leases.clone(),
            candidate: self.candidate.clone(),
            // It was ours a moment ago; the first look says for how long.
            ours: Mutex::new((Timestamp::now() + GRACE, Instant::now() + GRACE)),
            shut: AtomicBool::new(false),
        }))
    }

    /// Gives the Lease back, so that the next one leads at once.
    pub async fn leave(self) {
        self.leave.cancel();
        if let Some(keeper) = self.keeper
            && tokio::time::timeout(RELEASE, keeper).await.is_err()
        {
            warn!("the Lease was not given back in time; it runs out by itself");
        }
    }
}

/// Field manager of a candidate's part of the Lease: at most 128 characters, as the API server wants it.
fn manager_of(identity: &str) -> String {
    const LONGEST: usize = 128;
    let name = format!("{}-{identity}", super::apply::FIELD_MANAGER);
    name.chars().take(LONGEST).collect()
}

/// Renews the Lease until it is lost, or given back.
async fn keep(manager: LeaseManager, leave: CancellationToken, lost: CancellationToken) {
    loop {
        let changed = tokio::select! {
            biased;
            () = leave.cancelled() => break,
            changed = manager.changed() => changed,
        };
        match changed {
            Ok(true) => {}
            Ok(false) => {
                lost.cancel();
                return;
            }
            Err(error) => {
                warn!(%error, "failed to renew the Lease; it is tried again");
                tokio::time::sleep(PULSE).await;
            }
        }
    }
    match manager.release().await {
        Ok(()) => info!("the Lease was given back"),
        Err(error) => warn!(%error, "failed to give the Lease back; it runs out by itself"),
    }
}

/// Lets writes past for as long as the Lease is known to be ours: a process that stood still (stopped, starved, its machine suspended)
/// or that can't reach the API server writes nothing that was decided before. Cheap to clone.
#[derive(Clone)]
pub struct Fence(Arc<FenceState>);

struct FenceState {
    leases: Api<Lease>,
    candidate: Candidate,
    /// Until when the Lease is ours, in both clocks: the wall's goes on while a machine is suspended, the other is never set back.
    ours: Mutex<(Timestamp, Instant)>,
    shut: AtomicBool,
}

/// This process may lead no more, or is known not to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("it is not known whether this process still leads; nothing is written")]
pub struct Asleep;

impl Fence {
    /// Fails unless the Lease was last seen to be ours until later than now.
    ///
    /// # Errors
    /// [`Asleep`], until [`Fence::keep`] has seen it again, and for good once it is [shut](Fence::shut).
    pub fn check(&self) -> Result<(), Asleep> {
        let (wall, monotonic) = *self.0.ours.lock().unwrap_or_else(PoisonError::into_inner);
        let ours = Timestamp::now() < wall && Instant::now() < monotonic;
        match ours && !self.0.shut.load(Ordering::Acquire) {
            true => Ok(()),
            false => Err(Asleep),
        }
    }

    /// Nothing gets past from now on: another process leads, and runs that are under way here must not go on.
    pub fn shut(&self) {
        self.0.shut.store(true, Ordering::Release);
    }

    /// Looks again and again whose the Lease is. Completes when it is not ours.
    pub async fn keep(&self) {
        let mut pulse = tokio::time::interval(PULSE);
        pulse.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            pulse.tick().await;
            let asked = self.0.leases.get_opt(&self.0.candidate.lease);
            match tokio::time::timeout(ANSWER, asked).await {
                Ok(Ok(Some(lease))) => match held_until(&lease, &self.0.candidate.identity) {
                    Some(until) => self.ours_until(until),
                    None => return,
                },
                Ok(Ok(None)) => return,
                // As long as nobody can be asked, what was known runs out by itself.
                Ok(Err(error)) => debug!(%error, "failed to ask who leads"),
                Err(_) => debug!("nobody has said in time who leads"),
            }
        }
    }

    fn ours_until(&self, until: Timestamp) {
        let left = Duration::try_from(until.duration_since(Timestamp::now())).unwrap_or_default();
        let until = (until, Instant::now() + left.min(LEASE));
        *self.0.ours.lock().unwrap_or_else(PoisonError::into_inner) = until;
    }
}

/// The term of a Lease's new holder, higher than that of every holder before. The last one stands in the Lease; one that somebody has
/// deleted begins with the second in which it was made.
fn next_term(lease: &Lease) -> u64 {
    let made = lease
        .metadata
        .creation_timestamp
        .as_ref()
        .map(|time| time.0.as_second());
    let made = u64::try_from(made.unwrap_or(0)).unwrap_or(0);
    let annotations = lease.metadata.annotations.as_ref();
    let last = annotations.and_then(|annotations| annotations.get(TERM)?.parse::<u64>().ok());
    // Below 2^53 until the year 2242, so that every JSON reader keeps it whole.
    (made << HOLDER_BITS).max(last.unwrap_or(0)).saturating_add(1)
}

/// When the Lease of this holder runs out; none if it is somebody else's, or nobody's.
fn held_until(lease: &Lease, identity: &str) -> Option<Timestamp> {
    let spec = lease.spec.as_ref()?;
    let renewed = spec.renew_time.as_ref()?.0;
    let seconds = i64::from(spec.lease_duration_seconds.unwrap_or(0));
    let ours = spec.holder_identity.as_deref() == Some(identity);
    ours.then(|| {
        renewed
            .saturating_add(SignedDuration::from_secs(seconds))
            .unwrap_or(renewed)
    })
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::coordination::v1::LeaseSpec;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;

    use super::*;
    use fake_api::{Caller, FakeApi};

    fn fence() -> Fence {
        Fence(Arc::new(FenceState {
            leases: Api::default_namespaced(FakeApi::new().client(&Caller::default())),
            candidate: Candidate {
                namespace: "n".to_owned(),
                lease: "l".to_owned(),
                identity: "me".to_owned(),
            },
            ours: Mutex::new((Timestamp::UNIX_EPOCH, Instant::now())),
            shut: AtomicBool::new(false),
        }))
    }

    #[tokio::test]
    async fn nothing_gets_past_once_the_lease_has_run_out() {
        let fence = fence();
        assert_eq!(fence.check(), Err(Asleep), "it was never seen to be ours");
        fence.ours_until(Timestamp::now() + LEASE);
        assert_eq!(fence.check(), Ok(()));
        fence.ours_until(Timestamp::now() - LEASE);
        assert_eq!(fence.check(), Err(Asleep));
    }

    #[tokio::test]
    async fn a_fence_that_is_shut_lets_nothing_past_any_more() {
        let fence = fence();
        fence.ours_until(Timestamp::now() + LEASE);
        assert_eq!(fence.check(), Ok(()));
        fence.shut();
        assert_eq!(fence.check(), Err(Asleep));
    }

    #[test]
    fn a_term_is_higher_than_every_one_before_though_the_lease_was_deleted() {
        let lease = |made: i64, last: Option<u64>| {
            let mut lease = Lease::default();
            let made = Timestamp::from_second(made).unwrap();
            lease.metadata.creation_timestamp = Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(made));
            lease.metadata.annotations = last.map(|last| [(TERM.to_owned(), last.to_string())].into());
            lease
        };
        let first = next_term(&lease(1_000, None));
        let second = next_term(&lease(1_000, Some(first)));
        let after_deletion = next_term(&lease(1_001, None));
        assert!(first < second && second < after_deletion);
        assert_eq!(next_term(&Lease::default()), 1);
    }

    #[test]
    fn a_lease_is_ours_until_it_runs_out() {
        let lease = |holder: &str, renewed: i64| Lease {
            spec: Some(LeaseSpec {
                holder_identity: Some(holder.to_owned()),
                renew_time: Some(MicroTime(Timestamp::from_second(renewed).unwrap())),
                lease_duration_seconds: Some(10),
                ..LeaseSpec::default()
            }),
            ..Lease::default()
        };
        let until = Timestamp::from_second(105).unwrap();
        assert_eq!(held_until(&lease("me", 95), "me"), Some(until));
        assert_eq!(held_until(&lease("other", 95), "me"), None);
        assert_eq!(held_until(&Lease::default(), "me"), None, "nobody's");
    }

    #[test]
    fn two_candidates_have_two_managers_and_none_is_too_long() {
        assert_ne!(manager_of("a"), manager_of("b"));
        assert_eq!(manager_of(&"a".repeat(300)).len(), 128);
    }
}
