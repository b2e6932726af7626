// The player page: form, list of live streams, controls, figures. By which protocol is in choice.js; what plays is in session.js
// (WebSocket), segments.js and native.js (HLS), screen.js, sink.js and reel.js (elements and buffers), playback.js and pace.js
// (speed and jumps).
//
// For tests and for pages that embed this one, `window.headwater` is an object whose fields are always current:
//   state          "idle" | "connecting" | "buffering" | "playing" | "paused" | "blocked" (the browser wants a click)
//                  | "reconnecting" | "waiting" (not live) | "ended" | "unsupported" (codec or browser)
//   latencyMs      what is seen against the origin's clock, null if not known   bitrateBps   received, last two seconds
//   droppedFrames  by the browser and before it                                 bufferMs     ahead of the playhead
//   node, epoch    who serves, which incarnation of the stream                  rate         playback rate
//   moves, reconnects, stalls, seeks   counts since Play                        targetMs     margin that is steered to
//   why            the last decision of the pace
//   protocol       "ws" | "hls" | "native", null if none will do                choice    {protocol, why, automatic}
//   qualities      {id, label} of what can be chosen                            quality   what the viewer chose, -1 for automatic
//   shownQuality   id of what is shown                                          edgeLatencyMs   hls.js's figure, null without it
//   choose(id), goLive()
//   video          the element that is seen (it can change)
//   play({server, app, stream}), stop()

import { choose } from "./choice.js";
import { Deck } from "./deck.js";
import { NativeSession } from "./native.js";
import { Playback } from "./playback.js";
import { Reporter } from "./report.js";
import { Screen } from "./screen.js";
import { SegmentSession } from "./segments.js";
import { Session } from "./session.js";
import { withGroups } from "./siblings.js";
import { Source } from "./sink.js";
import { showFigures, showProtocol, showStreams, wording } from "./words.js";

const NAME = /^[A-Za-z0-9_-][A-Za-z0-9._-]{0,127}$/;
const LIST_EVERY_MS = 3000;
const FIGURES_EVERY_MS = 250;

const byId = (id) => document.getElementById(id);
const form = byId("open");
const screen = new Screen(byId("screen"), render);
const asked = new URL(location.href).searchParams;
const embedded = asked.has("embed");
const reporter = new Reporter(asked.get("origin"));
const deck = new Deck({ menu: byId("quality"), bar: byId("time"), live: byId("live") }, () => session);
let target = null; // {server, app, stream}
let session = null;
let choice = { protocol: null, why: "", automatic: true };
let found = {}; // what was learnt of this target while it was tried
let chosen = null; // the quality that an earlier session of this target played, as `?quality=` has it
let paused = false;
let base = { moves: 0, reconnects: 0, stalls: 0, seeks: 0 };
let shownAt = 0;
let streams = [];
const mediaEnd = () => session?.end ?? null;
const playback = new Playback(screen, mediaEnd, (nowMs) => {
  if (nowMs - shownAt < FIGURES_EVERY_MS) return;
  shownAt = nowMs;
  render();
});

function play({ server, app, stream }) {
  target = { server, app, stream };
  session?.stop();
  session = null;
  screen.clear();
  base = { moves: 0, reconnects: 0, stalls: playback.stalls, seeks: playback.seeks };
  found = {};
  chosen = null;
  paused = asked.get("autoplay") === "0";
  open();
}

function open() {
  byId("stage").hidden = false;
  choice = choose(facts());
  if (!paused && choice.protocol) session = begin(choice.protocol);
  render();
}

/** What the choice of a protocol depends on. */
function facts() {
  const entry = target.server === location.host ? streams.find(({ app, name }) => app === target.app && name === target.stream) : null;
  const codecs = [entry?.video, entry?.audio].filter(Boolean).join(",");
  return {
    asked: new URL(location.href).searchParams.get("protocol"),
    mse: "MediaSource" in globalThis,
    managed: "ManagedMediaSource" in globalThis,
    native: document.createElement("video").canPlayType("application/vnd.apple.mpegurl") !== "",
    playable: Source && codecs ? Source.isTypeSupported(`video/mp4; codecs="${codecs}"`) : null,
    blocked: false,
    several: Boolean(entry?.members),
    ...found,
  };
}

function begin(protocol) {
  const at = (scheme, form) => new URL(`${scheme}//${target.server}/${target.app}/${target.stream}.${form}`);
  const { protocol: scheme } = location;
  const wanted = chosen ?? new URL(location.href).searchParams.get("quality");
  if (protocol === "ws") return new Session(at(scheme === "https:" ? "wss:" : "ws:", "mp4"), screen, changed, wanted);
  const Viewing = protocol === "hls" ? SegmentSession : NativeSession;
  return new Viewing(at(scheme, "m3u8"), screen, changed, wanted);
}

/** The session has something to tell; it may be that another protocol is to be taken. */
function changed() {
  if (session && choice.automatic && choice.protocol === "ws") {
    if (session.detail === "shut") found = { blocked: true };
    else if (session.detail === "several") found = { several: true };
    else if (session.state === "unsupported") found = { playable: false };
    const next = choose(facts());
    if (next.protocol && next.protocol !== choice.protocol) {
      leave();
      return open();
    }
  }
  render();
}

/** Ends the session and keeps its counts, its quality and its last picture. */
function leave() {
  chosen = session?.chosen ?? chosen;
  base = { ...base, moves: stats.moves, reconnects: stats.reconnects };
  session?.stop();
  session = null;
}

function stop() {
  session?.stop();
  session = null;
  target = null;
  screen.clear();
  render();
}

/**
 * Live has no pause: the session ends, the last picture stays, and Play goes on with what is live then. Where one can go back
 * in time, Play goes on where Pause was.
 */
function togglePause() {
  if (!target) return;
  paused = !paused;
  const { video } = screen;
  if (paused) {
    video?.pause();
    if (!deck.place) leave();
    render();
  } else if (session) {
    session.seek(video.currentTime);
    screen.play();
  } else {
    open();
  }
}

const stats = {
  get state() {
    if (!target) return "idle";
    if (!choice.protocol) return "unsupported";
    if (paused) return "paused";
    if (session.state !== "playing") return session.state;
    if (screen.blocked) return "blocked";
    return playback.started && !playback.stalled ? "playing" : "buffering";
  },
  get latencyMs() {
    const { video } = screen;
    const ms = video && session ? session.latency(video.currentTime, Date.now()) : null;
    return ms === null ? null : Math.round(ms);
  },
  get bitrateBps() {
    return Math.round(session?.bitrate(performance.now()) ?? 0);
  },
  get droppedFrames() {
    return screen.dropped;
  },
  get node() {
    return session?.node ?? "";
  },
  get epoch() {
    return session?.epoch ?? null;
  },
  get moves() {
    return base.moves + (session?.moves ?? 0);
  },
  get reconnects() {
    return base.reconnects + (session?.reconnects ?? 0);
  },
  get stalls() {
    return playback.stalls - base.stalls;
  },
  get seeks() {
    return playback.seeks - base.seeks;
  },
  get rate() {
    return playback.rate;
  },
  get bufferMs() {
    return playback.bufferMs;
  },
  get targetMs() {
    return Math.round(playback.targetMs);
  },
  get why() {
    return playback.why;
  },
  get protocol() {
    return choice.protocol;
  },
  get choice() {
    return choice;
  },
  get qualities() {
    return session?.qualities ?? [];
  },
  get quality() {
    return session?.quality ?? -1;
  },
  get shownQuality() {
    return session?.shownQuality ?? -1;
  },
  get edgeLatencyMs() {
    return session?.edgeLatencyMs ?? null;
  },
  choose: (id) => session?.choose?.(id),
  goLive: () => session?.goLive?.(),
  get detail() {
    return session?.detail ?? "";
  },
  get moving() {
    return session?.moving ?? false;
  },
  get video() {
    return screen.video;
  },
  play,
  stop,
};
window.headwater = stats;

function render() {
  const { state } = stats;
  const message = byId("message");
  const words = target ? wording(state, stats, target) : { text: "", tone: "" };
  message.hidden = !words.text;
  if (message.textContent !== words.text) message.textContent = words.text;
  byId("lamp").dataset.tone = words.tone;
  byId("title").textContent = target ? `${target.app}/${target.stream}` : "";
  byId("start").hidden = state !== "blocked" && !(paused && !screen.video);
  byId("unmute").hidden = !screen.mutedByBrowser || state !== "playing";
  byId("pause").textContent = paused ? "Play" : "Pause";
  byId("mute").textContent = screen.muted ? "Unmute" : "Mute";
  byId("mute").setAttribute("aria-pressed", String(screen.muted));
  deck.show();
  if (!target) return;
  showProtocol(byId("protocol"), choice);
  showFigures(byId("figures"), stats, words);
  reporter.tell(performance.now(), { ...choice, state, quality: qualityShown(), latencyMs: stats.latencyMs, message: words.text });
}

/** As in the menu, or the height of the picture where there is no menu; empty without a picture. */
function qualityShown() {
  const { qualities, shownQuality, video } = stats;
  const entry = qualities.find(({ id }) => id >= 0 && id === shownQuality);
  return entry?.label ?? (video?.videoHeight ? `${video.videoHeight}p` : "");
}

// Page

/** The form's fields as a target; a sentence if they are not one. */
function readForm() {
  const server = form.server.value.trim().replace(/^(https?|wss?):\/\//, "").replace(/\/.*$/, "");
  const path = form.stream.value.trim().replace(/^\//, "");
  const [app, stream] = path.includes("/") ? path.split("/", 2) : ["live", path];
  if (!URL.canParse(`http://${server}`)) return "Not a server: host or host:port";
  if (!NAME.test(app) || !NAME.test(stream)) return "Letters, digits, dot, dash and underscore only";
  return { server, app, stream };
}

function pathOf({ server, app, stream }) {
  const kept = new URLSearchParams();
  if (server !== location.host) kept.set("server", server);
  for (const key of ["protocol", "quality"]) {
    const value = new URL(location.href).searchParams.get(key);
    if (value !== null) kept.set(key, value);
  }
  return `/play/${app}/${stream}${kept.size ? `?${kept}` : ""}`;
}

function targetOf(address) {
  const [, play, app, stream] = address.pathname.split("/");
  if (play !== "play" || !NAME.test(app ?? "") || !NAME.test(stream ?? "")) return null;
  return { server: address.searchParams.get("server") || location.host, app, stream };
}

function fillForm({ server, app, stream }) {
  form.server.value = server;
  form.stream.value = app === "live" ? stream : `${app}/${stream}`;
}

function go(to) {
  history.pushState(null, "", pathOf(to));
  fillForm(to);
  play(to);
  showStreams(byId("streams"), byId("none"), byId("names"), streams, target);
}

async function refreshStreams() {
  const server = form.server.value.trim() || location.host;
  try {
    const answer = await fetch(`${location.protocol}//${server}/api/streams`, { signal: AbortSignal.timeout(LIST_EVERY_MS) });
    if (!answer.ok) throw new Error(String(answer.status));
    streams = withGroups((await answer.json()).streams);
    showStreams(byId("streams"), byId("none"), byId("names"), streams, target);
  } catch {
    byId("none").textContent = "The list of streams can't be read from this server.";
    byId("none").hidden = streams.length > 0;
  }
  setTimeout(refreshStreams, LIST_EVERY_MS);
}

form.addEventListener("input", () => form.stream.setCustomValidity(""));
form.addEventListener("submit", (event) => {
  event.preventDefault();
  const to = readForm();
  if (typeof to === "string") {
    form.stream.setCustomValidity(to);
    form.reportValidity();
  } else {
    go(to);
  }
});
byId("streams").addEventListener("click", (event) => {
  const link = event.target.closest("a");
  if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  go({ server: form.server.value.trim() || location.host, app: link.dataset.app, stream: link.dataset.stream });
  byId("stage").scrollIntoView({ block: "nearest" });
});
byId("pause").addEventListener("click", togglePause);
byId("start").addEventListener("click", () => (paused ? togglePause() : screen.play()));
for (const id of ["mute", "unmute"]) byId(id).addEventListener("click", () => (screen.muted = id === "mute" && !screen.muted));
byId("full").addEventListener("click", toggleFull);

function toggleFull() {
  if (document.fullscreenElement) document.exitFullscreen();
  else if (byId("screen").requestFullscreen) byId("screen").requestFullscreen();
  else screen.video?.webkitEnterFullscreen?.(); // iPhone
}

document.addEventListener("keydown", (event) => {
  if (event.target.closest("input, select, button, a") && event.key === " ") return;
  if (event.target.closest("input, select") || event.ctrlKey || event.metaKey || event.altKey || !target) return;
  if (event.key === " " || event.key === "k") togglePause();
  else if (event.key === "m") screen.muted = !screen.muted;
  else if (event.key === "f") toggleFull();
  else return;
  event.preventDefault();
});
window.addEventListener("popstate", start);

function start() {
  const to = targetOf(new URL(location.href));
  if (to) {
    fillForm(to);
    play(to);
  } else {
    if (target) stop();
    byId("stage").hidden = true;
    form.server.value ||= location.host;
  }
}

document.documentElement.classList.toggle("embed", embedded);
if (asked.get("muted") === "1") screen.muted = true;
start();
if (!embedded) refreshStreams(); // a browser has six connections to a server: none for a list that is not shown
