// The pace against a simulated player: frames that arrive with jitter, a playhead that moves at the rate that was decided.

import { LIMITS, decide, newPace } from "/play/pace.js";
import { equal, near, ok, test } from "./check.js";

const TICK_MS = 50;

/** A player fed from a live source. `arrival(mediaMs)` is the clock time at which media up to mediaMs is here. */
class Simulation {
  constructor({ startBehindMs = 1000, jitterMs = 0, seed = 1 } = {}) {
    this.nowMs = 0;
    this.bornMs = 3_600_000; // media time at clock time 0
    this.startMs = this.bornMs - startBehindMs;
    this.position = 0;
    this.started = false;
    this.pace = newPace();
    this.jitterMs = jitterMs;
    this.seed = seed;
    this.endMs = this.bornMs;
    this.network = true;
    this.rates = [];
    this.seeks = [];
    this.stalls = 0;
    this.stalledSince = null;
  }

  random() {
    this.seed = (this.seed * 48271) % 2147483647;
    return this.seed / 2147483647;
  }

  tick() {
    this.nowMs += TICK_MS;
    if (this.network) this.endMs = Math.max(this.endMs, this.bornMs + this.nowMs - this.random() * this.jitterMs);
    const end = this.endMs / 1000;
    let stallEndedMs = 0;
    if (this.started) {
      const next = this.position + (TICK_MS / 1000) * this.rate;
      if (next <= end) {
        this.position = next;
        if (this.stalledSince !== null) stallEndedMs = this.nowMs - this.stalledSince;
        this.stalledSince = null;
      } else if (this.stalledSince === null) {
        this.stalledSince = this.nowMs;
        this.stalls += 1;
      }
    }
    const verdict = decide(this.pace, {
      nowMs: this.nowMs,
      position: this.position,
      ranges: [[this.startMs / 1000, end]],
      started: this.started,
      seeking: false,
      stalledMs: this.stalledSince === null ? 0 : this.nowMs - this.stalledSince,
      stallEndedMs,
      returned: false,
    });
    this.pace = verdict.pace;
    this.rate = verdict.rate;
    this.rates.push(verdict.rate);
    if (verdict.seekTo !== null) {
      this.position = verdict.seekTo;
      if (this.started) this.seeks.push(verdict.why);
    }
    this.started ||= this.position >= this.startMs / 1000 && this.nowMs > 200;
    return verdict;
  }

  run(seconds) {
    for (let i = 0; i < (seconds * 1000) / TICK_MS; i++) this.tick();
  }

  get behindMs() {
    return this.bornMs + this.nowMs - this.position * 1000;
  }
}

test("the first move is to the start of what is buffered, not to zero", () => {
  const verdict = decide(newPace(), { nowMs: 0, position: 0, ranges: [[3600, 3601]], started: false, seeking: false, stalledMs: 0, stallEndedMs: 0, returned: false });
  equal([verdict.seekTo, verdict.rate], [3600.001, 1]);
});

test("nothing but the first position is sought before the first decoded frame", () => {
  const verdict = decide(newPace(), { nowMs: 0, position: 3600, ranges: [[3600, 3700]], started: false, seeking: false, stalledMs: 9000, stallEndedMs: 0, returned: true });
  equal([verdict.seekTo, verdict.rate], [null, 1]);
});

test("a steady source is played at exactly 1 once converged", () => {
  for (const startBehindMs of [0, 300, 1000, 2500, 8000]) {
    const player = new Simulation({ startBehindMs, jitterMs: 40 });
    player.run(20);
    const from = player.rates.length;
    const position = player.position;
    player.run(60);
    near((player.position - position) / 60, 1, 0.02, `from ${startBehindMs} ms: rate`);
    near(player.behindMs, 200, 100, `from ${startBehindMs} ms: lag`);
    equal(player.stalls, 0, "stalls");
    const steered = player.rates.slice(from).filter((rate) => rate !== 1).length;
    ok(steered <= 100, `steered for ${steered} of 1200 ticks`);
  }
});

test("a player 2 s behind catches up by rate alone", () => {
  const player = new Simulation({ startBehindMs: 0 });
  player.run(10);
  player.position -= 2;
  player.run(30);
  equal(player.seeks, []);
  near(player.behindMs, 180, 100, "lag");
  ok(Math.max(...player.rates) <= LIMITS.maxRate, "rate over its limit");
});

test("a player far behind jumps once", () => {
  const player = new Simulation({ startBehindMs: 0 });
  player.run(10);
  player.position -= 5;
  player.run(6);
  equal(player.seeks, ["behind"]);
  near(player.behindMs, 200, 120, "lag");
});

test("after a network stop of 5 s the lag is under 1 s within a few seconds, and the target is not raised", () => {
  const player = new Simulation({ startBehindMs: 0, jitterMs: 20 });
  player.run(10);
  player.network = false;
  player.run(5);
  player.network = true;
  player.run(4);
  ok(player.behindMs < 1000, `still ${player.behindMs} ms behind`);
  ok(player.seeks.length <= 2, `jumped ${player.seeks.length} times`);
  near(player.pace.targetMs, LIMITS.baseTargetMs, 1, "target");
});

test("a backlog that trickles in after a stop is jumped over once it is in", () => {
  const player = new Simulation({ startBehindMs: 0 });
  player.run(10);
  player.network = false;
  player.run(5);
  for (let i = 0; i < 20; i++) {
    player.endMs += 300;
    player.tick();
  }
  player.network = true;
  player.run(4);
  ok(player.behindMs < 500, `still ${player.behindMs} ms behind`);
});

test("short stalls raise the target, quiet lets it down again", () => {
  const player = new Simulation({ startBehindMs: 0 });
  player.run(10);
  player.network = false;
  player.run(0.6);
  player.network = true;
  player.run(1);
  const raised = player.pace.targetMs;
  ok(raised > LIMITS.baseTargetMs * 1.4, `raised to ${raised}`);
  player.run(240);
  near(player.pace.targetMs, LIMITS.baseTargetMs, 10, "target");
});

test("jitter is covered without stalls", () => {
  const player = new Simulation({ startBehindMs: 1000, jitterMs: 250 });
  player.run(20);
  const { stalls } = player;
  player.run(120);
  ok(player.stalls - stalls <= 1, `${player.stalls - stalls} stalls`);
  ok(player.behindMs < 700, `${player.behindMs} ms behind`);
});

test("a hole is jumped only once its other side holds enough", () => {
  const facts = { nowMs: 10_000, position: 99.99, started: true, seeking: false, stalledMs: 300, stallEndedMs: 0, returned: false };
  equal(decide(newPace(), { ...facts, ranges: [[90, 100], [104, 104.04]] }).seekTo, null);
  const verdict = decide(newPace(), { ...facts, ranges: [[90, 100], [104, 104.3]] });
  equal(verdict.why, "gap");
  ok(verdict.seekTo > 104 && verdict.seekTo < 104.3, `to ${verdict.seekTo}`);
});

test("what is left before a hole is played first", () => {
  const settled = { ...newPace(), startedAt: 0 };
  const facts = { nowMs: 10_000, position: 99.5, started: true, seeking: false, stalledMs: 0, stallEndedMs: 0, returned: false };
  equal(decide(settled, { ...facts, ranges: [[90, 100], [101, 101.3]] }).seekTo, null);
});

test("memory stays bounded", () => {
  const player = new Simulation({ jitterMs: 100 });
  player.run(600);
  ok(player.pace.slots.length <= LIMITS.windowMs / LIMITS.slotMs + 1, `${player.pace.slots.length} slots`);
});

test("where jumps take long, as in long groups of pictures, a player does not jump again and again", () => {
  const player = { pace: { ...newPace(), startedAt: 0 }, nowMs: 10_000, position: 100 };
  const look = (seeking) => {
    player.nowMs += TICK_MS;
    const verdict = decide(player.pace, {
      nowMs: player.nowMs,
      position: player.position,
      ranges: [[90, 95 + player.nowMs / 1000]],
      started: true,
      seeking,
      stalledMs: 0,
      stallEndedMs: 0,
      returned: false,
    });
    player.pace = verdict.pace;
    return verdict;
  };
  player.position = look(false).seekTo;
  ok(player.position > 104, `jumped to ${player.position}`);
  for (let i = 0; i < 60; i++) equal(look(true).seekTo, null, "while seeking");
  for (let i = 0; i < 60; i++) equal(look(false).seekTo, null, "3 s behind after a jump that took 3 s");
});
