//! FLV bytes to tags (Adobe Flash Video File Format 10.1, annex E.4), for the bundled clip: pure.

use bytes::Bytes;

use super::Error;

/// Tag types, the same numbers as RTMP's message types.
const AUDIO: u8 = 8;
const VIDEO: u8 = 9;
const SCRIPT: u8 = 18;

/// One tag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tag {
    /// 8 audio, 9 video, 18 script data; RTMP's message type as well.
    pub kind: u8,
    /// Decode time from the clip's start, milliseconds.
    pub time_ms: u32,
    /// Its body.
    pub body: Bytes,
}

/// A clip that can be played in a loop.
#[derive(Clone, Debug)]
pub struct Clip {
    /// Metadata and codec configurations: sent once.
    pub headers: Vec<Tag>,
    /// Frames in order of decode time.
    pub media: Vec<Tag>,
    /// The time after which the first frame may follow the last one.
    pub duration_ms: u64,
}

impl Clip {
    /// Reads a whole FLV file.
    ///
    /// # Errors
    /// [`Error::Clip`] for bytes that are no FLV, or hold no frames.
    pub fn parse(flv: &'static [u8]) -> Result<Self, Error> {
        let mut rest = match flv {
            [b'F', b'L', b'V', 1, _, 0, 0, 0, 9, _, _, _, _, rest @ ..] => rest,
            _ => return Err(Error::Clip("it has no FLV header")),
        };
        let (mut headers, mut media) = (Vec::new(), Vec::new());
        while let [kind, l0, l1, l2, t0, t1, t2, t3, _, _, _, after @ ..] = rest {
            let length = u32::from_be_bytes([0, *l0, *l1, *l2]) as usize;
            let time_ms = u32::from_be_bytes([*t3, *t0, *t1, *t2]);
            // The size of the whole tag stands once more after its body.
            let (Some(body), Some(next)) = (after.get(..length), after.get(length + 4..)) else {
                return Err(Error::Clip("its last tag is cut short"));
            };
            rest = next;
            let tag = Tag {
                kind: *kind,
                time_ms,
                body: Bytes::from_static(body),
            };
            match role(&tag) {
                Role::Header => headers.push(tag),
                Role::Frame => media.push(tag),
                Role::Other => {}
            }
        }
        media.sort_by_key(|tag| tag.time_ms);
        let duration_ms = [AUDIO, VIDEO]
            .into_iter()
            .filter_map(|kind| track_ms(&media, kind))
            .max();
        match duration_ms {
            Some(duration_ms) if duration_ms > 0 => Ok(Self {
                headers,
                media,
                duration_ms,
            }),
            _ => Err(Error::Clip("it has no frames")),
        }
    }
}

enum Role {
    Header,
    Frame,
    /// The end-of-sequence tag, and what is unknown.
    Other,
}

fn role(tag: &Tag) -> Role {
    match (tag.kind, tag.body.first(), tag.body.get(1)) {
        (SCRIPT, _, _) | (AUDIO | VIDEO, Some(_), Some(0)) => Role::Header,
        (VIDEO, Some(_), Some(2)) => Role::Other,
        (AUDIO | VIDEO, Some(_), Some(1)) => Role::Frame,
        _ => Role::Other,
    }
}

/// Length of a track: up to its last frame, and one mean frame more.
fn track_ms(media: &[Tag], kind: u8) -> Option<u64> {
    let times = media
        .iter()
        .filter(|tag| tag.kind == kind)
        .map(|tag| u64::from(tag.time_ms));
    let count = times.clone().count() as u64;
    let (first, last) = (times.clone().next()?, times.last()?);
    let frames = count.checked_sub(1).filter(|frames| *frames > 0)?;
    // Rounded to the nearest millisecond: AAC frames are not whole ones.
    Some(last + (last - first + frames / 2) / frames - first)
}
