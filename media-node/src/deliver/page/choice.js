// By which protocol a stream is played, and why. Pure: facts in, verdict out.

/** What `?protocol=` takes, with the names that people read. */
export const PROTOCOLS = Object.freeze({
  ws: "fMP4 over WebSocket",
  hls: "LL-HLS by hls.js",
  native: "HLS by the browser itself",
});

const NO_SOURCE = "this browser has no Media Source Extensions";

/**
 * @param {object} facts
 * @param {string|null} facts.asked value of `?protocol=`, null without one
 * @param {boolean} facts.mse the browser has MediaSource
 * @param {boolean} facts.managed … or ManagedMediaSource, as iPhones have
 * @param {boolean} facts.native its video element plays HLS by itself
 * @param {boolean|null} facts.playable Media Source Extensions take the stream's codecs; null while these are not known
 * @param {boolean} facts.blocked WebSocket connections can't be opened although the server answers
 * @param {boolean} facts.several the name is that of a set of qualities
 * @returns {{protocol: "ws"|"hls"|"native"|null, why: string, automatic: boolean}} no protocol: `why` says what is wrong
 */
export function choose({ asked, mse, managed, native, playable, blocked, several }) {
  const source = mse || managed;
  if (asked !== null) {
    const verdict = (protocol, why) => ({ protocol, why, automatic: false });
    if (!Object.hasOwn(PROTOCOLS, asked)) return verdict(null, `There is no protocol "${asked}": ?protocol= takes ws, hls or native.`);
    if (asked === "native" && !native) return verdict(null, "?protocol=native can't be had: this browser's video element plays no HLS.");
    if (asked !== "native" && !source) return verdict(null, `?protocol=${asked} can't be had: ${NO_SOURCE}.`);
    return verdict(asked, "asked for by the address");
  }
  const verdict = (protocol, why) => ({ protocol, why, automatic: true });
  if (!source) {
    if (native) return verdict("native", NO_SOURCE);
    return verdict(null, `This browser can't play live video: it has neither Media Source Extensions nor HLS.`);
  }
  if (playable === false) {
    if (native) return verdict("native", "this browser's Media Source Extensions don't take the stream's codecs");
    return verdict(null, "This browser can't play the stream's codecs.");
  }
  if (several) return verdict("hls", "the stream has several qualities");
  if (blocked) return verdict("hls", "WebSocket connections are blocked on the way to the server");
  return verdict("ws", mse ? "the least latency" : "the least latency, by ManagedMediaSource");
}
