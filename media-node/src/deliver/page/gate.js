// A change of quality without a gap: from a key frame on the old stream's frames are held back until the new one has brought the key
// frame of the same time, as the members of a group have it (RFC 8216bis section 6.2.4). Pure: the time is passed in.

const SAME_FRAME_S = 0.005;
/** Longer than members are apart, shorter than what is buffered. */
const HOLD_MS = 250;
/** Key frames that are not the same ones by then never will be. */
const GIVE_UP_MS = 6000;

export class Gate {
  #since;
  #shut = null; // {dts, at}: held since `at`, from the key frame at `dts` on
  #kept = [];

  /** @param {number} nowMs */
  constructor(nowMs) {
    this.#since = nowMs;
  }

  /**
   * What to do with the old stream's next fragment: those before it that are shown after all, and whether this one is kept too.
   * @param {{samples: import("./boxes.js").Sample[]}} fragment
   */
  pass(fragment, nowMs) {
    const [lead] = fragment.samples;
    let shown = [];
    if (this.#shut && nowMs - this.#shut.at > HOLD_MS) shown = this.open();
    if (!this.#shut && lead?.kind === "video" && lead.key) this.#shut = { dts: lead.dts, at: nowMs };
    if (this.#shut) this.#kept.push(fragment);
    return { shown, kept: this.#shut !== null };
  }

  /** Lets what is held back go. */
  open() {
    const kept = this.#kept;
    this.#kept = [];
    this.#shut = null;
    return kept;
  }

  /** Where in `held`, the new stream's fragments, one can go over now: an index, −1 for not yet. */
  place(held) {
    if (!this.#shut) return -1;
    const { dts } = this.#shut;
    return held.findIndex(({ samples }) => samples?.some((sample) => sample.kind === "video" && sample.key && Math.abs(sample.dts - dts) <= SAME_FRAME_S));
  }

  /** True once it is of no use to wait any longer. */
  late(nowMs) {
    return nowMs - this.#since > GIVE_UP_MS;
  }
}
