// A video element that somebody else feeds: hls.js, or the browser. To the screen and the playback it is what a Sink is.

export class Reel {
  #onclose;

  /** @param {HTMLVideoElement} video @param {() => void} onclose lets go of what feeds it */
  constructor(video, onclose) {
    this.video = video;
    this.droppedAtQueue = 0;
    /** Margin to steer to in ms; null: nobody steers, since the browser does or the viewer has gone back in time. */
    this.marginMs = null;
    this.#onclose = onclose;
  }

  get ranges() {
    return pairs(this.video.buffered);
  }

  /** Where one can go to, as [start, end] pairs in seconds. */
  get seekable() {
    return pairs(this.video.seekable);
  }

  close() {
    this.#onclose();
    this.video.removeAttribute("src");
    this.video.load();
  }
}

function pairs(ranges) {
  return Array.from({ length: ranges.length }, (_, i) => [ranges.start(i), ranges.end(i)]);
}
