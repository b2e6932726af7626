// Measures what is on screen twenty times a second, asks the pace what to do, and does it.

import { decide, newPace } from "./pace.js";

const TICK_MS = 50;
const STILL_MS = 200;
const SLOW_SEEK_MS = 1000; // a jump that takes longer waits for media too

export class Playback {
  #screen;
  #sink = null;
  #pace = newPace();
  #position = -1;
  #movedAt = 0;
  #stall = false;
  #returned = false;
  #free = false;
  #end;

  /** @param {import("./screen.js").Screen} screen @param {() => number|null} end up to where media have come @param {(nowMs: number) => void} ontick */
  constructor(screen, end, ontick) {
    this.#screen = screen;
    this.#end = end;
    this.started = false;
    this.stalls = 0;
    this.seeks = 0;
    this.rate = 1;
    this.bufferMs = 0;
    this.why = "empty";
    setInterval(() => {
      const nowMs = performance.now();
      this.#tick(nowMs);
      ontick(nowMs);
    }, TICK_MS);
    document.addEventListener("visibilitychange", () => {
      this.#returned ||= !document.hidden;
    });
  }

  /** The playhead stands still although it should not. */
  get stalled() {
    return this.#stall;
  }

  /** Margin steered to, in ms. */
  get targetMs() {
    return this.#pace.targetMs;
  }

  #tick(nowMs) {
    const { sink } = this.#screen;
    if (sink !== this.#sink) this.#begin(sink, nowMs);
    if (!sink || sink.video.paused) {
      this.#movedAt = nowMs;
      return;
    }
    const { video } = sink;
    const ranges = clipped(sink.ranges, this.#end());
    const position = video.currentTime;
    this.started ||= video.readyState >= 2;
    const stallEndedMs = this.#watch(position, video.seeking, nowMs);

    const facts = {
      nowMs,
      position,
      ranges,
      started: this.started,
      seeking: video.seeking,
      stalledMs: this.#stall ? nowMs - this.#movedAt : 0,
      stallEndedMs,
      returned: this.#returned,
    };
    this.#returned = false;
    const verdict = this.#judge(sink.marginMs, facts);
    this.#pace = verdict.pace;
    this.why = verdict.why;
    this.bufferMs = bufferAhead(ranges, position);
    if (verdict.seekTo !== null) {
      if (this.started) this.seeks += 1;
      video.currentTime = verdict.seekTo;
    }
    if (this.rate !== verdict.rate || video.playbackRate !== verdict.rate) {
      this.rate = verdict.rate;
      video.playbackRate = verdict.rate;
    }
  }

  /** Without a margin nobody steers: the browser does, or the viewer has gone back in time. */
  #judge(marginMs, facts) {
    if (marginMs === null) {
      this.#free = true;
      return { pace: this.#pace, rate: 1, seekTo: null, why: "free" };
    }
    if (marginMs !== this.#pace.baseMs) {
      this.#pace = { ...this.#pace, baseMs: marginMs, targetMs: Math.max(marginMs, this.#pace.targetMs) };
    }
    const returned = facts.returned || this.#free;
    this.#free = false;
    return decide(this.#pace, { ...facts, returned });
  }

  #begin(sink, nowMs) {
    this.#sink = sink;
    this.#free = false;
    this.#pace = { ...newPace(), baseMs: this.#pace.baseMs, targetMs: this.#pace.targetMs };
    this.started = false;
    this.#stall = false;
    this.#position = -1;
    this.#movedAt = nowMs;
    this.rate = 1;
    this.bufferMs = 0;
  }

  /** Notes stalls; returns the length of one that has just ended, else 0. */
  #watch(position, seeking, nowMs) {
    if (position !== this.#position || !this.started) {
      const lengthMs = this.#stall ? nowMs - this.#movedAt : 0;
      this.#position = position;
      this.#movedAt = nowMs;
      this.#stall = false;
      return lengthMs;
    }
    if (!this.#stall && nowMs - this.#movedAt > (seeking ? SLOW_SEEK_MS : STILL_MS)) {
      this.#stall = true;
      this.stalls += 1;
    }
    return 0;
  }
}

function bufferAhead(ranges, position) {
  const here = ranges.find(([start, end]) => position >= start - 0.1 && position <= end);
  return here ? Math.round((here[1] - position) * 1000) : 0;
}

/** The ranges without what lies past `end`: the browser counts the claimed length of the last frame. */
function clipped(ranges, end) {
  if (end === null) return ranges;
  return ranges.filter(([start]) => start < end).map(([start, last]) => [start, Math.min(last, end)]);
}
