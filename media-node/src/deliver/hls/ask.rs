//! What a URL of HLS asks for: a pure function of its file name and query (RFC 8216bis §6.2.5).

use crate::deliver::members;
use crate::deliver::route::{Refusal, shorten};
use crate::package::dash::Form;
use crate::package::hls::channel::File;
use crate::package::hls::playlist;
use crate::package::hls::window::{InitId, Progress, Rendition, Window};

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ask {
    /// The multivariant playlist.
    Multivariant {
        /// Of playlists without parts.
        plain: bool,
    },
    /// The manifest of MPEG-DASH.
    Manifest(Form),
    /// A media playlist.
    Playlist {
        /// Of which rendition.
        rendition: Rendition,
        /// Without parts.
        plain: bool,
        /// What it is to contain.
        position: Option<Position>,
        /// Without what the player knows already.
        skip: bool,
    },
    /// Media, or headers.
    File(File),
    /// The list of a group's members.
    Members,
    /// The window's description, for a node downstream.
    Window {
        /// Segments from this number on.
        from: u64,
        /// Once this one is complete.
        wait: Option<u64>,
    },
}

/// What a playlist is to contain: `_HLS_msn` and `_HLS_part`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// Media sequence number.
    pub number: u64,
    /// Part of it; none for the whole segment.
    pub part: Option<u64>,
}

impl Ask {
    /// The multivariant playlist at `/{app}/{stream}.m3u8`.
    pub fn multivariant() -> Self {
        Self::Multivariant { plain: false }
    }

    /// The manifest at `/{app}/{stream}.mpd`.
    pub fn manifest() -> Self {
        Self::Manifest(Form::Low)
    }

    /// A file in `/{app}/{stream}/`. Parameters that are not ours are no error: caches are told apart by them.
    pub fn parse(file: &str, query: &str) -> Result<Self, Refusal> {
        let unknown = || {
            Refusal::not_found(format!(
                "no such file {:?}: video.m3u8, audio.m3u8, plain.m3u8 and what stands in them are here",
                shorten(file)
            ))
        };
        if let Some(name) = file.strip_suffix(".m3u8") {
            return match name {
                "plain" => Ok(Self::Multivariant { plain: true }),
                _ => {
                    let (rendition, plain) = match name.strip_prefix("plain-") {
                        Some(rendition) => (rendition, true),
                        None => (name, false),
                    };
                    let rendition = rendition.parse().map_err(|()| unknown())?;
                    playlist(rendition, plain, query)
                }
            };
        }
        if file == "plain.mpd" {
            return Ok(Self::Manifest(Form::Plain));
        }
        if file == members::FILE {
            return Ok(Self::Members);
        }
        if file == "window.json" {
            let (from, wait) = (number(query, "from")?, number(query, "wait")?);
            let from = from.unwrap_or(0);
            return Ok(Self::Window { from, wait });
        }
        media(file).map(Self::File).ok_or_else(unknown)
    }
}

fn playlist(rendition: Rendition, plain: bool, query: &str) -> Result<Ask, Refusal> {
    let (msn, part) = (number(query, "_HLS_msn")?, number(query, "_HLS_part")?);
    let position = match (msn, part) {
        (Some(number), part) => Some(Position { number, part }),
        (None, Some(_)) => {
            let message = "_HLS_part is of use only with _HLS_msn, the segment that it is a part of";
            return Err(Refusal::bad_query(message.to_owned()));
        }
        (None, None) => None,
    };
    let skip = match value(query, "_HLS_skip") {
        None => false,
        Some("YES" | "v2") => true,
        Some(other) => {
            let message = format!("_HLS_skip must be YES or v2, not {:?}", shorten(other));
            return Err(Refusal::bad_query(message));
        }
    };
    Ok(Ask::Playlist {
        rendition,
        plain,
        position,
        skip,
    })
}

/// `video-init-{epoch}-{version}.mp4`, `video-{number}.m4s`, `video-{number}.{part}.m4s`, as [`name_of`] writes them and in no
/// other way: one file has one URL.
fn media(file: &str) -> Option<File> {
    let (rendition, rest) = file.split_once('-')?;
    let rendition: Rendition = rendition.parse().ok()?;
    let parsed = if let Some(id) = rest.strip_prefix("init-") {
        let (epoch, version) = id.strip_suffix(".mp4")?.split_once('-')?;
        let id = InitId {
            epoch: epoch.parse().ok()?,
            version: version.parse().ok()?,
        };
        File::Init(rendition, id)
    } else {
        let name = rest.strip_suffix(".m4s")?;
        match name.split_once('.') {
            Some((number, part)) => File::Part(rendition, number.parse().ok()?, part.parse().ok()?),
            None => File::Segment(rendition, name.parse().ok()?),
        }
    };
    (name_of(parsed) == file).then_some(parsed)
}

/// The name of a file.
pub(super) fn name_of(file: File) -> String {
    match file {
        File::Init(rendition, id) => playlist::init_name(rendition, id),
        File::Segment(rendition, number) => playlist::segment_name(rendition, number),
        File::Part(rendition, number, part) => playlist::part_name(rendition, number, part),
    }
}

fn value<'a>(query: &'a str, key: &str) -> Option<&'a str> {
    query
        .split('&')
        .find_map(|pair| pair.strip_prefix(key)?.strip_prefix('='))
}

fn number(query: &str, key: &str) -> Result<Option<u64>, Refusal> {
    let parse = |text: &str| {
        text.parse()
            .map_err(|_| Refusal::bad_query(format!("{key} must be a whole number, not {:?}", shorten(text))))
    };
    value(query, key).map(parse).transpose()
}

impl Position {
    /// True if a playlist of `window` contains it. A part beyond the last one of a segment is the first one of the next.
    pub(super) fn is_in(self, window: &Window, rendition: Rendition) -> bool {
        let Some(newest) = window.newest(rendition) else {
            return false;
        };
        let parts = |number: u64| {
            let track = window.segment(number).and_then(|segment| segment.track(rendition));
            track.map_or(0, |track| track.parts.len() as u64)
        };
        match self.part {
            None => newest.number > self.number || newest.number == self.number && newest.progress != Progress::Open,
            Some(part) if newest.number == self.number => parts(newest.number) > part,
            Some(_) => newest.number > self.number,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_file_has_one_name() {
        let id = InitId { epoch: 17, version: 2 };
        let files = [
            File::Init(Rendition::Video, id),
            File::Segment(Rendition::Audio, 1_700_000_000),
            File::Part(Rendition::Video, 1_700_000_000, 3),
        ];
        for file in files {
            assert_eq!(Ask::parse(&name_of(file), "").unwrap(), Ask::File(file));
        }
        for wrong in [
            "video-01.m4s",
            "video-1.01.m4s",
            "video-+1.m4s",
            "video-1.m4s.m4s",
            "text-1.m4s",
            "video-init-1.mp4",
            "video-18446744073709551616.m4s",
        ] {
            assert_eq!(Ask::parse(wrong, "").unwrap_err().status, 404, "{wrong}");
        }
    }

    #[test]
    fn directives_are_read_and_wrong_ones_refused() {
        let ask = Ask::parse("audio.m3u8", "a=b&_HLS_msn=7&_HLS_part=2&_HLS_skip=YES").unwrap();
        let position = Some(Position {
            number: 7,
            part: Some(2),
        });
        let expected = Ask::Playlist {
            rendition: Rendition::Audio,
            plain: false,
            position,
            skip: true,
        };
        assert_eq!(ask, expected);
        for (query, words) in [
            ("_HLS_part=1", "only with _HLS_msn"),
            ("_HLS_msn=-1", "_HLS_msn must be a whole number"),
            ("_HLS_msn=1&_HLS_part=x", "_HLS_part must be"),
            ("_HLS_skip=NO", "_HLS_skip must be YES"),
        ] {
            let refusal = Ask::parse("video.m3u8", query).unwrap_err();
            assert_eq!(refusal.status, 400, "{query}");
            assert!(refusal.message.contains(words), "{query}: {}", refusal.message);
        }
    }
}
