// A change of quality: the menu of a group, what `?quality=` means, and the key frame at which one goes over.

import { Gate } from "/play/gate.js";
import { isGroup, memberOf, menu, nameOf, pick, urlOf, withGroups } from "/play/siblings.js";
import { equal, test } from "./check.js";

const fragment = (dts, key = false, kind = "video") => ({ samples: [{ kind, dts, pts: dts, duration: 0.04, key }], bytes: new Uint8Array(1) });
const members = [
  { name: "show_1080", height: 1080, bitrateBps: 5e6 },
  { name: "show_480hq", height: 480, bitrateBps: 2e6 },
  { name: "show_480", height: 480, bitrateBps: 1e6 },
  { name: "show_voice", height: 0, bitrateBps: 64e3 },
];

test("members are called by height, and by bit rate too where heights are equal", () => {
  equal(
    menu(members).map(({ id, label }) => [id, label.replace(/\u00a0/g, " ")]),
    [[0, "1080p"], [1, "480p, 2.0 Mbit/s"], [2, "480p, 1.0 Mbit/s"], [3, "64 kbit/s"]],
  );
  equal(menu(members.slice(0, 1)), []);
});

test("the list of streams has an entry for a group of several, unless a stream is named so", () => {
  const named = (list) => withGroups(list).map(({ name, members: count }) => (count ? `${name} × ${count}` : name));
  const of = (group, ...names) => names.map((name) => ({ app: "live", name, group }));
  equal(named([{ app: "live", name: "cam" }, ...of("show", "show_1", "show_2")]), ["cam", "show × 2", "show_1", "show_2"]);
  equal(named(of("show", "show_1")), ["show_1"]);
  equal(named([...of(undefined, "show"), ...of("show", "show_1", "show_2")]), ["show", "show_1", "show_2"]);
});

test("a name is the group's only where the group has it and no stream does", () => {
  equal(isGroup({ group: "show", members }, "show"), true);
  equal(isGroup({ group: "show", members: members.slice(0, 1) }, "show"), true, "one member is enough");
  equal(isGroup({ group: "show", members }, "show_720"), false, "a member that is not live");
  equal(isGroup({ group: "show", members: [{ ...members[0], name: "show" }] }, "show"), false);
  equal(isGroup(null, "show"), false);
});

test("a variant's stream is its playlist's folder, whatever the app is called", () => {
  equal(memberOf("http://edge/show_360/show_180/video.m3u8"), "show_180");
  equal([memberOf("http://edge/live/voice/audio.m3u8"), memberOf("")], ["voice", null]);
});

test("a quality is wanted by height or by name", () => {
  equal(["1080", "480p", "show_480", "voice", "720", "", null].map((wanted) => pick(members, wanted)), [0, 1, 2, 3, -1, -1, -1]);
});

test("another stream of the app has the same address with its name", () => {
  const url = new URL("ws://edge:8080/live/show_1080.mp4");
  equal([nameOf(url), urlOf(url, "show_480").href], ["show_1080", "ws://edge:8080/live/show_480.mp4"]);
});

test("the old quality is shown up to a key frame and held back from there until the new one has it", () => {
  const gate = new Gate(0);
  equal(gate.pass(fragment(9.96), 0), { shown: [], kept: false });
  equal(gate.place([fragment(10, true)]), -1, "nothing is held back");
  equal(gate.pass(fragment(10, true), 40).kept, true);
  equal(gate.pass(fragment(10.01, true, "audio"), 45).kept, true);
  equal(gate.place([fragment(9, true), fragment(9.96)]), -1);
  equal(gate.place([fragment(9, true), { clock: {} }, fragment(10.001, true)]), 2);
  equal(gate.open().length, 2);
});

test("what is held back is shown after all before the buffer runs dry", () => {
  const gate = new Gate(0);
  gate.pass(fragment(10, true), 0);
  gate.pass(fragment(10.04), 200);
  const { shown, kept } = gate.pass(fragment(10.28), 260);
  equal([shown.length, kept], [2, false]);
  equal(gate.pass(fragment(11, true), 1000), { shown: [], kept: true }, "the next key frame is waited for");
  equal([gate.late(6000), gate.late(6001)], [false, true]);
});

/** The new stream's side of a change, as `Line` has it. */
const line = (held, pictures = true) => {
  const index = held.findLastIndex(({ samples }) => samples?.some(({ kind, key }) => key && (kind === "video" || !pictures)));
  return { held, pictures, key: index < 0 ? null : { index, sample: held[index].samples[0] } };
};
const marks = (dts) => ({ video: fragment(dts).samples[0], audio: fragment(dts, true, "audio").samples[0] });

test("a quality that is behind is gone over to at its newest key frame once it is late", () => {
  const gate = new Gate(0);
  const behind = line([fragment(7, true), fragment(7.04), fragment(8, true), fragment(8.04)]);
  for (let ms = 0; ms <= 6000; ms += 1000) {
    equal(gate.pass(fragment(9 + ms / 1000, true), ms).kept, true);
    equal(gate.begin(behind, marks(8.96 + ms / 1000), ms), -1, `after ${ms} ms`);
  }
  equal(gate.begin(behind, marks(14.96), 6001), 2);
  equal([gate.overdue(6001), gate.pass(fragment(16, true), 6001).kept], [true, false], "nothing is held back any more");
});

test("nothing is waited for where one of both has no pictures", () => {
  const sound = line([fragment(9.98, true, "audio"), fragment(10.02, true, "audio")], false);
  equal(new Gate(0).begin(line(sound.held.slice(0, 1), false), marks(10), 0), -1, "what is there already");
  equal(new Gate(0).begin(sound, marks(10), 0), 1);
  const { audio } = marks(10);
  equal(new Gate(0).begin(line([fragment(8, true), fragment(8.04)]), { audio }, 0), 0);
});

test("what is held back is overdue although nothing follows, and a change that does not come about is over", () => {
  const gate = new Gate(0);
  gate.pass(fragment(10, true), 0);
  equal([gate.overdue(250), gate.overdue(251)], [false, true]);
  gate.open();
  equal(gate.overdue(1000), false);
  equal(gate.begin(line([fragment(10.04)]), marks(10), 7000), -1, "there is no key frame");
  equal([gate.over(12_000), gate.over(12_001)], [false, true]);
});
