// One viewing of one stream by LL-HLS: hls.js with our setting, made anew when it gives up.

import { completes, configuration, margin, persistent, qualities } from "./tuning.js";
import { memberOf, nameOf, pick, siblings, urlOf } from "./siblings.js";
import { Viewing } from "./viewing.js";

const STUCK_MS = 6000;
/** Longer than any segment: a change of quality waits for no end of one beyond it. */
const PATIENCE_MS = 5000;
const RATE_MS = 2000;
const MAX_RECEIVED = 400;

export class SegmentSession extends Viewing {
  #hls = null;
  #received = []; // [when, bytes] of the last two seconds
  #wanted = -1;
  #marginMs = null;
  #within = false; // the newest fragment is there in part
  #patience = 0;

  #asked; // as the address has it, until its group is known
  #named = null; // the member that is wanted, as numbers of levels change with every playlist

  constructor(url, screen, onstate, wanted = null) {
    super(url, screen, onstate, STUCK_MS);
    this.#asked = wanted;
    this.open();
  }

  bitrate(nowMs) {
    this.#received = this.#received.filter(([at]) => at > nowMs - RATE_MS);
    return (this.#received.reduce((sum, [, bytes]) => sum + bytes, 0) * 8000) / RATE_MS;
  }

  /** How far what is seen lags the origin by EXT-X-PROGRAM-DATE-TIME, in ms; null before the first picture. */
  latency(position, wallMs) {
    const date = this.#hls?.playingDate;
    return date ? wallMs - date.getTime() : null;
  }

  /** How far the playhead is behind the playlist's end, in ms, as hls.js reckons it. */
  get edgeLatencyMs() {
    return this.#hls ? this.#hls.latency * 1000 : null;
  }

  /** `{id, label}` of what can be chosen; empty if there is one quality only. */
  get qualities() {
    return qualities(this.#hls?.levels ?? []);
  }

  /** What the viewer chose, −1 for automatic. */
  get quality() {
    return this.#wanted;
  }

  /** The id of the quality that is shown, −1 before the first picture. */
  get shownQuality() {
    return this.#hls?.currentLevel ?? -1;
  }

  /** What the viewer wants, for another session: a name, empty for automatic, null if nothing was chosen. */
  get chosen() {
    return this.#asked ?? this.#named;
  }

  /** A member is played out of its group's playlist, and so has a menu. */
  #join(list) {
    if (!list) return;
    const { group, members } = list;
    const at = pick(members, this.#asked);
    const own = members.find(({ name }) => name === nameOf(this.url));
    if (at >= 0) [this.#named, this.#asked] = [members[at].name, null];
    else if (own && this.#asked !== "") this.#named ??= own.name;
    if (own && members.length > 1) this.url = urlOf(this.url, group);
  }

  /** Goes on in another quality from the next fragment on, which begins with a key frame; what is buffered is shown first. */
  choose(id) {
    this.#wanted = id;
    this.#named = memberOf(this.#hls?.levels[id]?.uri ?? "");
    this.#asked = id < 0 ? "" : null;
    clearTimeout(this.#patience);
    if (!this.#within) this.#go();
    else this.#patience = setTimeout(() => this.#go(), PATIENCE_MS);
    this.changed();
  }

  #go() {
    clearTimeout(this.#patience);
    if (this.#hls && this.#hls.levels.length > 1 && this.#hls.manualLevel !== this.#wanted) this.#hls.loadLevel = this.#wanted;
  }

  get livePosition() {
    return this.#hls?.liveSyncPosition ?? null;
  }

  stop() {
    super.stop();
    clearTimeout(this.#patience);
    this.#hls?.stopLoad();
  }

  fed(nowMs) {
    return this.bitrate(nowMs) > 0;
  }

  leave() {
    this.#hls?.stopLoad();
    this.#hls = null;
  }

  steer() {
    if (this.reel) this.reel.marginMs = this.back ? null : this.#marginMs;
  }

  async open() {
    let Hls;
    try {
      const [library, list] = await Promise.all([import("./hls.min.mjs"), siblings(this.url)]);
      Hls = library.default;
      this.#join(list);
    } catch (error) {
      console.warn("headwater: hls.js can't be loaded", error);
      return this.refused(0);
    }
    if (this.stopped) return;
    const { loader, abrController } = Hls.DefaultConfig;
    const hls = new Hls({ ...configuration(), pLoader: persistent(loader), abrController: this.#patient(abrController) });
    this.#within = false;
    this.#hls = hls;
    const { video } = this.begin(() => hls.destroy());
    this.#listen(hls, video, Hls.Events);
    hls.loadSource(this.url.href);
    hls.attachMedia(video);
  }

  /** hls.js's choice of a quality, taken between segments only. */
  #patient(Choice) {
    const stays = () => (this.#within ? (this.#hls?.loadLevel ?? -1) : -1);
    return class extends Choice {
      get nextAutoLevel() {
        const level = stays();
        return level >= 0 ? level : super.nextAutoLevel;
      }
      set nextAutoLevel(level) {
        super.nextAutoLevel = level;
      }
    };
  }

  #listen(hls, video, events) {
    const current = () => this.#hls === hls && !this.stopped;
    const on = (event, act) => hls.on(event, (_, data) => current() && act(data));
    on(events.MANIFEST_PARSED, () => {
      this.#wanted = this.#named ? hls.levels.findIndex(({ uri }) => memberOf(uri) === this.#named) : -1;
      if (this.#wanted >= 0) hls.loadLevel = this.#wanted;
    });
    on(events.LEVEL_LOADED, ({ details }) => {
      if (!details.live && this.state !== "playing") return this.again("ended");
      this.over = !details.live; // hls.js may leave the last part of one track unfetched, and then sees no end
      this.greet();
      this.#marginMs = margin(details);
      this.steer();
    });
    on(events.LEVEL_SWITCHED, () => this.changed());
    on(events.FRAG_LOADED, ({ frag, part, payload }) => {
      const details = frag.type === "main" ? hls.levels[frag.level]?.details : null;
      if (details) {
        this.#within = !completes(part, details);
        if (!this.#within) this.#go();
      }
      this.#received.push([performance.now(), payload.byteLength]);
      if (this.#received.length > MAX_RECEIVED) this.#received.shift();
    });
    on(events.ERROR, (data) => data.fatal && this.#fail(data));
    video.addEventListener("ended", () => current() && this.again("ended"));
  }

  #fail({ details, response, error }) {
    console.warn("headwater: hls.js gives up", details, error?.message);
    if (/codec/i.test(details)) {
      this.stop();
      this.set("unsupported", error?.message ?? details);
    } else if (details.startsWith("manifestLoad")) {
      this.refused(response?.code ?? 0);
    } else {
      this.again("reconnecting");
    }
  }
}
