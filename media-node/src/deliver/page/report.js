// What an embedding page is told. `changes` is pure; `Reporter` posts it to the page around this one, and to nobody else.

const LATENCY_EVERY_MS = 1000;

/**
 * Events that lead from `before` to `now`; both are {state, protocol, why, quality, latencyMs, message, toldAt}.
 * @returns {{type: string, detail: object}[]}
 */
export function changes(before, now) {
  const events = [];
  const add = (name, detail = {}) => events.push({ type: `headwater:${name}`, detail });
  if (now.protocol !== before.protocol || now.why !== before.why) add("protocol", { protocol: now.protocol, why: now.why });
  if (now.state !== before.state) {
    if (now.state === "playing") add("playing");
    else if (now.state === "ended") add("ended");
    else if (now.state === "unsupported" || now.state === "waiting") add("error", { reason: now.state, message: now.message });
    else if (before.state === "playing" && now.state !== "paused") add("stalled");
    if (now.state === "reconnecting") add("error", { reason: "reconnecting", message: now.message });
  }
  if (now.quality !== before.quality) add("quality", { quality: now.quality });
  if (now.toldAt !== before.toldAt && now.latencyMs !== null) add("latency", { latencyMs: now.latencyMs });
  return events;
}

export class Reporter {
  #origin;
  #last = { state: "idle", protocol: null, why: "", quality: "", latencyMs: null, message: "", toldAt: 0 };

  /** @param {string|null} origin of the page around this one, which says so itself; without it nothing is posted */
  constructor(origin) {
    this.#origin = window.parent !== window && origin !== null && isOrigin(origin) ? origin : null;
  }

  tell(nowMs, facts) {
    if (this.#origin === null) return;
    const due = nowMs - this.#last.toldAt >= LATENCY_EVERY_MS;
    const now = { ...facts, toldAt: due ? nowMs : this.#last.toldAt };
    for (const event of changes(this.#last, now)) {
      window.parent.postMessage({ source: "headwater", ...event }, this.#origin);
    }
    this.#last = now;
  }
}

/** True if `text` is an origin and no more than that: what `postMessage` compares with. */
function isOrigin(text) {
  return URL.canParse(text) && new URL(text).origin === text;
}
