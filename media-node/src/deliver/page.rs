//! The player page: static files inside the binary, no build step, nothing from elsewhere.
//! `GET /` and `GET /play/{app}/{stream}` are the same document; what it loads stands under `/play/`, which no app can be named.

/// One file as it is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asset {
    /// `Content-Type`.
    pub content_type: &'static str,
    /// Body.
    pub body: &'static [u8],
}

/// `Content-Security-Policy` of the document: its own scripts and styles only; media and lists from any server that is typed in.
pub const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src data:; media-src blob:; \
     connect-src * ws: wss:; base-uri 'none'; form-action 'self'";

const SCRIPT: &str = "text/javascript; charset=utf-8";

/// The document of `/` and `/play/{app}/{stream}`.
pub const DOCUMENT: Asset = Asset {
    content_type: "text/html; charset=utf-8",
    body: include_bytes!("page/index.html"),
};

/// The file at `/play/{name}`, none if there is no such file.
pub fn asset(name: &str) -> Option<Asset> {
    let (content_type, body): (_, &'static [u8]) = match name {
        "player.css" => ("text/css; charset=utf-8", include_bytes!("page/player.css")),
        "player.js" => (SCRIPT, include_bytes!("page/player.js")),
        "session.js" => (SCRIPT, include_bytes!("page/session.js")),
        "connection.js" => (SCRIPT, include_bytes!("page/connection.js")),
        "boxes.js" => (SCRIPT, include_bytes!("page/boxes.js")),
        "splice.js" => (SCRIPT, include_bytes!("page/splice.js")),
        "retry.js" => (SCRIPT, include_bytes!("page/retry.js")),
        "screen.js" => (SCRIPT, include_bytes!("page/screen.js")),
        "sink.js" => (SCRIPT, include_bytes!("page/sink.js")),
        "playback.js" => (SCRIPT, include_bytes!("page/playback.js")),
        "pace.js" => (SCRIPT, include_bytes!("page/pace.js")),
        "words.js" => (SCRIPT, include_bytes!("page/words.js")),
        _ => return None,
    };
    Some(Asset { content_type, body })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A module that is imported but not served would leave the page dead with nothing but a 404 to tell why.
    #[test]
    fn every_file_that_the_page_names_is_served() {
        let mut waiting = vec![DOCUMENT];
        let mut seen = Vec::new();
        while let Some(file) = waiting.pop() {
            let text = std::str::from_utf8(file.body).unwrap();
            for part in text
                .split('"')
                .filter(|part| part.ends_with(".js") || part.ends_with(".css"))
            {
                let Some(name) = part.strip_prefix("/play/").or_else(|| part.strip_prefix("./")) else {
                    continue;
                };
                if seen.contains(&name) {
                    continue;
                }
                seen.push(name);
                waiting.push(asset(name).unwrap_or_else(|| panic!("{name} is not served")));
            }
        }
        assert!(seen.len() > 10, "{seen:?}");
    }

    #[test]
    fn nothing_is_loaded_from_elsewhere() {
        for name in ["player.js", "player.css", "words.js"] {
            let text = std::str::from_utf8(asset(name).unwrap().body).unwrap();
            assert!(!text.contains("https://"), "{name}");
        }
        assert!(!std::str::from_utf8(DOCUMENT.body).unwrap().contains("//cdn"));
    }
}
