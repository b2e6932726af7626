//! The names of a node's playable streams as the documents write them, shared by nodes that carry the same.

use std::ops::Deref;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::Stream;

/// Names as `app/name`, in order. Edges of one pool mostly carry the same streams and share one list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StreamList(Arc<Vec<String>>);

impl StreamList {
    /// The list of these streams: `like` itself if it says the same.
    pub(super) fn of<'a>(app: &str, streams: impl Iterator<Item = &'a Stream> + Clone, like: &Self) -> Self {
        let playable = streams.filter(|stream| stream.state.playable);
        let same = |(listed, stream): (&String, &Stream)| {
            let rest = listed.strip_prefix(app).and_then(|rest| rest.strip_prefix('/'));
            rest == Some(&stream.state.name)
        };
        if playable.clone().count() == like.len() && like.iter().zip(playable.clone()).all(same) {
            return like.clone();
        }
        playable.map(|stream| format!("{app}/{}", stream.state.name)).collect()
    }
}

impl Deref for StreamList {
    type Target = [String];

    fn deref(&self) -> &[String] {
        &self.0
    }
}

impl FromIterator<String> for StreamList {
    fn from_iter<T: IntoIterator<Item = String>>(names: T) -> Self {
        Self(Arc::new(names.into_iter().collect()))
    }
}

impl From<Vec<String>> for StreamList {
    fn from(names: Vec<String>) -> Self {
        Self(Arc::new(names))
    }
}

impl<const N: usize> PartialEq<[&str; N]> for StreamList {
    fn eq(&self, other: &[&str; N]) -> bool {
        **self == *other
    }
}

impl Serialize for StreamList {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for StreamList {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Vec::deserialize(deserializer).map(Self::from)
    }
}
