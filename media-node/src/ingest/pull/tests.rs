//! Pulls from a node over loopback: what reaches the hub, and what ends, breaks and begins a pull.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use bytes::Bytes;
use headwater_contract::{Pull, Role, Source, StreamEnd, StreamSource};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio::time::timeout;

use super::*;
use crate::hub::{Batch, Item, Limits, PublishOptions, Publisher, Stream, What, demand};
use crate::ingest::publishing::PublishRules;
use crate::ingest::rtmp::PlayRequest;
use crate::ingest::{Ingest, listener};
use crate::lifecycle::Lifecycle;
use crate::media::flv::Parser;
use crate::media::unit::TrackKind;
use crate::package::feed::{Audience, FeedEnd, FeedLimits, Taken};
use crate::package::rtmp_chunks::RtmpMux;
use crate::package::{Format, Packager};
use crate::rtmp::command;

/// A node that streams are pulled from.
#[derive(Clone)]
struct Upstream {
    hub: Hub,
    packager: Packager,
    url: String,
    /// Cuts every connection.
    cut: Arc<Notify>,
    plays: Arc<AtomicUsize>,
}

impl Upstream {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let hub = Hub::new(Limits::default(), None);
        let upstream = Self {
            hub: hub.clone(),
            packager: Packager::new(
                FeedLimits::default(),
                |_| Box::new(RtmpMux::default()),
                TaskTracker::new(),
            ),
            url: format!("rtmp://{}/live", listener.local_addr().unwrap()),
            cut: Arc::default(),
            plays: Arc::default(),
        };
        let ingest = Ingest {
            role: Role::Origin,
            app: "live".parse().unwrap(),
            hub,
            meters: Meters::default(),
            lifecycle: Lifecycle::default(),
            rules: PublishRules::new(false),
            publish_grace: Duration::from_secs(10),
        };
        let server = upstream.clone();
        let play = move |request| server.clone().play(request);
        let stop = CancellationToken::new();
        tokio::spawn(listener::run(listener, ingest, 100, play, stop, TaskTracker::new()));
        upstream
    }

    async fn play(self, mut request: PlayRequest) {
        self.plays.fetch_add(1, Ordering::SeqCst);
        let Some(stream) = self.hub.get(&request.stream) else {
            let _ = request.io.write_all(&command::play_not_found()).await;
            return;
        };
        let mut cursor = self.packager.cursor(&stream, Format::Rtmp);
        let _ = request.io.write_all(&command::play_started()).await;
        loop {
            let mut entries = Vec::new();
            let taken = tokio::select! {
                () = self.cut.notified() => return,
                taken = cursor.take(&mut entries, 100, 1 << 20) => taken,
            };
            for entry in entries {
                if entry.audience == Audience::All || request.relay {
                    for part in &entry.parts {
                        request.io.write_all(part).await.unwrap();
                    }
                }
            }
            if let Taken::Ended(FeedEnd::Stream(_)) = taken {
                let _ = request.io.write_all(&command::play_ended()).await;
                return;
            }
        }
    }

    fn publish(&self, name: &str) -> Voice {
        let options = PublishOptions {
            source: StreamSource::Publish,
            grace: Duration::from_secs(10),
        };
        let publisher = self
            .hub
            .publish(&name.parse().unwrap(), options, (), |_| Ok(()))
            .unwrap();
        let mut voice = Voice {
            publisher,
            parser: Parser::default(),
            dts: 1 << 33, // beyond 32 bits: only the clock can tell
        };
        voice.message(&[0xaf, 0, 0x12, 0x10]);
        voice
    }
}

/// A publisher of AAC.
struct Voice {
    publisher: Publisher,
    parser: Parser,
    dts: i64,
}

impl Voice {
    fn message(&mut self, body: &[u8]) {
        let body = Bytes::copy_from_slice(body);
        let parsed = self.parser.parse(TrackKind::Audio, self.dts, body).unwrap();
        self.publisher.send(parsed.unit, parsed.learned);
    }

    fn frames(&mut self, count: usize) {
        for _ in 0..count {
            self.message(&[0xaf, 1, 0x21, 0x10, 4]);
            self.dts += 23;
        }
    }
}

/// The node that pulls.
struct Edge {
    hub: Hub,
    puller: Puller,
    meters: Meters,
    stop: CancellationToken,
}

impl Edge {
    fn start(upstreams: &[&str]) -> Self {
        let (demands, wanted) = demand::channel();
        let hub = Hub::new(Limits::default(), Some(demands));
        let (meters, stop) = (Meters::default(), CancellationToken::new());
        let context = PullContext {
            hub: hub.clone(),
            meters: meters.clone(),
            app: "live".parse().unwrap(),
            idle_timeout: Duration::from_secs(1),
            tasks: TaskTracker::new(),
            stop: stop.clone(),
        };
        let upstreams: Vec<_> = upstreams.iter().map(|url| (*url).to_owned()).collect();
        let puller = Puller::new(context, &upstreams, &[]).unwrap();
        let serving = puller.clone();
        tokio::spawn(async move { serving.run_demands(wanted).await });
        Self {
            hub,
            puller,
            meters,
            stop,
        }
    }

    fn stream(&self, name: &str) -> Option<Stream> {
        self.hub.get(&name.parse().unwrap())
    }

    async fn eventually(&self, what: &str, holds: impl Fn(&Edge) -> bool) {
        let wait = async {
            while !holds(self) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let passed = timeout(Duration::from_secs(10), wait).await;
        let streams: Vec<_> = self.hub.streams().iter().map(Stream::snapshot).collect();
        assert!(passed.is_ok(), "never: {what}; {:?}; {streams:?}", self.puller.status());
    }

    async fn playable(&self, name: &str) -> Stream {
        let playable = |edge: &Edge| edge.stream(name).is_some_and(|stream| stream.snapshot().playable);
        self.eventually("playable", playable).await;
        self.stream(name).unwrap()
    }
}

fn pulls(stream: &str, sources: &[&str]) -> Pulls {
    let source = |base: &&str| Source {
        url: format!("{base}/{stream}"),
        http: None,
    };
    Pulls {
        pulls: vec![Pull {
            stream: stream.to_owned(),
            sources: sources.iter().map(source).collect(),
        }],
        ..Pulls::default()
    }
}

/// A port on which nobody listens.
async fn nowhere() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    format!("rtmp://{}/live", listener.local_addr().unwrap())
}

/// Decoding times of what a listener of the stream is sent.
#[derive(Clone, Default)]
struct Heard(Arc<Mutex<Vec<i64>>>);

impl Heard {
    fn newest(&self) -> i64 {
        self.0.lock().unwrap().last().copied().unwrap_or_default()
    }
}

fn listen(stream: &Stream) -> Heard {
    let (heard, mut subscriber) = (Heard::default(), stream.subscribe());
    let ours = heard.clone();
    tokio::spawn(async move {
        let mut items: Vec<Item> = Vec::new();
        while !matches!(subscriber.next(&mut items).await, Batch::Ended(_)) {
            let media = items.drain(..).filter_map(|item| match item.what {
                What::Unit(unit) if unit.is_media() => Some(unit.dts),
                _ => None,
            });
            ours.0.lock().unwrap().extend(media);
        }
    });
    heard
}

#[tokio::test]
async fn a_pulled_stream_has_the_epoch_and_the_times_of_its_source() {
    let upstream = Upstream::start().await;
    let mut voice = upstream.publish("cam1");
    voice.frames(60);
    let edge = Edge::start(&[]);
    edge.puller.set(pulls("cam1", &[&upstream.url])).unwrap();
    let stream = edge.playable("cam1").await;
    let (here, there) = (stream.snapshot(), voice.publisher.stream().snapshot());
    assert_eq!((here.epoch, here.source), (there.epoch, StreamSource::Pull));
    let newest = voice.dts - 23;
    let heard = listen(&stream);
    edge.eventually("heard", |_| heard.newest() == newest).await;
    let got = heard.0.lock().unwrap().clone();
    let expected: Vec<_> = (0..got.len() as i64).rev().map(|n| newest - n * 23).collect();
    assert_eq!(got, expected);
}

#[tokio::test]
async fn the_sources_word_ends_the_stream_here() {
    let upstream = Upstream::start().await;
    let mut voice = upstream.publish("cam1");
    voice.frames(60);
    let edge = Edge::start(&[]);
    edge.puller.set(pulls("cam1", &[&upstream.url])).unwrap();
    let stream = edge.playable("cam1").await;
    let ended = Instant::now();
    voice.publisher.finish(StreamEnd::Unpublished);
    edge.eventually("gone", |edge| edge.stream("cam1").is_none()).await;
    assert_eq!(stream.ended(), Some(StreamEnd::Unpublished));
    assert!(ended.elapsed() < Duration::from_secs(1), "{:?}", ended.elapsed());
    // The plan still wants it: as soon as it is published again, it is here again.
    let mut voice = upstream.publish("cam1");
    voice.frames(60);
    edge.playable("cam1").await;
}

#[tokio::test]
async fn a_pull_that_breaks_goes_on_without_loss_or_repeat() {
    let upstream = Upstream::start().await;
    let mut voice = upstream.publish("cam1");
    voice.frames(20);
    let edge = Edge::start(&[]);
    edge.puller.set(pulls("cam1", &[&upstream.url])).unwrap();
    let stream = edge.playable("cam1").await;
    let heard = listen(&stream);
    edge.eventually("begun", |_| heard.newest() == voice.dts - 23).await;
    // A second of audio at a time, as bursts beyond the hub's groups are skipped.
    voice.frames(10);
    edge.eventually("heard", |_| heard.newest() == voice.dts - 23).await;
    upstream.cut.notify_waiters();
    edge.eventually("back", |edge| {
        edge.meters.pull_reconnects() == 1 && edge.puller.status()[0].up
    })
    .await;
    for _ in 0..10 {
        voice.frames(10);
        edge.eventually("heard", |_| heard.newest() == voice.dts - 23).await;
    }
    let got = heard.0.lock().unwrap().clone();
    assert!(got.windows(2).all(|pair| pair[1] - pair[0] == 23), "{got:?}");
    assert_eq!(edge.stream("cam1").unwrap().id(), stream.id());
    assert_eq!(stream.snapshot().lost_units, 0);
}

/// The headers of a relay had the clock behind the configurations: that of a new epoch took them away again, and the
/// stream had none until its publisher changed them.
#[tokio::test]
async fn a_source_with_a_new_epoch_brings_its_configurations() {
    let (before, after) = (Upstream::start().await, Upstream::start().await);
    let mut voice = before.publish("cam1");
    voice.frames(60);
    let edge = Edge::start(&[]);
    edge.puller.set(pulls("cam1", &[&before.url])).unwrap();
    let stream = edge.playable("cam1").await;
    let epoch = stream.snapshot().epoch;
    let until = Instant::now() + Duration::from_millis(2); // epochs are milliseconds
    edge.eventually("another millisecond", |_| Instant::now() > until).await;
    let mut voice = after.publish("cam1");
    voice.frames(60);
    edge.puller.set(pulls("cam1", &[&after.url])).unwrap();
    let restarted = |edge: &Edge| {
        let here = edge.stream("cam1").map(|stream| stream.snapshot());
        here.is_some_and(|here| here.epoch > epoch && here.playable)
    };
    edge.eventually("the new epoch", restarted).await;
    assert_eq!(edge.stream("cam1").unwrap().id(), stream.id());
    assert!(stream.snapshot().tracks.audio.is_some());
}

#[tokio::test]
async fn a_dead_source_is_followed_by_the_next_one() {
    let upstream = Upstream::start().await;
    upstream.publish("cam1").frames(60);
    let edge = Edge::start(&[]);
    edge.puller
        .set(pulls("cam1", &[&nowhere().await, &upstream.url]))
        .unwrap();
    edge.playable("cam1").await;
}

#[tokio::test]
async fn the_same_set_again_changes_nothing_and_a_smaller_one_ends_pulls() {
    let upstream = Upstream::start().await;
    upstream.publish("cam1").frames(60);
    let edge = Edge::start(&[]);
    for _ in 0..3 {
        edge.puller.set(pulls("cam1", &[&upstream.url])).unwrap();
        edge.playable("cam1").await;
    }
    assert_eq!(upstream.plays.load(Ordering::SeqCst), 1);
    let stream = edge.stream("cam1").unwrap();
    edge.puller.set(Pulls::default()).unwrap();
    edge.eventually("gone", |edge| edge.stream("cam1").is_none()).await;
    assert_eq!(stream.ended(), Some(StreamEnd::NotWanted));
}

#[tokio::test]
async fn a_planned_pull_of_a_missing_stream_shows_and_is_tried_again() {
    let upstream = Upstream::start().await;
    let edge = Edge::start(&[]);
    edge.puller.set(pulls("cam1", &[&upstream.url])).unwrap();
    edge.eventually("missing", |edge| edge.puller.status()[0].missing).await;
    let failing = edge.puller.failing(20);
    assert_eq!(failing.len(), 1);
    assert!(failing[0].error.contains("no such stream"), "{failing:?}");
    upstream.publish("cam1").frames(60);
    edge.playable("cam1").await;
    assert!(edge.puller.failing(20).is_empty());
    assert!(!edge.puller.status()[0].missing);
}

#[tokio::test]
async fn a_demand_is_met_by_one_pull_that_ends_when_nobody_watches() {
    let upstream = Upstream::start().await;
    upstream.publish("cam1").frames(60);
    let edge = Edge::start(&[&upstream.url]);
    let name: StreamName = "cam1".parse().unwrap();
    let (one, two) = tokio::join!(edge.hub.find(&name), edge.hub.find(&name));
    let stream = one.unwrap();
    assert_eq!(two.unwrap().id(), stream.id());
    assert_eq!(upstream.plays.load(Ordering::SeqCst), 1);
    assert_eq!(stream.snapshot().source, StreamSource::OnDemand);
    let watching = stream.watch();
    // Longer than the idle time-out: somebody watches.
    tokio::time::sleep(Duration::from_millis(1_600)).await;
    assert_eq!(stream.ended(), None);
    drop(watching);
    edge.eventually("gone", |edge| edge.stream("cam1").is_none()).await;
    assert_eq!(stream.ended(), Some(StreamEnd::NotWanted));
    assert!(edge.puller.status().is_empty());
}

#[tokio::test]
async fn a_pull_stays_while_players_are_offered_its_stream() {
    let upstream = Upstream::start().await;
    upstream.publish("cam1").frames(60);
    let edge = Edge::start(&[&upstream.url]);
    let stream = edge.hub.find(&"cam1".parse().unwrap()).await.unwrap();
    stream.offer();
    // Longer than the idle time-out.
    tokio::time::sleep(Duration::from_millis(1_600)).await;
    assert_eq!(stream.ended(), None);
    edge.eventually("gone", |edge| edge.stream("cam1").is_none()).await;
    assert_eq!(stream.ended(), Some(StreamEnd::NotWanted));
}

#[tokio::test]
async fn a_demand_is_told_whether_nobody_has_it_or_nobody_can_be_asked() {
    let upstream = Upstream::start().await;
    let name: StreamName = "cam1".parse().unwrap();
    let dead = nowhere().await;
    let answer = |upstreams: Vec<String>| {
        let name = name.clone();
        async move {
            let urls: Vec<&str> = upstreams.iter().map(String::as_str).collect();
            Edge::start(&urls).hub.find(&name).await.unwrap_err()
        }
    };
    assert_eq!(answer(vec![]).await, Unavailable::NotFound);
    assert_eq!(answer(vec![dead.clone()]).await, Unavailable::Temporarily);
    assert_eq!(answer(vec![dead, upstream.url.clone()]).await, Unavailable::NotFound);
}

#[tokio::test]
async fn a_crowd_that_waits_for_a_stream_does_not_reach_the_upstream_each_time() {
    let upstream = Upstream::start().await;
    let edge = Edge::start(&[&upstream.url]);
    let name: StreamName = "cam1".parse().unwrap();
    let began = std::time::Instant::now();
    let mut asked = 0;
    while began.elapsed() < ABSENT * 2 {
        assert_eq!(edge.hub.find(&name).await.unwrap_err(), Unavailable::NotFound);
        asked += 1;
    }
    let reached = upstream.plays.load(Ordering::SeqCst);
    assert!((1..=4).contains(&reached) && asked > reached, "{reached} of {asked}");
}

#[tokio::test]
async fn a_demanded_stream_that_is_planned_stays_without_viewers() {
    let upstream = Upstream::start().await;
    upstream.publish("cam1").frames(60);
    let edge = Edge::start(&[&upstream.url]);
    let name: StreamName = "cam1".parse().unwrap();
    let stream = edge.hub.find(&name).await.unwrap();
    edge.puller.set(pulls("cam1", &[&upstream.url])).unwrap();
    tokio::time::sleep(Duration::from_millis(1_600)).await;
    assert_eq!(stream.ended(), None);
    assert_eq!(
        upstream.plays.load(Ordering::SeqCst),
        1,
        "planned and demanded is one pull"
    );
}

#[tokio::test]
async fn stopping_ends_pulls() {
    let upstream = Upstream::start().await;
    upstream.publish("cam1").frames(60);
    let edge = Edge::start(&[]);
    edge.puller.set(pulls("cam1", &[&upstream.url])).unwrap();
    let stream = edge.playable("cam1").await;
    edge.stop.cancel();
    edge.eventually("gone", |edge| edge.stream("cam1").is_none()).await;
    assert_eq!(stream.ended(), Some(StreamEnd::Shutdown));
}

/// rtmp-rs's puller had no read time-out.
#[tokio::test(start_paused = true)]
async fn fault_3_a_source_that_falls_silent_is_tried_anew() {
    let upstream = Upstream::start().await;
    let mut voice = upstream.publish("cam1");
    voice.frames(60);
    let edge = Edge::start(&[]);
    edge.puller.set(pulls("cam1", &[&upstream.url])).unwrap();
    let stream = edge.playable("cam1").await;
    let again = async {
        while upstream.plays.load(Ordering::SeqCst) < 2 {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    timeout(Duration::from_secs(15), again).await.unwrap();
    assert_eq!(stream.ended(), None, "the stream stays for its grace");
}

/// rtmp-rs printed keys in logs at many places.
#[tokio::test]
async fn fault_15_a_sources_key_shows_in_no_failure() {
    let edge = Edge::start(&[]);
    let mut set = pulls("cam1", &[&nowhere().await]);
    set.pulls[0].sources[0].url += "?key=s3cret";
    edge.puller.set(set).unwrap();
    edge.eventually("failing", |edge| !edge.puller.failing(20).is_empty())
        .await;
    let text = format!("{:?} {:?}", edge.puller.failing(20), edge.puller.status());
    assert!(!text.contains("s3cret"), "{text}");
}
