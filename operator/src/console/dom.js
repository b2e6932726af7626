// The page's elements: made once, then changed only where what they say has changed.

/** An element with a class and children, text or elements. */
export function el(tag, className = "", ...children) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  element.append(...children);
  return element;
}

const SVG = "http://www.w3.org/2000/svg";

/** An SVG element with attributes. */
export function svg(tag, attributes = {}, ...children) {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

export function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

export function mark(element, name, value) {
  if (value === null || value === undefined || value === false) element.removeAttribute(name);
  else if (element.getAttribute(name) !== String(value)) element.setAttribute(name, value);
}

/** The children of `parent` are one for each item, in order; those whose item is gone go. */
export function list(parent, items, key, make, update) {
  const known = (parent.known ??= new Map());
  const before = new Map(known);
  known.clear();
  let at = parent.firstChild;
  for (const item of items) {
    const name = key(item);
    const part = before.get(name) ?? make(item);
    before.delete(name);
    known.set(name, part);
    if (part.element === at) at = at.nextSibling;
    else parent.insertBefore(part.element, at);
    update(part, item);
  }
  for (const part of before.values()) part.element.remove();
}

/** A coloured dot and a word. */
export function stateTag() {
  const [dot, word] = [el("span", "lamp"), el("span")];
  dot.setAttribute("aria-hidden", "true");
  const element = el("span", "state", dot, word);
  return {
    element,
    set({ word: text, tone }) {
      say(word, text);
      mark(dot, "data-tone", tone);
    },
  };
}

/** A bar from 0 to 100 percent, with an optional mark. */
export function meter(label) {
  const [fill, threshold] = [el("i", "fill"), el("i", "threshold")];
  const element = el("div", "meter", fill, threshold);
  element.setAttribute("role", "meter");
  element.setAttribute("aria-label", label);
  element.setAttribute("aria-valuemin", "0");
  element.setAttribute("aria-valuemax", "100");
  return {
    element,
    set({ percent, text, tone, threshold: at = null }) {
      const value = Math.min(100, Math.max(0, percent));
      mark(element, "aria-valuenow", Math.round(value));
      mark(element, "aria-valuetext", text);
      mark(element, "data-tone", tone);
      fill.style.setProperty("width", `${value.toFixed(1)}%`);
      threshold.hidden = at === null;
      if (at !== null) threshold.style.setProperty("left", `${at}%`);
    },
  };
}
