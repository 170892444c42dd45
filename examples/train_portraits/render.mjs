// Renders labelled 64x64 portraits: raw RGB bytes (n, 64, 64, 3) and one JSON label a line.
//   node render.mjs images OUT COUNT PREFIX     COUNT portraits with seeds PREFIX-0, PREFIX-1, ...
//   node render.mjs pairs OUT COUNT PREFIX      COUNT pairs (rows 2i, 2i+1) that differ in one attribute only
// Design: "Open Peeps" by Pablo Stanley, CC0 1.0. Code of the library: MIT. Renderer: resvg, MPL-2.0 (build time only).
import { createWriteStream } from "node:fs";
import { once } from "node:events";
import { createAvatar } from "@dicebear/core";
import * as openPeeps from "@dicebear/open-peeps";
import { Resvg } from "@resvg/resvg-js";

const SIZE = 64;
// What a portrait can show, by the word that its caption says for it. What reads badly at 64x64 is left out, and so are
// monsters. Heads of COLOURED take the hair colour; all others are drawn in black by the designer.
const HAIR = {
  short: ["short1", "short2", "short4", "short5", "pomp", "grayShort", "flatTop", "shaved2"],
  medium: ["bangs", "bangs2", "medium1", "medium2", "medium3", "mediumStraight", "mediumBangs", "grayMedium"],
  long: ["long", "longBangs"],
  curly: ["afro", "longAfro", "longCurly", "dreads1", "dreads2"],
  bun: ["bun", "bun2", "buns", "grayBun"],
  bald: ["noHair1", "noHair2"],
  beanie: ["hatBeanie"],
  hat: ["hatHip"],
  turban: ["turban"],
  hijab: ["hijab"],
};
const COLOURED = ["bangs", "grayBun", "grayMedium", "grayShort", "short4"];
const FACE = {
  smile: ["smile", "smileBig", "smileTeethGap", "smileLOL"],
  frown: ["solemn", "veryAngry", "concerned"],
  neutral: ["serious", "blank", "eyesClosed"],
};
const ACCESSORY = {
  none: [],
  glasses: ["glasses", "glasses2", "glasses3", "glasses4", "glasses5"],
  sunglasses: ["sunglasses", "sunglasses2"],
};
const FACIAL_HAIR = {
  none: [],
  beard: ["full", "full2", "full3", "full4"],
  moustache: ["moustache2", "moustache3", "moustache5", "moustache6", "moustache7"],
};
const SKIN = { pale: ["ffdbb4"], tan: ["edb98a", "d08b5b"], dark: ["ae5d29", "8a563a"] };
const HAIR_COLOUR = { gray: "e8e1e1", blond: "d6b370", brown: "724133", red: "c93305", pink: "f59797" };
// Colours are regions of [hue in degrees, saturation, lightness] with these bounds, so that a palette can be searched.
const BACKGROUND = {
  pink: [[338, 352], [0.75, 0.95], [0.76, 0.86]],
  blue: [[205, 222], [0.65, 0.95], [0.6, 0.82]],
  green: [[95, 140], [0.4, 0.65], [0.6, 0.78]],
  yellow: [[48, 56], [0.85, 1], [0.66, 0.82]],
  purple: [[264, 280], [0.45, 0.7], [0.66, 0.82]],
  orange: [[24, 34], [0.85, 1], [0.6, 0.76]],
  white: [[0, 360], [0, 0.1], [0.95, 1]],
  gray: [[0, 360], [0, 0.04], [0.55, 0.78]],
};
const CLOTHES = {
  red: [[352, 367], [0.65, 0.9], [0.45, 0.6]],
  orange: [[22, 34], [0.85, 1], [0.48, 0.6]],
  yellow: [[47, 56], [0.85, 1], [0.5, 0.66]],
  green: [[95, 150], [0.4, 0.7], [0.36, 0.56]],
  blue: [[205, 228], [0.55, 0.9], [0.42, 0.64]],
  purple: [[264, 284], [0.4, 0.7], [0.44, 0.62]],
  pink: [[325, 342], [0.65, 0.9], [0.62, 0.76]],
  white: [[0, 360], [0, 0.1], [0.94, 1]],
};
const WEIGHTS = {
  hair: { short: 18, medium: 18, long: 14, curly: 14, bun: 14, bald: 10, beanie: 3, hat: 3, turban: 3, hijab: 3 },
  face: { smile: 4, frown: 4, neutral: 2 },
  accessory: { none: 50, glasses: 35, sunglasses: 15 },
  facialHair: { none: 55, beard: 30, moustache: 15 },
};
// attribute -> the two changes of a label that make a pair
const PAIRS = {
  accessory: [{ accessory: "none" }, { accessory: "glasses" }],
  facialHair: [{ facialHair: "none" }, { facialHair: "beard" }],
  hair: [{ hair: "short", hairColour: "black" }, { hair: "long", hairColour: "black" }],
  face: [{ face: "smile" }, { face: "frown" }],
  skin: [{ skin: "pale" }, { skin: "dark" }],
  clothes: [{ clothes: "red" }, { clothes: "blue" }],
  background: [{ background: "yellow" }, { background: "blue" }],
  hairColour: [{ hairColour: "brown" }, { hairColour: "blond" }],
};

// A stream of numbers in [0, 1) that follows from the text alone: FNV-1a, then mulberry32.
function stream(text) {
  let state = 2166136261;
  for (const character of text) state = Math.imul(state ^ character.charCodeAt(0), 16777619);
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

const pick = (options, u) => options[Math.floor(u * options.length)];
const between = ([low, high], u) => low + (high - low) * u;

function weighted(weights, u) {
  let rest = u * Object.values(weights).reduce((a, b) => a + b);
  for (const [name, weight] of Object.entries(weights)) if ((rest -= weight) < 0) return name;
}

function hex(region, random) {
  const [h, s, l] = region.map((bounds) => between(bounds, random()));
  const channel = (n) => {
    const k = (n + h / 30) % 12;
    return Math.round(255 * (l - s * Math.min(l, 1 - l) * Math.max(-1, Math.min(k - 3, 9 - k, 1))));
  };
  return [0, 8, 4].map((n) => channel(n).toString(16).padStart(2, "0")).join("");
}

// The label of a seed. Each choice has a stream of its own, so that a pair's two labels differ in the changed one only.
function label(seed, changed) {
  const random = (name) => stream(`${seed}/${name}`);
  const word = (name, drawn) => changed[name] ?? drawn(random(name)());
  const words = {};
  for (const [name, weights] of Object.entries(WEIGHTS)) words[name] = word(name, (u) => weighted(weights, u));
  for (const [name, names] of Object.entries({ skin: SKIN, clothes: CLOTHES, background: BACKGROUND })) {
    words[name] = word(name, (u) => pick(Object.keys(names), u));
  }
  const choose = (name, options) => (options.length ? pick(options, random(`${name} kind`)()) : null);
  const drawn = pick(Object.keys(HAIR_COLOUR), random("hairColour")());
  const asked = changed.hairColour;
  // Every second head is drawn from those that take a colour, where the group has any, as most heads are black.
  const colourful = asked !== "black" && (asked !== undefined || random("coloured")() < 0.5);
  const heads = HAIR[words.hair].filter((name) => COLOURED.includes(name) === colourful);
  const head = choose("hair", asked === "black" || (colourful && heads.length) ? heads : HAIR[words.hair]);
  return {
    seed,
    ...words,
    hairColour: COLOURED.includes(head) ? (asked ?? drawn) : head.match(/noHair|hat|turban|hijab/) ? null : "black",
    head,
    expression: choose("face", FACE[words.face]),
    accessoryKind: choose("accessory", ACCESSORY[words.accessory]),
    facialHairKind: choose("facialHair", FACIAL_HAIR[words.facialHair]),
    skinHex: choose("skin", SKIN[words.skin]),
    hairHex: HAIR_COLOUR[asked] ?? HAIR_COLOUR[drawn],
    clothesHex: hex(CLOTHES[words.clothes], random("clothes colour")),
    backgroundHex: hex(BACKGROUND[words.background], random("background colour")),
  };
}

function render(portrait) {
  const optional = (name, kind) => ({ [name]: kind ? [kind] : [], [`${name}Probability`]: kind ? 100 : 0 });
  const avatar = createAvatar(openPeeps, {
    seed: portrait.seed,
    head: [portrait.head],
    face: [portrait.expression],
    skinColor: [portrait.skinHex],
    headContrastColor: [portrait.hairHex],
    clothingColor: [portrait.clothesHex],
    backgroundColor: [portrait.backgroundHex],
    maskProbability: 0,
    ...optional("accessories", portrait.accessoryKind),
    ...optional("facialHair", portrait.facialHairKind),
  });
  const { pixels } = new Resvg(avatar.toString(), { fitTo: { mode: "width", value: SIZE } }).render();
  return Buffer.from(pixels.filter((_, i) => i % 4 !== 3)); // the background is opaque, so alpha is 255
}

function* jobs(mode, count, prefix) {
  const attributes = Object.keys(PAIRS);
  for (let i = 0; i < count; i++) {
    if (mode === "images") yield [`${prefix}-${i}`, {}, {}];
    else {
      const attribute = attributes[i % attributes.length];
      // A pair of hair colours needs a head that shows one.
      const head = attribute === "hairColour" ? { hair: pick(["short", "medium", "bun"], (i % 3) / 3) } : {};
      for (const change of PAIRS[attribute]) yield [`${prefix}-${i}`, { ...head, ...change }, { differs: attribute }];
    }
  }
}

const [mode, out, count, prefix] = process.argv.slice(2);
if (!["images", "pairs"].includes(mode) || !(Number(count) > 0) || !prefix) {
  console.error("usage: node render.mjs images|pairs OUT COUNT PREFIX");
  process.exit(2);
}
const images = createWriteStream(`${out}.rgb`);
const labels = createWriteStream(`${out}.jsonl`);
for (const [seed, changed, more] of jobs(mode, Number(count), prefix)) {
  const portrait = label(seed, changed);
  if (!images.write(render(portrait))) await once(images, "drain");
  labels.write(JSON.stringify({ ...portrait, ...more }) + "\n");
}
images.end();
labels.end();
