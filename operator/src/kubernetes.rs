//! The cluster as a platform: the objects that a resource needs in Kubernetes, and how they come to be.

pub mod decide;
