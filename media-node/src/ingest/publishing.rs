//! The publishing rules in force: set by the control API, kept while the control plane is away, watched by sessions.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use headwater_contract::{OnConflict, PublishKey, Publishing, Push};
use tokio::sync::watch;

use super::admit::MAX_KEY;
use crate::hub::{Dvr, GroupPattern, MAX_GROUPS, PatternError};
use crate::names::{NameError, StreamName};
use crate::rtmp::url::{RtmpUrl, UrlError};

/// Who may publish, and where streams are forwarded to.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    /// Who may publish.
    pub access: Access,
    /// What happens to a second publisher.
    pub on_conflict: OnConflict,
    /// Streams to forward.
    pub pushes: Vec<Push>,
    /// How much of every stream can be played back; none where nobody has said so.
    pub dvr: Option<Duration>,
    /// Which streams are one another's qualities; none where nobody has said so.
    pub groups: Option<Vec<GroupPattern>>,
}

/// Who may publish.
#[derive(Clone, Debug, Default)]
pub enum Access {
    /// Anyone who reaches the port.
    #[default]
    Anyone,
    /// Nobody has said so far: all are refused.
    Unknown,
    /// Stream name or `*` to key.
    Keys(BTreeMap<String, PublishKey>),
}

/// Why rules are refused; the ones before stay in force. Holds neither keys nor URLs.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RulesError {
    /// A key that could never match, or that everybody has.
    #[error("keys[{name:?}]: a key of 1 to {MAX_KEY} bytes is needed")]
    Key {
        /// Whose.
        name: String,
    },
    /// A name that no stream can have.
    #[error("keys: {0}, and * for all others")]
    Name(#[from] NameError),
    /// Where to push to.
    #[error("pushes[{index}].url: {error}")]
    Push {
        /// Which, from 0 on.
        index: usize,
        /// What is wrong.
        error: UrlError,
    },
    /// Too long.
    #[error("dvrSeconds: {given} is too long, at most {} are allowed", Dvr::LONGEST.as_secs())]
    Dvr {
        /// How long.
        given: u32,
    },
    /// No pattern.
    #[error("groups[{index}]: {error}")]
    Group {
        /// Which, from 0 on.
        index: usize,
        /// What is wrong.
        error: PatternError,
    },
    /// Too many.
    #[error("{given} groups, {MAX_GROUPS} are allowed")]
    TooManyGroups {
        /// How many.
        given: usize,
    },
    /// Too many.
    #[error("{given} pushes, {MAX_PUSHES} are allowed")]
    TooManyPushes {
        /// How many.
        given: usize,
    },
}

/// Most push rules.
pub const MAX_PUSHES: usize = 100;

/// Handle of the rules.
#[derive(Clone)]
pub struct PublishRules {
    rules: Arc<watch::Sender<Arc<Rules>>>,
    apply: Arc<dyn Fn(&Rules) + Send + Sync>,
}

impl std::fmt::Debug for PublishRules {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("PublishRules").field(&self.rules).finish()
    }
}

impl PublishRules {
    /// Before any control plane has spoken. `required` refuses all until it has (`--require-publishing-rules`, which an
    /// operator sets); otherwise anyone may publish.
    pub fn new(required: bool) -> Self {
        let access = if required { Access::Unknown } else { Access::Anyone };
        let rules = Rules {
            access,
            ..Rules::default()
        };
        Self {
            rules: Arc::new(watch::Sender::new(Arc::new(rules))),
            apply: Arc::new(|_| {}),
        }
    }

    /// With `apply`, which is told of new rules right before they are in force: whoever is admitted by them finds it done.
    pub fn applying(self, apply: impl Fn(&Rules) + Send + Sync + 'static) -> Self {
        let apply = Arc::new(apply);
        Self { apply, ..self }
    }

    /// Puts `publishing` in force. Running publishers whose key no longer fits are closed.
    pub fn set(&self, publishing: Publishing) -> Result<(), RulesError> {
        check(&publishing)?;
        let groups = publishing.groups.as_deref().map(groups).transpose()?;
        let rules = Rules {
            access: publishing.keys.map_or(Access::Anyone, Access::Keys),
            on_conflict: publishing.on_conflict,
            pushes: publishing.pushes,
            dvr: publishing
                .dvr_seconds
                .map(|seconds| Duration::from_secs(seconds.into())),
            groups,
        };
        self.rules.send_modify(|current| {
            (self.apply)(&rules);
            *current = Arc::new(rules);
        });
        Ok(())
    }

    /// The rules now.
    pub fn current(&self) -> Arc<Rules> {
        Arc::clone(&self.rules.borrow())
    }

    /// To wait for changes.
    pub fn watch(&self) -> watch::Receiver<Arc<Rules>> {
        self.rules.subscribe()
    }
}

fn groups(patterns: &[String]) -> Result<Vec<GroupPattern>, RulesError> {
    if patterns.len() > MAX_GROUPS {
        let given = patterns.len();
        return Err(RulesError::TooManyGroups { given });
    }
    let parse = |(index, text): (usize, &String)| text.parse().map_err(|error| RulesError::Group { index, error });
    patterns.iter().enumerate().map(parse).collect()
}

fn check(publishing: &Publishing) -> Result<(), RulesError> {
    for (name, key) in publishing.keys.iter().flatten() {
        if name != "*" {
            name.parse::<StreamName>()?;
        }
        if !(1..=MAX_KEY).contains(&key.expose().len()) {
            return Err(RulesError::Key { name: name.clone() });
        }
    }
    if let Some(given) = publishing.dvr_seconds
        && u64::from(given) > Dvr::LONGEST.as_secs()
    {
        return Err(RulesError::Dvr { given });
    }
    if publishing.pushes.len() > MAX_PUSHES {
        return Err(RulesError::TooManyPushes {
            given: publishing.pushes.len(),
        });
    }
    for (index, push) in publishing.pushes.iter().enumerate() {
        // Any name will do in the place of the stream's.
        let url = push.url.replace("{stream}", "x").parse::<RtmpUrl>();
        url.map_err(|error| RulesError::Push { index, error })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keyed(name: &str, key: &str) -> Publishing {
        Publishing {
            keys: Some(BTreeMap::from([(name.to_owned(), PublishKey::new(key))])),
            ..Publishing::default()
        }
    }

    #[test]
    fn anyone_publishes_until_told_otherwise_unless_rules_are_required() {
        assert!(matches!(PublishRules::new(false).current().access, Access::Anyone));
        let rules = PublishRules::new(true);
        assert!(matches!(rules.current().access, Access::Unknown));
        rules.set(Publishing::default()).unwrap();
        assert!(matches!(rules.current().access, Access::Anyone));
    }

    /// A publisher that is admitted by new rules is one of a group by them.
    #[test]
    fn what_rules_say_of_streams_is_done_when_they_are_in_force() {
        let hub = crate::hub::Hub::new(crate::hub::Limits::default(), None);
        let groups = hub.groups().clone();
        let rules =
            PublishRules::new(true).applying(move |said| groups.set(said.groups.as_deref().unwrap_or_default()));
        let publishing = Publishing {
            groups: Some(vec!["{group}_{variant}".to_owned()]),
            ..Publishing::default()
        };
        rules.set(publishing).unwrap();
        let of = hub.groups().of(&"show_1".parse().unwrap());
        assert_eq!(of.unwrap().as_str(), "show");
    }

    #[test]
    fn wrong_rules_are_refused_and_those_before_stay() {
        let rules = PublishRules::new(false);
        rules.set(keyed("cam1", "one")).unwrap();
        assert!(matches!(rules.set(keyed("cam1", "")), Err(RulesError::Key { .. })));
        assert!(matches!(rules.set(keyed("a/b", "k")), Err(RulesError::Name(_))));
        let push = Publishing {
            pushes: vec![Push {
                stream: "*".into(),
                url: "http://h/{stream}?key=s3cret".into(),
            }],
            ..Publishing::default()
        };
        let long = Publishing {
            dvr_seconds: Some(43_201),
            ..Publishing::default()
        };
        assert!(rules.set(long).unwrap_err().to_string().contains("at most 43200"));
        for (groups, words) in [
            (vec!["{group}".to_owned()], "groups[0]: \"{group}\" is no pattern"),
            (vec!["{group}_{variant}".to_owned(); 9], "9 groups, 8 are allowed"),
        ] {
            let wrong = Publishing {
                groups: Some(groups),
                ..Publishing::default()
            };
            assert!(rules.set(wrong).unwrap_err().to_string().contains(words));
        }
        let error = rules.set(push).unwrap_err();
        assert!(!format!("{error} {error:?}").contains("s3cret"));
        assert!(matches!(&rules.current().access, Access::Keys(keys) if keys.contains_key("cam1")));
    }
}
