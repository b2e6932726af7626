//! Reads an event's JSON.

use std::borrow::Cow;

use headwater_contract::Event;
use serde::Deserialize;

/// The field that tells what the others are.
#[derive(Deserialize)]
struct Kind<'a> {
    #[serde(borrow, rename = "type")]
    kind: Cow<'a, str>,
}

/// The event of this text: what its own `Deserialize` would say of it, without the copy of the whole document that it makes to
/// find the type. Figures of thousands of nodes come through here each second.
pub(super) fn read(text: &str) -> Result<Event, serde_json::Error> {
    let Kind { kind } = serde_json::from_str(text)?;
    match &*kind {
        "hello" => serde_json::from_str(text).map(Event::Hello),
        "streamUp" => serde_json::from_str(text).map(Event::StreamUp),
        "streamDown" => serde_json::from_str(text).map(Event::StreamDown),
        "figures" => serde_json::from_str(text).map(Event::Figures),
        _ => serde_json::from_str(text),
    }
}

#[cfg(test)]
mod tests {
    use headwater_contract::{NodeFigures, Role, StreamDown, StreamEnd, StreamSource, StreamState};

    use super::*;
    use crate::fake_node::hello;

    #[test]
    fn every_event_reads_as_its_own_reader_reads_it() {
        let up = StreamState {
            name: "cam1".into(),
            epoch: 1,
            source: StreamSource::Pull,
            playable: true,
            video: Some("avc1.64001f".into()),
            audio: None,
            width: 1920,
            height: 1080,
            since: jiff::Timestamp::UNIX_EPOCH,
        };
        let down = StreamDown {
            name: "cam1".into(),
            epoch: 1,
            reason: StreamEnd::Unpublished,
        };
        let events = [
            Event::Hello(hello("a", Role::Edge)),
            Event::StreamUp(up),
            Event::StreamDown(down),
            Event::Figures(NodeFigures::default()),
        ];
        for event in events {
            let text = serde_json::to_string(&event).unwrap();
            assert_eq!(read(&text).unwrap(), event);
        }
        for text in ["{}", "[]", r#"{"type":"other"}"#, r#"{"type":"streamUp"}"#] {
            assert!(read(text).is_err(), "{text}");
        }
    }
}
