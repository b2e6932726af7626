//! LL-HLS and HLS (RFC 8216bis): each stream cut once into CMAF parts and segments, and playlists of them.
//!
//! ```text
//! hub::Subscriber ─items─▶ segmenter ─parts─▶ window ─▶ playlist, multivariant (text)
//!        upstream ─window.json, segments─▶ ────┘  ├──▶ document (for nodes downstream)
//!                                                 └──▶ disk (old segments)   bounds: what of them leaves when
//! ```
//! All of it but `channel`, `upstream`, `archive` and `disk` is pure. Names, numbers and bytes derive from the stream and its origin's clock alone,
//! so that every node that carries a stream serves the same files under the same URLs.

pub mod archive;
mod bounds;
pub mod channel;
pub mod disk;
pub mod document;
pub mod multivariant;
pub mod playlist;
mod segmenter;
pub mod upstream;
mod viewers;
pub mod window;
