//! What the operator and a media node say to each other, as serde types and nothing else.
//!
//! ```text
//! operator ──PUT /v1/pulls · /v1/publishing · /v1/drain, POST /v1/move──▶ node (ops port, bearer token)
//! operator ◀──GET /v1/events: hello, streamUp, streamDown, figures──────── node (server-sent events)
//! ```
//!
//! JSON, camelCase. Times are RFC 3339, durations carry their unit in the name, bit rates are bits per second.
//! Commands carry a `term`; a node answers 409 with [`Refused`] to a term lower than the highest that it has seen.
//! A command without a term (a person with curl) is taken at the highest term seen.

mod command;
mod state;

pub use command::{
    Drain, Move, Moved, OnConflict, OnDemand, PublishKey, Publishing, Pull, Pulls, Push, Refused, Source,
};
pub use state::{
    DrainState, Event, FailingPull, NodeFigures, NodeHello, Role, StreamDown, StreamEnd, StreamFigures, StreamSource,
    StreamState,
};

/// Path of the server-sent event stream: `GET`, events named as [`Event`]'s variants, one JSON [`Event`] as data.
pub const EVENTS_PATH: &str = "/v1/events";
/// Path of the node's identity and state: `GET`, answers [`NodeHello`].
pub const HELLO_PATH: &str = "/v1/hello";
/// Path of the desired pulls: `PUT` [`Pulls`], the whole set each time; `GET` answers the set in force.
pub const PULLS_PATH: &str = "/v1/pulls";
/// Path of the origin's publishing rules and pushes: `PUT` [`Publishing`], whole each time. Never readable: it holds keys.
pub const PUBLISHING_PATH: &str = "/v1/publishing";
/// Path of the drain: `PUT` [`Drain`], `DELETE` (term as `?term=`), `GET` answers [`DrainState`] or null.
pub const DRAIN_PATH: &str = "/v1/drain";
/// Path of the rebalance command: `POST` [`Move`], answers [`Moved`].
pub const MOVE_PATH: &str = "/v1/move";
/// The command-object property of `connect` (RTMP 1.0 §7.2.1.1) by which a relay asks for clock messages.
pub const RELAY_PROPERTY: &str = "headwaterRelay";

/// True if `name` matches `pattern`, in which `*` stands for any run of characters, the empty one too.
pub fn pattern_matches(pattern: &str, name: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(first) = parts.next() else { return false };
    let Some(mut rest) = name.strip_prefix(first) else {
        return false;
    };
    let mut parts = parts.peekable();
    if parts.peek().is_none() {
        return rest.is_empty();
    }
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return rest.ends_with(part);
        }
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn patterns_match_whole_names() {
        for (pattern, name, matches) in [
            ("*", "", true),
            ("*", "cam1", true),
            ("cam*", "cam1", true),
            ("cam*", "xcam1", false),
            ("*_1080", "show_1080", true),
            ("*_1080", "show_1080x", false),
            ("a*b*c", "axxbyyc", true),
            ("a*b*c", "axxcyyb", false),
            ("cam1", "cam1", true),
            ("cam1", "cam12", false),
            ("a*a", "a", false),
        ] {
            assert_eq!(pattern_matches(pattern, name), matches, "{pattern} against {name}");
        }
    }

    #[test]
    fn a_key_shows_in_no_debug_text() {
        let publishing = Publishing {
            keys: Some(BTreeMap::from([("cam1".to_owned(), PublishKey::new("s3cret"))])),
            pushes: vec![Push {
                stream: "*".into(),
                url: "rtmp://h/live/x?key=s3cret".into(),
            }],
            ..Default::default()
        };
        assert!(!format!("{publishing:?} {:?} {:?}", publishing.keys, publishing.pushes).contains("s3cret"));
    }

    #[test]
    fn an_event_carries_its_type() {
        let event = Event::StreamDown(StreamDown {
            name: "a".into(),
            epoch: 1,
            reason: StreamEnd::Unpublished,
        });
        let json = serde_json::to_value(&event).unwrap();
        assert_eq!(json["type"], event.name());
        assert_eq!(serde_json::from_value::<Event>(json).unwrap(), event);
    }

    #[test]
    fn an_unknown_field_of_a_command_is_refused_by_name() {
        let error = serde_json::from_str::<Drain>(r#"{"deadline":"2026-01-01T00:00:00Z","dedline":1}"#).unwrap_err();
        assert!(error.to_string().contains("unknown field `dedline`"), "{error}");
    }
}
