// For pages of others: <script src="http://SERVER/play/embed.js" data-stream="live/cam1"></script> puts the player where it stands.
// Attributes and events are in docs/player.md. A plain script, since modules can't tell which element loaded them.

(() => {
  const script = document.currentScript;
  const { stream = "", protocol, quality, muted, autoplay, width, height, title } = script.dataset;
  const server = new URL(script.src).origin;
  const name = /^[A-Za-z0-9_-][A-Za-z0-9._-]{0,127}$/;
  const path = stream.includes("/") ? stream.split("/") : ["live", stream];
  if (path.length !== 2 || !path.every((step) => name.test(step))) {
    console.error(`headwater: data-stream must be NAME or APP/NAME, not "${stream}"`);
    return;
  }

  const address = new URL(`${server}/play/${path[0]}/${path[1]}`);
  const set = (key, value) => address.searchParams.set(key, value);
  const on = (flag) => flag !== undefined && flag !== "false";
  set("embed", "1");
  if (location.origin !== "null") set("origin", location.origin); // a page out of a file has none, and gets no events
  if (protocol) set("protocol", protocol);
  if (quality) set("quality", quality);
  if (on(muted)) set("muted", "1");
  if (autoplay === "false") set("autoplay", "0");

  const frame = document.createElement("iframe");
  frame.src = address.href;
  frame.title = title ?? `${path[0]}/${path[1]}`;
  frame.allow = "autoplay; fullscreen; picture-in-picture";
  frame.style.border = "0";
  frame.style.width = length(width) ?? "100%";
  if (length(height)) frame.style.height = length(height);
  else frame.style.aspectRatio = "16 / 9";
  if (script.id) frame.id = `${script.id}-player`;
  script.after(frame);

  /** A number is pixels; other lengths of CSS are taken as they are. */
  function length(text) {
    return text && (/^\d+$/.test(text) ? `${text}px` : text);
  }

  window.addEventListener("message", ({ source, origin, data }) => {
    if (source !== frame.contentWindow || origin !== server) return;
    if (data?.source !== "headwater" || typeof data.type !== "string" || !data.type.startsWith("headwater:")) return;
    frame.dispatchEvent(new CustomEvent(data.type, { detail: data.detail, bubbles: true }));
  });
})();
