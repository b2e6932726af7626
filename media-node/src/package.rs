//! PACKAGE: each output format of a stream is muxed once into a feed, a bounded ring of finished wire bytes.
//!
//! ```text
//! hub::Subscriber ─items─▶ Mux (rtmp_chunks | flv | fmp4) ─entries─▶ Feed ─Cursor─▶ a viewer's socket
//! ```

pub mod feed;
mod packager;

pub mod dash;
pub mod flv;
pub mod fmp4;
pub mod hls;
pub mod rtmp_chunks;
pub mod websocket_frame;

#[cfg(test)]
mod testing;

pub use packager::{Changed, Format, MakeMux, Mux, Packager};

/// The mux of a format.
pub fn make_mux(format: Format) -> Box<dyn Mux> {
    match format {
        Format::Rtmp => Box::<rtmp_chunks::RtmpMux>::default(),
        Format::Flv => Box::<flv::FlvMux>::default(),
        Format::Fmp4 => Box::<fmp4::Fmp4Mux>::default(),
    }
}
