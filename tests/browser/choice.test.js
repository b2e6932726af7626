// By which protocol a stream is played.

import { PROTOCOLS, choose } from "/play/choice.js";
import { meaning } from "/play/refusal.js";
import { equal, ok, test } from "./check.js";

const desktop = { asked: null, mse: true, managed: false, native: false, playable: null, blocked: false, several: false };
const takes = (facts) => choose({ ...desktop, ...facts }).protocol;
const why = (facts) => choose({ ...desktop, ...facts }).why;

test("where there are Media Source Extensions, frames come over a WebSocket", () => {
  equal(takes({}), "ws");
  equal(takes({ native: true }), "ws", "Safari on a Mac");
  equal(takes({ playable: true }), "ws");
  equal(takes({ mse: false, managed: true, native: true }), "ws", "an iPhone of today");
  ok(why({ mse: false, managed: true }).includes("ManagedMediaSource"), "it says so");
});

test("a device without them plays HLS by itself", () => {
  equal(takes({ mse: false, native: true }), "native");
  ok(why({ mse: false, native: true }).includes("no Media Source Extensions"), "it says so");
});

test("hls.js plays where WebSockets are blocked, and sets of qualities", () => {
  equal(takes({ blocked: true }), "hls");
  ok(why({ blocked: true }).includes("blocked"), "it says so");
  equal(takes({ several: true }), "hls");
  equal(takes({ several: true, mse: false, managed: true }), "hls");
  equal(takes({ several: true, mse: false, native: true }), "native");
});

test("codecs that Media Source Extensions don't take are left to the browser, if it plays HLS", () => {
  equal(takes({ playable: false, native: true }), "native");
  const none = choose({ ...desktop, playable: false });
  equal([none.protocol, none.why], [null, "This browser can't play the stream's codecs."]);
});

test("a browser that can play nothing is told so", () => {
  const none = choose({ ...desktop, mse: false });
  equal(none.protocol, null);
  ok(none.why.includes("neither Media Source Extensions nor HLS"), none.why);
});

test("?protocol= is obeyed, whatever would be chosen", () => {
  for (const asked of Object.keys(PROTOCOLS)) {
    equal(choose({ ...desktop, native: true, asked }), { protocol: asked, why: "asked for by the address", automatic: false });
  }
  equal(takes({ asked: "ws", blocked: true, several: true }), "ws");
});

test("?protocol= that is unknown or can't be had is an error that says what is allowed", () => {
  for (const asked of ["dash", "", "WS", "toString"]) {
    equal(takes({ asked }), null, asked);
    ok(why({ asked }).includes("ws, hls or native"), why({ asked }));
  }
  equal([takes({ asked: "native" }), takes({ asked: "ws", mse: false }), takes({ asked: "hls", mse: false })], [null, null, null]);
  ok(why({ asked: "native" }).includes("plays no HLS"), "it says why");
});

test("a stream that is refused is waited for, and WebSockets that fail although it is there are blocked", () => {
  equal([404, 503, 0, 500].map((status) => meaning(status, "connecting", 0).join(" ").trim()), ["waiting", "reconnecting busy", "reconnecting unreachable", "reconnecting"]);
  equal([404, 503].map((status) => meaning(status, "ended", 0)[0]), ["ended", "ended"]);
  equal([1, 2].map((shut) => meaning(200, "reconnecting", shut)[1]), ["", "shut"]);
});
