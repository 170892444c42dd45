// Renders labelled 16x16 pixel-art avatars: raw RGB bytes (n, 16, 16, 3) and one JSON label a line.
//   node render.mjs images OUT COUNT PREFIX     COUNT avatars with seeds PREFIX-0, PREFIX-1, ...
//   node render.mjs pairs OUT COUNT PREFIX      COUNT pairs (rows 2i, 2i+1) that differ in one attribute only
// Design: DiceBear "Pixel Art", CC0 1.0. Code of the library: MIT. Renderer: resvg, MPL-2.0 (used at build time only).
import { createWriteStream } from "node:fs";
import { once } from "node:events";
import { createAvatar } from "@dicebear/core";
import * as pixelArt from "@dicebear/pixel-art";
import { Resvg } from "@resvg/resvg-js";

// Three shades a name, so that a background is a region of colour space and not one point of it.
const BACKGROUNDS = {
  pink: ["ffc0cb", "f8a5c2", "f78fb3"],
  blue: ["a3c9f7", "74b0f4", "5390d9"],
  green: ["b5e7a0", "8fd694", "6bbf7a"],
  yellow: ["fff1a8", "ffe680", "f9d65c"],
  purple: ["d6c1f0", "b794e0", "9a72cc"],
  orange: ["ffd0a1", "ffb56b", "f79a3e"],
  white: ["ffffff", "f7f7f7", "efefef"],
  gray: ["c4c4c4", "a8a8a8", "8c8c8c"],
};
const values = (name) => pixelArt.schema.properties[name].default;
const BASE = {
  backgroundColor: Object.values(BACKGROUNDS).flat(),
  glassesProbability: 40,
  hatProbability: 30,
  beardProbability: 30,
};
// attribute -> the two sets of options whose renderings form a pair; everything else follows from the seed
const PAIRS = {
  glasses: [{ glassesProbability: 0 }, { glassesProbability: 100 }],
  hat: [{ hatProbability: 0 }, { hatProbability: 100 }],
  beard: [{ beardProbability: 0 }, { beardProbability: 100 }],
  hair: ["short", "long"].map((kind) => ({ hair: values("hair").filter((v) => v.startsWith(kind)) })),
  skin: [values("skinColor").slice(0, 3), values("skinColor").slice(-3)].map((skinColor) => ({ skinColor })),
  background: [BACKGROUNDS.yellow, BACKGROUNDS.blue].map((backgroundColor) => ({ backgroundColor })),
};

const backgroundName = (hex) =>
  Object.keys(BACKGROUNDS).find((name) => BACKGROUNDS[name].includes(hex.replace("#", "")));

function render(seed, options) {
  const avatar = createAvatar(pixelArt, { seed, ...BASE, ...options });
  const { pixels } = new Resvg(avatar.toString(), { fitTo: { mode: "width", value: 16 } }).render();
  const rgb = Buffer.from(pixels.filter((_, i) => i % 4 !== 3)); // the background is opaque, so alpha is 255
  const { extra } = avatar.toJson();
  return { rgb, label: { seed, background: backgroundName(extra.primaryBackgroundColor), ...extra } };
}

function* jobs(mode, count, prefix) {
  const attributes = Object.keys(PAIRS);
  for (let i = 0; i < count; i++) {
    if (mode === "images") yield [`${prefix}-${i}`, {}, {}];
    else {
      const attribute = attributes[i % attributes.length];
      for (const options of PAIRS[attribute]) yield [`${prefix}-${i}`, options, { differs: attribute }];
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
for (const [seed, options, more] of jobs(mode, Number(count), prefix)) {
  const { rgb, label } = render(seed, options);
  if (!images.write(rgb)) await once(images, "drain");
  labels.write(JSON.stringify({ ...label, ...more }) + "\n");
}
images.end();
labels.end();
