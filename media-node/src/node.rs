//! Assembly: what a node consists of, and in which order it starts and stops.

mod prepare;
pub mod signal;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use headwater_contract::{Role, StreamEnd};
use jiff::Timestamp;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::sync::mpsc::Receiver;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::deliver::members::Roster;
use crate::deliver::movers::Movers;
use crate::deliver::{self, Delivery};
use crate::http_server::{Bounds, HttpServer};
use crate::hub::Hub;
use crate::hub::demand::{self, Demand};
use crate::ingest::publishing::PublishRules;

use crate::ingest::pull::{PullContext, Puller, PullsError};
use crate::ingest::{self, Ingest};
use crate::lifecycle::Lifecycle;
use crate::meters::{Meters, Protocol};
use crate::ops::control::Terms;
use crate::ops::events::Events;
use crate::ops::token::TokenFile;
use crate::ops::{self, Identity, Ops};
use crate::package::hls::archive::Archive;
use crate::package::hls::channel::Channels;
use crate::package::hls::disk::{Disk, DiskError};
use crate::package::{self, Packager};
use crate::settings::Settings;
use crate::tls::{self, Certificates};
use prepare::{bind, identity, raise_file_limit};
use signal::End;

/// Why a node did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A listener could not be bound.
    #[error("failed to listen on {addr} for {what} ({flag}): {source}")]
    Listen {
        /// RTMP, delivery, ops.
        what: &'static str,
        /// The flag that sets it.
        flag: &'static str,
        /// The address.
        addr: SocketAddr,
        /// What the kernel said.
        source: io::Error,
    },
    /// An `--upstream` is no URL to pull from.
    #[error("--upstream: {0}")]
    Upstream(#[from] PullsError),
    /// The certificate of the delivery port.
    #[error(transparent)]
    Tls(#[from] tls::Error),
    /// `--dvr-dir` can't be used.
    #[error("--dvr-dir: {0}")]
    Dvr(#[from] DiskError),
    /// The kernel did not say which port it gave.
    #[error("failed to read the address of a listener: {0}")]
    Address(#[from] io::Error),
}

/// A running node.
pub struct Node {
    settings: Settings,
    hub: Hub,
    meters: Meters,
    lifecycle: Lifecycle,
    /// Ends publishers, pulls and pushes.
    ingest: CancellationToken,
    /// Ends viewers.
    deliver: CancellationToken,
    /// Ends the ops port, last of all.
    ops: CancellationToken,
    tasks: TaskTracker,
}

/// The hub is swept this often: a stream ends at most this much after its grace.
const SWEEP: Duration = Duration::from_millis(100);
/// Publishers and pulls get this long to close on SIGTERM.
const INGEST_STOP: Duration = Duration::from_secs(5);
/// Connections to the ops port at once.
const OPS_CONNECTIONS: usize = 64;
/// The head of a request must be in within this long.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// Whatever is left after the viewers were cut gets this long.
const CUT_STOP: Duration = Duration::from_secs(2);

impl Node {
    /// Starts a node. All listeners are bound before anything runs, so that a taken port has no side effect; then the
    /// hub and what fills it, so that the first viewer finds them; the ops port last, since it reports on all of it.
    pub fn start(settings: Settings) -> Result<Self, StartError> {
        let rtmp = bind("RTMP", "--rtmp-listen", settings.rtmp_listen)?;
        let http = bind("HTTP delivery", "--http-listen", settings.http_listen)?;
        let ops = bind("ops", "--ops-listen", settings.ops_listen)?;
        raise_file_limit(settings.max_connections);
        let meters = Meters::default();
        let tls = settings.tls.clone().map(|files| tls::start(files, meters.clone()));
        let tls = tls.transpose()?;
        let identity = identity(&settings, &rtmp, &http)?;

        let (demands, queue) = demand::channel();
        let demands = (settings.role == Role::Edge).then_some(demands);
        let node = Self {
            hub: Hub::new(settings.hub, demands),
            meters,
            lifecycle: Lifecycle::default(),
            ingest: CancellationToken::new(),
            deliver: CancellationToken::new(),
            ops: CancellationToken::new(),
            tasks: TaskTracker::new(),
            settings,
        };
        node.tasks.spawn(sweep(node.hub.clone(), node.ops.clone()));
        let archive = node.archive()?;
        let puller = node.puller()?;
        let delivery = node.delivery(archive, &puller);
        let rules = node.rules();
        node.tasks.spawn(delivery.channels.clone().keep(node.hub.clone()));
        node.start_ingest(rtmp, queue, &puller, &rules, &delivery);
        let certificates = tls.map(|(certificates, follower)| {
            node.tasks.spawn(follower.run(node.ops.clone()));
            certificates
        });
        node.start_delivery(http, certificates, &delivery);
        node.start_ops(ops, identity, puller, rules, delivery.movers.clone());
        Ok(node)
    }

    /// What is kept of the past. The folder for it is taken before anything is to be kept.
    fn archive(&self) -> Result<Archive, StartError> {
        let dvr = &self.settings.dvr;
        let disk = match &dvr.folder {
            None => None,
            Some(folder) => {
                let (disk, writer) = Disk::open(folder, dvr.disk, self.meters.clone())?;
                self.tasks.spawn(writer.run(self.deliver.clone()));
                Some(disk)
            }
        };
        self.hub.dvr().set(dvr.time);
        self.hub.groups().set(&self.settings.groups);
        Ok(Archive::new(
            self.hub.dvr().clone(),
            dvr.memory,
            disk,
            self.meters.clone(),
        ))
    }

    /// Who may publish; what the hub is to know of that is set before anybody is admitted by it.
    fn rules(&self) -> PublishRules {
        let (hub, dvr, groups) = (self.hub.clone(), self.settings.dvr.time, self.settings.groups.clone());
        PublishRules::new(self.settings.require_publishing_rules).applying(move |said| {
            hub.dvr().set(said.dvr.unwrap_or(dvr));
            hub.groups().set(said.groups.as_ref().unwrap_or(&groups));
        })
    }

    fn delivery(&self, archive: Archive, puller: &Puller) -> Delivery {
        let puller = puller.clone();
        Delivery::new(deliver::Parts {
            node: self.settings.name.clone(),
            app: self.settings.app.clone(),
            hub: self.hub.clone(),
            packager: Packager::new(self.settings.feeds, package::make_mux, self.tasks.clone()),
            channels: Channels::new(self.meters.clone(), archive, self.tasks.clone(), self.deliver.clone()),
            roster: Roster::new(Arc::new(move |group| puller.folders(group))),
            waiting: Arc::new(Semaphore::new(self.settings.max_connections)),
            meters: self.meters.clone(),
            lifecycle: self.lifecycle.clone(),
            movers: Movers::default(),
            write_timeout: self.settings.feeds.patience.write_timeout,
            cut: self.deliver.clone(),
        })
    }

    fn puller(&self) -> Result<Puller, StartError> {
        let context = PullContext {
            hub: self.hub.clone(),
            meters: self.meters.clone(),
            app: self.settings.app.clone(),
            idle_timeout: self.settings.idle_timeout,
            tasks: self.tasks.clone(),
            stop: self.ingest.clone(),
        };
        Ok(Puller::new(
            context,
            &self.settings.upstreams,
            &self.settings.upstream_http,
        )?)
    }

    fn start_ingest(
        &self,
        listener: TcpListener,
        demands: Receiver<Demand>,
        puller: &Puller,
        rules: &PublishRules,
        delivery: &Delivery,
    ) {
        let ingest = Ingest {
            role: self.settings.role,
            app: self.settings.app.clone(),
            hub: self.hub.clone(),
            meters: self.meters.clone(),
            lifecycle: self.lifecycle.clone(),
            rules: rules.clone(),
            publish_grace: self.settings.publish_grace,
        };
        let delivery = delivery.clone();
        let play = move |request| {
            let delivery = delivery.clone();
            async move { deliver::rtmp::play(request, delivery).await }
        };
        let (connections, tasks) = (self.settings.max_connections, self.tasks.clone());
        let stop = self.deliver.clone();
        self.tasks
            .spawn(ingest::listener::run(listener, ingest, connections, play, stop, tasks));
        let (puller, stop) = (puller.clone(), self.ingest.clone());
        self.tasks
            .spawn(async move { stop.run_until_cancelled(puller.run_demands(demands)).await });
        let pushes = ingest::push::run(
            self.hub.clone(),
            rules.clone(),
            self.meters.clone(),
            self.tasks.clone(),
            self.ingest.clone(),
        );
        self.tasks.spawn(pushes);
    }

    fn start_delivery(&self, listener: TcpListener, tls: Option<Certificates>, delivery: &Delivery) {
        let server = HttpServer {
            tls,
            lifecycle: Some(self.lifecycle.clone()),
            ..self.http_server(self.settings.max_connections, &self.deliver)
        };
        self.tasks
            .spawn(deliver::server::run(listener, server, delivery.clone()));
        let (movers, lifecycle) = (delivery.movers.clone(), self.lifecycle.clone());
        self.tasks
            .spawn(deliver::movers::follow(movers, lifecycle, self.deliver.clone()));
    }

    fn start_ops(
        &self,
        listener: TcpListener,
        identity: Identity,
        puller: Puller,
        rules: PublishRules,
        movers: Movers,
    ) {
        let ops = Ops::new(ops::Parts {
            identity,
            hub: self.hub.clone(),
            meters: self.meters.clone(),
            lifecycle: self.lifecycle.clone(),
            movers,
            pulls: puller,
            rules: (self.settings.role == Role::Origin).then_some(rules),
            token: TokenFile::new(&self.settings.control_token_file),
            drain_accept: self.settings.drain_accept,
            terms: Terms::default(),
            events: Events::default(),
        });
        let server = self.http_server(OPS_CONNECTIONS, &self.ops);
        self.tasks.spawn(ops::events::run(ops.clone(), self.ops.clone()));
        self.tasks.spawn(ops::health::watch(
            ops.clone(),
            self.settings.ready_wait,
            self.ops.clone(),
        ));
        self.tasks.spawn(ops::server::run(listener, server, ops));
    }

    fn http_server(&self, connections: usize, stop: &CancellationToken) -> HttpServer {
        HttpServer {
            bounds: Bounds {
                connections,
                head: HEAD_TIMEOUT,
                write: self.settings.feeds.patience.write_timeout,
            },
            meters: self.meters.clone(),
            tls: None,
            lifecycle: None,
            stop: stop.clone(),
            tasks: self.tasks.clone(),
        }
    }

    /// Serves until told to end, then stops in order: no newcomers, publishers and pulls (of an origin) or viewers
    /// (of an edge) first, what is left is cut, the ops port answers to the last.
    pub async fn run(self, mut signal: Receiver<End>) {
        let end = signal.recv().await.unwrap_or(End::AtOnce);
        tracing::info!(?end, viewers = self.meters.viewers(), "stopping");
        self.lifecycle.stop();
        if end == End::Gracefully {
            tokio::select! {
                () = self.wind_down() => {}
                _ = signal.recv() => tracing::info!("told to end at once"),
            }
        }
        self.ingest.cancel();
        self.deliver.cancel();
        // A stream in its grace would hold its feeds, and they the exit.
        for stream in self.hub.streams() {
            self.hub.end(&stream, StreamEnd::Shutdown);
        }
        self.ops.cancel();
        self.tasks.close();
        if tokio::time::timeout(CUT_STOP, self.tasks.wait()).await.is_err() {
            tracing::debug!(tasks = self.tasks.len(), "ended with tasks still running");
        }
    }

    /// An origin sends its publishers away so that they come back to its successor, and waits for nobody else. An edge
    /// waits for its viewers until the deadline of the drain in force, or of one that begins now.
    async fn wind_down(&self) {
        match self.settings.role {
            Role::Origin => {
                self.ingest.cancel();
                let gone = async {
                    while !self.hub.streams().iter().all(|stream| stream.unattended()) {
                        tokio::time::sleep(SWEEP).await;
                    }
                };
                let _ = tokio::time::timeout(INGEST_STOP, gone).await; // whoever is still there is cut
            }
            Role::Edge => {
                let deadline = match self.lifecycle.phase().drain {
                    Some(drain) => drain.state.deadline,
                    None => Timestamp::now() + self.settings.drain_timeout,
                };
                self.lifecycle.drain(deadline, self.settings.drain_accept);
                self.viewers_gone().await;
            }
        }
    }

    /// Waits for viewers to the drain's deadline, for relays only as long as newcomers are taken and viewers asked to move: a
    /// pull that is cut goes on at its next source without losing a frame.
    async fn viewers_gone(&self) {
        loop {
            let Some(drain) = self.lifecycle.phase().drain else {
                return;
            };
            let now = Instant::now();
            let (viewers, relays) = (self.meters.viewers(), self.meters.served(Protocol::Relay));
            let served = viewers > 0 || (relays > 0 && now < drain.refuse_from + deliver::movers::SPREAD);
            if now >= drain.deadline || (!served && now >= drain.refuse_from) {
                return;
            }
            tokio::time::sleep(SWEEP).await;
        }
    }
}

async fn sweep(hub: Hub, stop: CancellationToken) {
    let mut ticks = tokio::time::interval(SWEEP);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while stop.run_until_cancelled(ticks.tick()).await.is_some() {
        hub.sweep(Instant::now());
    }
}
