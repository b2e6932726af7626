//! Who may publish a name: a pure decision.

use std::time::Duration;

use headwater_contract::{OnConflict, PublishKey};
use subtle::ConstantTimeEq;

use super::publishing::{Access, Rules};
use crate::hub::Occupancy;
use crate::meters::Refusal;
use crate::names::StreamName;

/// A publisher that has sent no media for this long gives way to a newcomer at once.
pub const SILENCE: Duration = Duration::from_secs(2);
/// Longest key, bytes; a longer one never matches.
pub const MAX_KEY: usize = headwater_contract::PublishKey::LONGEST;

/// What a publisher asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Publish {
    /// Name.
    pub name: StreamName,
    /// `?key=` of the name.
    pub key: Option<PublishKey>,
}

/// Why a publisher is refused; what it is told, and never a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// A key is needed.
    #[error("a key is needed: publish as NAME?key=KEY")]
    KeyMissing,
    /// Not this one.
    #[error("wrong key for this stream name")]
    KeyWrong,
    /// No rules have come yet, and this node was told to wait for them.
    #[error("this origin has not been told yet who may publish; try again in a moment")]
    NoRules,
    /// The name has a live publisher.
    #[error("the name is taken: its publisher sent media less than {} s ago", SILENCE.as_secs())]
    Conflict,
    /// The node holds as many streams as it may.
    #[error("this origin holds as many streams as it is allowed to")]
    Full,
}

impl Refused {
    /// The status code of the answer.
    pub fn code(self) -> &'static str {
        match self {
            Refused::KeyMissing | Refused::KeyWrong => "NetStream.Publish.Denied",
            Refused::Conflict => "NetStream.Publish.BadName",
            Refused::NoRules | Refused::Full => "NetStream.Publish.Failed",
        }
    }

    /// How it is counted.
    pub fn reason(self) -> Refusal {
        match self {
            Refused::KeyMissing | Refused::KeyWrong => Refusal::Key,
            Refused::NoRules => Refusal::NotAllowed,
            Refused::Conflict => Refusal::Conflict,
            Refused::Full => Refusal::Limit,
        }
    }
}

/// Decides whether `request` may have the name, `occupancy` being who sits there.
pub fn admit(request: &Publish, rules: &Rules, occupancy: Occupancy) -> Result<(), Refused> {
    entitled(request, rules)?;
    match occupancy {
        Occupancy::Live { silent_for } if silent_for < SILENCE && rules.on_conflict == OnConflict::Reject => {
            Err(Refused::Conflict)
        }
        Occupancy::Live { .. } | Occupancy::Vacant | Occupancy::Free => Ok(()),
    }
}

/// Decides whether `request` may publish at all; asked again of a running publisher when the rules change.
pub fn entitled(request: &Publish, rules: &Rules) -> Result<(), Refused> {
    let keys = match &rules.access {
        Access::Unknown => return Err(Refused::NoRules),
        Access::Anyone => return Ok(()),
        Access::Keys(keys) => keys,
    };
    let given = request.key.as_ref().ok_or(Refused::KeyMissing)?;
    match keys.get(request.name.as_str()).or_else(|| keys.get("*")) {
        Some(key) if same(key.expose(), given.expose()) => Ok(()),
        _ => Err(Refused::KeyWrong),
    }
}

/// Compares in a time that depends on neither content nor length.
fn same(a: &str, b: &str) -> bool {
    let padded = |text: &str| {
        let mut block = [0_u8; MAX_KEY + 8];
        let taken = text.len().min(MAX_KEY);
        block[..taken].copy_from_slice(&text.as_bytes()[..taken]);
        block[MAX_KEY..].copy_from_slice(&(text.len() as u64).to_be_bytes());
        block
    };
    let fits = a.len() <= MAX_KEY && b.len() <= MAX_KEY;
    bool::from(padded(a).ct_eq(&padded(b))) && fits
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn publish(name: &str, key: Option<&str>) -> Publish {
        Publish {
            name: name.parse().unwrap(),
            key: key.map(PublishKey::new),
        }
    }

    fn keyed(keys: &[(&str, &str)]) -> Rules {
        let keys: BTreeMap<_, _> = keys
            .iter()
            .map(|(name, key)| ((*name).to_owned(), PublishKey::new(*key)))
            .collect();
        Rules {
            access: Access::Keys(keys),
            ..Rules::default()
        }
    }

    fn live(ms: u64) -> Occupancy {
        Occupancy::Live {
            silent_for: Duration::from_millis(ms),
        }
    }

    #[test]
    fn a_names_own_key_rules_over_the_wildcard() {
        let rules = keyed(&[("cam1", "one"), ("*", "any")]);
        let decide = |name, key| admit(&publish(name, key), &rules, Occupancy::Free);
        assert_eq!(decide("cam1", Some("one")), Ok(()));
        assert_eq!(decide("cam1", Some("any")), Err(Refused::KeyWrong));
        assert_eq!(decide("cam2", Some("any")), Ok(()));
        assert_eq!(decide("cam2", Some("one")), Err(Refused::KeyWrong));
        assert_eq!(decide("cam2", None), Err(Refused::KeyMissing));
    }

    #[test]
    fn keys_are_compared_whole() {
        assert!(same("s3cret", "s3cret"));
        for other in ["s3cre", "s3cret\0", "S3cret", "", &"x".repeat(MAX_KEY + 1)] {
            assert!(!same("s3cret", other), "{other:?}");
        }
        let long = "x".repeat(MAX_KEY + 1);
        assert!(!same(&long, &long), "a key beyond the bound never matches");
    }

    #[test]
    fn an_empty_set_of_keys_refuses_all() {
        let refused = admit(&publish("cam1", Some("x")), &keyed(&[]), Occupancy::Free);
        assert_eq!(refused, Err(Refused::KeyWrong));
    }

    #[test]
    fn a_second_publisher_is_refused_while_the_first_sends() {
        let (request, mut rules) = (publish("cam1", None), Rules::default());
        assert_eq!(admit(&request, &rules, live(1_999)), Err(Refused::Conflict));
        assert_eq!(admit(&request, &rules, live(2_000)), Ok(()), "a silent one gives way");
        assert_eq!(admit(&request, &rules, Occupancy::Vacant), Ok(()));
        rules.on_conflict = OnConflict::TakeOver;
        assert_eq!(admit(&request, &rules, live(0)), Ok(()));
    }

    #[test]
    fn a_wrong_key_never_takes_a_silent_name() {
        let refused = admit(&publish("cam1", Some("two")), &keyed(&[("cam1", "one")]), live(60_000));
        assert_eq!(refused, Err(Refused::KeyWrong));
    }

    #[test]
    fn an_origin_that_waits_for_rules_refuses() {
        let rules = Rules {
            access: Access::Unknown,
            ..Rules::default()
        };
        assert_eq!(
            admit(&publish("a", Some("k")), &rules, Occupancy::Free),
            Err(Refused::NoRules)
        );
    }
}
