// Which frames of which connection go into the buffer, and where. Pure.
//
// Media times are the origin's, so a frame has the same time and bytes on every edge. A new connection (after a move or a
// reconnect) starts with a key frame in the past; what the buffer already has is skipped, what follows continues it. Frames
// are never appended twice: rewriting the group of pictures under the playhead makes browsers wait for the next key frame.

/** @typedef {import("./boxes.js").Sample} Sample */
/** @typedef {{[kind: string]: Sample}} Marks the first or last sample seen of each kind */

const SAME_FRAME_S = 0.005;
const MAX_GAP_S = 30;
const OVERLAP_S = 0.1;
const MAX_HANDOVER_WAIT_MS = 4000;

/** True if `sample` comes after the last one of its kind in `marks`. Half a frame of tolerance absorbs rounding. */
export function isNew(sample, marks) {
  const last = marks[sample.kind];
  if (!last) return true;
  const tolerance = sample.duration > 0 ? Math.min(SAME_FRAME_S, sample.duration / 2) : 0.001;
  return sample.dts > last.dts + tolerance;
}

/**
 * Whether the player may change from its connection to the one that it opened for a move.
 * "wait": the new one is behind, or begins after a hole that the old one still fills. "continue": it goes on frame by frame.
 * "change": it has another codec configuration or incarnation, and a key frame (`key`, its newest) to start at.
 * @param {{marks: Marks, first: Marks, last: Marks, key: Sample|null, pictures: boolean, sameProgram: boolean, sameEpoch: boolean, oldAlive: boolean, waitedMs: number}} facts
 *   `pictures`: the new one has any
 */
export function handover({ marks, first, last, key, pictures, sameProgram, sameEpoch, oldAlive, waitedMs }) {
  const lead = pictures && (marks.video || first.video) ? "video" : "audio";
  if (!first[lead]) return "wait";
  if (!sameProgram) return key && (!sameEpoch || isNew(key, marks)) ? "change" : "wait";
  if (!marks[lead] || !oldAlive || waitedMs >= MAX_HANDOVER_WAIT_MS) return "continue";
  for (const kind of Object.keys(marks)) {
    if (!first[kind] || isAfterHole(first[kind], marks[kind]) || last[kind].dts < marks[kind].dts) return "wait";
  }
  return "continue";
}

/**
 * The timestamp offset in seconds for what follows. It stays as it is when `pts` continues the buffer, or leaves a gap
 * that the pace skips; a time line that went back or far ahead is put right behind what is buffered.
 * @param {{end: number|null, pts: number, offset: number}} facts `end`: of the last frame appended, without offset
 */
export function place({ end, pts, offset }) {
  if (end === null) return offset;
  const step = pts - end;
  return step >= -OVERLAP_S && step <= MAX_GAP_S ? offset : offset + end - pts;
}

/** End in seconds of the newest frame of `marks`, null if there is none. */
export function endOf(marks) {
  const ends = Object.values(marks).map((sample) => sample.pts + sample.duration);
  return ends.length ? Math.max(...ends) : null;
}

/**
 * Where to cut the old end of the buffer off: a key frame at least `keepS` behind the playhead, null for none. SourceBuffer.remove
 * takes away everything up to the next key frame, so that any other place could take the picture from under the playhead.
 */
export function trimTo(keys, position, keepS) {
  const old = keys.filter((key) => key <= position - keepS);
  return old.length ? old[old.length - 1] : null;
}

function isAfterHole(sample, mark) {
  return sample.dts > mark.dts + Math.max(mark.duration, sample.duration, 0.02) * 1.5;
}
