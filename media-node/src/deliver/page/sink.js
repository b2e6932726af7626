// A video element with its MediaSource and one SourceBuffer: takes init segments and fragments in order, keeps the buffer short.
// Whatever it cannot do it reports once by `onfail`; whoever owns it then makes a new one.

import { LIMITS } from "./pace.js";
import { trimTo } from "./splice.js";

const KEEP_BEHIND_S = 10;
const TRIM_EVERY_MS = 4000;
const MAX_QUEUE_BYTES = 32 << 20;
const MAX_APPEND_BYTES = 1 << 20;
const MAX_KEYS = 256;

/** The MediaSource of this browser: the plain one where there is one, ManagedMediaSource on iPhones, else undefined. */
export const Source = globalThis.MediaSource ?? globalThis.ManagedMediaSource;

export class Sink {
  #media;
  #buffer = null;
  #queue = [];
  #queuedBytes = 0;
  #mime;
  #keys = [];
  #trimmedAt = 0;
  #skipToKey = false;
  #url;

  /** @param {HTMLVideoElement} video @param {string} mime of the first init segment @param {(why: string) => void} onfail */
  constructor(video, mime, onfail) {
    this.video = video;
    this.droppedAtQueue = 0;
    this.marginMs = LIMITS.baseTargetMs;
    this.#mime = mime;
    this.onfail = onfail;
    this.#media = new Source();
    this.#media.addEventListener("sourceopen", () => this.#opened(mime), { once: true });
    video.disableRemotePlayback = true; // ManagedMediaSource opens only so
    video.addEventListener("error", () => this.#fail(video.error?.message || "the video element failed"), { once: true });
    this.#url = URL.createObjectURL(this.#media);
    video.src = this.#url;
  }

  /** Buffered time as [start, end] pairs in seconds. */
  get ranges() {
    const ranges = [];
    try {
      const { buffered } = this.#buffer ?? { buffered: { length: 0 } };
      for (let i = 0; i < buffered.length; i++) ranges.push([buffered.start(i), buffered.end(i)]);
    } catch {
      // Detached by the browser: there is nothing.
    }
    return ranges;
  }

  /** An init segment; `offset` in seconds is added to all media times after it. */
  takeInit(bytes, mime, offset) {
    this.#push({ run: () => this.#startProgram(mime, offset) });
    this.#push({ bytes, init: true });
  }

  /** A fragment. `pts` in seconds is its presentation time in the buffer if it begins with a video key frame, else null. */
  takeFragment(bytes, keyPts, joinable) {
    if (this.#skipToKey) {
      if (!joinable) {
        this.droppedAtQueue += 1;
        return;
      }
      this.#skipToKey = false;
    }
    if (this.#queuedBytes + bytes.length > MAX_QUEUE_BYTES) {
      // The buffer takes nothing: keep the program changes, drop the pictures, go on at the next key frame.
      this.droppedAtQueue += 1;
      this.#dropPictures();
      return;
    }
    if (keyPts !== null) {
      this.#keys.push(keyPts);
      if (this.#keys.length > MAX_KEYS) this.#keys.shift();
    }
    this.#push({ bytes });
  }

  /** Lets go of everything. The element keeps no picture after it. */
  close() {
    this.onfail = null;
    this.#queue = [];
    this.video.removeAttribute("src");
    this.video.load();
    URL.revokeObjectURL(this.#url);
  }

  #opened(mime) {
    try {
      this.#media.duration = Infinity;
      this.#buffer = this.#media.addSourceBuffer(mime);
      this.#buffer.addEventListener("updateend", () => this.#work());
      this.#buffer.addEventListener("error", () => this.#fail("the buffer refused media"));
    } catch (error) {
      this.#fail(String(error));
      return;
    }
    this.#work();
  }

  #startProgram(mime, offset) {
    if (mime !== this.#mime) {
      this.#buffer.changeType(mime);
      this.#mime = mime;
    }
    if (Math.abs(this.#buffer.timestampOffset - offset) > 1e-6) this.#buffer.timestampOffset = offset;
  }

  #push(item) {
    this.#queue.push(item);
    this.#queuedBytes += item.bytes?.length ?? 0;
    this.#work();
  }

  #work() {
    const buffer = this.#buffer;
    try {
      while (buffer && !buffer.updating && this.#media.readyState === "open") {
        if (this.#trim()) continue;
        const next = this.#queue[0];
        if (!next) return;
        if (next.run) {
          this.#queue.shift();
          next.run();
          continue;
        }
        const [bytes, count] = this.#batch();
        buffer.appendBuffer(bytes);
        this.#queue.splice(0, count);
        this.#queuedBytes -= bytes.length;
      }
    } catch (error) {
      if (error.name === "QuotaExceededError") this.#makeRoom();
      else this.#fail(String(error));
    }
  }

  /** Fragments that wait together go in together: one append costs the browser more than the bytes do. */
  #batch() {
    let count = 0;
    let length = 0;
    for (const item of this.#queue) {
      if (item.run || (count > 0 && length + item.bytes.length > MAX_APPEND_BYTES)) break;
      count += 1;
      length += item.bytes.length;
    }
    if (count === 1) return [this.#queue[0].bytes, 1];
    const bytes = new Uint8Array(length);
    let at = 0;
    for (const item of this.#queue.slice(0, count)) {
      bytes.set(item.bytes, at);
      at += item.bytes.length;
    }
    return [bytes, count];
  }

  #trim() {
    const now = performance.now();
    if (now - this.#trimmedAt < TRIM_EVERY_MS) return false;
    this.#trimmedAt = now;
    return this.#remove(trimTo(this.#keys, this.video.currentTime, KEEP_BEHIND_S));
  }

  #remove(end) {
    const start = this.ranges[0]?.[0];
    if (end === null || start === undefined || end <= start) return false;
    this.#buffer.remove(0, end);
    this.#keys = this.#keys.filter((key) => key >= end);
    return true;
  }

  /** The browser's quota is used up: give away all that has been shown, or else go on at the next key frame. */
  #makeRoom() {
    if (this.#remove(trimTo(this.#keys, this.video.currentTime, 0))) return;
    this.#dropPictures();
    const ahead = this.video.currentTime + 1;
    if (this.ranges.some(([, end]) => end > ahead)) this.#buffer.remove(ahead, Infinity);
  }

  #dropPictures() {
    const kept = this.#queue.filter((item) => item.init || item.run);
    this.droppedAtQueue += this.#queue.length - kept.length;
    this.#queue = kept;
    this.#queuedBytes = kept.reduce((sum, item) => sum + (item.bytes?.length ?? 0), 0);
    this.#skipToKey = true;
  }

  #fail(why) {
    const { onfail } = this;
    this.onfail = null;
    onfail?.(why);
  }
}
