//! What is on its way to one viewer: shared entries, never copied, and control messages between them.

use std::collections::VecDeque;
use std::io::IoSlice;
use std::sync::Arc;

use bytes::{Buf, Bytes};

use crate::package::feed::Entry;

/// One message, or what is left of it.
#[derive(Clone, Debug)]
pub enum Piece {
    /// An entry of a feed.
    Entry {
        /// Shared with every other viewer.
        entry: Arc<Entry>,
        /// With its WebSocket header.
        framed: bool,
        /// The slice that goes next: the header first, where there is one, then the parts.
        slice: usize,
        /// How much of that slice has gone.
        gone: usize,
        /// Bytes left of the whole.
        left: usize,
    },
    /// A message of this viewer alone.
    Own(Bytes),
}

impl Piece {
    /// The whole of `entry`.
    pub fn entry(entry: Arc<Entry>, framed: bool) -> Self {
        let header = if framed { entry.ws_header.len() } else { 0 };
        let left = entry.len + header;
        Piece::Entry {
            entry,
            framed,
            slice: 0,
            gone: 0,
            left,
        }
    }

    fn slice_at(entry: &Entry, framed: bool, index: usize) -> Option<&[u8]> {
        match (framed, index) {
            (true, 0) => Some(&entry.ws_header),
            (true, index) => entry.parts.get(index - 1).map(|part| &part[..]),
            (false, index) => entry.parts.get(index).map(|part| &part[..]),
        }
    }
}

impl Buf for Piece {
    fn remaining(&self) -> usize {
        match self {
            Piece::Entry { left, .. } => *left,
            Piece::Own(bytes) => bytes.len(),
        }
    }

    fn chunk(&self) -> &[u8] {
        match self {
            Piece::Own(bytes) => bytes,
            Piece::Entry {
                entry,
                framed,
                slice,
                gone,
                ..
            } => {
                let first = Piece::slice_at(entry, *framed, *slice).map(|bytes| &bytes[*gone..]);
                let rest = (slice + 1..).map_while(|index| Piece::slice_at(entry, *framed, index));
                let mut slices = first.into_iter().chain(rest);
                slices.find(|bytes| !bytes.is_empty()).unwrap_or_default()
            }
        }
    }

    fn chunks_vectored<'a>(&'a self, dst: &mut [IoSlice<'a>]) -> usize {
        let mut filled = 0;
        match self {
            Piece::Own(bytes) if !bytes.is_empty() && !dst.is_empty() => {
                dst[0] = IoSlice::new(bytes);
                filled = 1;
            }
            Piece::Own(_) => {}
            Piece::Entry {
                entry,
                framed,
                slice,
                gone,
                ..
            } => {
                let mut skip = *gone;
                let mut index = *slice;
                while filled < dst.len()
                    && let Some(bytes) = Piece::slice_at(entry, *framed, index)
                {
                    let bytes = &bytes[std::mem::take(&mut skip)..];
                    if !bytes.is_empty() {
                        dst[filled] = IoSlice::new(bytes);
                        filled += 1;
                    }
                    index += 1;
                }
            }
        }
        filled
    }

    fn advance(&mut self, mut count: usize) {
        match self {
            Piece::Own(bytes) => bytes.advance(count),
            Piece::Entry {
                entry,
                framed,
                slice,
                gone,
                left,
            } => {
                debug_assert!(count <= *left, "advanced past the end of an entry");
                *left -= count;
                while let Some(bytes) = Piece::slice_at(entry, *framed, *slice) {
                    let rest = bytes.len() - *gone;
                    if count < rest {
                        *gone += count;
                        return;
                    }
                    count -= rest;
                    *slice += 1;
                    *gone = 0;
                }
            }
        }
    }
}

/// Own messages that may wait at once; one more is not taken.
const OWN_WAITING: usize = 16;

/// The queue of one viewer's messages. It is refilled from the feed only when it is empty, so that it stays small.
#[derive(Debug, Default)]
pub struct Outbox {
    pieces: VecDeque<Piece>,
    /// Part of the first piece has gone already: nothing may come before its rest.
    begun: bool,
    left: usize,
}

impl Outbox {
    /// Appends an entry.
    pub fn entry(&mut self, entry: Arc<Entry>, framed: bool) {
        let piece = Piece::entry(entry, framed);
        self.left += piece.remaining();
        if piece.has_remaining() {
            self.pieces.push_back(piece);
        }
    }

    /// Puts a message before the entries that have not been begun, behind earlier such messages. False, and it is dropped,
    /// if too many wait already: the viewer does not read.
    pub fn own(&mut self, message: Bytes) -> bool {
        let from = usize::from(self.begun);
        let waiting = self
            .pieces
            .iter()
            .skip(from)
            .take_while(|piece| matches!(piece, Piece::Own(_)))
            .count();
        if waiting >= OWN_WAITING || message.is_empty() {
            return message.is_empty();
        }
        self.left += message.len();
        self.pieces.insert(from + waiting, Piece::Own(message));
        true
    }

    /// Drops every message that has not been begun.
    pub fn abandon(&mut self) {
        self.pieces.truncate(usize::from(self.begun));
        self.left = self.pieces.iter().map(Buf::remaining).sum();
    }
}

impl Buf for Outbox {
    fn remaining(&self) -> usize {
        self.left
    }

    fn chunk(&self) -> &[u8] {
        self.pieces.front().map(Buf::chunk).unwrap_or_default()
    }

    fn chunks_vectored<'a>(&'a self, dst: &mut [IoSlice<'a>]) -> usize {
        let mut filled = 0;
        for piece in &self.pieces {
            if filled == dst.len() {
                break;
            }
            filled += piece.chunks_vectored(&mut dst[filled..]);
        }
        filled
    }

    fn advance(&mut self, mut count: usize) {
        self.left -= count;
        while count > 0
            && let Some(first) = self.pieces.front_mut()
        {
            let rest = first.remaining();
            if count < rest {
                first.advance(count);
                self.begun = true;
                return;
            }
            count -= rest;
            self.begun = false;
            self.pieces.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::package::feed::{Audience, EntryKind};

    fn entry(header: &'static str, parts: &[&'static str]) -> Arc<Entry> {
        Arc::new(Entry {
            kind: EntryKind::Frame,
            audience: Audience::All,
            init: 0,
            dts: 0,
            at: Instant::now(),
            ws_header: Bytes::from_static(header.as_bytes()),
            parts: parts.iter().map(|part| Bytes::from_static(part.as_bytes())).collect(),
            len: parts.iter().map(|part| part.len()).sum(),
        })
    }

    fn drain(outbox: &mut Outbox, step: usize) -> String {
        let mut text = String::new();
        while outbox.has_remaining() {
            let mut slices = [IoSlice::new(&[]); 3];
            let filled = outbox.chunks_vectored(&mut slices);
            let bytes: Vec<u8> = slices[..filled].iter().flat_map(|slice| slice.to_vec()).collect();
            assert!(bytes.starts_with(outbox.chunk()) && !outbox.chunk().is_empty());
            let count = step.min(bytes.len());
            text.push_str(std::str::from_utf8(&bytes[..count]).unwrap());
            outbox.advance(count);
        }
        text
    }

    #[test]
    fn bytes_come_out_in_order_however_little_is_taken_at_once() {
        for step in 1..12 {
            let mut outbox = Outbox::default();
            outbox.entry(entry("H", &["ab", "", "cde"]), true);
            outbox.entry(entry("H", &["fg"]), false);
            assert_eq!(outbox.remaining(), 8);
            assert_eq!(drain(&mut outbox, step), "Habcdefg", "{step}");
        }
    }

    #[test]
    fn own_messages_go_between_entries_never_into_one() {
        let mut outbox = Outbox::default();
        outbox.entry(entry("", &["first"]), false);
        outbox.entry(entry("", &["second"]), false);
        outbox.advance(2);
        assert!(outbox.own(Bytes::from_static(b"<1>")));
        assert!(outbox.own(Bytes::from_static(b"<2>")));
        assert_eq!(drain(&mut outbox, 4), "rst<1><2>second");
    }

    #[test]
    fn own_messages_are_bounded() {
        let mut outbox = Outbox::default();
        let taken = (0..100).filter(|_| outbox.own(Bytes::from_static(b"x"))).count();
        assert_eq!(taken, OWN_WAITING);
    }

    #[test]
    fn abandoning_keeps_what_was_begun() {
        let mut outbox = Outbox::default();
        outbox.entry(entry("", &["first"]), false);
        outbox.entry(entry("", &["second"]), false);
        outbox.advance(1);
        outbox.abandon();
        assert_eq!(drain(&mut outbox, 9), "irst");
    }
}
