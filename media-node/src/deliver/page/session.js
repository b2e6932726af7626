// One viewing of one stream: connects, reconnects, moves, changes quality, and passes frames on to the screen's sink exactly once.

import { Anchors } from "./anchors.js";
import { widen } from "./boxes.js";
import { Connection } from "./connection.js";
import { Line } from "./line.js";
import { Move } from "./move.js";
import { meaning, refusal } from "./refusal.js";
import { reconnectDelay } from "./retry.js";
import { isGroup, menu, nameOf, pick, siblings, urlOf } from "./siblings.js";
import { Sink, Source } from "./sink.js";
import { endOf, handover, isNew, place } from "./splice.js";

const MAX_HELD_BYTES = 32 << 20;
const BACKWARD_S = 1;
/** Video frames claim to be this long, so that gaps of up to twice as much are played through; `end` says the truth. */
const CLAIMED_S = { video: 0.5 };
const FAILED_RECENTLY_MS = 20000;

export class Session {
  #url;
  #screen;
  #onstate;
  #line = null;
  #next = null; // the line that a move opened
  #moving = null;
  #attempt = 0;
  #timer = 0;
  #stopped = false;
  #greeted = false; // a node has answered once
  #program = null; // what the sink holds: {mime, bytes, kinds, epoch}
  #marks = {};
  #offset = 0;
  #anchors = new Anchors();
  #ends = {}; // newest presentation end of each kind in the sink, seconds
  #shut = 0; // upgrades that failed in a row although the node answers
  #members = []; // of its group
  #wanted; // the quality that is to be chosen as soon as there is such a one
  #failedAt = -Infinity; // when the browser last refused media: the back-off goes on although frames come

  /**
   * @param {URL} url of the stream, `ws:` or `wss:` @param {import("./screen.js").Screen} screen @param {() => void} onstate
   * @param {string|null} wanted quality, as `?quality=` has it
   */
  constructor(url, screen, onstate, wanted = null) {
    this.#url = url;
    this.#screen = screen;
    this.#onstate = onstate;
    this.state = "connecting";
    this.detail = "";
    this.moves = this.reconnects = 0;
    this.qualities = []; // of its group, whose members are streams of their own
    this.quality = this.shownQuality = -1;
    this.edgeLatencyMs = null;
    this.seekable = [];
    this.back = false;
    this.#wanted = wanted;
    this.#connect();
    this.#askMembers();
  }

  /** Goes on in another quality, by make-before-break, from a key frame on that both have. */
  choose(id) {
    this.#wanted = null;
    if (!this.#members[id] || id === this.quality) return;
    this.#cancelMove();
    this.quality = id;
    if (id === this.shownQuality) return this.#goOn();
    if (this.state === "playing" && this.#program) return this.#startMove(id);
    this.#url = urlOf(this.#url, this.#members[id].name);
    this.shownQuality = id;
    this.#line?.connection.close();
    clearTimeout(this.#timer);
    this.#connect();
  }

  /** It may be one of a group, or the group itself, of which the best is played unless another one is wanted. Members come and go. */
  async #askMembers() {
    const list = await siblings(this.#url);
    if (!list || this.#stopped || this.#moving?.gate) return;
    const [{ members }, own] = [list, nameOf(this.#url)];
    this.#members = members;
    this.qualities = menu(members);
    this.quality = this.shownQuality = members.findIndex(({ name }) => name === own);
    const group = isGroup(list, own);
    if (group) this.#set("waiting", "several"); // whoever may choose another protocol does so now
    if (this.#stopped) return;
    const id = pick(members, this.#wanted);
    if (id >= 0 || group) this.choose(Math.max(id, 0));
    this.#onstate();
  }

  /** Name of the node that serves this viewer. */
  get node() {
    return this.#line?.connection.node ?? "";
  }

  /** Incarnation of the stream, null if not known yet. */
  get epoch() {
    return this.#program?.epoch ?? null;
  }

  /** Up to where every track has really come, in seconds; null before the first frame. */
  get end() {
    const ends = Object.values(this.#ends);
    return ends.length ? Math.min(...ends) : null;
  }

  /** Name of the quality that is played, or gone over to; null if there is no choice. */
  get chosen() {
    return this.#members[this.quality]?.name ?? this.#wanted;
  }

  get moving() {
    return this.#moving !== null && !this.#moving.gate;
  }

  bitrate(nowMs) {
    return this.#line?.connection.bitrate(nowMs) ?? 0;
  }

  /** How far what is seen at `position` (seconds) lags the origin, in ms; null without a clock. */
  latency(position, wallMs) {
    return this.#anchors.latency(position, wallMs);
  }

  /** Ends it for good; the screen keeps its last picture. */
  stop() {
    this.#stopped = true;
    clearTimeout(this.#timer);
    this.#cancelMove();
    this.#line?.connection.close();
    this.#line = null;
  }

  #set(state, detail = "") {
    if (this.state === state && this.detail === detail) return;
    [this.state, this.detail] = [state, detail];
    this.#onstate();
  }

  #connect() {
    if (!this.#stopped) this.#line = new Line(new Connection(this.#url, (connection, type, message) => this.#take(connection, type, message)));
  }

  #take(connection, type, message) {
    if (connection === this.#next?.connection) this.#takeNext(this.#next, type, message);
    else if (connection === this.#line?.connection) this.#takeCurrent(this.#line, type, message);
  }

  #takeCurrent(line, type, message) {
    switch (type) {
      case "hello":
        if (this.#greeted) this.reconnects += 1;
        if (this.#greeted || this.#attempt > 0) this.#askMembers();
        this.#greeted = true;
        this.#shut = 0;
        this.#set("playing"); // connected: whether pictures come is seen at the buffer
        this.#onstate();
        break;
      case "init":
        line.program = message;
        line.applied = false;
        break;
      case "clock":
        line.clock = message;
        if (message.epoch !== undefined) line.connection.epoch = message.epoch;
        break;
      case "fragment":
        this.#pass(line, message);
        if (this.#next) this.#considerHandover();
        break;
      case "move":
        line.told = true;
        if (!this.#moving) this.#startMove();
        break;
      case "end":
        this.#cancelMove();
        line.connection.close();
        this.#set("ended");
        this.#retryLater();
        break;
      case "closed":
        if (this.#next && !this.#moving?.gate) this.#switch(); // on its way already: take it as it is
        else this.#lost(message.opened);
        break;
    }
  }

  // Frames to the sink

  /** Frames of the old quality wait from a key frame on for the new one's. */
  #pass(line, fragment) {
    const gate = this.#next?.pictures ? this.#moving.gate : null;
    if (!gate) this.#letGo();
    const { shown, kept } = gate?.pass(fragment, performance.now()) ?? { shown: [], kept: false };
    for (const held of shown) this.#admit(line, held);
    if (!kept) this.#admit(line, fragment);
  }

  #admit(line, { bytes, samples }) {
    if (!line.program || !samples.length) return;
    const [lead] = samples;
    const known = this.#marks[lead.kind];
    const wentBack = line.caughtUp.has(lead.kind) && known && lead.key && lead.dts < known.dts - BACKWARD_S;
    if (!line.applied || wentBack) {
      if (!this.#apply(line, lead, wentBack)) return;
      line.applied = true;
    }
    for (const sample of samples) if (isNew(sample, this.#marks)) line.caughtUp.add(sample.kind);
    if (!samples.some((sample) => line.caughtUp.has(sample.kind))) return;
    const { kinds } = this.#program;
    if (line.clock && (lead.kind === "video" || !kinds.has("video"))) {
      // The clock counts decoding times, the playhead presentation times.
      this.#anchors.add(line.clock.mediaTimeMs / 1000 + lead.pts - lead.dts + this.#offset, line.clock.wallMs);
      line.clock = null;
    }
    const isKey = lead.kind === "video" && lead.key;
    widen(bytes, line.program.tracks, CLAIMED_S);
    this.#screen.sink.takeFragment(bytes, isKey ? lead.pts + this.#offset : null, kinds.has("video") ? isKey : true);
    for (const sample of samples) {
      this.#marks[sample.kind] = sample;
      const end = sample.pts + sample.duration + this.#offset;
      this.#ends[sample.kind] = Math.max(end, this.#ends[sample.kind] ?? end);
    }
    if (performance.now() - this.#failedAt > FAILED_RECENTLY_MS) this.#attempt = 0;
  }

  /** Makes the line's program the sink's. False if this browser can't play it. */
  #apply(line, lead, wentBack) {
    const { kinds, program: { mime, bytes }, connection: { epoch } } = line;
    if (!wentBack && line.is(this.#program)) return true;
    if (!Source.isTypeSupported(mime)) {
      this.stop();
      this.#set("unsupported", mime);
      return false;
    }
    const offset = place({ end: endOf(this.#marks), pts: lead.pts, offset: this.#offset });
    const sameKinds = this.#program && [...kinds].join() === [...this.#program.kinds].join();
    // A changed program needs its own key frame, even one whose time the buffer has already.
    if (!sameKinds || offset !== this.#offset || this.#program.epoch !== epoch || !isNew(lead, this.#marks)) this.#marks = {};
    this.#offset = offset;
    this.#program = { mime, bytes, kinds, epoch };
    if (!sameKinds || !this.#screen.sink) {
      this.#screen.rebuild((video) => new Sink(video, mime, (why) => this.#sinkFailed(why)));
    }
    this.#screen.sink.takeInit(bytes, mime, offset);
    this.#ends = {};
    return true;
  }

  #sinkFailed(why) {
    console.warn("headwater: the buffer is made anew", why);
    this.#failedAt = performance.now();
    this.#program = null;
    this.#marks = {};
    this.#cancelMove();
    this.#line?.connection.close();
    this.#lost(true);
  }

  // Lost connections

  #lost(opened) {
    this.#cancelMove();
    if (this.state !== "ended" && this.state !== "waiting") this.#set("reconnecting");
    if (!opened) this.#askWhy();
    this.#retryLater();
  }

  #retryLater() {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#connect(), reconnectDelay(this.#attempt++, Math.random()));
  }

  async #askWhy() {
    const status = await refusal(this.#url);
    if (this.#stopped || this.state === "playing") return;
    this.#shut = status === 200 ? this.#shut + 1 : 0;
    this.#set(...meaning(status, this.state, this.#shut));
    if (status === 404) this.#askMembers();
  }

  // Moves

  /** To another node, or to another quality. */
  #startMove(quality = null) {
    const url = quality === null ? this.#url : urlOf(this.#url, this.#members[quality].name);
    this.#moving = new Move(url, quality, (now) => this.#look(now));
    this.#tryMove();
  }

  #tryMove() {
    this.#next = new Line(new Connection(this.#moving.url, (connection, type, message) => this.#take(connection, type, message)));
    this.#onstate();
  }

  #retryMove() {
    this.#letGo();
    this.#next?.connection.close();
    this.#next = null;
    if (!this.#moving.again(() => this.#tryMove())) this.#cancelMove(); // until the node asks again
  }

  /** What was held back of the old quality is shown after all. */
  #letGo() {
    for (const held of this.#moving?.gate?.open() ?? []) this.#admit(this.#line, held);
  }

  /** What no frame of either stream brings about: the old one is shown on, and a change of quality comes to an end. */
  #look(now) {
    const { gate } = this.#moving;
    if (gate.overdue(now)) this.#letGo();
    if (gate.over(now)) {
      this.#cancelMove();
      this.#goOn();
      this.#askMembers(); // it may have ended
    } else if (this.#next) this.#considerHandover();
  }

  /** After a change of quality, or without it: to another node if that was asked for meanwhile. */
  #goOn() {
    if (this.#line?.told && this.state === "playing") this.#startMove();
    this.#onstate();
  }

  #cancelMove() {
    if (this.#line) this.#letGo();
    if (this.#moving?.gate) this.quality = this.shownQuality;
    this.#moving?.stop();
    this.#next?.connection.close();
    this.#next = this.#moving = null;
  }

  #takeNext(line, type, message) {
    switch (type) {
      case "hello":
        if (!this.#moving.gate && line.connection.node === this.node) this.#retryMove(); // the node that wants to be rid of us
        break;
      case "init":
        line.begin(message);
        break;
      case "clock":
        line.clock = message;
        line.held.push({ clock: message });
        break;
      case "fragment":
        this.#hold(line, message);
        break;
      case "move":
      case "end":
      case "closed":
        this.#retryMove();
        break;
    }
  }

  #hold(line, fragment) {
    line.hold(fragment);
    if (line.heldBytes > MAX_HELD_BYTES) this.#retryMove();
    else this.#considerHandover();
  }

  #considerHandover() {
    const [line, { gate }] = [this.#next, this.#moving];
    if (!line.program) return;
    const sameEpoch = line.connection.epoch === this.epoch;
    if (gate && sameEpoch) {
      const at = gate.begin(line, this.#marks, performance.now());
      if (at < 0) return;
      if (gate.place(line.held) === at) gate.open(); // the new ones take their place
      else this.#letGo();
      line.beginAt(at, (sample) => isNew(sample, this.#marks));
      return this.#switch();
    }
    const verdict = handover({ ...line.facts, marks: this.#marks, sameProgram: line.is(this.#program), sameEpoch, oldAlive: true });
    if (verdict === "wait") return;
    if (verdict === "change") line.held = line.held.filter((message, index) => message.clock || index >= line.key.index);
    this.#switch();
  }

  #switch() {
    const [line, old] = [this.#next, this.#line];
    const { quality, url } = this.#moving;
    this.#letGo();
    this.#moving.stop();
    this.#next = this.#moving = null;
    old.connection.close();
    this.#line = line;
    line.told = quality !== null && old.told && line.connection.node === old.connection.node;
    if (quality === null) this.moves += 1;
    else [this.#url, this.quality, this.shownQuality] = [url, quality, quality];
    for (const message of line.held.splice(0)) {
      if (message.clock) line.clock = message.clock;
      else this.#admit(line, message);
    }
    this.#goOn();
  }
}
