// Which frames go in, when a move is complete, where a new time line is put.

import { endOf, handover, isNew, place, trimTo } from "/play/splice.js";
import { moveDelay, reconnectDelay } from "/play/retry.js";
import { equal, near, ok, test } from "./check.js";

const video = (dts, key = false) => ({ kind: "video", dts, pts: dts, duration: 0.04, key });
const audio = (dts) => ({ kind: "audio", dts, pts: dts, duration: 0.021, key: true });
const waiting = { sameProgram: true, sameEpoch: true, key: null, pictures: true, oldAlive: true, waitedMs: 0 };

test("a frame that another connection has brought is not new, the one after it is", () => {
  const marks = { video: video(10), audio: audio(10.01) };
  equal([9.96, 10, 10.002, 10.04].map((dts) => isNew(video(dts), marks)), [false, false, false, true]);
  equal(isNew(audio(10.031), marks), true);
  equal(isNew(audio(5), { video: video(10) }), true, "the first of its kind");
});

test("a move waits while the new connection is behind", () => {
  const marks = { video: video(10), audio: audio(10) };
  const first = { video: video(8, true), audio: audio(8) };
  equal(handover({ ...waiting, marks, first, last: { video: video(9.96), audio: audio(10.1) } }), "wait");
  equal(handover({ ...waiting, marks, first, last: { video: video(10), audio: audio(9.9) } }), "wait");
  equal(handover({ ...waiting, marks, first, last: { video: video(10), audio: audio(10) } }), "continue");
});

test("a move waits for the old connection to fill the hole before the new one's key frame", () => {
  const last = { video: video(12), audio: audio(12) };
  const first = { video: video(11, true), audio: audio(11) };
  equal(handover({ ...waiting, marks: { video: video(10), audio: audio(10) }, first, last }), "wait");
  equal(handover({ ...waiting, marks: { video: video(10.96), audio: audio(10.99) }, first, last }), "continue");
});

test("a move does not wait for ever, nor for a dead connection", () => {
  const facts = { ...waiting, marks: { video: video(10) }, first: { video: video(20, true) }, last: { video: video(21) } };
  equal(handover({ ...facts, waitedMs: 60_000 }), "continue");
  equal(handover({ ...facts, oldAlive: false }), "continue");
  equal(handover({ ...facts, first: {}, last: {}, waitedMs: 60_000 }), "wait", "without a frame");
});

test("another incarnation is changed to with its first key frame", () => {
  const facts = { ...waiting, sameProgram: false, sameEpoch: false, marks: { video: video(10) } };
  equal(handover({ ...facts, first: { audio: audio(1) }, last: { audio: audio(1) } }), "wait");
  equal(handover({ ...facts, first: { video: video(1, true) }, last: { video: video(1) }, key: video(1, true) }), "change");
});

test("another codec configuration of the same incarnation is changed to at a key frame that is new", () => {
  const facts = { ...waiting, sameProgram: false, marks: { video: video(10) }, first: { video: video(8, true) } };
  equal(handover({ ...facts, last: { video: video(10.04) }, key: video(8, true) }), "wait");
  equal(handover({ ...facts, last: { video: video(10.04) }, key: video(10.04, true) }), "change");
});

test("a stream that has only sound can move", () => {
  equal(handover({ ...waiting, marks: { audio: audio(10) }, first: { audio: audio(9) }, last: { audio: audio(10) } }), "continue");
});

test("a stream without pictures does not wait for any", () => {
  const facts = { ...waiting, pictures: false, sameProgram: false, marks: { video: video(10), audio: audio(10) }, first: { audio: audio(9) } };
  equal(handover({ ...facts, last: { audio: audio(10) }, key: audio(10) }), "wait");
  equal(handover({ ...facts, last: { audio: audio(10.03) }, key: audio(10.03) }), "change");
});

test("a time line that goes back or far ahead is put behind what is buffered", () => {
  equal(place({ end: null, pts: 36000, offset: 0 }), 0, "first of all");
  equal(place({ end: 100, pts: 100, offset: 0 }), 0, "goes on");
  equal(place({ end: 100, pts: 108, offset: 2 }), 2, "a publisher's blip");
  equal(place({ end: 100, pts: 3, offset: 0 }) + 3, 100, "back");
  equal(place({ end: 100, pts: 9000, offset: 5 }) + 9000, 105, "far ahead, with an offset in force");
});

test("the end is that of the track that goes furthest", () => {
  near(endOf({ video: video(10), audio: audio(10.1) }), 10.121, 1e-9);
  equal(endOf({}), null);
});

test("the buffer is cut at a key frame only, and never near the playhead", () => {
  equal(trimTo([1, 3, 5, 7], 16, 10), 5);
  equal(trimTo([7, 9], 16, 10), null);
  equal(trimTo([], 16, 10), null);
});

test("reconnects back off from 0.25 s to 2 s, spread by chance", () => {
  for (const random of [0, 0.5, 1]) {
    for (let attempt = 0; attempt < 40; attempt++) {
      const delay = reconnectDelay(attempt, random);
      ok(delay >= 250 && delay <= 2000, `attempt ${attempt}: ${delay}`);
    }
  }
  ok(reconnectDelay(9, 0) < reconnectDelay(9, 1), "no spread");
});

test("a move is given up after two minutes, until it is asked for again", () => {
  ok(moveDelay(30, 100_000, 1) <= 8000, "too long");
  equal(moveDelay(3, 121_000, 0.5), null);
});
