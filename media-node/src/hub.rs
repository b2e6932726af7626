//! HUB: the streams of a node, each a bounded ring of units between one publisher and the feeds.
//!
//! ```text
//! Publisher ─send─▶ Stream (ring of items, group of pictures, tracks, clock) ─Subscriber─▶ feeds, pushes
//! ```
//! Nobody downstream can make a publisher wait.

mod broadcast;
mod cutter;
pub mod demand;
mod dvr;
mod groups;
pub mod lag;
mod missing;
mod publisher;
mod registry;
mod state;
mod stream;
mod unison;

pub use broadcast::{Batch, Item, Start, Subscriber, What};
pub use cutter::Targets;
pub use dvr::Dvr;
pub use groups::{GroupPattern, Groups, MAX_GROUPS, PatternError};
pub use publisher::{Publisher, ResumePoint};
pub use registry::{Hub, HubEvent, Limits, Occupancy, PublishOptions};
pub use stream::{Snapshot, Stream, Watching};

#[cfg(test)]
mod tests;
