// How long to wait before the next attempt. Pure.

const FIRST_MS = 250;
const LAST_MS = 2000;
const MOVE_LAST_MS = 8000;
const MOVE_GIVE_UP_MS = 120000;

/** Back-off in ms before attempt number `attempt` (0 first) to connect; `random` in 0..1 spreads many players. */
export function reconnectDelay(attempt, random) {
  return jittered(Math.min(LAST_MS, FIRST_MS * 2 ** Math.min(attempt, 8)), random, FIRST_MS);
}

/** Back-off in ms before the next attempt to move; null once it should be left until the server asks again. */
export function moveDelay(attempt, sinceMs, random) {
  if (sinceMs > MOVE_GIVE_UP_MS) return null;
  return jittered(Math.min(MOVE_LAST_MS, 500 * 2 ** Math.min(attempt, 8)), random, FIRST_MS);
}

function jittered(ms, random, floor) {
  return Math.max(floor, ms * (0.5 + random / 2));
}
