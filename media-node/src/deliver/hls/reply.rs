//! HLS answers: content types, caching, compression, conditional and range requests (RFC 9110 §8.8, §13, §14).

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header};

use crate::deliver::http::{Body, whole};
use crate::package::hls::channel::Rendered;

/// What is sent.
pub(super) enum Kind {
    /// A playlist.
    Rendered(Rendered, Cache),
    /// A manifest of MPEG-DASH.
    Manifest(Rendered),
    /// A segment that is being made, sent as it is.
    Growing { name: String, body: Body },
    /// A segment of which there is nothing. Players of HLS are told not to ask for it; those of DASH, which can't be, would give up
    /// where there is no file, and go on behind an empty one.
    Nothing(String),
    /// A file of media.
    Media { name: String, bytes: Bytes },
    /// For nodes downstream.
    Json(Rendered),
}

/// For how long an answer may be kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cache {
    /// Seconds.
    Seconds(u64),
}

const MANIFEST: &str = "application/dash+xml";
const PLAYLIST: &str = "application/vnd.apple.mpegurl";
/// What is under a media URL never changes.
const IMMUTABLE: &str = "public, max-age=31536000, immutable";

/// An empty box (ISO/IEC 14496-12 §8.1.2).
const FREE: &[u8] = b"\0\0\0\x08free";
/// Of a segment that was sent while it was made.
const YOUNG: &str = "public, max-age=30";

impl Kind {
    pub(super) fn playlist(text: String, cache: Cache) -> Self {
        Self::Rendered(Rendered::new(text), cache)
    }
}

/// The answer, and the bytes of its body.
pub(super) fn respond(kind: Kind, method: &Method, asked: &HeaderMap) -> (Response<Body>, u64) {
    let mut response = match kind {
        Kind::Growing { name, body } => return (growing(&name, body), 0), // it counts what it sends
        Kind::Rendered(rendered, Cache::Seconds(seconds)) => {
            text(PLAYLIST, &rendered, &format!("max-age={seconds}"), asked)
        }
        Kind::Manifest(rendered) => text(MANIFEST, &rendered, "max-age=1", asked),
        Kind::Json(rendered) => json(&rendered, asked),
        Kind::Nothing(name) => nothing(&name),
        Kind::Media { name, bytes } => media(&name, bytes, asked),
    };
    let length = response.body().len();
    if response.status() != StatusCode::NOT_MODIFIED {
        response
            .headers_mut()
            .insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    }
    let sent = if *method == Method::HEAD { 0 } else { length as u64 };
    (response.map(whole), sent)
}

fn text(content_type: &'static str, rendered: &Rendered, cache: &str, asked: &HeaderMap) -> Response<Bytes> {
    let mut response = conditional(&format!("W/\"{}\"", rendered.tag()), rendered.text().clone(), asked);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    put(headers, header::CACHE_CONTROL, cache);
    headers.insert(header::VARY, HeaderValue::from_static("accept-encoding"));
    if response.status() == StatusCode::OK && takes_gzip(asked) {
        let gzip = HeaderValue::from_static("gzip");
        response.headers_mut().insert(header::CONTENT_ENCODING, gzip);
        *response.body_mut() = rendered.gzip().clone();
    }
    response
}

fn json(rendered: &Rendered, asked: &HeaderMap) -> Response<Bytes> {
    let mut response = conditional(&format!("W/\"{}\"", rendered.tag()), rendered.text().clone(), asked);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

fn media_type(name: &str) -> HeaderValue {
    HeaderValue::from_static(match name.starts_with("audio") {
        true => "audio/mp4",
        false => "video/mp4",
    })
}

/// Another node may have it.
fn nothing(name: &str) -> Response<Bytes> {
    let mut response = Response::new(Bytes::from_static(FREE));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, media_type(name));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// Neither its length nor whether it will be whole is known, so that it may be kept no longer than what ends well is asked for by
/// many at once.
fn growing(name: &str, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, media_type(name));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(YOUNG));
    response
}

fn media(name: &str, bytes: Bytes, asked: &HeaderMap) -> Response<Bytes> {
    let length = bytes.len() as u64;
    let mut response = conditional(&format!("\"{name}\""), bytes, asked);
    if response.status() == StatusCode::OK {
        match range(asked, length) {
            None => {}
            Some(Ok((from, to))) => {
                *response.status_mut() = StatusCode::PARTIAL_CONTENT;
                put(
                    response.headers_mut(),
                    header::CONTENT_RANGE,
                    &format!("bytes {from}-{to}/{length}"),
                );
                let part = response.body().slice(from as usize..to as usize + 1);
                *response.body_mut() = part;
            }
            Some(Err(())) => {
                *response.status_mut() = StatusCode::RANGE_NOT_SATISFIABLE;
                put(
                    response.headers_mut(),
                    header::CONTENT_RANGE,
                    &format!("bytes */{length}"),
                );
                *response.body_mut() = Bytes::new();
            }
        }
    }
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, media_type(name));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(IMMUTABLE));
    headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    response
}

/// 304 if the one who asks has it.
fn conditional(etag: &str, body: Bytes, asked: &HeaderMap) -> Response<Bytes> {
    let strong = etag.trim_start_matches("W/");
    let known = asked
        .get(header::IF_NONE_MATCH)
        .and_then(|value| value.to_str().ok())
        .is_some_and(|tags| {
            let mut tags = tags.split(',').map(str::trim);
            tags.any(|tag| tag == "*" || tag.trim_start_matches("W/") == strong)
        });
    let mut response = Response::new(if known { Bytes::new() } else { body });
    if known {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
    }
    put(response.headers_mut(), header::ETAG, etag);
    response
}

fn put(headers: &mut HeaderMap, name: header::HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}

/// RFC 9110 §12.5.3, as far as it matters here: `gzip` or `*` is named, and not with weight 0.
pub(in crate::deliver) fn takes_gzip(asked: &HeaderMap) -> bool {
    asked
        .get_all(header::ACCEPT_ENCODING)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|coding| {
            let (name, weight) = coding.split_once(';').unwrap_or((coding, ""));
            let weight = weight.replace(' ', "");
            let refused = weight
                .strip_prefix("q=")
                .is_some_and(|q| q.trim_matches(['0', '.']).is_empty());
            matches!(name.trim(), "gzip" | "x-gzip" | "*") && !refused
        })
}

/// The one range that is asked for; none if there is none, or one that is not understood (several, other units), which is to be
/// ignored (§14.2). An error if it lies outside.
fn range(asked: &HeaderMap, length: u64) -> Option<Result<(u64, u64), ()>> {
    let text = asked.get(header::RANGE)?.to_str().ok()?;
    let (first, last) = text.strip_prefix("bytes=")?.split_once('-')?;
    let (from, to) = match (first.trim(), last.trim()) {
        ("", "") => return None,
        ("", suffix) => (length.saturating_sub(suffix.parse().ok()?), length.checked_sub(1)),
        (first, "") => (first.parse().ok()?, length.checked_sub(1)),
        (first, last) => {
            let (from, to) = (first.parse().ok()?, last.parse::<u64>().ok()?);
            if to < from {
                return None;
            }
            (from, length.checked_sub(1).map(|end| end.min(to)))
        }
    };
    Some(match to {
        Some(to) if from <= to => Ok((from, to)),
        _ => Err(()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(headers: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, value.parse().unwrap());
        }
        map
    }

    fn media_of(headers: &[(&'static str, &'static str)]) -> (u16, Vec<u8>, HeaderMap) {
        let response = media("video-1.m4s", Bytes::from_static(b"0123456789"), &asked(headers));
        let (parts, body) = response.into_parts();
        (parts.status.as_u16(), body.to_vec(), parts.headers)
    }

    #[test]
    fn media_are_kept_for_ever_and_not_sent_twice() {
        let (status, body, headers) = media_of(&[]);
        assert_eq!((status, body.len()), (200, 10));
        assert_eq!(headers[header::CACHE_CONTROL], IMMUTABLE);
        assert_eq!(headers[header::ETAG], "\"video-1.m4s\"");
        assert_eq!(media_of(&[("if-none-match", "\"x\", \"video-1.m4s\"")]).0, 304);
        assert_eq!(media_of(&[("if-none-match", "*")]).0, 304);
    }

    #[test]
    fn a_segment_without_anything_is_a_box_and_is_not_kept() {
        let (response, sent) = respond(Kind::Nothing("audio-7.m4s".into()), &Method::GET, &HeaderMap::new());
        assert_eq!((response.status(), sent), (StatusCode::OK, 8));
        assert_eq!(response.headers()[header::CACHE_CONTROL], "no-store");
        assert_eq!(response.headers()[header::CONTENT_TYPE], "audio/mp4");
    }

    #[test]
    fn ranges_are_cut_out_and_senseless_ones_refused_or_ignored() {
        for (range, status, body) in [
            ("bytes=2-4", 206, "234"),
            ("bytes=7-", 206, "789"),
            ("bytes=-3", 206, "789"),
            ("bytes=-30", 206, "0123456789"),
            ("bytes=5-99", 206, "56789"),
            ("bytes=10-", 416, ""),
            ("bytes=4-2", 200, "0123456789"),
            ("bytes=0-1,3-4", 200, "0123456789"),
            ("items=0-1", 200, "0123456789"),
            ("bytes=x-", 200, "0123456789"),
        ] {
            let (got, bytes, headers) = media_of(&[("range", range)]);
            assert_eq!((got, bytes), (status, body.as_bytes().to_vec()), "{range}");
            assert_eq!(headers.contains_key(header::CONTENT_RANGE), status != 200, "{range}");
        }
    }

    #[test]
    fn playlists_are_compressed_for_whoever_takes_it() {
        let answer = |encodings| {
            let headers = asked(&[("accept-encoding", encodings)]);
            let kind = Kind::playlist("#EXTM3U\n".repeat(100), Cache::Seconds(1));
            respond(kind, &Method::GET, &headers).0
        };
        for encodings in ["gzip, br", "br;q=1.0, gzip;q=0.5", "*"] {
            assert_eq!(
                answer(encodings).headers()[header::CONTENT_ENCODING],
                "gzip",
                "{encodings}"
            );
        }
        for encodings in ["br", "gzip;q=0", "identity"] {
            assert!(
                !answer(encodings).headers().contains_key(header::CONTENT_ENCODING),
                "{encodings}"
            );
        }
        assert_eq!(answer("gzip").headers()[header::VARY], "accept-encoding");
        assert_eq!(answer("gzip").headers()[header::CACHE_CONTROL], "max-age=1");
    }
}
