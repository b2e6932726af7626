//! What a request on the delivery port asks for: a pure function of its method, path and headers.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, Method, StatusCode, Uri, header};

use super::hls::Ask;
use crate::meters;
use crate::names::{AppName, StreamName};

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Route {
    /// The player page.
    Page,
    /// A file of the page.
    Asset(String),
    /// A stream's media.
    Media {
        /// Which.
        stream: StreamName,
        /// As what.
        container: Container,
        /// How.
        transport: Transport,
    },
    /// A file of a stream's HLS.
    Hls {
        /// Which stream.
        stream: StreamName,
        /// Which file.
        ask: Ask,
    },
    /// The list of live streams.
    Streams,
    /// What time it is.
    Time,
    /// Readiness, status only.
    Readyz,
    /// A browser asks what it may ask (CORS).
    Preflight,
}

/// Formats that the delivery port serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Container {
    /// `.mp4`
    Fmp4,
    /// `.flv`
    Flv,
}

/// How media are carried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Transport {
    /// As the body of the answer.
    Body,
    /// By WebSocket, with the client's key (RFC 6455 §4.2.1).
    WebSocket {
        /// `Sec-WebSocket-Key` as it came.
        key: String,
    },
}

/// A request that is not served, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Status of the answer.
    pub status: StatusCode,
    /// What is wrong and what is allowed, in a person's words.
    pub message: String,
    /// What it counts as.
    pub reason: meters::Refusal,
}

/// Methods that every URL of the delivery port takes.
pub const ALLOW: &str = "GET, HEAD, OPTIONS";

impl Refusal {
    pub(super) fn not_found(message: String) -> Self {
        Self {
            status: StatusCode::NOT_FOUND,
            message,
            reason: meters::Refusal::NotFound,
        }
    }

    pub(super) fn bad_query(message: String) -> Self {
        Self {
            status: StatusCode::BAD_REQUEST,
            message,
            reason: meters::Refusal::Malformed,
        }
    }

    fn bad_upgrade(status: StatusCode, message: &str) -> Self {
        Self {
            status,
            message: message.to_owned(),
            reason: meters::Refusal::Malformed,
        }
    }
}

/// Routes a request of a node that serves `app`.
pub fn route(method: &Method, uri: &Uri, headers: &HeaderMap, app: &AppName) -> Result<Route, Refusal> {
    if method == Method::OPTIONS {
        return Ok(Route::Preflight);
    }
    if method != Method::GET && method != Method::HEAD {
        return Err(Refusal {
            status: StatusCode::METHOD_NOT_ALLOWED,
            message: format!("{method} is not taken here, only {ALLOW}"),
            reason: meters::Refusal::Method,
        });
    }
    let path = uri.path();
    let mut steps = path.strip_prefix('/').unwrap_or(path).split('/');
    let steps = [steps.next(), steps.next(), steps.next(), steps.next()];
    match steps {
        [Some(""), None, ..] | [Some("play"), None, ..] => Ok(Route::Page),
        [Some("readyz"), None, ..] => Ok(Route::Readyz),
        [Some("api"), Some("streams"), None, _] => Ok(Route::Streams),
        [Some("api"), Some("time"), None, _] => Ok(Route::Time),
        [Some("api"), ..] => Err(Refusal::not_found(format!("no {path} here: the API is /api/streams"))),
        [Some("play"), Some(file), None, _] => Ok(Route::Asset(file.to_owned())),
        // Any app: the page may be told to play from another server (`?server=`), whose app is its own.
        [Some("play"), Some(app), Some(stream), None] => {
            match (app.parse::<StreamName>(), stream.parse::<StreamName>()) {
                (Ok(_), Ok(_)) => Ok(Route::Page),
                (Err(error), _) | (_, Err(error)) => Err(Refusal::not_found(error.to_string())),
            }
        }
        [Some(asked), Some(file), None, _] => media(asked, file, method, headers, app),
        [Some(asked), Some(stream), Some(file), None] => {
            served(asked, app)?;
            let stream = stream
                .parse::<StreamName>()
                .map_err(|error| Refusal::not_found(error.to_string()))?;
            let ask = Ask::parse(file, uri.query().unwrap_or_default())?;
            Ok(Route::Hls { stream, ask })
        }
        _ => Err(Refusal::not_found(format!(
            "no {} here: streams are at /{app}/NAME.mp4, /{app}/NAME.flv, /{app}/NAME.m3u8 and /{app}/NAME.mpd, the player at /",
            shorten(path)
        ))),
    }
}

fn media(asked: &str, file: &str, method: &Method, headers: &HeaderMap, app: &AppName) -> Result<Route, Refusal> {
    served(asked, app)?;
    let (name, form) = file.rsplit_once('.').unwrap_or((file, ""));
    let stream = || {
        name.parse::<StreamName>()
            .map_err(|error| Refusal::not_found(error.to_string()))
    };
    let container = match form {
        "mp4" => Container::Fmp4,
        "flv" => Container::Flv,
        "m3u8" => {
            let (stream, ask) = (stream()?, Ask::multivariant());
            return Ok(Route::Hls { stream, ask });
        }
        "mpd" => {
            let (stream, ask) = (stream()?, Ask::manifest());
            return Ok(Route::Hls { stream, ask });
        }
        _ => {
            return Err(Refusal::not_found(format!(
                "no such form of a stream: take /{app}/NAME.mp4, /{app}/NAME.flv, /{app}/NAME.m3u8 or /{app}/NAME.mpd"
            )));
        }
    };
    let stream = stream()?;
    let transport = match method == Method::GET && wants_websocket(headers) {
        true => Transport::WebSocket {
            key: websocket_key(headers)?,
        },
        false => Transport::Body,
    };
    Ok(Route::Media {
        stream,
        container,
        transport,
    })
}

fn served(asked: &str, app: &AppName) -> Result<(), Refusal> {
    match asked == app.as_str() {
        true => Ok(()),
        false => Err(Refusal::not_found(format!(
            "no app {:?} here: this node serves the app {app}",
            shorten(asked)
        ))),
    }
}

/// RFC 6455 §4.2.1: `Upgrade` has `websocket`, `Connection` has `Upgrade`.
fn wants_websocket(headers: &HeaderMap) -> bool {
    let has = |name: header::HeaderName, token: &str| {
        headers
            .get_all(name)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .any(|part| part.trim().eq_ignore_ascii_case(token))
    };
    has(header::UPGRADE, "websocket") && has(header::CONNECTION, "upgrade")
}

fn websocket_key(headers: &HeaderMap) -> Result<String, Refusal> {
    let text = |name: header::HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    if text(header::SEC_WEBSOCKET_VERSION) != Some("13") {
        return Err(Refusal::bad_upgrade(
            StatusCode::UPGRADE_REQUIRED,
            "only WebSocket version 13 is spoken here",
        ));
    }
    match text(header::SEC_WEBSOCKET_KEY) {
        Some(key) if STANDARD.decode(key).is_ok_and(|bytes| bytes.len() == 16) => Ok(key.to_owned()),
        _ => Err(Refusal::bad_upgrade(
            StatusCode::BAD_REQUEST,
            "Sec-WebSocket-Key must be 16 bytes in base64",
        )),
    }
}

pub(super) fn shorten(text: &str) -> String {
    text.chars().take(140).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::package::dash::Form;

    fn ask(method: &str, path: &str, headers: &[(&'static str, &'static str)]) -> Result<Route, Refusal> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, value.parse().unwrap());
        }
        let uri = path.replace(' ', "%20").parse().unwrap();
        route(&method.parse().unwrap(), &uri, &map, &"live".parse().unwrap())
    }

    fn body(stream: &str, container: Container) -> Route {
        Route::Media {
            stream: stream.parse().unwrap(),
            container,
            transport: Transport::Body,
        }
    }

    fn manifest(form: Form) -> Route {
        Route::Hls {
            stream: "cam1".parse().unwrap(),
            ask: Ask::Manifest(form),
        }
    }

    const UPGRADE: [(&str, &str); 4] = [
        ("upgrade", "WebSocket"),
        ("connection", "keep-alive, Upgrade"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ];

    #[test]
    fn each_url_leads_where_the_design_says() {
        let cases = [
            ("/", Route::Page),
            ("/play/live/cam1", Route::Page),
            ("/play/other/cam1", Route::Page),
            ("/play/player.js", Route::Asset("player.js".into())),
            ("/live/cam1.mp4", body("cam1", Container::Fmp4)),
            ("/live/cam.1.flv", body("cam.1", Container::Flv)),
            ("/api/streams", Route::Streams),
            ("/api/time", Route::Time),
            ("/live/cam1.mpd", manifest(Form::Low)),
            ("/live/cam1/plain.mpd", manifest(Form::Plain)),
            ("/readyz", Route::Readyz),
        ];
        for (path, route) in cases {
            assert_eq!(ask("GET", path, &[]), Ok(route.clone()), "{path}");
            assert_eq!(ask("HEAD", path, &[]), Ok(route), "{path}");
            assert_eq!(ask("OPTIONS", path, &[]), Ok(Route::Preflight), "{path}");
        }
    }

    #[test]
    fn refusals_say_what_is_wrong() {
        let cases = [
            ("GET", "/other/cam1.mp4", 404, "serves the app live"),
            ("GET", "/live/cam1/index.m3u8", 404, "video.m3u8"),
            ("GET", "/live/cam1/video.m3u8?_HLS_part=1", 400, "_HLS_msn"),
            ("GET", "/live/cam1/video-x.m4s", 404, "no such file"),
            ("GET", "/live/cam1/video/1.m4s", 404, "the player at /"),
            ("GET", "/live/cam1.avi", 404, "no such form"),
            ("GET", "/live/cam1", 404, "no such form"),
            ("GET", "/live/.mp4", 404, "is not a stream"),
            ("GET", "/live/a%20b.mp4", 404, "is not a stream"),
            ("GET", "/api/other", 404, "/api/streams"),
            ("GET", "/favicon.ico", 404, "the player at /"),
            ("GET", "/play/live/a b", 404, "is not a stream"),
            ("POST", "/live/cam1.mp4", 405, "GET, HEAD, OPTIONS"),
            ("DELETE", "/", 405, "GET, HEAD, OPTIONS"),
        ];
        for (method, path, status, words) in cases {
            let refusal = ask(method, path, &[]).unwrap_err();
            assert_eq!(refusal.status.as_u16(), status, "{method} {path}");
            assert!(refusal.message.contains(words), "{method} {path}: {}", refusal.message);
        }
    }

    #[test]
    fn an_upgrade_is_a_websocket_only_where_media_are() {
        let transport = Transport::WebSocket {
            key: "dGhlIHNhbXBsZSBub25jZQ==".into(),
        };
        assert_eq!(
            ask("GET", "/live/a.flv", &UPGRADE),
            Ok(Route::Media {
                stream: "a".parse().unwrap(),
                container: Container::Flv,
                transport
            })
        );
        assert_eq!(ask("GET", "/api/streams", &UPGRADE), Ok(Route::Streams));
    }

    #[test]
    fn a_broken_upgrade_is_refused_before_anything_else_happens() {
        let old = [UPGRADE[0], UPGRADE[1], ("sec-websocket-version", "8"), UPGRADE[3]];
        assert_eq!(ask("GET", "/live/a.mp4", &old).unwrap_err().status, 426);
        for key in [
            UPGRADE[2],
            ("sec-websocket-key", "c2hvcnQ="),
            ("sec-websocket-key", "%%%"),
        ] {
            let request = [UPGRADE[0], UPGRADE[1], UPGRADE[2], key];
            assert_eq!(ask("GET", "/live/a.mp4", &request).unwrap_err().status, 400, "{key:?}");
        }
    }
}
