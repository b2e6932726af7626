// How fast to play and when to jump. Pure: facts in, verdict and next memory out; the caller acts.
//
// What is steered is the margin: the least that is buffered ahead of the playhead just before more arrives. It is taken from
// the worst lead (newest buffered time minus clock time) of the last seconds, which does not depend on the playhead: changes of
// speed show at once, and arrival jitter is covered by itself. Inside a dead band the rate is exactly 1.

export const LIMITS = Object.freeze({
  baseTargetMs: 150, // margin; what is buffered is on average this plus half of the arrival jitter
  maxTargetMs: 1000,
  raise: 1.5, // after a stall
  outageMs: 1500, // a longer stall is an outage: more buffer would not have helped
  decayMs: 45000, // time constant of the way back to the base
  fastBandMs: 50,
  slowBandMs: 60,
  settledMs: 8,
  maxRate: 1.1,
  dryRate: 0.97,
  seekBehindMs: 3000,
  seekBehindBrokenMs: 500, // at start, after a stall, on return to the page: the picture jumps anyway
  betweenSeeksMs: 2000,
  betweenSeeksBrokenMs: 600,
  startUpMs: 1500,
  windowMs: 4000,
  slotMs: 250,
  lookMs: 200,
  risingMs: 80,
});

/** @typedef {{baseMs: number, targetMs: number, steering: "no"|"fast"|"slow", slots: {at: number, lead: number}[], seekAt: number, seekCostMs: number, jumping: boolean, look: {at: number, lead: number}, rising: boolean, startedAt: number, brokenAt: number, at: number}} Pace */

/** Memory of a player that has shown nothing yet; `baseMs` is the margin of calm weather. @returns {Pace} */
export function newPace(baseMs = LIMITS.baseTargetMs) {
  return {
    baseMs,
    targetMs: baseMs,
    steering: "no",
    slots: [],
    look: { at: -Infinity, lead: Infinity },
    rising: false,
    seekAt: -Infinity,
    seekCostMs: 0,
    jumping: false,
    startedAt: -1,
    brokenAt: -Infinity,
    at: -1,
  };
}

/**
 * @param {Pace} before
 * @param {object} facts
 * @param {number} facts.nowMs monotonic clock
 * @param {number} facts.position playhead, seconds
 * @param {[number, number][]} facts.ranges buffered, seconds, in order
 * @param {boolean} facts.started a frame has been decoded
 * @param {boolean} facts.seeking a seek is under way
 * @param {number} facts.stalledMs how long the playhead has stood still, 0 if it moves
 * @param {number} facts.stallEndedMs length of a stall that has just ended, else 0
 * @param {boolean} facts.returned the page has just become visible
 * @returns {{pace: Pace, rate: number, seekTo: number|null, why: string, marginMs: number}}
 */
export function decide(before, facts) {
  const { nowMs, position, ranges } = facts;
  const pace = { ...before, at: nowMs };
  const verdict = (rate, seekTo, why, marginMs = 0) => ({ pace, rate, seekTo, why, marginMs });
  if (!ranges.length) return verdict(1, null, "empty");
  const newest = ranges[ranges.length - 1];

  if (!facts.started) {
    const inside = position >= newest[0] && position <= newest[1];
    return verdict(1, inside || facts.seeking ? null : newest[0] + 0.001, "start"); // inside, whatever the rounding
  }
  if (pace.startedAt < 0) pace.startedAt = nowMs;
  retarget(pace, before, facts);
  const broken = nowMs - pace.brokenAt < LIMITS.startUpMs || nowMs - pace.startedAt < LIMITS.startUpMs;
  observe(pace, nowMs, newest[1], broken);

  const gap = overGap(pace, facts);
  if (gap !== null) return verdict(1, jump(pace, nowMs, gap), "gap");
  if (facts.seeking) return verdict(1, null, "seeking");
  if (pace.jumping) Object.assign(pace, { jumping: false, seekCostMs: nowMs - pace.seekAt, seekAt: nowMs });

  const lead = Math.min(...pace.slots.map((slot) => slot.lead));
  const marginMs = lead + nowMs - position * 1000;
  const excessMs = marginMs - pace.targetMs;
  const seekAboveMs = broken ? LIMITS.seekBehindBrokenMs : LIMITS.seekBehindMs;
  const betweenMs = broken ? LIMITS.betweenSeeksBrokenMs : LIMITS.betweenSeeksMs;
  // A jump decodes from the key frame before it: where that has taken long, a small gain is not worth another.
  const live = position + excessMs / 1000;
  const due = excessMs > Math.max(seekAboveMs, 2 * pace.seekCostMs) && live >= newest[0] && !(broken && pace.rising);
  if (due && nowMs - pace.seekAt > betweenMs) return verdict(1, jump(pace, nowMs, live), "behind", marginMs);
  if (facts.stalledMs > 0) return verdict(1, null, "stalled", marginMs);
  return verdict(steer(pace, excessMs), null, pace.steering, marginMs);
}

/**
 * The rate for a margin that is `excessMs` over the target, with hysteresis so that small errors are left alone: what is small
 * grows with the margin of calm weather, as media that come in larger pieces come less evenly.
 */
function steer(pace, excessMs) {
  const scale = pace.baseMs / LIMITS.baseTargetMs;
  if (excessMs > LIMITS.fastBandMs * scale || (pace.steering === "fast" && excessMs > LIMITS.settledMs)) {
    pace.steering = "fast";
    const rate = Math.min(LIMITS.maxRate, 1.02 + excessMs / 3000);
    return Math.round(rate * 100) / 100;
  }
  if (excessMs < -LIMITS.slowBandMs * scale || (pace.steering === "slow" && excessMs < -LIMITS.settledMs)) {
    pace.steering = "slow";
    return LIMITS.dryRate;
  }
  pace.steering = "no";
  return 1;
}

function retarget(pace, before, { nowMs, stallEndedMs, returned }) {
  if (before.at >= 0) {
    const left = Math.exp(-(nowMs - before.at) / LIMITS.decayMs);
    pace.targetMs = pace.baseMs + (pace.targetMs - pace.baseMs) * left;
  }
  if (stallEndedMs > 0) {
    // Leads from before and during the stall say nothing about what comes now.
    pace.slots = [];
    pace.brokenAt = nowMs;
    if (stallEndedMs < LIMITS.outageMs) pace.targetMs = Math.min(LIMITS.maxTargetMs, pace.targetMs * LIMITS.raise);
  }
  if (returned) {
    pace.slots = [];
    pace.brokenAt = nowMs;
  }
}

/** Keeps the least lead of each slot of the window: at most windowMs / slotMs + 1 of them. */
function observe(pace, nowMs, end, broken) {
  const lead = end * 1000 - nowMs;
  if (nowMs - pace.look.at >= LIMITS.lookMs) {
    pace.rising = lead - pace.look.lead > LIMITS.risingMs;
    pace.look = { at: nowMs, lead };
  }
  if (broken && pace.rising) {
    // A backlog that is still coming in: the leads so far mean nothing, and one jump at its end is enough.
    pace.brokenAt = nowMs;
    pace.slots = [];
  }
  const at = Math.floor(nowMs / LIMITS.slotMs) * LIMITS.slotMs;
  const slots = pace.slots.filter((slot) => slot.at > nowMs - LIMITS.windowMs);
  const open = slots[slots.length - 1];
  if (open && open.at === at) slots[slots.length - 1] = { at, lead: Math.min(open.lead, lead) };
  else slots.push({ at, lead });
  pace.slots = slots;
}

/** Where to go on when the playhead has come to the end of its range and the next holds enough, else null. */
function overGap(pace, { position, ranges, stalledMs, seeking }) {
  if (seeking && stalledMs < 1000) return null;
  const next = ranges.find(([start]) => start > position + 0.001);
  if (!next) return null;
  const here = ranges.find(([start, end]) => position >= start && position <= end);
  if (here && here[1] - position > 0.06 && stalledMs < 500) return null;
  const enough = Math.min(pace.targetMs, 200) / 1000;
  if (next[1] - next[0] < enough && stalledMs < 1000) return null;
  const newest = ranges[ranges.length - 1];
  return Math.max(next[0] + 0.001, newest[0] + 0.001, newest[1] - pace.targetMs / 1000 - 0.1);
}

function jump(pace, nowMs, to) {
  pace.seekAt = nowMs;
  pace.jumping = true;
  pace.steering = "no";
  return to;
}
