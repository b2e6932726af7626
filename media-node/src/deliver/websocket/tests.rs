//! The WebSocket dialogue, byte by byte.

use proptest::prelude::*;

use bytes::Buf;

use super::frames::LONGEST;
use super::*;

fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    match payload.len() {
        short @ 0..=125 => bytes.push(0x80 | short as u8),
        long @ 126..=0xFFFF => {
            bytes.push(0x80 | 126);
            bytes.extend_from_slice(&(long as u16).to_be_bytes());
        }
        long => {
            bytes.push(0x80 | 127);
            bytes.extend_from_slice(&(long as u64).to_be_bytes());
        }
    }
    let mask = [7, 99, 255, 0];
    bytes.extend_from_slice(&mask);
    bytes.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    bytes
}

fn read_all(bytes: &[u8], step: usize) -> Result<Vec<Heard>, Fault> {
    let mut reader = FrameReader::default();
    let mut heard = Vec::new();
    for mut piece in bytes.chunks(step) {
        while let Some(frame) = reader.next(&mut piece)? {
            heard.push(frame);
        }
    }
    Ok(heard)
}

#[test]
fn the_accept_key_is_that_of_the_rfc() {
    assert_eq!(accept("dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
}

#[test]
fn frames_are_read_however_they_are_cut() {
    let mut bytes = masked(0x89, b"hi");
    bytes.extend(masked(0x81, &[b'x'; 300]));
    bytes.extend(masked(0x8A, b""));
    bytes.extend(masked(0x01, b"frag"));
    bytes.extend(masked(0x89, b"between"));
    bytes.extend(masked(0x80, b"ment"));
    bytes.extend(masked(0x88, &1000_u16.to_be_bytes()));
    let expected = [
        Heard::Ping(b"hi".to_vec()),
        Heard::Data,
        Heard::Pong,
        Heard::Data,
        Heard::Ping(b"between".to_vec()),
        Heard::Data,
        Heard::Close,
    ];
    for step in 1..bytes.len() {
        assert_eq!(read_all(&bytes, step).unwrap(), expected, "{step}");
    }
}

#[test]
fn what_is_against_the_protocol_is_a_fault() {
    let mut unmasked = masked(0x81, b"hi");
    unmasked[1] &= 0x7F;
    let cases = [
        ("unmasked", unmasked),
        ("reserved bit", masked(0xC1, b"hi")),
        ("unknown opcode", masked(0x83, b"hi")),
        ("unknown control opcode", masked(0x8B, b"hi")),
        ("fragmented control frame", masked(0x09, b"hi")),
        ("long control frame", masked(0x89, &[0; 126])),
        ("continuation of nothing", masked(0x80, b"hi")),
        (
            "text within a message",
            [masked(0x01, b"a"), masked(0x81, b"b")].concat(),
        ),
    ];
    for (name, bytes) in cases {
        assert_eq!(read_all(&bytes, 3), Err(Fault::Malformed), "{name}");
    }
}

#[test]
fn long_messages_are_refused_by_their_head() {
    let mut huge = vec![0x82, 0x80 | 127];
    huge.extend_from_slice(&u64::MAX.to_be_bytes());
    huge.extend_from_slice(&[0; 4]);
    assert_eq!(read_all(&huge, 1), Err(Fault::TooLong));
    assert_eq!(
        read_all(&masked(0x82, &vec![0; LONGEST as usize + 1]), 9),
        Err(Fault::TooLong)
    );
    assert!(read_all(&masked(0x82, &vec![0; LONGEST as usize]), 9).is_ok());
}

#[test]
fn a_message_of_endless_fragments_is_refused() {
    let empty = masked(0x00, b"");
    let mut bytes = masked(0x01, b"");
    bytes.extend(empty.iter().cycle().take(empty.len() * 100));
    assert_eq!(read_all(&bytes, 64), Err(Fault::TooLong));
}

proptest! {
    #[test]
    fn garbage_never_makes_the_reader_keep_much(bytes in proptest::collection::vec(any::<u8>(), 0..2_000), step in 1_usize..64) {
        let mut reader = FrameReader::default();
        'all: for mut piece in bytes.chunks(step) {
            while !piece.is_empty() {
                match reader.next(&mut piece) {
                    Ok(Some(Heard::Ping(payload))) => prop_assert!(payload.len() <= 125),
                    Ok(_) => {}
                    Err(_) => break 'all,
                }
            }
        }
    }

    #[test]
    fn well_formed_frames_are_all_heard(lengths in proptest::collection::vec(0_usize..=125, 1..20), step in 1_usize..64) {
        let bytes: Vec<u8> = lengths.iter().flat_map(|length| masked(0x89, &vec![1; *length])).collect();
        let heard = read_all(&bytes, step).unwrap();
        let expected: Vec<_> = lengths.iter().map(|length| Heard::Ping(vec![1; *length])).collect();
        prop_assert_eq!(heard, expected);
    }
}

fn sent(out: &mut Outbox) -> Vec<u8> {
    let mut bytes = Vec::new();
    while out.has_remaining() {
        let chunk = out.chunk().to_vec();
        out.advance(chunk.len());
        bytes.extend(chunk);
    }
    bytes
}

#[test]
fn a_ping_is_answered_with_its_payload_and_silence_ends_the_patience() {
    let begun = Instant::now();
    let (mut socket, mut out) = (WebSocket::new(begun), Outbox::default());
    assert!(socket.heard(&masked(0x89, b"hi"), begun, &mut out).is_continue());
    assert_eq!(sent(&mut out), [0x8A, 2, b'h', b'i']);
    assert!(socket.tick(begun + PING_EVERY, &mut out).is_continue());
    assert_eq!(sent(&mut out), [0x89, 0]);
    let pong = masked(0x8A, b"");
    assert!(socket.heard(&pong, begun + PING_EVERY, &mut out).is_continue());
    assert!(socket.tick(begun + SILENCE, &mut out).is_continue());
    assert_eq!(
        socket.tick(begun + PING_EVERY + SILENCE, &mut out),
        ControlFlow::Break(Parting::Silent)
    );
}

#[test]
fn an_ended_stream_is_told_before_the_close_and_a_fault_has_its_code() {
    let (mut socket, mut out) = (WebSocket::new(Instant::now()), Outbox::default());
    socket.farewell(Parting::Ended(FeedEnd::Stream(StreamEnd::Unpublished)), &mut out);
    assert_eq!(sent(&mut out), b"\x81\x0e{\"type\":\"end\"}\x88\x02\x03\xe8");
    let long = masked(0x82, &vec![0; LONGEST as usize + 1]);
    let flow = socket.heard(&long, Instant::now(), &mut out);
    assert_eq!(flow, ControlFlow::Break(Parting::Malformed));
    socket.farewell(Parting::Malformed, &mut out);
    assert_eq!(sent(&mut out), b"\x88\x02\x03\xf1");
}
