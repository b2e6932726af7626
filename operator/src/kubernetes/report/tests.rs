//! The status of both kinds, for what a person would see: each reason with what is wrong and what to do.

mod origin;
mod pool;

use std::collections::BTreeSet;

use super::pool::LISTED_EDGES;
use super::*;
use crate::api::condition::ConditionReason as Reason;
use crate::api::condition::ConditionType as Type;
use crate::autoscaling::verdict::{Limit, Reason as Why, Verdict};
use crate::control::PoolReport;
use crate::fleet::Addresses;
use crate::fleet::document::{EdgeEntry, OriginEntry, PoolEntry, StreamEntry};
use crate::replication::Verdict as Replication;

fn now() -> Timestamp {
    Timestamp::from_second(1_800_000_000).unwrap()
}

fn addresses(host: &str) -> Addresses {
    Addresses {
        rtmp: format!("{host}:1935"),
        http: format!("{host}:80"),
        ops: String::new(),
    }
}

fn invalid() -> Trouble {
    Trouble::Invalid(vec![FieldError::refused(
        "spec.autoscaling.maxReplicas",
        "2 is below minReplicas (5)",
    )])
}

fn refused() -> Trouble {
    Trouble::Apply("failed to apply Deployment web-edge: exceeded quota".to_owned())
}

/// Status, reason and message of a condition.
fn of(conditions: &[Condition], kind: Type) -> (&str, Reason, &str) {
    let found = condition::find(conditions, kind).unwrap_or_else(|| panic!("no {kind}"));
    (&found.status, found.reason.parse().unwrap(), &found.message)
}

/// A condition has this status and reason, and its message these words.
fn held(conditions: &[Condition], kind: Type, wanted: (&str, Reason), words: &str) {
    let (status, reason, message) = of(conditions, kind);
    assert_eq!((status, reason), wanted, "{kind}: {message}");
    assert!(message.contains(words), "{reason}: {message:?} lacks {words:?}");
}

#[test]
fn messages_are_sentences_without_a_full_stop() {
    for trouble in [invalid(), refused()] {
        let message = trouble.message();
        assert!(!message.ends_with('.') && !message.contains('\n'), "{message}");
    }
}
