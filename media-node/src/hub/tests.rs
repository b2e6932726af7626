//! Behaviour of the hub as publishers and feeds see it.

use std::time::{Duration, Instant};

use bytes::Bytes;
use headwater_contract::{StreamEnd, StreamSource};

use super::demand::Unavailable;
use super::*;
use crate::media::clock::Clock;
use crate::media::track::{AudioCodec, AudioConfig, Learned, VideoCodec, VideoConfig};
use crate::media::unit::{TrackKind, Unit, UnitKind};
use crate::names::StreamName;

const GRACE: Duration = Duration::from_secs(10);

fn hub() -> Hub {
    Hub::new(Limits::default(), None)
}

fn name(text: &str) -> StreamName {
    text.parse().unwrap()
}

fn publish(hub: &Hub) -> Publisher {
    let options = PublishOptions {
        source: StreamSource::Publish,
        grace: GRACE,
    };
    hub.publish(&name("cam"), options, "full", |_| Ok(())).unwrap()
}

fn video(kind: UnitKind, dts: i64) -> Unit {
    Unit {
        track: TrackKind::Video,
        kind,
        dts,
        cts: 0,
        tag: Bytes::from_static(b"\x17\x01\0\0\0frame"),
        data_offset: 5,
    }
}

fn config(profile: &'static str) -> Learned {
    Learned::Video(VideoConfig {
        codec: VideoCodec::H264,
        rfc6381: profile.to_owned(),
        width: 640,
        height: 360,
        record: Bytes::from_static(profile.as_bytes()),
        tag: Bytes::from_static(profile.as_bytes()),
    })
}

fn send_gop(publisher: &Publisher, from: i64, frames: i64) {
    for n in 0..frames {
        let kind = if n == 0 { UnitKind::Key } else { UnitKind::Frame };
        publisher.send(video(kind, from + n * 40), None);
    }
}

async fn read(subscriber: &mut Subscriber) -> Vec<Item> {
    let mut items = Vec::new();
    match subscriber.next(&mut items).await {
        Batch::Items => items,
        other => panic!("expected items, got {other:?}"),
    }
}

#[tokio::test]
async fn a_newcomer_gets_the_running_group_of_pictures_at_once() {
    let hub = hub();
    let publisher = publish(&hub);
    publisher.send(video(UnitKind::Config, 0), Some(config("avc1.42c01e")));
    send_gop(&publisher, 0, 25);
    send_gop(&publisher, 2_000, 10); // numbers run no faster than time, and segments are longer where media do
    let items = read(&mut publisher.stream().subscribe()).await;
    let start = items[0].start.as_ref().expect("the first item is a start");
    assert_eq!(start.tracks.video.as_ref().unwrap().rfc6381, "avc1.42c01e");
    assert!(matches!(&items[0].what, What::Unit(unit) if unit.kind == UnitKind::Key && unit.dts == 2_000));
    assert_eq!(items.len(), 10);
    let clock = start.clock.as_ref().unwrap();
    assert_eq!((clock.media_time_ms, clock.units), (2_000, 25));
}

/// Files are cached for good under their numbers.
#[test]
fn a_stream_that_is_back_within_a_second_uses_no_number_again() {
    let (hub, mut before) = (hub(), None);
    for life in 0..3 {
        let publisher = publish(&hub);
        publisher.send(video(UnitKind::Config, 0), Some(config("avc1.42c01e")));
        send_gop(&publisher, 0, 5);
        let number = publisher.stream().lock().clock.as_ref().map(|clock| clock.segment);
        assert!(number > before, "life {life}: {number:?} after {before:?}");
        before = number;
        publisher.finish(StreamEnd::Unpublished);
    }
}

#[test]
fn a_stream_that_is_of_no_group_any_more_does_not_break_with_the_others() {
    let hub = hub();
    hub.groups().set(&["{group}_{variant}".parse().unwrap()]);
    let options = PublishOptions {
        source: StreamSource::Publish,
        grace: GRACE,
    };
    let [one, other] = ["show_1", "show_2"].map(|member| {
        let publisher = hub.publish(&name(member), options, "full", |_| Ok(())).unwrap();
        publisher.send(video(UnitKind::Config, 0), Some(config("avc1.42c01e")));
        publisher
    });
    let clock = |of: &Publisher| of.stream().lock().clock.clone().unwrap();
    for publisher in [&one, &other] {
        send_gop(publisher, 0, 5);
    }
    assert_eq!(clock(&one).epoch, clock(&other).epoch);
    hub.groups().set(&[]);
    for publisher in [&one, &other] {
        send_gop(publisher, 4_000, 5);
    }
    one.discontinuity();
    for publisher in [&one, &other] {
        send_gop(publisher, 8_000, 5);
    }
    assert_eq!((clock(&one).discontinuity, clock(&other).discontinuity), (1, 0));
}

#[tokio::test]
async fn promised_audio_is_waited_for_and_the_key_frame_before_it_is_kept() {
    let hub = hub();
    let publisher = publish(&hub);
    let metadata = Learned::Metadata {
        body: Bytes::from_static(b"meta"),
        expects_video: true,
        expects_audio: true,
    };
    publisher.send(video(UnitKind::Metadata, 0), Some(metadata));
    publisher.send(video(UnitKind::Config, 0), Some(config("a")));
    send_gop(&publisher, 0, 5);
    assert!(!publisher.stream().snapshot().playable, "audio was promised");
    send_gop(&publisher, 200, 1);
    for n in 0..21 {
        publisher.send(video(UnitKind::Frame, 240 + n * 40), None);
    }
    assert!(publisher.stream().snapshot().playable, "a second without it is enough");
    let items = read(&mut publisher.stream().subscribe()).await;
    assert!(
        matches!(&items[0].what, What::Unit(unit) if unit.dts == 0),
        "{:?}",
        items[0]
    );
}

#[tokio::test]
async fn a_publisher_that_returns_within_grace_keeps_stream_and_subscribers() {
    let hub = hub();
    let publisher = publish(&hub);
    publisher.send(video(UnitKind::Config, 0), Some(config("a")));
    send_gop(&publisher, 0, 5);
    let mut subscriber = publisher.stream().subscribe();
    let id = publisher.stream().id();
    assert_eq!(read(&mut subscriber).await.len(), 5);
    drop(publisher);
    hub.sweep(Instant::now() + GRACE - Duration::from_secs(1));
    let publisher = publish(&hub);
    assert_eq!(publisher.stream().id(), id);
    assert_eq!(publisher.resume_point().unwrap().last_dts, 160);
    send_gop(&publisher, 1_000, 1);
    let items = read(&mut subscriber).await;
    assert!(
        items
            .iter()
            .any(|item| matches!(&item.what, What::Unit(unit) if unit.dts == 1_000))
    );
}

/// Players wait for every track that their headers name, so one that no longer comes would stop the picture for good.
#[tokio::test]
async fn a_track_that_a_returning_publisher_leaves_out_is_gone_at_a_key_frame() {
    let hub = hub();
    let publisher = publish(&hub);
    let promise = |body: &'static str, expects_audio| Learned::Metadata {
        body: Bytes::from_static(body.as_bytes()),
        expects_video: true,
        expects_audio,
    };
    let audio = |kind, dts| Unit {
        track: TrackKind::Audio,
        ..video(kind, dts)
    };
    let sound = Learned::Audio(AudioConfig {
        codec: AudioCodec::Aac,
        rfc6381: "mp4a.40.2".to_owned(),
        sample_rate: 48_000,
        channels: 2,
        record: Bytes::new(),
        tag: Bytes::new(),
    });
    publisher.send(video(UnitKind::Metadata, 0), Some(promise("both", true)));
    publisher.send(video(UnitKind::Config, 0), Some(config("a")));
    publisher.send(audio(UnitKind::Config, 0), Some(sound));
    send_gop(&publisher, 0, 5);
    publisher.send(audio(UnitKind::Frame, 160), None);
    send_gop(&publisher, 1_000, 5);
    let with_sound = publisher.stream().snapshot().tracks;
    assert!(with_sound.audio.is_some(), "silence alone is no reason");
    publisher.send(video(UnitKind::Metadata, 1_200), Some(promise("video alone", false)));
    send_gop(&publisher, 2_000, 1);
    let tracks = publisher.stream().snapshot().tracks;
    assert!(tracks.audio.is_none() && tracks.version > with_sound.version);
    let items = read(&mut publisher.stream().subscribe()).await;
    assert!(items[0].start.as_ref().unwrap().tracks.audio.is_none());
}

#[tokio::test]
async fn a_stream_is_missing_after_its_publisher_vanished_and_not_after_a_goodbye() {
    let hub = hub();
    drop(publish(&hub));
    let waits = hub.get(&name("cam")).unwrap().snapshot();
    assert!(!waits.attended && hub.missing().is_empty(), "it is waited for");
    hub.sweep(Instant::now() + GRACE);
    assert_eq!(hub.missing(), [name("cam")]);
    let back = publish(&hub);
    assert!(back.stream().snapshot().attended && hub.missing().is_empty());
    hub.end(back.stream(), StreamEnd::Unpublished);
    assert!(hub.missing().is_empty());
}

#[tokio::test]
async fn a_publisher_that_stays_away_ends_the_stream() {
    let hub = hub();
    let mut events = hub.events();
    let publisher = publish(&hub);
    let mut subscriber = publisher.stream().subscribe();
    drop(publisher);
    hub.sweep(Instant::now() + GRACE);
    assert!(matches!(
        subscriber.next(&mut Vec::new()).await,
        Batch::Ended(StreamEnd::PublisherLost)
    ));
    assert!(hub.get(&name("cam")).is_none());
    assert!(matches!(
        events.try_recv(),
        Ok(HubEvent::Down(_, StreamEnd::PublisherLost))
    ));
}

#[tokio::test]
async fn an_unpublished_stream_ends_at_once() {
    let hub = hub();
    let publisher = publish(&hub);
    let mut subscriber = publisher.stream().subscribe();
    publisher.finish(StreamEnd::Unpublished);
    assert!(matches!(
        subscriber.next(&mut Vec::new()).await,
        Batch::Ended(StreamEnd::Unpublished)
    ));
    assert!(hub.streams().is_empty());
}

#[test]
fn a_newcomer_displaces_a_session_which_then_has_no_effect() {
    let hub = hub();
    let first = publish(&hub);
    let second = publish(&hub);
    assert!(first.displaced().is_cancelled());
    first.send(video(UnitKind::Config, 0), Some(config("a")));
    assert!(first.stream().snapshot().tracks.video.is_none());
    let stream = second.stream().clone();
    first.finish(StreamEnd::Unpublished);
    assert_eq!(stream.ended(), None);
}

#[test]
fn admission_sees_how_long_the_sitting_publisher_has_been_silent() {
    let hub = hub();
    let _publisher = publish(&hub);
    let options = PublishOptions {
        source: StreamSource::Publish,
        grace: GRACE,
    };
    let refused = hub.publish(&name("cam"), options, "full", |occupancy| match occupancy {
        Occupancy::Live { silent_for } if silent_for < Duration::from_secs(2) => Err("taken"),
        _ => Ok(()),
    });
    assert_eq!(refused.err(), Some("taken"));
}

#[test]
fn a_full_hub_refuses_new_names_and_takes_known_ones() {
    let hub = Hub::new(
        Limits {
            streams: 1,
            ..Limits::default()
        },
        None,
    );
    let options = PublishOptions {
        source: StreamSource::Publish,
        grace: GRACE,
    };
    let _held = publish(&hub);
    assert_eq!(
        hub.publish(&name("other"), options, "full", |_| Ok(())).err(),
        Some("full")
    );
    assert!(hub.publish(&name("cam"), options, "full", |_| Ok(())).is_ok());
}

#[tokio::test]
async fn a_new_epoch_of_the_upstream_restarts_subscribers() {
    let hub = hub();
    let publisher = publish(&hub);
    publisher.clock(clock(7, 0));
    publisher.send(video(UnitKind::Config, 0), Some(config("a")));
    send_gop(&publisher, 0, 3);
    let mut subscriber = publisher.stream().subscribe();
    read(&mut subscriber).await;
    publisher.clock(clock(8, 0));
    assert!(matches!(subscriber.next(&mut Vec::new()).await, Batch::Restarted));
    publisher.send(video(UnitKind::Config, 0), Some(config("b")));
    send_gop(&publisher, 0, 1);
    let items = read(&mut subscriber).await;
    assert_eq!(items[0].start.as_ref().unwrap().epoch, 8);
}

/// Between the first clock and the unit after it, a pull showed the whole age of its stream as lag; after a new epoch, the
/// newest time of the one before hid it.
#[test]
fn lag_is_that_of_the_running_epoch() {
    let hub = hub();
    let publisher = publish(&hub);
    let ago = |ms: u64| Clock {
        wall_ms: super::state::now_ms() - ms,
        ..clock(7, 0)
    };
    let lag = || publisher.stream().snapshot().lag_ms.unwrap();
    publisher.clock(Clock {
        media_time_ms: 7_200_000,
        ..ago(0)
    });
    assert!(lag() < 1_000, "{} before the first unit", lag());
    send_gop(&publisher, 7_200_000, 3);
    publisher.clock(Clock { epoch: 8, ..ago(5_000) });
    send_gop(&publisher, 0, 3);
    assert!((4_900..6_000).contains(&lag()), "{}", lag());
}

#[test]
fn units_lost_upstream_are_counted_by_its_clock() {
    let hub = hub();
    let publisher = publish(&hub);
    publisher.clock(clock(7, 100));
    publisher.send(video(UnitKind::Config, 0), Some(config("a")));
    send_gop(&publisher, 0, 8);
    publisher.clock(clock(7, 110));
    assert_eq!(publisher.stream().snapshot().lost_units, 2);
    send_gop(&publisher, 400, 5);
    publisher.clock(clock(7, 115));
    assert_eq!(publisher.stream().snapshot().lost_units, 2);
}

#[test]
fn the_ring_is_bounded_whatever_the_publisher_sends() {
    let limits = Limits {
        ring_items: 50,
        ..Limits::default()
    };
    let hub = Hub::new(limits, None);
    let publisher = publish(&hub);
    publisher.send(video(UnitKind::Config, 0), Some(config("a")));
    send_gop(&publisher, 0, 1_000);
    publisher.stream().with_ring(|ring, _, _| {
        assert!(ring.len() <= 50);
        assert!(ring.newest_start().is_none(), "its key frame has left: newcomers wait");
    });
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_nobody_has_is_not_found_and_one_that_stays_silent_is_unavailable() {
    let hub = hub();
    assert_eq!(hub.find(&name("none")).await.unwrap_err(), Unavailable::NotFound);
    let _publisher = publish(&hub);
    assert_eq!(hub.find(&name("cam")).await.unwrap_err(), Unavailable::Temporarily);
}

#[tokio::test]
async fn a_demand_is_answered_by_whoever_pulls() {
    let (demands, mut queue) = demand::channel();
    let hub = Hub::new(Limits::default(), Some(demands));
    let puller = hub.clone();
    let served = tokio::spawn(async move {
        let demand = queue.recv().await.unwrap();
        let publisher = publish(&puller);
        demand.answer.send(Ok(())).unwrap();
        publisher.send(video(UnitKind::Config, 0), Some(config("a")));
        send_gop(&publisher, 0, 1);
        publisher
    });
    let stream = hub.find(&name("cam")).await.unwrap();
    assert!(stream.snapshot().playable);
    drop(served.await);
}

/// An edge behind an edge was told a count of its own, took the origin's next one for a loss, and numbered its fragments anew.
#[tokio::test]
async fn a_newcomer_is_told_the_origins_count_wherever_it_comes() {
    let hub = hub();
    let publisher = publish(&hub);
    publisher.clock(clock(7, 500));
    publisher.send(video(UnitKind::Config, 0), Some(config("avc1.42c01e")));
    send_gop(&publisher, 0, 25);
    send_gop(&publisher, 1_000, 5);
    let items = read(&mut publisher.stream().subscribe()).await;
    let start = items[0].start.as_ref().expect("the first item is a start");
    assert_eq!(start.clock.as_ref().unwrap().units, 525);
}

fn clock(epoch: u64, units: u64) -> Clock {
    Clock {
        version: 1,
        epoch,
        segment: 1,
        discontinuity: 0,
        media_time_ms: 0,
        wall_ms: 0,
        part_target_ms: 200,
        segment_target_ms: 4_000,
        init_version: 0,
        bandwidth_bps: 0,
        units,
        program_ms: 0,
        window_ms: 30_000,
        audio_next: None,
        run: Default::default(),
        group: None,
    }
}
