// What somebody should know: from the fleet document to a list of findings, the worst first. Pure.

import { REPLICATION, named, plural, span } from "./words.js";

const ORDER = ["bad", "fair", "note"];
/** Silent edges named in one finding. */
const NAMED = 5;

/** Findings `{tone, text}`; `link` is `{lostMs}`, the time without an answer, or null while the operator answers. */
export function findings(fleet, link = null) {
  const found = [];
  const add = (tone, text) => found.push({ tone, text });
  if (link) add("bad", `The operator has not answered for ${span(link.lostMs)}. What stands here is what it last said.`);
  if (!fleet) return found;
  if (fleet.standingBy) {
    add("note", "This operator stands by: another one leads, or none does yet. The leader's console shows the fleet.");
    return found;
  }
  if (fleet.manifestError) add("bad", `The manifests on disk are not in force: ${fleet.manifestError}`);
  if (fleet.learning) add("note", "The operator has just started: nodes that ran before are still waited for.");
  const many = severalNamespaces(fleet);
  for (const origin of fleet.origins) {
    if (!origin.ready && !origin.suspended) add("bad", `Origin ${named(origin, many)} does not serve.`);
  }
  for (const pool of fleet.pools) for (const { tone, text } of ofPool(pool)) add(tone, `Pool ${named(pool, many)}: ${text}.`);
  return found.sort((a, b) => ORDER.indexOf(a.tone) - ORDER.indexOf(b.tone));
}

export function severalNamespaces(fleet) {
  return new Set([...fleet.origins, ...fleet.pools].map((entry) => entry.namespace)).size > 1;
}

function ofPool(pool) {
  if (pool.suspended) return [];
  const found = [];
  const silent = pool.edges.filter((edge) => edge.suspect).map((edge) => edge.name);
  if (pool.ready === 0 && pool.desired > 0) found.push({ tone: "bad", text: "no edge serves" });
  else if (pool.ready < pool.desired) found.push({ tone: "fair", text: `${pool.ready} of ${plural(pool.desired, "edge")} serve` });
  if (silent.length > 0) {
    const more = silent.length > NAMED ? ` and ${silent.length - NAMED} more` : "";
    const verb = silent.length === 1 ? "is" : "are";
    found.push({ tone: "bad", text: `${silent.slice(0, NAMED).join(", ")}${more} ${verb} silent and planned around` });
  }
  if (REPLICATION[pool.replication]) found.push({ tone: "fair", text: REPLICATION[pool.replication] });
  if (pool.failingPull) found.push({ tone: "fair", text: `a pull fails: ${pool.failingPull}` });
  const full = pool.maxReplicas && pool.desired >= pool.maxReplicas && pool.scaleOutPercent;
  if (full && pool.utilizationPercent > pool.scaleOutPercent) {
    const load = `${Math.round(pool.utilizationPercent)} % of capacity`;
    found.push({ tone: "fair", text: `at its maximum of ${plural(pool.maxReplicas, "edge")}, with a load of ${load}` });
  }
  return found;
}
