//! The Secret with a resource's control token, and its rotation without an outage.
//!
//! ```text
//! steady [a] ──30 days, or a person──▶ adding [a, b] ──5 min──▶ switching [b, a] ──5 min──▶ steady [b]
//! ```
//!
//! A node takes every line of its file; the operator uses the first. The file of a node lags behind the Secret by up to
//! as long as a phase lasts, so that whichever of two neighbouring phases a node has seen, the first line of the newer
//! one is among its tokens. Steps are at least that far apart and no step leaves a phase out. Pure: `now` and fresh
//! tokens come from the caller.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::{Owner, metadata, names};
use crate::fleet::link::ControlToken;
use crate::fleet::{ResourceId, UnknownWord, one_of};

/// Data key, and name of the file in the pod.
pub const KEY: &str = "token";
/// Annotation: where the rotation stands, a [`Phase`].
pub const PHASE: &str = "headwater.dev/token-phase";
/// Annotation: since when, RFC 3339.
pub const SINCE: &str = "headwater.dev/token-since";
/// Annotation that a person sets, to any text but the last: the token is rotated now.
pub const ROTATE: &str = "headwater.dev/rotate";
/// Annotation: the text of [`ROTATE`] that has been acted on. That one is the person's, and applying ours does not
/// remove it.
pub const ROTATED: &str = "headwater.dev/rotated";

/// How long a token is used.
pub const LIFETIME: SignedDuration = SignedDuration::from_hours(30 * 24);
/// How long a changed Secret may take to be in every pod: a kubelet looks once a minute.
pub const SPREAD: SignedDuration = SignedDuration::from_mins(5);
/// By how much another operator's clock may be ahead of ours.
const CLOCK_SKEW: SignedDuration = SignedDuration::from_mins(1);

/// Lengths of a token that is not refused: 32 characters of base64 are 192 bits.
const TOKEN_LENGTHS: std::ops::RangeInclusive<usize> = 32..=256;
/// Longest text of [`ROTATE`] that is told apart.
const LONGEST_REQUEST: usize = 64;

/// Where the rotation stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Phase {
    /// One token.
    Steady,
    /// The old one is used; nodes learn the new one.
    Adding,
    /// The new one is used; nodes take the old one yet.
    Switching,
}

impl Phase {
    /// Every one of them.
    pub const ALL: [Self; 3] = [Self::Steady, Self::Adding, Self::Switching];

    /// The annotation's value.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Steady => "steady",
            Self::Adding => "adding",
            Self::Switching => "switching",
        }
    }

    /// How long it lasts.
    fn length(self) -> SignedDuration {
        match self {
            Self::Steady => LIFETIME,
            Self::Adding | Self::Switching => SPREAD,
        }
    }

    /// How many tokens there are in it.
    fn tokens(self) -> usize {
        match self {
            Self::Steady => 1,
            Self::Adding | Self::Switching => 2,
        }
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Phase {
    type Err = UnknownWord;

    fn from_str(word: &str) -> Result<Self, UnknownWord> {
        one_of("phase", &Self::ALL, word)
    }
}

/// What was decided about a Secret, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Step {
    /// It stays as it is.
    Kept,
    /// There was none: it is made.
    Made,
    /// It held no token that can be used: it is made anew. Nodes that run learn the new one within minutes.
    Replaced,
    /// Its annotations did not say where the rotation stands: its first token stays, which every node knows.
    Mended,
    /// A new token is added, for its age or at a person's word.
    Added,
    /// Every node knows the new token: it is used.
    Switched,
    /// Nothing uses the old token any more: it is dropped.
    Dropped,
}

impl Step {
    /// Every one of them.
    pub const ALL: [Self; 7] = [
        Self::Kept,
        Self::Made,
        Self::Replaced,
        Self::Mended,
        Self::Added,
        Self::Switched,
        Self::Dropped,
    ];

    /// The word for logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Kept => "kept",
            Self::Made => "made",
            Self::Replaced => "replaced",
            Self::Mended => "mended",
            Self::Added => "added",
            Self::Switched => "switched",
            Self::Dropped => "dropped",
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Step {
    type Err = UnknownWord;

    fn from_str(word: &str) -> Result<Self, UnknownWord> {
        one_of("step", &Self::ALL, word)
    }
}

/// What of a Secret bears on its rotation, unproven. `Debug` shows no token.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct TokenSecret {
    /// Data under [`KEY`]; empty where there is none or it is no text.
    text: String,
    /// The annotations named above, no others.
    annotations: BTreeMap<String, String>,
}

impl TokenSecret {
    /// The Secret to apply. [`ROTATE`] is not in it: whoever set that owns it.
    pub fn object(&self, id: &ResourceId, owner: &Owner) -> Secret {
        let mut annotations = self.annotations.clone();
        annotations.remove(ROTATE);
        let data = ByteString(self.text.clone().into_bytes());
        Secret {
            metadata: ObjectMeta {
                annotations: Some(annotations),
                ..metadata(id, owner, names::control_secret(id))
            },
            data: Some(BTreeMap::from([(KEY.to_owned(), data)])),
            type_: Some("Opaque".to_owned()),
            ..Secret::default()
        }
    }

    fn annotation(&self, key: &str) -> Option<&str> {
        self.annotations.get(key).map(String::as_str)
    }

    /// What a person has asked for, cut to the length that is told apart.
    fn request(&self) -> Option<String> {
        self.annotation(ROTATE)
            .map(|text| text.chars().take(LONGEST_REQUEST).collect())
    }
}

impl From<&Secret> for TokenSecret {
    fn from(secret: &Secret) -> Self {
        let bytes = secret.data.as_ref().and_then(|data| data.get(KEY));
        let text = bytes.and_then(|bytes| std::str::from_utf8(&bytes.0).ok());
        let annotations = secret.metadata.annotations.iter().flatten();
        let ours = annotations.filter(|(key, _)| [PHASE, SINCE, ROTATE, ROTATED].contains(&key.as_str()));
        Self {
            text: text.unwrap_or_default().to_owned(),
            annotations: ours.map(|(key, value)| (key.clone(), value.clone())).collect(),
        }
    }
}

impl fmt::Debug for TokenSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenSecret")
            .field("lines", &self.text.lines().count())
            .field("annotations", &self.annotations)
            .finish()
    }
}

/// What the Secret should be, which token to use with its nodes, and when to look again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// The Secret as it should be.
    pub secret: TokenSecret,
    /// What that changes, and why.
    pub step: Step,
    /// The token to use once the Secret is as it should be.
    pub token: ControlToken,
    /// When the next step is due; a person's word comes sooner.
    pub again: Timestamp,
}

impl Verdict {
    /// Whether the Secret has to be written.
    pub fn changes(&self) -> bool {
        self.step != Step::Kept
    }
}

/// A Secret that holds together.
struct Proven {
    phase: Phase,
    since: Timestamp,
    /// As many as the phase has; the first is used.
    tokens: Vec<String>,
    /// The last request that was acted on.
    rotated: Option<String>,
}

impl Proven {
    /// A phase that begins now. Seconds are enough, and easier on the eye.
    fn begin(phase: Phase, now: Timestamp, tokens: Vec<String>, rotated: Option<String>) -> Self {
        Self {
            phase,
            since: Timestamp::from_second(now.as_second()).unwrap_or(now),
            tokens,
            rotated,
        }
    }

    /// Takes a Secret for what it says it is.
    fn read(secret: &TokenSecret, now: Timestamp) -> Option<Self> {
        let phase: Phase = secret.annotation(PHASE)?.parse().ok()?;
        let since: Timestamp = secret.annotation(SINCE)?.parse().ok()?;
        let tokens = tokens(secret);
        let lines = secret.text.lines().filter(|line| !line.trim().is_empty()).count();
        let whole = tokens.len() == phase.tokens() && lines == tokens.len();
        let begun = since.duration_since(now) <= CLOCK_SKEW;
        (whole && begun).then(|| Self {
            phase,
            since,
            tokens,
            rotated: secret.annotation(ROTATED).map(str::to_owned),
        })
    }

    fn verdict(self, step: Step) -> Verdict {
        let text: String = self.tokens.iter().map(|token| format!("{token}\n")).collect();
        let mut annotations = BTreeMap::from([
            (PHASE.to_owned(), self.phase.to_string()),
            (SINCE.to_owned(), self.since.to_string()),
        ]);
        annotations.extend(self.rotated.map(|request| (ROTATED.to_owned(), request)));
        Verdict {
            token: ControlToken::new(text.lines().next().unwrap_or_default()),
            secret: TokenSecret { text, annotations },
            step,
            again: self.since.saturating_add(self.phase.length()).unwrap_or(Timestamp::MAX),
        }
    }
}

/// The tokens of a Secret that can be used, in their order.
fn tokens(secret: &TokenSecret) -> Vec<String> {
    let usable = |token: &&str| {
        TOKEN_LENGTHS.contains(&token.len())
            && token
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
    };
    let lines = secret.text.lines().map(str::trim).filter(usable);
    lines.take(2).map(str::to_owned).collect()
}

/// The token by which nodes of this Secret are spoken to: its first, whatever the phase. None: it holds none that can
/// be used.
pub fn in_use(secret: &Secret) -> Option<ControlToken> {
    let tokens = tokens(&TokenSecret::from(secret));
    tokens.first().map(|token| ControlToken::new(token))
}

/// Decides what a Secret should be, one step at a time. `fresh` gives a new token: at least 192 random bits in URL-safe
/// base64.
pub fn step(existing: Option<&TokenSecret>, now: Timestamp, fresh: impl FnOnce() -> String) -> Verdict {
    let begin = |phase, tokens, rotated| Proven::begin(phase, now, tokens, rotated);
    let Some(secret) = existing else {
        return begin(Phase::Steady, vec![fresh()], None).verdict(Step::Made);
    };
    let request = secret.request();
    let Some(proven) = Proven::read(secret, now) else {
        // In every phase all nodes know the first token, so that it can stay alone.
        return match tokens(secret).into_iter().next() {
            Some(first) => {
                let rotated = secret.annotation(ROTATED).map(str::to_owned);
                begin(Phase::Steady, vec![first], rotated).verdict(Step::Mended)
            }
            None => begin(Phase::Steady, vec![fresh()], request).verdict(Step::Replaced),
        };
    };
    let over = now.duration_since(proven.since) >= proven.phase.length();
    let asked = request.is_some() && request != proven.rotated;
    let Proven { tokens, rotated, .. } = &proven;
    match (proven.phase, tokens.as_slice()) {
        (Phase::Steady, [old]) if over || asked => {
            let tokens = vec![old.clone(), fresh()];
            begin(Phase::Adding, tokens, request.or(rotated.clone())).verdict(Step::Added)
        }
        (Phase::Adding, [old, new]) if over => {
            begin(Phase::Switching, vec![new.clone(), old.clone()], rotated.clone()).verdict(Step::Switched)
        }
        (Phase::Switching, [new, _]) if over => {
            begin(Phase::Steady, vec![new.clone()], rotated.clone()).verdict(Step::Dropped)
        }
        _ => proven.verdict(Step::Kept),
    }
}

#[cfg(test)]
mod tests;
