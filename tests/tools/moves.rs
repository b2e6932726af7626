//! The load tool follows a server's request to move: against a small server of FLV over WebSocket, since nobody else asks for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use e2e::bench::load;
use e2e::harness::root;
use e2e::wire::flv::{self, Tag};
use e2e::wire::{Stamp, stamp};
use futures_util::SinkExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, sleep_until};
use tokio_tungstenite::tungstenite::Message;

/// Sends the clip from the current group of pictures on; asks its first viewers to move.
async fn serve(socket: TcpStream, tags: Arc<Vec<Tag>>, start: Instant, asks: bool, drops: Option<usize>) {
    let mut socket = tokio_tungstenite::accept_async(socket).await.unwrap();
    let began = Instant::now();
    let now_ms = (began - start).as_millis() as u32;
    let first = tags
        .iter()
        .rposition(|tag| tag.shape().key && tag.dts_ms <= now_ms)
        .unwrap();
    let setup: Vec<Tag> = tags.iter().filter(|tag| tag.shape().config).cloned().collect();
    socket.send(Message::Binary(flv::write(&setup).into())).await.unwrap();
    let mut asked = false;
    let mut pictures = tags[..first]
        .iter()
        .filter(|tag| tag.shape().media && tag.kind == flv::VIDEO)
        .count();
    for (index, tag) in tags.iter().enumerate().skip(first).filter(|(_, tag)| tag.shape().media) {
        let due = start + Duration::from_millis(tag.dts_ms.into());
        sleep_until(due).await;
        let mut tag = tag.clone();
        if tag.kind == flv::VIDEO {
            let stamp = Stamp {
                sent_us: stamp::now_us(),
                sequence: pictures as u64,
                bytes_before: 0,
            };
            pictures += 1;
            let mut body = tag.body[..5].to_vec();
            stamp.insert(&tag.body[5..], 0, &mut body);
            tag.body = body.into();
        }
        let bytes = flv::write(&[tag])[13..].to_vec();
        if drops != Some(index) && socket.send(Message::Binary(bytes.into())).await.is_err() {
            return;
        }
        if asks && !asked && began.elapsed() > Duration::from_millis(1200) {
            asked = true;
            socket.send(Message::Text(r#"{"type":"move"}"#.into())).await.unwrap();
        }
    }
}

/// Runs three viewers against the server, in which the second connection leaves out the tag `drops`.
async fn watched(drops: Option<usize>) -> load::Report {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let clip = std::fs::read(root().join("operator/src/local/sample.flv")).unwrap();
    let tags = Arc::new(flv::read(&clip).unwrap());
    let start = Instant::now();
    let connections = Arc::new(AtomicU32::new(0));
    let server = tokio::spawn(async move {
        loop {
            let (socket, _) = listener.accept().await.unwrap();
            let index = connections.fetch_add(1, Ordering::Relaxed);
            tokio::spawn(serve(
                socket,
                tags.clone(),
                start,
                index < 3,
                drops.filter(|_| index >= 3),
            ));
        }
    });
    let report = load::run(load::Options {
        follow_moves: true,
        ..load::Options::new(format!("ws://{address}/live/a.flv"), 3, Duration::from_secs(5))
    })
    .await
    .unwrap();
    server.abort();
    report
}

#[tokio::test(flavor = "multi_thread")]
async fn a_viewer_that_moves_sees_one_stream() {
    let report = watched(None).await;
    assert_eq!(
        (report.moves.asked, report.moves.done, report.moves.failed),
        (3, 3, 0),
        "{report}"
    );
    let gaps = &report.gaps;
    assert_eq!(
        (gaps.gaps, gaps.backward, gaps.missing_pictures, gaps.repeated_pictures),
        (0, 0, 0, 0),
        "{report}"
    );
    assert!(report.frames > 3 * 250, "{report}");
    assert_eq!((report.cut, report.starved), (0, 0), "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_lost_behind_a_move_is_seen() {
    let clip = std::fs::read(root().join("operator/src/local/sample.flv")).unwrap();
    let lost = flv::read(&clip)
        .unwrap()
        .iter()
        .position(|tag| tag.kind == flv::VIDEO && tag.dts_ms == 4520)
        .unwrap();
    let report = watched(Some(lost)).await;
    assert_eq!(report.moves.done, 3, "{report}");
    assert_eq!((report.gaps.gaps, report.gaps.missing_pictures), (3, 3), "{report}");
}
