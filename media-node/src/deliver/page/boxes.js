// Reads just enough of fragmented MP4 (ISO/IEC 14496-12) to know what a message from the server holds.
// Pure: bytes in, plain objects out. Times are in seconds of the origin's media time, as 64-bit `tfdt` says them.

/** @typedef {{id: number, kind: "video"|"audio"|"other", timescale: number, flags: number, duration: number}} Track */
/** @typedef {{kind: string, dts: number, pts: number, duration: number, key: boolean}} Sample */

const NON_SYNC = 0x10000; // sample_is_non_sync_sample, ISO/IEC 14496-12 section 8.8.3.1

/** True if `bytes` begins with an init segment (`ftyp` or `moov`). */
export function isInit(bytes) {
  const type = bytes.length >= 8 ? fourcc(view(bytes), 4) : "";
  return type === "ftyp" || type === "moov";
}

/** Tracks of an init segment, by track id. Throws RangeError if it is cut short. */
export function parseInit(bytes) {
  const data = view(bytes);
  /** @type {Map<number, Track>} */
  const tracks = new Map();
  const moov = find(data, 0, data.byteLength, "moov");
  if (!moov) return tracks;
  for (const trak of children(data, moov)) {
    if (trak.type !== "trak") continue;
    const tkhd = find(data, trak.start, trak.end, "tkhd");
    const mdia = find(data, trak.start, trak.end, "mdia");
    if (!tkhd || !mdia) continue;
    const mdhd = find(data, mdia.start, mdia.end, "mdhd");
    const hdlr = find(data, mdia.start, mdia.end, "hdlr");
    if (!mdhd || !hdlr) continue;
    const id = data.getUint32(tkhd.start + (data.getUint8(tkhd.start) === 1 ? 20 : 12));
    const timescale = data.getUint32(mdhd.start + (data.getUint8(mdhd.start) === 1 ? 20 : 12));
    const handler = fourcc(data, hdlr.start + 8);
    const kind = handler === "vide" ? "video" : handler === "soun" ? "audio" : "other";
    tracks.set(id, { id, kind, timescale: timescale || 1, flags: 0, duration: 0 });
  }
  const mvex = find(data, moov.start, moov.end, "mvex");
  for (const trex of mvex ? children(data, mvex) : []) {
    const track = trex.type === "trex" && tracks.get(data.getUint32(trex.start + 4));
    if (!track) continue;
    track.duration = data.getUint32(trex.start + 12);
    track.flags = data.getUint32(trex.start + 20);
  }
  return tracks;
}

/** First sample of each track in a `moof`, with the duration of all of that track's samples. Throws RangeError if cut short. */
export function parseFragment(bytes, tracks) {
  const data = view(bytes);
  /** @type {Sample[]} */
  const samples = [];
  const moof = find(data, 0, data.byteLength, "moof");
  for (const traf of moof ? children(data, moof) : []) {
    const sample = traf.type === "traf" && parseTraf(data, traf, tracks);
    if (sample) samples.push(sample);
  }
  return samples;
}

/**
 * Makes the first sample of each track of a fragment claim `seconds[kind]`, in place; false if it has no field for that.
 *
 * Browsers take a step in decoding time over twice the last frame's duration for a discontinuity, and then drop video up to
 * the next key frame (Media Source Extensions, coded frame processing). A live muxer can't know a frame's true duration, so
 * that a few pictures that a camera left out would freeze the rest. A frame that claims to be long makes them patient.
 */
export function widen(bytes, tracks, seconds) {
  const data = view(bytes);
  const moof = find(data, 0, data.byteLength, "moof");
  let done = false;
  for (const traf of moof ? children(data, moof) : []) {
    const tfhd = traf.type === "traf" && find(data, traf.start, traf.end, "tfhd");
    const trun = tfhd && find(data, traf.start, traf.end, "trun");
    const track = trun && tracks.get(data.getUint32(tfhd.start + 4));
    if (!track || !(seconds[track.kind] > 0)) continue;
    const at = durationField(data, tfhd, trun);
    if (at === null) continue;
    data.setUint32(at, Math.max(data.getUint32(at), Math.round(seconds[track.kind] * track.timescale)));
    done = true;
  }
  return done;
}

function durationField(data, tfhd, trun) {
  const run = data.getUint32(trun.start) & 0xffffff;
  if (run & 0x100) return trun.start + 8 + (run & 0x1 ? 4 : 0) + (run & 0x4 ? 4 : 0);
  const header = data.getUint32(tfhd.start) & 0xffffff;
  return header & 0x8 ? tfhd.start + 8 + (header & 0x1 ? 8 : 0) + (header & 0x2 ? 4 : 0) : null;
}

function parseTraf(data, traf, tracks) {
  const tfhd = find(data, traf.start, traf.end, "tfhd");
  const tfdt = find(data, traf.start, traf.end, "tfdt");
  const trun = find(data, traf.start, traf.end, "trun");
  const track = tfhd && tracks.get(data.getUint32(tfhd.start + 4));
  if (!track || !tfdt || !trun) return null;

  const defaults = fragmentDefaults(data, tfhd, track);
  const base = data.getUint8(tfdt.start) === 1 ? Number(data.getBigUint64(tfdt.start + 4)) : data.getUint32(tfdt.start + 4);
  const bits = data.getUint32(trun.start) & 0xffffff;
  const count = data.getUint32(trun.start + 4);
  let at = trun.start + 8;
  if (bits & 0x1) at += 4; // data-offset
  let flags = defaults.flags;
  if (bits & 0x4) {
    flags = data.getUint32(at);
    at += 4;
  }
  let duration = 0;
  let composition = 0;
  for (let i = 0; i < count; i++) {
    duration += bits & 0x100 ? data.getUint32(at) : defaults.duration;
    if (bits & 0x100) at += 4;
    if (bits & 0x200) at += 4; // size
    if (bits & 0x400) {
      if (i === 0) flags = data.getUint32(at);
      at += 4;
    }
    if (bits & 0x800) {
      if (i === 0) composition = data.getInt32(at);
      at += 4;
    }
  }
  return {
    kind: track.kind,
    dts: base / track.timescale,
    pts: (base + composition) / track.timescale,
    duration: duration / track.timescale,
    key: track.kind === "audio" || (flags & NON_SYNC) === 0,
  };
}

function fragmentDefaults(data, tfhd, track) {
  const bits = data.getUint32(tfhd.start) & 0xffffff;
  let at = tfhd.start + 8;
  if (bits & 0x1) at += 8; // base-data-offset
  if (bits & 0x2) at += 4; // sample-description-index
  let { duration, flags } = track;
  if (bits & 0x8) {
    duration = data.getUint32(at);
    at += 4;
  }
  if (bits & 0x10) at += 4; // default-sample-size
  if (bits & 0x20) flags = data.getUint32(at);
  return { duration, flags };
}

/** Boxes inside `box`; a box that claims more than its parent holds ends at the parent's end. */
function* children(data, box) {
  for (let at = box.start; at + 8 <= box.end; ) {
    let size = data.getUint32(at);
    let header = 8;
    if (size === 1) {
      size = Number(data.getBigUint64(at + 8));
      header = 16;
    }
    if (size === 0) size = box.end - at;
    if (size < header) return;
    yield { type: fourcc(data, at + 4), start: at + header, end: Math.min(at + size, box.end) };
    at += size;
  }
}

function find(data, start, end, type) {
  for (const box of children(data, { start, end })) if (box.type === type) return box;
  return null;
}

function fourcc(data, at) {
  return String.fromCharCode(data.getUint8(at), data.getUint8(at + 1), data.getUint8(at + 2), data.getUint8(at + 3));
}

function view(bytes) {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
