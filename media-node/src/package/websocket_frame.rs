//! Headers of WebSocket frames (RFC 6455 §5.2) that a server sends: whole messages, unmasked, the same for every viewer.

use bytes::{BufMut, Bytes, BytesMut};

/// Opcode of a text message.
pub const TEXT: u8 = 1;
/// Opcode of a binary message.
pub const BINARY: u8 = 2;

/// The header of a frame that is a whole message of `len` bytes.
pub fn ws_header(opcode: u8, len: usize) -> Bytes {
    let mut header = BytesMut::with_capacity(10);
    header.put_u8(0x80 | opcode & 0x0f);
    match len {
        0..=125 => header.put_u8(len as u8),
        126..=0xffff => {
            header.put_u8(126);
            header.put_u16(len as u16);
        }
        _ => {
            header.put_u8(127);
            header.put_u64(len as u64);
        }
    }
    header.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_length_takes_the_shortest_form() {
        assert_eq!(&ws_header(TEXT, 125)[..], [0x81, 125]);
        assert_eq!(&ws_header(BINARY, 126)[..], [0x82, 126, 0, 126]);
        assert_eq!(&ws_header(BINARY, 65_535)[..], [0x82, 126, 0xff, 0xff]);
        assert_eq!(&ws_header(BINARY, 65_536)[..], [0x82, 127, 0, 0, 0, 0, 0, 1, 0, 0]);
    }
}
