//! What no well-behaved peer sends: refused, counted, within bounds of memory, and no other viewer the worse for it.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use ::http::Method;
use e2e::bench::{load, publish};
use e2e::harness::{Node, http, root, wait_until};
use e2e::wire::rtmp::{Client, Goal};
use headwater_contract::{PUBLISHING_PATH, PublishKey, Publishing};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::{LONG, SOON, publish_sample};

/// What a node may grow by under any of this, KiB: debug build, viewers and all.
const GROWTH_KIB: u64 = 24 * 1024;

/// Sends bytes and reads until the node closes; fails if it has not within the time. Returns what it answered.
pub(crate) async fn is_closed(address: SocketAddr, bytes: &[u8], within: Duration) -> Vec<u8> {
    let mut socket = TcpStream::connect(address).await.unwrap();
    // The node may close while these are still being sent.
    let _ = socket.write_all(bytes).await;
    ends(&mut socket, within).await
}

pub(crate) async fn ends(socket: &mut TcpStream, within: Duration) -> Vec<u8> {
    let mut answer = Vec::new();
    let closed = tokio::time::timeout(within, socket.read_to_end(&mut answer)).await;
    assert!(
        closed.is_ok(),
        "still open after {within:?}; answered {} bytes",
        answer.len()
    );
    answer
}

/// C0, C1 and an echo that nobody checks.
fn handshake() -> Vec<u8> {
    let mut bytes = e2e::wire::rtmp::hello();
    bytes.extend(std::iter::repeat_n(0, e2e::wire::rtmp::HANDSHAKE));
    bytes
}

/// Head of a chunk of type 0 (RTMP 1.0 §5.3.1.2.1) of a message of this length.
fn chunk(csid: u8, length: u32, type_id: u8) -> Vec<u8> {
    let mut bytes = vec![csid, 0, 0, 0];
    bytes.extend_from_slice(&length.to_be_bytes()[1..]);
    bytes.extend_from_slice(&[type_id, 1, 0, 0, 0]);
    bytes
}

/// A connection that the node has let publish.
async fn publisher(node: &Node, stream: &str) -> TcpStream {
    let mut socket = TcpStream::connect(node.rtmp).await.unwrap();
    socket.write_all(&handshake()).await.unwrap();
    let mut greeting = vec![0; 1 + 2 * e2e::wire::rtmp::HANDSHAKE];
    socket.read_exact(&mut greeting).await.unwrap();
    let mut out = Vec::new();
    let mut client = Client::new(Goal::Publish, node.rtmp_url(stream).parse().unwrap(), 0, &mut out);
    let mut buffer = vec![0; 4096];
    while !client.running() {
        socket.write_all(&out).await.unwrap();
        out.clear();
        let count = socket.read(&mut buffer).await.unwrap();
        client
            .feed(&buffer[..count], &mut out, &mut e2e::wire::Nothing)
            .unwrap();
    }
    socket
}

/// Refusals for a reason so far.
pub(crate) async fn refused(node: &Node, reason: &str) -> u64 {
    let sample = format!("headwater_node_refused_total{{reason=\"{reason}\"}}");
    node.metric(&sample).await.unwrap().unwrap_or_default() as u64
}

/// Watches a stream of the node in three protocols while `attack` runs: no viewer may lose anything, the node may not
/// grow, and what it refused is counted for `reason`, at least `count` times.
pub(crate) async fn untouched(node: &Node, reason: &str, count: u64, attack: impl Future<Output = ()>) {
    let publication = publish_sample(node, "good").await;
    let mut loads = Vec::new();
    for protocol in [load::Protocol::Flv, load::Protocol::Ws, load::Protocol::Rtmp] {
        let authority = match protocol {
            load::Protocol::Rtmp => node.rtmp,
            _ => node.http,
        };
        let url = load::url(protocol, &authority.to_string(), "live/good");
        let load = load::start(load::Options::new(url, 2, LONG * 2)).unwrap();
        wait_until(SOON, "all watch", || async {
            if load.playing() == 2 {
                Ok(())
            } else {
                Err(load.playing())
            }
        })
        .await
        .unwrap();
        loads.push(load);
    }
    let (before, resident) = (refused(node, reason).await, node.process.resident_kib().unwrap());
    let began = Instant::now();
    attack.await;
    let counted = wait_until(LONG, "the refusals are counted", || async {
        match refused(node, reason).await - before {
            counted if counted >= count => Ok(counted),
            counted => Err(format!("{counted} of {count} {reason}")),
        }
    })
    .await
    .unwrap();
    let growth = node.process.resident_kib().unwrap().saturating_sub(resident);
    println!(
        "figure: bad input: {counted} refusals ({reason}) in {:?}, {growth} KiB more",
        began.elapsed()
    );
    assert!(growth < GROWTH_KIB, "{growth} KiB more");
    for load in loads {
        let report = load.stop().await.unwrap();
        let gaps = (report.gaps.gaps, report.gaps.backward, report.gaps.missing_pictures);
        assert_eq!((report.served, report.cut, gaps), (2, 0, (0, 0, 0)), "{report}");
    }
    publication.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_on_the_rtmp_port_is_closed() {
    let node = Node::origin().await.unwrap();
    untouched(&node, "malformed", 3, async {
        is_closed(node.rtmp, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", SOON).await;
        is_closed(node.rtmp, &[0xff; 5000], SOON).await;
        let mut unknown_command = handshake();
        // A chunk stream that begins with a continuation: there is nothing to continue.
        unknown_command.extend([0xc3; 2000]);
        is_closed(node.rtmp, &unknown_command, LONG).await;
        // Random bytes may also be an unfinished message: closed when `connect` is overdue.
        let mut garbage = handshake();
        garbage.extend((0..20_000u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8));
        is_closed(node.rtmp, &garbage, LONG).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_too_long_for_a_command_is_refused_by_its_declared_length() {
    let node = Node::origin().await.unwrap();
    untouched(&node, "limit", 50, async {
        for _ in 0..50 {
            let mut bytes = handshake();
            bytes.extend(chunk(3, 0xff_ffff, 20));
            bytes.extend([0; 128]);
            is_closed(node.rtmp, &bytes, SOON).await;
        }
    })
    .await;
}

/// rtmp-rs reserved memory by the declared length: 9 MB sent gave 1 TiB. 24 bits is the most that can be declared, on
/// many chunk streams at once: 200 GB here.
#[tokio::test(flavor = "multi_thread")]
async fn declared_lengths_of_gigabytes_cost_no_memory() {
    let node = Node::origin().await.unwrap();
    let mut sockets = Vec::new();
    untouched(&node, "limit", 150, async {
        for index in 0..200 {
            let mut bytes = Vec::new();
            let mut socket = if index % 4 == 0 {
                // Let in: long messages are allowed, what they hold together is not more than one of them.
                publisher(&node, &format!("greedy{index}")).await
            } else {
                bytes = handshake();
                TcpStream::connect(node.rtmp).await.unwrap()
            };
            for csid in 3..63u8 {
                bytes.extend(chunk(csid, 0xff_ffff, 9));
                bytes.extend([0; 128]);
            }
            let _ = socket.write_all(&bytes).await;
            sockets.push(socket);
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_publisher_that_breaks_off_in_a_message_leaves_no_harm() {
    let node = Node::origin().await.unwrap();
    // Nobody is refused here: what was never finished is forgotten with the connection.
    untouched(&node, "malformed", 0, async {
        for index in 0..20 {
            let mut socket = publisher(&node, &format!("cut{index}")).await;
            let mut bytes = chunk(6, 100_000, 9);
            bytes.extend([0x17; 100]);
            socket.write_all(&bytes).await.unwrap();
        }
        wait_until(LONG, "the unfinished streams are gone", || async {
            let streams = node.hello().await.map_err(|error| error.to_string())?.streams;
            match streams.iter().filter(|stream| stream.name.starts_with("cut")).count() {
                0 => Ok(()),
                left => Err(left.to_string()),
            }
        })
        .await
        .unwrap();
    })
    .await;
}

/// One byte a second keeps no connection: the deadline is for the whole handshake, and for the whole head.
#[tokio::test(flavor = "multi_thread")]
async fn slow_handshakes_are_closed() {
    let node = Node::origin().await.unwrap();
    untouched(&node, "timeout", 40, async {
        let mut drips = tokio::task::JoinSet::new();
        for index in 0..40 {
            let (address, bytes) = match index % 2 {
                0 => (node.rtmp, handshake()),
                _ => (
                    node.http,
                    b"GET /live/good.flv HTTP/1.1\r\nHost: somewhere\r\n".to_vec(),
                ),
            };
            drips.spawn(async move {
                let socket = TcpStream::connect(address).await.unwrap();
                let (mut reader, mut writer) = socket.into_split();
                let drip = async {
                    for byte in bytes {
                        if writer.write_all(&[byte]).await.is_err() {
                            break;
                        }
                        tokio::time::sleep(Duration::from_secs(1)).await;
                    }
                    std::future::pending::<()>().await;
                };
                let mut answer = Vec::new();
                let closed = async {
                    tokio::select! {
                        _ = reader.read_to_end(&mut answer) => {}
                        () = drip => {}
                    }
                };
                assert!(
                    tokio::time::timeout(LONG, closed).await.is_ok(),
                    "{address} is still open"
                );
            });
        }
        drips.join_all().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_streams_and_wrong_keys_touch_nobody() {
    let node = Node::origin().await.unwrap();
    let keys = [("*".to_owned(), PublishKey::new("open-sesame"))].into();
    let publishing = Publishing {
        keys: Some(keys),
        ..Publishing::default()
    };
    let clip = root().join("operator/src/local/sample.flv");
    untouched(&node, "not_found", 20, async {
        for index in 0..10 {
            let missing = http::get(&node.http_url(&format!("/live/missing{index}.flv")))
                .await
                .unwrap();
            assert_eq!(missing.status, 404);
            let url = load::url(load::Protocol::Rtmp, &node.rtmp.to_string(), "live/missing");
            let report = load::run(load::Options::new(url, 1, Duration::from_secs(5)))
                .await
                .unwrap();
            assert_eq!((report.served, report.connect_failures), (0, 1), "{report}");
        }
    })
    .await;
    let body = serde_json::to_vec(&publishing).unwrap();
    let taken = node.control(Method::PUT, PUBLISHING_PATH, Some(body)).await.unwrap();
    assert!(taken.status.is_success(), "{}", taken.text());
    let before = refused(&node, "key").await;
    for stream in [
        "a",
        "a?key=",
        "a?key=open-sesam",
        "a?key=open-sesame1",
        "a?key=OPEN-SESAME",
    ] {
        let options = publish::Options::new(node.rtmp_url(stream), clip.clone());
        let report = publish::start(options).unwrap().report().await;
        assert_eq!(report.streams, 0, "{stream}: {report:?}");
        assert!(report.errors[0].contains("NetStream.Publish.Denied"), "{report:?}");
    }
    assert_eq!(refused(&node, "key").await, before + 5);
}
