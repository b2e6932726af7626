//! Where pulls may come from: checked sets, and on-demand sources made of base URLs. Pure.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use headwater_contract::{OnDemand, Pulls, pattern_matches};

use crate::names::{NameError, StreamName};
use crate::rtmp::url::{RtmpUrl, UrlError};

/// Most pulls in a set.
pub const MAX_PULLS: usize = 10_000;

/// Why a set of pulls is refused; nothing of it is done then.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PullsError {
    /// Too many.
    #[error("{given} pulls, {MAX_PULLS} are allowed")]
    TooMany {
        /// How many.
        given: usize,
    },
    /// A stream's name.
    #[error("pulls: {0}")]
    Name(#[from] NameError),
    /// The same name twice.
    #[error("pulls: stream {stream} stands in the set twice")]
    Twice {
        /// Which.
        stream: StreamName,
    },
    /// No source.
    #[error("pulls: stream {stream} has no sources, at least one is needed")]
    NoSource {
        /// Which.
        stream: StreamName,
    },
    /// A source's URL.
    #[error("pulls: source {index} of stream {stream}: {error}")]
    Url {
        /// Which stream.
        stream: StreamName,
        /// Which source, from 0 on.
        index: usize,
        /// What is wrong.
        error: UrlError,
    },
    /// An upstream's URL.
    #[error("onDemand.upstreams[{index}]: {error}")]
    Upstream {
        /// Which, from 0 on.
        index: usize,
        /// What is wrong.
        error: UrlError,
    },
}

/// Sources in order of preference.
pub(super) type Sources = Arc<[RtmpUrl]>;

/// A set of pulls whose names and URLs are proven.
#[derive(Debug)]
pub(super) struct ValidPulls {
    pub(super) planned: HashMap<StreamName, Sources>,
    pub(super) on_demand: Option<ValidOnDemand>,
}

/// What may be pulled on demand.
#[derive(Clone, Debug)]
pub(super) struct ValidOnDemand {
    pub(super) upstreams: Vec<RtmpUrl>,
    patterns: Vec<String>,
    pub(super) idle_timeout: Duration,
}

impl ValidPulls {
    /// Checks a set. Base URLs without an app get `app`.
    pub(super) fn parse(pulls: &Pulls, app: &str) -> Result<Self, PullsError> {
        if pulls.pulls.len() > MAX_PULLS {
            return Err(PullsError::TooMany {
                given: pulls.pulls.len(),
            });
        }
        let mut planned = HashMap::with_capacity(pulls.pulls.len());
        for pull in &pulls.pulls {
            let stream: StreamName = pull.stream.parse()?;
            let url = |(index, source): (usize, &headwater_contract::Source)| {
                source.url.parse().map_err(|error| PullsError::Url {
                    stream: stream.clone(),
                    index,
                    error,
                })
            };
            let sources: Sources = pull
                .sources
                .iter()
                .enumerate()
                .map(url)
                .collect::<Result<Vec<RtmpUrl>, _>>()?
                .into();
            if sources.is_empty() {
                return Err(PullsError::NoSource { stream });
            }
            if planned.insert(stream.clone(), sources).is_some() {
                return Err(PullsError::Twice { stream });
            }
        }
        let on_demand = match &pulls.on_demand {
            Some(on_demand) => Some(ValidOnDemand::parse(on_demand, app)?),
            None => None,
        };
        Ok(Self { planned, on_demand })
    }
}

impl ValidOnDemand {
    fn parse(on_demand: &OnDemand, app: &str) -> Result<Self, PullsError> {
        let urls = on_demand.upstreams.iter().map(|source| source.url.as_str());
        Ok(Self {
            upstreams: parse_bases(urls, app)?,
            patterns: on_demand.streams.clone(),
            idle_timeout: Duration::from_secs(on_demand.idle_timeout_seconds.max(1).into()),
        })
    }

    /// Everything, from the node's own upstreams: the rule before and without a control plane.
    pub(super) fn own(upstreams: Vec<RtmpUrl>, idle_timeout: Duration) -> Self {
        Self {
            upstreams,
            patterns: vec!["*".to_owned()],
            idle_timeout: idle_timeout.max(Duration::from_secs(1)),
        }
    }

    /// The sources of a stream, `fallback` after our own; none if it may not be pulled, or there is nowhere to pull from.
    pub(super) fn sources(&self, stream: &StreamName, fallback: &[RtmpUrl]) -> Option<Sources> {
        if !self
            .patterns
            .iter()
            .any(|pattern| pattern_matches(pattern, stream.as_str()))
        {
            return None;
        }
        let mut bases: Vec<&RtmpUrl> = Vec::new();
        for base in self.upstreams.iter().chain(fallback) {
            if !bases.contains(&base) {
                bases.push(base);
            }
        }
        let sources: Sources = bases.iter().map(|base| base.with_stream(stream.as_str())).collect();
        (!sources.is_empty()).then_some(sources)
    }
}

/// Checks base URLs.
pub(super) fn parse_bases<'a>(urls: impl Iterator<Item = &'a str>, app: &str) -> Result<Vec<RtmpUrl>, PullsError> {
    urls.enumerate()
        .map(|(index, url)| RtmpUrl::parse_base(url, app).map_err(|error| PullsError::Upstream { index, error }))
        .collect()
}

#[cfg(test)]
mod tests {
    use headwater_contract::{Pull, Source};

    use super::*;

    fn source(url: &str) -> Source {
        Source {
            url: url.to_owned(),
            http: None,
        }
    }

    fn pulls(entries: &[(&str, &[&str])]) -> Pulls {
        let pull = |(stream, urls): &(&str, &[&str])| Pull {
            stream: (*stream).to_owned(),
            sources: urls.iter().map(|url| source(url)).collect(),
        };
        Pulls {
            pulls: entries.iter().map(pull).collect(),
            ..Pulls::default()
        }
    }

    #[test]
    fn a_wrong_set_is_refused_with_what_is_wrong() {
        let refused = |set: Pulls| ValidPulls::parse(&set, "live").unwrap_err().to_string();
        assert!(refused(pulls(&[("a/b", &["rtmp://h/live/a"])])).contains("\"a/b\" is not a stream"));
        assert!(refused(pulls(&[("a", &[])])).contains("stream a has no sources"));
        assert!(
            refused(pulls(&[("a", &["rtmp://h/live/a", "http://h/a?key=s3cret"])])).contains("source 1 of stream a")
        );
        let twice = pulls(&[("a", &["rtmp://h/live/a"]), ("a", &["rtmp://h/live/a"])]);
        assert!(refused(twice).contains("twice"));
    }

    #[test]
    fn on_demand_sources_are_the_upstreams_then_the_nodes_own() {
        let own = parse_bases(["rtmp://own", "rtmp://first/live"].into_iter(), "live").unwrap();
        let on_demand = OnDemand {
            upstreams: vec![source("rtmp://first")],
            streams: vec!["cam*".into()],
            idle_timeout_seconds: 0,
        };
        let rule = ValidOnDemand::parse(&on_demand, "live").unwrap();
        let sources = rule.sources(&"cam1".parse().unwrap(), &own).unwrap();
        let texts: Vec<_> = sources.iter().map(ToString::to_string).collect();
        assert_eq!(texts, ["rtmp://first:1935/live/cam1", "rtmp://own:1935/live/cam1"]);
        assert_eq!(rule.sources(&"other".parse().unwrap(), &own), None);
        assert_eq!(rule.idle_timeout, Duration::from_secs(1));
    }
}
