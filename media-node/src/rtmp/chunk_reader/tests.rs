//! What the reader takes, refuses, and how much it holds.

use proptest::prelude::*;

use super::*;

/// A chunk's header of type 0 on chunk stream 4.
fn full(timestamp: u32, length: usize, type_id: u8) -> Vec<u8> {
    let short = timestamp.min(0xff_ffff);
    let mut out = vec![4];
    out.extend_from_slice(&short.to_be_bytes()[1..]);
    out.extend_from_slice(&(length as u32).to_be_bytes()[1..]);
    out.push(type_id);
    out.extend_from_slice(&1_u32.to_le_bytes());
    if short == 0xff_ffff {
        out.extend_from_slice(&timestamp.to_be_bytes());
    }
    out
}

/// A message in chunks, the extended timestamp repeated or left out on type 3 chunks.
fn encode(timestamp: u32, body: &[u8], type_id: u8, chunk_size: usize, repeat_extended: bool) -> Vec<u8> {
    let mut out = full(timestamp, body.len(), type_id);
    for (n, part) in body.chunks(chunk_size).enumerate() {
        if n > 0 {
            out.push(0xc4);
            if timestamp >= 0xff_ffff && repeat_extended {
                out.extend_from_slice(&timestamp.to_be_bytes());
            }
        }
        out.extend_from_slice(part);
    }
    out
}

fn read(reader: &mut ChunkReader, bytes: &[u8]) -> Result<Vec<Message>, ChunkError> {
    reader.input().extend_from_slice(bytes);
    std::iter::from_fn(|| reader.next().transpose()).collect()
}

fn new() -> ChunkReader {
    ChunkReader::new(Limits::MEDIA)
}

#[test]
fn short_headers_take_over_what_they_leave_out() {
    let mut bytes = full(1_000, 2, 9);
    bytes.extend_from_slice(b"ab");
    bytes.extend_from_slice(&[0x44, 0, 0, 40, 0, 0, 3, 8]); // type 1: delta 40, 3 bytes, audio
    bytes.extend_from_slice(b"cde");
    bytes.extend_from_slice(&[0x84, 0, 0, 20]); // type 2: delta 20
    bytes.extend_from_slice(b"fgh");
    bytes.push(0xc4); // type 3, a new message: delta 20 again
    bytes.extend_from_slice(b"ijk");
    let got = read(&mut new(), &bytes).unwrap();
    let facts: Vec<_> = got.iter().map(|m| (m.timestamp, m.type_id, &m.body[..])).collect();
    assert_eq!(
        facts,
        [
            (1_000, 9, &b"ab"[..]),
            (1_040, 8, b"cde"),
            (1_060, 8, b"fgh"),
            (1_080, 8, b"ijk")
        ]
    );
    assert!(got.iter().all(|message| message.stream_id == 1));
}

#[test]
fn chunk_streams_interleave() {
    let video = encode(0, &[7; 300], 9, 128, true);
    let mut bytes = video[..12 + 128].to_vec();
    bytes.extend_from_slice(&[5, 0, 0, 1, 0, 0, 2, 8, 1, 0, 0, 0, 1, 2]); // audio on chunk stream 5 in between
    bytes.extend_from_slice(&video[12 + 128..]);
    let got = read(&mut new(), &bytes).unwrap();
    assert_eq!(
        got.iter().map(|m| (m.csid, m.body.len())).collect::<Vec<_>>(),
        [(5, 2), (4, 300)]
    );
}

#[test]
fn long_chunk_stream_ids_are_read() {
    let mut two = vec![0, 10];
    two.extend_from_slice(&full(0, 1, 8)[1..]);
    two.push(1);
    let mut three = vec![1, 10, 2];
    three.extend_from_slice(&full(0, 1, 8)[1..]);
    three.push(2);
    let got = read(&mut new(), &[two, three].concat()).unwrap();
    assert_eq!(got.iter().map(|m| m.csid).collect::<Vec<_>>(), [74, 64 + 10 + 512]);
}

/// rtmp-rs ended every stream after 4 h 39 m 37 s.
#[test]
fn fault_1_timestamps_go_on_past_24_bits_on_every_chunk() {
    for repeated in [true, false] {
        let mut bytes = encode(0xff_ffff, &[1; 300], 9, 128, repeated);
        bytes.extend(encode(0x0123_4567, &[2; 300], 9, 128, repeated));
        let got = read(&mut new(), &bytes).unwrap();
        let times: Vec<_> = got.iter().map(|m| (m.timestamp, m.body.len())).collect();
        assert_eq!(times, [(0xff_ffff, 300), (0x0123_4567, 300)], "repeated: {repeated}");
    }
}

/// rtmp-rs cut backward timestamps to 24 bits.
#[test]
fn fault_2_timestamps_may_go_back() {
    let mut bytes = encode(0x0200_0000, b"a", 9, 128, true);
    bytes.extend(encode(5, b"b", 9, 128, true));
    let got = read(&mut new(), &bytes).unwrap();
    assert_eq!(got.iter().map(|m| m.timestamp).collect::<Vec<_>>(), [0x0200_0000, 5]);
}

#[test]
fn a_last_chunk_without_extended_timestamp_does_not_wait_for_more() {
    let bytes = encode(0x0200_0000, &[9; 129], 9, 128, false);
    let got = read(&mut new(), &bytes).unwrap();
    assert_eq!(got.len(), 1, "the one byte of the last chunk decides");
}

#[test]
fn a_new_chunk_size_counts_from_the_next_chunk_on() {
    let mut bytes = vec![2, 0, 0, 0, 0, 0, 4, 1, 0, 0, 0, 0, 0, 0, 4, 0];
    bytes.extend(encode(0, &[3; 1_000], 9, 1_024, true));
    assert_eq!(read(&mut new(), &bytes).unwrap()[0].body.len(), 1_000);
    let zero = [2, 0, 0, 0, 0, 0, 4, 1, 0, 0, 0, 0, 0, 0, 0, 0];
    assert!(matches!(read(&mut new(), &zero), Err(ChunkError::Control { .. })));
}

#[test]
fn an_aborted_message_is_dropped_and_holds_nothing() {
    let mut reader = new();
    let mut bytes = encode(0, &[7; 300], 9, 128, true)[..12 + 128].to_vec();
    bytes.extend_from_slice(&[2, 0, 0, 0, 0, 0, 4, 2, 0, 0, 0, 0, 0, 0, 0, 4]);
    bytes.extend(encode(9, b"next", 9, 128, true));
    let got = read(&mut reader, &bytes).unwrap();
    assert_eq!(got.iter().map(|m| &m.body[..]).collect::<Vec<_>>(), [b"next"]);
    assert_eq!(reader.held, 0);
}

#[test]
fn an_aggregate_comes_as_its_parts() {
    let tag = |type_id: u8, time: u32, body: &[u8]| {
        let [extension, time @ ..] = time.to_be_bytes();
        let mut out = vec![type_id];
        out.extend_from_slice(&(body.len() as u32).to_be_bytes()[1..]);
        out.extend_from_slice(&time);
        out.extend_from_slice(&[extension, 0, 0, 0]);
        out.extend_from_slice(body);
        out.extend_from_slice(&(body.len() as u32 + 11).to_be_bytes());
        out
    };
    let body = [tag(9, 500, b"vv"), tag(8, 523, b"a")].concat();
    let got = read(&mut new(), &encode(10_000, &body, 22, 128, true)).unwrap();
    let facts: Vec<_> = got.iter().map(|m| (m.type_id, m.timestamp, &m.body[..])).collect();
    assert_eq!(facts, [(9, 10_000, &b"vv"[..]), (8, 10_023, b"a")]);
}

/// rtmp-rs's puller took one chunk from each read, and fell behind for ever.
#[test]
fn fault_3_all_messages_of_a_read_are_taken() {
    let one = encode(40, &[1; 500], 9, 128, true);
    let got = read(&mut new(), &one.repeat(1_000)).unwrap();
    assert_eq!(got.len(), 1_000);
}

/// rtmp-rs reserved memory from declared lengths: 9 MB sent gave 1 TiB.
#[test]
fn fault_6_memory_grows_with_what_came_and_not_with_what_was_declared() {
    let mut reader = new();
    for csid in 3..60 {
        let mut chunk = full(0, 0xff_ffff, 9);
        chunk[0] = csid;
        chunk.push(1);
        chunk.extend_from_slice(&[1; 127]);
        assert_eq!(read(&mut reader, &chunk), Ok(vec![]));
    }
    let reserved: usize = reader
        .streams
        .values()
        .filter_map(|stream| stream.partial.as_ref().map(Vec::capacity))
        .sum();
    assert_eq!(reader.held, 57 * 128);
    assert!(reserved <= 2 * reader.held, "{reserved}");
}

#[test]
fn a_message_beyond_the_bound_is_refused_by_its_header() {
    let refused = read(&mut ChunkReader::new(Limits::COMMANDS), &full(0, 65_537, 9));
    assert_eq!(
        refused,
        Err(ChunkError::TooLong {
            length: 65_537,
            allowed: 65_536
        })
    );
}

#[test]
fn unfinished_messages_together_stay_within_the_bound() {
    let mut reader = ChunkReader::new(Limits {
        message: 1_000,
        ..Limits::COMMANDS
    });
    let mut refused = Ok(vec![]);
    for csid in 3..20 {
        let mut chunk = full(0, 900, 9);
        chunk[0] = csid;
        chunk.extend_from_slice(&[0; 128]);
        refused = refused.and_then(|_| read(&mut reader, &chunk));
    }
    assert!(matches!(refused, Err(ChunkError::TooLong { .. })));
    assert!(reader.held <= 1_000);
}

#[test]
fn chunk_streams_have_a_bound() {
    let mut reader = new();
    let refused = (0..100_u8).find_map(|n| {
        let mut chunk = vec![0, n];
        chunk.extend_from_slice(&full(0, 1, 8)[1..]);
        chunk.push(0);
        read(&mut reader, &chunk).err()
    });
    assert_eq!(refused, Some(ChunkError::TooManyChunkStreams { allowed: 64 }));
}

#[test]
fn senseless_headers_are_refused() {
    assert_eq!(read(&mut new(), &[0xc7]), Err(ChunkError::NoHeader { csid: 7, fmt: 3 }));
    let mut twice = full(0, 300, 9);
    twice.extend_from_slice(&[0; 128]);
    twice.extend(full(0, 300, 9));
    assert_eq!(read(&mut new(), &twice), Err(ChunkError::Interrupted { csid: 4 }));
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic_and_hold_little(bytes in proptest::collection::vec(any::<u8>(), 0..4_000)) {
        let mut reader = ChunkReader::new(Limits::COMMANDS);
        let _ = read(&mut reader, &bytes);
        prop_assert!(reader.held <= bytes.len());
    }

    #[test]
    fn any_split_of_the_same_bytes_gives_the_same_messages(
        bodies in proptest::collection::vec((any::<u32>(), proptest::collection::vec(any::<u8>(), 0..600)), 1..6),
        chunk_size in 1_usize..700,
        repeated in any::<bool>(),
        cuts in proptest::collection::vec(1_usize..50, 1..40),
    ) {
        let mut bytes = vec![2, 0, 0, 0, 0, 0, 4, 1, 0, 0, 0, 0];
        bytes.extend_from_slice(&(chunk_size as u32).to_be_bytes());
        for (timestamp, body) in &bodies {
            // A payload that begins with the very timestamp can't be told from it; encoders that leave it out live with that.
            let repeated = repeated || *timestamp >= 0xff_ffff;
            bytes.extend(encode(*timestamp, body, 9, chunk_size, repeated));
        }
        let whole = read(&mut new(), &bytes).unwrap();
        prop_assert_eq!(whole.len(), bodies.len());
        for (message, (timestamp, body)) in whole.iter().zip(&bodies) {
            prop_assert_eq!(message.timestamp, *timestamp);
            prop_assert_eq!(&message.body[..], &body[..]);
        }
        let mut reader = new();
        let mut pieces = Vec::new();
        let (mut rest, mut cut) = (&bytes[..], cuts.iter().cycle());
        while !rest.is_empty() {
            let (piece, tail) = rest.split_at((*cut.next().unwrap()).min(rest.len()));
            pieces.extend(read(&mut reader, piece).unwrap());
            rest = tail;
        }
        prop_assert_eq!(pieces, whole);
    }
}
