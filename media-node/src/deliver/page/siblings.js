// The qualities of a stream that is one of a group, which come and go.

import { qualities } from "./tuning.js";

const ASK_MS = 3000;

/** @typedef {{name: string, height: number, bitrateBps: number}} Member */

/**
 * What the server says of the group of a stream, or of a group itself: its members, the best first; null where there is none.
 * @param {URL} url of the stream, as `…/app/name.mp4` or `.m3u8` @returns {Promise<{group: string, members: Member[]}|null>}
 */
export async function siblings(url) {
  const list = new URL(url);
  list.protocol = list.protocol.replace("ws", "http");
  list.pathname = list.pathname.replace(/\.[^.]+$/, "/group.json");
  try {
    const answer = await fetch(list, { signal: AbortSignal.timeout(ASK_MS) });
    if (!answer.ok) return null;
    const { group, members } = await answer.json();
    return group && members?.length ? { group, members } : null;
  } catch {
    return null;
  }
}

/** True if the name is the group's own, and no stream's. Pure. @param {{group: string, members: Member[]}|null} list */
export function isGroup(list, name) {
  return list?.group === name && !list.members.some((member) => member.name === name);
}

/** The same URL for another stream of its app. */
export function urlOf(url, name) {
  const other = new URL(url);
  other.pathname = other.pathname.replace(/[^/]+(\.[^.]+)$/, (_, form) => name + form);
  return other;
}

/** Name of the stream that a URL is of. */
export function nameOf(url) {
  return url.pathname.replace(/^.*\//, "").replace(/\.[^.]+$/, "");
}

/** Name of the stream whose playlist this is: its folder's. Pure. @param {string} uri of a variant, `…/app/name/video.m3u8` */
export function memberOf(uri) {
  return /([^/]+)\/[^/]+\.m3u8(\?|$)/.exec(uri)?.[1] ?? null;
}

/**
 * The list of live streams with an entry for each group of several, before its first member; a stream of that name wins. Pure.
 * @param {{app: string, name: string, group?: string}[]} streams
 */
export function withGroups(streams) {
  const taken = new Set(streams.map(({ app, name }) => `${app}/${name}`));
  return streams.flatMap((stream) => {
    const { app, group } = stream;
    const path = `${app}/${group}`;
    if (!group || taken.has(path)) return [stream];
    taken.add(path);
    const count = streams.filter((other) => other.app === app && other.group === group).length;
    return count > 1 ? [{ app, name: group, members: count }, stream] : [stream];
  });
}

/** `{id, label}` of the members, in their order. Pure. @param {Member[]} members */
export function menu(members) {
  return qualities(members.map(({ height, bitrateBps }) => ({ height, bitrate: bitrateBps }))).filter(({ id }) => id >= 0);
}

/**
 * Which of them `?quality=` means: a height such as 480 or 480p, or a name or its end; −1 if none. Pure.
 * @param {Member[]} members @param {string|null} wanted
 */
export function pick(members, wanted) {
  if (!wanted) return -1;
  const height = /^(\d+)p?$/.exec(wanted)?.[1];
  const at = height ? members.findIndex((member) => member.height === Number(height)) : -1;
  return at >= 0 ? at : members.findIndex(({ name }) => name === wanted || name.endsWith(wanted));
}
