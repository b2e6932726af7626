//! Vocabulary of media, no tokio: what a unit, a track and the clock are, and how codecs describe themselves.

pub mod clock;
pub mod meter;
pub mod timeline;
pub mod track;
pub mod unit;

pub mod aac;
pub mod amf;
pub mod av1;
pub mod flv;
pub mod h264;
pub mod hevc;
pub mod opus;
pub(crate) mod pace;
pub mod record;
