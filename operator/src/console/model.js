// What the fleet document means: who feeds whom, how loaded, how far a drain has come. Pure.

/** Streams shown of one origin, edges shown of one pool; the rest is a number. */
export const MOST = { streams: 12, edges: 60 };

const ORIGIN = "StreamOrigin";

function keyOf(kind, entry) {
  return `${kind} ${entry.namespace}/${entry.name}`;
}

/**
 * Origins, each with the pools that it feeds, each with those that it feeds. What hangs on nothing (an upstream that
 * does not exist, pools in a circle) stands at the end as roots of its own, marked `lost`.
 */
export function tree(fleet) {
  const nodes = new Map();
  for (const entry of fleet.origins) nodes.set(keyOf(ORIGIN, entry), { kind: "origin", entry, children: [], lost: false });
  for (const entry of fleet.pools) nodes.set(keyOf("EdgePool", entry), { kind: "pool", entry, children: [], lost: false });
  for (const [key, node] of nodes) node.key = key;
  const parent = (node) => {
    const upstream = node.entry.upstream;
    return upstream && nodes.get(keyOf(upstream.kind, { namespace: node.entry.namespace, name: upstream.name }));
  };
  const reachesOrigin = (node) => {
    for (let steps = 0, at = node; at && steps <= nodes.size; steps += 1, at = parent(at)) if (at.kind === "origin") return true;
    return false;
  };
  const roots = [];
  for (const node of nodes.values()) {
    const fed = reachesOrigin(node);
    node.lost = !fed;
    const above = node.kind === "pool" && fed ? parent(node) : null;
    (above ? above.children : roots).push(node);
  }
  return roots;
}

/** All pools below a node of the tree. */
export function below(node) {
  return node.children.flatMap((child) => [child.entry, ...below(child)]);
}

/** Edges below that have a stream ready to play, and all that could. */
export function carriers(stream, pools) {
  const edges = pools.flatMap((pool) => pool.edges).filter((edge) => !edge.draining && !edge.suspect);
  const name = `${stream.app}/${stream.name}`;
  return { have: edges.filter((edge) => edge.streams.includes(name)).length, of: edges.length };
}

export function totals(fleet) {
  const sum = (list, of) => list.reduce((total, item) => total + of(item), 0);
  return {
    viewers: sum(fleet.pools, (pool) => pool.viewers),
    mbps: sum(fleet.pools, (pool) => pool.outboundMbps),
    streams: sum(fleet.origins, (origin) => origin.streams.filter((stream) => stream.playable).length),
    ready: sum(fleet.pools, (pool) => pool.ready),
    desired: sum(fleet.pools, (pool) => pool.desired),
    draining: sum(fleet.pools, (pool) => pool.draining),
  };
}

/** How an edge is, in one word and a tone. */
export function edgeState(edge) {
  if (edge.suspect) return { word: "silent", tone: "bad" };
  if (edge.draining) return { word: "draining", tone: "fair" };
  return edge.ready ? { word: "serving", tone: "good" } : { word: "starting", tone: "soft" };
}

export function originState(origin) {
  if (origin.suspended) return { word: "suspended", tone: "soft" };
  return origin.ready ? { word: "serving", tone: "good" } : { word: "not serving", tone: "bad" };
}

export function poolState(pool) {
  if (pool.suspended) return { word: "suspended", tone: "soft" };
  if (pool.ready === 0) return { word: "no edge serves", tone: "bad" };
  return pool.ready < pool.desired ? { word: "edges are starting", tone: "fair" } : { word: "serving", tone: "good" };
}

/**
 * Bandwidth against capacity: what is sent, what may be, the share in percent, the share above which edges are added.
 * Null without a capacity.
 */
export function load(pool) {
  if (!pool.capacityMbps) return null;
  const capacity = pool.capacityMbps * Math.max(pool.ready, 1);
  return { sent: pool.outboundMbps, capacity, percent: (100 * pool.outboundMbps) / capacity, mark: pool.scaleOutPercent ?? null };
}

/** One place for each edge that there is or may be: serving, starting, draining, free. */
export function places(pool, most = 24) {
  const words = pool.edges.map((edge) => edgeState(edge).word);
  const counted = words.filter((word) => word !== "draining").length;
  const free = Math.max(0, Math.max(pool.maxReplicas ?? 0, pool.desired) - counted);
  const order = ["serving", "starting", "silent", "draining"];
  words.sort((a, b) => order.indexOf(a) - order.indexOf(b));
  return [...words, ...Array(free).fill("free")].slice(0, most);
}

/** How far a drain has come: share of its time, time and viewers left. Null for an edge that does not drain. */
export function drain(edge, now) {
  if (!edge.draining || !edge.drainDeadline) return null;
  const [since, deadline] = [Date.parse(edge.drainSince ?? edge.drainDeadline), Date.parse(edge.drainDeadline)];
  const whole = Math.max(1, deadline - since);
  return {
    share: Math.min(1, Math.max(0, (now - since) / whole)),
    leftMs: Math.max(0, deadline - now),
    viewers: edge.viewers,
  };
}

/** The edges to show first: those that somebody would look for. Bounded. */
export function shown(edges, most = MOST.edges) {
  if (edges.length <= most) return edges;
  const rank = (edge) => ["bad", "fair", "soft", "good"].indexOf(edgeState(edge).tone);
  return [...edges].sort((a, b) => rank(a) - rank(b)).slice(0, most);
}

/** "1280×720 H.264 + AAC" as far as it is known. */
export function picture(stream) {
  const names = [["avc", "H.264"], ["hvc1", "H.265"], ["hev1", "H.265"], ["av01", "AV1"], ["mp4a", "AAC"], ["opus", "Opus"], ["Opus", "Opus"]];
  const codec = (text) => names.find(([start]) => text.startsWith(start))?.[1] ?? text;
  const size = stream.width > 0 ? `${stream.width}×${stream.height}` : "";
  return [size, stream.codecs.map(codec).join(" + ")].filter(Boolean).join(" ");
}
