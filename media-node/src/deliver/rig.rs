//! A hub, a packager with a readable mux (but for RTMP, whose client reads it), and a publisher, for tests of delivery
//! and ops.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use headwater_contract::{StreamEnd, StreamSource};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::movers::Movers;
use super::{Delivery, Parts};
use crate::hub::{Hub, Item, Limits, PublishOptions, Publisher, Start, What};
use crate::lifecycle::Lifecycle;
use crate::media::track::{Learned, VideoCodec, VideoConfig};
use crate::media::unit::{TrackKind, Unit, UnitKind};
use crate::meters::Meters;
use crate::package::feed::{Audience, Draft, EntryKind, FeedLimits};
use crate::package::hls::archive::Archive;
use crate::package::hls::channel::Channels;
use crate::package::{Changed, Format, Mux, Packager};

/// Every message as text: `I(record)` headers, `K(data)` and `F(data)` frames, `c` clocks for the informed.
struct Readable;

fn draft(kind: EntryKind, audience: Audience, letter: &'static str, data: &[u8]) -> Draft {
    let parts = vec![
        Bytes::from_static(letter.as_bytes()),
        Bytes::from(format!("({})", String::from_utf8_lossy(data))),
    ];
    let len: usize = parts.iter().map(Bytes::len).sum();
    let ws_header = match len {
        short @ 0..=125 => Bytes::from(vec![0x82, short as u8]),
        long => Bytes::from([&[0x82, 126][..], &(long as u16).to_be_bytes()].concat()),
    };
    Draft {
        kind,
        audience,
        dts: 0,
        ws_header,
        parts,
    }
}

impl Mux for Readable {
    fn headers(&mut self, start: &Start) -> Vec<Draft> {
        let record = start.tracks.video.as_ref().map(|video| video.record.clone());
        vec![draft(EntryKind::Init, Audience::All, "I", &record.unwrap_or_default())]
    }

    fn item(&mut self, item: &Item, out: &mut Vec<Draft>) -> Changed {
        out.push(match &item.what {
            What::Unit(unit) if unit.kind == UnitKind::Key => draft(EntryKind::Key, Audience::All, "K", &unit.tag),
            What::Unit(unit) => draft(EntryKind::Frame, Audience::All, "F", &unit.tag),
            What::Tracks(unit, _) => draft(EntryKind::Init, Audience::All, "I", &unit.tag),
            What::Clock(_) => draft(EntryKind::Data, Audience::Informed, "c", b""),
        });
        Changed::No
    }

    fn restart(&mut self) -> Changed {
        Changed::No
    }
}

pub(crate) struct Rig {
    pub delivery: Delivery,
    pub tasks: TaskTracker,
    publisher: Option<Publisher>,
    dts: i64,
}

impl Rig {
    /// A node that serves `live`, where `cam` is published and has no media yet.
    pub fn new(feeds: FeedLimits) -> Self {
        let tasks = TaskTracker::new();
        let hub = Hub::new(Limits::default(), None);
        let make = |format: Format| match format {
            Format::Rtmp => crate::package::make_mux(format),
            Format::Flv | Format::Fmp4 => Box::new(Readable) as Box<dyn Mux>,
        };
        let lifecycle = Lifecycle::default();
        lifecycle.latch();
        let meters = Meters::default();
        let archive = Archive::new(hub.dvr().clone(), 1 << 20, None, meters.clone());
        let delivery = Delivery::new(Parts {
            channels: Channels::new(meters.clone(), archive, tasks.clone(), CancellationToken::new()),
            roster: crate::deliver::members::Roster::new(Arc::new(|_| Vec::new())),
            waiting: Arc::new(Semaphore::new(100)),
            node: "edge-1".into(),
            app: "live".parse().unwrap(),
            packager: Packager::new(feeds, make, tasks.clone()),
            meters,
            lifecycle,
            movers: Movers::default(),
            write_timeout: Duration::from_secs(10),
            cut: CancellationToken::new(),
            hub: hub.clone(),
        });
        let options = PublishOptions {
            source: StreamSource::Publish,
            grace: Duration::from_secs(10),
        };
        let publisher = hub
            .publish(&"cam".parse().unwrap(), options, "full", |_| Ok(()))
            .unwrap();
        Self {
            delivery,
            tasks,
            publisher: Some(publisher),
            dts: 0,
        }
    }

    pub fn config(&mut self, record: &str) {
        let body = Bytes::copy_from_slice(record.as_bytes());
        let config = VideoConfig {
            codec: VideoCodec::H264,
            rfc6381: "avc1.64001f".into(),
            width: 640,
            height: 360,
            record: body.clone(),
            tag: body,
        };
        self.send(UnitKind::Config, record, Some(Learned::Video(config)));
    }

    pub fn key(&mut self, text: &str) {
        self.dts += 40;
        self.send(UnitKind::Key, text, None);
    }

    pub fn frame(&mut self, text: &str) {
        self.dts += 40;
        self.send(UnitKind::Frame, text, None);
    }

    pub fn finish(&mut self, reason: StreamEnd) {
        self.publisher.take().unwrap().finish(reason);
    }

    pub fn stream(&self) -> crate::hub::Stream {
        self.delivery.hub.get(&"cam".parse().unwrap()).unwrap()
    }

    fn send(&self, kind: UnitKind, text: &str, learned: Option<Learned>) {
        let unit = Unit {
            track: TrackKind::Video,
            kind,
            dts: self.dts,
            cts: 0,
            tag: Bytes::copy_from_slice(text.as_bytes()),
            data_offset: 0,
        };
        self.publisher.as_ref().unwrap().send(unit, learned);
    }
}

/// Waits until `holds`, and says `what` did not come true within 5 s.
pub(crate) async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = std::time::Instant::now() + Duration::from_secs(5);
    while !holds() {
        assert!(std::time::Instant::now() < deadline, "not within 5 s: {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}
