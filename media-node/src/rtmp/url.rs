//! RTMP URLs. A query may hold a publish key: it shows in no text but the one that is sent.

use std::fmt;
use std::str::FromStr;

/// `rtmp://host[:port]/app[/stream][?query]`.
#[derive(Clone, PartialEq, Eq)]
pub struct RtmpUrl {
    /// Name or address, without brackets.
    pub host: String,
    /// TCP port, 1935 unless given.
    pub port: u16,
    /// App: all segments of the path but the last; empty if there is no path.
    pub app: String,
    /// Last segment; none for a base URL.
    pub stream: Option<String>,
    /// What follows the question mark: secret.
    pub query: Option<String>,
}

/// Why a text is no URL that we can pull from or push to. Never holds the query.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    /// Another scheme.
    #[error("an rtmp:// URL is needed, this one begins with {0:?}")]
    Scheme(String),
    /// No host, or a port that is no number.
    #[error("the URL has no valid host and port: rtmp://host[:port]/app/stream is needed")]
    Authority,
    /// No app or no stream.
    #[error("the URL names no app and stream: rtmp://host[:port]/app/stream is needed")]
    Path,
}

impl RtmpUrl {
    /// A base URL, `rtmp://host[:port][/app]`: the path is the app, `default_app` if there is none.
    pub fn parse_base(text: &str, default_app: &str) -> Result<Self, UrlError> {
        let (mut url, path) = split(text)?;
        url.app = match path.trim_matches('/') {
            "" => default_app.to_owned(),
            app => app.to_owned(),
        };
        Ok(url)
    }

    /// This base URL with a stream.
    pub fn with_stream(&self, stream: &str) -> Self {
        Self {
            stream: Some(stream.to_owned()),
            ..self.clone()
        }
    }

    /// `rtmp://host:port/app`, as `connect` wants it (RTMP 1.0 §7.2.1.1).
    pub fn tc_url(&self) -> String {
        format!("rtmp://{}/{}", self.authority(), self.app)
    }

    /// Stream and query as `play` and `publish` take them. Secret if there is a query.
    pub fn stream_with_query(&self) -> String {
        let stream = self.stream.as_deref().unwrap_or_default();
        match &self.query {
            Some(query) => format!("{stream}?{query}"),
            None => stream.to_owned(),
        }
    }

    fn authority(&self) -> String {
        match self.host.contains(':') {
            true => format!("[{}]:{}", self.host, self.port),
            false => format!("{}:{}", self.host, self.port),
        }
    }
}

impl FromStr for RtmpUrl {
    type Err = UrlError;

    fn from_str(text: &str) -> Result<Self, UrlError> {
        let (mut url, path) = split(text)?;
        match path.trim_matches('/').rsplit_once('/') {
            Some((app, stream)) => {
                url.app = app.to_owned();
                url.stream = Some(stream.to_owned());
                Ok(url)
            }
            None => Err(UrlError::Path),
        }
    }
}

impl fmt::Display for RtmpUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.tc_url())?;
        self.stream.as_ref().map_or(Ok(()), |stream| write!(f, "/{stream}"))
    }
}

impl fmt::Debug for RtmpUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RtmpUrl({self})")
    }
}

/// The URL without its path, and the path.
fn split(text: &str) -> Result<(RtmpUrl, &str), UrlError> {
    let Some(rest) = text.strip_prefix("rtmp://") else {
        let scheme = text.split("://").next().unwrap_or_default();
        return Err(UrlError::Scheme(scheme.chars().take(16).collect()));
    };
    let (rest, query) = match rest.split_once('?') {
        Some((rest, query)) => (rest, Some(query.to_owned())),
        None => (rest, None),
    };
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let (host, port) = match authority.strip_prefix('[') {
        Some(bracketed) => {
            let (host, after) = bracketed.split_once(']').ok_or(UrlError::Authority)?;
            (host, after.strip_prefix(':').or(after.is_empty().then_some("1935")))
        }
        None => match authority.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (authority, Some("1935")),
        },
    };
    let port = port.and_then(|port| port.parse().ok()).ok_or(UrlError::Authority)?;
    if host.is_empty() || host.contains(['@', ' ']) {
        return Err(UrlError::Authority);
    }
    let url = RtmpUrl {
        host: host.to_owned(),
        port,
        app: String::new(),
        stream: None,
        query,
    };
    Ok((url, path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_comes_apart() {
        let url: RtmpUrl = "rtmp://origin.example:1940/live/cam1?key=s3cret".parse().unwrap();
        assert_eq!((url.host.as_str(), url.port), ("origin.example", 1940));
        assert_eq!((url.app.as_str(), url.stream.as_deref()), ("live", Some("cam1")));
        assert_eq!(url.stream_with_query(), "cam1?key=s3cret");
        let deep: RtmpUrl = "rtmp://[::1]/a/b/c".parse().unwrap();
        assert_eq!((deep.host.as_str(), deep.port, deep.app.as_str()), ("::1", 1935, "a/b"));
        assert_eq!(deep.tc_url(), "rtmp://[::1]:1935/a/b");
    }

    #[test]
    fn a_base_url_takes_the_app_by_default() {
        let base = RtmpUrl::parse_base("rtmp://10.0.0.1:1935", "live").unwrap();
        assert_eq!(base.with_stream("x").to_string(), "rtmp://10.0.0.1:1935/live/x");
        assert_eq!(RtmpUrl::parse_base("rtmp://h/other/", "live").unwrap().app, "other");
    }

    #[test]
    fn what_is_no_rtmp_url_is_refused_in_plain_words() {
        assert_eq!("http://h/a/b".parse::<RtmpUrl>(), Err(UrlError::Scheme("http".into())));
        assert_eq!("rtmp://h:port/a/b".parse::<RtmpUrl>(), Err(UrlError::Authority));
        assert_eq!("rtmp:///a/b".parse::<RtmpUrl>(), Err(UrlError::Authority));
        assert_eq!("rtmp://h/a".parse::<RtmpUrl>(), Err(UrlError::Path));
    }

    /// rtmp-rs printed keys in logs at many places.
    #[test]
    fn fault_15_a_key_shows_in_no_text_of_a_url() {
        let url: RtmpUrl = "rtmp://h/live/cam1?key=s3cret".parse().unwrap();
        assert!(!format!("{url} {url:?} {}", url.tc_url()).contains("s3cret"));
        let error = "http://h/live?key=s3cret".parse::<RtmpUrl>().unwrap_err();
        assert!(!format!("{error} {error:?}").contains("s3cret"));
    }
}
