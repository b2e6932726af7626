//! The files of a channel: found in its window, or fetched from where they are.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use http::StatusCode;

use super::Channel;
use crate::package::hls::playlist;
use crate::package::hls::upstream::FetchError;
use crate::package::hls::window::{InitId, Progress, Rendition, Window};

/// The longest segment that is fetched, bytes.
const MOST_SEGMENT: usize = 256 << 20;
/// The longest init segment that is fetched, bytes.
const MOST_INIT: usize = 1 << 20;

/// A file of media.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum File {
    /// Headers.
    Init(Rendition, InitId),
    /// A segment.
    Segment(Rendition, u64),
    /// A part of a segment.
    Part(Rendition, u64, usize),
}

/// A file that can't be had.
#[derive(Debug, thiserror::Error)]
pub enum Missing {
    /// It has left the window.
    #[error("it has left the window")]
    Gone,
    /// There is no such file, or not yet.
    #[error("there is no such file, or not yet")]
    NotFound,
    /// The upstream has it, and could not be asked.
    #[error("failed to fetch it from the upstream: {0}")]
    Upstream(#[from] FetchError),
    /// It is in a file that can't be read.
    #[error("failed to read it from its file: {0}")]
    Disk(#[from] io::Error),
}

/// A file, and how much media it is.
#[derive(Clone, Debug)]
pub struct Found {
    /// Its bytes.
    pub bytes: Bytes,
    /// Milliseconds of media that somebody watches who takes it: none for headers, and for sound beside pictures.
    pub watched_ms: u64,
}

impl Channel {
    /// A file of media, fetched from where it is if that is not here.
    pub async fn file(&self, file: File) -> Result<Found, Missing> {
        loop {
            let (wanted, watched_ms, fetch) = {
                let mut state = self.lock();
                if let Some((rendition, number)) = file.segment() {
                    state.window.touch(rendition, number, self.0.archive.request());
                }
                match look_up(&state.window, file)? {
                    Ok(found) => return Ok(found),
                    Err((wanted, ms)) => (wanted, ms, Arc::clone(state.fetches.entry(wanted).or_default())),
                }
            };
            let fetched = fetch.get_or_try_init(|| self.fetch(wanted)).await.cloned();
            self.lock().fetches.remove(&wanted);
            let bytes = fetched?;
            // It may be gone from memory again by now.
            if wanted == file {
                return Ok(Found { bytes, watched_ms });
            }
        }
    }

    async fn fetch(&self, file: File) -> Result<Bytes, Missing> {
        let bytes = match file {
            File::Init(rendition, id) => {
                let name = playlist::init_name(rendition, id);
                self.fetch_upstream(&name, MOST_INIT).await?
            }
            File::Segment(rendition, number) | File::Part(rendition, number, _) => {
                let stored = self.with(|window| window.segment(number)?.track(rendition)?.stored().cloned());
                let name = playlist::segment_name(rendition, number);
                match stored {
                    Some(stored) => stored.read().await?,
                    None => self.fetch_upstream(&name, MOST_SEGMENT).await?,
                }
            }
        };
        let mut state = self.lock();
        match file {
            File::Init(rendition, id) => state.window.fill_init(id, rendition, bytes.clone()),
            File::Segment(rendition, number) | File::Part(rendition, number, _) => {
                if !state.window.fill(rendition, number, &bytes) {
                    return Err(Missing::NotFound);
                }
            }
        }
        self.account(&mut state);
        Ok(bytes)
    }

    async fn fetch_upstream(&self, name: &str, most: usize) -> Result<Bytes, Missing> {
        let base = self.0.stream.upstream().ok_or(Missing::NotFound)?;
        match self.0.upstream.fetch(&base, name, most).await {
            Err(FetchError::Refused { status, .. }) if status == StatusCode::GONE => Err(Missing::Gone),
            fetched => Ok(fetched?),
        }
    }
}

impl File {
    /// The segment that it is of.
    fn segment(self) -> Option<(Rendition, u64)> {
        match self {
            File::Init(..) => None,
            File::Segment(rendition, number) | File::Part(rendition, number, _) => Some((rendition, number)),
        }
    }

    /// What is fetched for it: parts come with their segment.
    fn whole(self) -> Self {
        match self {
            File::Part(rendition, number, _) => File::Segment(rendition, number),
            whole => whole,
        }
    }
}

/// The file if it is here; or what must be fetched for it, and how much media that is.
fn look_up(window: &Window, file: File) -> Result<Result<Found, (File, u64)>, Missing> {
    let (rendition, number) = match file {
        File::Init(rendition, id) => {
            let init = window.inits(id).and_then(|inits| inits[rendition.index()].as_ref());
            let init = init.ok_or(if id.epoch < window.epoch() {
                Missing::Gone
            } else {
                Missing::NotFound
            })?;
            return Ok(init
                .bytes
                .clone()
                .map(|bytes| Found { bytes, watched_ms: 0 })
                .ok_or((file, 0)));
        }
        File::Segment(rendition, number) | File::Part(rendition, number, _) => (rendition, number),
    };
    let Some(segment) = window.segment(number) else {
        let gone = window.first_number().is_some_and(|first| number < first);
        return Err(if gone { Missing::Gone } else { Missing::NotFound });
    };
    let track = segment.track(rendition).ok_or(Missing::NotFound)?;
    let pictures = rendition == Rendition::Video || segment.track(Rendition::Video).is_none();
    let ms = |ticks: u64| {
        if pictures {
            ticks * 1_000 / u64::from(track.timescale.max(1))
        } else {
            0
        }
    };
    let (bytes, ticks) = match file {
        // Parts are listed while they are young.
        File::Part(..) if track.sum().is_some() => return Err(Missing::Gone),
        File::Part(_, _, index) => {
            let part = track.parts.get(index).ok_or(Missing::NotFound)?;
            (part.bytes.clone(), part.ticks)
        }
        _ if segment.progress == Progress::Open => return Err(Missing::NotFound),
        _ => (track.bytes().cloned(), track.ticks()),
    };
    let watched_ms = ms(ticks);
    Ok(bytes
        .map(|bytes| Found { bytes, watched_ms })
        .ok_or((file.whole(), watched_ms)))
}
