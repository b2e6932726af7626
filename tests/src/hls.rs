//! HLS as these tests see it: a parser, the rules a live stream is held to, and a player that keeps the rules' record.
//!
//! ```text
//! playlist ─▶ validator (structure · history · delta · hints · reports · time) ─▶ Fault
//!    ▲              ▲                                                           (rule, section, lines)
//! client ───────────┴─▶ fragments (boxes) · ledger (same URL, same bytes) · buffer (stalls, latency)
//! model        a stream that keeps every rule, for the tests of all these
//! ```
//!
//! Sections are those of draft-pantos-hls-rfc8216bis-22; Apple's are items of the HLS Authoring Specification.
//! Nothing here is shared with the server.

pub mod playlist;
pub mod rule;

pub mod validator;

pub mod fragments;

pub mod client;

pub mod model;

pub use rule::{Fault, Rule};
pub use validator::{Limits, Observation, Validator};
