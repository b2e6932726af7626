//! A segment that is sent while it is made: each part as soon as it is there. Whoever has taken such a body to its end has the
//! bytes of the finished segment; where they would not be those, the body is broken off.

use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::unfold;
use http::{Method, Request, Version, header};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

use super::{HELD, Sorry, begun, does_not_go_on, is_next, place};
use crate::deliver::Delivery;
use crate::deliver::http::{Body, Broken};
use crate::deliver::outbox::Piece;
use crate::meters::Protocol;
use crate::package::hls::channel::{Channel, File};
use crate::package::hls::playlist;
use crate::package::hls::window::{Progress, Rendition, Track, Window};

/// One who takes a segment as it grows.
struct Taker {
    delivery: Delivery,
    channel: Channel,
    rendition: Rendition,
    number: u64,
    /// What has been sent: shared with the window while that holds it.
    sent: Vec<Bytes>,
    /// Milliseconds of media that were watched so far.
    watched_ms: u64,
    /// It is one of those who wait: bounds them.
    _place: OwnedSemaphorePermit,
}

/// What comes next.
enum Next {
    /// A part, and how much media somebody watches who takes it, milliseconds.
    Part(Bytes, u64),
    /// What is left of the whole, likewise.
    Rest(Bytes, u64),
    /// It won't be what was sent of it, or is not gone on with.
    Broken,
}

/// The body, if the file is a segment that is being made, or the next one, and whoever asks can take it so: by a version of HTTP in
/// which the end of a body differs from a connection that breaks, all of it, and without having any of it.
pub(super) async fn body<B>(
    delivery: &Delivery,
    channel: &Channel,
    request: &Request<B>,
    file: File,
) -> Result<Option<Body>, Sorry> {
    let headers = request.headers();
    let File::Segment(rendition, number) = file else {
        return Ok(None);
    };
    let all = !headers.contains_key(header::RANGE) && !headers.contains_key(header::IF_NONE_MATCH);
    if request.method() != Method::GET || request.version() < Version::HTTP_11 || !all {
        return Ok(None);
    }
    begun(channel).await?;
    if !channel.with(|window| is_next(window, file)) {
        return Ok(None);
    }
    let taker = Taker {
        delivery: delivery.clone(),
        channel: channel.clone(),
        rendition,
        number,
        sent: Vec::new(),
        watched_ms: 0,
        _place: place(delivery)?,
    };
    let grows = |window: &Window| growing(window, rendition, number).is_some_and(|track| !track.parts.is_empty());
    let there = |window: &Window| !is_next(window, file) || grows(window);
    match channel.wait(taker.deadline(), there).await {
        // Complete by now, or not to come: that is answered as ever.
        true => Ok(channel.with(grows).then(|| taker.body())),
        false if channel.with(|window| is_next(window, file)) => Err(does_not_go_on()),
        false => Ok(None),
    }
}

fn growing(window: &Window, rendition: Rendition, number: u64) -> Option<&Track> {
    let segment = window.segment(number)?;
    segment.track(rendition).filter(|_| segment.progress == Progress::Open)
}

impl Taker {
    fn deadline(&self) -> Instant {
        let target = self.channel.with(playlist::target_seconds);
        Instant::now() + Duration::from_secs(target) * HELD
    }

    fn body(self) -> Body {
        let pieces = unfold(Some(self), |taker| async move {
            let mut taker = taker?;
            let cut = taker.delivery.cut.clone();
            let next = tokio::select! {
                biased;
                () = cut.cancelled() => Next::Broken,
                next = taker.next() => next,
            };
            let (bytes, ms, last) = match next {
                Next::Part(bytes, ms) => (bytes, ms, false),
                Next::Rest(bytes, ms) => (bytes, ms, true),
                Next::Broken => return Some((Err(Broken), None)),
            };
            taker.channel.watched(ms);
            taker.watched_ms += ms;
            taker.delivery.meters.sent(Protocol::Hls, bytes.len() as u64);
            if last && bytes.is_empty() {
                return None;
            }
            taker.sent.push(bytes.clone());
            Some((Ok(Frame::data(Piece::Own(bytes))), (!last).then_some(taker)))
        });
        StreamBody::new(pieces).boxed_unsync()
    }

    async fn next(&self) -> Next {
        let (rendition, number, here) = (self.rendition, self.number, self.sent.len());
        let moved = |window: &Window| growing(window, rendition, number).is_none_or(|track| track.parts.len() > here);
        self.channel.wait(self.deadline(), moved).await;
        let part = self.channel.with(|window| {
            let track = growing(window, rendition, number)?;
            let part = track.parts.get(here).map(|part| {
                let ms = part.ticks * 1_000 / u64::from(track.timescale.max(1));
                (
                    part.bytes.clone(),
                    if pictures(window, rendition, number) { ms } else { 0 },
                )
            });
            Some(part)
        });
        match part {
            Some(Some((Some(bytes), ms))) => Next::Part(bytes, ms),
            Some(_) => Next::Broken,
            None => match self.channel.file(File::Segment(rendition, number)).await {
                Ok(whole) => match rest(&whole.bytes, &self.sent) {
                    Some(rest) => Next::Rest(rest, whole.watched_ms.saturating_sub(self.watched_ms)),
                    None => Next::Broken,
                },
                Err(_) => Next::Broken,
            },
        }
    }
}

/// Who takes it watches: sound beside pictures is not counted.
fn pictures(window: &Window, rendition: Rendition, number: u64) -> bool {
    let inits = window.segment(number).and_then(|segment| window.inits(segment.init));
    rendition == Rendition::Video || inits.is_none_or(|inits| inits[Rendition::Video.index()].is_none())
}

/// What follows on `sent` in `whole`; none if that does not begin so: something was lost here and had from the upstream since.
fn rest(whole: &Bytes, sent: &[Bytes]) -> Option<Bytes> {
    let mut at = 0;
    for part in sent {
        let end = at + part.len();
        if whole.get(at..end) != Some(&part[..]) {
            return None;
        }
        at = end;
    }
    Some(whole.slice(at..))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_follows_on_what_was_sent_or_nothing_does() {
        let whole = Bytes::from_static(b"onetwothree");
        let sent = |parts: &[&'static str]| {
            parts
                .iter()
                .map(|part| Bytes::from_static(part.as_bytes()))
                .collect::<Vec<_>>()
        };
        assert_eq!(rest(&whole, &sent(&["one", "two"])).unwrap(), "three");
        assert_eq!(rest(&whole, &sent(&["one", "two", "three"])).unwrap(), "");
        assert_eq!(rest(&whole, &sent(&[])).unwrap(), whole);
        assert!(rest(&whole, &sent(&["one", "tow"])).is_none(), "a frame was lost here");
        assert!(rest(&whole, &sent(&["one", "two", "three", "four"])).is_none());
    }
}
