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
    /// A source's delivery port.
    #[error("pulls: source {index} of stream {stream}: http must be http://host:port")]
    Http {
        /// Which stream.
        stream: StreamName,
        /// Which source, from 0 on.
        index: usize,
    },
    /// An upstream's delivery port.
    #[error("onDemand.upstreams[{index}]: http must be http://host:port")]
    UpstreamHttp {
        /// Which, from 0 on.
        index: usize,
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
pub(super) type Sources = Arc<[PullSource]>;

/// Where a stream can be pulled from, or a base for any stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PullSource {
    pub(super) url: RtmpUrl,
    /// `http://host:port` of the same node's delivery port, where it is known.
    http: Option<Arc<str>>,
}

impl PullSource {
    fn parse_http(text: Option<&str>) -> Option<Result<Arc<str>, ()>> {
        let text = text?.trim_end_matches('/');
        let authority = text
            .strip_prefix("http://")
            .and_then(|rest| rest.parse::<http::uri::Authority>().ok());
        Some(authority.map(|_| text.into()).ok_or(()))
    }

    fn with_stream(&self, stream: &str) -> Self {
        Self {
            url: self.url.with_stream(stream),
            http: self.http.clone(),
        }
    }

    /// Where the node packages the stream: the folder of its HLS files, with a slash at the end.
    pub(super) fn folder(&self) -> Option<Arc<str>> {
        let (http, stream) = (self.http.as_ref()?, self.url.stream.as_ref()?);
        Some(format!("{http}/{}/{stream}/", self.url.app).into())
    }
}

/// A set of pulls whose names and URLs are proven.
#[derive(Debug)]
pub(super) struct ValidPulls {
    pub(super) planned: HashMap<StreamName, Sources>,
    pub(super) on_demand: Option<ValidOnDemand>,
}

/// What may be pulled on demand.
#[derive(Clone, Debug)]
pub(super) struct ValidOnDemand {
    pub(super) upstreams: Vec<PullSource>,
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
            let source = |(index, source): (usize, &headwater_contract::Source)| {
                let url = source.url.parse().map_err(|error| PullsError::Url {
                    stream: stream.clone(),
                    index,
                    error,
                })?;
                let http = PullSource::parse_http(source.http.as_deref()).transpose();
                let http = http.map_err(|()| PullsError::Http {
                    stream: stream.clone(),
                    index,
                })?;
                Ok(PullSource { url, http })
            };
            let sources: Sources = pull
                .sources
                .iter()
                .enumerate()
                .map(source)
                .collect::<Result<Vec<PullSource>, PullsError>>()?
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
        let sources = on_demand.upstreams.iter();
        let bases = sources.map(|source| (source.url.as_str(), source.http.as_deref()));
        Ok(Self {
            upstreams: parse_bases(bases, app)?,
            patterns: on_demand.streams.clone(),
            idle_timeout: Duration::from_secs(on_demand.idle_timeout_seconds.max(1).into()),
        })
    }

    /// Everything, from the node's own upstreams: the rule before and without a control plane.
    pub(super) fn own(upstreams: Vec<PullSource>, idle_timeout: Duration) -> Self {
        Self {
            upstreams,
            patterns: vec!["*".to_owned()],
            idle_timeout: idle_timeout.max(Duration::from_secs(1)),
        }
    }

    /// The sources of a stream, `fallback` after our own; none if it may not be pulled, or there is nowhere to pull from.
    pub(super) fn sources(&self, stream: &StreamName, fallback: &[PullSource]) -> Option<Sources> {
        if !self
            .patterns
            .iter()
            .any(|pattern| pattern_matches(pattern, stream.as_str()))
        {
            return None;
        }
        let sources = self.bases(stream, fallback);
        (!sources.is_empty()).then_some(sources)
    }

    /// Where a stream would be pulled from, whether it may be or not.
    pub(super) fn bases(&self, stream: &StreamName, fallback: &[PullSource]) -> Sources {
        let mut bases: Vec<&PullSource> = Vec::new();
        for base in self.upstreams.iter().chain(fallback) {
            if !bases.iter().any(|held| held.url == base.url) {
                bases.push(base);
            }
        }
        bases.iter().map(|base| base.with_stream(stream.as_str())).collect()
    }
}

/// Checks base URLs, each with the delivery port of its node where that is known.
pub(super) fn parse_bases<'a>(
    bases: impl Iterator<Item = (&'a str, Option<&'a str>)>,
    app: &str,
) -> Result<Vec<PullSource>, PullsError> {
    let base = |(index, (url, http)): (usize, (&str, Option<&str>))| {
        let url = RtmpUrl::parse_base(url, app).map_err(|error| PullsError::Upstream { index, error })?;
        let http = PullSource::parse_http(http).transpose();
        let http = http.map_err(|()| PullsError::UpstreamHttp { index })?;
        Ok(PullSource { url, http })
    };
    bases.enumerate().map(base).collect()
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
        let mut set = pulls(&[("a", &["rtmp://h/live/a"])]);
        set.pulls[0].sources[0].http = Some("https://h".into());
        assert!(refused(set).contains("source 0 of stream a: http must be http://host:port"));
        let twice = pulls(&[("a", &["rtmp://h/live/a"]), ("a", &["rtmp://h/live/a"])]);
        assert!(refused(twice).contains("twice"));
    }

    #[test]
    fn on_demand_sources_are_the_upstreams_then_the_nodes_own() {
        let own = parse_bases(
            [("rtmp://own", Some("http://own:8080/")), ("rtmp://first/live", None)].into_iter(),
            "live",
        )
        .unwrap();
        let on_demand = OnDemand {
            upstreams: vec![source("rtmp://first")],
            streams: vec!["cam*".into()],
            idle_timeout_seconds: 0,
        };
        let rule = ValidOnDemand::parse(&on_demand, "live").unwrap();
        let sources = rule.sources(&"cam1".parse().unwrap(), &own).unwrap();
        let texts: Vec<_> = sources.iter().map(|source| source.url.to_string()).collect();
        assert_eq!(texts, ["rtmp://first:1935/live/cam1", "rtmp://own:1935/live/cam1"]);
        let folders: Vec<_> = sources.iter().map(PullSource::folder).collect();
        assert_eq!(folders, [None, Some("http://own:8080/live/cam1/".into())]);
        assert_eq!(rule.sources(&"other".parse().unwrap(), &own), None);
        assert_eq!(rule.idle_timeout, Duration::from_secs(1));
    }
}
