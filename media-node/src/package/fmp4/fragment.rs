//! One frame as a fragment: `moof` (§8.8.4) and the header of `mdat`; the frame itself is not touched.

use bytes::{BufMut, Bytes, BytesMut};

/// What a fragment says of its frame. Times in the track's timescale.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sample {
    pub(super) sequence: u32,
    pub(super) track_id: u32,
    pub(super) decode_time: u64,
    pub(super) duration: u32,
    /// Presentation minus decoding time.
    pub(super) composition_offset: i32,
    /// Decoding can begin here.
    pub(super) sync: bool,
    /// Bytes.
    pub(super) size: u32,
}

const MFHD: usize = 16;
const TFHD: usize = 16;
const TFDT: usize = 20;
const TRUN: usize = 36;
const TRAF: usize = 8 + TFHD + TFDT + TRUN;
const MOOF: usize = 8 + MFHD + TRAF;
const MDAT_HEADER: usize = 8;
/// Where the frame begins, from the beginning of `moof`.
pub(super) const HEAD: usize = MOOF + MDAT_HEADER;

const DEFAULT_BASE_IS_MOOF: u32 = 0x02_0000;
/// trun: data offset; duration, size, flags and composition offset of each sample.
const TRUN_FIELDS: u32 = 0x0f01;
const VERSION_1: u32 = 1 << 24;
/// sample_depends_on = 2: on no other.
const SYNC: u32 = 0x0200_0000;
/// sample_depends_on = 1, sample_is_non_sync_sample.
const NON_SYNC: u32 = 0x0101_0000;

/// Everything of a fragment before the frame.
pub(super) fn head(sample: Sample) -> Bytes {
    let mut out = BytesMut::with_capacity(HEAD);
    header(&mut out, MOOF as u32, b"moof");
    header(&mut out, MFHD as u32, b"mfhd");
    out.put_u32(0);
    out.put_u32(sample.sequence);
    header(&mut out, TRAF as u32, b"traf");
    header(&mut out, TFHD as u32, b"tfhd");
    out.put_u32(DEFAULT_BASE_IS_MOOF);
    out.put_u32(sample.track_id);
    header(&mut out, TFDT as u32, b"tfdt");
    out.put_u32(VERSION_1);
    out.put_u64(sample.decode_time);
    header(&mut out, TRUN as u32, b"trun");
    out.put_u32(VERSION_1 | TRUN_FIELDS);
    out.put_u32(1);
    out.put_u32(HEAD as u32);
    out.put_u32(sample.duration);
    out.put_u32(sample.size);
    out.put_u32(if sample.sync { SYNC } else { NON_SYNC });
    out.put_i32(sample.composition_offset);
    header(&mut out, sample.size.saturating_add(MDAT_HEADER as u32), b"mdat");
    out.freeze()
}

fn header(out: &mut BytesMut, size: u32, kind: &[u8; 4]) {
    out.put_u32(size);
    out.put_slice(kind);
}
