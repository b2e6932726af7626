// The video elements. Normally one; while a new source starts there are two, and the old picture stays up until the new
// one has its first frame, so that the picture never goes dark.

export class Screen {
  #shown = null;
  #coming = null;
  #container;
  #muted = false;
  #volume = 1;

  /** @param {HTMLElement} container @param {() => void} onchange after a change of element, sound or autoplay permission */
  constructor(container, onchange) {
    this.#container = container;
    this.onchange = onchange;
    this.blocked = false; // the browser wants a person to press Play
    this.droppedBefore = 0; // frames that elements which are gone did not show
    this.mutedByBrowser = false;
  }

  /** The newest sink: media goes here. */
  get sink() {
    return this.#coming ?? this.#shown;
  }

  /** The element whose picture is seen, null before the first. */
  get video() {
    return (this.#shown ?? this.#coming)?.video ?? null;
  }

  /** Frames that were not shown: dropped by the browser or before it. */
  get dropped() {
    const shown = this.#shown ?? this.#coming;
    return this.droppedBefore + (shown ? droppedBy(shown) : 0);
  }

  get muted() {
    return this.#muted;
  }

  set muted(muted) {
    this.#muted = muted;
    this.mutedByBrowser &&= muted;
    for (const sink of [this.#shown, this.#coming]) if (sink) sink.video.muted = muted;
    this.onchange();
  }

  /** A new element, given to whom `make` says; it takes the place of the old one with its first decoded frame. */
  rebuild(make) {
    this.#coming?.close();
    this.#coming?.video.remove();
    const video = document.createElement("video");
    video.playsInline = true;
    video.autoplay = true;
    video.muted = this.#muted;
    video.volume = this.#volume;
    const sink = make(video);
    video.addEventListener("loadeddata", () => this.#swap(sink), { once: true });
    if (this.#shown) {
      this.#coming = sink;
      this.#shown.video.before(video); // painted under the old one
    } else {
      this.#shown = sink;
      this.#container.prepend(video);
    }
    this.play();
    return sink;
  }

  /** Plays the newest element; muted if the browser asks for that. */
  async play() {
    const { sink } = this;
    if (!sink) return;
    this.blocked = false;
    try {
      await sink.video.play();
    } catch (error) {
      if (error.name !== "NotAllowedError" || sink !== this.sink) return;
      if (sink.video.muted) {
        this.blocked = true;
      } else {
        this.muted = true;
        this.mutedByBrowser = true;
        this.play();
      }
    }
    this.onchange();
  }

  /** Removes all pictures. */
  clear() {
    for (const sink of [this.#shown, this.#coming]) {
      sink?.close();
      sink?.video.remove();
    }
    this.#shown = this.#coming = null;
    this.blocked = false;
    this.droppedBefore = 0;
  }

  #swap(sink) {
    if (sink !== this.#coming) return;
    const old = this.#shown;
    this.droppedBefore += droppedBy(old);
    this.#shown = sink;
    this.#coming = null;
    old.close();
    old.video.remove();
    this.onchange();
  }
}

function droppedBy({ video, droppedAtQueue }) {
  return droppedAtQueue + (video.getVideoPlaybackQuality?.().droppedVideoFrames ?? 0);
}
