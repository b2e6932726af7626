// The time line drawn: a strip of lanes with marks, and the events as a list, newest first.

import { el, list, mark, say, svg } from "./dom.js";
import { lanes, place, same, shape, steps } from "./times.js";
import { ago, named, spoken } from "./words.js";

const LANE = 54;
const FIRST = 26;
const LEFT = 4;

/** Marks, around 0,0. */
const PATHS = {
  up: "M0 -6 6 5H-6Z",
  down: "M0 6 6 -5H-6Z",
  drain: "M0 -6 6 0 0 6-6 0Z",
  gone: "M-4 -4 4 4M4 -4-4 4",
  start: "M0 -4A4 4 0 1 1-.01 -4Z",
  warning: "M-2 -7H2L1 2H-1ZM-1.6 4H1.6V7H-1.6Z",
};

/** Draws the strip: `samples` by pool key `namespace/name`. */
export function drawStrip(parent, fleet, events, samples, now, many) {
  const width = Math.max(240, parent.clientWidth);
  const rows = lanes(fleet, events, now);
  const height = FIRST + (rows.length - 1) * LANE + 22;
  const x = (at) => LEFT + place(at, now) * (width - 2 * LEFT);
  const picture = svg("svg", { width, height, viewBox: `0 0 ${width} ${height}` });
  for (let minutes = 0; minutes <= 15; minutes += 5) {
    const at = x(now - minutes * 60_000);
    picture.append(svg("path", { class: "tick", d: `M${at} 0V${height - 16}` }));
    const anchor = minutes === 0 ? "end" : minutes === 15 ? "start" : "middle";
    const text = minutes === 0 ? "now" : `−${minutes} min`;
    picture.append(svg("text", { x: at, y: height - 3, "text-anchor": anchor }, text));
  }
  rows.forEach((row, index) => {
    const top = index === 0 ? 0 : FIRST + (index - 1) * LANE;
    if (row.pool) drawPool(picture, row, top, { events, samples, now, x, many });
    else picture.append(svg("text", { x: LEFT, y: top + 11, class: "name" }, "streams and origins"));
    for (const entry of row.marks) picture.append(drawMark(entry, { x, now }, top + (row.pool ? 26 : 18)));
  });
  parent.replaceChildren(picture);
}

function drawMark({ event, at, shape: kind }, { x, now }, y) {
  const group = svg("g", { class: `mark ${kind}`, transform: `translate(${x(at).toFixed(1)} ${y})` }, svg("path", { d: PATHS[kind] }));
  if (event.edges) group.append(svg("text", { y: -9, "text-anchor": place(at, now) > 0.95 ? "end" : "middle" }, `${event.edges.from}→${event.edges.to}`));
  return group;
}

/** The number of edges as steps, and below it the bandwidth as an area. */
function drawPool(picture, { pool }, top, { events, samples, now, x, many }) {
  const [base, room] = [top + LANE - 4, LANE - 24];
  const own = samples.get(`${pool.namespace}/${pool.name}`) ?? [];
  const points = steps(events.filter((event) => event.kind === "EdgePool" && same(event, pool)), own, now);
  const highest = Math.max(pool.maxReplicas ?? 0, 1, ...points.map((point) => point.edges));
  const y = (share) => (base - share * room).toFixed(1);
  const capacity = (pool.capacityMbps ?? 0) * highest || Math.max(1, ...own.map((sample) => sample.mbps));
  const inside = own.filter((sample) => place(sample.at, now) >= 0);
  if (inside.length > 1) {
    const line = inside.map((sample) => `${x(sample.at).toFixed(1)} ${y(Math.min(1, sample.mbps / capacity))}`).join("L");
    picture.append(svg("path", { class: "area", d: `M${x(inside[0].at).toFixed(1)} ${base}L${line}V${base}Z` }));
  }
  if (points.length > 0) {
    const line = points.map((point, at) => `${at === 0 ? "M" : "H"}${x(point.at).toFixed(1)}${at === 0 ? " " : "V"}${y(point.edges / highest)}`).join("");
    picture.append(svg("path", { class: "steps", d: `${line}H${x(now).toFixed(1)}` }));
  }
  picture.append(svg("path", { class: "base", d: `M${LEFT} ${base}H${x(now).toFixed(1)}` }));
  picture.append(svg("text", { x: LEFT, y: top + 13, class: "name" }, `${named(pool, many)}: edges and bandwidth`));
}

/** Draws the list, newest first. */
export function drawEvents(parent, events, now, many) {
  list(parent, events.toReversed(), (event) => event.id, eventRow, (row, event) => row.update(event, now, many));
}

function eventRow(event) {
  const [icon, when, what, note] = [svg("svg", { width: 16, height: 16, viewBox: "-8 -8 16 16", "aria-hidden": "true" }), el("time", "soft"), el("strong"), el("span", "note")];
  const kind = shape(event);
  icon.append(svg("g", { class: `mark ${kind}` }, svg("path", { d: PATHS[kind] })));
  when.dateTime = event.at;
  when.title = new Date(event.at).toLocaleString();
  say(what, spoken(event.reason));
  say(note, event.note);
  const of = el("span", "soft");
  const element = el("li", "", icon, el("div", "", el("p", "head", what, of, when), note));
  mark(element, "data-reason", event.reason);
  return {
    element,
    update(current, now, many) {
      say(of, named(current, many));
      say(when, ago(now - Date.parse(current.at)));
    },
  };
}

