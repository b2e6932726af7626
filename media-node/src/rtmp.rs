//! RTMP (Adobe RTMP 1.0) on the wire, for everybody who speaks it: ingest, pull, push and delivery.
//!
//! ```text
//! socket ─▶ handshake ─▶ ChunkReader ─Message─▶ Control (acks, pings) ─▶ a session or a client ─▶ command, mux ─▶ socket
//! ```

pub mod chunk_reader;
pub mod client;
pub mod command;
pub mod connection;
pub mod handshake;
pub mod mux;
pub mod url;

/// Payload bytes in each chunk that we send; announced before anything longer than the default is sent.
pub const CHUNK_SIZE: u32 = 65_536;
/// The one message stream: `createStream` always answers it, so that RTMP viewers share bytes.
pub const MEDIA_STREAM: u32 = 1;
