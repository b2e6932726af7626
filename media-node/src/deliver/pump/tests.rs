//! Behaviour of the pump over a pipe.

use std::io::ErrorKind;

use headwater_contract::StreamEnd;
use tokio::io::DuplexStream;

use super::*;
use crate::deliver::movers::Movers;
use crate::deliver::rig::{Rig, until};
use crate::http_server::Patient;
use crate::meters::{Drop as Dropped, Protocol};
use crate::package::feed::{FeedEnd, FeedLimits};

/// A protocol of words: `?` is answered by `!`, `x` is against it.
struct Words;

impl Dialogue for Words {
    fn heard(&mut self, bytes: &[u8], _: Instant, out: &mut Outbox) -> ControlFlow<Parting> {
        for byte in bytes {
            match byte {
                b'?' => {
                    out.own(Bytes::from_static(b"!"));
                }
                b'x' => return ControlFlow::Break(Parting::Malformed),
                _ => {}
            }
        }
        ControlFlow::Continue(())
    }

    fn tick(&mut self, _: Instant, _: &mut Outbox) -> ControlFlow<Parting> {
        ControlFlow::Continue(())
    }

    fn ask_to_move(&mut self, out: &mut Outbox) {
        out.own(Bytes::from_static(b"<move>"));
    }

    fn farewell(&mut self, _: Parting, out: &mut Outbox) {
        out.own(Bytes::from_static(b"<bye>"));
    }
}

fn pump(rig: &Rig, pipe: usize, seat: Option<Seat>) -> (DuplexStream, tokio::task::JoinHandle<Parting>) {
    let (ours, theirs) = tokio::io::duplex(pipe);
    let viewer = Viewer::join(&rig.delivery, &rig.stream(), Protocol::Flv);
    let io = Patient::new(ours, rig.delivery.write_timeout);
    let task = tokio::spawn(async move { run(io, viewer, &mut Words, Opening::default(), seat.as_ref()).await });
    (theirs, task)
}

async fn read_until(io: &mut DuplexStream, end: &str) -> String {
    let mut text = String::new();
    let mut bytes = [0; 64];
    while !text.ends_with(end) {
        let read = tokio::time::timeout(Duration::from_secs(5), io.read(&mut bytes));
        let count = read.await.unwrap_or_else(|_| panic!("only {text:?}")).unwrap();
        assert!(count > 0, "ended after {text:?}");
        text.push_str(std::str::from_utf8(&bytes[..count]).unwrap());
    }
    text
}

#[tokio::test]
async fn a_newcomer_gets_the_group_of_pictures_and_what_follows() {
    let mut rig = Rig::new(FeedLimits::default());
    rig.config("a");
    rig.key("1");
    rig.frame("2");
    let (mut viewer, task) = pump(&rig, 4096, None);
    assert_eq!(read_until(&mut viewer, "F(2)").await, "I(a)K(1)F(2)");
    rig.frame("3");
    assert_eq!(read_until(&mut viewer, "F(3)").await, "F(3)");
    assert_eq!(rig.stream().audience(), 1);
    rig.finish(StreamEnd::Unpublished);
    assert_eq!(read_until(&mut viewer, "<bye>").await, "<bye>");
    drop(viewer);
    let end = FeedEnd::Stream(StreamEnd::Unpublished);
    assert_eq!(task.await.unwrap(), Parting::Ended(end));
    assert_eq!(rig.delivery.meters.viewers(), 0);
    assert_eq!(rig.delivery.meters.sent_bytes(Protocol::Flv), 16);
}

/// TLS holds what its socket does not take at once, and sends it when it is flushed or written to again: without the flush, the end
/// of a message would wait for the next one.
#[tokio::test]
async fn what_a_connection_holds_back_is_sent_without_more_behind_it() {
    let mut rig = Rig::new(FeedLimits::default());
    rig.config("a");
    rig.key("1");
    let (ours, mut viewer) = tokio::io::duplex(4096);
    let joined = Viewer::join(&rig.delivery, &rig.stream(), Protocol::Flv);
    let io = tokio::io::BufStream::new(ours);
    let task = tokio::spawn(async move { run(io, joined, &mut Words, Opening::default(), None).await });
    assert_eq!(read_until(&mut viewer, "K(1)").await, "I(a)K(1)");
    viewer.write_all(b"?").await.unwrap();
    assert_eq!(read_until(&mut viewer, "!").await, "!");
    drop(viewer);
    assert_eq!(task.await.unwrap(), Parting::Left);
}

#[tokio::test]
async fn a_slow_reader_goes_on_at_a_key_frame_and_what_it_missed_is_counted() {
    let mut rig = Rig::new(FeedLimits {
        entries: 20,
        ..FeedLimits::default()
    });
    rig.config("a");
    rig.key("0");
    let (mut viewer, task) = pump(&rig, 16, None);
    for number in 1..200 {
        match number % 10 {
            0 => rig.key(&number.to_string()),
            _ => rig.frame(&number.to_string()),
        }
        tokio::task::yield_now().await;
    }
    let text = read_until(&mut viewer, "F(199)").await;
    let numbers: Vec<u32> = text.split(['(', ')']).filter_map(|word| word.parse().ok()).collect();
    assert!(text.starts_with("I(a)K(0)"), "{text}");
    assert!(numbers.is_sorted() && numbers.len() < 200, "{text}");
    let gap = numbers.windows(2).find(|pair| pair[1] != pair[0] + 1).unwrap();
    assert_eq!(gap[1] % 10, 0, "it goes on at a key frame: {text}");
    assert!(rig.delivery.meters.dropped_frames(Dropped::SlowViewer) > 0);
    task.abort();
}

#[tokio::test(start_paused = true)]
async fn a_viewer_that_takes_nothing_is_dropped_and_no_other_waits() {
    let mut rig = Rig::new(FeedLimits::default());
    rig.config("a");
    rig.key("a long key frame that does not fit into the pipe");
    let (_stalled, task) = pump(&rig, 8, None);
    let (mut other, _other_task) = pump(&rig, 4096, None);
    read_until(&mut other, "pipe)").await;
    rig.frame("2");
    assert_eq!(read_until(&mut other, "F(2)").await, "F(2)");
    assert_eq!(task.await.unwrap(), Parting::Broken(ErrorKind::TimedOut));
    assert_eq!(rig.stream().audience(), 1);
}

#[tokio::test]
async fn answers_and_orders_go_between_messages() {
    let mut rig = Rig::new(FeedLimits::default());
    rig.config("a");
    rig.key("a rather long one");
    let movers = Movers::default();
    let (mut viewer, task) = pump(&rig, 4, Some(movers.join()));
    viewer.write_all(b"?").await.unwrap();
    assert_eq!(movers.ask(1), 1);
    let mut text = String::new();
    while !(text.contains("!") && text.contains("<move>") && text.contains("one)")) {
        text += &read_until(&mut viewer, "").await;
        let mut byte = [0];
        viewer.read_exact(&mut byte).await.unwrap();
        text.push(char::from(byte[0]));
    }
    let media = text.replace('!', "").replace("<move>", "");
    assert_eq!(media, "I(a)K(a rather long one)", "{text}");
    assert!(text.contains("K(a rather long one)") && text.contains("I(a)"), "{text}");
    drop(viewer);
    assert!(matches!(task.await.unwrap(), Parting::Left | Parting::Broken(_)));
}

#[tokio::test]
async fn a_viewer_is_asked_to_move_as_often_as_it_is_told() {
    let mut rig = Rig::new(FeedLimits::default());
    rig.config("a");
    rig.key("1");
    let movers = Movers::default();
    let (mut viewer, _task) = pump(&rig, 4096, Some(movers.join()));
    read_until(&mut viewer, "K(1)").await;
    for _ in 0..2 {
        assert_eq!(movers.ask(1), 1);
        assert_eq!(read_until(&mut viewer, "<move>").await, "<move>");
        movers.forget();
    }
}

#[tokio::test]
async fn a_malformed_viewer_is_told_and_counted() {
    let mut rig = Rig::new(FeedLimits::default());
    rig.config("a");
    rig.key("1");
    let (mut viewer, task) = pump(&rig, 4096, None);
    viewer.write_all(b"x").await.unwrap();
    read_until(&mut viewer, "<bye>").await;
    drop(viewer);
    assert_eq!(task.await.unwrap(), Parting::Malformed);
    assert_eq!(rig.delivery.meters.refusals(crate::meters::Refusal::Malformed), 1);
}

#[tokio::test]
async fn the_end_of_the_node_ends_every_viewer() {
    let mut rig = Rig::new(FeedLimits::default());
    rig.config("a");
    rig.key("1");
    let (mut viewer, task) = pump(&rig, 4096, None);
    read_until(&mut viewer, "K(1)").await;
    rig.delivery.cut.cancel();
    assert_eq!(read_until(&mut viewer, "<bye>").await, "<bye>");
    drop(viewer);
    assert_eq!(task.await.unwrap(), Parting::Cut);
    until("nobody watches", || rig.stream().audience() == 0).await;
}

/// A thousand viewers cost a thousand of these: sockets, cursors and outboxes come on top.
#[tokio::test]
async fn a_viewer_costs_little() {
    let rig = Rig::new(FeedLimits::default());
    let (ours, _theirs) = tokio::io::duplex(16);
    let viewer = Viewer::join(&rig.delivery, &rig.stream(), Protocol::Flv);
    let size = std::mem::size_of_val(&run(ours, viewer, &mut Words, Opening::default(), None));
    assert!(size < 4_096, "{size} bytes");
}
