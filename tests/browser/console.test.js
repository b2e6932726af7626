// The console's pure modules: what the fleet document means, what is told of it, the time line's numbers.

import { findings } from "/console/health.js";
import { carriers, drain, load, places, shown, totals, tree } from "/console/model.js";
import { lanes, merged, place, sampled, shape, steps } from "/console/times.js";
import { ago, mbps, span, spoken } from "/console/words.js";
import { equal, near, ok, test } from "./check.js";

const MINUTE = 60_000;
const NOW = Date.parse("2030-01-01T12:00:00Z");
const iso = (ms) => new Date(ms).toISOString();

const edge = (name, more = {}) => ({
  name, ready: true, draining: false, suspect: false, streams: ["live/cam"], viewers: 1, outboundMbps: 2, lagMs: 10,
  drainSince: null, drainDeadline: null, ...more,
});
const pool = (name, upstream, more = {}) => ({
  namespace: "default", name, upstream, http: "", desired: 2, ready: 2, draining: 0, viewers: 2, outboundMbps: 4, utilizationPercent: 20,
  capacityMbps: 10, minReplicas: 2, maxReplicas: 4, scaleOutPercent: 70, scaling: "WithinBand", replication: "Replicating",
  failingPull: null, suspended: false, edges: [edge(`${name}-1`), edge(`${name}-2`)], ...more,
});
const origin = (name, more = {}) => ({
  namespace: "default", name, ready: true, suspended: false, rtmp: "h:1935",
  streams: [{ app: "live", name: "cam", playable: true }], ...more,
});
const ORIGIN = { kind: "StreamOrigin", name: "main" };
const fleet = (pools, origins = [origin("main")]) => ({ origins, pools, standingBy: false, learning: false, manifestError: null });
const event = (id, reason, atMs, more = {}) => ({
  id, reason, at: iso(atMs), warning: false, kind: "EdgePool", namespace: "default", name: "web", node: null, edges: null, note: "", ...more,
});

const names = (nodes) => nodes.map((node) => [node.entry.name, ...names(node.children)]);

test("pools hang below what feeds them, cascades too", () => {
  const roots = tree(fleet([pool("web", ORIGIN), pool("far", { kind: "EdgePool", name: "web" })]));
  equal(names(roots), [["main", ["web", ["far"]]]]);
});

test("a circle of pools and an upstream that is not there are shown, and end", () => {
  const roots = tree(fleet([
    pool("a", { kind: "EdgePool", name: "b" }), pool("b", { kind: "EdgePool", name: "a" }), pool("c", { kind: "StreamOrigin", name: "gone" }),
  ]));
  equal(names(roots), [["main"], ["a"], ["b"], ["c"]]);
  equal(roots.map((root) => root.lost), [false, true, true, true]);
});

test("pools of one name in two namespaces do not feed each other", () => {
  const other = pool("web", ORIGIN, { namespace: "other" });
  equal(tree(fleet([other])).map((root) => root.lost), [false, true]);
});

test("a stream counts as carried by edges that serve it", () => {
  const edges = [edge("1"), edge("2", { streams: [] }), edge("3", { draining: true })];
  equal(carriers({ app: "live", name: "cam" }, [pool("web", ORIGIN, { edges })]), { have: 1, of: 2 });
});

test("sums are over all pools", () => {
  const sum = totals(fleet([pool("web", ORIGIN), pool("far", ORIGIN)]));
  equal([sum.viewers, sum.mbps, sum.streams, sum.ready], [4, 8, 1, 4]);
});

test("bandwidth stands against the capacity of the edges that serve", () => {
  near(load(pool("web", ORIGIN)).percent, 20, 0.01);
  equal(load(pool("web", ORIGIN, { capacityMbps: null })), null);
});

test("places show every edge and the room up to the maximum", () => {
  const edges = [edge("1", { draining: true }), edge("2"), edge("3", { ready: false })];
  equal(places(pool("web", ORIGIN, { edges })), ["serving", "starting", "draining", "free", "free"]);
  equal(places(pool("web", ORIGIN, { maxReplicas: 1000 })).length, 24);
});

test("a drain's progress is its share of the time, with the viewers left", () => {
  const drains = edge("1", { draining: true, drainSince: iso(NOW - 15_000), drainDeadline: iso(NOW + 45_000), viewers: 7 });
  equal(drain(drains, NOW), { share: 0.25, leftMs: 45_000, viewers: 7 });
  equal(drain(drains, NOW + 100_000).share, 1);
  equal(drain(edge("2"), NOW), null);
});

test("of many edges the troubled ones are shown first", () => {
  const edges = Array.from({ length: 100 }, (_, at) => edge(`e${at}`, { suspect: at === 99 }));
  const some = shown(edges, 10);
  equal([some.length, some[0].name], [10, "e99"]);
});

test("a whole fleet has no findings", () => {
  equal(findings(fleet([pool("web", ORIGIN)])), []);
});

test("what is wrong is told, the worst first", () => {
  const troubled = pool("web", ORIGIN, {
    ready: 1, failingPull: "cam on web-2: refused", edges: [edge("web-1"), edge("web-2", { suspect: true })],
  });
  const found = findings({ ...fleet([troubled], [origin("main", { ready: false })]), manifestError: "web.yaml:1" });
  equal(found.map((finding) => finding.tone), ["bad", "bad", "bad", "fair", "fair"]);
  ok(found.some(({ text }) => text.includes("web-2 is silent")), JSON.stringify(found));
});

test("a pool that may not grow any more says so only under load", () => {
  const full = { desired: 4, ready: 4 };
  equal(findings(fleet([pool("web", ORIGIN, full)])), []);
  ok(findings(fleet([pool("web", ORIGIN, { ...full, utilizationPercent: 90 })]))[0].text.includes("maximum of 4 edges"), "at its maximum");
});

test("an operator that stands by tells that and nothing else", () => {
  const found = findings({ ...fleet([], []), standingBy: true, learning: true });
  equal(found.map((finding) => finding.tone), ["note"]);
});

test("an operator that does not answer is told of, also when nothing is known", () => {
  equal(findings(null, { lostMs: 5000 })[0].tone, "bad");
});

test("what is suspended is no trouble", () => {
  const stopped = { suspended: true, ready: 0, desired: 0, edges: [] };
  equal(findings(fleet([pool("web", ORIGIN, stopped)], [origin("main", { suspended: true, ready: false })])), []);
});

test("events are kept once, in order and bounded", () => {
  const known = [event(1, "ScaledOut", NOW), event(2, "ScaledIn", NOW)];
  equal(merged(known, [event(2, "ScaledIn", NOW), event(3, "EdgeDraining", NOW)]).map(({ id }) => id), [1, 2, 3]);
  equal(merged(known, [event(3, "EdgeDraining", NOW)], 2).map(({ id }) => id), [2, 3]);
});

test("a warning looks like one whatever it is about", () => {
  equal([shape(event(1, "ScaledOut", NOW)), shape(event(2, "PullFailed", NOW, { warning: true }))], ["up", "warning"]);
});

test("the strip ends now and begins a quarter of an hour ago", () => {
  equal([place(NOW, NOW), place(NOW - 15 * MINUTE, NOW)], [1, 0]);
});

test("marks stand in the lane of their pool, and leave it with time", () => {
  const events = [event(1, "ScaledOut", NOW - 20 * MINUTE), event(2, "ScaledIn", NOW - MINUTE), event(3, "ScaledIn", NOW, { name: "far" })];
  const rows = lanes(fleet([pool("web", ORIGIN)]), events, NOW);
  equal(rows.map((row) => row.marks.map((mark) => mark.event.id)), [[], [2]]);
});

test("steps begin with what scale events say and go on with what was seen", () => {
  const scaled = [event(1, "ScaledOut", NOW - 5 * MINUTE, { edges: { from: 2, to: 3 } })];
  const samples = [{ at: NOW - MINUTE, edges: 3, mbps: 0 }, { at: NOW - 30_000, edges: 2, mbps: 0 }];
  equal(steps(scaled, samples, NOW), [
    { at: NOW - 15 * MINUTE, edges: 2 }, { at: NOW - 5 * MINUTE, edges: 3 }, { at: NOW - 30_000, edges: 2 },
  ]);
  equal(steps([], [], NOW), []);
});

test("samples are bounded in number and time", () => {
  let samples = [];
  for (let second = 0; second < 2000; second += 1) samples = sampled(samples, pool("web", ORIGIN), NOW + second * 1000);
  ok(samples.length <= 1000 && samples[0].at >= NOW + (2000 - 962) * 1000, `${samples.length} from ${samples[0].at - NOW}`);
});

test("figures and times are short", () => {
  equal([mbps(0), mbps(0.25), mbps(12.34), mbps(940), mbps(2500)], ["0 Mbit/s", "250 kbit/s", "12.3 Mbit/s", "940 Mbit/s", "2.5 Gbit/s"]);
  equal([span(7000), span(754_000), span(3 * 3_600_000 + 5 * MINUTE)], ["0:07", "12:34", "3 h 05 min"]);
  equal([ago(500), ago(42_000), ago(7 * MINUTE)], ["now", "42 s ago", "7 min ago"]);
  equal(spoken("EdgeDrainCancelled"), "edge drain cancelled");
});
