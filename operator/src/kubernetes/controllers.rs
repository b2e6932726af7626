//! The controllers of both kinds: `observe → validate → decide → apply → report`, once for each resource that was marked.
//!
//! Level-triggered: a run looks at what is, not at what happened. A run that fails is repeated with a back-off of its own; one that
//! went well is repeated after a while as a safety net.

mod origin;
mod pool;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::{Stream, StreamExt, stream};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Pod, Secret};
use kube::runtime::controller::{Action, Config, Controller};
use kube::runtime::reflector::{ObjectRef, Store};
use kube::{Resource, ResourceExt};
use rand::RngExt;
use thiserror::Error;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::apply::{self, Writer};
use super::cluster::Intents;
use super::decide::token::{self, TokenSecret};
use super::decide::{Owner, Surroundings, names};
use super::events::Teller;
use super::marks::{Mark, Marks};
use super::observe::Stores;
use super::report::pace::{Due, FIGURES, TOGETHER};
use crate::api::{EdgePool, StreamOrigin};
use crate::control::Snapshot;
use crate::fleet::{ResourceId, ResourceKind};
use crate::metrics::Metrics;
use crate::platform::{Happening, HappeningReason};

/// Runs at a time, of each kind.
const CONCURRENCY: u16 = 16;
/// A resource that nothing has happened to is looked at again after about this long.
const SAFETY_NET: Duration = Duration::from_secs(300);
/// How long what was written may take to be seen.
const UNSEEN: Duration = Duration::from_secs(30);
/// Wait before the first repetition of a run that failed; doubled each time.
const FIRST_RETRY: Duration = Duration::from_millis(200);
/// Longest wait before a repetition.
const LAST_RETRY: Duration = Duration::from_secs(30);
/// A status that is not touched while a new leader learns is looked at again after this long.
const LEARNS: Duration = Duration::from_secs(1);

/// Why a run failed; it is repeated.
#[derive(Debug, Error)]
pub enum Error {
    /// What was decided could not be made.
    #[error("failed to apply what was decided")]
    Apply(#[source] apply::Error),
    /// The status could not be written.
    #[error("failed to report the status")]
    Report(#[source] apply::Error),
}

impl Error {
    fn cause(&self) -> &apply::Error {
        match self {
            Self::Apply(cause) | Self::Report(cause) => cause,
        }
    }
}

/// What every run works with.
pub struct Context {
    /// What the API server holds.
    pub stores: Stores,
    /// What the control loop wants.
    pub intents: Intents,
    /// The way to the API server.
    pub writer: Writer,
    /// What decisions go by.
    pub around: Surroundings,
    /// What the control loop last reported.
    pub snapshots: watch::Receiver<Arc<Snapshot>>,
    /// What people are told.
    pub teller: Teller,
    /// Counts.
    pub metrics: Metrics,
    memory: Mutex<BTreeMap<ResourceId, Memory>>,
}

/// What is remembered of a resource. Lost without harm.
#[derive(Debug, Default)]
struct Memory {
    /// Runs that failed, one after the other.
    failures: u32,
    /// When its status was last written.
    reported: Option<Instant>,
    /// The trouble that people were last told of.
    told: Option<String>,
    /// The control Secret as it was last decided, and the version of the one that this was decided from.
    token: Option<(Option<String>, TokenSecret)>,
    /// The control Secret as it was last decided.
    last_token: Option<TokenSecret>,
}

impl Context {
    /// A context in which nothing has happened yet.
    pub fn new(
        stores: Stores,
        intents: Intents,
        writer: Writer,
        around: Surroundings,
        snapshots: watch::Receiver<Arc<Snapshot>>,
        teller: Teller,
        metrics: Metrics,
    ) -> Self {
        Self {
            stores,
            intents,
            writer,
            around,
            snapshots,
            teller,
            metrics,
            memory: Mutex::default(),
        }
    }

    fn remember<T>(&self, resource: &ResourceId, work: impl FnOnce(&mut Memory) -> T) -> T {
        let mut memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        work(memory.entry(resource.clone()).or_default())
    }

    /// Forgets resources that are gone: nobody tells of a deletion that a watch has missed.
    fn forget_all_but(&self, origins: &[Arc<StreamOrigin>], pools: &[Arc<EdgePool>]) {
        let origins = origins.iter().map(|it| id_of(it.as_ref(), ResourceKind::StreamOrigin));
        let pools = pools.iter().map(|it| id_of(it.as_ref(), ResourceKind::EdgePool));
        let there: BTreeSet<ResourceId> = origins.chain(pools).collect();
        let memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        let gone: Vec<ResourceId> = memory.keys().filter(|id| !there.contains(id)).cloned().collect();
        drop(memory);
        gone.iter().for_each(|id| self.forget(id));
    }

    /// Its last run failed: it is repeated after a wait, which nothing that is the same as then cuts short.
    fn backs_off(&self, resource: &ResourceId) -> bool {
        let memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        memory.get(resource).is_some_and(|memory| memory.failures > 0)
    }

    /// Forgets a resource that is gone.
    fn forget(&self, resource: &ResourceId) {
        self.memory
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(resource);
        self.writer.forget(resource);
    }

    /// Keeps the control Secret of a resource. When to look at it again.
    async fn keep_token(&self, resource: &ResourceId, owner: &Owner) -> Result<Timestamp, apply::Error> {
        let name = names::control_secret(resource);
        let live: Option<Arc<Secret>> = Stores::object(&self.stores.secrets, resource, &name);
        let version = live.as_deref().and_then(ResourceExt::resource_version);
        let seen = live.as_deref().map(TokenSecret::from);
        // What was decided and is not seen yet holds: two looks at one Secret must not make two tokens, and no step may go on from
        // one that was never written. One that somebody has deleted comes back as it was: its pods know no other.
        let (pending, last) = self.remember(resource, |memory| {
            let pending = memory.token.take().filter(|(from, _)| *from == version);
            (pending.map(|(_, secret)| secret), memory.last_token.clone())
        });
        let held = pending.or_else(|| last.filter(|_| seen.is_none()));
        let (secret, changes, again) = match held {
            Some(secret) => (secret, true, Timestamp::now() + UNSEEN),
            None => {
                let verdict = token::step(seen.as_ref(), Timestamp::now(), fresh_token);
                if verdict.changes() {
                    info!(%resource, step = %verdict.step, "the control token's Secret changes");
                }
                let changes = verdict.changes();
                (verdict.secret, changes, verdict.again)
            }
        };
        self.remember(resource, |memory| {
            memory.last_token = Some(secret.clone());
            memory.token = changes.then(|| (version, secret.clone()));
        });
        let wanted = secret.object(resource, owner);
        self.writer.apply(&wanted, live.as_deref()).await?;
        Ok(again)
    }

    /// Whether a status that differs so much from the one that stands is to be written now; else when to look again.
    fn due(&self, resource: &ResourceId, due: Due) -> Result<(), Option<Duration>> {
        let since = self.remember(resource, |memory| memory.reported.map(|reported| reported.elapsed()));
        let wait = match due {
            Due::No => return Err(None),
            Due::Now => return Ok(()),
            Due::WithOthers => TOGETHER,
            Due::WithFigures => FIGURES,
        };
        match since.and_then(|since| wait.checked_sub(since)) {
            None | Some(Duration::ZERO) => Ok(()),
            Some(left) => Err(Some(left)),
        }
    }

    fn reported(&self, resource: &ResourceId) {
        self.remember(resource, |memory| memory.reported = Some(Instant::now()));
    }

    /// Tells people of a trouble, once.
    fn tell(&self, resource: &ResourceId, trouble: Option<(HappeningReason, String)>) {
        let note = trouble.as_ref().map(|(_, note)| note.clone());
        let new = self.remember(resource, |memory| {
            let new = memory.told != note;
            memory.told = note;
            new
        });
        if let Some((reason, note)) = trouble.filter(|_| new) {
            warn!(event = %reason, %resource, note, "a resource is in trouble");
            let happening = Happening {
                resource: resource.clone(),
                reason,
                note,
            };
            if !self.teller.tell(happening) {
                self.metrics.reconcile_errors.with_label_values(&["event"]).inc();
            }
        }
    }
}

/// Runs both controllers until `stop`, and lets what runs then come to its end.
pub async fn run(context: Arc<Context>, marks: &Marks, stop: &CancellationToken) {
    let origins = controller::<StreamOrigin>(context.stores.origins.clone(), marks, ResourceKind::StreamOrigin, stop)
        .run(origin::reconcile, retry::<StreamOrigin>, context.clone())
        .for_each(|_| async {});
    let pools = controller::<EdgePool>(context.stores.pools.clone(), marks, ResourceKind::EdgePool, stop)
        .run(pool::reconcile, retry::<EdgePool>, context.clone())
        .for_each(|_| async {});
    let reports = watch_reports(context.clone(), marks, stop);
    tokio::join!(origins, pools, reports);
}

fn controller<K>(store: Store<K>, marks: &Marks, kind: ResourceKind, stop: &CancellationToken) -> Controller<K>
where
    K: Resource<DynamicType = ()> + Clone + std::fmt::Debug + Send + Sync + serde::de::DeserializeOwned + 'static,
{
    let marked = marked(marks, kind, store.clone());
    // Everything comes by marks: the stores' own watches set them.
    Controller::for_shared_stream(stream::pending(), store)
        .with_config(Config::default().concurrency(CONCURRENCY))
        .reconcile_on(marked)
        .graceful_shutdown_on(stop.clone().cancelled_owned())
}

/// The marks as references to objects.
fn marked<K>(marks: &Marks, kind: ResourceKind, store: Store<K>) -> impl Stream<Item = ObjectRef<K>> + Send + 'static
where
    K: Resource<DynamicType = ()> + Clone + Send + Sync + 'static,
{
    marks.stream(kind).flat_map(move |mark| {
        let references = match mark {
            Mark::One(resource) => vec![ObjectRef::new(&resource.name).within(&resource.namespace)],
            Mark::All => store
                .state()
                .iter()
                .map(|object| ObjectRef::from_obj(object.as_ref()))
                .collect(),
        };
        stream::iter(references)
    })
}

/// Marks resources whose status differs from what the control loop last reported.
async fn watch_reports(context: Arc<Context>, marks: &Marks, stop: &CancellationToken) {
    let mut snapshots = context.snapshots.clone();
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            changed = snapshots.changed() => if changed.is_err() { return },
        }
        let snapshot = snapshots.borrow_and_update().clone();
        let (origins, pools) = (context.stores.origins.state(), context.stores.pools.state());
        context.forget_all_but(&origins, &pools);
        let due_origins = origins.iter().filter_map(|origin| {
            let id = id_of(origin.as_ref(), ResourceKind::StreamOrigin);
            let due = origin::due(&context, &snapshot, origin);
            (!context.backs_off(&id) && context.due(&id, due).is_ok()).then_some(id)
        });
        let due_pools = pools.iter().filter_map(|pool| {
            let id = id_of(pool.as_ref(), ResourceKind::EdgePool);
            let due = pool::due(&context, &snapshot, pool);
            let looks = context.due(&id, due).is_ok() || pool::unguarded(&context, &snapshot, &id);
            (!context.backs_off(&id) && looks).then_some(id)
        });
        due_origins.chain(due_pools).for_each(|id| marks.one(id));
    }
}

/// True while a new leader has not heard the nodes that ran before it: what its predecessor said of them holds.
fn still_learns(snapshot: &Snapshot, generation: Option<i64>, observed: Option<i64>) -> bool {
    observed.is_some() && observed == generation && (snapshot.at.is_none() || snapshot.learning)
}

/// What is done about a run that failed.
fn retry<K>(object: Arc<K>, error: &Error, context: Arc<Context>) -> Action
where
    K: Resource<DynamicType = ()>,
{
    let kind = match K::kind(&()).as_ref() {
        "StreamOrigin" => ResourceKind::StreamOrigin,
        _ => ResourceKind::EdgePool,
    };
    let resource = id_of(object.as_ref(), kind);
    let failures = context.remember(&resource, |memory| {
        memory.failures = memory.failures.saturating_add(1);
        memory.failures
    });
    let cause = error.cause();
    context
        .metrics
        .reconcile_errors
        .with_label_values(&[cause.reason()])
        .inc();
    match failures {
        1 => warn!(%resource, error = cause.describe(), "{error}; it is tried again"),
        _ => debug!(%resource, failures, error = cause.describe(), "{error} again"),
    }
    Action::requeue(back_off(failures, rand::rng().random()))
}

/// How long to wait after so many failures; `random` in 0..1 spreads many resources.
fn back_off(failures: u32, random: f64) -> Duration {
    let whole = FIRST_RETRY
        .saturating_mul(1 << failures.saturating_sub(1).min(16))
        .min(LAST_RETRY);
    whole.mul_f64(0.5 + random / 2.0)
}

/// When to look again after a run that went well: for the token's sake, a figure's, or as a safety net.
fn again(context: &Context, resource: &ResourceId, token: Timestamp, figures: Option<Duration>) -> Action {
    context.remember(resource, |memory| memory.failures = 0);
    let until_token = Duration::try_from(token.duration_since(Timestamp::now())).unwrap_or_default();
    let net = SAFETY_NET.mul_f64(0.8 + rand::rng().random::<f64>() * 0.4);
    // A token that is due now was looked at a moment too early.
    let wait = net
        .min(until_token.max(Duration::from_secs(1)))
        .min(figures.unwrap_or(net));
    Action::requeue(wait)
}

fn id_of<K: Resource>(object: &K, kind: ResourceKind) -> ResourceId {
    ResourceId {
        namespace: object.namespace().unwrap_or_else(|| "default".to_owned()),
        kind,
        name: object.name_any(),
    }
}

/// Why a pod does not run, in the kubelet's or the scheduler's word; none if it does, or nobody has said.
fn problem_of(pod: &Pod) -> Option<String> {
    let status = pod.status.as_ref()?;
    let containers = status.container_statuses.iter().flatten();
    let mut waiting = containers.filter_map(|container| container.state.as_ref()?.waiting.as_ref());
    if let Some(waiting) = waiting.next() {
        let reason = waiting.reason.as_deref().unwrap_or("waiting");
        // Every pod passes through these two.
        if !matches!(reason, "ContainerCreating" | "PodInitializing") {
            return Some(reason.to_owned());
        }
    }
    let unscheduled = status
        .conditions
        .iter()
        .flatten()
        .find(|condition| condition.type_ == "PodScheduled" && condition.status == "False")?;
    let words = unscheduled.message.as_deref().or(unscheduled.reason.as_deref());
    Some(words.unwrap_or("no cluster node takes it").to_owned())
}

/// A new control token: 256 random bits in URL-safe base64.
fn fresh_token() -> String {
    use base64::Engine;
    let bytes: [u8; 32] = rand::rng().random();
    base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(bytes)
}

#[cfg(test)]
mod tests {
    use tokio_util::task::TaskTracker;

    use super::*;
    use crate::kubernetes::observe::{Scope, Told};
    use fake_api::{Caller, FakeApi};

    #[test]
    fn the_back_off_doubles_up_to_its_longest() {
        assert_eq!(back_off(1, 1.0), FIRST_RETRY);
        assert_eq!(back_off(2, 1.0), FIRST_RETRY * 2);
        assert_eq!(back_off(40, 1.0), LAST_RETRY);
        assert_eq!(back_off(1, 0.0), FIRST_RETRY / 2);
    }

    fn context(api: &FakeApi) -> Context {
        let client = api.client(&Caller::default());
        let told = Told {
            marks: Marks::default(),
            wishes: Arc::default(),
            nodes: Arc::default(),
        };
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        let around = Surroundings {
            image: "media-node:test".to_owned(),
            pull_policy: None,
            pull_secrets: Vec::new(),
            operator_namespace: "n".to_owned(),
            metrics_from: Vec::new(),
        };
        Context::new(
            Stores::start(&client, &Scope::Cluster, &told, &tasks, &stop),
            Intents::default(),
            Writer::new(client, None),
            around,
            watch::channel(Arc::default()).1,
            Teller::new(tokio::sync::mpsc::channel(1).0, Default::default()),
            Metrics::new().unwrap(),
        )
    }

    #[tokio::test(start_paused = true)]
    async fn figures_are_written_at_most_every_ten_seconds_and_conditions_at_once() {
        let context = context(&FakeApi::new());
        let pool = ResourceId::pool("n", "web");
        assert_eq!(context.due(&pool, Due::WithFigures), Ok(()));
        context.reported(&pool);
        assert_eq!(context.due(&pool, Due::WithFigures), Err(Some(FIGURES)));
        assert_eq!(context.due(&pool, Due::Now), Ok(()));
        assert_eq!(context.due(&pool, Due::No), Err(None));
        assert_eq!(context.due(&pool, Due::WithOthers), Err(Some(TOGETHER)));
        tokio::time::advance(TOGETHER).await;
        assert_eq!(context.due(&pool, Due::WithOthers), Ok(()));
        tokio::time::advance(FIGURES - TOGETHER - Duration::from_secs(1)).await;
        assert_eq!(context.due(&pool, Due::WithFigures), Err(Some(Duration::from_secs(1))));
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(context.due(&pool, Due::WithFigures), Ok(()));
    }

    #[test]
    fn a_fresh_token_is_like_no_other() {
        assert_ne!(fresh_token(), fresh_token());
        assert_eq!(fresh_token().len(), 43);
    }
}
