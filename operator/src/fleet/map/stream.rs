//! A stream as a node holds it, kept small: 5,000 edges of 100 streams each are half a million of these.

use std::collections::HashSet;
use std::sync::Arc;

use headwater_contract::{StreamSource, StreamState};
use jiff::Timestamp;

/// A stream as a node holds it, with its figures.
#[derive(Clone, Debug, PartialEq)]
pub struct Stream {
    /// What the node says about it.
    pub state: State,
    /// Viewers on this node.
    pub viewers: u64,
    /// Measured bit rate, bits per second.
    pub bitrate_bps: u64,
    /// Age of the newest unit against the origin's clock, milliseconds.
    pub lag_ms: Option<u64>,
    /// Frames lost upstream.
    pub lost_units: u64,
}

/// A [`StreamState`] whose words are shared with every other node that says the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    /// Stream name, without the app.
    pub name: Arc<str>,
    /// Incarnation; a newer one wins over an older one.
    pub epoch: u64,
    /// How it got here.
    pub source: StreamSource,
    /// A viewer would be served at once.
    pub playable: bool,
    /// Video codec as in RFC 6381.
    pub video: Option<Arc<str>>,
    /// Audio codec as in RFC 6381.
    pub audio: Option<Arc<str>>,
    /// Picture width in pixels, 0 if unknown.
    pub width: u32,
    /// Picture height in pixels, 0 if unknown.
    pub height: u32,
    /// When it came up on this node.
    pub since: Timestamp,
}

impl State {
    pub(super) fn new(state: &StreamState, words: &mut Words) -> Self {
        Self {
            name: words.take(&state.name),
            epoch: state.epoch,
            source: state.source,
            playable: state.playable,
            video: state.video.as_deref().map(|codec| words.take(codec)),
            audio: state.audio.as_deref().map(|codec| words.take(codec)),
            width: state.width,
            height: state.height,
            since: state.since,
        }
    }

    /// Plans of either are the same.
    pub(super) fn plans_like(&self, other: &Self) -> bool {
        (&self.name, self.epoch, self.source) == (&other.name, other.epoch, other.source)
    }
}

impl From<State> for Stream {
    fn from(state: State) -> Self {
        Self {
            state,
            viewers: 0,
            bitrate_bps: 0,
            lag_ms: None,
            lost_units: 0,
        }
    }
}

/// Words that many nodes repeat, each kept once. As many as there are streams in the map, and those of the last sweep.
#[derive(Clone, Debug, Default)]
pub(super) struct Words(HashSet<Arc<str>>);

impl Words {
    /// The one copy of a word.
    pub(super) fn take(&mut self, word: &str) -> Arc<str> {
        if let Some(known) = self.0.get(word) {
            return known.clone();
        }
        let word: Arc<str> = word.into();
        self.0.insert(word.clone());
        word
    }

    /// Drops the words that nobody says any more.
    pub(super) fn sweep(&mut self) {
        self.0.retain(|word| Arc::strong_count(word) > 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_kept_once_and_only_while_somebody_says_it() {
        let mut words = Words::default();
        let first = words.take("cam1");
        assert!(Arc::ptr_eq(&first, &words.take("cam1")));
        words.take("cam2");
        words.sweep();
        assert_eq!(words.0.len(), 1);
        drop(first);
        words.sweep();
        assert!(words.0.is_empty());
    }
}
