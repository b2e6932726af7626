//! One rendition: what is fetched when.

mod intake;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::mpsc;

use super::fetch::{Audit, Fetched, Fetcher, RETRY};
use super::{Mode, Options, Shared};
use crate::hls::fragments::{Init, Said, Track};
use crate::hls::playlist::{Edge, Media, Segment};
use crate::hls::validator::{Observation, resolve};

/// Tries of one part or segment before it is left out.
const TRIES: u32 = 10;

/// Plays one media playlist.
pub(super) struct Player {
    path: String,
    fetcher: Arc<Fetcher>,
    shared: Shared,
    options: Arc<Options>,
    audits: Option<mpsc::Sender<Audit>>,
    inits: HashMap<String, Init>,
    track: Track,
    /// The part that is played next.
    next: Edge,
    /// Bytes of the segment in progress from its first part on; none where that was not fetched.
    segment: Option<Vec<u8>>,
    /// A hinted part that is on its way.
    hinted: Option<(String, tokio::task::JoinHandle<Option<Fetched>>)>,
}

impl Drop for Player {
    fn drop(&mut self) {
        if let Some((_, task)) = &self.hinted {
            task.abort();
        }
    }
}

/// One piece that is to be fetched.
struct Piece {
    path: String,
    duration: Duration,
    date: Option<Timestamp>,
    said: Said,
    map: Option<String>,
    /// A whole segment, not a part.
    whole: bool,
}

impl Player {
    pub(super) fn new(
        path: String,
        fetcher: Arc<Fetcher>,
        shared: Shared,
        options: Arc<Options>,
        audits: Option<mpsc::Sender<Audit>>,
    ) -> Self {
        let (inits, track, next) = (HashMap::new(), Track::default(), Edge::default());
        Self {
            path,
            fetcher,
            shared,
            options,
            audits,
            inits,
            track,
            next,
            segment: None,
            hinted: None,
        }
    }

    pub(super) async fn run(mut self) {
        let mut playlist: Option<Media> = None;
        loop {
            let begin = self.fetcher.now();
            let asked = self.target(playlist.as_ref());
            self.hint(playlist.as_ref());
            let Some(media) = self.load(&asked).await else {
                playlist = None;
                tokio::time::sleep(RETRY).await;
                continue;
            };
            if self.next == Edge::default() || media.segments.first().is_some_and(|first| first.number > self.next.msn)
            {
                self.join(&media);
            }
            self.take(&media).await;
            if media.ended && self.next >= media.edge() {
                self.shared.lock().finished.insert(self.path.clone(), true);
                return;
            }
            if self.options.mode == Mode::Plain {
                // §6.3.4: after a change a target duration, else half of one, from the beginning of the load.
                let changed = playlist.as_ref().map(Media::edge) != Some(media.edge());
                let pause = Duration::from_secs(media.target).mul_f64(if changed { 1.0 } else { 0.5 });
                tokio::time::sleep(pause.saturating_sub(self.fetcher.now() - begin)).await;
            }
            playlist = Some(media);
        }
    }

    /// What is asked for next: all at first, then what is not there yet.
    fn target(&self, playlist: Option<&Media>) -> String {
        let path = &self.path;
        let control = playlist.and_then(|media| media.control.as_ref());
        match (playlist, control) {
            (Some(media), Some(control)) if control.block_reload && self.options.mode == Mode::LowLatency => {
                let Edge { msn, part } = media.edge();
                let skip = if self.options.skip && control.skip_until.is_some() {
                    "&_HLS_skip=YES"
                } else {
                    ""
                };
                format!("{path}?_HLS_msn={msn}&_HLS_part={part}{skip}")
            }
            _ => path.clone(),
        }
    }

    /// Asks for the hinted part while the playlist that lists it is asked for.
    fn hint(&mut self, playlist: Option<&Media>) {
        let hint = playlist.and_then(|media| media.hints.iter().find(|hint| hint.kind == "PART"));
        if let (Some(hint), Mode::LowLatency, true) = (hint, self.options.mode, self.hinted.is_none()) {
            let path = resolve(&self.path, &hint.uri);
            let (fetcher, wanted) = (self.fetcher.clone(), path.clone());
            self.hinted = Some((path, tokio::spawn(async move { fetcher.media(&wanted).await })));
        }
    }

    async fn load(&mut self, target: &str) -> Option<Media> {
        let got = self.fetcher.playlist(target).await?;
        let text = String::from_utf8_lossy(&got.body);
        let (asked, at, server) = (got.asked, got.at, &got.server);
        let mut record = self.shared.lock();
        let media = record.validator.see(Observation {
            server,
            target,
            asked,
            at,
            text: &text,
        })?;
        // At one state every server says the same, but for reports on renditions that may be a part further.
        let lines = text.lines().filter(|line| !line.starts_with("#EXT-X-RENDITION-REPORT"));
        let same: String = lines.map(|line| format!("{line}\n")).collect();
        let kind = if target.contains("_HLS_skip") { "delta" } else { "whole" };
        let state = format!("{}#{kind}#{}#{}", self.path, media.edge(), media.ended);
        record.ledger.enter(&state, same.as_bytes(), server);
        Some(media)
    }

    /// Begins some parts behind the edge, at a part that can be decoded; or begins anew.
    fn join(&mut self, media: &Media) {
        let mut record = self.shared.lock();
        if self.next != Edge::default() {
            record.resyncs += 1;
        }
        record.begin(&self.path);
        drop(record);
        self.track = Track::default();
        self.segment = None;
        let hold = self.hold(media);
        let mut behind = Duration::ZERO;
        let low = self.options.mode == Mode::LowLatency;
        for segment in media.all().rev() {
            self.next = Edge {
                msn: segment.number,
                part: 0,
            };
            if low && !segment.parts.is_empty() {
                for (index, part) in segment.parts.iter().enumerate().rev() {
                    behind += part.duration;
                    if behind >= hold && part.independent {
                        self.next.part = index as u64;
                        return;
                    }
                }
            } else {
                behind += segment.length();
                if behind >= hold {
                    return;
                }
            }
        }
    }

    fn hold(&self, media: &Media) -> Duration {
        let target = Duration::from_secs(media.target);
        let unit = media
            .part_target
            .filter(|_| self.options.mode == Mode::LowLatency)
            .unwrap_or(target);
        unit * self.options.behind
    }

    /// Fetches all that is listed from the next part on.
    async fn take(&mut self, media: &Media) {
        while self.next < media.edge() {
            let Some(segment) = media.segment(self.next.msn) else {
                return;
            };
            let complete = !segment.uri.is_empty();
            if segment.gap {
                self.gap(segment);
                continue;
            }
            let Some(piece) = self.piece(segment) else {
                if !complete {
                    return;
                }
                self.complete(segment);
                continue;
            };
            let whole = piece.whole;
            self.fetch(piece).await;
            self.next = if whole {
                Edge {
                    msn: segment.number + 1,
                    part: 0,
                }
            } else {
                Edge {
                    part: self.next.part + 1,
                    ..self.next
                }
            };
            if !whole && complete && self.next.part >= segment.parts.len() as u64 {
                self.complete(segment);
            }
        }
        let plays = self
            .shared
            .lock()
            .buffers
            .get(&self.path)
            .is_some_and(super::Buffer::playing);
        if !plays {
            let (at, hold) = (self.fetcher.now(), self.hold(media));
            let mut record = self.shared.lock();
            if let Some(buffer) = record.buffers.get_mut(&self.path) {
                buffer.play(at, hold);
            }
            record.begun.get_or_insert(at);
        }
    }

    /// The next piece of a segment: a part if it is listed, the whole segment if its parts are gone.
    fn piece(&self, segment: &Segment) -> Option<Piece> {
        let date = |before: Duration| segment.date.and_then(|date| date.checked_add(before).ok());
        let said = |duration, independent, date| Said {
            duration,
            independent,
            timeline: segment.discontinuities,
            date,
        };
        let index = self.next.part as usize;
        if self.options.mode == Mode::LowLatency && !segment.parts.is_empty() {
            let part = segment.parts.get(index)?;
            let before = segment.parts[..index].iter().map(|part| part.duration).sum();
            let first = segment.date.filter(|_| index == 0);
            return Some(Piece {
                path: resolve(&self.path, &part.uri),
                duration: part.duration,
                date: date(before),
                said: said(part.duration, part.independent, first),
                map: segment.map.clone(),
                whole: false,
            });
        }
        (!segment.uri.is_empty()).then(|| Piece {
            path: resolve(&self.path, &segment.uri),
            duration: segment.duration,
            date: segment.date,
            said: said(segment.duration, true, segment.date),
            map: segment.map.clone(),
            whole: true,
        })
    }

    /// A segment has come whole, as parts.
    fn complete(&mut self, segment: &Segment) {
        self.next = Edge {
            msn: segment.number + 1,
            part: 0,
        };
        let path = resolve(&self.path, &segment.uri);
        if let Some(bytes) = self.segment.replace(Vec::new()) {
            let mut record = self.shared.lock();
            record.validator.segment(&path, bytes.len() as u64);
            record.ledger.enter(&path, &bytes, "its parts");
        }
        if let Some(audits) = &self.audits {
            let parts = segment
                .parts
                .iter()
                .map(|part| resolve(&self.path, &part.uri))
                .collect();
            // Where the queue is full the segment goes unaudited; the count tells.
            drop(audits.try_send(Audit { segment: path, parts }));
        }
    }

    async fn fetch(&mut self, piece: Piece) {
        if self.next.part == 0 {
            self.segment = Some(Vec::new());
        }
        for _ in 0..TRIES {
            let hinted = self.hinted.take_if(|_| !piece.whole);
            let got = match hinted {
                Some((path, task)) if path == piece.path => task.await.ok().flatten(),
                Some((_, task)) => {
                    task.abort();
                    self.fetcher.media(&piece.path).await
                }
                None => self.fetcher.media(&piece.path).await,
            };
            if let Some(got) = got {
                let init = match &piece.map {
                    Some(map) => self.init(map).await,
                    None => None,
                };
                self.append(&piece, &got, init);
                return;
            }
            tokio::time::sleep(RETRY).await;
        }
        self.track.skip();
        self.segment = None;
    }
}
