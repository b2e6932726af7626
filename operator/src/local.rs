//! `headwater local`: the whole system on this machine.
//!
//! ```text
//! manifests ─reload─▶ Wishes ─▶ control ─▶ machine: processes, load balancers
//!                                  │  ▲────── links ◀─events── media nodes
//!                                  └─▶ Snapshot ─▶ ops port, status, sample
//! ```

pub mod addresses;
pub mod attach;
mod certificates;
pub mod load_balancer;
pub mod machine;
pub mod manifests;
pub mod processes;
pub mod reload;
pub mod sample;
pub mod status;
mod token;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::control::{self, Control, Snapshot};
use crate::ending::Ending;
use crate::fleet::NodeId;
use crate::history::History;
use crate::metrics::Metrics;
use crate::ops::Ops;
use crate::platform::Wishes;
use crate::settings::{Local, OpsListen};
use crate::telemetry::LogSink;
use attach::Attached;
use machine::Machine;
use reload::Reload;
use status::Status;

/// Longest wait between two attempts to connect to a node of this machine.
const LONGEST_WAIT: Duration = Duration::from_secs(1);
/// How many ports after the default one are tried for the ops port.
const OPS_RANGE: u16 = 100;

/// Why local mode did not start.
#[derive(Debug, Error)]
pub enum Error {
    /// The manifests have errors.
    #[error(transparent)]
    Manifests(#[from] manifests::ManifestErrors),
    /// The nodes to adopt can't be.
    #[error(transparent)]
    Attach(#[from] attach::Error),
    /// The ops port can't be had.
    #[error("failed to listen on {address} for the ops port (--ops-listen)")]
    Ops {
        /// Where.
        address: SocketAddr,
        /// The system's word.
        source: io::Error,
    },
    /// The control token could not be written.
    #[error("failed to write the control token")]
    Token(#[source] io::Error),
    /// Signals can't be received.
    #[error("failed to listen for signals")]
    Signals(#[source] io::Error),
    /// Two metrics have one name.
    #[error("failed to register the metrics")]
    Metrics(#[from] prometheus::Error),
}

/// Runs until Ctrl-C, SIGTERM, a closed terminal, or the time is over; ends in order.
///
/// # Errors
/// [`Error`], before anything was started.
pub async fn run(settings: Local, log: LogSink) -> Result<(), Error> {
    let mut ending = Ending::new(settings.exit_after).map_err(Error::Signals)?;
    let reload = Reload::first(settings.files.clone())?;
    let attached = match &settings.attach {
        Some(path) => attach::read(path)?,
        None => Vec::new(),
    };
    for node in unwished(&attached, &reload.wishes().borrow()) {
        warn!(node = node.name, resource = %node.resource, "an attached node's resource is in no manifest; the node is left alone");
    }
    // One viewer is two descriptors of the load balancer.
    if let Err(error) = rlimit::increase_nofile_limit(u64::MAX) {
        warn!(%error, "failed to raise the limit of open files");
    }
    let (ops_listener, ops_address) = listen_ops(settings.ops).await?;
    let token = token::TokenFile::create().map_err(Error::Token)?;
    let metrics = Metrics::new()?;
    // There is nobody else who could.
    metrics.leader.set(1.0);

    let machine = Machine::new(machine::Settings {
        program: settings.media_node,
        token: token.token(),
        token_file: token.path().to_owned(),
        secrets: token.folder().to_owned(),
        attached,
        reserved: vec![ops_address.port()],
    });
    let to_nodes = control::Settings {
        term: settings.term,
        longest_wait: LONGEST_WAIT,
    };
    let history = History::default();
    let control = Control::new(to_nodes, machine, metrics.clone()).keeping(history.clone());
    let (snapshots, wishes, problem) = (control.snapshots(), reload.wishes(), reload.problem());

    // From the inside out: who reads the reports stands before the first one is made.
    let stop = CancellationToken::new();
    let ops = Ops {
        snapshots: snapshots.clone(),
        manifest_error: problem.clone(),
        standing_by: watch::channel(false).1,
        history,
        metrics,
    };
    let ops = tokio::spawn(ops.serve(ops_listener, stop.child_token()));
    let shown = Status::new(
        snapshots.clone(),
        problem,
        ops_address.to_string(),
        settings.sample,
        log.clone(),
    );
    let status = tokio::spawn(shown.run());
    let sample = settings
        .sample
        .then(|| tokio::spawn(keep_sample(snapshots, wishes.clone())));
    let reload = tokio::spawn(reload.run());
    let machine = control.run(wishes, ending.wait()).await;

    // The other way round: nothing is started any more, then publishers and nodes end, and the reports last.
    reload.abort();
    if let Some(sample) = sample {
        sample.abort();
    }
    status.abort();
    let _ = status.await;
    log.forget();
    info!("ending; once more Ctrl-C ends at once");
    tokio::select! {
        () = machine.end() => {}
        () = ending.again() => warn!("ended at once: media nodes are killed"),
    }
    stop.cancel();
    let _ = ops.await;
    Ok(())
}

/// Attached nodes of resources that nobody wishes: a slip of the pen, most likely.
fn unwished<'a>(attached: &'a [Attached], wishes: &Wishes) -> Vec<&'a NodeId> {
    let ids = attached.iter().map(|node| &node.id);
    ids.filter(|id| !wishes.origins.contains_key(&id.resource) && !wishes.pools.contains_key(&id.resource))
        .collect()
}

/// The ops port: exactly the one that was asked for, else the default one or the next free one.
async fn listen_ops(listen: OpsListen) -> Result<(TcpListener, SocketAddr), Error> {
    let (first, range) = match listen {
        OpsListen::Exactly(address) => (address, 0),
        OpsListen::Default(address) => (address, OPS_RANGE),
    };
    let mut result = bind(first).await;
    for next in 1..=range {
        if result.is_ok() {
            break;
        }
        let address = SocketAddr::new(first.ip(), first.port() + next);
        result = bind(address).await;
        if result.is_ok() {
            warn!(taken = first.port(), instead = %address, "the default ops port is taken by another program; the next free one is used");
        }
    }
    result
}

async fn bind(address: SocketAddr) -> Result<(TcpListener, SocketAddr), Error> {
    let failed = |source| Error::Ops { address, source };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    Ok((listener, address))
}

/// Publishes the sample to the first origin for as long as there is one, with the key that its Secret has.
async fn keep_sample(mut snapshots: watch::Receiver<Arc<Snapshot>>, mut wishes: watch::Receiver<Arc<Wishes>>) {
    loop {
        let destination = sample_destination(&snapshots.borrow_and_update(), &wishes.borrow_and_update());
        let changed = async {
            loop {
                tokio::select! {
                    changed = snapshots.changed() => if changed.is_err() { std::future::pending::<()>().await },
                    changed = wishes.changed() => if changed.is_err() { std::future::pending::<()>().await },
                }
                if sample_destination(&snapshots.borrow_and_update(), &wishes.borrow_and_update()) != destination {
                    return;
                }
            }
        };
        match destination.clone() {
            None => changed.await,
            Some(destination) => tokio::select! {
                () = sample::publish(destination) => {}
                () = changed => {}
            },
        }
    }
}

fn sample_destination(snapshot: &Snapshot, wishes: &Wishes) -> Option<sample::Destination> {
    let (id, wish) = wishes.origins.iter().find(|(_, wish)| !wish.spec.suspend)?;
    let of = |entry: &&crate::fleet::document::OriginEntry| entry.namespace == id.namespace && entry.name == id.name;
    let entry = snapshot.fleet.origins.iter().find(of)?;
    let keys = wish.keys.as_ref();
    Some(sample::Destination {
        origin: entry.rtmp.parse().ok()?,
        app: wish.spec.app.as_str().to_owned(),
        key: keys
            .and_then(|keys| keys.get(sample::STREAM).or_else(|| keys.get("*")))
            .cloned(),
    })
}

#[cfg(test)]
mod tests;
