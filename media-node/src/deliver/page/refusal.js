// Why a WebSocket did not open: it hides the status of a refused upgrade, which a HEAD of the same path tells.

const ASK_MS = 2000;
/** Upgrades in a row that failed although the path answers by HTTP: something on the way lets no WebSocket through. */
const SHUT = 2;

/** Status of the stream; 0 without an answer, or from another origin that lets no script read it. */
export async function refusal(socket) {
  const url = new URL(socket);
  url.protocol = url.protocol.replace("ws", "http");
  try {
    return (await fetch(url, { method: "HEAD", signal: AbortSignal.timeout(ASK_MS) })).status;
  } catch {
    return 0;
  }
}

/** State and detail of a session that was in `state`, whose upgrades failed `shut` times although the path answers. Pure. */
export function meaning(status, state, shut) {
  if (status === 404) return [state === "ended" ? "ended" : "waiting", ""];
  if (shut >= SHUT) return ["reconnecting", "shut"];
  if (state === "ended") return ["ended", ""];
  return ["reconnecting", status === 503 ? "busy" : status ? "" : "unreachable"];
}
