//! Frames as a fragment: `moof` (§8.8.4) and the header of `mdat`; the frames themselves are not touched.

use bytes::{BufMut, Bytes, BytesMut};

/// What a fragment says of its frames, all of one track. Times in the track's timescale.
#[derive(Clone, Copy, Debug)]
pub(in crate::package) struct Chunk<'a> {
    pub(in crate::package) sequence: u32,
    pub(in crate::package) track_id: u32,
    /// Of the first frame.
    pub(in crate::package) decode_time: u64,
    /// In decoding order, each as long as it is to the next one.
    pub(in crate::package) samples: &'a [Sample],
}

/// One frame.
#[derive(Clone, Copy, Debug)]
pub(in crate::package) struct Sample {
    pub(in crate::package) duration: u32,
    /// Presentation minus decoding time.
    pub(in crate::package) composition_offset: i32,
    /// Decoding can begin here.
    pub(in crate::package) sync: bool,
    /// Bytes.
    pub(in crate::package) size: u32,
}

const MFHD: usize = 16;
const TFHD: usize = 16;
const TFDT: usize = 20;
const TRUN: usize = 20;
const TRUN_SAMPLE: usize = 16;
const MDAT_HEADER: usize = 8;

const DEFAULT_BASE_IS_MOOF: u32 = 0x02_0000;
/// trun: data offset; duration, size, flags and composition offset of each sample.
const TRUN_FIELDS: u32 = 0x0f01;
const VERSION_1: u32 = 1 << 24;
/// sample_depends_on = 2: on no other.
const SYNC: u32 = 0x0200_0000;
/// sample_depends_on = 1, sample_is_non_sync_sample.
const NON_SYNC: u32 = 0x0101_0000;

/// Everything of a fragment before its frames, which follow one after the other.
pub(in crate::package) fn head(chunk: Chunk<'_>) -> Bytes {
    let trun = TRUN + TRUN_SAMPLE * chunk.samples.len();
    let traf = 8 + TFHD + TFDT + trun;
    let moof = 8 + MFHD + traf;
    let length = moof + MDAT_HEADER;
    let data = chunk
        .samples
        .iter()
        .fold(0u32, |sum, sample| sum.saturating_add(sample.size));
    let mut out = BytesMut::with_capacity(length);
    header(&mut out, moof as u32, b"moof");
    header(&mut out, MFHD as u32, b"mfhd");
    out.put_u32(0);
    out.put_u32(chunk.sequence);
    header(&mut out, traf as u32, b"traf");
    header(&mut out, TFHD as u32, b"tfhd");
    out.put_u32(DEFAULT_BASE_IS_MOOF);
    out.put_u32(chunk.track_id);
    header(&mut out, TFDT as u32, b"tfdt");
    out.put_u32(VERSION_1);
    out.put_u64(chunk.decode_time);
    header(&mut out, trun as u32, b"trun");
    out.put_u32(VERSION_1 | TRUN_FIELDS);
    out.put_u32(chunk.samples.len() as u32);
    out.put_u32(length as u32);
    for sample in chunk.samples {
        out.put_u32(sample.duration);
        out.put_u32(sample.size);
        out.put_u32(if sample.sync { SYNC } else { NON_SYNC });
        out.put_i32(sample.composition_offset);
    }
    header(&mut out, data.saturating_add(MDAT_HEADER as u32), b"mdat");
    out.freeze()
}

fn header(out: &mut BytesMut, size: u32, kind: &[u8; 4]) {
    out.put_u32(size);
    out.put_slice(kind);
}
