// The console: asks the operator each second, draws what it says. It rests while nobody can see it, or when told to.
//
// `window.headwater` tells scripts how it stands: `{state, answers, fleet, events}`, state one of
// "connecting", "live", "lost", "paused".

import { el, list, mark, say } from "./dom.js";
import { findings, severalNamespaces } from "./health.js";
import { drawMap } from "./map.js";
import { totals, tree } from "./model.js";
import { drawEvents, drawStrip } from "./timeline.js";
import { merged, sampled } from "./times.js";
import { count, mbps, plural } from "./words.js";

const PERIOD_MS = 1000;
/** An answer that takes longer counts as none. */
const ANSWER_MS = 5000;
/** So long after the last answer the operator counts as lost: one missed answer is none. */
const LOST_MS = 3000;

const told = (window.headwater = { state: "connecting", answers: 0, fleet: null, events: [] });
const samples = new Map();
const at = (id) => document.getElementById(id);

let paused = false;
let timer = 0;
let asking = false;
let clock = 0; // the operator's minus this machine's
let answered = performance.now();

async function ask(path) {
  const answer = await fetch(path, { cache: "no-store", signal: AbortSignal.timeout(ANSWER_MS) });
  if (!answer.ok) throw new Error(`${path}: ${answer.status}`);
  return answer.json();
}

async function round() {
  if (asking || paused || document.hidden) return;
  asking = true;
  try {
    const last = told.events.at(-1)?.id ?? 0;
    const [fleet, news] = await Promise.all([ask("/api/v1/fleet"), ask(`/api/v1/events?after=${last}`)]);
    clock = Date.parse(fleet.now) - Date.now();
    told.fleet = fleet;
    told.events = merged(told.events, news.events);
    answered = performance.now();
    told.answers += 1;
    for (const pool of fleet.pools) {
      const key = `${pool.namespace}/${pool.name}`;
      samples.set(key, sampled(samples.get(key) ?? [], pool, now()));
    }
  } catch {
    // It is asked again; how long there was no answer is said.
  } finally {
    asking = false;
    if (!paused) draw();
    schedule();
  }
}

function schedule() {
  clearTimeout(timer);
  if (!paused && !document.hidden) timer = setTimeout(round, PERIOD_MS);
}

function now() {
  return Date.now() + clock;
}

function draw() {
  const { fleet, events } = told;
  const silentMs = performance.now() - answered;
  const lost = silentMs > LOST_MS ? { lostMs: silentMs } : null;
  told.state = paused ? "paused" : lost ? "lost" : fleet ? "live" : "connecting";
  drawLink();
  drawHealth(findings(fleet, lost));
  if (!fleet) return;
  const many = severalNamespaces(fleet);
  drawFigures(totals(fleet));
  drawMap(at("map"), tree(fleet), { now: now(), many });
  at("empty").hidden = fleet.standingBy || fleet.origins.length + fleet.pools.length > 0;
  drawStrip(at("strip"), fleet, events, samples, now(), many);
  drawEvents(at("events"), events, now(), many);
  at("quiet").hidden = events.length > 0;
  at("events").hidden = events.length === 0;
  say(at("version"), `Headwater ${fleet.version}`);
}

const LINK = { connecting: ["Connecting …", "soft"], live: ["Live", "good"], lost: ["No answer", "bad"], paused: ["Paused", "soft"] };

function drawLink() {
  const [text, tone] = LINK[told.state];
  const [lamp, word] = at("link").children;
  mark(lamp, "data-tone", tone);
  say(word, text);
}

function drawFigures(sum) {
  const set = (name, text) => say(document.querySelector(`[data-figure="${name}"]`), text);
  set("viewers", count(sum.viewers));
  set("sent", mbps(sum.mbps));
  set("streams", count(sum.streams));
  set("edges", `${sum.ready} of ${sum.desired}${sum.draining > 0 ? `, ${sum.draining} draining` : ""}`);
  document.title = `${plural(sum.viewers, "viewer")} · Headwater`;
}

function drawHealth(found) {
  const rows = found.length > 0 || !told.fleet ? found : [{ tone: "good", text: "All is well." }];
  const make = () => {
    const [lamp, text] = [el("span", "lamp"), el("span")];
    lamp.setAttribute("aria-hidden", "true");
    return { element: el("li", "", lamp, text), lamp, text };
  };
  // By its first words: a figure that changes must not make the row a new one, which would be read out anew.
  list(at("health"), rows, (row) => row.text.slice(0, 40), make, ({ lamp, text }, row) => {
    mark(lamp, "data-tone", row.tone);
    say(text, row.text);
  });
}

function pause() {
  paused = !paused;
  mark(at("pause"), "aria-pressed", paused);
  say(at("pause"), paused ? "Go on" : "Pause");
  answered = performance.now();
  draw();
  if (!paused) round();
}

at("pause").addEventListener("click", pause);
document.addEventListener("keydown", (event) => {
  if (event.key === "p" && !event.ctrlKey && !event.metaKey && !event.altKey) pause();
});
document.addEventListener("visibilitychange", () => {
  answered = performance.now();
  if (!document.hidden) round();
});
window.addEventListener("resize", () => told.fleet && draw());
round();
