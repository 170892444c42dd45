// The page of `surrogate-ax explore`: shows a page's items as they are made, and sends what a person says of them.

import { element, say } from "./elements.js";

const POLL = 250; // milliseconds between looks at what is made
const ASK = {
  eight: "Choose the ones you like, then go on. None is an answer too.",
  four: "Choose the best.",
  pairs: "Choose the better one.",
};
const byId = (id) => document.getElementById(id);
let page = null;
let liked = new Set();
let disliked = new Set();
let busy = false;

async function call(path, body) {
  const raw = body instanceof Blob;
  const sent = body === undefined ? {} : { method: "POST", body: raw ? body : JSON.stringify(body) };
  const answer = await fetch(path, sent);
  const read = await answer.json();
  if (!answer.ok) throw new Error(read.error);
  return read;
}

function fail(error) {
  byId("error").textContent = error.message;
  byId("error").hidden = false;
}

// One change at a time: a second key while the next page comes would answer a page that nobody has seen.
async function change(path, body) {
  if (busy) return;
  busy = true;
  document.body.setAttribute("aria-busy", "true");
  try {
    byId("error").hidden = true;
    show(await call(path, body));
  } catch (error) {
    fail(error);
  } finally {
    busy = false;
    document.body.removeAttribute("aria-busy");
  }
}

function show(next) {
  const turned = page === null || next.number !== page.number || next.mode !== page.mode || trials(next) !== trials(page);
  page = next;
  if (turned) {
    liked = new Set();
    disliked = new Set();
    byId("grid").className = page.mode;
    byId("grid").replaceChildren(...page.items.map(card));
    byId("mode").value = page.mode;
    byId("undo").disabled = page.number === 0;
    byId("count").textContent = page.number === 1 ? "1 answer" : `${page.number} answers`;
    byId("ask").textContent = ASK[page.mode];
    say(`${page.items.length} pictures. ${ASK[page.mode]}`);
  }
  page.items.forEach(fill);
  shelve();
  mark();
}

function trials(of) {
  return of.items.map((item) => item.trial).join();
}

function card(item, i) {
  const { trial } = item;
  const label = `Picture ${i + 1}`;
  const making = element("span", { class: "making" }, "being made…");
  const lessen = page.mode === "eight" ? tool("Less", `Less like picture ${i + 1}`, "lessen", () => less(trial)) : null;
  const best = trial === page.favourite ? element("span", { class: "badge best" }, "best so far") : null;
  const measures = byId("grid").hasAttribute("data-measures"); // its line is kept free, so that no button moves
  const note = measures ? element("p", { class: "measured quiet" }, "\u00a0") : null;
  return element("li", { class: "card", "data-trial": trial },
    element("button", { type: "button", class: "choose", "aria-label": label, onclick: () => pick(trial) }, making),
    element("span", { class: "badge", "aria-hidden": "true" }, String(i + 1)),
    best,
    note,
    element("div", { class: "tools" },
      tool("More", `More like picture ${i + 1}`, "more", () => more(trial)),
      lessen,
      tool("Keep", `Keep picture ${i + 1}`, "keep", () => keep(trial)),
    ),
  );
}

function tool(text, label, name, onclick) {
  return element("button", { type: "button", class: name, title: label, "aria-label": label, onclick }, text);
}

function cardOf(trial) {
  return byId("grid").querySelector(`[data-trial="${trial}"]`);
}

function fill(item) {
  const choose = cardOf(item.trial).querySelector(".choose");
  const making = choose.querySelector(".making");
  if (making === null) return;
  if (item.reason !== null) {
    making.textContent = `could not be made: ${item.reason}`;
    choose.disabled = true;
  } else if (item.kind !== null) {
    choose.replaceChildren(medium(item, choose.getAttribute("aria-label")));
    const note = cardOf(item.trial).querySelector(".measured");
    if (note !== null) note.textContent = item.note;
  }
}

function medium(item, label) {
  const src = source(item.trial);
  if (item.kind === "image") return image(src);
  if (item.kind === "video") return element("video", { src, autoplay: true, loop: true, muted: true, "aria-label": label });
  if (item.kind === "audio") return element("audio", { src, controls: true, "aria-label": label });
  return element("span", { class: "making" }, "a file: keep it to look at it");
}

function source(trial) {
  return `/previews/${trial}?${page.version}`;
}

function image(src) {
  const made = element("img", { src, alt: "" });
  made.onload = () => made.classList.toggle("pixels", made.naturalWidth <= 160);
  return made;
}

function shelve() {
  byId("shelf").hidden = page.kept.length === 0;
  const shown = [...byId("kept").children].map((each) => Number(each.dataset.trial)).join();
  if (shown === page.kept.join()) return;
  byId("kept").replaceChildren(...page.kept.map((trial) => {
    const file = { href: source(trial), download: `trial${trial}`, "aria-label": `Download trial ${trial}` };
    const remove = { type: "button", "aria-label": `Remove trial ${trial}`, onclick: () => keep(trial) };
    return element("li", { "data-trial": trial },
      element("a", file, image(source(trial))),
      element("button", remove, "Remove"),
    );
  }));
}

function mark() {
  page.items.forEach(({ trial }, i) => {
    const of = cardOf(trial);
    of.querySelector(".choose").setAttribute("aria-pressed", String(liked.has(trial)));
    of.querySelector(".badge").textContent = liked.has(trial) ? "♥" : i + 1;
    of.querySelector(".badge").classList.toggle("liked", liked.has(trial));
    of.classList.toggle("less", disliked.has(trial));
    of.querySelector(".lessen")?.setAttribute("aria-pressed", String(disliked.has(trial)));
    of.querySelector(".keep").setAttribute("aria-pressed", String(page.kept.includes(trial)));
  });
  const several = page.mode === "eight";
  const none = page.mode === "pairs" ? "Neither, show another" : "None of these, show others";
  byId("next").textContent = several && liked.size ? "Next" : none;
  byId("hint").textContent = liked.size ? `${liked.size} liked` : "";
}

function isMade(trial) {
  const item = page.items.find((each) => each.trial === trial);
  return item !== undefined && item.kind !== null;
}

function pick(trial) {
  if (!isMade(trial)) return;
  if (page.mode !== "eight") {
    liked = new Set([trial]);
    answer();
    return;
  }
  if (!liked.delete(trial)) liked.add(trial);
  disliked.delete(trial);
  changed();
}

function less(trial) {
  if (!isMade(trial)) return;
  if (!disliked.delete(trial)) disliked.add(trial);
  liked.delete(trial);
  changed();
}

// What is chosen so far is the likeliest answer: its page is made while one goes on looking.
function changed() {
  mark();
  call("/expect", said()).catch(fail);
}

function said() {
  return { number: page.number, liked: [...liked], disliked: [...disliked] };
}

function answer() {
  mark();
  return change("/answer", said());
}

function more(trial) {
  if (isMade(trial)) change("/answer", { ...said(), more: trial });
}

function keep(trial) {
  change("/keep", { trial, kept: !page.kept.includes(trial) });
}

function search(file) {
  if (file) change(`/drop?name=${encodeURIComponent(file.name)}`, file);
}

function at() {
  const inside = document.activeElement.closest("#grid [data-trial]");
  return inside === null ? null : Number(inside.dataset.trial);
}

function step(by) {
  const cards = [...byId("grid").children];
  const now = cards.findIndex((each) => each.contains(document.activeElement));
  const next = now < 0 ? (by > 0 ? 0 : cards.length - 1) : (now + by + cards.length) % cards.length;
  cards[next].querySelector(".choose").focus();
}

function pressed(event) {
  if (event.ctrlKey && event.key === "z") return byId("undo").disabled || change("/undo", {});
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.matches("select, input, summary")) return;
  const key = event.key.toLowerCase();
  const inGrid = event.target.matches(".choose") || event.target === document.body || event.target.id === "main";
  const numbered = page?.items[Number(key) - 1];
  if (numbered) {
    cardOf(numbered.trial).querySelector(".choose").focus();
    pick(numbered.trial);
  } else if (key === "enter" && inGrid) answer();
  else if (key === "arrowright") step(1);
  else if (key === "arrowleft") step(-1);
  else if (key === "u") byId("undo").click();
  else if (at() !== null && key === "m") more(at());
  else if (at() !== null && key === "x" && page.mode === "eight") less(at());
  else if (at() !== null && key === "k") keep(at());
  else return;
  event.preventDefault();
}

async function watch() {
  const waits = page === null || page.items.some((item) => item.kind === null && item.reason === null);
  if (waits && !busy) {
    const number = page?.number;
    try {
      const seen = await call("/page");
      if (!busy && page?.number === number) show(seen);
    } catch (error) {
      fail(error);
    }
  }
  setTimeout(watch, POLL);
}

byId("next").onclick = answer;
byId("undo").onclick = () => change("/undo", {});
byId("mode").onchange = (event) => change("/mode", { mode: event.target.value });
byId("open").onclick = () => byId("file").click();
byId("file").onchange = (event) => search(event.target.files[0]);
document.addEventListener("keydown", pressed);
document.addEventListener("dragover", (event) => {
  event.preventDefault();
  byId("drop").hidden = false;
});
document.addEventListener("dragleave", (event) => {
  if (event.relatedTarget === null) byId("drop").hidden = true;
});
document.addEventListener("drop", (event) => {
  event.preventDefault();
  byId("drop").hidden = true;
  search(event.dataTransfer.files[0]);
});
watch();
