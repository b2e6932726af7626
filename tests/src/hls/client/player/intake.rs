//! Where each piece goes that has come: boxes, play position, figures.

use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;

use super::{Fetched, Piece, Player};
use crate::hls::fragments::{self, Init, Said};
use crate::hls::playlist::{Edge, Segment};
use crate::hls::rule::Finding;
use crate::hls::validator::resolve;

impl Player {
    pub(super) async fn init(&mut self, map: &str) -> Option<Init> {
        if let Some(init) = self.inits.get(map) {
            return Some(init.clone());
        }
        let path = resolve(&self.path, map);
        let got = self.fetcher.media(&path).await?;
        match fragments::init(&got.body) {
            Ok(init) => {
                self.shared.lock().validator.format(&self.path, init.format.clone());
                self.inits.insert(map.to_owned(), init.clone());
                Some(init)
            }
            Err(finding) => {
                self.fault(finding, &path, &got.server);
                None
            }
        }
    }

    fn fault(&self, finding: Finding, path: &str, server: &str) {
        self.shared.lock().validator.add(finding.at(path, 1, server, ""));
    }

    pub(super) fn append(&mut self, piece: &Piece, got: &Fetched, init: Option<Init>) {
        let Fetched { server, at, body, .. } = got;
        let dates = self.options.limits.dates;
        if let Some(init) = init {
            let found = if piece.whole {
                self.segment_boxes(body, &init, piece)
            } else {
                self.track.part(body, &init, piece.said, dates)
            };
            found
                .into_iter()
                .for_each(|finding| self.fault(finding, &piece.path, server));
        }
        if let Some(segment) = self.segment.as_mut().filter(|_| !piece.whole) {
            segment.extend_from_slice(body);
        }
        let now = Timestamp::now();
        let mut record = self.shared.lock();
        let record = &mut *record;
        if piece.whole {
            record.validator.segment(&piece.path, body.len() as u64);
            record.segments += 1;
        } else {
            record.parts += 1;
        }
        let Some(buffer) = record.buffers.get_mut(&self.path) else {
            return;
        };
        let stalled = buffer.arrive(*at, piece.duration, piece.date);
        let latency = buffer.latency(self.fetcher.now(), now);
        let end = piece.date.and_then(|date| date.checked_add(piece.duration).ok());
        let late = end.and_then(|end| Duration::try_from(now.duration_since(end)).ok());
        latency.into_iter().for_each(|latency| record.latency.add(latency));
        if buffer.playing() {
            late.into_iter().for_each(|late| record.delivery.add(late));
        }
        if let Some(stall) = stalled {
            record.stalled(&self.path, stall);
        }
    }

    /// A segment that is told to be missing: it is played as nothing.
    pub(super) fn gap(&mut self, segment: &Segment) {
        let at = self.fetcher.now();
        self.next = Edge {
            msn: segment.number + 1,
            part: 0,
        };
        self.track.skip();
        self.segment = None;
        let mut record = self.shared.lock();
        record.gaps += 1;
        let stalled = record
            .buffers
            .get_mut(&self.path)
            .and_then(|buffer| buffer.arrive(at, segment.length(), segment.date));
        if let Some(stall) = stalled {
            record.stalled(&self.path, stall);
        }
    }

    /// A whole segment, chunk by chunk: each follows from the one before.
    fn segment_boxes(&mut self, body: &Bytes, init: &Init, piece: &Piece) -> Vec<Finding> {
        let (mut found, mut rest, mut lasts) = (Vec::new(), &body[..], Duration::ZERO);
        let mut date = piece.said.date;
        while !rest.is_empty() {
            let length = fragments::chunk_length(rest).unwrap_or(rest.len());
            let (bytes, after) = rest.split_at(length);
            rest = after;
            let Ok(chunk) = fragments::chunk(bytes, init) else {
                found.extend(self.track.part(bytes, init, piece.said, self.options.limits.dates));
                return found;
            };
            let duration = init.time(chunk.duration);
            let independent = chunk.sync.first() == Some(&true);
            let said = Said {
                duration,
                independent,
                date: date.take(),
                ..piece.said
            };
            found.extend(self.track.part(bytes, init, said, self.options.limits.dates));
            lasts += duration;
        }
        found.extend(fragments::lasts(lasts, piece.duration));
        found
    }
}
