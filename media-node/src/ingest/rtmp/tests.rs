//! Our client against our server, over loopback.

use std::sync::Arc;

use bytes::Bytes;
use headwater_contract::{OnConflict, PublishKey, Publishing};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::*;
use crate::hub::{Hub, Limits, Stream};
use crate::ingest::listener;
use crate::ingest::publishing::PublishRules;
use crate::lifecycle::Lifecycle;
use crate::meters::Meters;
use crate::rtmp::client::{Client, ClientError};
use crate::rtmp::mux;
use crate::rtmp::url::RtmpUrl;

/// An origin whose players are told that there is nothing.
pub(in crate::ingest) struct Origin {
    pub(in crate::ingest) ingest: Ingest,
    pub(in crate::ingest) base: RtmpUrl,
    stop: CancellationToken,
}

impl Drop for Origin {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

pub(in crate::ingest) async fn origin(role: Role, connections: usize) -> Origin {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("rtmp://{}", listener.local_addr().unwrap());
    let ingest = Ingest {
        role,
        app: "live".parse().unwrap(),
        hub: Hub::new(Limits::default(), None),
        meters: Meters::default(),
        lifecycle: Lifecycle::default(),
        rules: PublishRules::new(false),
        publish_grace: Duration::from_secs(10),
    };
    let stop = CancellationToken::new();
    let play = |mut request: PlayRequest| async move {
        let _ = request.io.write_all(&command::play_not_found()).await;
    };
    let tasks = TaskTracker::new();
    tokio::spawn(listener::run(
        listener,
        ingest.clone(),
        connections,
        play,
        stop.clone(),
        tasks,
    ));
    Origin {
        ingest,
        base: RtmpUrl::parse_base(&base, "live").unwrap(),
        stop,
    }
}

impl Origin {
    pub(in crate::ingest) async fn publish(&self, name: &str) -> Result<Client, ClientError> {
        let mut client = Client::connect(&self.base, false).await?;
        client.publish(name).await.map(|()| client)
    }

    pub(in crate::ingest) async fn eventually(&self, what: &str, holds: impl Fn(&Ingest) -> bool) {
        let wait = async {
            while !holds(&self.ingest) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(Duration::from_secs(10), wait).await.unwrap_or_else(|_| {
            let streams: Vec<_> = self.ingest.hub.streams().iter().map(Stream::snapshot).collect();
            panic!("never: {what}; streams: {streams:?}")
        });
    }

    pub(in crate::ingest) fn stream(&self, name: &str) -> Option<Stream> {
        self.ingest.hub.get(&name.parse().unwrap())
    }
}

/// An AAC configuration and so many frames, 23 ms apart.
pub(in crate::ingest) async fn send_audio(client: &mut Client, frames: u32) {
    let mut out = mux::message(4, 8, 1, 0, &Bytes::from_static(&[0xaf, 0, 0x12, 0x10]), 65_536);
    for n in 0..frames {
        let frame = Bytes::from_static(&[0xaf, 1, 0x21, 0x10, 4]);
        out.extend(mux::message(4, 8, 1, n * 23, &frame, 65_536));
    }
    client.send(&out).await.unwrap();
}

fn code(error: &ClientError) -> &str {
    match error {
        ClientError::Refused { code, .. } => code,
        _ => "",
    }
}

fn keyed(key: &str) -> Publishing {
    Publishing {
        keys: Some([("cam1".to_owned(), PublishKey::new(key))].into()),
        ..Publishing::default()
    }
}

#[tokio::test]
async fn what_is_published_is_playable() {
    let origin = origin(Role::Origin, 10).await;
    let mut client = origin.publish("cam1").await.unwrap();
    send_audio(&mut client, 60).await;
    origin
        .eventually("cam1 is playable", |ingest| {
            ingest.hub.streams().iter().any(|stream| stream.snapshot().playable)
        })
        .await;
    assert!(origin.ingest.meters.received_bytes() > 60);
}

#[tokio::test]
async fn unpublish_ends_the_stream_at_once() {
    let origin = origin(Role::Origin, 10).await;
    let mut client = origin.publish("cam1").await.unwrap();
    send_audio(&mut client, 2).await;
    let stream = origin.stream("cam1").unwrap();
    client.unpublish("cam1").await;
    origin
        .eventually("cam1 is gone", |ingest| ingest.hub.streams().is_empty())
        .await;
    assert_eq!(stream.ended(), Some(StreamEnd::Unpublished));
}

/// rtmp-rs did not notice a disconnect without unpublish.
#[tokio::test]
async fn fault_12_an_abrupt_disconnect_leaves_the_stream_for_its_grace() {
    let origin = origin(Role::Origin, 10).await;
    let client = origin.publish("cam1").await.unwrap();
    let stream = origin.stream("cam1").unwrap();
    drop(client);
    let vacant = |ingest: &Ingest| {
        let options = PublishOptions {
            source: StreamSource::Publish,
            grace: Duration::from_secs(10),
        };
        let mut occupancy = None;
        let name = "cam1".parse().unwrap();
        let _ = ingest.hub.publish(&name, options, (), |found| {
            occupancy = Some(found);
            Err(())
        });
        occupancy == Some(crate::hub::Occupancy::Vacant)
    };
    origin.eventually("cam1 is vacant", vacant).await;
    assert_eq!(stream.ended(), None);
    let mut back = origin.publish("cam1").await.unwrap();
    send_audio(&mut back, 2).await;
    assert_eq!(
        origin.stream("cam1").unwrap().id(),
        stream.id(),
        "the same stream goes on"
    );
}

#[tokio::test]
async fn a_second_publisher_is_refused_or_takes_over_as_the_rules_say() {
    let origin = origin(Role::Origin, 10).await;
    let mut first = origin.publish("cam1").await.unwrap();
    let refused = origin.publish("cam1").await.unwrap_err();
    assert_eq!(code(&refused), "NetStream.Publish.BadName");
    assert_eq!(origin.ingest.meters.refusals(Refusal::Conflict), 1);
    let rules = Publishing {
        on_conflict: OnConflict::TakeOver,
        ..Publishing::default()
    };
    origin.ingest.rules.set(rules).unwrap();
    let _second = origin.publish("cam1").await.unwrap();
    let told = timeout(Duration::from_secs(5), first.refusal()).await.unwrap();
    assert_eq!(code(&told), "NetStream.Publish.BadName");
}

#[tokio::test]
async fn a_wrong_key_is_refused_and_a_key_taken_away_closes_its_publisher() {
    let origin = origin(Role::Origin, 10).await;
    origin.ingest.rules.set(keyed("s3cret")).unwrap();
    for wrong in ["cam1", "cam1?key=wrong", "cam2?key=s3cret"] {
        let refused = origin.publish(wrong).await.unwrap_err();
        assert_eq!(code(&refused), "NetStream.Publish.Denied", "{wrong}");
    }
    assert_eq!(origin.ingest.meters.refusals(Refusal::Key), 3);
    let mut client = origin.publish("cam1?key=s3cret").await.unwrap();
    origin.ingest.rules.set(keyed("s3cret")).unwrap();
    send_audio(&mut client, 2).await;
    origin.ingest.rules.set(keyed("another")).unwrap();
    let told = timeout(Duration::from_secs(5), client.refusal()).await.unwrap();
    assert_eq!(code(&told), "NetStream.Publish.Denied");
    origin
        .eventually("cam1 is gone", |ingest| ingest.hub.streams().is_empty())
        .await;
}

#[tokio::test]
async fn an_edge_refuses_publishers() {
    let edge = origin(Role::Edge, 10).await;
    let refused = edge.publish("cam1").await.unwrap_err();
    assert_eq!(code(&refused), "NetStream.Publish.Denied");
}

#[tokio::test]
async fn a_stopping_origin_sends_publishers_away_and_takes_no_new_ones() {
    let origin = origin(Role::Origin, 10).await;
    let mut client = origin.publish("cam1").await.unwrap();
    origin.ingest.lifecycle.stop();
    let told = timeout(Duration::from_secs(5), client.refusal()).await.unwrap();
    assert_eq!(code(&told), "NetConnection.Connect.Closed");
    assert!(origin.publish("cam2").await.is_err());
}

/// rtmp-rs ignored its `max_connections`.
#[tokio::test]
async fn fault_7_connections_beyond_the_limit_are_closed_and_counted() {
    let origin = origin(Role::Origin, 1).await;
    let first = origin.publish("cam1").await.unwrap();
    assert!(Client::connect(&origin.base, false).await.is_err());
    assert!(origin.ingest.meters.refusals(Refusal::Limit) >= 1);
    drop(first);
    let wait = async {
        while origin.publish("cam2").await.is_err() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(Duration::from_secs(5), wait).await.unwrap();
}

#[tokio::test]
async fn garbage_is_refused_and_counted() {
    let origin = origin(Role::Origin, 10).await;
    let address = (origin.base.host.as_str(), origin.base.port);
    let mut io = TcpStream::connect(address).await.unwrap();
    io.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    let mut rest = Vec::new();
    let _ = timeout(Duration::from_secs(5), io.read_to_end(&mut rest))
        .await
        .unwrap();
    assert_eq!(origin.ingest.meters.refusals(Refusal::Malformed), 1);
    drop(TcpStream::connect(address).await.unwrap()); // a health probe
    let mut io = TcpStream::connect(address).await.unwrap();
    handshake::connect(&mut io, &mut BytesMut::new()).await.unwrap();
    // A message of 16 MiB before anything was admitted.
    io.write_all(&[3, 0, 0, 0, 0xff, 0xff, 0xff, 20, 0, 0, 0, 0])
        .await
        .unwrap();
    let _ = timeout(Duration::from_secs(5), io.read_to_end(&mut rest))
        .await
        .unwrap();
    assert_eq!(origin.ingest.meters.refusals(Refusal::Limit), 1);
    assert_eq!(
        origin.ingest.meters.refusals(Refusal::Malformed),
        1,
        "a probe is no refusal"
    );
}

#[tokio::test]
async fn garbage_of_an_admitted_publisher_is_counted_too() {
    let origin = origin(Role::Origin, 10).await;
    let meters = &origin.ingest.meters;
    let mut client = origin.publish("cam1").await.unwrap();
    let headless = Bytes::from_static(&[0xe0]); // a chunk of type 3 where there was none before
    client.send(&[headless]).await.unwrap();
    origin
        .eventually("a torn chunk", |_| meters.refusals(Refusal::Malformed) == 1)
        .await;
    let mut client = origin.publish("cam2").await.unwrap();
    let command = Bytes::from_static(&[2, 0xff, 0xff]); // a name that ends before it should
    client.send(&mux::message(3, 20, 1, 0, &command, 65_536)).await.unwrap();
    origin
        .eventually("a torn command", |_| meters.refusals(Refusal::Malformed) == 2)
        .await;
}

/// rtmp-rs had a deadline for the handshake alone.
#[tokio::test(start_paused = true)]
async fn fault_14_a_peer_that_never_publishes_or_plays_is_dropped() {
    let (near, far) = loopback().await;
    let ingest = Arc::new(origin(Role::Origin, 10).await);
    let server = tokio::spawn({
        let ingest = Arc::clone(&ingest);
        async move { serve(far, &ingest.ingest).await }
    });
    let mut near = near;
    handshake::connect(&mut near, &mut BytesMut::new()).await.unwrap();
    assert!(matches!(server.await.unwrap(), Handoff::Done));
    assert_eq!(ingest.ingest.meters.refusals(Refusal::Timeout), 1);
}

/// rtmp-rs's puller hung on a stream that is not there.
#[tokio::test]
async fn fault_3_playing_a_missing_stream_fails_at_once() {
    let origin = origin(Role::Origin, 10).await;
    let mut client = Client::connect(&origin.base, true).await.unwrap();
    let answer = timeout(Duration::from_secs(2), client.play("nothing")).await.unwrap();
    assert!(matches!(answer, Err(ClientError::NotFound)));
}

async fn loopback() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (near, far) = tokio::join!(TcpStream::connect(address), listener.accept());
    (near.unwrap(), far.unwrap().0)
}
