// The quality menu of a group, and the way back in time that only HLS has.

import { isLive, timeline } from "./tuning.js";

export class Deck {
  #menu;
  #bar;
  #live;
  #session;
  #held = false; // the viewer has the slider in hand

  /**
   * @param {{menu: HTMLSelectElement, bar: HTMLInputElement, live: HTMLButtonElement}} parts
   * @param {() => object|null} session the one that plays
   */
  constructor({ menu, bar, live }, session) {
    this.#menu = menu;
    this.#bar = bar;
    this.#live = live;
    this.#session = session;
    menu.addEventListener("change", () => session()?.choose(Number(menu.value)));
    live.addEventListener("click", () => session()?.goLive());
    bar.addEventListener("input", () => (this.#held = true));
    bar.addEventListener("change", () => {
      this.#held = false;
      const place = this.place;
      if (!place) return;
      const to = place.end + Number(bar.value);
      if (isLive(place, to)) session().goLive();
      else session().seek(to);
    });
  }

  /** The stretch that can be gone back over, null if there is none. */
  get place() {
    const session = this.#session();
    return session ? timeline(session.seekable, session.position, session.back) : null;
  }

  /** Shows what can be chosen now. */
  show() {
    this.#showMenu();
    const place = this.place;
    this.#bar.hidden = this.#live.hidden = !place;
    if (!place) return;
    this.#live.setAttribute("aria-pressed", String(place.live));
    if (this.#held) return;
    this.#bar.min = String(Math.ceil(place.start - place.end));
    this.#bar.value = String(place.live ? 0 : -place.behindS);
    this.#bar.setAttribute("aria-valuetext", place.live ? "live" : `${Math.round(place.behindS)} s ago`);
  }

  #showMenu() {
    const { qualities = [], quality = -1, shownQuality = -1 } = this.#session() ?? {};
    const menu = this.#menu;
    menu.hidden = qualities.length === 0;
    const shown = qualities.find(({ id }) => id === shownQuality && id >= 0);
    const labels = qualities.map(({ id, label }) => (id < 0 && shown && quality < 0 ? `${label} (${shown.label})` : label));
    // In place where they are the same ones: a list that is open is closed by anything else.
    const same = menu.options.length === qualities.length && qualities.every(({ id }, i) => menu.options[i].value === String(id));
    if (!same) menu.replaceChildren(...qualities.map(({ id }) => new Option("", String(id))));
    for (const [i, label] of labels.entries()) if (menu.options[i].text !== label) menu.options[i].text = label;
    if (menu.value !== String(quality)) menu.value = String(quality);
  }
}
