//! `headwater operator`: the control plane in a Kubernetes cluster.
//!
//! ```text
//!                 API server ─watch─▶ observe: Stores ─▶ wishes (validate) ─▶ control: fleet, replication, autoscaling
//!                     ▲                   │   ▲ marks                            │ intents         │ Snapshot
//!                     │                   ▼   │                                  ▼                 ▼
//!  status, Events ◀─ report ◀─ apply ◀─ decide ◀─ validate ◀─ observe  (controllers: once for each marked resource)
//! ```
//!
//! The control loop decides from what was seen and what it wants ([`intent`]); the controllers alone write, all of it through
//! [`apply::Writer`], behind the leader's fence.

pub mod apply;
pub mod cluster;
pub mod controllers;
pub mod decide;
pub mod defaults;
pub mod events;
pub mod intent;
pub mod leader;
pub mod marks;
pub mod observe;
pub mod pods;
pub mod report;
pub mod wishes;

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use kube::Client;
use thiserror::Error;
use tokio::net::TcpListener;
use tokio::sync::{Notify, mpsc, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{info, warn};

use crate::control::{self, Control, Snapshot};
use crate::ending::Ending;
use crate::history::History;
use crate::metrics::Metrics;
use crate::ops::Ops;
use crate::platform::Wishes;
use crate::settings::Operator;
use apply::Writer;
use cluster::{Cluster, Intents};
use controllers::Context;
use leader::{Candidate, Election, Fence};
use marks::Marks;
use observe::{Scope, Stores, Told};

/// Longest wait between two attempts to connect to a node.
const LONGEST_WAIT: Duration = Duration::from_secs(2);
/// Longest wait for runs that are under way when the program ends.
const LAST_PATIENCE: Duration = Duration::from_secs(5);

/// Why the operator did not start, or ended by itself.
#[derive(Debug, Error)]
pub enum Error {
    /// No way to the API server is configured.
    #[error("failed to find the API server: neither a service account nor a kubeconfig leads to it")]
    Config(#[source] Box<kube::config::InferConfigError>),
    /// The client can't be made.
    #[error("failed to make the API server's client")]
    Client(#[source] Box<kube::Error>),
    /// The ops port can't be had.
    #[error("failed to listen on {0} for the ops port (--ops-listen)")]
    Ops(SocketAddr, #[source] io::Error),
    /// Signals can't be received.
    #[error("failed to listen for signals")]
    Signals(#[source] io::Error),
    /// Two metrics have one name.
    #[error("failed to register the metrics")]
    Metrics(#[from] prometheus::Error),
    /// Another operator has taken over; started again, this one stands by.
    #[error("this operator leads no more: another one has taken over")]
    Deposed,
}

/// Runs until SIGTERM or Ctrl-C, stands by while another operator leads, and ends in order.
///
/// # Errors
/// [`Error`].
pub async fn run(settings: Operator) -> Result<(), Error> {
    let mut ending = Ending::new(None).map_err(Error::Signals)?;
    // A link and a command to each node: container runtimes allow 1,024 descriptors unless they are asked.
    if let Err(error) = rlimit::increase_nofile_limit(u64::MAX) {
        warn!(%error, "failed to raise the limit of open files: a fleet of hundreds of nodes may not find room");
    }
    let client = client().await?;
    let listener = listen(settings.ops_listen)
        .await
        .map_err(|error| Error::Ops(settings.ops_listen, error))?;
    let metrics = Metrics::new()?;
    let stop = CancellationToken::new();

    // The ops port first: whoever stands by is alive too.
    let (snapshots, seen) = watch::channel(Arc::<Snapshot>::default());
    let (stands_by, standing_by) = watch::channel(true);
    let history = History::default();
    let ops = Ops {
        snapshots: seen,
        manifest_error: watch::channel(None).1,
        standing_by,
        history: history.clone(),
        metrics: metrics.clone(),
    };
    let ops = tokio::spawn(ops.serve(listener, stop.child_token()));

    let candidate = Candidate {
        namespace: settings.lease_namespace.clone(),
        lease: settings.lease.clone(),
        identity: settings.identity.clone(),
    };
    info!(
        identity = candidate.identity,
        lease = candidate.lease,
        "standing for election"
    );
    let mut election = Election::new(client.clone(), candidate);
    let term = tokio::select! {
        term = election.won() => term,
        () = ending.wait() => {
            election.leave().await;
            stop.cancel();
            let _ = ops.await;
            return Ok(());
        }
    };
    metrics.leader.set(1.0);
    let fence = election.fence();
    let reign = Reign {
        settings,
        client,
        metrics: metrics.clone(),
        fence: Some(fence.clone()),
        snapshots,
        stands_by,
        history,
    };
    let deposed = async {
        tokio::select! {
            () = election.lost() => {}
            () = fence.keep() => {}
        }
    };
    let end = tokio::select! {
        end = reign.last(term, ending.wait()) => end,
        () = deposed => {
            // Runs that are under way come to their end by themselves, without writing.
            fence.shut();
            Err(Error::Deposed)
        }
    };
    metrics.leader.set(0.0);
    election.leave().await;
    stop.cancel();
    let _ = ops.await;
    end
}

/// Listens; `[::]` gives way to `0.0.0.0` where IPv6 is off.
async fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    match TcpListener::bind(address).await {
        Err(error)
            if address.is_ipv6() && address.ip().is_unspecified() && error.kind() != io::ErrorKind::AddrInUse =>
        {
            TcpListener::bind((Ipv4Addr::UNSPECIFIED, address.port())).await
        }
        bound => bound,
    }
}

async fn client() -> Result<Client, Error> {
    let config = kube::Config::infer()
        .await
        .map_err(|error| Error::Config(Box::new(error)))?;
    Client::try_from(config).map_err(|error| Error::Client(Box::new(error)))
}

/// The time for which this process leads.
struct Reign {
    settings: Operator,
    client: Client,
    metrics: Metrics,
    /// None only where nobody else can lead.
    fence: Option<Fence>,
    snapshots: watch::Sender<Arc<Snapshot>>,
    stands_by: watch::Sender<bool>,
    history: History,
}

impl Reign {
    /// Leads until `end`. Watches first, then what goes by them; the control loop is the last to start, and the first to end.
    async fn last(self, term: u64, end: impl Future<Output = ()>) -> Result<(), Error> {
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        let _ends_with_this = stop.clone().drop_guard();
        let told = Told {
            marks: Marks::default(),
            wishes: Arc::new(Notify::new()),
            nodes: Arc::new(Notify::new()),
        };
        let scope = match &self.settings.namespace {
            Some(namespace) => Scope::Namespace(namespace.clone()),
            None => Scope::Cluster,
        };
        let stores = Stores::start(&self.client, &scope, &told, &tasks, &stop);
        tokio::pin!(end);
        tokio::select! {
            () = stores.ready() => {}
            () = &mut end => return Ok(()),
        }
        let (happenings, to_write) = mpsc::channel(events::QUEUE);
        let (client, identity, fence) = (self.client.clone(), self.settings.identity.clone(), self.fence.clone());
        tasks.spawn(events::publish(client, stores.clone(), identity, fence, to_write));
        let (wishes, wished) = watch::channel(Arc::new(wishes::read(&stores, &Wishes::default())));
        tasks.spawn(wishes::keep(stores.clone(), told.wishes.clone(), wishes, stop.clone()));

        if let Some(defaults) = defaults::Defaults::of(&self.settings, self.client.clone(), self.fence.clone()) {
            tasks.spawn(stop.clone().run_until_cancelled_owned(defaults.keep()));
        }

        let intents = Intents::default();
        let cluster = Cluster::new(
            stores.clone(),
            intents.clone(),
            told.marks.clone(),
            told.nodes.clone(),
            happenings.clone(),
            self.metrics.clone(),
        );
        let to_nodes = control::Settings {
            term,
            longest_wait: LONGEST_WAIT,
        };
        let control = Control::new(to_nodes, cluster, self.metrics.clone()).keeping(self.history.clone());
        tasks.spawn(relay(control.snapshots(), self.snapshots, self.stands_by));
        let context = Arc::new(Context::new(
            stores,
            intents,
            Writer::new(self.client, self.fence),
            self.settings.surroundings,
            control.snapshots(),
            events::Teller::new(happenings, self.history),
            self.metrics,
        ));
        let (marks, stopping) = (told.marks, stop.clone());
        let controllers = tokio::spawn(async move { controllers::run(context, &marks, &stopping).await });
        drop(control.run(wished, end).await);

        stop.cancel();
        tasks.close();
        let rest = async {
            let _ = controllers.await;
            tasks.wait().await;
        };
        if tokio::time::timeout(LAST_PATIENCE, rest).await.is_err() {
            warn!("what was being written did not come to its end in time; the next leader goes on with it");
        }
        Ok(())
    }
}

/// Passes what the control loop reports on to the ops port.
async fn relay(
    mut from: watch::Receiver<Arc<Snapshot>>,
    to: watch::Sender<Arc<Snapshot>>,
    stands_by: watch::Sender<bool>,
) {
    while from.changed().await.is_ok() {
        to.send_replace(from.borrow_and_update().clone());
        stands_by.send_replace(false);
    }
}

#[cfg(test)]
mod tests;
