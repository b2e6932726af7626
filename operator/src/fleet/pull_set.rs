//! The pull set of an edge, shared: all edges of a pool mostly pull the same, and what a link wants, what its node has
//! acknowledged and what the plan says are one value.

use std::fmt;
use std::ops::Deref;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use bytes::Bytes;
use headwater_contract::{OnDemand, Pull, Pulls};
use serde::Serialize;

/// A pull set; its `term` is left out. Clones are the same value, and are found equal without a look into it.
#[derive(Clone, Default)]
pub struct PullSet(Arc<Inner>);

#[derive(Default)]
struct Inner {
    pulls: Pulls,
    /// The command's body and its term, for as long as some link is sending it: a set that goes to many edges is written
    /// once. Locked for the writing, so that the others wait for it and do not do the same.
    written: Mutex<Option<(u64, Weak<Vec<u8>>)>>,
}

/// The command's body.
struct Written(Arc<Vec<u8>>);

impl AsRef<[u8]> for Written {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

/// [`Pulls`] with a term that it does not hold itself.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Body<'a> {
    term: u64,
    pulls: &'a [Pull],
    #[serde(skip_serializing_if = "Option::is_none")]
    on_demand: Option<&'a OnDemand>,
}

impl PullSet {
    /// True if both are one value, and not merely equal ones.
    pub fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// The body of `PUT /v1/pulls`.
    ///
    /// # Errors
    /// When the set can't be written as JSON.
    pub fn body(&self, term: u64) -> Result<Bytes, serde_json::Error> {
        let mut written = self.0.written.lock().unwrap_or_else(PoisonError::into_inner);
        let known = written.as_ref().filter(|(of, _)| *of == term);
        if let Some(body) = known.and_then(|(_, body)| body.upgrade()) {
            return Ok(Bytes::from_owner(Written(body)));
        }
        let mut body = serde_json::to_vec(&Body {
            term,
            pulls: &self.pulls,
            on_demand: self.on_demand.as_ref(),
        })?;
        body.shrink_to_fit();
        let body = Arc::new(body);
        *written = Some((term, Arc::downgrade(&body)));
        Ok(Bytes::from_owner(Written(body)))
    }
}

impl From<Pulls> for PullSet {
    fn from(mut pulls: Pulls) -> Self {
        pulls.term = None;
        Self(Arc::new(Inner {
            pulls,
            written: Mutex::default(),
        }))
    }
}

impl Deref for PullSet {
    type Target = Pulls;

    fn deref(&self) -> &Pulls {
        &self.0.pulls
    }
}

impl PartialEq for PullSet {
    fn eq(&self, other: &Self) -> bool {
        self.is(other) || **self == **other
    }
}

impl Eq for PullSet {}

impl fmt::Debug for PullSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use headwater_contract::Source;

    use super::*;

    fn set() -> PullSet {
        let source = Source {
            url: "rtmp://127.0.0.1/live/cam1".into(),
            http: None,
        };
        let on_demand = OnDemand {
            upstreams: vec![source.clone()],
            streams: vec!["*".into()],
            idle_timeout_seconds: 60,
        };
        PullSet::from(Pulls {
            term: None,
            pulls: vec![Pull {
                stream: "cam1".into(),
                sources: vec![source],
            }],
            on_demand: Some(on_demand),
        })
    }

    #[test]
    fn the_body_is_the_contracts_command() {
        for set in [set(), PullSet::default()] {
            let expected = Pulls {
                term: Some(7),
                ..(*set).clone()
            };
            assert_eq!(
                serde_json::from_slice::<Pulls>(&set.body(7).unwrap()).unwrap(),
                expected
            );
        }
    }

    #[test]
    fn a_body_is_written_once_for_all_who_send_it_and_kept_no_longer() {
        let set = set();
        let (first, second) = (set.body(7).unwrap(), set.clone().body(7).unwrap());
        assert_eq!(first.as_ptr(), second.as_ptr());
        assert_ne!(first, set.body(8).unwrap());
        drop((first, second));
        let written = set.0.written.lock().unwrap();
        assert!(written.as_ref().is_some_and(|(_, body)| body.upgrade().is_none()));
    }

    #[test]
    fn equal_sets_are_equal_though_they_are_not_one() {
        assert_eq!(set(), set());
        assert!(!set().is(&set()));
        assert_ne!(set(), PullSet::default());
    }
}
