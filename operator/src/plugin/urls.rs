//! Addresses to publish to and to play from. Pure.

use serde::Serialize;

use super::columns;
use super::render::{Wish, head, row};
use super::tree::{Origin, Pool, Tree, with_those_below};

/// Stands for the name where no stream is live.
const ANY: &str = "{stream}";

/// An address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Address {
    /// Namespace of the resource.
    pub namespace: String,
    /// The resource, as `EdgePool/web`.
    pub of: String,
    /// What it is for: `publish`, `page`, `play page`, `websocket`, `hls`, `dash`, `flv`, `mp4`, `rtmp`.
    pub purpose: &'static str,
    /// The address.
    pub url: String,
}

/// Every address. Each stream has some of its own at each pool that carries it; `{stream}` stands for the name where none is live.
pub fn addresses(tree: &Tree) -> Vec<Address> {
    let mut addresses = Vec::new();
    for origin in &tree.origins {
        let live: Vec<&str> = origin.streams.iter().map(|stream| stream.name.as_str()).collect();
        addresses.extend(origin.publish_url.as_ref().map(|url| Address {
            namespace: origin.namespace.clone(),
            of: format!("StreamOrigin/{}", origin.name),
            purpose: "publish",
            url: format!("{url}{}", if origin.secured { "?key=KEY" } else { "" }),
        }));
        for pool in origin.pools.iter().flat_map(with_those_below) {
            addresses.extend(of_pool(origin, pool, &live));
        }
    }
    addresses
}

fn of_pool(origin: &Origin, pool: &Pool, live: &[&str]) -> Vec<Address> {
    let Some(page) = &pool.play_url else { return Vec::new() };
    // It is the address of a stream's page, with a placeholder for the stream.
    let (scheme, host) = page.split_once("://").unwrap_or(("http", page));
    let socket = if scheme == "https" { "wss" } else { "ws" };
    let authority = host.split_once('/').map_or(host, |(authority, _)| authority);
    // The HTTP port of a Service is the one that an address leaves out; RTMP has its own.
    let app = &origin.app;
    let mut streams: Vec<&str> = live.iter().copied().filter(|stream| pool.carries(stream)).collect();
    if streams.is_empty() {
        streams.push(ANY);
    }
    let of_stream = |stream: &str| {
        [
            ("play page", format!("{scheme}://{authority}/play/{app}/{stream}")),
            ("websocket", format!("{socket}://{authority}/{app}/{stream}.mp4")),
            ("hls", format!("{scheme}://{authority}/{app}/{stream}.m3u8")),
            ("dash", format!("{scheme}://{authority}/{app}/{stream}.mpd")),
            ("flv", format!("{scheme}://{authority}/{app}/{stream}.flv")),
            ("mp4", format!("{scheme}://{authority}/{app}/{stream}.mp4")),
            ("rtmp", format!("rtmp://{authority}/{app}/{stream}")),
        ]
    };
    let all = streams.iter().flat_map(|stream| of_stream(stream));
    std::iter::once(("page", format!("{scheme}://{authority}/")))
        .chain(all)
        .map(|(purpose, url)| Address {
            namespace: pool.namespace.clone(),
            of: format!("EdgePool/{}", pool.name),
            purpose,
            url,
        })
        .collect()
}

/// The addresses as text; without `wide` those that a person opens: to publish, and the pages.
pub fn render(addresses: &[Address], wish: Wish) -> String {
    let shown = addresses
        .iter()
        .filter(|address| wish.wide || matches!(address.purpose, "publish" | "page" | "play page"));
    let rows: Vec<Vec<String>> = shown
        .map(|address| {
            let cells = vec![address.of.clone(), address.purpose.to_owned(), address.url.clone()];
            row(wish, &address.namespace, cells)
        })
        .collect();
    columns::lines(&head(wish, &["OF", "TO", "ADDRESS"]), &rows).join("\n") + "\n"
}
