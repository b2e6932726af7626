// The fleet as nested cards: origins, the pools that they feed, the pools' edges.

import { el, list, mark, meter, say, stateTag } from "./dom.js";
import { MOST, below, carriers, drain, edgeState, load, originState, picture, places, poolState, shown } from "./model.js";
import { SCALING, mbps, named, plural, span } from "./words.js";

/** Draws the tree; `context` is `{now, many}`: the operator's clock, and whether names need their namespace. */
export function drawMap(parent, roots, context) {
  list(parent, roots, (node) => node.key, makeNode, (part, node) => part.update(node, context));
}

function makeNode(node) {
  const element = el("li");
  const card = node.kind === "origin" ? originCard() : poolCard();
  const children = el("ul", "tree");
  element.append(card.element, children);
  return {
    element,
    update(current, context) {
      card.update(current, context);
      children.hidden = current.children.length === 0;
      drawMap(children, current.children, context);
      const flows = current.kind === "pool" ? current.entry.outboundMbps > 0 : playable(current.entry).length > 0;
      mark(element, "data-flows", flows && !current.lost);
    },
  };
}

function playable(origin) {
  return origin.streams.filter((stream) => stream.playable);
}

/** "Origin" and its name, with a state at the end. */
function head(kind) {
  const [name, tag] = [el("strong", "name"), stateTag()];
  const element = el("h3", "head", el("span", "kind", kind), name, tag.element);
  return { element, name, tag };
}

function originCard() {
  const top = head("Origin");
  const [where, streams, rest] = [el("p", "soft where"), el("ul", "streams"), el("p", "soft")];
  const element = el("article", "card origin", top.element, where, streams, rest);
  return {
    element,
    update({ entry, children }, { now, many }) {
      say(top.name, named(entry, many));
      top.tag.set(originState(entry));
      mark(element, "aria-label", `Origin ${entry.name}`);
      say(where, entry.rtmp ? `publish to rtmp://${entry.rtmp}` : "no address yet");
      const pools = children.flatMap((child) => [child.entry, ...below(child)]);
      const some = entry.streams.slice(0, MOST.streams);
      list(streams, some, (stream) => `${stream.app}/${stream.name}`, streamRow, (row, stream) => row.update(stream, pools, now));
      const more = entry.streams.length - some.length;
      rest.hidden = more === 0 && entry.streams.length > 0;
      say(rest, more > 0 ? `and ${plural(more, "stream")} more` : "no stream is published");
    },
  };
}

function streamRow() {
  const [name, what, flow, rate, reach] = [el("strong", "name"), el("span", "soft"), el("i", "flow"), el("span"), el("span")];
  const element = el("li", "stream", el("span", "title", name, what), flow, el("span", "numbers", rate, reach));
  return {
    element,
    update(stream, pools, now) {
      say(name, `${stream.app}/${stream.name}`);
      const up = stream.since ? `, up ${span(now - Date.parse(stream.since))}` : "";
      say(what, `${picture(stream)}${up}`);
      say(rate, mbps(stream.bitrateBps / 1e6));
      const { have, of } = carriers(stream, pools);
      say(reach, of > 0 ? `on ${have} of ${plural(of, "edge")}` : "on no edge");
      mark(element, "data-flows", stream.playable);
    },
  };
}

function poolCard() {
  const top = head("Pool");
  const slots = el("span", "places");
  const [why, sent, open, edges, rest] = [el("span"), el("span"), el("a", "", "Player page"), el("ul", "edges"), el("p", "soft")];
  const bar = meter("Bandwidth against capacity");
  slots.setAttribute("role", "img");
  open.rel = "noopener noreferrer";
  const facts = el("p", "facts", slots, why);
  const traffic = el("p", "facts", sent, open);
  const element = el("article", "card pool", top.element, facts, bar.element, traffic, edges, rest);
  return {
    element,
    update({ entry, lost }, { now, many }) {
      say(top.name, named(entry, many));
      top.tag.set(lost ? { word: "fed by nothing", tone: "bad" } : poolState(entry));
      mark(element, "aria-label", `Pool ${entry.name}`);
      drawPlaces(slots, entry);
      say(why, reason(entry));
      const against = load(entry);
      bar.element.hidden = !against;
      const text = against ? `${mbps(against.sent)} of ${mbps(against.capacity)}` : mbps(entry.outboundMbps);
      if (against) bar.set({ ...tone(against), percent: against.percent, text, threshold: against.mark });
      const share = against ? `, ${Math.round(against.percent)}\u00a0%` : "";
      say(sent, `${plural(entry.viewers, "viewer")} · ${text}${share}`);
      open.hidden = !entry.http;
      mark(open, "href", entry.http ? `http://${entry.http}/` : null);
      const some = shown(entry.edges);
      list(edges, some, (edge) => edge.name, edgeCard, (card, edge) => card.update(edge, entry, now));
      const more = entry.edges.length - some.length;
      rest.hidden = more === 0;
      say(rest, `and ${plural(more, "edge")} more, all well`);
    },
  };
}

function drawPlaces(parent, pool) {
  const words = places(pool);
  list(parent, words.map((word, at) => ({ word, at })), (place) => place.at, () => ({ element: el("i") }), ({ element }, { word }) => mark(element, "data-word", word));
  const bounds = pool.maxReplicas ? `, between ${pool.minReplicas} and ${pool.maxReplicas}` : "";
  const drains = pool.draining > 0 ? `, ${pool.draining} draining` : "";
  mark(parent, "aria-label", `${pool.ready} of ${plural(pool.desired, "edge")} serving${drains}${bounds}`);
}

function reason(pool) {
  const drains = pool.draining > 0 ? `, ${pool.draining} draining` : "";
  const bounds = pool.maxReplicas ? ` (${pool.minReplicas} to ${pool.maxReplicas})` : "";
  const why = SCALING[pool.scaling];
  return `${pool.ready} of ${plural(pool.desired, "edge")}${bounds}${drains}${why ? ` · ${why}` : ""}`;
}

function tone({ percent, mark: above }) {
  if (percent >= 95) return { tone: "bad" };
  return { tone: above !== null && percent > above ? "fair" : "good" };
}

function edgeCard() {
  const [name, tag] = [el("strong", "name"), stateTag()];
  const [watch, carry] = [el("span"), el("span", "soft")];
  const [bar, progress, left] = [meter("Bandwidth against capacity"), meter("Drain"), el("p", "left")];
  const element = el("li", "edge", el("p", "head", name, tag.element), bar.element, el("p", "facts", watch, carry), progress.element, left);
  return {
    element,
    update(edge, pool, now) {
      say(name, edge.name);
      tag.set(edgeState(edge));
      mark(element, "data-edge", edge.name);
      const percent = pool.capacityMbps ? (100 * edge.outboundMbps) / pool.capacityMbps : 0;
      bar.element.hidden = !pool.capacityMbps;
      const text = `${mbps(edge.outboundMbps)}${pool.capacityMbps ? ` of ${mbps(pool.capacityMbps)}` : ""}`;
      bar.set({ ...tone({ percent, mark: pool.scaleOutPercent ?? null }), percent, text });
      say(watch, `${plural(edge.viewers, "viewer")} · ${mbps(edge.outboundMbps)}`);
      const lag = edge.lagMs === null ? "" : ` · ${edge.lagMs} ms behind`;
      say(carry, `${plural(edge.streams.length, "stream")}${lag}`);
      const going = drain(edge, now);
      progress.element.hidden = left.hidden = !going;
      if (going) {
        const words = drainWords(going);
        progress.set({ percent: going.share * 100, text: words, tone: "fair" });
        say(left, words);
      }
    },
  };
}

function drainWords({ viewers, leftMs }) {
  if (viewers === 0) return "empty: it goes";
  return leftMs > 0 ? `${plural(viewers, "viewer")} left, cut in ${span(leftMs)}` : `${plural(viewers, "viewer")} left, time is over`;
}
