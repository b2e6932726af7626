// What both kinds of HLS sessions have in common: states, further tries, a playhead that is stuck, the viewer's place in time.

import { Reel } from "./reel.js";
import { reconnectDelay } from "./retry.js";

const LOOK_MS = 500;
/** Once no more will come, a playhead that stands still for this long has come to the end. */
const OVER_MS = 700;

export class Viewing {
  #onstate;
  #attempt = 0;
  #timer = 0;
  #look;
  #greeted = false;
  #position = -1;
  #movedAt = 0;

  /**
   * @param {URL} url of the multivariant playlist @param {import("./screen.js").Screen} screen @param {() => void} onstate
   * @param {number} stuckMs without a step of the playhead for this long, it is made anew
   */
  constructor(url, screen, onstate, stuckMs) {
    this.url = url;
    this.screen = screen;
    this.#onstate = onstate;
    this.state = "connecting";
    this.detail = "";
    this.moves = 0;
    this.reconnects = 0;
    this.node = ""; // any edge answers any request
    this.epoch = null;
    this.end = null;
    this.moving = false;
    this.reel = null;
    this.back = false; // the viewer has gone back in time
    this.over = false; // the playlist says that no more will come
    this.stopped = false;
    this.#look = setInterval(() => this.#watch(stuckMs), LOOK_MS);
  }

  /** Where one can go to, as [start, end] pairs in seconds. */
  get seekable() {
    return this.reel?.seekable ?? [];
  }

  get position() {
    return this.reel?.video.currentTime ?? 0;
  }

  /** Goes back in time: nobody steers until `goLive`. */
  seek(seconds) {
    if (!this.reel) return;
    this.back = true;
    this.steer();
    this.reel.video.currentTime = seconds;
  }

  goLive() {
    this.back = false;
    this.steer();
    const live = this.livePosition;
    if (live) this.reel.video.currentTime = live;
  }

  /** Ends it for good; the screen keeps its last picture. */
  stop() {
    this.stopped = true;
    clearTimeout(this.#timer);
    clearInterval(this.#look);
  }

  set(state, detail = "") {
    if (this.state === state && this.detail === detail) return;
    this.state = state;
    this.detail = detail;
    this.#onstate();
  }

  changed() {
    this.#onstate();
  }

  /** A new element on the screen, fed by whom `open` sets up. */
  begin(onclose) {
    this.back = this.over = false;
    this.#movedAt = performance.now();
    this.reel = this.screen.rebuild((video) => new Reel(video, onclose));
    return this.reel;
  }

  /** The stream answers; whether pictures come is seen at the buffer. */
  greet() {
    if (this.state === "playing") return;
    if (this.#greeted) this.reconnects += 1;
    this.#greeted = true;
    this.set("playing");
  }

  /** Makes everything anew after a while; the picture stays until there is another. */
  again(state, detail = "") {
    if (this.stopped) return;
    this.leave();
    this.reel = null;
    this.set(state, detail);
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.open(), reconnectDelay(this.#attempt++, Math.random()));
  }

  /** The state of a stream that was refused with `status`, 0 without an answer. */
  refused(status) {
    if (status === 404) this.again(this.state === "ended" ? "ended" : "waiting");
    else this.again("reconnecting", status === 503 ? "busy" : status ? "" : "unreachable");
  }

  #watch(stuckMs) {
    const video = this.reel?.video;
    if (!video) return;
    const now = performance.now();
    if (video.currentTime !== this.#position || video.paused || this.state !== "playing") {
      if (video.currentTime !== this.#position && this.state === "playing") this.#attempt = 0;
      this.#position = video.currentTime;
      this.#movedAt = now;
    } else if (this.over) {
      if (now - this.#movedAt > OVER_MS) this.again("ended");
    } else if (now - this.#movedAt > stuckMs && this.fed(now)) {
      console.warn("headwater: nothing is shown although media come; made anew");
      this.again("reconnecting");
    }
  }
}
