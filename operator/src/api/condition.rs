//! Condition types and reasons: closed sets, since people and programs match on these words.

use std::fmt;
use std::str::FromStr;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use schemars::{Schema, SchemaGenerator, json_schema};

/// A word that is not in the closed set.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is none of the known words")]
pub struct UnknownWord(String);

macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident,)+ }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum $name { $($(#[$variant_doc])* $variant,)+ }

        impl $name {
            /// Every one of them.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The word as it stands in a status.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => stringify!($variant),)+ }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl FromStr for $name {
            type Err = UnknownWord;

            fn from_str(text: &str) -> Result<Self, UnknownWord> {
                match text {
                    $(stringify!($variant) => Ok(Self::$variant),)+
                    _ => Err(UnknownWord(text.to_owned())),
                }
            }
        }
    };
}

words! {
    /// `type` of a condition.
    ConditionType {
        /// The summary: it does what its spec says.
        Ready,
        /// Edges can be added and removed right now.
        AbleToScale,
        /// Autoscaling is on and has figures to go by.
        ScalingActive,
        /// The wanted number of edges was cut to the bounds.
        ScalingLimited,
        /// Every edge carries the streams that it should.
        Replicating,
        /// Of an origin: publishers need a key. Of both: the certificate that `spec.tls` names is there.
        Secured,
        /// The pool is its own upstream, through others or at once.
        UpstreamCycle,
    }
}

impl ConditionType {
    /// Conditions of a StreamOrigin, all of them set on first sight.
    pub const ORIGIN: &'static [Self] = &[Self::Ready, Self::Secured];
    /// Conditions of an EdgePool, all of them set on first sight.
    pub const POOL: &'static [Self] = &[
        Self::Ready,
        Self::AbleToScale,
        Self::ScalingActive,
        Self::ScalingLimited,
        Self::Replicating,
        Self::Secured,
        Self::UpstreamCycle,
    ];
}

words! {
    /// `reason` of a condition.
    ConditionReason {
        /// Ready: everything wanted is up.
        Serving,
        /// Ready: not up yet.
        Starting,
        /// Ready: fewer edges are ready than wanted.
        TooFewEdges,
        /// Ready: stopped by `suspend`.
        Suspended,
        /// Any: the spec is refused; the message says which field and what is allowed.
        InvalidSpec,
        /// Ready: the node does not answer.
        NodeSilent,
        /// Any: the API server refused what was to be made.
        ApplyFailed,
        /// Any: the upstream does not exist.
        UpstreamNotFound,
        /// Any: the upstream exists and is not ready.
        UpstreamNotReady,
        /// Any: the pool is its own upstream.
        UpstreamCycle,
        /// UpstreamCycle: false, the way up ends at an origin.
        UpstreamFound,
        /// AbleToScale: true.
        ReadyToScale,
        /// AbleToScale: a rollout is under way.
        RolloutUnderWay,
        /// AbleToScale: a pod waits for its node.
        PodPending,
        /// AbleToScale or ScalingActive: an annotation says so.
        Paused,
        /// ScalingActive: true; `replicas` is ignored.
        Autoscaling,
        /// ScalingActive: false, `autoscaling` is absent and `replicas` counts.
        NotConfigured,
        /// ScalingActive: false, figures are missing or stale.
        FiguresMissing,
        /// ScalingLimited: false.
        WithinBounds,
        /// ScalingLimited: more edges are needed than `maxReplicas`.
        AtMaximum,
        /// ScalingLimited: fewer edges would do than `minReplicas`.
        AtMinimum,
        /// Replicating: true.
        InStep,
        /// Replicating: false, streams are on their way.
        Behind,
        /// Replicating: false, a pull does not work.
        PullFailed,
        /// Replicating: true, streams are pulled when somebody asks.
        OnDemand,
        /// Secured: true.
        KeysRequired,
        /// Secured: false, anyone who can reach the port may publish.
        AnyoneMayPublish,
        /// Secured: true, `keysSecret` does not exist and every publisher is refused.
        KeysSecretMissing,
        /// Secured: true, `keysSecret` has no entry that can be a key and every publisher is refused.
        KeysSecretUnusable,
        /// Secured: true, a pool's viewers can come by HTTPS.
        CertificateThere,
        /// Secured: false, the Secret of `spec.tls` does not exist and viewers come by plain HTTP alone.
        CertificateMissing,
        /// Secured: false, the Secret of `spec.tls` lacks the certificate or its key.
        CertificateIncomplete,
        /// Secured: false, a pool has no `spec.tls`.
        PlainHttp,
    }
}

/// Most conditions in one status.
const MAX_CONDITIONS: u32 = 16;

/// Schema of a list of metav1.Condition, keyed by type.
pub(super) fn conditions_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "maxItems": MAX_CONDITIONS,
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["type"],
        "items": {
            "description": "One aspect of the state.",
            "type": "object",
            "required": ["type", "status", "reason", "message", "lastTransitionTime"],
            "properties": {
                "type": {
                    "description": "Which aspect.", "type": "string", "maxLength": 316,
                },
                "status": {
                    "description": "True, False or Unknown.", "type": "string", "enum": ["True", "False", "Unknown"],
                },
                "reason": {
                    "description": "Why, as one word for programs.", "type": "string", "minLength": 1, "maxLength": 1024,
                },
                "message": {
                    "description": "Why, in words for people.", "type": "string", "maxLength": 32768,
                },
                "lastTransitionTime": {
                    "description": "When the status last changed.", "type": "string", "format": "date-time",
                },
                "observedGeneration": {
                    "description": "Generation of the spec that this was concluded from.",
                    "type": "integer", "format": "int64", "minimum": 0,
                },
            },
        },
    })
}

/// The condition of this type in a list.
pub fn find(conditions: &[Condition], kind: ConditionType) -> Option<&Condition> {
    conditions.iter().find(|condition| condition.type_ == kind.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_reads_back_as_itself() {
        for kind in ConditionType::ALL {
            assert_eq!(kind.to_string().parse::<ConditionType>().as_ref(), Ok(kind));
        }
        for reason in ConditionReason::ALL {
            assert_eq!(reason.to_string().parse::<ConditionReason>().as_ref(), Ok(reason));
        }
        assert!("ready".parse::<ConditionType>().is_err());
    }

    #[test]
    fn a_status_has_room_for_every_condition_of_its_kind() {
        for kinds in [ConditionType::ORIGIN, ConditionType::POOL] {
            assert!(kinds.len() <= MAX_CONDITIONS as usize);
            assert!(kinds.contains(&ConditionType::Ready));
        }
    }
}
