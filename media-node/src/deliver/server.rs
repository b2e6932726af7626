//! The delivery port: each request through `route`, then answered by whoever serves that.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde::Serialize;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;

use super::assets::Assets;
use super::http::{Body, body, whole};
use super::route::{self, Container, Refusal, Route, Transport, route};
use super::websocket::{self, WebSocket};
use super::{Delivery, Viewer, hls, pump};
use crate::http_server::{HttpServer, Place, Plain, Secure};
use crate::hub::demand::Unavailable;
use crate::hub::{Snapshot, Stream};
use crate::meters::{self, Protocol};
use crate::names::StreamName;

/// Serves the delivery port until the server's `stop`. Its connections end by themselves when `delivery.cut` is cancelled.
pub async fn run(listener: TcpListener, server: HttpServer, delivery: Delivery) {
    let assets = Arc::new(Assets::default());
    let tasks = server.tasks.clone();
    let service = |place: Place| {
        let desk = Desk {
            delivery: delivery.clone(),
            assets: Arc::clone(&assets),
            tasks: tasks.clone(),
            place,
        };
        service_fn(move |request| desk.clone().answer(request))
    };
    server.run(listener, service).await;
}

/// What one connection's requests are answered with.
#[derive(Clone)]
struct Desk {
    delivery: Delivery,
    assets: Arc<Assets>,
    tasks: tokio_util::task::TaskTracker,
    place: Place,
}

/// Seconds after which a refused viewer may try again: the node is busy, or another one takes over.
const RETRY_AFTER: HeaderValue = HeaderValue::from_static("1");

type Answering = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

impl Desk {
    fn answer(self, request: Request<Incoming>) -> Answering {
        Box::pin(async move {
            let head_only = request.method() == Method::HEAD;
            let mut response = self.route(request).await;
            if head_only {
                *response.body_mut() = whole(Bytes::new());
            }
            Ok(response)
        })
    }

    async fn route(self, request: Request<Incoming>) -> Response<Body> {
        let Delivery(parts) = &self.delivery;
        let routed = route(request.method(), request.uri(), request.headers(), &parts.app);
        match routed {
            Err(refusal) => self.refuse(&refusal),
            Ok(Route::Page) => self.assets.document(request.headers()).map(whole),
            Ok(Route::Asset(name)) => match self.assets.file(&name, request.headers()) {
                Some(response) => response.map(whole),
                None => self.plain(
                    StatusCode::NOT_FOUND,
                    meters::Refusal::NotFound,
                    "no such file of the player page",
                ),
            },
            Ok(Route::Readyz) => {
                let ready = parts.lifecycle.phase().ready();
                let mut response = Response::new(whole(Bytes::new()));
                *response.status_mut() = if ready {
                    StatusCode::OK
                } else {
                    StatusCode::SERVICE_UNAVAILABLE
                };
                response
            }
            Ok(Route::Preflight) => preflight(),
            Ok(Route::Hls { stream, ask }) => match hls::answer(&self.delivery, &request, &stream, ask).await {
                Ok(response) => open(response),
                Err(hls::Sorry::Refused(refusal)) => self.refuse(&refusal),
                Err(hls::Sorry::Later(reason, message)) => self.later(reason, &message),
            },
            Ok(Route::Streams) => streams(&self.delivery),
            Ok(Route::Time) => time(),
            Ok(Route::Media {
                stream,
                container,
                transport,
            }) => self.media(request, &stream, container, transport).await,
        }
    }

    async fn media(
        self,
        request: Request<Incoming>,
        name: &StreamName,
        container: Container,
        transport: Transport,
    ) -> Response<Body> {
        if !self.delivery.lifecycle.admits() {
            let reason = meters::Refusal::Draining;
            return self.later(reason, "this node drains: try again, another one will take you");
        }
        let stream = match self.delivery.hub.find(name).await {
            Ok(stream) => stream,
            Err(Unavailable::NotFound) => {
                let message = format!("no stream {}/{name} here", self.delivery.app);
                return self.plain(StatusCode::NOT_FOUND, meters::Refusal::NotFound, &message);
            }
            Err(error @ Unavailable::Temporarily) => return self.later(meters::Refusal::NotFound, &error.to_string()),
        };
        match transport {
            Transport::WebSocket { key } => self.upgrade(request, stream, container, &key),
            Transport::Body => {
                let (content_type, protocol) = match container {
                    Container::Fmp4 => ("video/mp4", Protocol::Mp4),
                    Container::Flv => ("video/x-flv", Protocol::Flv),
                };
                let media = match *request.method() == Method::HEAD {
                    true => whole(Bytes::new()),
                    false => body(
                        Viewer::join(&self.delivery, &stream, protocol),
                        container == Container::Fmp4,
                    ),
                };
                let mut response = open(Response::new(media));
                let headers = response.headers_mut();
                headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
                headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
                response
            }
        }
    }

    /// Answers 101 and goes on as a WebSocket once that is sent.
    fn upgrade(self, request: Request<Incoming>, stream: Stream, container: Container, key: &str) -> Response<Body> {
        let Ok(accept) = HeaderValue::from_str(&websocket::accept(key)) else {
            return self.plain(
                StatusCode::BAD_REQUEST,
                meters::Refusal::Malformed,
                "bad Sec-WebSocket-Key",
            );
        };
        let upgrade = hyper::upgrade::on(request);
        self.tasks.clone().spawn(async move {
            match upgrade.await {
                Ok(upgraded) => self.converse(upgraded, &stream, container).await,
                Err(error) => tracing::debug!(%error, "upgrade failed"),
            }
        });
        let mut response = Response::new(whole(Bytes::new()));
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        let headers = response.headers_mut();
        headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
        headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
        response
    }

    /// Our own socket again: hyper's buffers are gone, 16 KiB a viewer.
    async fn converse(self, upgraded: hyper::upgrade::Upgraded, stream: &Stream, container: Container) {
        let upgraded = match upgraded.downcast::<TokioIo<Plain>>() {
            Ok(parts) => {
                return self
                    .talk(parts.io.into_inner(), parts.read_buf, stream, container)
                    .await;
            }
            Err(upgraded) => upgraded,
        };
        match upgraded.downcast::<TokioIo<Secure>>() {
            Ok(parts) => Box::pin(self.talk(parts.io.into_inner(), parts.read_buf, stream, container)).await,
            Err(_) => tracing::error!("an upgraded connection is not the one that was accepted"),
        }
    }

    async fn talk<IO>(self, socket: IO, early: Bytes, stream: &Stream, container: Container)
    where
        IO: AsyncRead + AsyncWrite,
    {
        let Self { delivery, place, .. } = self;
        let protocol = match container {
            Container::Fmp4 => Protocol::Ws,
            Container::Flv => Protocol::WsFlv,
        };
        let seat = (container == Container::Fmp4).then(|| delivery.movers.join());
        let viewer = Viewer::join(&delivery, stream, protocol);
        let mut dialogue = WebSocket::new(tokio::time::Instant::now().into_std());
        let greeting = websocket::hello(&delivery.node, stream.snapshot().epoch);
        let opening = pump::Opening { greeting, early };
        let parting = pump::run(socket, viewer, &mut dialogue, opening, seat.as_ref()).await;
        drop(place);
        tracing::debug!(stream = %stream.name(), %protocol, ?parting, "viewer left");
    }

    fn refuse(&self, refusal: &Refusal) -> Response<Body> {
        let mut response = self.plain(refusal.status, refusal.reason, &refusal.message);
        let headers = response.headers_mut();
        match refusal.status {
            StatusCode::METHOD_NOT_ALLOWED => {
                headers.insert(header::ALLOW, HeaderValue::from_static(route::ALLOW));
            }
            StatusCode::UPGRADE_REQUIRED => {
                headers.insert(header::SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
            }
            _ => {}
        }
        response
    }

    fn later(&self, reason: meters::Refusal, message: &str) -> Response<Body> {
        let mut response = self.plain(StatusCode::SERVICE_UNAVAILABLE, reason, message);
        response.headers_mut().insert(header::RETRY_AFTER, RETRY_AFTER);
        response
    }

    fn plain(&self, status: StatusCode, reason: meters::Refusal, message: &str) -> Response<Body> {
        self.delivery.meters.refused(reason);
        let mut response = open(Response::new(whole(format!("{message}\n"))));
        *response.status_mut() = status;
        let text = HeaderValue::from_static("text/plain; charset=utf-8");
        response.headers_mut().insert(header::CONTENT_TYPE, text);
        response
    }
}

/// Pages of any origin may read it.
fn open(mut response: Response<Body>) -> Response<Body> {
    let any = HeaderValue::from_static("*");
    response.headers_mut().insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, any);
    response
}

fn preflight() -> Response<Body> {
    let mut response = open(Response::new(whole(Bytes::new())));
    *response.status_mut() = StatusCode::NO_CONTENT;
    let headers: &mut HeaderMap = response.headers_mut();
    let allow = HeaderValue::from_static(route::ALLOW);
    headers.insert(header::ALLOW, allow.clone());
    headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, allow);
    headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static("*"));
    headers.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("86400"));
    response
}

/// What time it is here (ISO 8601), for players that have to know: `urn:mpeg:dash:utc:http-iso:2014`.
fn time() -> Response<Body> {
    let mut response = open(Response::new(whole(format!("{:.3}", jiff::Timestamp::now()))));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

#[derive(Serialize)]
struct Listing<'a> {
    node: &'a str,
    streams: Vec<Listed<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Listed<'a> {
    app: &'a str,
    name: &'a str,
    epoch: u64,
    video: Option<&'a str>,
    audio: Option<&'a str>,
    width: u32,
    height: u32,
    bitrate_bps: u64,
    viewers: u64,
    since: jiff::Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    group: Option<&'a str>,
}

/// The streams that can be played here, by name.
fn streams(delivery: &Delivery) -> Response<Body> {
    let mut playable: Vec<Snapshot> = delivery.hub.streams().iter().map(Stream::snapshot).collect();
    playable.retain(|stream| stream.playable);
    playable.sort_by(|a, b| a.name.cmp(&b.name));
    let listing = Listing {
        node: &delivery.node,
        streams: playable
            .iter()
            .map(|stream| list(stream, delivery.app.as_str()))
            .collect(),
    };
    let mut response = open(Response::new(whole(serde_json::to_vec(&listing).unwrap_or_default())));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

fn list<'a>(stream: &'a Snapshot, app: &'a str) -> Listed<'a> {
    let (video, audio) = (stream.tracks.video.as_deref(), stream.tracks.audio.as_deref());
    Listed {
        app,
        name: stream.name.as_str(),
        epoch: stream.epoch,
        video: video
            .map(|video| video.rfc6381.as_str())
            .filter(|codec| !codec.is_empty()),
        audio: audio
            .map(|audio| audio.rfc6381.as_str())
            .filter(|codec| !codec.is_empty()),
        width: video.map_or(0, |video| video.width),
        height: video.map_or(0, |video| video.height),
        bitrate_bps: stream.bitrate_bps,
        viewers: stream.viewers,
        since: stream.since,
        group: stream.group.as_ref().map(StreamName::as_str),
    }
}

#[cfg(test)]
mod tests;
