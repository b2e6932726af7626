// How hls.js is set up, what its qualities are called, and when one can go back in time. Pure.

/** Retries of a request that failed, ms: an edge that was killed must cost less than what is buffered. */
const RETRY = { maxNumRetry: 8, retryDelayMs: 50, maxRetryDelayMs: 400 };
/**
 * A request to a living node is answered within a part's time, or held while a publisher is away. One that is silent for longer
 * is given up: if the connection is dead, the next one goes elsewhere; if it was held, hls.js asks again without waiting.
 */
const SILENCE_MS = 2000;
/** A node holds the first request for a stream that it has to fetch for up to 6 s. */
const FIRST_MS = 8000;
/** Kept behind the playhead, seconds. */
const BEHIND_S = 30;
/** Loaded ahead of the playhead, seconds: matters only to one who has gone back in time. */
const AHEAD_S = 20;
const SHORTEST_DVR_S = 60;
const LIVE_WITHIN_S = 5;
const MARGIN_MS = [300, 1000];

/** Configuration of hls.js. Speed and jumps at the live edge are the pace's: hls.js does not speed up with less than 1 s buffered. */
export function configuration() {
  const request = (firstByteMs, errorRetry, timeoutRetry) => ({
    default: { maxTimeToFirstByteMs: firstByteMs, maxLoadTimeMs: 10000, errorRetry, timeoutRetry },
  });
  const again = { ...RETRY, shouldRetry };
  const atOnce = { maxNumRetry: 4, retryDelayMs: 0, maxRetryDelayMs: 0 };
  return {
    enableWorker: false, // a worker out of a blob would need a weaker policy; fMP4 is passed through, which costs little
    lowLatencyMode: true,
    maxLiveSyncPlaybackRate: 1,
    liveSyncOnStallIncrease: 0,
    backBufferLength: BEHIND_S,
    maxBufferLength: AHEAD_S,
    maxMaxBufferLength: AHEAD_S,
    testBandwidth: false,
    highBufferWatchdogPeriod: 1,
    detectStallWithCurrentTimeMs: 500,
    manifestLoadPolicy: request(FIRST_MS, null, null), // the session tries again itself, and says why
    playlistLoadPolicy: request(SILENCE_MS, again, atOnce),
    fragLoadPolicy: request(SILENCE_MS, again, atOnce),
  };
}

/**
 * How a playlist is loaded: a state of it that was asked for by number is asked for again when an edge dies. hls.js alone would ask
 * for whatever state there is, learn nothing new from the answer, and then leave half a target duration until it asks again.
 */
export function persistently({ deliveryDirectives }, config) {
  if (!deliveryDirectives) return config;
  return { ...config, loadPolicy: { ...config.loadPolicy, errorRetry: { ...RETRY, shouldRetry } } };
}

/** hls.js's loader of playlists, made persistent. */
export function persistent(Loader) {
  return class extends Loader {
    load(context, config, callbacks) {
      super.load(context, persistently(context, config), callbacks);
    }
  };
}

/** Whether a request is worth another try: a broken connection, a server in trouble, or a node that is behind the others. */
export function shouldRetry({ maxNumRetry }, count, isTimeout, response) {
  const status = response?.code ?? 0;
  return count < maxNumRetry && (isTimeout || status === 0 || status === 404 || status === 408 || status === 429 || status >= 500);
}

/** Margin to steer to, ms: PART-HOLD-BACK, which nobody is to be nearer to the end than (RFC 8216bis §4.4.3.8); null without parts. */
export function margin({ partHoldBack }) {
  if (!partHoldBack) return null;
  const [least, most] = MARGIN_MS;
  return Math.round(Math.min(most, Math.max(least, partHoldBack * 1000)));
}

/**
 * True if this part is the last one of a whole segment: what follows begins with a key frame. There alone is a quality changed:
 * within a segment it would be fetched again from its beginning, and a browser shows nothing of a group of pictures that is
 * written over under the playhead until the next one begins.
 * @param {{index: number, fragment: {sn: number}}|null} part null where there are no parts
 */
export function completes(part, { partList, endSN }) {
  if (!part || !partList) return true;
  const { sn } = part.fragment;
  return sn <= endSN && !partList.some(({ fragment, index }) => fragment.sn === sn && index > part.index);
}

/**
 * The quality menu of hls.js's levels: `{id, label}`, best first, "Auto" at its head; empty if there is nothing to choose.
 * @param {{height?: number, bitrate: number}[]} levels
 */
export function qualities(levels) {
  if (levels.length < 2) return [];
  const entries = levels.map(({ height, bitrate }, id) => ({ id, height: height ?? 0, bitrate }));
  entries.sort((a, b) => b.height - a.height || b.bitrate - a.bitrate);
  const name = ({ height, bitrate }) => {
    const rate = bitrate >= 1e6 ? `${(bitrate / 1e6).toFixed(1)}\u00a0Mbit/s` : `${Math.round(bitrate / 1e3)}\u00a0kbit/s`;
    if (!height) return rate;
    const alone = entries.filter((entry) => entry.height === height).length === 1;
    return alone ? `${height}p` : `${height}p, ${rate}`;
  };
  return [{ id: -1, label: "Auto" }, ...entries.map((entry) => ({ id: entry.id, label: name(entry) }))];
}

/**
 * How far one can go back: null where the window is too short to be worth it.
 * @param {[number, number][]} seekable in seconds @param {number} position @param {boolean} back the viewer has gone back
 * @returns {{start: number, end: number, behindS: number, live: boolean}|null}
 */
export function timeline(seekable, position, back) {
  if (!seekable.length) return null;
  const [start] = seekable[0];
  const end = seekable[seekable.length - 1][1];
  if (end - start <= SHORTEST_DVR_S) return null;
  const behindS = Math.max(0, end - position);
  return { start, end, behindS, live: !back && behindS < LIVE_WITHIN_S };
}

/** True where a seek to `to` means the live edge again. */
export function isLive({ end }, to) {
  return end - to < LIVE_WITHIN_S;
}
