//! The fake nodes: each listens on the pods' ops port, at a loopback address of its own, and speaks the contract, with no media
//! behind it. They take any token.
//!
//! A hand-written server of HTTP/1.1, since thousands of nodes have to leave the processor to what is measured.

use std::collections::{BTreeSet, HashMap};
use std::io::BufRead;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use headwater_contract::{
    EVENTS_PATH, Event, NodeFigures, PULLS_PATH, Pulls, Role, StreamDown, StreamEnd, StreamFigures,
};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::broadcast;
use tokio::time::MissedTickBehavior;

use crate::process::say;
use crate::scene::{Scene, hello, stream};

/// The ops port of pods.
const OPS: u16 = 8081;
/// Events that wait for a slow listener; after more it is told the whole state anew.
const EVENTS: usize = 256;

/// What the nodes are told to do.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Told {
    /// A stream comes up at an origin.
    Publish { origin: usize, name: String },
    /// It ends.
    Unpublish { origin: usize, name: String },
    /// What their figures do from now on.
    Figures(Figures),
}

/// How figures change from one second to the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) enum Figures {
    /// Those of the nodes alone, and by next to nothing: viewers are steady.
    Steady,
    /// The same, and those of each of a node's streams too.
    OfStreams,
    /// Those of the nodes move by a third and more, and so do the bit rates of an origin's streams: every status has something new
    /// to say whenever it may.
    Moving,
}

/// Figures are told apart by this many seconds in turn. Not a divisor of the 10 s between two statuses: it would always show the same.
const TURNS: usize = 3;
/// One node's figures, for each second in turn.
type Turns = [Arc<str>; TURNS];

/// What the nodes say.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Said {
    /// Their addresses, in order of id.
    Addresses(Vec<Ipv4Addr>),
    /// The edges hold all that their origins publish, for the first time.
    Full,
    /// The last edge was told of a stream's start, or end, so long after it.
    Delivered { millis: f64 },
}

/// What all nodes share.
struct Board {
    /// Pulls that edges should hold before all is there.
    missing: Mutex<usize>,
    /// The stream that is on its way, when it began or ended, and how many edges have not been told.
    awaited: Mutex<Option<(String, Instant, usize)>>,
    figures: Mutex<Figures>,
    /// The figures that were written down: nodes of the same streams say the same.
    written: Mutex<HashMap<(Figures, Vec<String>), Turns>>,
}

struct Node {
    name: String,
    role: Role,
    held: Mutex<BTreeSet<String>>,
    events: broadcast::Sender<Arc<str>>,
    /// Its figures as they are now; none since its streams changed.
    said: Mutex<Option<(Figures, Turns)>>,
    board: Arc<Board>,
}

/// Runs until standard input ends.
pub(crate) fn run(scene: &Scene) {
    rlimit::increase_nofile_limit(u64::MAX).unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let board = Arc::new(Board {
        missing: Mutex::new(scene.all_edges() * scene.streams),
        awaited: Mutex::default(),
        figures: Mutex::new(Figures::Steady),
        written: Mutex::default(),
    });
    let mut origins = Vec::new();
    let mut addresses = free_addresses();
    let mut taken = Vec::new();
    for (id, role, origin) in scene.nodes() {
        let held = match role {
            Role::Origin => scene.names(origin).into_iter().collect(),
            Role::Edge => BTreeSet::new(),
        };
        let node = Arc::new(Node {
            name: id.name,
            role,
            held: Mutex::new(held),
            events: broadcast::channel(EVENTS).0,
            said: Mutex::default(),
            board: board.clone(),
        });
        if role == Role::Origin {
            origins.push(node.clone());
        }
        let (address, listener) = addresses.next().unwrap();
        taken.push(address);
        let _inside = runtime.enter();
        runtime.spawn(listen(TcpListener::from_std(listener).unwrap(), node));
    }
    say(&Said::Addresses(taken));
    let edges = scene.all_edges() / scene.origins;
    for line in std::io::stdin().lock().lines() {
        let told: Told = serde_json::from_str(&line.unwrap()).unwrap();
        match told {
            Told::Publish { origin, name } => {
                *board.awaited.lock().unwrap() = Some((name.clone(), Instant::now(), edges));
                origins[origin].up(&name);
            }
            Told::Unpublish { origin, name } => {
                *board.awaited.lock().unwrap() = Some((name.clone(), Instant::now(), edges));
                origins[origin].down(&name, StreamEnd::Unpublished);
            }
            Told::Figures(figures) => *board.figures.lock().unwrap() = figures,
        }
    }
}

/// Loopback addresses whose ops port is free, with that port. Programs that run at the same time begin elsewhere.
fn free_addresses() -> impl Iterator<Item = (Ipv4Addr, std::net::TcpListener)> {
    let first = std::process::id().wrapping_mul(251);
    (0..1 << 22).filter_map(move |step| {
        let number = first.wrapping_add(step) % (1 << 22);
        let address = Ipv4Addr::from(u32::from(Ipv4Addr::new(127, 64, 0, 1)) + number);
        let listener = std::net::TcpListener::bind((address, OPS)).ok()?;
        listener.set_nonblocking(true).ok()?;
        Some((address, listener))
    })
}

impl Board {
    fn filled(&self, pulls: usize) {
        let mut missing = self.missing.lock().unwrap();
        if *missing > 0 {
            *missing = missing.saturating_sub(pulls);
            if *missing == 0 {
                say(&Said::Full);
            }
        }
    }

    fn changed(&self, name: &str) {
        let mut awaited = self.awaited.lock().unwrap();
        let Some((stream, since, left)) = awaited.as_mut() else {
            return;
        };
        if stream == name {
            *left -= 1;
            if *left == 0 {
                let millis = since.elapsed().as_secs_f64() * 1_000.0;
                *awaited = None;
                say(&Said::Delivered { millis });
            }
        }
    }
}

/// One server-sent event as a chunk.
fn chunk(event: &Event) -> Arc<str> {
    let text = format!(
        "event: {}\ndata: {}\n\n",
        event.name(),
        serde_json::to_string(event).unwrap()
    );
    format!("{:x}\r\n{text}\r\n", text.len()).into()
}

impl Node {
    fn up(&self, name: &str) {
        self.held.lock().unwrap().insert(name.to_owned());
        *self.said.lock().unwrap() = None;
        let _ = self.events.send(chunk(&Event::StreamUp(stream(name, self.role))));
    }

    fn down(&self, name: &str, reason: StreamEnd) {
        self.held.lock().unwrap().remove(name);
        *self.said.lock().unwrap() = None;
        let down = StreamDown {
            name: name.to_owned(),
            epoch: u64::MAX,
            reason,
        };
        let _ = self.events.send(chunk(&Event::StreamDown(down)));
    }

    fn hello(&self) -> Arc<str> {
        let held = self.held.lock().unwrap();
        let streams = held.iter().map(|name| stream(name, self.role)).collect();
        chunk(&Event::Hello(hello(&self.name, self.role, streams)))
    }

    /// Takes the whole set, and carries what is in it at once.
    fn pull(&self, pulls: &Pulls) {
        let wanted: BTreeSet<String> = pulls.pulls.iter().map(|pull| pull.stream.clone()).collect();
        let held = self.held.lock().unwrap().clone();
        for name in held.difference(&wanted) {
            self.down(name, StreamEnd::NotWanted);
            self.board.changed(name);
        }
        let new: Vec<&String> = wanted.difference(&held).collect();
        for name in &new {
            self.up(name);
            self.board.changed(name);
        }
        self.board.filled(new.len());
    }

    fn figures(&self, second: usize) -> Arc<str> {
        let figures = *self.board.figures.lock().unwrap();
        let mut said = self.said.lock().unwrap();
        if let Some((of, said)) = said.as_ref()
            && *of == figures
        {
            return said[second % TURNS].clone();
        }
        let says_streams = match figures {
            Figures::Steady => false,
            Figures::OfStreams => true,
            Figures::Moving => self.role == Role::Origin,
        };
        let held: Vec<String> = match says_streams {
            true => self.held.lock().unwrap().iter().cloned().collect(),
            false => Vec::new(),
        };
        let mut written = self.board.written.lock().unwrap();
        let turns = written
            .entry((figures, held))
            .or_insert_with_key(|(figures, held)| std::array::from_fn(|turn| write(*figures, held, turn as u64)));
        *said = Some((figures, turns.clone()));
        turns[second % TURNS].clone()
    }
}

fn write(figures: Figures, held: &[String], turn: u64) -> Arc<str> {
    let (viewer, bit) = match figures {
        Figures::Steady | Figures::OfStreams => (1, 1),
        Figures::Moving => (100, 2_000_000),
    };
    let of = |(at, name): (usize, &String)| StreamFigures {
        name: name.clone(),
        viewers: 3 + turn,
        bitrate_bps: 4_000_000 + 1_000 * at as u64 + bit * turn,
        lag_ms: Some(80 + turn),
        lost_units: 0,
    };
    chunk(&Event::Figures(NodeFigures {
        ready: true,
        viewers: 300 + viewer * turn,
        movable_viewers: 200,
        relays: 0,
        sent_bps: 1_200_000_000 + 4_000_000 * viewer * turn,
        demand_bps: 1_200_000_000,
        received_bps: 400_000_000,
        streams: held.iter().enumerate().map(of).collect(),
        ..Default::default()
    }))
}

async fn listen(listener: TcpListener, node: Arc<Node>) {
    while let Ok((stream, _)) = listener.accept().await {
        tokio::spawn(serve(stream, node.clone()));
    }
}

/// Answers requests until the connection ends; none says why, since the other side is what is measured.
async fn serve(stream: TcpStream, node: Arc<Node>) -> Option<()> {
    stream.set_nodelay(true).ok()?;
    let mut stream = BufReader::with_capacity(4096, stream);
    loop {
        let (mut first, mut length) = (String::new(), 0);
        stream.read_line(&mut first).await.ok().filter(|read| *read > 0)?;
        loop {
            let mut line = String::new();
            stream.read_line(&mut line).await.ok().filter(|read| *read > 0)?;
            let line = line.trim_end().to_ascii_lowercase();
            match line.split_once(": ") {
                None => break,
                Some(("content-length", value)) => length = value.parse().ok()?,
                Some(_) => {}
            }
        }
        let mut body = vec![0; length];
        stream.read_exact(&mut body).await.ok()?;
        let path = first.split(' ').nth(1)?;
        let status = match path {
            EVENTS_PATH => return events(stream.into_inner(), &node).await,
            PULLS_PATH => {
                let pulls = serde_json::from_slice(&body).unwrap();
                // What is published to an origin is no pull.
                if node.role == Role::Edge {
                    node.pull(&pulls);
                }
                "200 OK"
            }
            _ => "200 OK",
        };
        let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n");
        stream.write_all(answer.as_bytes()).await.ok()?;
    }
}

async fn events(mut stream: TcpStream, node: &Node) -> Option<()> {
    let mut events = node.events.subscribe();
    let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
    stream.write_all(head.as_bytes()).await.ok()?;
    stream.write_all(node.hello().as_bytes()).await.ok()?;
    // Nodes that started together do not speak together for ever.
    let start = tokio::time::Instant::now() + Duration::from_millis(rand::random_range(0..1_000));
    let mut seconds = tokio::time::interval_at(start, Duration::from_secs(1));
    // As the real node does: figures that could not be sent in time are not sent later.
    seconds.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for second in 0.. {
        let next = loop {
            tokio::select! {
                event = events.recv() => match event {
                    Ok(event) => stream.write_all(event.as_bytes()).await.ok()?,
                    Err(broadcast::error::RecvError::Lagged(_)) => {
                        stream.write_all(node.hello().as_bytes()).await.ok()?;
                    }
                    Err(broadcast::error::RecvError::Closed) => return None,
                },
                _ = seconds.tick() => break node.figures(second),
            }
        };
        stream.write_all(next.as_bytes()).await.ok()?;
    }
    None
}
