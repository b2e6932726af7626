// A change of quality without a gap: from a key frame on the old stream's frames are held back until the new one has brought the key
// frame of the same time, as the members of a group have it (RFC 8216bis section 6.2.4). Pure: the time is passed in.

import { isNew } from "./splice.js";

const SAME_FRAME_S = 0.005;
/** Longer than members are apart, shorter than what is buffered. */
const HOLD_MS = 250;
/** Key frames that are not the same ones by then never will be. */
const GIVE_UP_MS = 6000;
/** A change that has not come about by then never will. */
const OVER_MS = 12000;
/** How often it is looked whether one of these has come, whatever frames do. */
export const LOOK_MS = 100;

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
    const shown = this.overdue(nowMs) ? this.open() : [];
    if (!this.#shut && !this.late(nowMs) && lead?.kind === "video" && lead.key) this.#shut = { dts: lead.dts, at: nowMs };
    if (this.#shut) this.#kept.push(fragment);
    return { shown, kept: this.#shut !== null };
  }

  /** True if it must be shown after all, also where nothing follows. */
  overdue(nowMs) {
    return this.#shut !== null && (this.late(nowMs) || nowMs - this.#shut.at > HOLD_MS);
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

  /**
   * The same whatever the streams are: once no key frame of both can be hoped for, at the newest one that there is, and at once where
   * one of the two has no pictures.
   * @param {import("./line.js").Line} line the new stream's @param {import("./splice.js").Marks} marks of the old one
   */
  begin({ held, key, pictures }, marks, nowMs) {
    const at = this.place(held);
    if (at >= 0 || !key) return at;
    if (this.late(nowMs)) return key.index;
    return (!pictures || !marks.video) && isNew(key.sample, marks) ? key.index : -1;
  }

  /** True once it is of no use to wait any longer. */
  late(nowMs) {
    return nowMs - this.#since > GIVE_UP_MS;
  }

  /** True once the change is given up. */
  over(nowMs) {
    return nowMs - this.#since > OVER_MS;
  }
}
