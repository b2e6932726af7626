//! Names whose charset and length are proven once: streams, apps.

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Why a text is no name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Wrong length or character.
    #[error(
        "{text:?} is not a stream or app name: 1 to 128 of A-Z a-z 0-9 . _ - are allowed, not beginning with a full stop"
    )]
    Malformed {
        /// What was given, cut to 140 characters.
        text: String,
    },
    /// The app would shadow one of our own URLs.
    #[error("{text:?} can't be an app: `api`, `play` and `v1` are taken by URLs of the node itself")]
    Reserved {
        /// What was given.
        text: String,
    },
}

/// A stream's name without its app: `[A-Za-z0-9_-][A-Za-z0-9._-]{0,127}`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StreamName(std::sync::Arc<str>);

/// The app that a node serves: as a stream's name, and none of `api`, `play`, `v1`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct AppName(String);

impl StreamName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for StreamName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        well_formed(text).map(|()| Self(text.into()))
    }
}

impl Serialize for StreamName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for StreamName {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        text.parse().map_err(de::Error::custom)
    }
}

impl fmt::Display for StreamName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for StreamName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

impl Borrow<str> for StreamName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl AppName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for AppName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        well_formed(text)?;
        if matches!(text, "api" | "play" | "v1") {
            return Err(NameError::Reserved { text: text.to_owned() });
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for AppName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn well_formed(text: &str) -> Result<(), NameError> {
    let legal = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.');
    let bytes = text.as_bytes();
    if (1..=128).contains(&bytes.len()) && bytes[0] != b'.' && bytes.iter().copied().all(legal) {
        Ok(())
    } else {
        Err(NameError::Malformed {
            text: text.chars().take(140).collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_outside_the_charset_are_refused() {
        for bad in ["", ".hidden", "a/b", "a b", "é", "a?b", &"x".repeat(129)] {
            assert!(bad.parse::<StreamName>().is_err(), "{bad:?}");
        }
        for good in ["a", "_x", "-x", "cam.1", &"x".repeat(128)] {
            assert!(good.parse::<StreamName>().is_ok(), "{good:?}");
        }
    }

    #[test]
    fn apps_that_shadow_our_urls_are_refused() {
        for bad in ["api", "play", "v1"] {
            assert!(
                matches!(bad.parse::<AppName>(), Err(NameError::Reserved { .. })),
                "{bad}"
            );
        }
        assert!("live".parse::<AppName>().is_ok());
    }
}
