// The form above all trials: what they are sorted by, and which are shown.

import { element } from "./elements.js";

const MANY = 30; // different texts of which a list is no help

export function buildFilters(form, study, rows, changed) {
  const values = new FormData(form);
  const metrics = study.metrics.map(({ name }) => name);
  const sorts = [["rank", "best first"], ["newest", "newest first"], ["oldest", "oldest first"], ["round", "round"]];
  for (const name of [...metrics, ...Object.keys(study.conditions).filter((one) => numeric(rows, one))]) {
    sorts.push([`value\u0000${name}`, `${name}, rising`], [`value\u0000${name}\u0000down`, `${name}, falling`]);
  }
  const rounds = [...new Set(rows.map(({ round }) => round))].sort((a, b) => a - b).map((round) => [round, round]);
  const fields = [
    choice("sort", "Sort by", sorts),
    choice("state", "State", [["", "any"], ...["done", "stopped", "failed", "running"].map((one) => [one, one])]),
    choice("draws", "Kind", [["", "any"], ["plain", "plain draws"], ["searched", "searched"]]),
    choice("round", "Round", [["", "any"], ...rounds]),
    ...Object.keys(study.conditions).map((name) => ofCondition(name, rows)),
    ...metrics.map((name) => range(name)),
  ].filter(Boolean);
  form.replaceChildren(...fields, element("button", { type: "reset" }, "Show all"));
  for (const [name, value] of values) if (form.elements[name]) form.elements[name].value = value;
  form.oninput = changed;
  form.onreset = () => setTimeout(changed);
  form.onsubmit = (event) => event.preventDefault();
}

export function readFilters(form) {
  const wanted = { sort: "rank", equal: {}, from: {}, to: {} };
  for (const [key, value] of new FormData(form)) {
    const [kind, name] = key.split("\u0000");
    if (name === undefined) wanted[kind] = value;
    else if (value !== "") wanted[kind][name] = kind === "equal" ? value : Number(value);
  }
  return wanted;
}

function numeric(rows, name) {
  return rows.every(({ condition }) => condition[name] === null || typeof condition[name] === "number");
}

function ofCondition(name, rows) {
  const found = [...new Set(rows.map(({ condition }) => condition[name]).filter((value) => value !== null))];
  if (numeric(rows, name)) return range(name);
  if (found.length > MANY) return null;
  return choice(`equal\u0000${name}`, name, [["", "any"], ...found.map(String).sort().map((value) => [value, value])]);
}

function choice(name, label, options) {
  return element("label", {}, element("span", { class: "quiet" }, label),
    element("select", { name }, ...options.map(([value, text]) => element("option", { value }, String(text)))));
}

function range(name) {
  const limit = (kind, label) => element("input", { type: "number", step: "any", name: `${kind}\u0000${name}`,
    placeholder: label, "aria-label": `${name} ${label}` });
  return element("span", { class: "range" }, element("span", { class: "quiet" }, name), limit("from", "from"),
    limit("to", "to"));
}
