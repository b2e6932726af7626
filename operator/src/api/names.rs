//! Names and addresses whose length and characters have been proven once.
//!
//! Each type is made by `parse` alone; its error says what is allowed and never repeats text that may hold a key.
//! The `…_PATTERN` constants are the same rules as regular expressions, for the CRDs.

use std::fmt;

/// Regular expression of [`StreamName`] and [`AppName`].
pub const STREAM_NAME_PATTERN: &str = "^[A-Za-z0-9_-][A-Za-z0-9._-]{0,127}$";
/// Regular expression of [`StreamPattern`].
pub const STREAM_PATTERN_PATTERN: &str = "^[A-Za-z0-9_*-][A-Za-z0-9._*-]{0,127}$";
/// Regular expression of [`GroupPattern`].
pub const GROUP_PATTERN_PATTERN: &str = "^[{]group[}][A-Za-z0-9._-]{1,16}[{]variant[}]$";
/// Regular expression of [`ResourceName`]: a DNS label of RFC 1035 §2.3.1, as Services want it.
pub const RESOURCE_NAME_PATTERN: &str = "^[a-z]([a-z0-9-]*[a-z0-9])?$";
/// Regular expression of [`SecretName`]: a DNS subdomain of RFC 1123 §2.1.
pub const SECRET_NAME_PATTERN: &str = "^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$";
/// Regular expression of [`RtmpUrl`]; `parse` is stricter.
pub const RTMP_URL_PATTERN: &str = "^rtmp://[^/?#@ {}]+/[^/? {}]+/[^ {}]+$";
/// Regular expression of [`PushUrl`]; `parse` is stricter.
pub const PUSH_URL_PATTERN: &str = "^rtmp://[^/?#@ {}]+/[^/? ]+/[^ ]+$";

/// Longest name of a StreamOrigin or EdgePool; the rest of a DNS label is left for the names of what is made for it.
pub const RESOURCE_NAME_MAX: usize = 40;
/// Longest name of a Secret.
pub const SECRET_NAME_MAX: usize = 253;
/// Longest name of a stream or an app.
pub const STREAM_NAME_MAX: usize = 128;
/// Longest URL.
pub const URL_MAX: usize = 1024;
/// Apps whose paths the delivery port needs itself.
pub const RESERVED_APPS: [&str; 3] = ["api", "play", "v1"];
/// Stands for the stream's name in a [`PushUrl`].
pub const STREAM_PLACEHOLDER: &str = "{stream}";

/// What a name or an address has to look like: the whole message of the refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Not a stream name.
    #[error("is not a stream name; allowed are 1 to 128 of A-Z a-z 0-9 . _ -, the first of them not a dot")]
    Stream,
    /// Not an app name.
    #[error("is not an app name; allowed are 1 to 128 of A-Z a-z 0-9 . _ -, the first of them not a dot")]
    App,
    /// One of [`RESERVED_APPS`].
    #[error("is a reserved app name; any but api, play and v1 is allowed")]
    ReservedApp,
    /// Not a pattern of stream names.
    #[error("is not a stream pattern; allowed are 1 to 128 of A-Z a-z 0-9 . _ - and *, the first of them not a dot")]
    Pattern,
    /// Not a pattern of the names of a group's streams.
    #[error(
        "is not a pattern of a group; allowed is {{group}}, then 1 to 16 of A-Z a-z 0-9 . _ -, then {{variant}}, such as {{group}}_{{variant}}"
    )]
    Group,
    /// Not a name for a resource of ours.
    #[error(
        "is not a resource name; allowed are 1 to 40 of a-z 0-9 -, the first of them a letter, the last a letter or digit"
    )]
    Resource,
    /// Not a namespace.
    #[error("is not a namespace; allowed are 1 to 63 of a-z 0-9 -, first and last a letter or digit")]
    Namespace,
    /// Not the name of a Secret.
    #[error("is not the name of a Secret; allowed are 1 to 253 of a-z 0-9 . -, first and last a letter or digit")]
    Secret,
    /// Not an address to pull from.
    #[error("is not an RTMP address; allowed is rtmp://host[:port]/app/stream[?query], at most 1024 characters")]
    Url,
    /// Not an address to push to.
    #[error(
        "is not an RTMP address; allowed is rtmp://host[:port]/app/stream[?query], at most 1024 characters, in which {{stream}} stands for the stream's name"
    )]
    PushUrl,
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $error:expr, $valid:expr) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(String);

        impl $name {
            /// Proves the name.
            ///
            /// # Errors
            /// A [`NameError`] that says what is allowed.
            pub fn parse(text: &str) -> Result<Self, NameError> {
                let valid: fn(&str) -> bool = $valid;
                if valid(text) { Ok(Self(text.to_owned())) } else { Err($error) }
            }

            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }
    };
}

name!(
    /// Name of a stream, without its app: `[A-Za-z0-9_-][A-Za-z0-9._-]{0,127}`.
    StreamName, NameError::Stream, |text| is_stream_name(text)
);
name!(
    /// Pattern of stream names, in which `*` stands for any run of characters ([`headwater_contract::pattern_matches`]).
    StreamPattern, NameError::Pattern, |text| is_stream_pattern(text)
);
name!(
    /// How the names of streams are built that are the qualities of one: `{group}_{variant}`.
    GroupPattern, NameError::Group, |text| is_group_pattern(text)
);
name!(
    /// Name of a StreamOrigin or EdgePool.
    ResourceName, NameError::Resource, |text| is_resource_name(text)
);
name!(
    /// Name of a namespace.
    Namespace, NameError::Namespace, |text| text.len() <= 63 && is_dns(text, false)
);
name!(
    /// Name of a Secret in the namespace of the resource that names it.
    SecretName, NameError::Secret, |text| text.len() <= SECRET_NAME_MAX && is_dns(text, true)
);

impl StreamPattern {
    /// True if the pattern covers this stream.
    pub fn matches(&self, stream: &str) -> bool {
        headwater_contract::pattern_matches(&self.0, stream)
    }

    /// True if it may cover more than one name.
    pub fn is_wild(&self) -> bool {
        self.0.contains('*')
    }
}

/// Name of an app: as a stream's, but for those that the delivery port needs itself.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AppName(String);

impl AppName {
    /// Proves the name.
    ///
    /// # Errors
    /// [`NameError::App`] or [`NameError::ReservedApp`].
    pub fn parse(text: &str) -> Result<Self, NameError> {
        if RESERVED_APPS.contains(&text) {
            return Err(NameError::ReservedApp);
        }
        if !is_stream_name(text) {
            return Err(NameError::App);
        }
        Ok(Self(text.to_owned()))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for AppName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Namespace and name: which resource, among those of one kind.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ResourceKey {
    /// Its namespace, `default` where the manifest names none.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl ResourceKey {
    /// A key from parts that are known to be names.
    pub fn new(namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self {
            namespace: namespace.into(),
            name: name.into(),
        }
    }
}

impl fmt::Display for ResourceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// Address of a stream to pull: `rtmp://host[:port]/app/stream[?query]`. It may hold a key, so `Debug` and `Display` show the host alone.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct RtmpUrl(String);

impl RtmpUrl {
    /// Proves the address.
    ///
    /// # Errors
    /// [`NameError::Url`], which does not repeat the address.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        if is_rtmp_url(text) {
            Ok(Self(text.to_owned()))
        } else {
            Err(NameError::Url)
        }
    }

    /// The whole address: for a connection, never for a log.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

/// Address to push streams to, in which `{stream}` stands for the stream's name. Redacted as [`RtmpUrl`] is.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct PushUrl(String);

impl PushUrl {
    /// Proves the address.
    ///
    /// # Errors
    /// [`NameError::PushUrl`], which does not repeat the address.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        // Any name stands in for the placeholder here: the rest of the address has to be right around it.
        if is_rtmp_url(&text.replace(STREAM_PLACEHOLDER, "x"))
            && authority(text).is_some_and(|host| !host.contains('{'))
        {
            Ok(Self(text.to_owned()))
        } else {
            Err(NameError::PushUrl)
        }
    }

    /// The whole address, placeholder and all: for the node, never for a log.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// True if each stream gets an address of its own.
    pub fn has_placeholder(&self) -> bool {
        self.0.contains(STREAM_PLACEHOLDER)
    }

    /// The address for one stream: for a connection, never for a log.
    pub fn for_stream(&self, stream: &StreamName) -> String {
        self.0.replace(STREAM_PLACEHOLDER, stream.as_str())
    }
}

macro_rules! redacted_url {
    ($name:ident) => {
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "rtmp://{}/…", authority(&self.0).unwrap_or_default())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }
    };
}
redacted_url!(RtmpUrl);
redacted_url!(PushUrl);

fn is_stream_name(text: &str) -> bool {
    (1..=STREAM_NAME_MAX).contains(&text.len())
        && !text.starts_with('.')
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
}

fn is_group_pattern(text: &str) -> bool {
    let between = text
        .strip_prefix("{group}")
        .and_then(|rest| rest.strip_suffix("{variant}"));
    between.is_some_and(|text| (1..=16).contains(&text.len()) && is_stream_name(&format!("_{text}")))
}

fn is_stream_pattern(text: &str) -> bool {
    (1..=STREAM_NAME_MAX).contains(&text.len())
        && !text.starts_with('.')
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-' | b'*'))
}

fn is_resource_name(text: &str) -> bool {
    text.len() <= RESOURCE_NAME_MAX && text.starts_with(|c: char| c.is_ascii_lowercase()) && is_dns(text, false)
}

fn is_dns(text: &str, dots: bool) -> bool {
    let end = |b: Option<&u8>| b.is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    let bytes = text.as_bytes();
    end(bytes.first())
        && end(bytes.last())
        && bytes
            .iter()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || *b == b'-' || (dots && *b == b'.'))
}

fn authority(url: &str) -> Option<&str> {
    url.strip_prefix("rtmp://")?.split('/').next()
}

fn is_rtmp_url(text: &str) -> bool {
    if text.len() > URL_MAX
        || !text
            .bytes()
            .all(|b| b.is_ascii_graphic() && !matches!(b, b'{' | b'}' | b'#'))
    {
        return false;
    }
    let Some((authority, path)) = text.strip_prefix("rtmp://").and_then(|rest| rest.split_once('/')) else {
        return false;
    };
    let path = path.split('?').next().unwrap_or_default();
    let mut segments = path.split('/');
    is_authority(authority) && segments.clone().count() >= 2 && segments.all(|segment| !segment.is_empty())
}

fn is_authority(text: &str) -> bool {
    let (host, port) = if let Some(bracketed) = text.strip_prefix('[') {
        let Some((address, port)) = bracketed.split_once(']') else {
            return false;
        };
        if address.parse::<std::net::Ipv6Addr>().is_err() {
            return false;
        }
        ("v6", port)
    } else {
        match text.find(':') {
            Some(at) => text.split_at(at),
            None => (text, ""),
        }
    };
    let port_is_right = match port.strip_prefix(':') {
        Some(number) => number.bytes().all(|b| b.is_ascii_digit()) && number.parse::<u16>().is_ok_and(|port| port > 0),
        None => port.is_empty(),
    };
    let host_is_right = (1..=253).contains(&host.len())
        && host
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_'))
        && !host.starts_with(['.', '-']);
    port_is_right && host_is_right
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stream_names_are_held_to_their_characters() {
        for (name, right) in [
            ("cam1", true),
            ("_a.b-c", true),
            ("-", true),
            (".hidden", false),
            ("", false),
            ("a/b", false),
            ("a b", false),
            ("é", false),
            ("*", false),
        ] {
            assert_eq!(StreamName::parse(name).is_ok(), right, "{name:?}");
        }
        assert!(StreamName::parse(&"a".repeat(128)).is_ok());
        assert!(StreamName::parse(&"a".repeat(129)).is_err());
    }

    #[test]
    fn reserved_apps_are_refused_by_name() {
        for app in RESERVED_APPS {
            assert_eq!(AppName::parse(app), Err(NameError::ReservedApp));
        }
        assert!(AppName::parse("live").is_ok());
        assert_eq!(AppName::parse("a/b"), Err(NameError::App));
    }

    #[test]
    fn resource_names_are_dns_labels_that_leave_room() {
        for (name, right) in [
            ("main", true),
            ("a", true),
            ("a-1", true),
            ("1a", false),
            ("a-", false),
            ("A", false),
            ("a.b", false),
            ("", false),
        ] {
            assert_eq!(ResourceName::parse(name).is_ok(), right, "{name:?}");
        }
        assert!(ResourceName::parse(&"a".repeat(40)).is_ok());
        assert!(ResourceName::parse(&"a".repeat(41)).is_err());
    }

    #[test]
    fn rtmp_addresses_need_host_app_and_stream() {
        for (url, right) in [
            ("rtmp://h/live/a", true),
            ("rtmp://h:1936/live/a?key=x/y", true),
            ("rtmp://[::1]:1935/live/a", true),
            ("rtmp://10.0.0.1/a/b/c", true),
            ("rtmp://h/live", false),
            ("rtmp://h/live/", false),
            ("rtmp://h//a", false),
            ("rtmp://h/live?x=/a", false),
            ("rtmp:///live/a", false),
            ("rtmp://h:0/live/a", false),
            ("rtmp://h:99999/live/a", false),
            ("rtmp://h:+5/live/a", false),
            ("rtmp://u:p@h/live/a", false),
            ("rtmps://h/live/a", false),
            ("http://h/live/a", false),
            ("rtmp://h/live/a b", false),
            ("rtmp://h/live/{stream}", false),
            ("rtmp://[::zz]/live/a", false),
        ] {
            assert_eq!(RtmpUrl::parse(url).is_ok(), right, "{url}");
        }
    }

    #[test]
    fn a_push_address_takes_the_streams_name() {
        let url = PushUrl::parse("rtmp://h/live/{stream}?key={stream}").unwrap();
        assert!(url.has_placeholder());
        assert_eq!(
            url.for_stream(&StreamName::parse("cam1").unwrap()),
            "rtmp://h/live/cam1?key=cam1"
        );
        for wrong in [
            "rtmp://h/live/{name}",
            "rtmp://{stream}/live/a",
            "rtmp://h/live/{stream",
            "rtmp://h/{stream}",
        ] {
            assert!(PushUrl::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn an_address_shows_its_host_alone() {
        let url = PushUrl::parse("rtmp://h:1/live2/s3cret?key=s3cret").unwrap();
        assert_eq!(format!("{url} {url:?}"), "rtmp://h:1/… rtmp://h:1/…");
    }
}
