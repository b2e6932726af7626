//! The custom resources of `headwater.dev/v1alpha1` as Rust types: fields, defaults, bounds and rules.
//!
//! The CRD files are rendered from these types alone ([`crate::crds`]). Nothing here decides anything: a raw spec goes through
//! [`crate::validate`] before it is used.

pub mod condition;
pub mod edge_pool;
pub mod names;
pub mod service;
pub mod stream_origin;
pub mod template;
pub mod tls;

pub use condition::{ConditionReason, ConditionType};
pub use edge_pool::{EdgePool, EdgePoolSpec, EdgePoolStatus};
pub use stream_origin::{StreamOrigin, StreamOriginSpec, StreamOriginStatus};

/// API group of both kinds.
pub const GROUP: &str = "headwater.dev";
/// API version of both kinds.
pub const VERSION: &str = "v1alpha1";
/// `apiVersion` of both kinds.
pub const API_VERSION: &str = "headwater.dev/v1alpha1";
