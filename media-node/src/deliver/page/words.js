// What the page says: states as sentences, figures with units, the list of streams. It writes text nodes only, never markup.

import { PROTOCOLS } from "./choice.js";

const LABELS = {
  idle: "idle",
  connecting: "connecting",
  buffering: "buffering",
  playing: "live",
  paused: "paused",
  blocked: "waiting for you",
  reconnecting: "reconnecting",
  waiting: "not live",
  ended: "ended",
  unsupported: "not playable",
};

const NAMES = { avc1: "H.264", hvc1: "H.265", hev1: "H.265", av01: "AV1", mp4a: "AAC", opus: "Opus" };

/** The sentence over the picture (empty while all is well), the short label, and the lamp's tone. */
export function wording(state, { detail, moving, choice }, { server, app, stream }) {
  const label = moving && state === "playing" ? "live, moving to another edge" : LABELS[state];
  const name = `${app}/${stream}`;
  switch (state) {
    case "playing":
      return { text: "", label, tone: "good" };
    case "connecting":
      return { text: `Connecting to ${server} …`, label, tone: "fair" };
    case "buffering":
      return { text: "Waiting for the next picture …", label, tone: "fair" };
    case "reconnecting":
      if (detail === "busy") return { text: "The server is full or closing. Trying again …", label, tone: "fair" };
      if (detail === "shut") return { text: "WebSocket connections can't be opened on the way to the server. Trying again …", label, tone: "bad" };
      if (detail === "unreachable") return { text: `${server} can't be reached. Trying again …`, label, tone: "bad" };
      return { text: "The connection was lost. Reconnecting …", label, tone: "fair" };
    case "waiting":
      if (detail === "several") return { text: `${name} is a set of qualities, which is being looked for.`, label, tone: "fair" };
      return { text: `${name} is not live. It will play as soon as it is.`, label, tone: "fair" };
    case "ended":
      return { text: `${name} has ended. It will play again when it returns.`, label, tone: "fair" };
    case "unsupported":
      if (!choice.protocol) return { text: choice.why, label, tone: "bad" };
      return { text: `This browser can't play ${detail || "this stream"}.`, label, tone: "bad" };
    case "blocked":
      return { text: "", label, tone: "fair" };
    default:
      return { text: "", label, tone: "" };
  }
}

/** Says by which protocol, and why. */
export function showProtocol(line, { protocol, why }) {
  const text = protocol ? `, ${why}` : why;
  const name = protocol ? PROTOCOLS[protocol] : "";
  if (line.textContent === name + text) return;
  const strong = document.createElement("strong");
  strong.textContent = name;
  line.replaceChildren(strong, text);
}

/** Fills the list of figures. */
export function showFigures(list, stats, words) {
  const { video, latencyMs } = stats;
  const shown = video?.videoWidth > 0;
  const figures = {
    latency: latencyMs === null ? "–" : latencyMs < 0 ? "clocks differ" : `${latencyMs} ms`,
    bitrate: stats.bitrateBps ? bitrate(stats.bitrateBps) : "–",
    buffer: `${stats.bufferMs} ms`,
    rate: `${stats.rate.toFixed(2)}×`,
    dropped: String(stats.droppedFrames),
    node: stats.node || "–",
    state: words.label,
    picture: shown ? `${video.videoWidth} × ${video.videoHeight}` : "–",
  };
  for (const [name, text] of Object.entries(figures)) {
    const cell = list.querySelector(`[data-figure="${name}"]`);
    if (cell.textContent !== text) cell.textContent = text;
  }
}

/** Fills the list of live streams, keeping the entries that stand so that the focus stays. */
export function showStreams(list, none, names, streams, target) {
  const wanted = new Map(streams.map((entry) => [`${entry.app}/${entry.name}`, entry]));
  for (const item of [...list.children]) {
    if (!wanted.has(item.dataset.path)) item.remove();
  }
  for (const [path, entry] of wanted) {
    const item = [...list.children].find((child) => child.dataset.path === path) ?? newItem(list, path, entry);
    item.querySelector("small").textContent = describe(entry);
    const current = target && `${target.app}/${target.stream}` === path;
    item.firstChild.setAttribute("aria-current", String(Boolean(current)));
  }
  names.replaceChildren(...[...wanted.keys()].map((path) => Object.assign(document.createElement("option"), { value: path })));
  none.textContent = "Nothing is live on this server.";
  none.hidden = streams.length > 0;
}

function newItem(list, path, { app, name }) {
  const item = document.createElement("li");
  item.dataset.path = path;
  const link = document.createElement("a");
  link.href = `/play/${encodeURIComponent(app)}/${encodeURIComponent(name)}`;
  link.dataset.app = app;
  link.dataset.stream = name;
  const title = document.createElement("strong");
  title.textContent = path;
  link.append(title, document.createElement("small"));
  item.append(link);
  list.append(item);
  return item;
}

function describe({ members, width, height, video, audio, bitrateBps, viewers }) {
  const parts = [];
  if (members) parts.push(`${members}\u00a0qualities`);
  if (width && height) parts.push(`${width}\u00a0×\u00a0${height}`);
  const codecs = [video, audio].filter(Boolean).map(codecName).join(" + ");
  if (codecs) parts.push(codecs);
  if (bitrateBps) parts.push(bitrate(bitrateBps));
  if (viewers !== undefined) parts.push(viewers === 1 ? "1\u00a0viewer" : `${viewers}\u00a0viewers`);
  return parts.join(" · ");
}

function bitrate(bps) {
  return bps >= 1e6 ? `${(bps / 1e6).toFixed(2)}\u00a0Mbit/s` : `${Math.round(bps / 1e3)}\u00a0kbit/s`;
}

/** The name that people know of a codec string of RFC 6381. */
function codecName(codec) {
  return NAMES[codec.split(".")[0].toLowerCase()] ?? codec;
}
