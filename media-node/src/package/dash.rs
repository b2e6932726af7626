//! MPEG-DASH (ISO/IEC 23009-1): manifests over the segments that [`super::hls`] has cut, under the same names and numbers. Pure.
//!
//! ```text
//! hls::window ─▶ outline (what a manifest says of one stream) ─▶ manifest (text, of one stream or of several)
//! ```
//! A manifest derives from windows alone, never from when it is asked for: it is the same on every node.

pub mod manifest;
pub mod outline;

/// Which form of a manifest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Form {
    /// The segment that is being made can be asked for.
    Low,
    /// Complete segments only, for players that do not know what is not complete.
    Plain,
}

#[cfg(test)]
mod tests;
