//! The status of both kinds, for what a person would see.
