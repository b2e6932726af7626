//! The player page: static files inside the binary, no build step, nothing from elsewhere.
//! `GET /` and `GET /play/{app}/{stream}` are the same document; what it loads stands under `/play/`, which no app can be named.

/// One file as it is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asset {
    /// `Content-Type`.
    pub content_type: &'static str,
    /// Body.
    pub body: &'static [u8],
    /// The body is in gzip.
    pub gzip: bool,
}

/// `Content-Security-Policy` of the document: its own scripts and styles only, no workers; media and lists from any server that is
/// typed in. It names no `frame-ancestors`: any page may embed the player, one out of a file too, which `*` would not let.
pub const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src data:; media-src * blob:; \
     connect-src * ws: wss:; base-uri 'none'; form-action 'self'";

const SCRIPT: &str = "text/javascript; charset=utf-8";

/// The document of `/` and `/play/{app}/{stream}`.
pub const DOCUMENT: Asset = Asset {
    content_type: "text/html; charset=utf-8",
    body: include_bytes!("page/index.html"),
    gzip: false,
};

/// The file at `/play/{name}`, none if there is no such file.
pub fn asset(name: &str) -> Option<Asset> {
    let (content_type, body): (_, &'static [u8]) = match name {
        "player.css" => ("text/css; charset=utf-8", include_bytes!("page/player.css")),
        "player.js" => (SCRIPT, include_bytes!("page/player.js")),
        "choice.js" => (SCRIPT, include_bytes!("page/choice.js")),
        "session.js" => (SCRIPT, include_bytes!("page/session.js")),
        "connection.js" => (SCRIPT, include_bytes!("page/connection.js")),
        "boxes.js" => (SCRIPT, include_bytes!("page/boxes.js")),
        "splice.js" => (SCRIPT, include_bytes!("page/splice.js")),
        "retry.js" => (SCRIPT, include_bytes!("page/retry.js")),
        "screen.js" => (SCRIPT, include_bytes!("page/screen.js")),
        "sink.js" => (SCRIPT, include_bytes!("page/sink.js")),
        "playback.js" => (SCRIPT, include_bytes!("page/playback.js")),
        "pace.js" => (SCRIPT, include_bytes!("page/pace.js")),
        "viewing.js" => (SCRIPT, include_bytes!("page/viewing.js")),
        "segments.js" => (SCRIPT, include_bytes!("page/segments.js")),
        "native.js" => (SCRIPT, include_bytes!("page/native.js")),
        "reel.js" => (SCRIPT, include_bytes!("page/reel.js")),
        "tuning.js" => (SCRIPT, include_bytes!("page/tuning.js")),
        "siblings.js" => (SCRIPT, include_bytes!("page/siblings.js")),
        "refusal.js" => (SCRIPT, include_bytes!("page/refusal.js")),
        "anchors.js" => (SCRIPT, include_bytes!("page/anchors.js")),
        "move.js" => (SCRIPT, include_bytes!("page/move.js")),
        "gate.js" => (SCRIPT, include_bytes!("page/gate.js")),
        "line.js" => (SCRIPT, include_bytes!("page/line.js")),
        "deck.js" => (SCRIPT, include_bytes!("page/deck.js")),
        "words.js" => (SCRIPT, include_bytes!("page/words.js")),
        "report.js" => (SCRIPT, include_bytes!("page/report.js")),
        "embed.js" => (SCRIPT, include_bytes!("page/embed.js")),
        "hls.min.mjs" => (SCRIPT, include_bytes!("page/vendor/hls.min.mjs.gz")),
        "hls.LICENSE" => ("text/plain; charset=utf-8", include_bytes!("page/vendor/hls.LICENSE")),
        _ => return None,
    };
    Some(Asset {
        content_type,
        body,
        gzip: name == "hls.min.mjs",
    })
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
            let Ok(text) = std::str::from_utf8(file.body) else {
                assert!(file.gzip);
                continue;
            };
            for part in text
                .split('"')
                .filter(|part| [".js", ".mjs", ".css"].iter().any(|end| part.ends_with(end)))
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
        assert!(seen.len() > 20 && seen.contains(&"hls.min.mjs"), "{seen:?}");
    }

    #[test]
    fn any_page_may_embed_the_player_and_no_worker_is_let_run() {
        assert!(
            !POLICY.contains("frame-ancestors") && !POLICY.contains("worker-src"),
            "{POLICY}"
        );
        assert!(POLICY.starts_with("default-src 'none'"), "{POLICY}");
    }

    #[test]
    fn nothing_is_loaded_from_elsewhere() {
        for name in [
            "player.js",
            "player.css",
            "words.js",
            "choice.js",
            "segments.js",
            "embed.js",
        ] {
            let text = std::str::from_utf8(asset(name).unwrap().body).unwrap();
            assert!(!text.contains("https://"), "{name}");
        }
        assert!(!std::str::from_utf8(DOCUMENT.body).unwrap().contains("//cdn"));
    }
}
