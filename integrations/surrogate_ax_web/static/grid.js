// A grid of cards of which only those in sight exist, so that ten thousand are no more work than fifty.

import { element, shortened } from "./elements.js";
import { thumbnail } from "./output.js";

const LEAST = 148; // pixels across a card
const TEXT = 52; // pixels of its caption
const GAP = 12;
const AHEAD = 2; // rows made before they are in sight

export function card(row, metric, { open, chosen = false, note = "" }) {
  const value = row.values[metric];
  return element("button", { type: "button", class: "card", "data-number": row.number, "data-state": row.state,
    "aria-pressed": chosen ? "true" : false, onclick: () => open(row) },
  element("span", { class: "frame" }, thumbnail(row)),
  element("span", { class: "caption" }, element("span", { class: "unseen" }, row.state === "done" ? metric : "state"),
    element("b", {}, row.state === "done" ? shortened(value) : row.state),
    element("small", {}, note || `trial ${row.number}${row.plain ? " · draw" : ""}`)));
}

export class Grid {
  constructor(list, { open, choose, chosen }) {
    this.list = list;
    this.rows = [];
    this.metric = "";
    this.calls = { open, choose, chosen };
    this.current = 0; // the card that the Tab key comes to
    this.made = new Map();
    addEventListener("scroll", () => this.draw(), { passive: true });
    new ResizeObserver(() => this.draw()).observe(list);
    list.addEventListener("keydown", (event) => this.pressed(event));
  }

  show(rows, metric) {
    const held = this.rows[this.current]?.number;
    this.rows = rows;
    this.metric = metric;
    this.current = Math.max(0, rows.findIndex((row) => row.number === held));
    this.empty();
    this.draw();
  }

  empty() {
    this.list.replaceChildren();
    this.made.clear();
  }

  measure() {
    const width = this.list.clientWidth;
    const columns = Math.max(1, Math.floor((width + GAP) / (LEAST + GAP)));
    const side = (width - GAP * (columns - 1)) / columns;
    return { columns, side, height: side + TEXT + GAP };
  }

  draw() {
    if (!this.list.clientWidth) return; // in a view that is not shown
    const { columns, side, height } = this.measure();
    this.list.style.height = `${Math.ceil(this.rows.length / columns) * height}px`;
    if (this.side !== side) this.empty();
    this.side = side;
    const top = -this.list.getBoundingClientRect().top;
    const first = Math.max(0, Math.floor(top / height) - AHEAD) * columns;
    const end = Math.min(this.rows.length, (Math.ceil((top + innerHeight) / height) + AHEAD) * columns);
    for (const [i, item] of this.made) {
      if ((i < first || i >= end) && !item.contains(document.activeElement)) {
        item.remove();
        this.made.delete(i);
      }
    }
    const fresh = document.createDocumentFragment();
    for (let i = first; i < end; i += 1) {
      if (!this.made.has(i)) fresh.append(this.item(i, columns, side, height));
    }
    this.list.append(fresh);
  }

  item(i, columns, side, height) {
    const row = this.rows[i];
    const made = card(row, this.metric, { open: this.calls.open, chosen: this.calls.chosen(row) });
    made.tabIndex = i === this.current ? 0 : -1;
    made.addEventListener("focus", () => this.mark(i));
    const item = element("li", { "aria-setsize": this.rows.length, "aria-posinset": i + 1 }, made);
    item.style.cssText = `width:${side}px;height:${height - GAP}px;`
      + `transform:translate(${(i % columns) * (side + GAP)}px,${Math.floor(i / columns) * height}px)`;
    this.made.set(i, item);
    return item;
  }

  mark(i) {
    this.made.get(this.current)?.firstChild.setAttribute("tabindex", "-1");
    this.current = i;
    this.made.get(i)?.firstChild.setAttribute("tabindex", "0");
  }

  focus(i) {
    const { columns, height } = this.measure();
    const y = this.list.offsetTop + Math.floor(i / columns) * height;
    const bar = 72;
    if (y < scrollY + bar) scrollTo(0, y - bar);
    else if (y + height > scrollY + innerHeight) scrollTo(0, y + height - innerHeight);
    this.draw();
    this.mark(i);
    this.made.get(i)?.firstChild.focus({ preventScroll: true });
  }

  pressed(event) {
    const { columns } = this.measure();
    const step = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns, Home: -Infinity, End: Infinity };
    if (event.key in step) {
      event.preventDefault();
      this.focus(Math.min(this.rows.length - 1, Math.max(0, this.current + step[event.key])));
    } else if (event.key === "c") {
      this.calls.choose(this.rows[this.current]);
    }
  }
}
