// What an embedding page is told.

import { changes } from "/play/report.js";
import { equal, test } from "./check.js";

const calm = { state: "playing", protocol: "ws", why: "w", quality: "480p", latencyMs: 300, message: "", toldAt: 1 };
const told = (before, now) => changes({ ...calm, ...before }, { ...calm, ...now }).map(({ type, detail }) => [type, detail]);

test("nothing new is nothing told", () => {
  equal(told({}, { latencyMs: 310 }), []);
});

test("beginning, standing still, going on and ending are told once each", () => {
  equal(told({ state: "connecting" }, {}), [["headwater:playing", {}]]);
  equal(told({}, { state: "buffering" }), [["headwater:stalled", {}]]);
  equal(told({ state: "buffering" }, {}), [["headwater:playing", {}]]);
  equal(told({}, { state: "ended" }), [["headwater:ended", {}]]);
  equal(told({}, { state: "paused" }), [], "the viewer's own doing");
  equal(told({ state: "connecting" }, { state: "buffering" }), [], "nothing has played");
});

test("a lost connection is a stall and an error with its words", () => {
  equal(told({}, { state: "reconnecting", message: "gone" }), [
    ["headwater:stalled", {}],
    ["headwater:error", { reason: "reconnecting", message: "gone" }],
  ]);
  equal(told({ state: "connecting" }, { state: "unsupported", message: "no" }), [["headwater:error", { reason: "unsupported", message: "no" }]]);
});

test("protocol and quality are told with what they are, latency when it is due", () => {
  equal(told({}, { protocol: "hls", why: "blocked" }), [["headwater:protocol", { protocol: "hls", why: "blocked" }]]);
  equal(told({}, { quality: "720p" }), [["headwater:quality", { quality: "720p" }]]);
  equal(told({}, { toldAt: 2 }), [["headwater:latency", { latencyMs: 300 }]]);
  equal(told({}, { toldAt: 2, latencyMs: null }), []);
});
