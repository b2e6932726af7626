// One WebSocket to a node, turned into typed messages. It knows nothing of buffers, players or retries.

import { isInit, parseFragment, parseInit } from "./boxes.js";

const OPEN_DEADLINE_MS = 5000;
/** Longer than a publisher's grace: silence beyond it is a dead connection, which WebSocket does not report. */
const SILENCE_MS = 15000;

/**
 * Messages to the listener, always with the connection first: `hello {node, epoch}`, `init {mime, bytes, tracks}`,
 * `fragment {bytes, samples}`, `clock {…}`, `move {}`, `end {}`, and as the last one `closed {opened}`.
 */
export class Connection {
  #socket;
  #listener;
  #deadline;
  #mime = "";
  #tracks = new Map();
  #opened = false;
  #received = [];

  /** @param {string} url `ws:` or `wss:` @param {(connection: Connection, type: string, message: object) => void} listener */
  constructor(url, listener) {
    this.node = "";
    this.epoch = null;
    this.#listener = listener;
    this.#socket = new WebSocket(url);
    this.#socket.binaryType = "arraybuffer";
    this.#socket.onmessage = (event) => this.#take(event.data);
    this.#socket.onopen = () => {
      this.#opened = true;
      this.#expect(SILENCE_MS);
    };
    this.#socket.onclose = () => this.#finish();
    this.#expect(OPEN_DEADLINE_MS);
  }

  /** Bits per second received over the last two seconds. */
  bitrate(nowMs) {
    this.#received = this.#received.filter(([at]) => at > nowMs - 2000);
    const bytes = this.#received.reduce((sum, [, length]) => sum + length, 0);
    return (bytes * 8) / 2;
  }

  /** Ends it without a `closed`. */
  close() {
    this.#listener = null;
    clearTimeout(this.#deadline);
    this.#socket.onmessage = this.#socket.onopen = this.#socket.onclose = null;
    this.#socket.close();
  }

  #expect(ms) {
    clearTimeout(this.#deadline);
    this.#deadline = setTimeout(() => {
      this.#socket.close();
      this.#finish();
    }, ms);
  }

  #finish() {
    const listener = this.#listener;
    this.close();
    listener?.(this, "closed", { opened: this.#opened });
  }

  #take(data) {
    this.#expect(SILENCE_MS);
    try {
      if (typeof data === "string") this.#takeText(JSON.parse(data));
      else this.#takeBinary(new Uint8Array(data));
    } catch (error) {
      console.warn("headwater: a message that can't be read ends the connection", error);
      this.#socket.close();
      this.#finish();
    }
  }

  #takeText(message) {
    if (message.type === "hello") {
      this.node = String(message.node);
      this.epoch = message.epoch;
    }
    if (message.type === "init") this.#mime = String(message.mime);
    else this.#listener?.(this, String(message.type), message);
  }

  #takeBinary(bytes) {
    this.#received.push([performance.now(), bytes.length]);
    if (this.#received.length > 4000) this.#received.shift();
    if (isInit(bytes)) {
      this.#tracks = parseInit(bytes);
      this.#listener?.(this, "init", { mime: this.#mime, bytes, tracks: this.#tracks });
    } else {
      this.#listener?.(this, "fragment", { bytes, samples: parseFragment(bytes, this.#tracks) });
    }
  }
}
