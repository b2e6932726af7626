//! The console: a page that draws the fleet live. Static files inside the binary, no build step, nothing from elsewhere, and
//! nothing in it that changes anything: it reads `/api/v1/fleet` and `/api/v1/events`.

use std::hash::{DefaultHasher, Hash, Hasher};

use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};

/// One file as it is sent.
#[derive(Clone, Copy, Debug)]
struct Asset {
    content_type: &'static str,
    body: &'static [u8],
}

/// `Content-Security-Policy` of the document: its own scripts and styles only, and it asks nobody but its own server.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src data:; connect-src 'self'; \
     base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const SCRIPT: &str = "text/javascript; charset=utf-8";

const DOCUMENT: Asset = Asset {
    content_type: "text/html; charset=utf-8",
    body: include_bytes!("console/index.html"),
};

fn asset(name: &str) -> Option<Asset> {
    let (content_type, body): (_, &'static [u8]) = match name {
        "console.css" => ("text/css; charset=utf-8", include_bytes!("console/console.css")),
        "console.js" => (SCRIPT, include_bytes!("console/console.js")),
        "dom.js" => (SCRIPT, include_bytes!("console/dom.js")),
        "health.js" => (SCRIPT, include_bytes!("console/health.js")),
        "map.js" => (SCRIPT, include_bytes!("console/map.js")),
        "model.js" => (SCRIPT, include_bytes!("console/model.js")),
        "timeline.js" => (SCRIPT, include_bytes!("console/timeline.js")),
        "times.js" => (SCRIPT, include_bytes!("console/times.js")),
        "words.js" => (SCRIPT, include_bytes!("console/words.js")),
        _ => return None,
    };
    Some(Asset { content_type, body })
}

/// The page itself.
pub fn document(headers: &HeaderMap) -> Response {
    let mut response = answer(DOCUMENT, headers);
    let policy = header::HeaderValue::from_static(POLICY);
    response.headers_mut().insert(header::CONTENT_SECURITY_POLICY, policy);
    response
}

/// A file of the page; none if there is no such file.
pub fn file(name: &str, headers: &HeaderMap) -> Option<Response> {
    asset(name).map(|asset| answer(asset, headers))
}

/// `no-cache` and an ETag: a new version of the operator is a new page at once.
fn answer(asset: Asset, headers: &HeaderMap) -> Response {
    let etag = etag(asset.body);
    let known = headers
        .get(header::IF_NONE_MATCH)
        .and_then(|value| value.to_str().ok())
        .is_some_and(|tags| tags.split(',').any(|tag| tag.trim().trim_start_matches("W/") == etag));
    let common = [
        (header::CONTENT_TYPE, asset.content_type),
        (header::CACHE_CONTROL, "no-cache"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::ETAG, etag.as_str()),
    ];
    match known {
        true => (StatusCode::NOT_MODIFIED, common).into_response(),
        false => (common, asset.body).into_response(),
    }
}

fn etag(body: &[u8]) -> String {
    let mut hasher = DefaultHasher::new(); // the same keys in every process
    body.hash(&mut hasher);
    format!("\"{:016x}\"", hasher.finish())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes of the whole page: it is opened over slow lines too.
    const WEIGHT: usize = 60_000;

    /// Every file that the page loads, found as a browser finds them.
    fn page() -> Vec<(&'static str, Asset)> {
        let mut waiting = vec![("", DOCUMENT)];
        let mut seen: Vec<(&'static str, Asset)> = Vec::new();
        while let Some((name, file)) = waiting.pop() {
            seen.push((name, file));
            let text = std::str::from_utf8(file.body).unwrap();
            for part in text
                .split('"')
                .filter(|part| part.ends_with(".js") || part.ends_with(".css"))
            {
                let Some(name) = part.strip_prefix("/console/").or_else(|| part.strip_prefix("./")) else {
                    continue;
                };
                if seen.iter().chain(&waiting).all(|(known, _)| *known != name) {
                    waiting.push((name, asset(name).unwrap_or_else(|| panic!("{name} is not served"))));
                }
            }
        }
        seen
    }

    #[test]
    fn every_file_that_the_page_names_is_served_and_the_whole_is_light() {
        let page = page();
        assert!(
            page.len() >= 9,
            "{:?}",
            page.iter().map(|(name, _)| name).collect::<Vec<_>>()
        );
        let weight: usize = page.iter().map(|(_, file)| file.body.len()).sum();
        assert!(weight < WEIGHT, "{weight} bytes");
    }

    #[test]
    fn nothing_is_loaded_from_elsewhere_and_nothing_is_written_as_markup() {
        for (name, file) in page() {
            let text = std::str::from_utf8(file.body).unwrap();
            for banned in [
                "https://",
                "//cdn",
                "innerHTML",
                "insertAdjacentHTML",
                "eval(",
                " style=",
            ] {
                assert!(!text.contains(banned), "{name}: {banned}");
            }
            assert!(text.lines().count() < 400, "{name}");
        }
    }

    #[test]
    fn a_file_that_the_browser_has_is_not_sent_again() {
        let first = document(&HeaderMap::new());
        let mut headers = HeaderMap::new();
        headers.insert(header::IF_NONE_MATCH, first.headers()[header::ETAG].clone());
        assert_eq!(document(&headers).status(), StatusCode::NOT_MODIFIED);
        assert_eq!(file("console.css", &headers).unwrap().status(), StatusCode::OK);
        assert!(file("nothing.js", &headers).is_none());
    }
}
