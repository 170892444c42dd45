// The gallery of a study: the best beside plain draws and seeds, every trial, plots, and what is known of the study.

import { element, say } from "./elements.js";
import { buildFilters, readFilters } from "./filters.js";
import { Grid, card } from "./grid.js";
import { Large } from "./large.js";
import { drawFigures, drawPlots } from "./plots.js";
import { kept, sorted, toRows } from "./rows.js";
import { source } from "./source.js";

const at = (id) => document.getElementById(id);
const page = { study: null, rows: [], byNumber: new Map(), listed: [], compared: [] };

const chosen = (row) => page.compared.includes(row.number);
const largeView = new Large(at("large"), { choose, chosen });
const open = (among) => (row) => largeView.open([row], among, page.byNumber);
const grid = new Grid(at("grid"), { open: (row) => open(page.listed)(row), choose, chosen });

// The metric whose value stands below a picture: the first that is optimised.
const metric = () => page.study.metrics.find(({ goal }) => goal === "maximize" || goal === "minimize").name;

function choose(row) {
  page.compared = chosen(row) ? page.compared.filter((number) => number !== row.number)
    : [...page.compared, row.number].slice(-2);
  for (const made of document.querySelectorAll(".card[data-number]")) {
    if (page.compared.includes(Number(made.dataset.number))) made.setAttribute("aria-pressed", "true");
    else made.removeAttribute("aria-pressed");
  }
  const button = at("compare");
  button.hidden = page.compared.length === 0;
  button.disabled = page.compared.length < 2;
  button.textContent = page.compared.length < 2 ? `Compare ${page.compared[0]} with …`
    : `Compare ${page.compared.join(" with ")}`;
  say(page.compared.length ? `To compare: trials ${page.compared.join(" and ")}` : "Nothing to compare");
}

function showBest() {
  const { study, rows } = page;
  const strip = (title, note, places, caption) => (places.length ? element("section", { class: "strip" },
    element("h2", {}, title), note ? element("p", { class: "quiet" }, note) : null,
    element("div", { class: "cards" }, ...places.map((place, i) => card(rows[place], metric(),
      { open: open(places.map((one) => rows[one])), chosen: chosen(rows[place]), note: caption?.(place, i) ?? "" })))) : null);
  const seeds = study.seeds.filter(({ trial }) => page.byNumber.has(trial));
  const places = seeds.map(({ trial }) => page.byNumber.get(trial).index);
  const plots = element("div", { id: "best-plot" });
  at("best").replaceChildren(...[
    study.gain ? element("p", { class: "gain" }, study.gain) : null,
    strip("The best", study.apart ? "Chosen from the best three quarters of the trials so that no two look alike."
      + (study.comparing ? " More of them are being compared." : "")
      : "In the order of their ranks; outputs without files cannot be told apart by how they look.", study.best),
    strip("The best plain draws", "What the model makes without a search.", study.draws),
    strip("Seeds of the best", "Outputs of the latents that the best are combined from, with their mean share.", places,
      (_, i) => `${seeds[i].name} · ${Math.round(100 * seeds[i].share)}%`),
    study.best.length ? null : element("p", { class: "quiet" }, "No trial has a result yet."), plots].filter(Boolean));
  if (at("best").hidden) return;
  // Behind the first pictures of the page: plotly.js takes longer than all else here.
  inSight(document.querySelector("#best .card img")).then(async () => {
    const figures = await source.figures();
    if (figures.length && plots.isConnected) await drawFigures(plots, figures.slice(0, 1));
  });
}

// Resolves when a picture is painted, or cannot be; at once where there is none.
async function inSight(picture) {
  if (picture && !picture.complete) {
    await Promise.race([once(picture, "load"), once(picture, "error"), once(document, "visibilitychange")]);
  }
  await new Promise((resolve) => { requestAnimationFrame(() => setTimeout(resolve)); });
}

const once = (target, name) => new Promise((resolve) => { target.addEventListener(name, resolve, { once: true }); });

function showTrials() {
  const wanted = readFilters(at("filters"));
  page.listed = sorted(kept(page.rows, wanted), wanted.sort);
  at("none").hidden = page.listed.length > 0;
  grid.show(page.listed, metric());
}

function showAbout() {
  const { study } = page;
  const pictures = study.pictures.map(({ name, title, note }) => element("figure", { class: "plot" },
    element("figcaption", {}, element("h3", {}, title), element("p", { class: "quiet" }, note)),
    source.live ? element("button", { type: "button", onclick: (event) => make(event.currentTarget, name, title) },
      "Make it now") : element("img", { src: source.picture(name), alt: title })));
  at("about").replaceChildren(element("dl", { class: "facts" },
    ...study.facts.flatMap(([name, text]) => [element("dt", {}, name), element("dd", {}, text)])), ...pictures);
}

function make(button, name, title) {
  button.disabled = true;
  button.textContent = "Making it: the generator runs";
  const image = element("img", { alt: title, src: source.picture(name) });
  image.addEventListener("load", () => button.replaceWith(image));
  image.addEventListener("error", () => { button.textContent = "It could not be made; the terminal says why"; });
}

const views = {
  best: showBest,
  trials: () => grid.draw(),
  plots: () => drawPlots(at("plots")),
  about: () => {},
};

function select(name) {
  for (const tab of document.querySelectorAll("[role=tab]")) {
    const on = tab.id === `tab-${name}`;
    tab.setAttribute("aria-selected", String(on));
    tab.tabIndex = on ? 0 : -1;
    at(tab.getAttribute("aria-controls")).hidden = !on;
  }
  scrollTo(0, 0);
  views[name]();
}

function tabs() {
  const all = [...document.querySelectorAll("[role=tab]")];
  for (const [i, tab] of all.entries()) {
    tab.addEventListener("click", () => select(tab.getAttribute("aria-controls")));
    tab.addEventListener("keydown", (event) => {
      const next = all[i + ({ ArrowLeft: -1, ArrowRight: 1 }[event.key] ?? 0)];
      if (!next || next === tab) return;
      next.focus();
      next.click();
    });
  }
}

async function load() {
  page.study = await source.study();
  document.title = document.querySelector("h1").textContent = page.study.name;
  page.rows = toRows(page.study);
  page.byNumber = new Map(page.rows.map((row) => [row.number, row]));
  const running = page.rows.filter(({ state }) => state === "running").length;
  at("count").textContent = `${page.rows.length} trials${running ? `, ${running} running` : ""}`;
  buildFilters(at("filters"), page.study, page.rows, showTrials);
  showBest();
  showTrials();
  showAbout();
}

at("compare").addEventListener("click", () => {
  largeView.open(page.compared.map((number) => page.byNumber.get(number)), null, page.byNumber);
});
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
  const shown = Object.keys(views).find((name) => !at(name).hidden);
  views[shown]();
});
tabs();
await load().catch((error) => {
  document.querySelector("h1").textContent = "The study could not be read; the terminal says why";
  throw error;
});
document.body.dataset.ready = "true";
source.watch(page.study.state_text, async () => {
  await load();
  say(at("count").textContent);
});
