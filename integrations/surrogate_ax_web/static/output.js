// A trial's output as something to look at or to listen to.

import { element } from "./elements.js";
import { source } from "./source.js";
import { drawStructure } from "./structure.js";

const SIGNS = { audio: "♪", file: "⭳", running: "…", failed: "✕" };

// Small, for a card: nothing in it takes clicks of its own.
export function thumbnail(row) {
  const url = row.kind ? source.preview(row.number) : "";
  if (row.kind === "image" && url) return picture(url);
  if (row.kind === "video" && url) {
    const clip = element("video", { src: url, muted: true, loop: true, playsinline: true, preload: "metadata" });
    clip.muted = true;
    clip.addEventListener("pointerenter", () => clip.play().catch(() => {})); // what it cannot play is no error
    clip.addEventListener("pointerleave", () => clip.pause());
    return clip;
  }
  if (row.kind === "structure" && url) return drawStructure(url, false);
  return element("span", { class: "sign", "aria-hidden": "true" }, SIGNS[row.kind] ?? SIGNS[row.state] ?? "·");
}

// Large, with controls.
export function large(row) {
  const url = row.kind ? source.preview(row.number) : "";
  if (!url) return element("p", { class: "quiet" }, "There is no picture of this output.");
  if (row.kind === "image") return picture(url, `Output of trial ${row.number}`);
  if (row.kind === "video") {
    const clip = element("video", { src: url, controls: true, loop: true, playsinline: true });
    clip.muted = true;
    clip.play().catch(() => {});
    return clip;
  }
  if (row.kind === "audio") return element("audio", { src: url, controls: true, loop: true });
  const link = element("a", { href: url, download: `trial${row.number}` }, "Save the file");
  return row.kind === "structure" ? element("div", { class: "structure" }, drawStructure(url, true), link) : link;
}

function picture(url, alt = "") {
  const image = element("img", { alt, loading: "lazy", decoding: "async" });
  image.addEventListener("load", () => {
    if (Math.max(image.naturalWidth, image.naturalHeight) <= 256) image.classList.add("pixels");
  });
  image.src = url;
  return image;
}
