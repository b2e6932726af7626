//! Writes one RTMP message as chunks (RTMP 1.0 §5.3.1) without copying its payload.
//!
//! Every message begins with a full header (fmt 0) and goes on with fmt 3: it depends on no message before it, so that
//! one sequence of bytes serves every viewer from wherever he begins.

use bytes::{BufMut, Bytes, BytesMut};

/// From here on the timestamp stands in an extra field, in each chunk of the message.
const EXTENDED: u32 = 0xff_ffff;
/// Longest message that a header can declare.
const MAX_LENGTH: usize = 0xff_ffff;

/// The chunks of a message: headers and shared slices of `payload`, in turn.
///
/// `csid` is the chunk stream id, 2 to 65,599; `timestamp` milliseconds, absolute; `chunk_size` what the peer was told.
/// A payload beyond 16,777,215 bytes is cut there, since no header could declare it.
pub fn message(
    csid: u32,
    type_id: u8,
    stream_id: u32,
    timestamp: u32,
    payload: &Bytes,
    chunk_size: usize,
) -> Vec<Bytes> {
    let payload = payload.slice(..payload.len().min(MAX_LENGTH));
    let chunk_size = chunk_size.max(1);
    let chunks = payload.len().div_ceil(chunk_size).max(1);
    let mut headers = BytesMut::with_capacity(18 + (chunks - 1) * 7);
    let mut parts = Vec::with_capacity(2 * chunks);

    basic_header(&mut headers, 0, csid);
    headers.put_uint(timestamp.min(EXTENDED).into(), 3);
    headers.put_uint(payload.len() as u64, 3);
    headers.put_u8(type_id);
    headers.put_u32_le(stream_id);
    for chunk in 0..chunks {
        if chunk > 0 {
            basic_header(&mut headers, 3, csid);
        }
        if timestamp >= EXTENDED {
            headers.put_u32(timestamp);
        }
        parts.push(headers.split().freeze());
        let from = chunk * chunk_size;
        let data = payload.slice(from..payload.len().min(from + chunk_size));
        if !data.is_empty() {
            parts.push(data);
        }
    }
    parts
}

fn basic_header(out: &mut BytesMut, fmt: u8, csid: u32) {
    let fmt = fmt << 6;
    match csid {
        0..=63 => out.put_u8(fmt | csid as u8),
        64..=319 => out.put_slice(&[fmt, (csid - 64) as u8]),
        _ => {
            out.put_u8(fmt | 1);
            out.put_u16_le((csid - 64) as u16);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Reads one message back: basic header, header, then chunks. Returns type, stream, timestamp and payload.
    fn read(wire: &[u8], chunk_size: usize) -> (u8, u32, u32, Vec<u8>) {
        let mut at = 0;
        let mut take = |count: usize| {
            at += count;
            &wire[at - count..at]
        };
        let number = |bytes: &[u8]| bytes.iter().fold(0u32, |sum, byte| sum << 8 | u32::from(*byte));
        let skip_id = |first: u8| match first & 0x3f {
            0 => 1,
            1 => 2,
            _ => 0,
        };
        let first = take(1)[0];
        assert_eq!(first >> 6, 0, "a message begins with fmt 0");
        take(skip_id(first));
        let mut timestamp = number(take(3));
        let length = number(take(3)) as usize;
        let type_id = take(1)[0];
        let stream_id = u32::from_le_bytes(take(4).try_into().unwrap());
        let extended = timestamp == EXTENDED;
        if extended {
            timestamp = number(take(4));
        }
        let mut payload = Vec::new();
        loop {
            payload.extend_from_slice(take(chunk_size.min(length - payload.len())));
            if payload.len() == length {
                break;
            }
            let first = take(1)[0];
            assert_eq!(first >> 6, 3, "and goes on with fmt 3");
            take(skip_id(first));
            if extended {
                assert_eq!(number(take(4)), timestamp, "every chunk repeats the extended timestamp");
            }
        }
        assert_eq!(at, wire.len());
        (type_id, stream_id, timestamp, payload)
    }

    fn wire(timestamp: u32, payload: &Bytes, chunk_size: usize) -> Vec<u8> {
        message(6, 9, 1, timestamp, payload, chunk_size).concat()
    }

    #[test]
    fn a_short_message_is_one_chunk() {
        let payload = Bytes::from_static(b"abc");
        assert_eq!(
            wire(0x010203, &payload, 128),
            [&[6, 1, 2, 3, 0, 0, 3, 9, 1, 0, 0, 0][..], b"abc"].concat()
        );
        assert_eq!(wire(5, &Bytes::new(), 128).len(), 12);
    }

    /// rtmp-rs fault 1: from 0xFFFFFF ms on it wrote the absolute timestamp as a delta, and every stream died.
    #[test]
    fn a_stream_lives_past_4_h_39_m_37_s() {
        let payload = Bytes::from(vec![7; 300]);
        for timestamp in [0xff_fffe, 0xff_ffff, 0x100_0000, 0x100_0028] {
            assert_eq!(
                read(&wire(timestamp, &payload, 128), 128),
                (9, 1, timestamp, payload.to_vec())
            );
        }
    }

    /// rtmp-rs fault 2: backward timestamps were cut to 24 bits, so that viewers jumped by hours.
    #[test]
    fn timestamps_are_absolute_so_that_going_back_and_wrapping_need_nothing() {
        let payload = Bytes::from_static(b"abc");
        for timestamp in [u32::MAX - 20, u32::MAX, 19, 5_000_000_000u64 as u32, 12] {
            assert_eq!(read(&wire(timestamp, &payload, 128), 128).2, timestamp);
        }
    }

    #[test]
    fn the_payload_is_shared() {
        let payload = Bytes::from(vec![1; 1_000]);
        let parts = message(6, 9, 1, 0, &payload, 400);
        assert_eq!(parts.len(), 6);
        let range = payload.as_ptr() as usize..payload.as_ptr() as usize + payload.len();
        assert!(
            parts
                .iter()
                .skip(1)
                .step_by(2)
                .all(|part| range.contains(&(part.as_ptr() as usize)))
        );
    }

    proptest! {
        #[test]
        fn a_message_reads_back(
            csid in 2u32..65_600, type_id: u8, stream_id: u32, timestamp: u32,
            payload in prop::collection::vec(any::<u8>(), 0..2_000), chunk_size in 1usize..700,
        ) {
            let parts = message(csid, type_id, stream_id, timestamp, &Bytes::from(payload.clone()), chunk_size);
            prop_assert_eq!(read(&parts.concat(), chunk_size), (type_id, stream_id, timestamp, payload));
        }
    }
}
