//! A Headwater media node: takes live streams in by RTMP and sends them to any number of viewers.
//!
//! ```text
//! publisher ──RTMP──▶ INGEST ─▶ HUB ─▶ PACKAGE ─▶ DELIVER ──▶ viewers (WS-fMP4, HTTP-FLV, RTMP)
//!            (origin)   ▲              (each format is muxed once per stream, every viewer is sent the same bytes)
//!                       └── PULL ◀──RTMP── another node's DELIVER          (an edge is a node whose ingest is a pull)
//! ```

pub mod args;
pub mod http_server;
pub mod lifecycle;
pub mod listen;
pub mod meters;
pub mod names;
pub mod settings;
pub mod telemetry;
pub mod tls;

pub mod media;

pub mod rtmp;

pub mod ingest;

pub mod hub;
pub mod package;

pub mod deliver;

pub mod ops;

pub mod node;
