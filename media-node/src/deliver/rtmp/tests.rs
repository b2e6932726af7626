//! RTMP players against the server, over loopback.

use std::time::Duration;

use headwater_contract::Role;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::deliver::rig::{Rig, until};
use crate::ingest::publishing::PublishRules;
use crate::ingest::{Ingest, listener};
use crate::media::clock::Clock;
use crate::package::feed::FeedLimits;
use crate::rtmp::client::{Client, ClientError, Incoming};

struct Node {
    rig: Rig,
    addr: std::net::SocketAddr,
}

fn start() -> Node {
    let mut rig = Rig::new(FeedLimits::default());
    rig.config("a");
    rig.key("1");
    let socket = listen::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let addr = socket.local_addr().unwrap();
    let ingest = Ingest {
        role: Role::Edge,
        app: "live".parse().unwrap(),
        hub: rig.delivery.hub.clone(),
        meters: rig.delivery.meters.clone(),
        lifecycle: rig.delivery.lifecycle.clone(),
        rules: PublishRules::new(false),
        publish_grace: Duration::from_secs(10),
    };
    let delivery = rig.delivery.clone();
    let play = move |request| play(request, delivery.clone());
    let stop = CancellationToken::new();
    tokio::spawn(listener::run(socket, ingest, 100, play, stop, rig.tasks.clone()));
    Node { rig, addr }
}

impl Node {
    async fn play(&self, name: &str, relay: bool) -> Result<Client, ClientError> {
        let url = format!("rtmp://{}/live/{name}", self.addr).parse().unwrap();
        let mut client = Client::connect(&url, relay).await?;
        client.play(name).await?;
        Ok(client)
    }
}

/// The bodies of the next messages, as text, until one is `last`.
async fn bodies(client: &mut Client, last: &str) -> Vec<String> {
    let mut bodies: Vec<String> = Vec::new();
    while bodies.last().is_none_or(|body| body != last) {
        let next = tokio::time::timeout(Duration::from_secs(5), client.next());
        match next.await.unwrap_or_else(|_| panic!("only {bodies:?}")).unwrap() {
            Incoming::Media(message) => bodies.push(String::from_utf8_lossy(&message.body).into_owned()),
            other => panic!("{other:?} after {bodies:?}"),
        }
    }
    bodies
}

#[tokio::test]
async fn a_player_gets_headers_the_group_of_pictures_and_the_end() {
    let mut node = start();
    let mut player = node.play("cam", false).await.unwrap();
    assert_eq!(bodies(&mut player, "1").await, ["a", "1"]);
    node.rig.frame("2");
    assert_eq!(bodies(&mut player, "2").await, ["2"]);
    assert_eq!(node.rig.delivery.meters.served(Protocol::Rtmp), 1);
    node.rig.finish(StreamEnd::Unpublished);
    assert!(matches!(player.next().await, Ok(Incoming::Ended)));
    until("nobody is served", || node.rig.delivery.meters.viewers() == 0).await;
}

#[tokio::test]
async fn a_relay_gets_clocks_and_is_no_viewer() {
    let node = start();
    let mut relay = node.play("cam", true).await.unwrap();
    let bodies = bodies(&mut relay, "1").await;
    assert!(bodies.iter().any(|body| body.contains(Clock::MESSAGE)), "{bodies:?}");
    let snapshot = node.rig.stream().snapshot();
    assert_eq!((snapshot.viewers, snapshot.relays), (0, 1));
    assert_eq!(node.rig.delivery.meters.viewers(), 0);
    assert_eq!(node.rig.delivery.meters.served(Protocol::Relay), 1);
}

#[tokio::test]
async fn an_unknown_stream_and_a_draining_node_are_refused() {
    let node = start();
    assert!(matches!(node.play("none", false).await, Err(ClientError::NotFound)));
    let deadline = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(60);
    node.rig.delivery.lifecycle.drain(deadline, Duration::ZERO);
    match node.play("cam", false).await {
        Err(ClientError::Refused { description, .. }) => assert!(description.contains("drain"), "{description}"),
        other => panic!("{other:?}"),
    }
    assert_eq!(node.rig.delivery.meters.refusals(Refusal::Draining), 1);
}

#[tokio::test]
async fn a_stopping_node_closes_without_saying_that_the_stream_has_ended() {
    let node = start();
    let mut player = node.play("cam", false).await.unwrap();
    bodies(&mut player, "1").await;
    node.rig.delivery.cut.cancel();
    assert!(player.next().await.is_err());
}
