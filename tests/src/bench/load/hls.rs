//! One viewer of LL-HLS, as cheap as can be: of a playlist it reads the last lines, of a part the headers.
//!
//! For each rendition two kept connections: one waits for the playlist, the other for the hinted part. What to ask for next comes
//! from the hint's name, `…-{msn}.{part}.…`, as Headwater and others number them: the tool is for servers that do so.
//! Playlists are asked for as delta updates and uncompressed; the rules are the tests' affair, not the load's.

use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result, bail, ensure};
use futures_util::future::try_join_all;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::connection::{PATIENCE, read_once};
use super::viewer::{Outcome, Viewer};
use crate::hls::playlist::{Playlist, parse};
use crate::hls::validator::resolve;
use crate::wire::{Error, PLAIN_HEAD, PROBE_HEAD, fmp4, http};

/// Largest playlist.
const PLAYLIST: usize = 4 * 1024 * 1024;
/// A playlist is held for three target durations, which are seldom above 6 s; a hinted part for less.
const HELD: std::time::Duration = std::time::Duration::from_secs(30);

/// What both renditions share.
struct Shared<'a> {
    peer: SocketAddr,
    authority: &'a str,
    head_limit: usize,
    outcome: Mutex<&'a mut Outcome>,
    viewer: &'a Viewer,
}

/// Watches until something breaks.
pub(super) async fn watch(viewer: &Viewer, outcome: &mut Outcome) -> Result<()> {
    let shared = Shared {
        peer: viewer.peer,
        authority: &viewer.address.authority,
        head_limit: if viewer.probe { PROBE_HEAD } else { PLAIN_HEAD },
        outcome: Mutex::new(outcome),
        viewer,
    };
    renditions(&shared, &viewer.address.path).await
}

async fn renditions(shared: &Shared<'_>, path: &str) -> Result<()> {
    let text = Connection::default().text(shared, path).await?;
    let Ok(Playlist::Multivariant(playlist)) = parse(&text) else {
        bail!("no multivariant playlist: {}", text.lines().take(3).collect::<String>());
    };
    let variant = playlist.variants.first().context("no variant")?;
    let audio = playlist.audio(variant).find_map(|rendition| rendition.uri.as_deref());
    let uris = std::iter::once(variant.uri.as_str()).chain(audio.filter(|uri| *uri != variant.uri));
    let folder = path.split('?').next().unwrap_or_default();
    try_join_all(uris.map(|uri| Rendition::new(shared, resolve(folder, uri)).run())).await?;
    Ok(())
}

/// A kept connection; opened when it is needed.
#[derive(Debug, Default)]
struct Connection {
    socket: Option<TcpStream>,
}

impl Connection {
    /// Sends a request and passes on the body. A kept connection that the server has closed meanwhile is opened anew.
    async fn get(
        &mut self,
        shared: &Shared<'_>,
        target: &str,
        body: &mut (dyn FnMut(&[u8]) -> Result<(), Error> + Send),
    ) -> Result<()> {
        shared.with(|outcome| outcome.requests += 1);
        let request = format!(
            "GET {target} HTTP/1.1\r\nHost: {}\r\nUser-Agent: headwater-bench\r\n\r\n",
            shared.authority
        );
        loop {
            let kept = self.socket.is_some();
            let mut socket = match self.socket.take() {
                Some(socket) => socket,
                None => {
                    let opened = timeout(PATIENCE, TcpStream::connect(shared.peer)).await;
                    let socket = opened
                        .context("connecting took too long")?
                        .context("failed to connect")?;
                    socket.set_nodelay(true)?;
                    socket
                }
            };
            let mut came = 0;
            let exchange = timeout(HELD, exchange(&mut socket, &request, &mut came, body)).await;
            shared.count(came);
            match exchange.with_context(|| format!("{target}: no answer in time"))? {
                Ok(()) => {
                    self.socket = Some(socket);
                    return Ok(());
                }
                Err(_) if kept && came == 0 => {}
                Err(error) => return Err(error.context(target.to_owned())),
            }
        }
    }

    async fn text(&mut self, shared: &Shared<'_>, target: &str) -> Result<String> {
        let mut text = Vec::new();
        let mut keep = |bytes: &[u8]| {
            if text.len() + bytes.len() > PLAYLIST {
                return Err(Error::Malformed("playlist: too long"));
            }
            text.extend_from_slice(bytes);
            Ok(())
        };
        self.get(shared, target, &mut keep).await?;
        String::from_utf8(text).context("a playlist that is no UTF-8")
    }
}

async fn exchange(
    socket: &mut TcpStream,
    request: &str,
    came: &mut usize,
    body: &mut (dyn FnMut(&[u8]) -> Result<(), Error> + Send),
) -> Result<()> {
    socket.write_all(request.as_bytes()).await.context("failed to send")?;
    let mut response = http::Response::kept();
    while !response.done() {
        let count = read_once(socket, &mut |data| response.feed(data, body)).await?;
        ensure!(count > 0, "the server closed the connection");
        *came += count;
    }
    Ok(())
}

impl Shared<'_> {
    fn count(&self, bytes: usize) {
        let counters = &self.viewer.counters;
        counters.wire_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        self.with(|outcome| outcome.tally.wire_bytes += bytes as u64);
    }

    fn with<T>(&self, act: impl FnOnce(&mut Outcome) -> T) -> T {
        act(&mut self.outcome.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// One media playlist.
struct Rendition<'a, 'b> {
    shared: &'a Shared<'b>,
    path: String,
    media: Connection,
    reader: fmp4::Reader,
    map: String,
}

impl<'a, 'b> Rendition<'a, 'b> {
    fn new(shared: &'a Shared<'b>, path: String) -> Self {
        let reader = fmp4::Reader::new(shared.head_limit);
        let (media, map) = (Connection::default(), String::new());
        Self {
            shared,
            path,
            media,
            reader,
            map,
        }
    }

    async fn run(mut self) -> Result<()> {
        let mut playlists = Connection::default();
        let mut text = playlists.text(self.shared, &self.path).await?;
        let mut next = hint(&text)?;
        // A newcomer begins with the group of pictures at hand.
        let begun = text.rfind("\n#EXT-X-PROGRAM-DATE-TIME:").unwrap_or(0);
        self.take(&text[begun..], &text).await?;
        loop {
            let (msn, part) = numbers(next.as_str())?;
            let target = format!("{}?_HLS_msn={msn}&_HLS_part={part}&_HLS_skip=YES", self.path);
            let shared = self.shared;
            let (listed, hinted) = tokio::join!(playlists.text(shared, &target), self.part(&next));
            hinted?;
            text = listed?;
            let at = text
                .rfind(&format!("URI=\"{next}\""))
                .context("the hinted part was not listed")?;
            let (_, rest) = text[at..].split_once('\n').unwrap_or_default();
            let rest = rest.to_owned();
            self.take(&rest, &text).await?;
            next = hint(&text)?;
        }
    }

    /// Fetches the parts that are listed in some lines; `text` tells which init segment goes before them.
    async fn take(&mut self, lines: &str, text: &str) -> Result<()> {
        if let Some(map) = quoted(text, "#EXT-X-MAP:").filter(|map| *map != self.map) {
            self.map = map.to_owned();
            let map = self.map.clone();
            self.part(&map).await?;
        }
        for line in lines.lines().filter(|line| line.starts_with("#EXT-X-PART:")) {
            let uri = quoted(line, "#EXT-X-PART:").context("a part without a URI")?;
            self.part(uri).await?;
        }
        Ok(())
    }

    async fn part(&mut self, uri: &str) -> Result<()> {
        let Self {
            shared,
            path,
            media,
            reader,
            ..
        } = self;
        let playing = shared.with(|outcome| outcome.tally.playing);
        let mut walk = |data: &[u8]| shared.with(|outcome| reader.feed(data, &mut outcome.tally));
        media.get(shared, &resolve(path, uri), &mut walk).await?;
        if !playing && shared.with(|outcome| outcome.tally.playing) {
            shared.viewer.counters.playing.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }
}

/// The hinted part.
fn hint(text: &str) -> Result<String> {
    if text.contains("#EXT-X-ENDLIST") {
        bail!("the stream ended");
    }
    let hint = quoted(text, "#EXT-X-PRELOAD-HINT:TYPE=PART,").context("no hint")?;
    Ok(hint.to_owned())
}

/// The URI of the last tag that begins like this.
fn quoted<'a>(text: &'a str, tag: &str) -> Option<&'a str> {
    let line = text[text.rfind(tag)?..].lines().next()?;
    line.split_once("URI=\"")?.1.split('"').next()
}

/// `video-1795000024.3.m4s` is part 3 of segment 1795000024.
fn numbers(uri: &str) -> Result<(u64, u64)> {
    let name = uri.rsplit('/').next().unwrap_or_default();
    let read = || {
        let mut fields = name.rsplit_once('-')?.1.split('.');
        Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
    };
    read().with_context(|| format!("{uri}: expected …-{{msn}}.{{part}}.…"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hls::model::Model;

    #[test]
    fn the_next_part_is_read_from_the_last_lines() {
        let text = Model::default().playlist("video", 123, true);
        let next = hint(&text).unwrap();
        assert_eq!(next, "video-1795000024.3.m4s");
        assert_eq!(numbers(&next).unwrap(), (1_795_000_024, 3));
        assert!(numbers("video-1.m4s").is_err() && numbers("video.m4s").is_err());
        let ended = Model {
            end: Some(123),
            ..Model::default()
        };
        assert_eq!(
            hint(&ended.playlist("video", 123, false)).unwrap_err().to_string(),
            "the stream ended"
        );
        assert_eq!(
            quoted(&Model::default().playlist("audio", 9, false), "#EXT-X-MAP:"),
            Some("audio-init-1795000000-0.mp4")
        );
    }
}
