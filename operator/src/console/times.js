// The time line as numbers: which events are kept, where their marks stand, the steps of a pool's edges. Pure.

/** What the time line shows, and what it keeps. */
export const LIMITS = { windowMs: 15 * 60_000, events: 200, samples: 1000 };

/** Events known and new ones, each once, in order, bounded. */
export function merged(known, fresh, most = LIMITS.events) {
  const last = known.length > 0 ? known[known.length - 1].id : -Infinity;
  return [...known, ...fresh.filter((event) => event.id > last)].slice(-most);
}

const SHAPES = {
  ScaledOut: "up",
  ScaledIn: "down",
  EdgeDraining: "drain",
  EdgeDrainCancelled: "up",
  EdgeDrained: "gone",
  StreamPublished: "start",
  StreamEnded: "gone",
  NodeJoined: "start",
  NodeReturned: "start",
  NodeRestarted: "start",
};

/** What an event looks like. */
export function shape(event) {
  return event.warning ? "warning" : (SHAPES[event.reason] ?? "start");
}

/** Remembers how a pool was; bounded, and what is older than the window goes. */
export function sampled(samples, pool, now) {
  const kept = samples.filter((sample) => sample.at > now - LIMITS.windowMs - 60_000).slice(-LIMITS.samples + 1);
  return [...kept, { at: now, edges: pool.ready, mbps: pool.outboundMbps }];
}

/** A time as a place between 0 (the window's begin) and 1 (now). */
export function place(at, now, windowMs = LIMITS.windowMs) {
  return 1 - (now - at) / windowMs;
}

/**
 * Steps `[{at, edges}]` of a pool's number of edges: what was seen since the page is open, and before that what its
 * scale events say.
 */
export function steps(events, samples, now, windowMs = LIMITS.windowMs) {
  const begin = now - windowMs;
  const opened = samples.length > 0 ? samples[0].at : now;
  const scaled = events.filter((event) => event.edges && Date.parse(event.at) < opened);
  const points = scaled.map((event) => ({ at: Date.parse(event.at), edges: event.edges.to }));
  if (scaled.length > 0) points.unshift({ at: begin, edges: scaled[0].edges.from });
  for (const sample of samples) points.push({ at: sample.at, edges: sample.edges });
  const changes = points.filter((point, at) => at === 0 || point.edges !== points[at - 1].edges);
  const before = changes.filter((point) => point.at <= begin).pop();
  const within = changes.filter((point) => point.at > begin);
  return before ? [{ at: begin, edges: before.edges }, ...within] : within;
}

/** Lanes of the strip: one for streams, one for each pool (bounded), each with its marks inside the window. */
export function lanes(fleet, events, now, most = 6) {
  const recent = events.filter((event) => place(Date.parse(event.at), now) > 0);
  const of = (kind, entry) => recent.filter((event) => event.kind === kind && (!entry || same(event, entry)));
  const marks = (list) => list.map((event) => ({ event, at: Date.parse(event.at), shape: shape(event) }));
  // Nodes that come are seen in the steps; their marks would hide those of the scale events.
  const told = (list) => marks(list).filter((mark) => mark.shape !== "start");
  const pools = fleet.pools.slice(0, most).map((pool) => ({ pool, marks: told(of("EdgePool", pool)) }));
  return [{ pool: null, marks: marks(of("StreamOrigin")) }, ...pools];
}

export function same(event, entry) {
  return event.namespace === entry.namespace && event.name === entry.name;
}
