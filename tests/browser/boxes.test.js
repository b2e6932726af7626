// The box reader against boxes written by hand, field by field as ISO/IEC 14496-12 has them.

import { isInit, parseFragment, parseInit, widen } from "/play/boxes.js";
import { equal, ok, test } from "./check.js";

const u32 = (...values) => values.flatMap((value) => [(value >>> 24) & 255, (value >>> 16) & 255, (value >>> 8) & 255, value & 255]);
const u64 = (value) => u32(Math.floor(value / 2 ** 32), value % 2 ** 32);
const ascii = (text) => [...text].map((letter) => letter.charCodeAt(0));
const box = (type, ...content) => {
  const body = content.flat(Infinity);
  return [...u32(body.length + 8), ...ascii(type), ...body];
};
const zeros = (count) => Array(count).fill(0);

const track = (id, handler, timescale, version = 0) =>
  box("trak", box("tkhd", u32(version << 24), zeros(version ? 16 : 8), u32(id), zeros(60)),
    box("mdia", box("mdhd", u32(version << 24), zeros(version ? 16 : 8), u32(timescale), zeros(8)), box("hdlr", u32(0, 0), ascii(handler), zeros(13))));
const trex = (id, duration, flags) => box("trex", u32(0, id, 1, duration, 0, flags));
const init = new Uint8Array([
  ...box("ftyp", ascii("iso6"), u32(0)),
  ...box("moov", box("mvhd", zeros(100)), track(1, "vide", 90000), track(2, "soun", 48000, 1), box("mvex", trex(1, 3600, 0x1010000), trex(2, 1024, 0))),
]);
const fragment = (...trafs) => new Uint8Array([...box("moof", box("mfhd", u32(0, 7)), trafs), ...box("mdat", zeros(20))]);

test("an init segment gives kinds, timescales and defaults of its tracks", () => {
  ok(isInit(init), "not seen as an init segment");
  const tracks = parseInit(init);
  equal([...tracks.values()].map(({ id, kind, timescale, duration }) => [id, kind, timescale, duration]), [[1, "video", 90000, 3600], [2, "audio", 48000, 1024]]);
});

test("a 64-bit decode time, a signed composition offset and a key flag are read", () => {
  const hours = 90000 * 3600 * 24 * 30;
  const bytes = fragment(box("traf", box("tfhd", u32(0x020000, 1)), box("tfdt", u32(1 << 24), u64(hours)),
    box("trun", u32(0x01000f01, 1, 100), u32(1800, 20, 0x2000000, -900))));
  ok(!isInit(bytes), "taken for an init segment");
  equal(parseFragment(bytes, parseInit(init)), [{ kind: "video", dts: hours / 90000, pts: (hours - 900) / 90000, duration: 0.02, key: true }]);
});

test("without flags of its own a sample has those of its track", () => {
  const bytes = fragment(box("traf", box("tfhd", u32(0x020000, 1)), box("tfdt", u32(0, 9000)), box("trun", u32(0x201, 1, 100), u32(20))));
  equal(parseFragment(bytes, parseInit(init)), [{ kind: "video", dts: 0.1, pts: 0.1, duration: 0.04, key: false }]);
});

test("first-sample flags and fragment defaults come before the track's", () => {
  const bytes = fragment(box("traf", box("tfhd", u32(0x020028, 1, 4500, 0x1010000)), box("tfdt", u32(0, 9000)), box("trun", u32(0x205, 2, 100, 0x2000000), u32(20, 20))));
  equal(parseFragment(bytes, parseInit(init)), [{ kind: "video", dts: 0.1, pts: 0.1, duration: 0.1, key: true }]);
});

test("sound is always a place to start at", () => {
  const bytes = fragment(box("traf", box("tfhd", u32(0x020000, 2)), box("tfdt", u32(0, 48000)), box("trun", u32(0x201, 1, 100), u32(20))));
  equal(parseFragment(bytes, parseInit(init)).map(({ kind, dts, key }) => [kind, dts, key]), [["audio", 1, true]]);
});

test("a track that was not announced is left out", () => {
  const bytes = fragment(box("traf", box("tfhd", u32(0x020000, 9)), box("tfdt", u32(0, 1)), box("trun", u32(1, 1, 100))));
  equal(parseFragment(bytes, parseInit(init)), []);
});

test("bytes that are cut short end in an error or in nothing, never in a loop", () => {
  for (let length = 0; length < init.length; length++) {
    try {
      parseInit(init.slice(0, length));
    } catch (error) {
      ok(error instanceof RangeError, String(error));
    }
  }
  equal(parseFragment(new Uint8Array([0, 0, 0, 0, ...ascii("moof")]), parseInit(init)), []);
});

test("a frame is made long in whichever field has its duration", () => {
  const own = fragment(box("traf", box("tfhd", u32(0x020000, 1)), box("tfdt", u32(0, 9000)), box("trun", u32(0x305, 1, 100, 0), u32(3600, 20))));
  const header = fragment(box("traf", box("tfhd", u32(0x020008, 1, 3600)), box("tfdt", u32(0, 9000)), box("trun", u32(0x201, 1, 100), u32(20))));
  const none = fragment(box("traf", box("tfhd", u32(0x020000, 1)), box("tfdt", u32(0, 9000)), box("trun", u32(0x201, 1, 100), u32(20))));
  const tracks = parseInit(init);
  equal([own, header, none].map((bytes) => widen(bytes, tracks, { video: 1 })), [true, true, false]);
  equal([own, header, none].map((bytes) => parseFragment(bytes, tracks)[0].duration), [1, 1, 0.04]);
});
