// The large view of one trial, or of two beside each other: output, numbers, the seeds it is made of, its recipe.

import { element, say, shortened } from "./elements.js";
import { large, thumbnail } from "./output.js";
import { source } from "./source.js";

const SEEDS = 8; // listed by name, the largest first

export class Large {
  constructor(dialog, { choose, chosen }) {
    this.dialog = dialog;
    this.calls = { choose, chosen };
    dialog.addEventListener("keydown", (event) => this.pressed(event));
    dialog.addEventListener("click", (event) => {
      if (event.target === dialog) dialog.close();
    });
    dialog.addEventListener("close", () => dialog.replaceChildren());
  }

  // `rows`: those shown, one or two; `among`: what the arrow keys go through.
  async open(rows, among, byNumber) {
    this.rows = rows;
    this.among = among;
    this.byNumber = byNumber;
    const details = await Promise.all(rows.map((row) => source.trial(row.number)));
    const title = rows.map((row) => `Trial ${row.number}`).join(" beside ");
    this.dialog.replaceChildren(
      element("div", { class: "dialog-top" }, element("h2", {}, title), this.steps(),
        element("button", { type: "button", onclick: () => this.dialog.close() }, "Close")),
      element("div", { class: rows.length > 1 ? "panes two" : "panes" },
        ...rows.map((row, i) => this.pane(row, details[i], rows[1 - i]))),
    );
    if (!this.dialog.open) this.dialog.showModal();
    this.dialog.focus(); // what had it may be gone
  }

  steps() {
    if (this.rows.length > 1 || !this.among) return null;
    const at = this.among.indexOf(this.rows[0]);
    const step = (by, text, label) => element("button", { type: "button", "aria-label": label,
      disabled: !this.among[at + by], onclick: () => this.step(by) }, text);
    return element("span", { class: "steps" }, step(-1, "←", "The one before"), step(1, "→", "The next one"));
  }

  step(by) {
    const next = this.among?.[this.among.indexOf(this.rows[0]) + by];
    if (next) this.open([next], this.among, this.byNumber);
  }

  pressed(event) {
    if (event.target.matches("input, select, audio, video") || event.ctrlKey || event.metaKey) return;
    if (event.key === "ArrowLeft" && this.rows.length === 1) this.step(-1);
    else if (event.key === "ArrowRight" && this.rows.length === 1) this.step(1);
    else if (event.key === "c" && this.rows.length === 1) this.calls.choose(this.rows[0]);
  }

  pane(row, detail, other) {
    const numbers = Object.entries(row.values).map(([name, value]) => [name, shortened(value), other?.values[name]]);
    const known = Object.entries(detail?.condition ?? {}).map(([name, value]) => [name, value]);
    const said = [["state", row.state], ["round", row.round], ["rank", row.rank ?? "–"]];
    if (detail?.reason) said.push(["failed by", detail.reason]);
    if (detail?.ended) said.push(["ended", detail.ended]);
    if (detail) said.push(["cost", `${shortened(detail.nfe)} network evaluations, ${shortened(detail.seconds)} s`]);
    return element("article", { class: "pane", "aria-label": `Trial ${row.number}` },
      element("div", { class: "shown" }, large(row)),
      element("div", { class: "told" },
        other ? element("h3", {}, `Trial ${row.number}`) : null,
        table([...numbers.map(([name, value]) => [name, value, "strong"]), ...known, ...said]),
        detail?.recipe ? this.parents(detail) : null,
        element("p", { class: "buttons" },
          detail?.recipe ? element("button", { type: "button", onclick: () => copy(detail.recipe) }, "Copy the recipe")
            : null,
          other ? null : element("button", { type: "button", "aria-pressed": String(this.calls.chosen(row)),
            onclick: (event) => {
              this.calls.choose(row);
              event.currentTarget.setAttribute("aria-pressed", String(this.calls.chosen(row)));
            } }, "Compare"))));
  }

  // The seeds of a latent; and the trials before it that it is most like, which say more where the seeds are many.
  parents({ parents, near }) {
    const shown = parents.slice(0, SEEDS);
    const rest = parents.slice(SEEDS).reduce((sum, { share }) => sum + share, 0);
    const seeds = shown.map(({ name, share, weight, trial }) => this.relative(trial, name, share,
      `${percent(share)}, weight ${shortened(weight)}`));
    if (rest > 0) seeds.push(element("li", { class: "quiet" }, `${parents.length - SEEDS} others, ${percent(rest)}`));
    const kin = near.map(({ trial, cosine }) => this.relative(trial, `trial ${trial}`, Math.max(cosine, 0),
      `cosine ${shortened(cosine)}`));
    return element("div", { class: "parents" },
      kin.length ? element("h3", {}, "Most like these trials before it") : null,
      kin.length ? element("ul", {}, ...kin) : null,
      element("h3", {}, parents.length === 1 ? "A seed of its own" : `Made of ${parents.length} seeds`),
      element("ul", {}, ...seeds));
  }

  relative(trial, name, share, text) {
    const row = this.byNumber.get(trial);
    const picture = row ? element("button", { type: "button", class: "seed", "aria-label": `Open trial ${trial}`,
      onclick: () => this.open([row], null, this.byNumber) }, thumbnail(row)) : element("span", { class: "seed" });
    const bar = element("span", { class: "bar", "aria-hidden": "true" });
    bar.style.setProperty("--share", share);
    return element("li", {}, picture, element("span", {}, name, element("small", {}, text), bar));
  }
}

function percent(share) {
  return `${(100 * share).toFixed(share < 0.1 ? 1 : 0)}%`;
}

function table(rows) {
  return element("table", {}, element("tbody", {}, ...rows.map(([name, value, strong]) => element("tr", {},
    element("th", { scope: "row" }, name), element("td", {}, strong ? element("b", {}, String(value)) : String(value))))));
}

async function copy(recipe) {
  const text = JSON.stringify(recipe);
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    const area = element("textarea", {}, text); // where a file's page may not use the clipboard
    document.querySelector("dialog[open]").append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
  }
  say("The recipe is copied");
}
