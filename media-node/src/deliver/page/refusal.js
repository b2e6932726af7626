// Why a WebSocket did not open: it hides the status of a refused upgrade, which a HEAD of the same path tells.

import { isSet } from "./choice.js";

const ASK_MS = 2000;

/** Status of the stream (0 without an answer, or from another origin that lets no script read it), and whether it is a set of qualities. */
export async function refusal(socket) {
  const url = new URL(socket);
  url.protocol = url.protocol.replace("ws", "http");
  const { status } = await ask(url, "HEAD");
  if (status !== 404) return { status, several: false };
  url.pathname = url.pathname.replace(/\.mp4$/, ".m3u8");
  return { status, several: isSet((await ask(url, "GET")).text) };
}

async function ask(url, method) {
  try {
    const answer = await fetch(url, { method, signal: AbortSignal.timeout(ASK_MS) });
    return { status: answer.status, text: answer.ok ? await answer.text() : "" };
  } catch {
    return { status: 0, text: "" };
  }
}
