//! HLS over HTTP: what is asked for, waited for, and how it may be cached. Everything under one URL is the same on every node.

mod ask;
mod group;
mod growing;
mod reply;

use std::sync::Arc;
use std::time::Duration;

use http::{Method, Request, Response};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

pub use ask::{Ask, Position};
pub(super) use reply::takes_gzip;

use self::reply::{Cache, Kind};
use super::Delivery;
use super::http::Body;
use super::members;
use super::route::Refusal;
use crate::hub::demand::Unavailable;
use crate::meters::{self, Protocol};
use crate::names::StreamName;
use crate::package::dash;
use crate::package::hls::channel::{Channel, File, Found, Missing, Rendered};
use crate::package::hls::document;
use crate::package::hls::multivariant::{self, Variant};
use crate::package::hls::playlist::{self, Form};
use crate::package::hls::window::{Progress, Rendition, Window};

/// Why there is no answer.
#[derive(Debug)]
pub enum Sorry {
    /// The request is wrong, or what it asks for does not exist.
    Refused(Refusal),
    /// Not now.
    Later(meters::Refusal, String),
}

impl From<Refusal> for Sorry {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

/// A viewer who comes to a stream that nobody watches waits at most this long for its first segment.
const BEGIN: Duration = Duration::from_secs(6);
/// A node downstream waits at most this long for a segment to be described.
const DESCRIBE: Duration = Duration::from_secs(2);
/// Target durations that a blocked request is held for at most (RFC 8216bis §6.2.5.2).
const HELD: u32 = 3;
/// How many segments ahead of a node's own newest a request may be: another node may be that much ahead.
const AHEAD: u64 = 2;
/// How many parts ahead, likewise.
const AHEAD_PARTS: usize = 50;

/// Answers a request for a file of a stream's HLS.
pub async fn answer<B>(
    delivery: &Delivery,
    request: &Request<B>,
    name: &StreamName,
    ask: Ask,
) -> Result<Response<Body>, Sorry> {
    let newcomer = matches!(ask, Ask::Multivariant { .. });
    if newcomer && !delivery.lifecycle.admits() {
        let message = "this node drains: try again, another one will take you".to_owned();
        return Err(Sorry::Later(meters::Refusal::Draining, message));
    }
    if ask == Ask::Members {
        let list = members::list(delivery, name).await;
        let text = serde_json::to_string(&list).unwrap_or_default(); // numbers and strings: can't fail
        return Ok(send(delivery, request, Kind::Json(Rendered::new(text))));
    }
    let whole = newcomer || matches!(ask, Ask::Manifest(_));
    let channel = match channel(delivery, name, whole).await {
        // One that has ended hides no group of its name that lives.
        Ok(channel) if !(whole && channel.with(Window::ended) && members::live(delivery, name).await) => channel,
        // Its own node may be away while members of the group are here.
        found => {
            let reply = group::answer(delivery, name, &ask).await;
            match (reply, found) {
                (Some(reply), _) => return Ok(send(delivery, request, reply)),
                (None, found) => found?,
            }
        }
    };
    channel.asked();
    let reply = match ask {
        Ask::Multivariant { plain } => multivariant(&channel, name, plain).await?,
        Ask::Manifest(form) => manifest(&channel, name, form).await?,
        Ask::Playlist {
            rendition,
            plain,
            position,
            skip,
        } => {
            begun(&channel).await?;
            if let Some(position) = position {
                reach(delivery, &channel, rendition, position).await?;
            }
            let others = if plain {
                String::new()
            } else {
                members::reports(delivery, name)
            };
            playlist(&channel, rendition, plain, skip, (position.is_some(), others))?
        }
        Ask::File(file) if lacks(&channel, file) => Kind::Nothing(ask::name_of(file)),
        Ask::File(file) if let Some(body) = growing::body(delivery, &channel, request, file).await? => Kind::Growing {
            name: ask::name_of(file),
            body,
        },
        Ask::File(file) => match file_of(delivery, &channel, file).await {
            // It was made meanwhile, without this rendition.
            Err(Sorry::Refused(_)) if lacks(&channel, file) => Kind::Nothing(ask::name_of(file)),
            found => {
                let found = found?;
                if *request.method() == Method::GET {
                    channel.watched(found.watched_ms);
                }
                Kind::Media {
                    name: ask::name_of(file),
                    bytes: found.bytes,
                }
            }
        },
        Ask::Window { from, wait } => described(&channel, from, wait).await,
        Ask::Members => return Err(Refusal::not_found("no group".to_owned()).into()), // answered above
    };
    Ok(send(delivery, request, reply))
}

fn send<B>(delivery: &Delivery, request: &Request<B>, reply: Kind) -> Response<Body> {
    let (response, sent) = reply::respond(reply, request.method(), request.headers());
    delivery.meters.sent(Protocol::Hls, sent);
    response
}

/// The channel of a stream: one that is live, or has ended less than a window ago. For a newcomer to one that has ended it is
/// looked whether the stream is back upstream: nobody else would on an edge that pulls on demand, and a player that waits for its
/// return would keep the old one for ever by asking.
async fn channel(delivery: &Delivery, name: &StreamName, newcomer: bool) -> Result<Channel, Sorry> {
    if let Some(stream) = delivery.hub.get(name).filter(|stream| stream.ended().is_none()) {
        return Ok(delivery.channels.open(&stream));
    }
    let ended = delivery.channels.get(name);
    if let Some(channel) = ended.as_ref().filter(|_| !newcomer) {
        return Ok(channel.clone());
    }
    match (delivery.hub.find(name).await, ended) {
        (Ok(stream), _) => Ok(delivery.channels.open(&stream)),
        (Err(_), Some(channel)) => Ok(channel),
        (Err(Unavailable::NotFound), None) => {
            let message = format!("no stream {}/{name} here", delivery.app);
            Err(Refusal::not_found(message).into())
        }
        (Err(error @ Unavailable::Temporarily), None) => {
            Err(Sorry::Later(meters::Refusal::NotFound, error.to_string()))
        }
    }
}

async fn begun(channel: &Channel) -> Result<(), Sorry> {
    match channel.begun(Instant::now() + BEGIN).await {
        true => Ok(()),
        false => {
            let message = "the stream has no segment to show so far: try again".to_owned();
            Err(Sorry::Later(meters::Refusal::NotFound, message))
        }
    }
}

async fn multivariant(channel: &Channel, name: &StreamName, plain: bool) -> Result<Kind, Sorry> {
    begun(channel).await?;
    let folder = if plain { String::new() } else { format!("{name}/") };
    let variant = channel.with(|window| Variant::measure(window, folder));
    let variant = variant.filter(|variant| variant.video.is_some() || variant.audio.is_some());
    let Some(variant) = variant else {
        return Err(Refusal::not_found("the stream's codecs can't be carried by HLS: take .flv".into()).into());
    };
    let text = multivariant::render(&[variant], plain);
    let cache = Cache::Seconds(1);
    Ok(Kind::playlist(text, cache))
}

/// The window from a segment on, once another one is complete.
async fn described(channel: &Channel, from: u64, wait: Option<u64>) -> Kind {
    let deadline = Instant::now() + DESCRIBE;
    match wait {
        Some(number) => {
            let whole = |window: &Window| window.whole().next_back().is_some_and(|last| last.number >= number);
            channel.wait(deadline, whole).await;
        }
        None => {
            channel.begun(deadline).await;
        }
    }
    let described = channel.with(|window| document::describe(window, from));
    let text = serde_json::to_string(&described).unwrap_or_default(); // numbers and strings: can't fail
    Kind::Json(Rendered::new(text))
}

/// The manifest of MPEG-DASH: in the folder of its stream, or beside that.
async fn manifest(channel: &Channel, name: &StreamName, form: dash::Form) -> Result<Kind, Sorry> {
    begun(channel).await?;
    let (folder, clock) = match form {
        dash::Form::Low => (format!("{name}/"), "../api/time"),
        dash::Form::Plain => (String::new(), "../../api/time"),
    };
    match channel.manifest(form, &folder, clock) {
        Some(rendered) => Ok(Kind::Manifest(rendered)),
        None => Err(Refusal::not_found("the stream's codecs can't be carried by DASH: take .flv".into()).into()),
    }
}

fn playlist(
    channel: &Channel,
    rendition: Rendition,
    plain: bool,
    skip: bool,
    (blocking, others): (bool, String),
) -> Result<Kind, Sorry> {
    let (has, target) = channel.with(|window| {
        let has = window
            .newest_inits()
            .is_some_and(|inits| inits[rendition.index()].is_some());
        let shown = has || window.shown().any(|segment| segment.track(rendition).is_some());
        (shown, playlist::target_seconds(window))
    });
    if !has {
        return Err(Refusal::not_found(format!("the stream has no {}", rendition.name())).into());
    }
    let form = match (plain, skip) {
        (true, _) => Form::Plain,
        (false, true) => Form::Delta,
        (false, false) => Form::Low,
    };
    // A blocking request names the state that it wants, so that its answer may be kept; RFC 8216bis §6.2.5.2. One that ended may be
    // back under its name at any time: who waits for it must not be answered from a cache.
    let cache = match blocking {
        true => Cache::Seconds(target * 6),
        false => Cache::Seconds(1),
    };
    Ok(Kind::Rendered(channel.playlist(rendition, form, others), cache))
}

/// Waits until the playlist contains what the request names (§6.2.5.2).
async fn reach(delivery: &Delivery, channel: &Channel, rendition: Rendition, position: Position) -> Result<(), Sorry> {
    let (newest, target) = channel.with(|window| {
        let newest = window.newest(rendition).map_or(0, |segment| segment.number);
        (newest, playlist::target_seconds(window))
    });
    if position.number > newest + AHEAD {
        let message = format!(
            "_HLS_msn must be at most {}, two after the newest segment",
            newest + AHEAD
        );
        return Err(Refusal::bad_query(message).into());
    }
    let contains = |window: &Window| position.is_in(window, rendition);
    if channel.with(contains) {
        return Ok(());
    }
    let _place = place(delivery)?;
    let deadline = Instant::now() + Duration::from_secs(target) * HELD;
    match channel.wait(deadline, contains).await || channel.with(Window::ended) {
        true => Ok(()),
        false => Err(does_not_go_on()),
    }
}

/// A place among the requests that wait, for as long as it is held.
fn place(delivery: &Delivery) -> Result<OwnedSemaphorePermit, Sorry> {
    Arc::clone(&delivery.waiting).try_acquire_owned().map_err(|_| {
        let message = "too many requests wait for what is to come".to_owned();
        Sorry::Later(meters::Refusal::Limit, message)
    })
}

/// It is a segment that is complete without this rendition.
fn lacks(channel: &Channel, file: File) -> bool {
    match file {
        File::Segment(rendition, number) => channel.with(|window| window.lacks(number, rendition)),
        _ => false,
    }
}

/// It has been waited for as long as that may take.
fn does_not_go_on() -> Sorry {
    Sorry::Later(meters::Refusal::Timeout, "the stream does not go on".to_owned())
}

/// A file, waited for if it is to come next.
async fn file_of(delivery: &Delivery, channel: &Channel, file: File) -> Result<Found, Sorry> {
    begun(channel).await?;
    let found = match channel.file(file).await {
        Err(Missing::NotFound) if channel.with(|window| is_next(window, file)) => {
            let _place = place(delivery)?;
            let target = channel.with(playlist::target_seconds);
            let deadline = Instant::now() + Duration::from_secs(target) * HELD;
            channel.wait(deadline, |window| !is_next(window, file)).await;
            channel.file(file).await
        }
        found => found,
    };
    found.map_err(|missing| match missing {
        Missing::Gone => Refusal {
            status: http::StatusCode::GONE,
            message: format!("{} has left the window", ask::name_of(file)),
            reason: meters::Refusal::NotFound,
        }
        .into(),
        Missing::NotFound => Refusal::not_found(format!("no {} here, or not yet", ask::name_of(file))).into(),
        error @ (Missing::Upstream(_) | Missing::Disk(_)) => {
            tracing::info!(%error, "failed to serve a file of HLS");
            let message = format!("{} can't be had now", ask::name_of(file));
            Sorry::Later(meters::Refusal::NotFound, message)
        }
    })
}

/// True if the file is not here, and one of those that come next: it is waited for (§6.2.6), since another node may be ahead.
fn is_next(window: &Window, file: File) -> bool {
    let (number, part) = match file {
        File::Init(..) => return false,
        File::Segment(_, number) => (number, None),
        File::Part(_, number, part) => (number, Some(part)),
    };
    if window.ended() {
        return false;
    }
    let Some(last) = window.last_number() else { return true };
    let parts = |rendition: Rendition| {
        let track = window.segment(number).and_then(|segment| segment.track(rendition));
        track.map_or(0, |track| track.parts.len())
    };
    match window.segment(number).map(|segment| segment.progress) {
        Some(Progress::Whole | Progress::Gap) => false,
        Some(Progress::Open | Progress::Hole) => match (file, part) {
            (File::Part(rendition, ..), Some(part)) => {
                let parts = parts(rendition);
                part >= parts && part <= parts + AHEAD_PARTS
            }
            _ => true,
        },
        None => number > last && number <= last + AHEAD && part.is_none_or(|part| part <= AHEAD_PARTS),
    }
}
