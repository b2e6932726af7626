// When what is shown was taken in at the origin, by the clocks that come with the frames. Pure.

const MAX = 64;

export class Anchors {
  #known = [];

  /** What is seen at `at` (seconds) was taken in at `wallMs`. */
  add(at, wallMs) {
    this.#known.push({ at, wallMs });
    if (this.#known.length > MAX) this.#known.shift();
  }

  /** How far what is seen at `position` (seconds) lags the origin, in ms; null without a clock. */
  latency(position, wallMs) {
    const past = this.#known.filter((anchor) => anchor.at <= position + 0.5);
    const anchor = past[past.length - 1] ?? this.#known[0];
    return anchor ? wallMs - anchor.wallMs - (position - anchor.at) * 1000 : null;
  }
}
