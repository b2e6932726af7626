// A move that is under way, to another node or to another quality: its tries, and how long it may take.

import { Gate, LOOK_MS } from "./gate.js";
import { moveDelay } from "./retry.js";

export class Move {
  #since = performance.now();
  #attempt = 0;
  #timer = 0;
  #looking = 0;

  /** @param {URL} url of the new stream @param {number|null} quality its id, null for the same one @param {(nowMs: number) => void} look */
  constructor(url, quality, look) {
    this.url = url;
    this.quality = quality;
    this.gate = null;
    if (quality === null) return;
    this.gate = new Gate(this.#since);
    this.#looking = setInterval(() => look(performance.now()), LOOK_MS);
  }

  /** Does it after a while; false if it is given up. */
  again(act) {
    const delay = moveDelay(this.#attempt++, performance.now() - this.#since, Math.random());
    if (delay === null) return false;
    clearTimeout(this.#timer);
    this.#timer = setTimeout(act, delay);
    return true;
  }

  stop() {
    clearTimeout(this.#timer);
    clearInterval(this.#looking);
  }
}
