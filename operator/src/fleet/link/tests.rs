//! A link against a node that speaks the contract on a real port.

use std::time::Duration;

use axum::http::StatusCode;
use headwater_contract::{Event, NodeFigures, Pull, Pulls, Role, Source};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::*;
use crate::fake_node::{FakeNode, TOKEN, hello, until};

type Notices = mpsc::Receiver<(u32, Notice)>;

fn settings(node: &FakeNode) -> LinkSettings {
    LinkSettings {
        ops: node.ops,
        token: ControlToken::new(TOKEN),
        term: 7,
        longest_wait: Duration::from_millis(200),
    }
}

async fn linked(node: &FakeNode) -> (Link, Notices) {
    let (sender, receiver) = mpsc::channel(64);
    (Link::start(settings(node), 1, sender), receiver)
}

async fn next(notices: &mut Notices, wanted: impl Fn(&Notice) -> bool) -> Notice {
    timeout(Duration::from_secs(10), async {
        loop {
            let (id, notice) = notices.recv().await.unwrap();
            assert_eq!(id, 1);
            if wanted(&notice) {
                return notice;
            }
        }
    })
    .await
    .unwrap()
}

fn is_hello(notice: &Notice) -> bool {
    matches!(notice, Notice::Event(event) if matches!(**event, Event::Hello(_)))
}

fn pulls(stream: &str) -> Wanted {
    Wanted {
        pulls: Some(PullSet::from(Pulls {
            pulls: vec![Pull {
                stream: stream.into(),
                sources: vec![Source {
                    url: format!("rtmp://127.0.0.1/live/{stream}"),
                    http: None,
                }],
            }],
            ..Default::default()
        })),
        publishing: None,
        service: Some(Service::Serve),
    }
}

#[tokio::test]
async fn events_arrive_in_order_and_a_cut_stream_is_taken_up_again() {
    let node = FakeNode::start(hello("a", Role::Edge)).await;
    let (_link, mut notices) = linked(&node).await;
    next(&mut notices, is_hello).await;
    let figures = NodeFigures {
        viewers: 3,
        ..Default::default()
    };
    node.say(Event::Figures(figures.clone()));
    let event = next(&mut notices, |notice| matches!(notice, Notice::Event(_))).await;
    assert_eq!(event, Notice::Event(Box::new(Event::Figures(figures))));
    node.cut();
    next(&mut notices, |notice| matches!(notice, Notice::Lost(_))).await;
    next(&mut notices, is_hello).await;
}

#[tokio::test]
async fn a_command_is_sent_once_with_its_term_and_again_to_a_new_boot() {
    let node = FakeNode::start(hello("a", Role::Edge)).await;
    let (link, mut notices) = linked(&node).await;
    link.want(pulls("cam1"));
    let told = node.until_told(|told| !told.is_empty()).await;
    assert_eq!(told[0].what, "PUT /v1/pulls");
    assert_eq!(told[0].body["term"], 7);
    link.want(pulls("cam1"));
    link.want(pulls("cam2"));
    let told = node.until_told(|told| told.len() >= 2).await;
    assert_eq!(told.len(), 2, "the same set again is no command: {told:?}");
    next(&mut notices, is_hello).await;
    node.change(|hello| hello.boot_id = "boot-2".into());
    node.cut();
    next(&mut notices, is_hello).await;
    let told = node.until_told(|told| told.len() >= 3).await;
    assert_eq!(told[2].body["pulls"][0]["stream"], "cam2");
}

#[tokio::test]
async fn a_failed_command_is_tried_until_it_is_acknowledged() {
    let node = FakeNode::start(hello("a", Role::Edge)).await;
    node.refuse(Some((StatusCode::BAD_REQUEST, 0)));
    let (link, mut notices) = linked(&node).await;
    link.want(pulls("cam1"));
    let failed = next(&mut notices, |notice| matches!(notice, Notice::CommandFailed { .. })).await;
    assert!(format!("{failed:?}").contains("refused by the test"), "{failed:?}");
    node.until_told(|told| told.len() >= 2).await;
    node.refuse(None);
    let count = node.told().len();
    let told = node.until_told(|told| told.len() > count).await;
    link.want(Wanted {
        service: Some(Service::Drain(Timestamp::UNIX_EPOCH)),
        ..pulls("cam1")
    });
    let told = node.until_told(|now| now.len() > told.len()).await;
    assert_eq!(told.last().unwrap().what, "PUT /v1/drain", "{told:?}");
    link.want(pulls("cam1"));
    let told = node.until_told(|now| now.len() > told.len()).await;
    assert_eq!(told.last().unwrap().what, "DELETE /v1/drain?term=7", "{told:?}");
}

/// The node may have taken a command whose answer was lost: going back to what it acknowledged before is a command too.
#[tokio::test]
async fn a_drain_without_an_answer_is_taken_back() {
    let node = FakeNode::start(hello("a", Role::Edge)).await;
    let (link, _notices) = linked(&node).await;
    link.want(pulls("cam1"));
    node.until_told(|told| !told.is_empty()).await;
    node.refuse(Some((StatusCode::GATEWAY_TIMEOUT, 0)));
    link.want(Wanted {
        service: Some(Service::Drain(Timestamp::UNIX_EPOCH)),
        ..pulls("cam1")
    });
    node.until_told(|told| told.iter().any(|told| told.what == "PUT /v1/drain"))
        .await;
    link.want(pulls("cam1"));
    node.until_told(|told| told.iter().any(|told| told.what == "DELETE /v1/drain?term=7"))
        .await;
}

#[tokio::test]
async fn a_link_whose_term_is_too_low_commands_no_more_and_goes_on_listening() {
    let node = FakeNode::start(hello("a", Role::Edge)).await;
    node.refuse(Some((StatusCode::CONFLICT, 9)));
    let (link, mut notices) = linked(&node).await;
    link.want(pulls("cam1"));
    next(&mut notices, |notice| *notice == Notice::Superseded { term: 9 }).await;
    node.refuse(None);
    link.want(pulls("cam2"));
    node.cut();
    next(&mut notices, is_hello).await;
    node.cut();
    next(&mut notices, is_hello).await;
    assert_eq!(node.told().len(), 1);
}

#[tokio::test]
async fn a_wrong_token_is_told_and_never_shown() {
    let node = FakeNode::start(hello("a", Role::Edge)).await;
    let (sender, mut notices) = mpsc::channel(64);
    let settings = LinkSettings {
        token: ControlToken::new("wrong-secret"),
        ..settings(&node)
    };
    assert!(!format!("{settings:?}").contains("wrong-secret"));
    let _link = Link::start(settings, 1, sender);
    let lost = next(&mut notices, |notice| matches!(notice, Notice::Lost(_))).await;
    let text = format!("{lost:?}");
    assert!(text.contains("401") && !text.contains("wrong-secret"), "{text}");
}

#[tokio::test]
async fn a_move_is_asked_for() {
    let node = FakeNode::start(hello("a", Role::Edge)).await;
    let (link, _notices) = linked(&node).await;
    link.ask_to_move(4);
    let told = node.until_told(|told| !told.is_empty()).await;
    assert_eq!(
        (told[0].what.as_str(), &told[0].body["viewers"]),
        ("POST /v1/move", &4.into())
    );
}

#[tokio::test]
async fn a_dropped_link_lets_go_of_the_node() {
    let node = FakeNode::start(hello("a", Role::Edge)).await;
    let (link, mut notices) = linked(&node).await;
    next(&mut notices, is_hello).await;
    drop(link);
    until(|| notices.is_closed().then_some(())).await;
}
