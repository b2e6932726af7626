// A connection with what it has said of its stream, and, until it is taken, what it has brought.

export class Line {
  constructor(connection) {
    this.connection = connection;
    this.program = null; // the init message in force on this connection
    this.applied = false; // … and whether the sink has it
    this.caughtUp = new Set(); // kinds that are past what another connection had brought
    this.clock = null;
    this.told = false; // its node wants to be rid of its viewers
    // Of a connection that was opened for a move, until it is taken:
    this.held = [];
    this.heldBytes = 0;
    this.first = {};
    this.last = {};
    this.key = null; // newest place to start at, as an index of `held`
    this.openedAt = performance.now();
  }

  /** Video and audio, as its program has them. */
  get kinds() {
    return new Set([...(this.program?.tracks.values() ?? [])].map((track) => track.kind));
  }

  get pictures() {
    return this.kinds.has("video");
  }

  /** Its program is the one that is held. */
  is(held) {
    return held !== null && held.epoch === this.connection.epoch && held.mime === this.program.mime && equal(held.bytes, this.program.bytes);
  }

  /** What a handover depends on. */
  get facts() {
    const { first, last, pictures } = this;
    return { first, last, pictures, key: this.key?.sample ?? null, waitedMs: performance.now() - this.openedAt };
  }

  /** What was held is of another program. */
  begin(program) {
    this.program = program;
    this.held = [];
    this.heldBytes = 0;
    this.first = {};
    this.last = {};
    this.key = null;
  }

  hold(fragment) {
    this.held.push(fragment);
    this.heldBytes += fragment.bytes.length;
    const { pictures } = this;
    if (fragment.samples.some((sample) => sample.key && (sample.kind === "video" || !pictures))) {
      this.key = { index: this.held.length - 1, sample: fragment.samples[0] };
    }
    for (const sample of fragment.samples) {
      this.first[sample.kind] ??= sample;
      this.last[sample.kind] = sample;
    }
  }

  /** Begins at this place of `held`; sound that came earlier and that `isNew` follows it, and so do the clocks. */
  beginAt(index, isNew) {
    const before = this.held.slice(0, index);
    const sound = before.filter(({ samples }) => samples?.length && samples[0].kind === "audio" && isNew(samples[0]));
    const clocks = before.filter((message) => message.clock);
    this.held = [...clocks, this.held[index], ...sound, ...this.held.slice(index + 1)];
  }
}

function equal(a, b) {
  return a.length === b.length && a.every((byte, i) => byte === b[i]);
}
