// One viewing of one stream by the browser's own HLS: where there are no Media Source Extensions, or they don't take the codecs.

import { Viewing } from "./viewing.js";

/** Longer than a publisher's grace. */
const STUCK_MS = 15000;
const ASK_MS = 8000;
/** Browsers call a playlist that is short so far, or a request that was cut, unsupported too: it counts once they say so again and again. */
const REFUSALS = 4;

export class NativeSession extends Viewing {
  #refusals = 0;

  constructor(url, screen, onstate) {
    super(url, screen, onstate, STUCK_MS);
    this.qualities = []; // the browser chooses, and does not say what
    this.quality = this.shownQuality = -1;
    this.edgeLatencyMs = null;
    this.open();
  }

  bitrate() {
    return 0; // browsers don't tell
  }

  /** By EXT-X-PROGRAM-DATE-TIME, which Safari alone tells; null elsewhere. */
  latency(position, wallMs) {
    const began = this.reel?.video.getStartDate?.().getTime();
    return Number.isFinite(began) ? wallMs - began - position * 1000 : null;
  }

  get livePosition() {
    return this.seekable.at(-1)?.[1] ?? null;
  }

  fed() {
    return true;
  }

  leave() {}

  steer() {}

  /** The element hides the status of its requests: the playlist is asked for first. */
  async open() {
    let status = 0;
    try {
      ({ status } = await fetch(this.url, { method: "HEAD", signal: AbortSignal.timeout(ASK_MS) }));
    } catch {
      // No answer, or another origin that does not let scripts read it.
    }
    if (this.stopped) return;
    if (status !== 200) return this.refused(status);
    const reel = this.begin(() => {});
    const { video } = reel;
    const on = (event, act) => video.addEventListener(event, () => this.reel === reel && !this.stopped && act());
    on("loadeddata", () => (Number.isFinite(video.duration) ? this.again("ended") : this.#begun())); // finite: it does not grow
    on("ended", () => this.again("ended"));
    on("error", () => this.#fail(video.error));
    video.src = this.url.href;
  }

  #begun() {
    this.#refusals = 0;
    this.greet();
  }

  #fail(error) {
    console.warn("headwater: the browser gives up", error?.message);
    if (error?.code === MediaError.MEDIA_ERR_SRC_NOT_SUPPORTED) this.#refusals += 1;
    if (this.#refusals >= REFUSALS) {
      this.stop();
      this.set("unsupported", "this stream by HLS");
    } else {
      this.again("reconnecting");
    }
  }
}
