// Figures and words of the operator in a person's words. Pure.

/** Megabits per second: short, never with more digits than mean something. */
export function mbps(value) {
  if (value >= 1000) return `${digits(value / 1000)} Gbit/s`;
  if (value > 0 && value < 1) return `${Math.round(value * 1000)} kbit/s`;
  return `${digits(value)} Mbit/s`;
}

function digits(value) {
  return value >= 100 || value === 0 ? String(Math.round(value)) : value.toFixed(1);
}

/** 12345 as "12,345". */
export function count(value) {
  return Math.round(value).toLocaleString("en");
}

export function plural(value, noun) {
  return `${count(value)} ${noun}${value === 1 ? "" : "s"}`;
}

/** A length of time: "0:07", "12:34", "3 h 05 min", "2 days". */
export function span(ms) {
  const seconds = Math.max(0, Math.floor(ms / 1000));
  if (seconds >= 172_800) return `${Math.floor(seconds / 86_400)} days`;
  const two = (value) => String(value).padStart(2, "0");
  const [hours, minutes] = [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60];
  return hours > 0 ? `${hours} h ${two(minutes)} min` : `${minutes}:${two(seconds % 60)}`;
}

/** How long ago, for a list: "now", "42 s ago", "7 min ago". */
export function ago(ms) {
  if (ms < 2000) return "now";
  if (ms < 60_000) return `${Math.floor(ms / 1000)} s ago`;
  if (ms < 3_600_000) return `${Math.floor(ms / 60_000)} min ago`;
  return ms < 172_800_000 ? `${Math.floor(ms / 3_600_000)} h ago` : `${Math.floor(ms / 86_400_000)} days ago`;
}

/** A resource's name, with its namespace where the fleet has several. */
export function named(resource, many) {
  return many ? `${resource.namespace}/${resource.name}` : resource.name;
}

/** What the operator says of a pool's number of edges. */
export const SCALING = {
  WithinBand: "the load fits",
  LoadAboveScaleOut: "edges are added for the load",
  LoadBelowScaleIn: "edges go: fewer carry the load",
  ScaleOutStabilizing: "more edges soon, if the load stays",
  ScaleInStabilizing: "fewer edges soon, if the load stays low",
  FiguresMissing: "figures are missing, nothing is taken away",
  Fallback: "figures are missing, the fallback number holds",
  BelowMinimum: "brought up to the minimum",
  AboveMaximum: "brought down to the maximum",
  Paused: "paused by annotation",
  ScaleInPaused: "scaling in is paused by annotation",
  ScaleOutPaused: "scaling out is paused by annotation",
  Manual: "a set number",
  Suspended: "suspended",
};

/** What the operator says of a pool and its upstream, where that is not well. */
export const REPLICATION = {
  UpstreamUnheard: "its origin has not been heard from yet",
  UpstreamSilent: "its origin is silent; edges keep what they hold",
  UpstreamSuspended: "its upstream is suspended",
  UpstreamNotFound: "its upstream does not exist",
  UpstreamInvalid: "its upstream has a spec that is refused",
  UpstreamCycle: "pools feed each other in a circle",
  TooManyStreams: "more streams than are planned; the rest is pulled on demand",
};

/** "ScaledOut" as "scaled out". */
export function spoken(reason) {
  return reason.replace(/(?<!^)([A-Z])/g, " $1").toLowerCase();
}
