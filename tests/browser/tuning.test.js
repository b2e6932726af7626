// How hls.js is set up, the quality menu, and the way back in time.

import { completes, configuration, isLive, margin, persistently, qualities, shouldRetry, timeline } from "/play/tuning.js";
import { equal, ok, test } from "./check.js";

test("what an edge's death breaks is tried again at once, and for longer than another edge takes", () => {
  for (const policy of ["playlistLoadPolicy", "fragLoadPolicy"]) {
    const { errorRetry, maxTimeToFirstByteMs } = configuration()[policy].default;
    const delays = Array.from({ length: errorRetry.maxNumRetry }, (_, i) => Math.min(errorRetry.maxRetryDelayMs, errorRetry.retryDelayMs * 2 ** i));
    ok(delays[0] <= 50 && delays[1] <= 200, `${policy}: ${delays}`);
    ok(delays.reduce((a, b) => a + b) > 1500, `${policy}: ${delays}`);
    ok(maxTimeToFirstByteMs < 12_000, `${policy}: a dead connection is not waited for as a held request is`);
  }
});

test("a state of a playlist that was asked for by number is asked for again, any state is left to hls.js", () => {
  const config = { timeout: 1, loadPolicy: { maxLoadTimeMs: 2, errorRetry: null } };
  equal(persistently({ deliveryDirectives: null }, config), config);
  const { timeout, loadPolicy } = persistently({ deliveryDirectives: { msn: 7, part: 1 } }, config);
  equal([timeout, loadPolicy.maxLoadTimeMs], [1, 2]);
  ok(loadPolicy.errorRetry.maxNumRetry > 3 && loadPolicy.errorRetry.shouldRetry({ maxNumRetry: 3 }, 0, false, undefined));
  equal(config.loadPolicy.errorRetry, null, "what was given stays as it was");
});

test("broken connections, servers in trouble and nodes that are behind are asked again; what is gone or wrong is not", () => {
  const again = (code, { count = 0, timeout = false } = {}) => shouldRetry({ maxNumRetry: 3 }, count, timeout, { code });
  equal([0, 404, 408, 429, 500, 503].map((code) => again(code)), Array(6).fill(true));
  equal([400, 403, 410].map((code) => again(code)), Array(3).fill(false));
  equal(shouldRetry({ maxNumRetry: 3 }, 0, false, undefined), true, "no answer at all");
  equal(again(200, { timeout: true }), true);
  equal(again(0, { count: 3 }), false, "not for ever");
});

test("a quality is changed where a segment is whole, and at once where there are no parts", () => {
  const parts = [[7, 0], [7, 1], [8, 0]].map(([sn, index]) => ({ index, fragment: { sn } }));
  const details = { partList: parts, endSN: 7 };
  equal(parts.map((part) => completes(part, details)), [false, true, false]);
  equal(completes(null, details), true);
  equal(completes(parts[0], { partList: null, endSN: 7 }), true);
});

test("the margin is PART-HOLD-BACK within bounds; none without parts", () => {
  equal(margin({ partTarget: 0.21, partHoldBack: 0.63 }), 630);
  equal(margin({ partTarget: 0.05, partHoldBack: 0.15 }), 300);
  equal(margin({ partTarget: 1, partHoldBack: 3 }), 1000);
  equal(margin({ partTarget: 0, partHoldBack: 0 }), null);
});

test("the menu has automatic first, then the best", () => {
  const level = (height, bitrate) => ({ height, bitrate });
  equal(qualities([level(480, 8e5)]), []);
  equal(
    qualities([level(480, 8e5), level(1080, 4e6), level(720, 2e6)]).map(({ id, label }) => [id, label]),
    [[-1, "Auto"], [1, "1080p"], [2, "720p"], [0, "480p"]],
  );
  const twins = qualities([level(720, 1.5e6), level(720, 3e6), level(0, 64e3)]).map(({ label }) => label);
  equal(twins, ["Auto", "720p, 3.0\u00a0Mbit/s", "720p, 1.5\u00a0Mbit/s", "64\u00a0kbit/s"]);
});

test("there is a way back where more than a minute can be sought", () => {
  equal(timeline([], 0, false), null);
  equal(timeline([[0, 60]], 59, false), null);
  equal(timeline([[40, 160]], 159, false), { start: 40, end: 160, behindS: 1, live: true });
  equal(timeline([[40, 160]], 60, true), { start: 40, end: 160, behindS: 100, live: false });
  equal(timeline([[40, 160]], 158, true).live, false, "who went back is not live until LIVE is pressed");
  equal(timeline([[40, 160]], 60, false).live, false, "nor one who has fallen behind");
  equal([isLive({ end: 160 }, 157), isLive({ end: 160 }, 100)], [true, false]);
});
