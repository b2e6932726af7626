//! Script bodies: `onMetaData`, and anything else, which is passed on.

use bytes::Bytes;
use rtmp_rs::amf::{AmfValue, amf0};

use super::{Header, ParseError};
use crate::media::amf;
use crate::media::track::Learned;
use crate::media::unit::UnitKind;

/// The body without a leading `@setDataFrame`, and what it is.
pub(super) fn parse(body: Bytes) -> Result<(Bytes, Header), ParseError> {
    if body.is_empty() {
        return Err(ParseError::Empty);
    }
    if !amf::safe(&body) {
        return Err(ParseError::Unsafe);
    }
    let body = match amf::string(&body) {
        Some((name, rest)) if &name[..] == b"@setDataFrame" => rest,
        _ => body,
    };
    let learned = match amf::string(&body) {
        Some((name, rest)) if &name[..] == b"onMetaData" => Some(metadata(&body, &rest)),
        _ => None,
    };
    let header = Header {
        kind: if learned.is_some() {
            UnitKind::Metadata
        } else {
            UnitKind::Other
        },
        cts: 0,
        data_offset: body.len().min(usize::from(u8::MAX)),
        learned,
    };
    Ok((body, header))
}

fn metadata(body: &Bytes, rest: &Bytes) -> Learned {
    let properties = amf0::decode(rest).unwrap_or(AmfValue::Null); // garbled: passed on, promises nothing
    let any = |names: &[&str]| names.iter().any(|name| properties.get(name).is_some_and(meaningful));
    Learned::Metadata {
        body: body.clone(),
        expects_video: any(&["videocodecid", "width", "framerate"]),
        expects_audio: any(&["audiocodecid", "audiosamplerate"]),
    }
}

/// Some encoders write zeros for a track that they do not have.
fn meaningful(value: &AmfValue) -> bool {
    match value {
        AmfValue::Number(number) => *number != 0.0,
        AmfValue::String(text) => !text.is_empty(),
        AmfValue::Boolean(_) | AmfValue::Null | AmfValue::Undefined => false,
        _ => true,
    }
}
