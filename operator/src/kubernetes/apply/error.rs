//! Why something was not written, in words for people and for metrics.

use thiserror::Error;

use super::ANSWER;
use crate::kubernetes::leader::Asleep;

/// Why something was not written; it is tried again.
#[derive(Debug, Error)]
pub enum Error {
    /// This process may lead no more.
    #[error(transparent)]
    Asleep(#[from] Asleep),
    /// The API server refused, or can't be reached.
    #[error("failed to {verb} {kind} {name}")]
    Api {
        /// What was to be done.
        verb: &'static str,
        /// Kind of the object.
        kind: String,
        /// Its name.
        name: String,
        /// The API server's word.
        source: Box<kube::Error>,
    },
    /// The API server did not answer in time.
    #[error("failed to {verb} {kind} {name}: no answer within {} s", ANSWER.as_secs())]
    Timeout {
        /// What was to be done.
        verb: &'static str,
        /// Kind of the object.
        kind: String,
        /// Its name.
        name: String,
    },
    /// Somebody else has made an object of this name; it is left alone.
    #[error(
        "{kind} {name} is there already and was not made for this resource; delete or rename it, or give the resource another name"
    )]
    Foreign {
        /// Kind of the object.
        kind: String,
        /// Its name.
        name: String,
    },
    /// The object can't be written as JSON.
    #[error("failed to encode {kind} {name}")]
    Encode {
        /// Kind of the object.
        kind: String,
        /// Its name.
        name: String,
        /// The library's word.
        source: serde_json::Error,
    },
}

impl Error {
    /// The word of the metric's label.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Asleep(_) => "asleep",
            Self::Api { .. } => "apply",
            Self::Timeout { .. } => "timeout",
            Self::Foreign { .. } => "foreign",
            Self::Encode { .. } => "encode",
        }
    }

    /// In a person's words, with what the API server said.
    pub fn describe(&self) -> String {
        match self {
            Self::Api { source, .. } => match source.as_ref() {
                kube::Error::Api(status) => format!("{self}: {}", status.message),
                other => format!("{self}: {}", crate::fleet::link::chain(other)),
            },
            _ => crate::fleet::link::chain(self),
        }
    }

    pub(super) fn is_about_what_is_written(&self) -> bool {
        let Self::Api { source, .. } = self else { return false };
        matches!(source.as_ref(), kube::Error::Api(status) if status.code == 422)
    }

    pub(super) fn is_about_an_object_that_is_gone(&self) -> bool {
        let Self::Api { source, .. } = self else { return false };
        matches!(source.as_ref(), kube::Error::Api(status) if matches!(status.code, 404 | 409))
    }
}
