//! Conversations as encoders and players hold them, and as they should not.

use rtmp_rs::amf::AmfValue;
use rtmp_rs::protocol::RtmpMessage;

use super::*;
use crate::rtmp::chunk_reader::{ChunkReader, Limits};

fn session(role: Role) -> Session {
    Session::new(role, "live".parse().unwrap())
}

fn text(text: &str) -> AmfValue {
    AmfValue::String(text.to_owned())
}

fn command(name: &str, object: AmfValue, arguments: Vec<AmfValue>) -> Message {
    let (type_id, body) = RtmpMessage::Command(Command {
        name: name.to_owned(),
        transaction_id: 3.0,
        command_object: object,
        arguments,
        stream_id: 1,
    })
    .encode();
    Message {
        csid: 3,
        type_id,
        stream_id: 1,
        timestamp: 0,
        body,
    }
}

fn simple(name: &str, argument: &str) -> Message {
    command(name, AmfValue::Null, vec![text(argument)])
}

fn connect(app: &str) -> Message {
    command("connect", command::object([("app", text(app))]), vec![])
}

/// All that a peer would read of `replies`.
fn heard(replies: &Bytes, opened: bool) -> Vec<Command> {
    let mut reader = ChunkReader::new(Limits::COMMANDS);
    if opened {
        reader.input().extend_from_slice(&connection::opening());
    }
    reader.input().extend_from_slice(replies);
    std::iter::from_fn(|| reader.next().unwrap())
        .filter_map(|message| command::decode(&message).unwrap())
        .collect()
}

fn code(replies: &Bytes) -> String {
    let commands = heard(replies, true);
    let info = commands.last().unwrap().arguments.last().unwrap();
    info.get_string("code").unwrap_or_default().to_owned()
}

fn opened(role: Role, app: &str) -> Session {
    let mut session = session(role);
    assert_eq!(session.step(connect(app)).next, Next::Go);
    assert_eq!(
        session.step(command("createStream", AmfValue::Null, vec![])).next,
        Next::Go
    );
    session
}

fn published(app: &str, name: &str) -> Next {
    opened(Role::Origin, app).step(simple("publish", name)).next
}

fn wanted(name: &str, key: Option<&str>) -> Next {
    Next::Publish(Publish {
        name: name.parse().unwrap(),
        key: key.map(PublishKey::new),
    })
}

#[test]
fn encoders_split_the_url_as_they_like() {
    assert_eq!(published("live", "cam1"), wanted("cam1", None));
    assert_eq!(published("live", "cam1?key=s3cret"), wanted("cam1", Some("s3cret")));
    assert_eq!(
        published("live/", "cam1?a=b&key=s%2B3+%zz"),
        wanted("cam1", Some("s+3+%zz"))
    );
    assert_eq!(published("live/cam1", ""), wanted("cam1", None));
    assert_eq!(published("live/cam1?key=k", ""), wanted("cam1", Some("k")));
    assert_eq!(published("live?key=k", "cam1"), wanted("cam1", Some("k")));
    assert_eq!(published("live", "deep/er"), Next::Refuse(Refusal::NotAllowed));
    assert_eq!(published("live", ""), Next::Refuse(Refusal::NotAllowed));
}

#[test]
fn another_app_is_refused_with_the_right_one() {
    for app in ["other", "", "lively", "LIVE"] {
        let step = session(Role::Origin).step(connect(app));
        assert_eq!(step.next, Next::Refuse(Refusal::NotAllowed), "{app}");
        let answer = heard(&step.replies, false).pop().unwrap();
        let info = answer.arguments.last().unwrap();
        assert_eq!(info.get_string("code"), Some("NetConnection.Connect.InvalidApp"));
        assert!(info.get_string("description").unwrap().contains("\"live\""));
    }
}

#[test]
fn connect_is_answered_with_enhanced_capabilities() {
    let step = session(Role::Origin).step(connect("live"));
    let answer = heard(&step.replies, false).pop().unwrap();
    assert_eq!((answer.name.as_str(), answer.transaction_id), ("_result", 3.0));
    let codecs = answer
        .command_object
        .get("fourCcList")
        .and_then(AmfValue::as_array)
        .unwrap();
    for codec in ["hvc1", "av01", "Opus"] {
        assert!(codecs.contains(&text(codec)), "{codec}");
    }
    assert!(answer.command_object.get("capsEx").is_some());
}

/// rtmp-rs took `publish` without `connect`, by-passing authorisation.
#[test]
fn fault_9_publish_without_connect_is_refused() {
    for name in ["publish", "play", "createStream", "FCPublish"] {
        let step = session(Role::Origin).step(simple(name, "cam1"));
        assert_eq!(step.next, Next::Refuse(Refusal::NotAllowed), "{name}");
    }
    let mut connected = session(Role::Origin);
    connected.step(connect("live"));
    let step = connected.step(simple("publish", "cam1"));
    assert_eq!(step.next, Next::Refuse(Refusal::NotAllowed), "createStream comes first");
}

#[test]
fn media_before_publish_goes_nowhere() {
    let mut session = opened(Role::Origin, "live");
    let media = Message {
        csid: 4,
        type_id: MSG_VIDEO,
        stream_id: 1,
        timestamp: 0,
        body: Bytes::from_static(b"frame"),
    };
    assert_eq!(session.step(media.clone()).next, Next::Go);
    session.step(simple("publish", "cam1"));
    assert_eq!(session.step(media.clone()).next, Next::Media(media));
}

#[test]
fn an_edge_sends_publishers_to_an_origin() {
    let step = opened(Role::Edge, "live").step(simple("publish", "cam1"));
    assert_eq!(step.next, Next::Refuse(Refusal::NotAllowed));
    let status = heard(&step.replies, true).pop().unwrap();
    let text = status.arguments[0].get_string("description").unwrap().to_owned();
    assert!(text.contains("publishing is for origins"), "{text}");
}

#[test]
fn create_stream_always_answers_one_and_a_second_is_refused() {
    let mut session = session(Role::Origin);
    session.step(connect("live"));
    let create = || command("createStream", AmfValue::Null, vec![]);
    let first = heard(&session.step(create()).replies, true).pop().unwrap();
    assert_eq!(first.arguments[0].as_number(), Some(1.0));
    let second = heard(&session.step(create()).replies, true).pop().unwrap();
    assert_eq!(second.name, "_error");
    session.step(simple("deleteStream", ""));
    let third = heard(&session.step(create()).replies, true).pop().unwrap();
    assert_eq!(third.arguments[0].as_number(), Some(1.0));
}

#[test]
fn each_word_for_unpublish_ends_the_stream() {
    for name in ["FCUnpublish", "deleteStream", "closeStream"] {
        let mut session = opened(Role::Origin, "live");
        session.step(simple("publish", "cam1"));
        let step = session.step(simple(name, "cam1"));
        assert_eq!(step.next, Next::Unpublish, "{name}");
        assert_eq!(code(&step.replies), "NetStream.Unpublish.Success");
    }
}

#[test]
fn a_relay_is_told_from_a_viewer() {
    let mut relay = session(Role::Edge);
    let object = command::object([("app", text("live")), (RELAY_PROPERTY, AmfValue::Boolean(true))]);
    relay.step(command("connect", object, vec![]));
    relay.step(command("createStream", AmfValue::Null, vec![]));
    let name: StreamName = "cam1".parse().unwrap();
    let play = Next::Play {
        name: name.clone(),
        relay: true,
    };
    assert_eq!(relay.step(simple("play", "cam1")).next, play);
    let viewer = opened(Role::Edge, "live").step(simple("play", "cam1?token=1")).next;
    assert_eq!(viewer, Next::Play { name, relay: false });
}

#[test]
fn courtesies_are_answered_and_change_nothing() {
    let mut session = opened(Role::Origin, "live");
    for name in ["releaseStream", "FCPublish", "_checkbw", "getStreamLength"] {
        let answer = heard(&session.step(simple(name, "cam1")).replies, true).pop().unwrap();
        assert_eq!(
            (answer.name.as_str(), answer.transaction_id),
            ("_result", 3.0),
            "{name}"
        );
    }
    for name in ["pause", "seek", "receiveAudio", "somethingNew"] {
        assert_eq!(session.step(simple(name, "")).next, Next::Go, "{name}");
    }
    assert_eq!(session.step(simple("publish", "cam1")).next, wanted("cam1", None));
}

#[test]
fn commands_in_amf3_messages_are_understood() {
    let mut session = session(Role::Origin);
    let mut message = connect("live");
    message.type_id = 17;
    message.body = [&[0], &message.body[..]].concat().into();
    assert_eq!(session.step(message).next, Next::Go);
    assert!(session.connected());
}

/// 460 bytes before `connect` gave rtmp-rs 5.6 GB: references to an array that holds references.
#[test]
fn fault_5_amf_references_are_refused_before_they_are_decoded() {
    let mut body = vec![2, 0, 7];
    body.extend_from_slice(b"connect");
    body.extend_from_slice(&[0, 0x3f, 0xf0, 0, 0, 0, 0, 0, 0]);
    body.extend_from_slice(&[10, 0, 0, 0, 2, 7, 0, 0, 7, 0, 0]);
    let message = Message {
        csid: 3,
        type_id: 20,
        stream_id: 0,
        timestamp: 0,
        body: body.into(),
    };
    let step = session(Role::Origin).step(message);
    assert_eq!(step.next, Next::Refuse(Refusal::Malformed));
}

/// rtmp-rs printed keys in logs at many places.
#[test]
fn fault_15_a_key_shows_in_no_debug_text() {
    let mut session = opened(Role::Origin, "live?key=s3cret");
    assert!(!format!("{session:?}").contains("s3cret"));
    let next = session.step(simple("publish", "cam1?key=s3cret")).next;
    assert!(!format!("{next:?}").contains("s3cret"));
    let bad = opened(Role::Origin, "live").step(simple("publish", "bad name?key=s3cret"));
    assert!(!String::from_utf8_lossy(&bad.replies).contains("s3cret"));
}
